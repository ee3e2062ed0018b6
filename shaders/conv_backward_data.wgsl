// Derivative of a convolution by its input: every invocation makes 8 channels at 4 pixels, going through the terms
// (an element of the window in one filter) that the convolution spread these pixels to. All invocations of a
// workgroup share their channels. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = HEIGHT * WIDTH;
    let pixels = BATCH * plane;
    let tiles_p = (pixels + 255u) / 256u;
    let tiles_c = (CHANNELS + 7u) / 8u;
    let tile = wg.x + wg.y * wgs.x;
    let group = tile / (tiles_p * tiles_c);
    if group >= GROUPS {
        return;
    }
    let channel0 = tile / tiles_p % tiles_c * 8u;
    let pixel = tile % tiles_p * 256u + lane + vec4<u32>(0u, 64u, 128u, 192u);
    let valid = pixel < vec4<u32>(pixels);
    let image = pixel / plane;
    let place = pixel % plane;
    let bottom = place / WIDTH + PADDING_Y;
    let right = place % WIDTH + PADDING_X;
    let base = A_OFFSET + (image * GROUPS + group) * (FILTERS * OUT_HEIGHT * OUT_WIDTH);
    // Channels past the end read the last one and are not stored.
    let window = WINDOW_Y * WINDOW_X;
    let last = vec4<u32>(CHANNELS - 1u);
    let filter0 = FIRST / window;
    let step = FIRST % window;
    let row = B_OFFSET + (group * FILTERS + filter0) * (CHANNELS * window) + step;
    var f0 = row + min(channel0 + vec4<u32>(0u, 1u, 2u, 3u), last) * window;
    var f1 = row + min(channel0 + vec4<u32>(4u, 5u, 6u, 7u), last) * window;
    var out_plane = filter0 * (OUT_HEIGHT * OUT_WIDTH);
    var ky = step / WINDOW_X;
    var kx = step % WINDOW_X;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    for (var term = 0u; term < TERMS; term++) {
        // Where the window lay when this element of it saw these pixels; beyond every image if nowhere.
        let ty = bottom - ky * DILATION_Y;
        let tx = right - kx * DILATION_X;
        let oy = ty / STRIDE_Y;
        let ox = tx / STRIDE_X;
        let whole = (oy * STRIDE_Y == ty) & (ox * STRIDE_X == tx);
        let inside = whole & (oy < vec4<u32>(OUT_HEIGHT)) & (ox < vec4<u32>(OUT_WIDTH)) & valid;
        let at = select(vec4<u32>(A_OFFSET), base + out_plane + oy * OUT_WIDTH + ox, inside);
        let v = select(vec4<f32>(), vec4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]), inside);
        c0 += w[f0.x] * v;
        c1 += w[f0.y] * v;
        c2 += w[f0.z] * v;
        c3 += w[f0.w] * v;
        c4 += w[f1.x] * v;
        c5 += w[f1.y] * v;
        c6 += w[f1.z] * v;
        c7 += w[f1.w] * v;
        f0 += vec4<u32>(1u);
        f1 += vec4<u32>(1u);
        kx++;
        if kx == WINDOW_X {
            kx = 0u;
            ky++;
            if ky == WINDOW_Y {
                // On to the same channels of the next filter.
                ky = 0u;
                out_plane += OUT_HEIGHT * OUT_WIDTH;
                f0 += vec4<u32>((CHANNELS - 1u) * window);
                f1 += vec4<u32>((CHANNELS - 1u) * window);
            }
        }
    }
    let first = ((image * GROUPS + group) * CHANNELS + channel0) * plane + place;
    store(c0, first, valid, channel0);
    store(c1, first + plane, valid, channel0 + 1u);
    store(c2, first + 2u * plane, valid, channel0 + 2u);
    store(c3, first + 3u * plane, valid, channel0 + 3u);
    store(c4, first + 4u * plane, valid, channel0 + 4u);
    store(c5, first + 5u * plane, valid, channel0 + 5u);
    store(c6, first + 6u * plane, valid, channel0 + 6u);
    store(c7, first + 7u * plane, valid, channel0 + 7u);
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
