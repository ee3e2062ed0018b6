// Derivative of a convolution by its input through workgroup memory, channels × terms by terms × pixels of all images. A
// term is one element of the window in one filter. The terms may be summed in shares. Arithmetic on places is
// modulo 2^32.

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed, and how: shares, and terms of each.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;
override SPLITS: u32 = 1u;
override CHUNK: u32 = 1u;

// Where the filters of the group begin, the cotangents of each pixel's image, and the pixel with the padding.
var<private> filters: u32;
var<private> base: vec4<u32>;
var<private> back: vec4<u32>;
var<private> bottom: vec4<u32>;
var<private> right: vec4<u32>;

fn tile_rows() -> u32 {
    return CHANNELS;
}

fn tile_columns() -> u32 {
    return BATCH * DEPTH * HEIGHT * WIDTH;
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
    return WINDOW_Z * WINDOW_Y * WINDOW_X;
}

fn a_index(term: u32) -> u32 {
    return filters + term / a_stride() * (CHANNELS * a_stride()) + term % a_stride();
}

fn enter(batch: u32, pixel: vec4<u32>) {
    let group = batch % GROUPS;
    filters = B_OFFSET + group * FILTERS * (CHANNELS * a_stride());
    let image = pixel / (DEPTH * HEIGHT * WIDTH);
    base = A_OFFSET + (image * GROUPS + group) * (FILTERS * OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH);
    back = pixel / (HEIGHT * WIDTH) % DEPTH + PADDING_Z;
    bottom = pixel / WIDTH % HEIGHT + PADDING_Y;
    right = pixel % WIDTH + PADDING_X;
}

fn place(batch: u32, row: u32, column: u32) -> u32 {
    let plane = DEPTH * HEIGHT * WIDTH;
    let image = batch / GROUPS * BATCH + column / plane;
    return ((image * GROUPS + batch % GROUPS) * CHANNELS + row) * plane + column % plane;
}

fn load_columns(term: u32) -> vec4<f32> {
    let filter_plane = term / (WINDOW_Z * WINDOW_Y * WINDOW_X) * (OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH);
    // Where the window lay when this element of it saw these pixels; beyond every image if nowhere.
    let tz = select(back - term / (WINDOW_Y * WINDOW_X) % WINDOW_Z * DILATION_Z, vec4<u32>(), FLAT == 1u);
    let ty = bottom - term / WINDOW_X % WINDOW_Y * DILATION_Y;
    let tx = right - term % WINDOW_X * DILATION_X;
    let oz = tz / STRIDE_Z;
    let oy = ty / STRIDE_Y;
    let ox = tx / STRIDE_X;
    let whole = (oz * STRIDE_Z == tz) & (oy * STRIDE_Y == ty) & (ox * STRIDE_X == tx);
    let there = (oz < vec4<u32>(OUT_DEPTH)) & (oy < vec4<u32>(OUT_HEIGHT)) & (ox < vec4<u32>(OUT_WIDTH));
    let inside = whole & there;
    let at = select(vec4<u32>(A_OFFSET), base + filter_plane + (oz * OUT_HEIGHT + oy) * OUT_WIDTH + ox, inside);
    return select(vec4<f32>(), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
}
