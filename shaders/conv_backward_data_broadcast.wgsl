// Derivative of a convolution by its input in tiles of subgroups, channels × terms by terms × pixels. A term is an
// element of the window in one filter. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;

// Where each pixel lies, counted from the first place of a window.
var<private> base: vec4<u32>;
var<private> back: vec4<u32>;
var<private> bottom: vec4<u32>;
var<private> right: vec4<u32>;
var<private> out_place: vec4<u32>;

fn tile_rows() -> u32 {
    return CHANNELS;
}

fn tile_columns() -> u32 {
    return BATCH * DEPTH * HEIGHT * WIDTH;
}

fn tile_batches() -> u32 {
    return GROUPS;
}

fn terms() -> u32 {
    return TERMS;
}

fn counts(term: u32) -> bool {
    return TERMS % STEPS == 0u || term < TERMS;
}

fn enter(group: u32, row0: u32, lane: u32, column: u32) {
    let plane = DEPTH * HEIGHT * WIDTH;
    let window = WINDOW_Z * WINDOW_Y * WINDOW_X;
    enter_rows(B_OFFSET + group * FILTERS * (CHANNELS * window), window, row0, lane);
    // Pixels past the end read the last one and are not stored.
    let pixel = min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(BATCH * plane - 1u));
    let image = pixel / plane;
    let spot = pixel % plane;
    base = A_OFFSET + (image * GROUPS + group) * (FILTERS * OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH);
    back = spot / (HEIGHT * WIDTH) + PADDING_Z;
    bottom = spot / WIDTH % HEIGHT + PADDING_Y;
    right = spot % WIDTH + PADDING_X;
    out_place = (image * GROUPS + group) * (CHANNELS * plane) + spot;
}

fn place(row: u32, column: u32, j: u32) -> u32 {
    return out_place[j] + row * (DEPTH * HEIGHT * WIDTH);
}

fn a_index(at: u32, term: u32) -> u32 {
    let window = WINDOW_Z * WINDOW_Y * WINDOW_X;
    return at + (FIRST + term) / window * (CHANNELS * window) + (FIRST + term) % window;
}

fn load_columns(columns: ptr<function, array<vec4<f32>, STEPS>>, first: u32) {
    for (var step = 0u; step < STEPS; step++) {
        let term = FIRST + first + step;
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
        let inside = whole & there & vec4<bool>(counts(first + step));
        let at =
            select(vec4<u32>(A_OFFSET), base + filter_plane + (oz * OUT_HEIGHT + oy) * OUT_WIDTH + ox, inside);
        (*columns)[step] = select(vec4<f32>(), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
    }
}
