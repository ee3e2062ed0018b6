// Attention of halves by subgroups of 32 that multiply matrices of 16 by 16, with sums in f32
// (`VK_KHR_cooperative_matrix`). A workgroup of four subgroups has 64 rows of its own, each subgroup 16 of them; the
// others come by in tiles of 32. Elements of a matrix are met in workgroup memory alone: there products become
// probabilities, two invocations a row, and go back as halves. Scores are in units of ln 2.
// Subgroups are told apart by numbers of invocations: with their own builtins drivers do not compile cooperative matrices.

@group(0) @binding(0) var<storage, read> q: array<Eight>;
@group(0) @binding(1) var<storage, read> k: array<Eight>;
@group(0) @binding(2) var<storage, read> v: array<Eight>;

// Head and batch together.
override PAIRS: u32 = 1u;
override HEADS: u32 = 1u;
// Heads of queries that share a head of keys and values.
override GROUP: u32 = 1u;
override QUERIES: u32 = 1u;
override KEYS: u32 = 1u;
override SCALE: f32 = 1.0;
// How far a key may lie before and behind the one that stands beside a query.
override LEFT: i32 = 0x3fffffff;
override RIGHT: i32 = 0x3fffffff;
// Multiples of 8, as arithmetic modulo 2^32; columns lie side by side.
override Q_OFFSET: u32 = 0u;
override Q_B: u32 = 0u;
override Q_H: u32 = 0u;
override Q_R: u32 = 16u;
override K_OFFSET: u32 = 0u;
override K_B: u32 = 0u;
override K_H: u32 = 0u;
override K_R: u32 = 16u;
override V_OFFSET: u32 = 0u;
override V_B: u32 = 0u;
override V_H: u32 = 0u;
override V_R: u32 = 16u;

// Far below every score, far above the lowest float.
const NOTHING: f32 = -1e30;
const HALF_NOTHING: f32 = -5e29;
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;

const LANES: u32 = 128u;
const OWN: u32 = 64u;
const TILE: u32 = 32u;
// Matrices side by side in a row, and matrices above one another in a tile.
const BLOCKS: u32 = 1u;
const TILE_BLOCKS: u32 = 2u;
const COLUMNS: u32 = 16u * BLOCKS;
const EIGHTS: u32 = 2u * BLOCKS;
// Eights of a tile that an invocation brings.
const FETCHES: u32 = 1u;
// Pairs of tiles in workgroup memory: with two, the next comes in while one is worked on.
const SLOTS: u32 = 1u;
// Fours of a row that an invocation turns to probabilities.
const FOURS: u32 = 4u;
// Tiles whose products with own rows are there together.
const ABREAST: u32 = 2u;

// Fours from row to row, with gaps so that neighbours meet different banks: of operands, of what is made of products, of
// products.
const PITCH: u32 = COLUMNS / 4u + 2u;
const HALVES_PITCH: u32 = TILE / 4u + 2u;
const SCORES_PITCH: u32 = ABREAST * (TILE / 4u + 1u);

// Tiles of rows, each with its tile of values.
var<workgroup> near: array<vec4<f16>, SLOTS * 2u * TILE * PITCH>;
// Products of own rows and those of tiles.
var<workgroup> scores: array<vec4<f32>, OWN * SCORES_PITCH>;

// One head of one batch.
struct Spot {
    pair: u32,
    batch: u32,
    head: u32,
}

fn spot_of(pair: u32) -> Spot {
    return Spot(pair, pair / HEADS, pair % HEADS);
}

// Where the rows of one head start.
fn q_head(spot: Spot) -> u32 {
    return Q_OFFSET + spot.batch * Q_B + spot.head * Q_H;
}

fn k_head(spot: Spot) -> u32 {
    return K_OFFSET + spot.batch * K_B + spot.head / GROUP * K_H;
}

fn v_head(spot: Spot) -> u32 {
    return V_OFFSET + spot.batch * V_B + spot.head / GROUP * V_H;
}

// Part of a row of the head that starts at a place, zeros where there is no such row.
fn q_eight(start: u32, row: u32, eight: u32) -> Eight {
    if row >= QUERIES {
        return Eight();
    }
    return q[(start + row * Q_R) / 8u + eight];
}

fn k_eight(start: u32, row: u32, eight: u32) -> Eight {
    if row >= KEYS {
        return Eight();
    }
    return k[(start + row * K_R) / 8u + eight];
}

fn v_eight(start: u32, row: u32, eight: u32) -> Eight {
    if row >= KEYS {
        return Eight();
    }
    return v[(start + row * V_R) / 8u + eight];
}

// Puts part of a row where `near` has that row.
fn put(row: u32, eight: u32, part: Eight) {
    near[row * PITCH + 2u * eight] = low(part);
    near[row * PITCH + 2u * eight + 1u] = high(part);
}

// Steps from the key beside a query to a key.
fn ahead_of(query: u32, key: u32) -> i32 {
    return i32(key) - i32(query) + i32(QUERIES) - i32(KEYS);
}

// Which of those so far ahead are near enough.
fn within(ahead: vec4<i32>) -> vec4<bool> {
    return (ahead <= vec4<i32>(RIGHT)) & (-ahead <= vec4<i32>(LEFT));
}

// Keys that some of the queries of a block from `first` on see, first and end.
fn keys_of(first: u32) -> vec2<u32> {
    let beside = -ahead_of(first, 0u);
    let low = max(beside - LEFT, 0);
    let high = min(i32(KEYS), beside + i32(OWN) + RIGHT);
    return vec2<u32>(u32(low), u32(max(high, 0)));
}

// Queries that see some of the keys of a block from `first` on, first and end.
fn queries_of(first: u32) -> vec2<u32> {
    let beside = ahead_of(0u, first);
    let low = max(beside - RIGHT, 0);
    let high = min(i32(QUERIES), beside + i32(OWN) + LEFT);
    return vec2<u32>(u32(low), u32(max(high, 0)));
}
