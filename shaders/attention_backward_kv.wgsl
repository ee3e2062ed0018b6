// Derivatives of attention by keys and values, keys first: every invocation has one key and its value, queries and the
// cotangents of their results come by in tiles. `sums` and `excess` are as for the derivative by the queries.

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

var<workgroup> queries: array<vec4<f32>, QUADS * TILE>;
var<workgroup> cotangents: array<vec4<f32>, QUADS * TILE>;
// Logarithms of sums, and what is added to a change.
var<workgroup> rest: array<vec2<f32>, TILE>;
var<private> key: array<vec4<f32>, QUADS>;
var<private> value: array<vec4<f32>, QUADS>;
var<private> to_key: array<vec4<f32>, QUADS>;
var<private> to_value: array<vec4<f32>, QUADS>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (KEYS + 63u) / 64u;
    let group = wg.x + wg.y * wgs.x;
    let pair = group / tiles;
    if pair >= PAIRS {
        return;
    }
    let first = group % tiles * 64u;
    let s = first + lane;
    let near = min(s, KEYS - 1u);
    let batch = pair / HEADS;
    let head = pair % HEADS;
    let k_row = K_OFFSET + batch * K_B + head * K_H + near * K_R;
    let v_row = V_OFFSET + batch * V_B + head * V_H + near * V_R;
    let q_row = Q_OFFSET + batch * Q_B + head * Q_H;
    let o_row = O_OFFSET + batch * O_B + head * O_H;
    let l_row = L_OFFSET + batch * L_B + head * L_H;
    let e_row = E_OFFSET + batch * E_B + head * E_H;
    for (var i = 0u; i < QUADS; i++) {
        let p = places(k_row, i, K_C);
        key[i] = select(vec4<f32>(), vec4<f32>(k[p.x], k[p.y], k[p.z], k[p.w]), there(i));
        let r = places(v_row, i, V_C);
        value[i] = select(vec4<f32>(), vec4<f32>(v[r.x], v[r.y], v[r.z], v[r.w]), there(i));
        to_key[i] = vec4<f32>();
        to_value[i] = vec4<f32>();
    }
    // The first query that sees one of these keys.
    let ahead = select(0u, first + QUERIES - KEYS, CAUSAL != 0u && first + QUERIES > KEYS);
    for (var tile = ahead; tile < QUERIES; tile += TILE) {
        for (var at = lane; at < TILE * QUADS; at += 64u) {
            let row = min(tile + at / QUADS, QUERIES - 1u);
            let p = places(q_row + row * Q_R, at % QUADS, Q_C);
            let a = select(vec4<f32>(), vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]), there(at % QUADS));
            queries[at] = SCALE * a;
            let r = places(o_row + row * O_R, at % QUADS, O_C);
            let o = vec4<f32>(cotangent[r.x], cotangent[r.y], cotangent[r.z], cotangent[r.w]);
            cotangents[at] = select(vec4<f32>(), o, there(at % QUADS));
        }
        if lane < TILE {
            let row = min(tile + lane, QUERIES - 1u);
            rest[lane] = vec2<f32>(sums[l_row + row * L_R], excess[e_row + row * E_R]);
        }
        workgroupBarrier();
        for (var j = 0u; j < min(TILE, QUERIES - tile); j++) {
            var product = 0.0;
            var change = rest[j].y;
            for (var i = 0u; i < QUADS; i++) {
                product += dot(queries[j * QUADS + i], key[i]);
                change += dot(cotangents[j * QUADS + i], value[i]);
            }
            let p = select(0.0, exp(product - rest[j].x), is_seen(tile + j, s));
            change *= p;
            for (var i = 0u; i < QUADS; i++) {
                to_key[i] += change * queries[j * QUADS + i];
                to_value[i] += p * cotangents[j * QUADS + i];
            }
        }
        workgroupBarrier();
    }
    if s >= KEYS {
        return;
    }
    let row = (pair * KEYS + s) * COLUMNS;
    let values = row + PAIRS * KEYS * COLUMNS;
    for (var i = 0u; i < QUADS; i++) {
        let valid = there(i);
        out[row + 4u * i] = to_key[i].x;
        out[values + 4u * i] = to_value[i].x;
        if valid.y {
            out[row + 4u * i + 1u] = to_key[i].y;
            out[values + 4u * i + 1u] = to_value[i].y;
        }
        if valid.z {
            out[row + 4u * i + 2u] = to_key[i].z;
            out[values + 4u * i + 2u] = to_value[i].z;
        }
        if valid.w {
            out[row + 4u * i + 3u] = to_key[i].w;
            out[values + 4u * i + 3u] = to_value[i].w;
        }
    }
}
