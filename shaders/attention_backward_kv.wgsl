// Derivatives of attention by keys and values, side by side: every invocation has one key and its value, queries and
// the cotangents of their results come by in tiles, head after head of those that share the key. `side` is as for the
// derivative by the queries.

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

var<workgroup> queries: array<vec4<f32>, QUADS * TILE>;
var<workgroup> cotangents: array<vec4<f32>, VALUE_QUADS * TILE>;
// Logarithms of sums, and what is added to a change.
var<workgroup> rest: array<vec2<f32>, TILE>;
var<private> key: array<vec4<f32>, QUADS>;
var<private> value: array<vec4<f32>, VALUE_QUADS>;
var<private> to_key: array<vec4<f32>, QUADS>;
var<private> to_value: array<vec4<f32>, VALUE_QUADS>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (KEYS + 63u) / 64u;
    let group = wg.x + wg.y * wgs.x;
    // Head of keys and batch together.
    let shared_pair = group / tiles;
    if shared_pair >= PAIRS / GROUP {
        return;
    }
    let first = group % tiles * 64u;
    let s = first + lane;
    let near = min(s, KEYS - 1u);
    let batch = shared_pair / (HEADS / GROUP);
    let shared_head = shared_pair % (HEADS / GROUP);
    let k_row = K_OFFSET + batch * K_B + shared_head * K_H + near * K_R;
    let v_row = V_OFFSET + batch * V_B + shared_head * V_H + near * V_R;
    for (var i = 0u; i < QUADS; i++) {
        let p = places(k_row, i, K_C, COLUMNS);
        key[i] = select(vec4<f32>(), vec4<f32>(k[p.x], k[p.y], k[p.z], k[p.w]), there(i, COLUMNS));
        to_key[i] = vec4<f32>();
    }
    for (var i = 0u; i < VALUE_QUADS; i++) {
        let p = places(v_row, i, V_C, VALUE_COLUMNS);
        value[i] = select(vec4<f32>(), vec4<f32>(v[p.x], v[p.y], v[p.z], v[p.w]), there(i, VALUE_COLUMNS));
        to_value[i] = vec4<f32>();
    }
    for (var member = 0u; member < GROUP; member++) {
        let spot = spot_of(shared_pair * GROUP + member);
        let q_row = Q_OFFSET + batch * Q_B + spot.head * Q_H;
        let o_row = O_OFFSET + batch * O_B + spot.head * O_H;
        let seeing = queries_of(spot, first);
        for (var tile = seeing.x; tile < seeing.y; tile += TILE) {
            for (var at = lane; at < TILE * QUADS; at += 64u) {
                let p = places(q_row + min(tile + at / QUADS, QUERIES - 1u) * Q_R, at % QUADS, Q_C, COLUMNS);
                let query = vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]);
                queries[at] = SCALE * select(vec4<f32>(), query, there(at % QUADS, COLUMNS));
            }
            for (var at = lane; at < TILE * VALUE_QUADS; at += 64u) {
                let t = min(tile + at / VALUE_QUADS, QUERIES - 1u);
                let p = places(o_row + t * O_R, at % VALUE_QUADS, O_C, VALUE_COLUMNS);
                let o = vec4<f32>(cotangent[p.x], cotangent[p.y], cotangent[p.z], cotangent[p.w]);
                cotangents[at] = select(vec4<f32>(), o, there(at % VALUE_QUADS, VALUE_COLUMNS));
            }
            if lane < TILE {
                let t = min(tile + lane, QUERIES - 1u);
                rest[lane] = vec2<f32>(side[spot.pair * QUERIES + t], side[(PAIRS + spot.pair) * QUERIES + t]);
            }
            workgroupBarrier();
            for (var j = 0u; j < min(TILE, seeing.y - tile); j++) {
                var product = 0.0;
                for (var i = 0u; i < QUADS; i++) {
                    product += dot(queries[j * QUADS + i], key[i]);
                }
                var change = 0.0;
                for (var i = 0u; i < VALUE_QUADS; i++) {
                    change += dot(cotangents[j * VALUE_QUADS + i], value[i]);
                }
                let b = bounded(product);
                let score = score_of(spot, tile + j, s, b);
                let p = select(exp(score - rest[j].x), 0.0, score == NOTHING);
                let keep = kept(spot, tile + j, s);
                change = p * (keep * change + rest[j].y) * bounded_slope(b);
                for (var i = 0u; i < QUADS; i++) {
                    to_key[i] += change * queries[j * QUADS + i];
                }
                for (var i = 0u; i < VALUE_QUADS; i++) {
                    to_value[i] += keep * p * cotangents[j * VALUE_QUADS + i];
                }
            }
            workgroupBarrier();
        }
    }
    if s >= KEYS {
        return;
    }
    let row = (shared_pair * KEYS + s) * (COLUMNS + VALUE_COLUMNS);
    for (var i = 0u; i < QUADS; i++) {
        store(row + 4u * i, to_key[i], there(i, COLUMNS));
    }
    for (var i = 0u; i < VALUE_QUADS; i++) {
        store(row + COLUMNS + 4u * i, to_value[i], there(i, VALUE_COLUMNS));
    }
}
