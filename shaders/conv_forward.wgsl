// Convolution as an implicit matrix product, filters × terms by terms × pixels: every invocation makes 8 filters
// at 4 pixels straight from memory. A term is one element of the window in one channel. All invocations of a
// workgroup share their filters. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

// The terms that are summed.
override FIRST: u32 = 0u;
override TERMS: u32 = 1u;

// A row outside of every image.
const NOWHERE: u32 = 0x80000000u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = OUT_HEIGHT * OUT_WIDTH;
    let pixels = BATCH * plane;
    let tiles_p = (pixels + 255u) / 256u;
    let tiles_f = (FILTERS + 7u) / 8u;
    let tile = wg.x + wg.y * wgs.x;
    let group = tile / (tiles_p * tiles_f);
    if group >= GROUPS {
        return;
    }
    let filter0 = tile / tiles_p % tiles_f * 8u;
    let pixel = tile % tiles_p * 256u + lane + vec4<u32>(0u, 64u, 128u, 192u);
    let image = pixel / plane;
    let place = pixel % plane;
    let top = select(vec4<u32>(NOWHERE), place / OUT_WIDTH * STRIDE_Y - PADDING_Y, pixel < vec4<u32>(pixels));
    let left = place % OUT_WIDTH * STRIDE_X - PADDING_X;
    let base = A_OFFSET + (image * GROUPS + group) * (CHANNELS * HEIGHT * WIDTH);
    // Filters past the end read the last one and are not stored.
    let row = B_OFFSET + group * FILTERS * (CHANNELS * WINDOW_Y * WINDOW_X) + FIRST;
    let row_step = CHANNELS * WINDOW_Y * WINDOW_X;
    let last = vec4<u32>(FILTERS - 1u);
    var f0 = row + min(filter0 + vec4<u32>(0u, 1u, 2u, 3u), last) * row_step;
    var f1 = row + min(filter0 + vec4<u32>(4u, 5u, 6u, 7u), last) * row_step;
    var channel = FIRST / (WINDOW_Y * WINDOW_X) * (HEIGHT * WIDTH);
    var ky = FIRST / WINDOW_X % WINDOW_Y;
    var kx = FIRST % WINDOW_X;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    for (var term = 0u; term < TERMS; term++) {
        let iy = top + ky * DILATION_Y;
        let ix = left + kx * DILATION_X;
        let inside = (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH));
        let at = select(vec4<u32>(A_OFFSET), base + channel + iy * WIDTH + ix, inside);
        let v = select(vec4<f32>(), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
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
                ky = 0u;
                channel += HEIGHT * WIDTH;
            }
        }
    }
    let first = ((image * GROUPS + group) * FILTERS + filter0) * plane + place;
    let valid = pixel < vec4<u32>(pixels);
    store(c0, first, valid, filter0);
    store(c1, first + plane, valid, filter0 + 1u);
    store(c2, first + 2u * plane, valid, filter0 + 2u);
    store(c3, first + 3u * plane, valid, filter0 + 3u);
    store(c4, first + 4u * plane, valid, filter0 + 4u);
    store(c5, first + 5u * plane, valid, filter0 + 5u);
    store(c6, first + 6u * plane, valid, filter0 + 6u);
    store(c7, first + 7u * plane, valid, filter0 + 7u);
}

fn store(c: vec4<f32>, at: vec4<u32>, valid: vec4<bool>, filter0: u32) {
    if filter0 >= FILTERS {
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
