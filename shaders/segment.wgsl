// Elements of [OUTER, AXIS, INNER] combined over segments of the axis: [OUTER, ROWS, INNER]. Offsets bound the
// segments, in the order that ORDERED numbers give to the elements; WEIGHTED elements are multiplied first. Segments
// are cut where chunks of the axis end, so that no invocation goes through more than a chunk: a first launch combines
// PIECES (numbered in the order in which segments and chunks end), a second one the pieces of every segment.

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

override OUTER: u32 = 1u;
override AXIS: u32 = 1u;
override INNER: u32 = 1u;
override ROWS: u32 = 1u;
override SEGMENTS: u32 = 1u;
// Elements in segments.
override LEN: u32 = 1u;
override CHUNK: u32 = 1u;
override CHUNKS: u32 = 1u;
// 0: whole segments; 1: pieces; 2: segments of pieces.
override PASS: u32 = 0u;
override ORDERED: u32 = 0u;
override WEIGHTED: u32 = 0u;
override X_OFFSET: u32 = 0u;
override OFFSETS_OFFSET: u32 = 0u;
override ORDER_OFFSET: u32 = 0u;
override WEIGHTS_OFFSET: u32 = 0u;

fn nothing() -> u32 {
    return 0u;
}

fn join(a: u32, b: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
}

fn weighed(weight: u32, word: u32) -> u32 {
    return bitcast<u32>(bitcast<f32>(weight) * bitcast<f32>(word));
}

fn offset(s: u32) -> u32 {
    return min(offsets[OFFSETS_OFFSET + s], LEN);
}

// The piece a segment starts with.
fn first_piece(s: u32) -> u32 {
    let start = offset(s);
    return s + (max(start, 1u) - 1u) / CHUNK;
}

// First and end of what a row combines.
fn bounds(row: u32) -> vec2<u32> {
    if PASS == 0u {
        return vec2<u32>(offset(row), offset(row + 1u));
    }
    if PASS == 2u {
        return vec2<u32>(first_piece(row), first_piece(row + 1u));
    }
    // Of the first `row` ends, those of segments, which come before equal ones of chunks.
    var low = row - min(row, CHUNKS);
    var high = min(row, SEGMENTS);
    while low < high {
        let middle = (low + high) / 2u;
        if offset(middle + 1u) <= (row - middle) * CHUNK {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    let chunk = row - low;
    if low >= SEGMENTS || chunk >= CHUNKS {
        return vec2<u32>(0u, 0u);
    }
    return vec2<u32>(max(offset(low), chunk * CHUNK), min(offset(low + 1u), (chunk + 1u) * CHUNK));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= OUTER * ROWS * INNER {
        return;
    }
    let i = at % INNER;
    let row = at / INNER % ROWS;
    let o = at / INNER / ROWS;
    let range = bounds(row);
    var sum = nothing();
    for (var k = range.x; k < range.y; k++) {
        var which = k;
        if ORDERED == 1u {
            which = order[ORDER_OFFSET + k];
        }
        var word = x[X_OFFSET + (o * AXIS + which) * INNER + i];
        if WEIGHTED == 1u {
            word = weighed(weights[WEIGHTS_OFFSET + k], word);
        }
        sum = join(sum, word);
    }
    out[at] = sum;
}
