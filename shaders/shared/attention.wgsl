// Sizes of an attention, how its rows lie and which scores there are. Places are `offset + batch * B + head * H +
// row * R + column * C`; arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;

// Head and batch together.
override PAIRS: u32 = 1u;
override HEADS: u32 = 1u;
// Heads of queries that share a head of keys and values.
override GROUP: u32 = 1u;
override QUERIES: u32 = 1u;
override KEYS: u32 = 1u;
// Elements of a query or a key, and of a value.
override COLUMNS: u32 = 1u;
override VALUE_COLUMNS: u32 = 1u;
override SCALE: f32 = 1.0;
// Scores are kept below this; 0 for no bound.
override CAP: f32 = 0.0;
// How far a key may lie before and behind the one that stands beside a query.
override LEFT: i32 = 0x3fffffff;
override RIGHT: i32 = 0x3fffffff;
// What this launch goes through of the rows that go by.
override FROM: u32 = 0u;
override TO: u32 = 1u;
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
override BIAS_OFFSET: u32 = 0u;
override BIAS_B: u32 = 0u;
override BIAS_H: u32 = 0u;
override BIAS_R: u32 = 0u;
override BIAS_C: u32 = 0u;
override MASK_OFFSET: u32 = 0u;
override MASK_B: u32 = 0u;
override MASK_H: u32 = 0u;
override MASK_R: u32 = 0u;
override MASK_C: u32 = 0u;
// Places of small operands in `side`.
override SLOPES: u32 = 0u;
override LENGTHS: u32 = 0u;
override DRAWS: u32 = 0u;
// Dropout: words below this drop their probability, the others multiply theirs by KEEP; batches with draws of their own.
override THRESHOLD: u32 = 0u;
override KEEP: f32 = 1.0;
override DRAWN_BATCH: u32 = 1u;

// Far below every score, far above the lowest float.
const NOTHING: f32 = -1e30;
const HALF_NOTHING: f32 = -5e29;

// Four columns each.
const QUADS: u32 = 2u;
const VALUE_QUADS: u32 = 2u;
// Invocations that work together, and rows that each of them has.
const LANES: u32 = 64u;
const OWN: u32 = 1u;
// Rows that come by together.
const TILE: u32 = 16u;

// What comes by is rows, each with a row of values: keys and values for queries, queries and the cotangents of their
// results for keys.
var<workgroup> rows: array<vec4<f32>, QUADS * TILE>;
var<workgroup> values: array<vec4<f32>, VALUE_QUADS * TILE>;

// Brings the rows from `tile` on.
fn fetch(tile: u32, lane: u32) {
    for (var at = lane; at < TILE * QUADS; at += LANES) {
        rows[at] = passing_row(tile + at / QUADS, at % QUADS);
    }
    for (var at = lane; at < TILE * VALUE_QUADS; at += LANES) {
        values[at] = passing_value(tile + at / VALUE_QUADS, at % VALUE_QUADS);
    }
}

// Four columns of row j of those that were fetched.
fn row_at(j: u32, quad: u32) -> vec4<f32> {
    return rows[j * QUADS + quad];
}

fn value_at(j: u32, quad: u32) -> vec4<f32> {
    return values[j * VALUE_QUADS + quad];
}

// Waits until all have fetched, or are done with what was fetched.
fn meet() {
    workgroupBarrier();
}

// One head of one batch.
struct Spot {
    pair: u32,
    batch: u32,
    head: u32,
    // Queries and keys it has.
    lengths: vec2<i32>,
    slope: f32,
}

fn spot_of(pair: u32) -> Spot {
    let batch = pair / HEADS;
    return Spot(pair, batch, pair % HEADS, lengths_of(batch), slope_of(pair));
}

// Queries and keys of a batch.
fn lengths_of(batch: u32) -> vec2<i32> {
    return vec2<i32>(i32(QUERIES), i32(KEYS));
}

// What a step away from the key beside a query takes from a score.
fn slope_of(pair: u32) -> f32 {
    return 0.0;
}

// What is added to a score.
fn bias_of(spot: Spot, query: u32, key: u32) -> f32 {
    return 0.0;
}

// Whether a query may see a key.
fn is_allowed(spot: Spot, query: u32, key: u32) -> bool {
    return true;
}

// What a probability is multiplied by: 0 where it is dropped.
fn kept(spot: Spot, query: u32, key: u32) -> f32 {
    return 1.0;
}

// Four places of a row from `row` on; past the end the last one.
fn places(row: u32, quad: u32, step: u32, columns: u32) -> vec4<u32> {
    return row + min(4u * quad + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns - 1u)) * step;
}

// Which of four columns there are.
fn there(quad: u32, columns: u32) -> vec4<bool> {
    return 4u * quad + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(columns);
}

// Bounded product of a query and a key.
fn bounded(product: f32) -> f32 {
    if CAP == 0.0 {
        return product;
    }
    // Some tanh overflow; it is 1 to the last bit from 10 on.
    return CAP * tanh(clamp(product / CAP, -15.0, 15.0));
}

// Derivative of the bounded product by the product.
fn bounded_slope(bounded: f32) -> f32 {
    return select(1.0 - bounded * bounded / (CAP * CAP), 1.0, CAP == 0.0);
}

// Score of a query and a key from their bounded product; NOTHING where the query does not see the key.
fn score_of(spot: Spot, query: u32, key: u32, bounded: f32) -> f32 {
    // Steps from the key beside the query.
    let ahead = i32(key) - i32(query) - spot.lengths.y + spot.lengths.x;
    let seen = i32(query) < spot.lengths.x && i32(key) < spot.lengths.y && ahead <= RIGHT && -ahead <= LEFT;
    if !seen || !is_allowed(spot, query, key) {
        return NOTHING;
    }
    let score = bounded + bias_of(spot, query, key) - spot.slope * f32(abs(ahead));
    return select(score, NOTHING, score < HALF_NOTHING);
}

// Keys that some of the queries of a block from `first` on see, first and end.
fn keys_of(spot: Spot, first: u32) -> vec2<u32> {
    let beside = i32(first) + spot.lengths.y - spot.lengths.x;
    let low = max(i32(FROM), beside - LEFT);
    let high = min(min(i32(TO), spot.lengths.y), beside + i32(LANES * OWN) + RIGHT);
    return vec2<u32>(max(vec2<i32>(low, high), vec2<i32>()));
}

// Queries that see some of the keys of a block from `first` on, first and end.
fn queries_of(spot: Spot, first: u32) -> vec2<u32> {
    let beside = i32(first) - spot.lengths.y + spot.lengths.x;
    let low = max(i32(FROM), beside - RIGHT);
    let high = min(min(i32(TO), spot.lengths.x), beside + i32(LANES * OWN) + LEFT);
    return vec2<u32>(max(vec2<i32>(low, high), vec2<i32>()));
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

// Four columns of the row that starts at a place, zeros past the end.
fn q_four(row: u32, quad: u32) -> vec4<f32> {
    let p = places(row, quad, Q_C, COLUMNS);
    return select(vec4<f32>(), vec4<f32>(q[p.x], q[p.y], q[p.z], q[p.w]), there(quad, COLUMNS));
}

fn k_four(row: u32, quad: u32) -> vec4<f32> {
    let p = places(row, quad, K_C, COLUMNS);
    return select(vec4<f32>(), vec4<f32>(k[p.x], k[p.y], k[p.z], k[p.w]), there(quad, COLUMNS));
}

fn v_four(row: u32, quad: u32) -> vec4<f32> {
    let p = places(row, quad, V_C, VALUE_COLUMNS);
    return select(vec4<f32>(), vec4<f32>(v[p.x], v[p.y], v[p.z], v[p.w]), there(quad, VALUE_COLUMNS));
}

// Writes four columns of a result.
fn store(place: u32, values: vec4<f32>, valid: vec4<bool>) {
    out[place] = values.x;
    if valid.y {
        out[place + 1u] = values.y;
    }
    if valid.z {
        out[place + 2u] = values.z;
    }
    if valid.w {
        out[place + 3u] = values.w;
    }
}
