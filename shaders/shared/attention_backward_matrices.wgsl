// What derivatives of attention are made of beyond its operands: `side` starts with the logarithms of the sums of the
// scores, and with the cotangent of each less the product of the row of results with its cotangent.

@group(0) @binding(3) var<storage, read> cotangent: array<Eight>;
@group(0) @binding(4) var<storage, read> side: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

override O_OFFSET: u32 = 0u;
override O_B: u32 = 0u;
override O_H: u32 = 0u;
override O_R: u32 = 16u;

// Cotangents of scores are multiplied by this while they are halves: among the probabilities of a thousand keys they would
// else be among the least halves. What is divided by it is an f32 again.
const CHANGES: f32 = 16.0;

// Cotangents of the scores.
var<workgroup> changes: array<vec4<f16>, OWN * HALVES_PITCH>;

fn o_head(spot: Spot) -> u32 {
    return O_OFFSET + spot.batch * O_B + spot.head * O_H;
}

fn o_eight(start: u32, row: u32, eight: u32) -> Eight {
    if row >= QUERIES {
        return Eight();
    }
    return cotangent[(start + row * O_R) / 8u + eight];
}

// Stores matrices of the subgroups times a factor, which lie at one of two places: their rows are those from `first` on of
// `rows`, which have `pitch` fours each from `place` on.
fn leave(first: u32, rows: u32, place: u32, pitch: u32, at: u32, factor: f32, lane: u32) {
    for (var i = 0u; i < 2u; i++) {
        let row = lane / 32u * 16u + 8u * i + lane % 32u / 4u;
        if first + row < rows {
            out[place + (first + row) * pitch + lane % 4u] = factor * scores[row * SCORES_PITCH + at * 4u + lane % 4u];
        }
    }
}
