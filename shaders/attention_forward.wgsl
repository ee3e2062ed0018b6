// Attention without a matrix of scores: every invocation has one query, keys and values come by in tiles, and what
// was summed is scaled down whenever a higher score turns up (Milakov & Gimelshein 2018; Dao et al. 2022). A row of the
// result has one column more than a value: the logarithm of the sum of the exponentials of the scores. With it a later
// launch goes on where this one ends.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Whether there are results for the keys before FROM.
override CONTINUES: u32 = 0u;

var<workgroup> keys: array<vec4<f32>, QUADS * TILE>;
var<workgroup> values: array<vec4<f32>, VALUE_QUADS * TILE>;
var<private> query: array<vec4<f32>, QUADS>;
var<private> sum: array<vec4<f32>, VALUE_QUADS>;

// An element of the results for the keys before FROM.
fn before(place: u32) -> f32 {
    return 0.0;
}

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
    let near = min(t, QUERIES - 1u);
    let spot = spot_of(pair);
    let q_row = Q_OFFSET + spot.batch * Q_B + spot.head * Q_H + near * Q_R;
    let k_row = K_OFFSET + spot.batch * K_B + spot.head / GROUP * K_H;
    let v_row = V_OFFSET + spot.batch * V_B + spot.head / GROUP * V_H;
    let row = (pair * QUERIES + near) * (VALUE_COLUMNS + 1u);
    for (var i = 0u; i < QUADS; i++) {
        let p = places(q_row, i, Q_C, COLUMNS);
        query[i] = SCALE * select(vec4<f32>(), vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]), there(i, COLUMNS));
    }
    var top = NOTHING;
    var weight = 0.0;
    if CONTINUES != 0u {
        top = before(row + VALUE_COLUMNS);
        weight = select(1.0, 0.0, top < HALF_NOTHING);
    }
    for (var i = 0u; i < VALUE_QUADS; i++) {
        let p = places(row, i, 1u, VALUE_COLUMNS);
        let have = vec4<f32>(before(p.x), before(p.y), before(p.z), before(p.w));
        sum[i] = select(vec4<f32>(), have, there(i, VALUE_COLUMNS));
    }
    let seen = keys_of(spot, first);
    for (var tile = seen.x; tile < seen.y; tile += TILE) {
        for (var at = lane; at < TILE * QUADS; at += 64u) {
            let p = places(k_row + min(tile + at / QUADS, KEYS - 1u) * K_R, at % QUADS, K_C, COLUMNS);
            let key = vec4<f32>(k[p.x], k[p.y], k[p.z], k[p.w]);
            keys[at] = select(vec4<f32>(), key, there(at % QUADS, COLUMNS));
        }
        for (var at = lane; at < TILE * VALUE_QUADS; at += 64u) {
            let s = min(tile + at / VALUE_QUADS, KEYS - 1u);
            let p = places(v_row + s * V_R, at % VALUE_QUADS, V_C, VALUE_COLUMNS);
            let value = vec4<f32>(v[p.x], v[p.y], v[p.z], v[p.w]);
            values[at] = select(vec4<f32>(), value, there(at % VALUE_QUADS, VALUE_COLUMNS));
        }
        workgroupBarrier();
        for (var j = 0u; j < min(TILE, seen.y - tile); j++) {
            var product = 0.0;
            for (var i = 0u; i < QUADS; i++) {
                product += dot(query[i], keys[j * QUADS + i]);
            }
            let score = score_of(spot, t, tile + j, bounded(product));
            if score > top {
                let shrink = exp(top - score);
                weight *= shrink;
                for (var i = 0u; i < VALUE_QUADS; i++) {
                    sum[i] *= shrink;
                }
                top = score;
            }
            var p = select(exp(score - top), 0.0, score == NOTHING);
            weight += p;
            p *= kept(spot, t, tile + j);
            for (var i = 0u; i < VALUE_QUADS; i++) {
                sum[i] += p * values[j * VALUE_QUADS + i];
            }
        }
        workgroupBarrier();
    }
    if t >= QUERIES {
        return;
    }
    let share = select(1.0 / weight, 0.0, weight == 0.0);
    for (var i = 0u; i < VALUE_QUADS; i++) {
        store(row + 4u * i, sum[i] * share, there(i, VALUE_COLUMNS));
    }
    out[row + VALUE_COLUMNS] = select(top + log(weight), NOTHING, weight == 0.0);
}
