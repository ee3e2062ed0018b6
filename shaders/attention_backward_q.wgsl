// Derivative of attention by the queries: every invocation has one query and makes its probabilities anew from the
// logarithm of their sum. `excess` holds the cotangent of that logarithm less the product of the row of results with
// its cotangent.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> cotangent: array<f32>;
@group(0) @binding(4) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read> excess: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

override O_OFFSET: u32 = 0u;
override O_B: u32 = 0u;
override O_H: u32 = 0u;
override O_R: u32 = 1u;
override O_C: u32 = 1u;
override L_OFFSET: u32 = 0u;
override L_B: u32 = 0u;
override L_H: u32 = 0u;
override L_R: u32 = 1u;
override E_OFFSET: u32 = 0u;
override E_B: u32 = 0u;
override E_H: u32 = 0u;
override E_R: u32 = 1u;

var<workgroup> keys: array<vec4<f32>, QUADS * TILE>;
var<workgroup> values: array<vec4<f32>, QUADS * TILE>;
var<private> query: array<vec4<f32>, QUADS>;
var<private> given: array<vec4<f32>, QUADS>;
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
    let near = min(t, QUERIES - 1u);
    let batch = pair / HEADS;
    let head = pair % HEADS;
    let q_row = Q_OFFSET + batch * Q_B + head * Q_H + near * Q_R;
    let o_row = O_OFFSET + batch * O_B + head * O_H + near * O_R;
    let k_row = K_OFFSET + batch * K_B + head * K_H;
    let v_row = V_OFFSET + batch * V_B + head * V_H;
    for (var i = 0u; i < QUADS; i++) {
        let p = places(q_row, i, Q_C);
        query[i] = SCALE * select(vec4<f32>(), vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]), there(i));
        let r = places(o_row, i, O_C);
        let o = vec4<f32>(cotangent[r.x], cotangent[r.y], cotangent[r.z], cotangent[r.w]);
        given[i] = select(vec4<f32>(), o, there(i));
        sum[i] = vec4<f32>();
    }
    let log_sum = sums[L_OFFSET + batch * L_B + head * L_H + near * L_R];
    let more = excess[E_OFFSET + batch * E_B + head * E_H + near * E_R];
    let seen = keys_seen(first);
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
            var s = 0.0;
            var change = more;
            for (var i = 0u; i < QUADS; i++) {
                s += dot(query[i], keys[j * QUADS + i]);
                change += dot(given[i], values[j * QUADS + i]);
            }
            change *= select(0.0, exp(s - log_sum), is_seen(t, tile + j));
            for (var i = 0u; i < QUADS; i++) {
                sum[i] += change * keys[j * QUADS + i];
            }
        }
        workgroupBarrier();
    }
    if t >= QUERIES {
        return;
    }
    let row = (pair * QUERIES + t) * COLUMNS;
    for (var i = 0u; i < QUADS; i++) {
        let o = SCALE * sum[i];
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
}
