// Attention without a matrix of scores: every invocation has one query, keys and values come by in tiles, and what
// was summed is scaled down whenever a higher score turns up (Milakov & Gimelshein 2018; Dao et al. 2022). A row of the
// result has one column more than a value: the logarithm of the sum of the exponentials of the scores.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Far below every score, far above the lowest float.
const NOTHING: f32 = -1e30;

var<workgroup> keys: array<vec4<f32>, QUADS * TILE>;
var<workgroup> values: array<vec4<f32>, QUADS * TILE>;
var<private> query: array<vec4<f32>, QUADS>;
var<private> sum: array<vec4<f32>, QUADS>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (QUERIES + 63u) / 64u;
    let group = wg.x + wg.y * wgs.x;
    let pair = group / tiles;
    if pair >= PAIRS {
        return;
    }
    let first = group % tiles * 64u;
    let t = first + lane;
    let batch = pair / HEADS;
    let head = pair % HEADS;
    let q_row = Q_OFFSET + batch * Q_B + head * Q_H + min(t, QUERIES - 1u) * Q_R;
    let k_row = K_OFFSET + batch * K_B + head * K_H;
    let v_row = V_OFFSET + batch * V_B + head * V_H;
    for (var i = 0u; i < QUADS; i++) {
        let p = places(q_row, i, Q_C);
        query[i] = SCALE * select(vec4<f32>(), vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]), there(i));
        sum[i] = vec4<f32>();
    }
    let seen = keys_seen(first);
    var top = NOTHING;
    var weight = 0.0;
    for (var tile = 0u; tile < seen; tile += TILE) {
        for (var at = lane; at < TILE * QUADS; at += 64u) {
            let row = min(tile + at / QUADS, KEYS - 1u);
            let p = places(k_row + row * K_R, at % QUADS, K_C);
            keys[at] = select(vec4<f32>(), vec4<f32>(k[p.x], k[p.y], k[p.z], k[p.w]), there(at % QUADS));
            let r = places(v_row + row * V_R, at % QUADS, V_C);
            values[at] = select(vec4<f32>(), vec4<f32>(v[r.x], v[r.y], v[r.z], v[r.w]), there(at % QUADS));
        }
        workgroupBarrier();
        for (var j = 0u; j < min(TILE, seen - tile); j++) {
            var score = 0.0;
            for (var i = 0u; i < QUADS; i++) {
                score += dot(query[i], keys[j * QUADS + i]);
            }
            score = select(NOTHING, score, is_seen(t, tile + j));
            if score > top {
                let shrink = exp(top - score);
                weight *= shrink;
                for (var i = 0u; i < QUADS; i++) {
                    sum[i] *= shrink;
                }
                top = score;
            }
            let p = select(exp(score - top), 0.0, score == NOTHING);
            weight += p;
            for (var i = 0u; i < QUADS; i++) {
                sum[i] += p * values[j * QUADS + i];
            }
        }
        workgroupBarrier();
    }
    if t >= QUERIES {
        return;
    }
    let row = (pair * QUERIES + t) * (COLUMNS + 1u);
    let share = select(1.0 / weight, 0.0, weight == 0.0);
    for (var i = 0u; i < QUADS; i++) {
        let o = sum[i] * share;
        let valid = there(i);
        out[row + 4u * i] = o.x;
        if valid.y {
            out[row + 4u * i + 1u] = o.y;
        }
        if valid.z {
            out[row + 4u * i + 2u] = o.z;
        }
        if valid.w {
            out[row + 4u * i + 3u] = o.w;
        }
    }
    out[row + COLUMNS] = select(top + log(weight), NOTHING, weight == 0.0);
}
