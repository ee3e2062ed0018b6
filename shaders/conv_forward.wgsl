// Convolution as an implicit matrix product, filters × terms by terms × pixels: every invocation makes a few filters
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

// Filters that an invocation makes.
const ROWS: u32 = 8u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let plane = OUT_DEPTH * OUT_HEIGHT * OUT_WIDTH;
    let pixels = BATCH * plane;
    let tiles_p = (pixels + 255u) / 256u;
    let tiles_f = (FILTERS + ROWS - 1u) / ROWS;
    let tile = wg.x + wg.y * wgs.x;
    let group = tile / (tiles_p * tiles_f);
    if group >= GROUPS {
        return;
    }
    let filter0 = tile / tiles_p % tiles_f * ROWS;
    let pixel = tile % tiles_p * 256u + lane + vec4<u32>(0u, 64u, 128u, 192u);
    let valid = pixel < vec4<u32>(pixels);
    let image = pixel / plane;
    let place = pixel % plane;
    let front = place / (OUT_HEIGHT * OUT_WIDTH) * STRIDE_Z - PADDING_Z;
    let top = select(vec4<u32>(NOWHERE), place / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y - PADDING_Y, valid);
    let left = place % OUT_WIDTH * STRIDE_X - PADDING_X;
    let volume = DEPTH * HEIGHT * WIDTH;
    let base = A_OFFSET + (image * GROUPS + group) * (CHANNELS * volume);
    let window = WINDOW_Z * WINDOW_Y * WINDOW_X;
    // Filters past the end read the last one and are not stored.
    var row: array<u32, ROWS>;
    var c: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row[r] = B_OFFSET + FIRST + (group * FILTERS + min(filter0 + r, FILTERS - 1u)) * (CHANNELS * window);
    }
    var channel = FIRST / window * volume;
    var kz = FIRST / (WINDOW_Y * WINDOW_X) % WINDOW_Z;
    var ky = FIRST / WINDOW_X % WINDOW_Y;
    var kx = FIRST % WINDOW_X;
    for (var term = 0u; term < TERMS; term++) {
        let iz = select(front + kz * DILATION_Z, vec4<u32>(), FLAT == 1u);
        let iy = top + ky * DILATION_Y;
        let ix = left + kx * DILATION_X;
        let inside = (iz < vec4<u32>(DEPTH)) & (iy < vec4<u32>(HEIGHT)) & (ix < vec4<u32>(WIDTH));
        let at = select(vec4<u32>(A_OFFSET), base + channel + (iz * HEIGHT + iy) * WIDTH + ix, inside);
        let v = select(vec4<f32>(), vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
        for (var r = 0u; r < ROWS; r++) {
            c[r] += w[row[r] + term] * v;
        }
        kx++;
        if kx == WINDOW_X {
            kx = 0u;
            ky++;
            if ky == WINDOW_Y {
                ky = 0u;
                kz++;
                if FLAT == 1u || kz == WINDOW_Z {
                    kz = 0u;
                    channel += volume;
                }
            }
        }
    }
    let first = ((image * GROUPS + group) * FILTERS + filter0) * plane + place;
    for (var r = 0u; r < ROWS; r++) {
        store(c[r], first + r * plane, valid, filter0 + r);
    }
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
