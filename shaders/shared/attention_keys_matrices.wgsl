// Queries are own rows; keys and values come by. All belong to the heads whose rows start here.
var<private> q_start: u32;
var<private> k_start: u32;
var<private> v_start: u32;
var<private> next_row: array<Eight, FETCHES>;
var<private> next_value: array<Eight, FETCHES>;

fn start_at(spot: Spot) {
    q_start = q_head(spot);
    k_start = k_head(spot);
    v_start = v_head(spot);
}

// Puts the own queries where tiles will be.
fn put_queries(first: u32, lane: u32) {
    for (var i = 0u; i < BLOCKS; i++) {
        let at = lane + i * LANES;
        put(at / EIGHTS, at % EIGHTS, q_eight(q_start, first + at / EIGHTS, at % EIGHTS));
    }
}

fn fetch_keys(tile: u32, lane: u32) {
    for (var i = 0u; i < FETCHES; i++) {
        let at = lane + i * LANES;
        next_row[i] = k_eight(k_start, tile + at / EIGHTS, at % EIGHTS);
    }
}

fn fetch_values(tile: u32, lane: u32) {
    for (var i = 0u; i < FETCHES; i++) {
        let at = lane + i * LANES;
        next_value[i] = v_eight(v_start, tile + at / EIGHTS, at % EIGHTS);
    }
}

// Puts what was fetched where `near` has a tile from a row on.
fn put_keys(row: u32, lane: u32) {
    for (var i = 0u; i < FETCHES; i++) {
        let at = lane + i * LANES;
        if at < TILE * EIGHTS {
            put(row + at / EIGHTS, at % EIGHTS, next_row[i]);
        }
    }
}

fn put_values(row: u32, lane: u32) {
    for (var i = 0u; i < FETCHES; i++) {
        let at = lane + i * LANES;
        if at < TILE * EIGHTS {
            put(row + at / EIGHTS, at % EIGHTS, next_value[i]);
        }
    }
}

// Which of four keys a query sees.
fn sees(query: u32, key: u32) -> vec4<bool> {
    let four = vec4<i32>(0, 1, 2, 3);
    let there = (i32(key) + four < vec4<i32>(i32(KEYS))) & vec4<bool>(query < QUERIES);
    return there & within(ahead_of(query, key) + four);
}
