// Adjoint of picking the maxima of windows: every pixel collects from the windows whose maximum it is. Arithmetic on
// places is modulo 2^32.

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

override PLACES_OFFSET: u32 = 0u;

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
    let place = at % volume(pixels());
    let base = at / volume(pixels()) * volume(windows());
    let found = holders(coordinates(at, pixels()));
    var sum = 0.0;
    var k = vec3<u32>();
    for (var n = 0u; n < volume(found.count); n++) {
        let window = holder(found, k);
        if all(window < windows()) {
            let source = base + linear(window, windows());
            if places[PLACES_OFFSET + source] == place {
                sum += dy[X_OFFSET + source];
            }
        }
        k = next(k, found.count);
    }
    out[at] = sum;
}
