// Derivative of a convolution by its filters in tiles of subgroups, filters × pixels by pixels × places of the window,
// each summed over one share of the pixels; somebody else adds the shares up. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// Shares, and pixels of each.
override SPLITS: u32 = 1u;
override CHUNK: u32 = 1u;

// The share, and where the images lie under each place of the window.
var<private> first_pixel: u32;
var<private> share: u32;
var<private> base: vec4<u32>;
var<private> shift_z: vec4<u32>;
var<private> shift_y: vec4<u32>;
var<private> shift_x: vec4<u32>;
var<private> out_place: u32;

fn tile_rows() -> u32 {
    return FILTERS;
}

fn tile_columns() -> u32 {
    return CHANNELS * WINDOW_Z * WINDOW_Y * WINDOW_X;
}

fn tile_batches() -> u32 {
    return GROUPS * SPLITS;
}

fn pixels() -> u32 {
    return BATCH * OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
}

fn terms() -> u32 {
    return share;
}

fn counts(term: u32) -> bool {
    return (CHUNK % STEPS == 0u && pixels() % STEPS == 0u) || term < share;
}

fn enter(batch: u32, row0: u32, lane: u32, column: u32) {
    let group = batch % GROUPS;
    let split = batch / GROUPS;
    let plane = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    first_pixel = min(split * CHUNK, pixels());
    share = min(CHUNK, pixels() - first_pixel);
    enter_rows(B_OFFSET + group * FILTERS * plane, plane, row0, lane);
    // Columns past the end read the last one and are not stored.
    let element = min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(tile_columns() - 1u));
    let channel = element / (WINDOW_Z * WINDOW_Y * WINDOW_X);
    base = A_OFFSET + (group * CHANNELS + channel) * (DEPTH * HEIGHT * WIDTH);
    shift_z = element / (WINDOW_Y * WINDOW_X) % WINDOW_Z * DILATION_Z - PADDING_Z;
    shift_y = element / WINDOW_X % WINDOW_Y * DILATION_Y - PADDING_Y;
    shift_x = element % WINDOW_X * DILATION_X - PADDING_X;
    out_place = batch * (FILTERS * tile_columns());
}

fn place(row: u32, column: u32, j: u32) -> u32 {
    return out_place + row * tile_columns() + column + j;
}

fn a_index(at: u32, term: u32) -> u32 {
    let plane = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    let pixel = first_pixel + term;
    return at + pixel / plane * (GROUPS * FILTERS * plane) + pixel % plane;
}

fn load_columns(columns: ptr<function, array<vec4<f32>, STEPS>>, first: u32) {
    for (var step = 0u; step < STEPS; step++) {
        let pixel = first_pixel + first + step;
        let image = pixel / (OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH) * (GROUPS * CHANNELS * DEPTH * HEIGHT * WIDTH);
        let oz = pixel / (OUT_HEIGHT * OUT_WIDTH) % OUT_DEPTH;
        let iz = select(oz * STRIDE_Z + shift_z, vec4<u32>(), FLAT == 1u);
        let iy = pixel / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y + shift_y;
        let ix = pixel % OUT_WIDTH * STRIDE_X + shift_x;
        let inside = (iz < vec4<u32>(DEPTH)) & (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH))
            & vec4<bool>(counts(first + step));
        let at = select(vec4<u32>(A_OFFSET), base + image + (iz * HEIGHT + iy) * WIDTH + ix, inside);
        (*columns)[step] = select(vec4<f32>(), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
    }
}
