// Derivative of attention by what is added to its scores: every invocation has one key, queries come by in tiles.
// For a bias of every query and key a workgroup has one tile of queries and goes through the heads and batches that
// share the bias; for one that all queries share it goes through the queries of one head. `side` is as for the
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

// Whether all queries share the bias.
override ROW: u32 = 0u;
// Heads and batches of the bias, 1 where it is shared.
override BIAS_BATCH: u32 = 1u;
override BIAS_HEADS: u32 = 1u;

var<workgroup> queries: array<vec4<f32>, QUADS * TILE>;
var<workgroup> cotangents: array<vec4<f32>, VALUE_QUADS * TILE>;
// Logarithms of sums, and what is added to a change.
var<workgroup> rest: array<vec2<f32>, TILE>;
var<private> key: array<vec4<f32>, QUADS>;
var<private> value: array<vec4<f32>, VALUE_QUADS>;
var<private> sum: array<f32, TILE>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (KEYS + 63u) / 64u;
    let blocks = select((QUERIES + TILE - 1u) / TILE, 1u, ROW != 0u);
    let group = wg.x + wg.y * wgs.x;
    let which = group / (tiles * blocks);
    if which >= select(BIAS_BATCH * BIAS_HEADS, PAIRS, ROW != 0u) {
        return;
    }
    let first = group % tiles * 64u;
    let block = group / tiles % blocks * TILE;
    let s = first + lane;
    let near = min(s, KEYS - 1u);
    // Heads of a batch that share an element.
    let shared_heads = HEADS / BIAS_HEADS;
    for (var j = 0u; j < TILE; j++) {
        sum[j] = 0.0;
    }
    for (var turn = FROM; turn < TO; turn++) {
        let batch = select(turn / shared_heads, which / BIAS_HEADS, BIAS_BATCH > 1u);
        let head = select(turn % shared_heads, which % BIAS_HEADS, BIAS_HEADS > 1u);
        let spot = spot_of(select(batch * HEADS + head, which, ROW != 0u));
        let tile = select(block, turn * TILE, ROW != 0u);
        let k_row = K_OFFSET + spot.batch * K_B + spot.head / GROUP * K_H + near * K_R;
        let v_row = V_OFFSET + spot.batch * V_B + spot.head / GROUP * V_H + near * V_R;
        let q_row = Q_OFFSET + spot.batch * Q_B + spot.head * Q_H;
        let o_row = O_OFFSET + spot.batch * O_B + spot.head * O_H;
        for (var i = 0u; i < QUADS; i++) {
            let p = places(k_row, i, K_C, COLUMNS);
            key[i] = select(vec4<f32>(), vec4<f32>(k[p.x], k[p.y], k[p.z], k[p.w]), there(i, COLUMNS));
        }
        for (var i = 0u; i < VALUE_QUADS; i++) {
            let p = places(v_row, i, V_C, VALUE_COLUMNS);
            value[i] = select(vec4<f32>(), vec4<f32>(v[p.x], v[p.y], v[p.z], v[p.w]), there(i, VALUE_COLUMNS));
        }
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
        for (var j = 0u; j < min(TILE, QUERIES - tile); j++) {
            var product = 0.0;
            for (var i = 0u; i < QUADS; i++) {
                product += dot(queries[j * QUADS + i], key[i]);
            }
            var change = 0.0;
            for (var i = 0u; i < VALUE_QUADS; i++) {
                change += dot(cotangents[j * VALUE_QUADS + i], value[i]);
            }
            let score = score_of(spot, tile + j, s, bounded(product));
            let p = select(exp(score - rest[j].x), 0.0, score == NOTHING);
            sum[select(j, 0u, ROW != 0u)] += p * (kept(spot, tile + j, s) * change + rest[j].y);
        }
        workgroupBarrier();
    }
    if s >= KEYS {
        return;
    }
    if ROW != 0u {
        out[which * KEYS + s] = sum[0];
        return;
    }
    for (var j = 0u; j < min(TILE, QUERIES - block); j++) {
        out[(which * QUERIES + block + j) * KEYS + s] = sum[j];
    }
}
