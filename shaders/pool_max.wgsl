// Place in its plane of the maximum of every window: the first of equal ones, the first NaN if there is one. The
// padding is never it; every window holds a pixel. Arithmetic on places is modulo 2^32.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

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
    var best = 0.0;
    // Past every plane until there is a first pixel.
    var which = 0xffffffffu;
    var k = vec3<u32>();
    for (var n = 0u; n < volume(found.count); n++) {
        let pixel = element(found, k);
        if all(pixel < pixels()) {
            let place = linear(pixel, pixels());
            let v = x[base + place];
            if which == 0xffffffffu || (!is_nan(best) && (v > best || is_nan(v))) {
                best = v;
                which = place;
            }
        }
        k = next(k, found.count);
    }
    out[at] = which;
}

// Compilers may assume that NaN does not occur: look at the bits.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
