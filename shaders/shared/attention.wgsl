// Sizes of an attention and how its rows lie. Places are `offset + batch * B + head * H + row * R + column * C`;
// arithmetic on places is modulo 2^32.

// Head and batch together.
override PAIRS: u32 = 1u;
override HEADS: u32 = 1u;
override QUERIES: u32 = 1u;
override KEYS: u32 = 1u;
// Elements of a row.
override COLUMNS: u32 = 1u;
override SCALE: f32 = 1.0;
// Whether query t sees the keys up to t + KEYS - QUERIES only.
override CAUSAL: u32 = 0u;
override Q_OFFSET: u32 = 0u;
override Q_B: u32 = 0u;
override Q_H: u32 = 0u;
override Q_R: u32 = 1u;
override Q_C: u32 = 1u;
override K_OFFSET: u32 = 0u;
override K_B: u32 = 0u;
override K_H: u32 = 0u;
override K_R: u32 = 1u;
override K_C: u32 = 1u;
override V_OFFSET: u32 = 0u;
override V_B: u32 = 0u;
override V_H: u32 = 0u;
override V_R: u32 = 1u;
override V_C: u32 = 1u;

// Four columns each.
const QUADS: u32 = 2u;
// Rows in workgroup memory.
const TILE: u32 = 16u;

// Four places of a row from `row` on; past the end the last one.
fn places(row: u32, quad: u32, step: u32) -> vec4<u32> {
    return row + min(4u * quad + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(COLUMNS - 1u)) * step;
}

// Which of four columns there are.
fn there(quad: u32) -> vec4<bool> {
    return 4u * quad + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(COLUMNS);
}

fn is_seen(query: u32, key: u32) -> bool {
    return query < QUERIES && key < KEYS && (CAUSAL == 0u || key + QUERIES <= query + KEYS);
}

// Keys that some of the 64 queries from `first` on see.
fn keys_seen(first: u32) -> u32 {
    let all = first + 64u + KEYS;
    return select(KEYS, min(KEYS, select(0u, all - QUERIES, all > QUERIES)), CAUSAL != 0u);
}
