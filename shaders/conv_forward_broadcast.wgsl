// Convolution as an implicit matrix product in tiles of subgroups, filters × terms by terms × pixels. A term is one element
// of the window in one channel. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;

// Where the window of each pixel begins.
var<private> base: vec4<u32>;
var<private> front: vec4<u32>;
var<private> top: vec4<u32>;
var<private> left: vec4<u32>;
var<private> out_place: vec4<u32>;

fn tile_rows() -> u32 {
    return FILTERS;
}

fn tile_columns() -> u32 {
    return BATCH * OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
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
    let plane = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    let filter_len = CHANNELS * WINDOW_Z * WINDOW_Y * WINDOW_X;
    enter_rows(B_OFFSET + group * FILTERS * filter_len, filter_len, row0, lane);
    // Pixels past the end read the last one and are not stored.
    let pixel = min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(BATCH * plane - 1u));
    let image = pixel / plane;
    let spot = pixel % plane;
    base = A_OFFSET + (image * GROUPS + group) * (CHANNELS * DEPTH * HEIGHT * WIDTH);
    front = spot / (OUT_HEIGHT * OUT_WIDTH) * STRIDE_Z - PADDING_Z;
    top = spot / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y - PADDING_Y;
    left = spot % OUT_WIDTH * STRIDE_X - PADDING_X;
    out_place = (image * GROUPS + group) * (FILTERS * plane) + spot;
}

fn place(row: u32, column: u32, j: u32) -> u32 {
    return out_place[j] + row * (OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH);
}

fn a_index(at: u32, term: u32) -> u32 {
    return at + FIRST + term;
}

fn load_columns(columns: ptr<function, array<vec4<f32>, STEPS>>, first: u32) {
    for (var step = 0u; step < STEPS; step++) {
        let term = FIRST + first + step;
        let channel = term / (WINDOW_Z * WINDOW_Y * WINDOW_X) * (DEPTH * HEIGHT * WIDTH);
        let iz = select(front + term / (WINDOW_Y * WINDOW_X) % WINDOW_Z * DILATION_Z, vec4<u32>(), FLAT == 1u);
        let iy = top + term / WINDOW_X % WINDOW_Y * DILATION_Y;
        let ix = left + term % WINDOW_X * DILATION_X;
        let inside = (iz < vec4<u32>(DEPTH)) & (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH))
            & vec4<bool>(counts(first + step));
        let at = select(vec4<u32>(A_OFFSET), base + channel + (iz * HEIGHT + iy) * WIDTH + ix, inside);
        (*columns)[step] = select(vec4<f32>(), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
    }
}
