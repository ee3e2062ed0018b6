// Adjoint of picking the maxima of windows: every pixel collects from the windows whose maximum it is. Arithmetic on
// places is modulo 2^32.

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

override PLACES_OFFSET: u32 = 0u;
override X_OFFSET: u32 = 0u;
override PLANES: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= PLANES * HEIGHT * WIDTH {
        return;
    }
    let place = at % (HEIGHT * WIDTH);
    let base = at / (HEIGHT * WIDTH) * (OUT_HEIGHT * OUT_WIDTH);
    let bottom = place / WIDTH + PADDING_Y;
    let right = place % WIDTH + PADDING_X;
    var sum = 0.0;
    var ky = 0u;
    var kx = 0u;
    for (var k = 0u; k < WINDOW_Y * WINDOW_X; k++) {
        // The window of which this pixel is element (ky, kx), if there is one.
        let ty = bottom - ky * DILATION_Y;
        let tx = right - kx * DILATION_X;
        let oy = ty / STRIDE_Y;
        let ox = tx / STRIDE_X;
        if oy * STRIDE_Y == ty && ox * STRIDE_X == tx && oy < OUT_HEIGHT && ox < OUT_WIDTH {
            let window = base + oy * OUT_WIDTH + ox;
            if places[PLACES_OFFSET + window] == place {
                sum += dy[X_OFFSET + window];
            }
        }
        kx++;
        if kx == WINDOW_X {
            kx = 0u;
            ky++;
        }
    }
    out[at] = sum;
}
