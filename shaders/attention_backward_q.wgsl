// Derivative of attention by the queries: every invocation has one query and makes its probabilities anew from the
// logarithm of their sum. `side` starts with these logarithms, and with the cotangent of each less the product of the
// row of results with its cotangent.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> cotangent: array<f32>;
@group(0) @binding(4) var<storage, read> side: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

override O_OFFSET: u32 = 0u;
override O_B: u32 = 0u;
override O_H: u32 = 0u;
override O_R: u32 = 1u;
override O_C: u32 = 1u;

var<workgroup> keys: array<vec4<f32>, QUADS * TILE>;
var<workgroup> values: array<vec4<f32>, VALUE_QUADS * TILE>;
var<private> query: array<vec4<f32>, QUADS>;
var<private> given: array<vec4<f32>, VALUE_QUADS>;
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
    let spot = spot_of(pair);
    let q_row = Q_OFFSET + spot.batch * Q_B + spot.head * Q_H + near * Q_R;
    let o_row = O_OFFSET + spot.batch * O_B + spot.head * O_H + near * O_R;
    let k_row = K_OFFSET + spot.batch * K_B + spot.head / GROUP * K_H;
    let v_row = V_OFFSET + spot.batch * V_B + spot.head / GROUP * V_H;
    for (var i = 0u; i < QUADS; i++) {
        let p = places(q_row, i, Q_C, COLUMNS);
        query[i] = SCALE * select(vec4<f32>(), vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]), there(i, COLUMNS));
        sum[i] = vec4<f32>();
    }
    for (var i = 0u; i < VALUE_QUADS; i++) {
        let p = places(o_row, i, O_C, VALUE_COLUMNS);
        let o = vec4<f32>(cotangent[p.x], cotangent[p.y], cotangent[p.z], cotangent[p.w]);
        given[i] = select(vec4<f32>(), o, there(i, VALUE_COLUMNS));
    }
    let log_sum = side[pair * QUERIES + near];
    let excess = side[(PAIRS + pair) * QUERIES + near];
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
            var change = 0.0;
            for (var i = 0u; i < VALUE_QUADS; i++) {
                change += dot(given[i], values[j * VALUE_QUADS + i]);
            }
            let b = bounded(product);
            let score = score_of(spot, t, tile + j, b);
            let p = select(exp(score - log_sum), 0.0, score == NOTHING);
            change = p * (kept(spot, t, tile + j) * change + excess) * bounded_slope(b);
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
        store(row + 4u * i, SCALE * sum[i], there(i, COLUMNS));
    }
}
