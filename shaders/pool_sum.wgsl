// Sum of every window; the padding counts as zeros. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= PLANES * volume(windows()) {
        return;
    }
    let base = X_OFFSET + at / volume(windows()) * volume(pixels());
    let found = elements(coordinates(at, windows()));
    var sum = 0.0;
    var k = vec3<u32>();
    for (var n = 0u; n < volume(found.count); n++) {
        let pixel = element(found, k);
        if all(pixel < pixels()) {
            sum += x[base + linear(pixel, pixels())];
        }
        k = next(k, found.count);
    }
    out[at] = sum;
}
