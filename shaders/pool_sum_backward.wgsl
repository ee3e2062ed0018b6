// Adjoint of the sums of windows: every pixel collects from the windows that contain it. Arithmetic on places is
// modulo 2^32.

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= PLANES * volume(pixels()) {
        return;
    }
    let base = X_OFFSET + at / volume(pixels()) * volume(windows());
    let found = holders(coordinates(at, pixels()));
    var sum = 0.0;
    var k = vec3<u32>();
    for (var n = 0u; n < volume(found.count); n++) {
        let window = holder(found, k);
        if all(window < windows()) {
            sum += dy[base + linear(window, windows())];
        }
        k = next(k, found.count);
    }
    out[at] = sum;
}
