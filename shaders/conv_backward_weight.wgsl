// Derivative of a convolution by its filters: every invocation makes 8 filters at 4 places of the window, summed over
// one share of the pixels; somebody else adds the shares up. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// Shares, and pixels of each.
override SPLITS: u32 = 1u;
override CHUNK: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let columns = CHANNELS * WINDOW_Y * WINDOW_X;
    let quads = (columns + 3u) / 4u;
    let units = SPLITS * quads;
    let tiles_u = (units + 63u) / 64u;
    let tiles_f = (FILTERS + 7u) / 8u;
    let tile = wg.x + wg.y * wgs.x;
    let group = tile / (tiles_u * tiles_f);
    let unit = tile % tiles_u * 64u + lane;
    if group >= GROUPS || unit >= units {
        return;
    }
    let filter0 = tile / tiles_u % tiles_f * 8u;
    let split = unit / quads;
    let column0 = unit % quads * 4u;
    // Columns and filters past the end read the last one and are not stored.
    let column = min(column0 + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns - 1u));
    let channel = column / (WINDOW_Y * WINDOW_X);
    let shift_y = column / WINDOW_X % WINDOW_Y * DILATION_Y - PADDING_Y;
    let shift_x = column % WINDOW_X * DILATION_X - PADDING_X;
    let plane = OUT_HEIGHT * OUT_WIDTH;
    let first = split * CHUNK;
    let end = min(first + CHUNK, BATCH * plane);
    let image = first / plane;
    var oy = first % plane / OUT_WIDTH;
    var ox = first % OUT_WIDTH;
    var base = A_OFFSET + ((image * GROUPS + group) * CHANNELS + channel) * (HEIGHT * WIDTH);
    let row = B_OFFSET + (image * GROUPS + group) * FILTERS * plane + first % plane;
    let last = vec4<u32>(FILTERS - 1u);
    var g0 = row + min(filter0 + vec4<u32>(0u, 1u, 2u, 3u), last) * plane;
    var g1 = row + min(filter0 + vec4<u32>(4u, 5u, 6u, 7u), last) * plane;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    for (var pixel = first; pixel < end; pixel++) {
        let iy = oy * STRIDE_Y + shift_y;
        let ix = ox * STRIDE_X + shift_x;
        let inside = (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH));
        let at = select(vec4<u32>(A_OFFSET), base + iy * WIDTH + ix, inside);
        let v = select(vec4<f32>(), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
        c0 += dy[g0.x] * v;
        c1 += dy[g0.y] * v;
        c2 += dy[g0.z] * v;
        c3 += dy[g0.w] * v;
        c4 += dy[g1.x] * v;
        c5 += dy[g1.y] * v;
        c6 += dy[g1.z] * v;
        c7 += dy[g1.w] * v;
        g0 += vec4<u32>(1u);
        g1 += vec4<u32>(1u);
        ox++;
        if ox == OUT_WIDTH {
            ox = 0u;
            oy++;
            if oy == OUT_HEIGHT {
                // On to the next image.
                oy = 0u;
                base += vec4<u32>(GROUPS * CHANNELS * HEIGHT * WIDTH);
                g0 += vec4<u32>((GROUPS * FILTERS - 1u) * plane);
                g1 += vec4<u32>((GROUPS * FILTERS - 1u) * plane);
            }
        }
    }
    let to = ((split * GROUPS + group) * FILTERS + filter0) * columns + column0;
    let many = min(columns - column0, 4u);
    store(c0, to, many, filter0);
    store(c1, to + columns, many, filter0 + 1u);
    store(c2, to + 2u * columns, many, filter0 + 2u);
    store(c3, to + 3u * columns, many, filter0 + 3u);
    store(c4, to + 4u * columns, many, filter0 + 4u);
    store(c5, to + 5u * columns, many, filter0 + 5u);
    store(c6, to + 6u * columns, many, filter0 + 6u);
    store(c7, to + 7u * columns, many, filter0 + 7u);
}

fn store(c: vec4<f32>, at: u32, many: u32, filter0: u32) {
    if filter0 >= FILTERS {
        return;
    }
    finish(c.x, at);
    if many > 1u {
        finish(c.y, at + 1u);
    }
    if many > 2u {
        finish(c.z, at + 2u);
    }
    if many > 3u {
        finish(c.w, at + 3u);
    }
}

// What is done with an element of the result.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
