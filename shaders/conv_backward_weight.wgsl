// Derivative of a convolution by its filters: every invocation makes a few filters at 4 places of the window, summed
// over one share of the pixels; somebody else adds the shares up. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// Shares, and pixels of each.
override SPLITS: u32 = 1u;
override CHUNK: u32 = 1u;

// Filters that an invocation makes.
const ROWS: u32 = 8u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let columns = CHANNELS * WINDOW_Z * WINDOW_Y * WINDOW_X;
    let quads = (columns + 3u) / 4u;
    let units = SPLITS * quads;
    let tiles_u = (units + 63u) / 64u;
    let tiles_f = (FILTERS + ROWS - 1u) / ROWS;
    let tile = wg.x + wg.y * wgs.x;
    let group = tile / (tiles_u * tiles_f);
    let unit = tile % tiles_u * 64u + lane;
    if group >= GROUPS || unit >= units {
        return;
    }
    let filter0 = tile / tiles_u % tiles_f * ROWS;
    let split = unit / quads;
    let column0 = unit % quads * 4u;
    // Columns and filters past the end read the last one and are not stored.
    let column = min(column0 + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns - 1u));
    let channel = column / (WINDOW_Z * WINDOW_Y * WINDOW_X);
    let shift_z = column / (WINDOW_Y * WINDOW_X) % WINDOW_Z * DILATION_Z - PADDING_Z;
    let shift_y = column / WINDOW_X % WINDOW_Y * DILATION_Y - PADDING_Y;
    let shift_x = column % WINDOW_X * DILATION_X - PADDING_X;
    let plane = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    let volume = DEPTH * HEIGHT * WIDTH;
    let first = split * CHUNK;
    let end = min(first + CHUNK, BATCH * plane);
    let image = first / plane;
    var oz = first % plane / (OUT_HEIGHT * OUT_WIDTH);
    var oy = first / OUT_WIDTH % OUT_HEIGHT;
    var ox = first % OUT_WIDTH;
    var base = A_OFFSET + ((image * GROUPS + group) * CHANNELS + channel) * volume;
    var place = image * (GROUPS * FILTERS * plane) + first % plane;
    var row: array<u32, ROWS>;
    var c: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row[r] = B_OFFSET + (group * FILTERS + min(filter0 + r, FILTERS - 1u)) * plane;
    }
    for (var pixel = first; pixel < end; pixel++) {
        let iz = select(oz * STRIDE_Z + shift_z, vec4<u32>(), FLAT == 1u);
        let iy = oy * STRIDE_Y + shift_y;
        let ix = ox * STRIDE_X + shift_x;
        let inside = (iz < vec4<u32>(DEPTH)) & (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH));
        let at = select(vec4<u32>(A_OFFSET), base + (iz * HEIGHT + iy) * WIDTH + ix, inside);
        let v = select(vec4<f32>(), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
        for (var r = 0u; r < ROWS; r++) {
            c[r] += dy[row[r] + place] * v;
        }
        place++;
        ox++;
        if ox == OUT_WIDTH {
            ox = 0u;
            oy++;
            if oy == OUT_HEIGHT {
                oy = 0u;
                oz++;
                if FLAT == 1u || oz == OUT_DEPTH {
                    // On to the next image.
                    oz = 0u;
                    base += vec4<u32>(GROUPS * CHANNELS * volume);
                    place += (GROUPS * FILTERS - 1u) * plane;
                }
            }
        }
    }
    let to = ((split * GROUPS + group) * FILTERS + filter0) * columns + column0;
    let many = min(columns - column0, 4u);
    for (var r = 0u; r < ROWS; r++) {
        store(c[r], to + r * columns, many, filter0 + r);
    }
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
