// Derivative of a convolution by its input: every invocation makes a few channels at 4 pixels, going through the terms
// (an element of the window in one filter) that the convolution spread these pixels to. All invocations of a
// workgroup share their channels. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;

// Channels that an invocation makes.
const ROWS: u32 = 8u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = DEPTH * HEIGHT * WIDTH;
    let pixels = BATCH * plane;
    let tiles_p = (pixels + 255u) / 256u;
    let tiles_c = (CHANNELS + ROWS - 1u) / ROWS;
    let tile = wg.x + wg.y * wgs.x;
    let group = tile / (tiles_p * tiles_c);
    if group >= GROUPS {
        return;
    }
    let channel0 = tile / tiles_p % tiles_c * ROWS;
    let pixel = tile % tiles_p * 256u + lane + vec4<u32>(0u, 64u, 128u, 192u);
    let valid = pixel < vec4<u32>(pixels);
    let image = pixel / plane;
    let place = pixel % plane;
    let back = place / (HEIGHT * WIDTH) + PADDING_Z;
    let bottom = place / WIDTH % HEIGHT + PADDING_Y;
    let right = place % WIDTH + PADDING_X;
    let volume = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    let base = A_OFFSET + (image * GROUPS + group) * (FILTERS * volume);
    let window = WINDOW_Z * WINDOW_Y * WINDOW_X;
    let filter0 = FIRST / window;
    let step = FIRST % window;
    // Channels past the end read the last one and are not stored.
    var row: array<u32, ROWS>;
    var c: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row[r] = B_OFFSET + group * FILTERS * (CHANNELS * window) + min(channel0 + r, CHANNELS - 1u) * window;
    }
    var element = filter0 * (CHANNELS * window) + step;
    var out_plane = filter0 * volume;
    var kz = step / (WINDOW_Y * WINDOW_X);
    var ky = step / WINDOW_X % WINDOW_Y;
    var kx = step % WINDOW_X;
    for (var term = 0u; term < TERMS; term++) {
        // Where the window lay when this element of it saw these pixels; beyond every image if nowhere.
        let tz = select(back - kz * DILATION_Z, vec4<u32>(), FLAT == 1u);
        let ty = bottom - ky * DILATION_Y;
        let tx = right - kx * DILATION_X;
        let oz = tz / STRIDE_Z;
        let oy = ty / STRIDE_Y;
        let ox = tx / STRIDE_X;
        let whole = (oz * STRIDE_Z == tz) & (oy * STRIDE_Y == ty) & (ox * STRIDE_X == tx);
        let there = (oz < vec4<u32>(OUT_DEPTH)) & (oy < vec4<u32>(OUT_HEIGHT)) & (ox < vec4<u32>(OUT_WIDTH));
        let inside = whole & there & valid;
        let at = select(vec4<u32>(A_OFFSET), base + out_plane + (oz * OUT_HEIGHT + oy) * OUT_WIDTH + ox, inside);
        let v = select(vec4<f32>(), vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]), inside);
        for (var r = 0u; r < ROWS; r++) {
            c[r] += w[row[r] + element] * v;
        }
        element++;
        kx++;
        if kx == WINDOW_X {
            kx = 0u;
            ky++;
            if ky == WINDOW_Y {
                ky = 0u;
                kz++;
                if FLAT == 1u || kz == WINDOW_Z {
                    // On to the same channels of the next filter.
                    kz = 0u;
                    out_plane += volume;
                    element += (CHANNELS - 1u) * window;
                }
            }
        }
    }
    let first = ((image * GROUPS + group) * CHANNELS + channel0) * plane + place;
    for (var r = 0u; r < ROWS; r++) {
        store(c[r], first + r * plane, valid, channel0 + r);
    }
}

fn store(c: vec4<f32>, at: vec4<u32>, valid: vec4<bool>, channel: u32) {
    if channel >= CHANNELS {
        return;
    }
    if valid.x {
        finish(c.x, at.x);
    }
    if valid.y {
        finish(c.y, at.y);
    }
    if valid.z {
        finish(c.z, at.z);
    }
    if valid.w {
        finish(c.w, at.w);
    }
}

// What is done with an element of the result.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
