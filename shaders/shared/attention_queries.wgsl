// Queries and the cotangents of their results come by, with the logarithms of the sums of their scores and what is
// added to a change. They belong to the head whose rows start here.
var<private> q_start: u32;
var<private> o_start: u32;
var<workgroup> rest: array<vec2<f32>, TILE>;

fn passing_row(query: u32, quad: u32) -> vec4<f32> {
    return SCALE * q_four(q_start + min(query, QUERIES - 1u) * Q_R, quad);
}

fn passing_value(query: u32, quad: u32) -> vec4<f32> {
    return o_four(o_start + min(query, QUERIES - 1u) * O_R, quad);
}

fn passing_rest(pair: u32, query: u32) -> vec2<f32> {
    let t = min(query, QUERIES - 1u);
    return vec2<f32>(side[pair * QUERIES + t], side[(PAIRS + pair) * QUERIES + t]);
}

// Brings what belongs to the rows from `tile` on.
fn fetch_rest(pair: u32, tile: u32, lane: u32) {
    if lane < TILE {
        rest[lane] = passing_rest(pair, tile + lane);
    }
}

fn rest_at(j: u32) -> vec2<f32> {
    return rest[j];
}
