// Derivatives of attention of halves by keys and values, side by side: keys and their values are own rows, queries and the
// cotangents of their results come by, head after head of those that share the keys. Products are keys by queries, so that
// own rows are rows of every product.

// Probabilities are multiplied by this while they are halves.
const CHANCES: f32 = 1024.0;
const LOG2_CHANCES: f32 = 10.0;

// Probabilities.
var<workgroup> chances: array<vec4<f16>, OWN * HALVES_PITCH>;
// Of the queries of a tile: fours of logarithms of sums, then of what is added to a change.
const RESTS: u32 = TILE / 2u;
var<workgroup> rests: array<vec4<f32>, SLOTS * RESTS>;

// All rows belong to the heads whose rows start here.
var<private> pair: u32;
var<private> q_start: u32;
var<private> o_start: u32;
var<private> next_row: array<Eight, FETCHES>;
var<private> next_value: array<Eight, FETCHES>;
var<private> next_rest: vec4<f32>;

// Brings the queries from `tile` on.
fn fetch(tile: u32, lane: u32) {
    for (var i = 0u; i < FETCHES; i++) {
        let at = lane + i * LANES;
        next_row[i] = q_eight(q_start, tile + at / EIGHTS, at % EIGHTS);
        next_value[i] = o_eight(o_start, tile + at / EIGHTS, at % EIGHTS);
    }
    if lane < RESTS {
        let query = tile + lane % (TILE / 4u) * 4u;
        let t = min(vec4<u32>(query) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(QUERIES - 1u));
        let place = select(0u, PAIRS, lane >= TILE / 4u) * QUERIES + pair * QUERIES + t;
        next_rest = vec4<f32>(side[place.x], side[place.y], side[place.z], side[place.w]);
    }
}

// Puts them where `near` has a tile from a row on.
fn put_tile(slot: u32, lane: u32) {
    for (var i = 0u; i < FETCHES; i++) {
        let at = lane + i * LANES;
        if at < TILE * EIGHTS {
            put(slot + at / EIGHTS, at % EIGHTS, next_row[i]);
            put(slot + TILE + at / EIGHTS, at % EIGHTS, next_value[i]);
        }
    }
    if lane < RESTS {
        rests[slot / (2u * TILE) * RESTS + lane] = next_rest;
    }
}

// Which of four queries see a key.
fn seen_by(key: u32, query: u32) -> vec4<bool> {
    let four = vec4<i32>(0, 1, 2, 3);
    let there = (i32(query) + four < vec4<i32>(i32(QUERIES))) & vec4<bool>(key < KEYS);
    return there & within(ahead_of(query, key) - four);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (KEYS + OWN - 1u) / OWN;
    let group = wg.x + wg.y * wgs.x;
    if group >= PAIRS / GROUP * blocks {
        return;
    }
    // The first keys of a causal attention are seen by most queries, so they go first.
    let first = group / (PAIRS / GROUP) * OWN;
    // Head of keys and batch together.
    let shared_pair = group % (PAIRS / GROUP);
    let seeing = queries_of(first);
    // Rows of the subgroup, and the row and the fours of it that the invocation has a look at.
    let rows = lane / 32u * 16u;
    let row = lane / 2u;
    let half = lane % 2u;
    let key = first + row;
    let scale = SCALE * LOG2_E;
    let own = spot_of(shared_pair * GROUP);

    for (var i = 0u; i < BLOCKS; i++) {
        let at = lane + i * LANES;
        put(at / EIGHTS, at % EIGHTS, k_eight(k_head(own), first + at / EIGHTS, at % EIGHTS));
    }
    workgroupBarrier();
    let k_0 = coopLoadT<coop_mat16x16<f16, A>>(&near[rows * PITCH + 0u * 4u], PITCH); // each BLOCKS
    workgroupBarrier();
    for (var i = 0u; i < BLOCKS; i++) {
        let at = lane + i * LANES;
        put(at / EIGHTS, at % EIGHTS, v_eight(v_head(own), first + at / EIGHTS, at % EIGHTS));
    }
    workgroupBarrier();
    let v_0 = coopLoadT<coop_mat16x16<f16, A>>(&near[rows * PITCH + 0u * 4u], PITCH); // each BLOCKS

    var to_key_0 = coop_mat16x16<f32, C>(); // each BLOCKS
    var to_value_0 = coop_mat16x16<f32, C>(); // each BLOCKS
    for (var member = 0u; member < GROUP; member++) {
        let spot = spot_of(shared_pair * GROUP + member);
        pair = spot.pair;
        q_start = q_head(spot);
        o_start = o_head(spot);
        // Row of `near` from which the tile is.
        var slot = 0u;
        fetch(seeing.x, lane);
        workgroupBarrier();
        put_tile(0u, lane);
        workgroupBarrier();
        for (var tile = seeing.x; tile < seeing.y; tile += TILE) {
            if SLOTS == 2u {
                fetch(tile + TILE, lane);
            }
            for (var j = 0u; j < TILE_BLOCKS; j++) {
                var s = coop_mat16x16<f32, C>();
                var t = coop_mat16x16<f32, C>();
                s = coopMultiplyAdd(k_0, coopLoad<coop_mat16x16<f16, B>>(&near[(slot + j * 16u) * PITCH + 0u * 4u], PITCH), s); // each BLOCKS
                t = coopMultiplyAdd(v_0, coopLoad<coop_mat16x16<f16, B>>(&near[(slot + TILE + j * 16u) * PITCH + 0u * 4u], PITCH), t); // each BLOCKS
                coopStoreT(s, &scores[rows * SCORES_PITCH + j * 4u], SCORES_PITCH);
                coopStoreT(t, &scores[rows * SCORES_PITCH + TILE / 4u + j * 4u], SCORES_PITCH);
            }
            workgroupBarrier();
            for (var i = 0u; i < FOURS; i++) {
                let at = 2u * i + half;
                let rest = slot / (2u * TILE) * RESTS + at;
                let log_sum = LOG2_CHANCES - rests[rest] * LOG2_E;
                let seen = seen_by(key, tile + 4u * at);
                let p = exp2(scale * scores[row * SCORES_PITCH + at] + log_sum);
                let excess = rests[rest + TILE / 4u];
                let change = CHANGES / CHANCES * p * (scores[row * SCORES_PITCH + TILE / 4u + at] + excess);
                chances[row * HALVES_PITCH + at] = vec4<f16>(select(vec4<f32>(), p, seen));
                changes[row * HALVES_PITCH + at] = vec4<f16>(select(vec4<f32>(), change, seen));
            }
            if SLOTS == 2u {
                put_tile(2u * TILE - slot, lane);
            }
            workgroupBarrier();
            for (var j = 0u; j < TILE_BLOCKS; j++) {
                let p = coopLoadT<coop_mat16x16<f16, A>>(&chances[rows * HALVES_PITCH + j * 4u], HALVES_PITCH);
                to_value_0 = coopMultiplyAdd(p, coopLoadT<coop_mat16x16<f16, B>>(&near[(slot + TILE + j * 16u) * PITCH + 0u * 4u], PITCH), to_value_0); // each BLOCKS
                let change = coopLoadT<coop_mat16x16<f16, A>>(&changes[rows * HALVES_PITCH + j * 4u], HALVES_PITCH);
                to_key_0 = coopMultiplyAdd(change, coopLoadT<coop_mat16x16<f16, B>>(&near[(slot + j * 16u) * PITCH + 0u * 4u], PITCH), to_key_0); // each BLOCKS
            }
            if SLOTS == 2u {
                slot = 2u * TILE - slot;
            } else {
                fetch(tile + TILE, lane);
                workgroupBarrier();
                put_tile(0u, lane);
                workgroupBarrier();
            }
        }
    }
    let pitch = COLUMNS / 2u;
    let start = shared_pair * KEYS * pitch;
    // Matrices go by turns to two places, so that one is written while another is read.
    coopStoreT(to_key_0, &scores[rows * SCORES_PITCH + 0u % 2u * 4u], SCORES_PITCH); workgroupBarrier(); leave(first, KEYS, start + 0u * 4u, pitch, 0u % 2u, SCALE / CHANGES, lane); // each BLOCKS
    workgroupBarrier();
    coopStoreT(to_value_0, &scores[rows * SCORES_PITCH + 0u % 2u * 4u], SCORES_PITCH); workgroupBarrier(); leave(first, KEYS, start + COLUMNS / 4u + 0u * 4u, pitch, 0u % 2u, 1.0 / CHANCES, lane); // each BLOCKS
}
