// Derivative of attention of halves by the queries. Probabilities are made anew from the logarithms of their sums.

var<private> o_start: u32;

fn put_cotangents(first: u32, lane: u32) {
    for (var i = 0u; i < BLOCKS; i++) {
        let at = lane + i * LANES;
        put(at / EIGHTS, at % EIGHTS, o_eight(o_start, first + at / EIGHTS, at % EIGHTS));
    }
}

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
    o_start = o_head(spot_of(pair));
    let seen = keys_of(first);
    // Rows of the subgroup, and the row and the fours of it that the invocation has a look at.
    let rows = lane / 32u * 16u;
    let row = lane / 2u;
    let half = lane % 2u;
    let query = first + row;
    let scale = SCALE * LOG2_E;
    let place = pair * QUERIES + min(query, QUERIES - 1u);
    let log_sum = side[place] * LOG2_E;
    let excess = side[PAIRS * QUERIES + place];

    put_queries(first, lane);
    workgroupBarrier();
    let q_0 = coopLoadT<coop_mat16x16<f16, A>>(&near[rows * PITCH + 0u * 4u], PITCH); // each BLOCKS
    workgroupBarrier();
    put_cotangents(first, lane);
    workgroupBarrier();
    let o_0 = coopLoadT<coop_mat16x16<f16, A>>(&near[rows * PITCH + 0u * 4u], PITCH); // each BLOCKS
    workgroupBarrier();

    var sum_0 = coop_mat16x16<f32, C>(); // each BLOCKS
    // Row of `near` from which the tile is.
    var slot = 0u;
    fetch_keys(seen.x, lane);
    fetch_values(seen.x, lane);
    put_keys(0u, lane);
    put_values(TILE, lane);
    workgroupBarrier();
    for (var tile = seen.x; tile < seen.y; tile += TILE) {
        if SLOTS == 2u {
            fetch_keys(tile + TILE, lane);
            fetch_values(tile + TILE, lane);
        }
        for (var j = 0u; j < TILE_BLOCKS; j++) {
            var s = coop_mat16x16<f32, C>();
            var t = coop_mat16x16<f32, C>();
            s = coopMultiplyAdd(q_0, coopLoad<coop_mat16x16<f16, B>>(&near[(slot + j * 16u) * PITCH + 0u * 4u], PITCH), s); // each BLOCKS
            t = coopMultiplyAdd(o_0, coopLoad<coop_mat16x16<f16, B>>(&near[(slot + TILE + j * 16u) * PITCH + 0u * 4u], PITCH), t); // each BLOCKS
            coopStoreT(s, &scores[rows * SCORES_PITCH + j * 4u], SCORES_PITCH);
            coopStoreT(t, &scores[rows * SCORES_PITCH + TILE / 4u + j * 4u], SCORES_PITCH);
        }
        workgroupBarrier();
        for (var i = 0u; i < FOURS; i++) {
            let at = 2u * i + half;
            let p = exp2(scale * scores[row * SCORES_PITCH + at] - log_sum);
            let change = CHANGES * p * (scores[row * SCORES_PITCH + TILE / 4u + at] + excess);
            changes[row * HALVES_PITCH + at] = vec4<f16>(select(vec4<f32>(), change, sees(query, tile + 4u * at)));
        }
        if SLOTS == 2u {
            put_keys(2u * TILE - slot, lane);
            put_values(3u * TILE - slot, lane);
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE_BLOCKS; j++) {
            let change = coopLoadT<coop_mat16x16<f16, A>>(&changes[rows * HALVES_PITCH + j * 4u], HALVES_PITCH);
            sum_0 = coopMultiplyAdd(change, coopLoadT<coop_mat16x16<f16, B>>(&near[(slot + j * 16u) * PITCH + 0u * 4u], PITCH), sum_0); // each BLOCKS
        }
        if SLOTS == 2u {
            slot = 2u * TILE - slot;
        } else {
            fetch_keys(tile + TILE, lane);
            fetch_values(tile + TILE, lane);
            workgroupBarrier();
            put_keys(0u, lane);
            put_values(TILE, lane);
            workgroupBarrier();
        }
    }
    let start = pair * QUERIES * COLUMNS / 4u;
    // Matrices go by turns to two places, so that one is written while another is read.
    coopStoreT(sum_0, &scores[rows * SCORES_PITCH + 0u % 2u * 4u], SCORES_PITCH); workgroupBarrier(); leave(first, QUERIES, start + 0u * 4u, COLUMNS / 4u, 0u % 2u, SCALE / CHANGES, lane); // each BLOCKS
}
