// Derivative of attention by what is added to its scores: every invocation has one key, queries come by in tiles.
// For a bias of every query and key a workgroup has one tile of queries and goes through the heads and batches that
// share the bias; for one that all queries share it goes through the queries of one head.

// Whether all queries share the bias.
override ROW: u32 = 0u;
// Heads and batches of the bias, 1 where it is shared.
override BIAS_BATCH: u32 = 1u;
override BIAS_HEADS: u32 = 1u;

var<private> key: array<vec4<f32>, QUADS>;
var<private> value: array<vec4<f32>, VALUE_QUADS>;
var<private> sum: array<f32, TILE>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (KEYS + LANES - 1u) / LANES;
    let blocks = select((QUERIES + TILE - 1u) / TILE, 1u, ROW != 0u);
    let group = wg.x + wg.y * wgs.x;
    let which = group / (tiles * blocks);
    if which >= select(BIAS_BATCH * BIAS_HEADS, PAIRS, ROW != 0u) {
        return;
    }
    let first = group % tiles * LANES;
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
        for (var i = 0u; i < QUADS; i++) {
            key[i] = k_four(k_head(spot) + near * K_R, i);
        }
        for (var i = 0u; i < VALUE_QUADS; i++) {
            value[i] = v_four(v_head(spot) + near * V_R, i);
        }
        q_start = q_head(spot);
        o_start = o_head(spot);
        fetch(tile, lane);
        fetch_rest(spot.pair, tile, lane);
        meet();
        for (var j = 0u; j < min(TILE, QUERIES - tile); j++) {
            var product = 0.0;
            for (var i = 0u; i < QUADS; i++) {
                product += dot(row_at(j, i), key[i]);
            }
            var change = 0.0;
            for (var i = 0u; i < VALUE_QUADS; i++) {
                change += dot(value_at(j, i), value[i]);
            }
            let rest = rest_at(j);
            let score = score_of(spot, tile + j, s, bounded(product));
            let p = select(exp(score - rest.x), 0.0, score == NOTHING);
            sum[select(j, 0u, ROW != 0u)] += p * (kept(spot, tile + j, s) * change + rest.y);
        }
        meet();
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
