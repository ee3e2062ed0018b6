// Attention of halves without a matrix of scores. Sums that matrices hold cannot be scaled down row by row when a higher
// score turns up, so keys come by twice: once for the highest score of each query and the sum of the exponentials, once
// for the values. A row of the result has one column more than a value: the logarithm of that sum.

@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Probabilities before they are divided by their sum.
var<workgroup> chances: array<vec4<f16>, OWN * HALVES_PITCH>;
// Of each row: the highest scores and the sums of its even and its odd fours; then what results are multiplied by.
var<workgroup> tops: array<vec4<f32>, OWN>;

var<private> four: array<vec4<f32>, FOURS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (QUERIES + OWN - 1u) / OWN;
    let group = wg.x + wg.y * wgs.x;
    if group >= PAIRS * blocks {
        return;
    }
    // The last queries of a causal attention see most keys, so they go first.
    let first = (blocks - 1u - group / PAIRS) * OWN;
    let pair = group % PAIRS;
    start_at(spot_of(pair));
    let seen = keys_of(first);
    // Rows of the subgroup, and the row and the fours of it that the invocation has a look at.
    let rows = lane / 32u * 16u;
    let row = lane / 2u;
    let half = lane % 2u;
    let query = first + row;
    let scale = SCALE * LOG2_E;

    put_queries(first, lane);
    workgroupBarrier();
    let q_0 = coopLoadT<coop_mat16x16<f16, A>>(&near[rows * PITCH + 0u * 4u], PITCH); // each BLOCKS
    workgroupBarrier();

    // Tiles of keys go by turns where keys and where values will be: one is brought while the other is worked on.
    var top = NOTHING;
    var weight = 0.0;
    var place = 0u;
    fetch_keys(seen.x, lane);
    put_keys(place, lane);
    workgroupBarrier();
    for (var tile = seen.x; tile < seen.y; tile += TILE) {
        fetch_keys(tile + TILE, lane);
        for (var j = 0u; j < TILE_BLOCKS; j++) {
            var s = coop_mat16x16<f32, C>();
            s = coopMultiplyAdd(q_0, coopLoad<coop_mat16x16<f16, B>>(&near[(place + j * 16u) * PITCH + 0u * 4u], PITCH), s); // each BLOCKS
            coopStoreT(s, &scores[rows * SCORES_PITCH + j * 4u], SCORES_PITCH);
        }
        workgroupBarrier();
        var highest = vec4<f32>(top);
        for (var i = 0u; i < FOURS; i++) {
            let at = 2u * i + half;
            let score = scale * scores[row * SCORES_PITCH + at];
            four[i] = select(vec4<f32>(NOTHING), score, sees(query, tile + 4u * at));
            highest = max(highest, four[i]);
        }
        let higher = max(max(highest.x, highest.y), max(highest.z, highest.w));
        var sum = vec4<f32>();
        for (var i = 0u; i < FOURS; i++) {
            sum += exp2(four[i] - higher);
        }
        // What was added up while nothing was seen counts nothing from the first score on.
        weight = weight * exp2(top - higher) + sum.x + sum.y + sum.z + sum.w;
        top = higher;
        place = TILE - place;
        put_keys(place, lane);
        workgroupBarrier();
    }
    tops[row][half] = top;
    tops[row][2u + half] = weight;
    workgroupBarrier();
    let both = tops[row];
    top = max(both.x, both.y);
    weight = both.z * exp2(both.x - top) + both.w * exp2(both.y - top);
    let nothing = top < HALF_NOTHING;

    var sum_0 = coop_mat16x16<f32, C>(); // each BLOCKS
    fetch_keys(seen.x, lane);
    put_keys(0u, lane);
    workgroupBarrier();
    for (var tile = seen.x; tile < seen.y; tile += TILE) {
        fetch_keys(tile + TILE, lane);
        fetch_values(tile, lane);
        for (var j = 0u; j < TILE_BLOCKS; j++) {
            var s = coop_mat16x16<f32, C>();
            s = coopMultiplyAdd(q_0, coopLoad<coop_mat16x16<f16, B>>(&near[j * 16u * PITCH + 0u * 4u], PITCH), s); // each BLOCKS
            coopStoreT(s, &scores[rows * SCORES_PITCH + j * 4u], SCORES_PITCH);
        }
        workgroupBarrier();
        for (var i = 0u; i < FOURS; i++) {
            let at = 2u * i + half;
            let p = exp2(scale * scores[row * SCORES_PITCH + at] - top);
            chances[row * HALVES_PITCH + at] = vec4<f16>(select(vec4<f32>(), p, sees(query, tile + 4u * at)));
        }
        // Nobody needs these keys and the values of the last tile any more.
        put_keys(0u, lane);
        put_values(TILE, lane);
        workgroupBarrier();
        for (var j = 0u; j < TILE_BLOCKS; j++) {
            let p = coopLoadT<coop_mat16x16<f16, A>>(&chances[rows * HALVES_PITCH + j * 4u], HALVES_PITCH);
            sum_0 = coopMultiplyAdd(p, coopLoadT<coop_mat16x16<f16, B>>(&near[(TILE + j * 16u) * PITCH + 0u * 4u], PITCH), sum_0); // each BLOCKS
        }
    }
    if half == 0u {
        tops[row] = vec4<f32>(select(1.0 / weight, 0.0, nothing));
        if query < QUERIES {
            let place = (pair * QUERIES + query) * (COLUMNS + 1u) + COLUMNS;
            out[place] = select((top + log2(weight)) * LN_2, NOTHING, nothing);
        }
    }
    // Matrices go by turns to two places, so that one is written while another is read.
    coopStoreT(sum_0, &scores[rows * SCORES_PITCH + 0u % 2u * 4u], SCORES_PITCH); workgroupBarrier(); leave(pair, first, 0u, lane); // each BLOCKS
}

// Stores the matrices number `block` of the subgroups.
fn leave(pair: u32, first: u32, block: u32, lane: u32) {
    for (var i = 0u; i < 8u; i++) {
        let row = lane / 32u * 16u + 2u * i + lane % 32u / 16u;
        let column = lane % 16u;
        if first + row < QUERIES {
            let sum = scores[row * SCORES_PITCH + block % 2u * 4u + column / 4u][column % 4u];
            out[(pair * QUERIES + first + row) * (COLUMNS + 1u) + block * 16u + column] = sum * tops[row].x;
        }
    }
}
