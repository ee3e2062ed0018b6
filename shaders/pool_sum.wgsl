// Sum of every window; the padding counts as zeros. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

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
    var sum = 0.0;
    var ky = 0u;
    var kx = 0u;
    for (var k = 0u; k < WINDOW_Y * WINDOW_X; k++) {
        let iy = top + ky * DILATION_Y;
        let ix = left + kx * DILATION_X;
        if iy < HEIGHT && ix < WIDTH {
            sum += x[base + iy * WIDTH + ix];
        }
        kx++;
        if kx == WINDOW_X {
            kx = 0u;
            ky++;
        }
    }
    out[at] = sum;
}
