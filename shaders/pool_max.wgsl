// Place in its plane of the maximum of every window: the first of equal ones, the first NaN if there is one. The
// padding is never it; every window holds a pixel. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

override X_OFFSET: u32 = 0u;
override PLANES: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= PLANES * OUT_HEIGHT * OUT_WIDTH {
        return;
    }
    let base = X_OFFSET + at / (OUT_HEIGHT * OUT_WIDTH) * (HEIGHT * WIDTH);
    let top = at / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y - PADDING_Y;
    let left = at % OUT_WIDTH * STRIDE_X - PADDING_X;
    var best = 0.0;
    // Past every plane until there is a first pixel.
    var which = 0xffffffffu;
    var ky = 0u;
    var kx = 0u;
    for (var k = 0u; k < WINDOW_Y * WINDOW_X; k++) {
        let iy = top + ky * DILATION_Y;
        let ix = left + kx * DILATION_X;
        if iy < HEIGHT && ix < WIDTH {
            let v = x[base + iy * WIDTH + ix];
            if which == 0xffffffffu || (!is_nan(best) && (v > best || is_nan(v))) {
                best = v;
                which = iy * WIDTH + ix;
            }
        }
        kx++;
        if kx == WINDOW_X {
            kx = 0u;
            ky++;
        }
    }
    out[at] = which;
}

// Compilers may assume that NaN does not occur: look at the bits.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
