// Derivative of a convolution by its filters through workgroup memory, filters × pixels by pixels × places of the window,
// each summed over one share of the pixels; somebody else adds the shares up. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> b: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// Shares, and pixels of each.
override SPLITS: u32 = 1u;
override CHUNK: u32 = 1u;

// Where the cotangents of the group begin, and the images under each place of the window.
var<private> cotangents: u32;
var<private> base: vec4<u32>;
var<private> shift_z: vec4<u32>;
var<private> shift_y: vec4<u32>;
var<private> shift_x: vec4<u32>;

fn tile_rows() -> u32 {
    return FILTERS;
}

fn tile_columns() -> u32 {
    return CHANNELS * WINDOW_Z * WINDOW_Y * WINDOW_X;
}

fn tile_batches() -> u32 {
    return GROUPS * SPLITS;
}

fn first_term(batch: u32) -> u32 {
    return batch / GROUPS * CHUNK;
}

fn end_term(batch: u32) -> u32 {
    return min(first_term(batch) + CHUNK, BATCH * a_stride());
}

fn a_stride() -> u32 {
    return OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
}

fn a_index(pixel: u32) -> u32 {
    return cotangents + pixel / a_stride() * (GROUPS * FILTERS * a_stride()) + pixel % a_stride();
}

fn enter(batch: u32, element: vec4<u32>) {
    let group = batch % GROUPS;
    cotangents = B_OFFSET + group * FILTERS * a_stride();
    let channel = element / (WINDOW_Z * WINDOW_Y * WINDOW_X);
    base = A_OFFSET + (group * CHANNELS + channel) * (DEPTH * HEIGHT * WIDTH);
    shift_z = element / (WINDOW_Y * WINDOW_X) % WINDOW_Z * DILATION_Z - PADDING_Z;
    shift_y = element / WINDOW_X % WINDOW_Y * DILATION_Y - PADDING_Y;
    shift_x = element % WINDOW_X * DILATION_X - PADDING_X;
}

fn place(batch: u32, row: u32, column: u32) -> u32 {
    return (batch * FILTERS + row) * tile_columns() + column;
}

fn load_columns(pixel: u32) -> vec4<f32> {
    let image = pixel / a_stride() * (GROUPS * CHANNELS * DEPTH * HEIGHT * WIDTH);
    let oz = pixel / (OUT_HEIGHT * OUT_WIDTH) % OUT_DEPTH;
    let iz = select(oz * STRIDE_Z + shift_z, vec4<u32>(), FLAT == 1u);
    let iy = pixel / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y + shift_y;
    let ix = pixel % OUT_WIDTH * STRIDE_X + shift_x;
    let inside = (iz < vec4<u32>(DEPTH)) & (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH));
    let at = select(vec4<u32>(A_OFFSET), base + image + (iz * HEIGHT + iy) * WIDTH + ix, inside);
    return select(vec4<f32>(), vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]), inside);
}
