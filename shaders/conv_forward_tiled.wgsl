// Convolution as an implicit matrix product through workgroup memory, filters × terms by terms × pixels of all images. A
// term is one element of the window in one channel. The terms may be summed in shares. Arithmetic on places is
// modulo 2^32.

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed, and how: shares, and terms of each.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;
override SPLITS: u32 = 1u;
override CHUNK: u32 = 1u;

// Where the filters of the group and the window of each pixel begin.
var<private> filters: u32;
var<private> base: vec4<u32>;
var<private> front: vec4<u32>;
var<private> top: vec4<u32>;
var<private> left: vec4<u32>;

fn tile_rows() -> u32 {
    return FILTERS;
}

fn tile_columns() -> u32 {
    return BATCH * OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
}

fn tile_batches() -> u32 {
    return GROUPS * SPLITS;
}

fn first_term(batch: u32) -> u32 {
    return FIRST + batch / GROUPS * CHUNK;
}

fn end_term(batch: u32) -> u32 {
    return min(first_term(batch) + CHUNK, FIRST + TERMS);
}

fn a_stride() -> u32 {
    return CHANNELS * WINDOW_Z * WINDOW_Y * WINDOW_X;
}

fn a_index(term: u32) -> u32 {
    return filters + term;
}

fn enter(batch: u32, pixel: vec4<u32>) {
    let group = batch % GROUPS;
    filters = B_OFFSET + group * FILTERS * a_stride();
    let image = pixel / (OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH);
    base = A_OFFSET + (image * GROUPS + group) * (CHANNELS * DEPTH * HEIGHT * WIDTH);
    front = pixel / (OUT_HEIGHT * OUT_WIDTH) % OUT_DEPTH * STRIDE_Z - PADDING_Z;
    top = pixel / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y - PADDING_Y;
    left = pixel % OUT_WIDTH * STRIDE_X - PADDING_X;
}

fn place(batch: u32, row: u32, column: u32) -> u32 {
    let plane = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    let image = batch / GROUPS * BATCH + column / plane;
    return ((image * GROUPS + batch % GROUPS) * FILTERS + row) * plane + column % plane;
}

fn load_columns(term: u32) -> vec4<f32> {
    let channel = term / (WINDOW_Z * WINDOW_Y * WINDOW_X) * (DEPTH * HEIGHT * WIDTH);
    let iz = select(front + term / (WINDOW_Y * WINDOW_X) % WINDOW_Z * DILATION_Z, vec4<u32>(), FLAT == 1u);
    let iy = top + term / WINDOW_X % WINDOW_Y * DILATION_Y;
    let ix = left + term % WINDOW_X * DILATION_X;
    let inside = (iz < vec4<u32>(DEPTH)) & (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH));
    let at = select(vec4<u32>(A_OFFSET), base + channel + (iz * HEIGHT + iy) * WIDTH + ix, inside);
    return select(vec4<f32>(), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
}
