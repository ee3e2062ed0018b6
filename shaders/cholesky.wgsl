// Cholesky factors L of symmetric matrices, L Lᵀ = A, of which the lower triangle is read. The entries of a column are
// divided by the root of its pivot at the end of the launch: until then one barrier a step is enough.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<uniform> params: array<vec4<u32>, 16>;
@group(0) @binding(3) var<storage, read_write> fault: array<atomic<u32>, 4>;

// Tells that a matrix is not positive definite.
fn report(matrix: u32) {
    if atomicCompareExchangeWeak(&fault[0], 0u, params[0].x).exchanged {
        atomicStore(&fault[1], matrix);
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let matrix = wg.x + wg.y * wgs.x;
    if matrix >= BATCH {
        return;
    }
    let n = ROWS;
    let base = matrix * n * n;
    for (var e = lane; e < n * n; e += LANES) {
        out[base + e] = select(0.0, x[X_OFFSET + base + e], e % n <= e / n);
    }
    storageBarrier();
    for (var k = FROM; k < TO; k++) {
        let pivot = out[base + k * n + k];
        if lane == 0u && !(pivot > 0.0) {
            report(matrix);
        }
        let rest = n - k - 1u;
        for (var e = lane; e < rest * rest; e += LANES) {
            let i = k + 1u + e / rest;
            let j = k + 1u + e % rest;
            if j <= i {
                out[base + i * n + j] -= out[base + i * n + k] / pivot * out[base + j * n + k];
            }
        }
        storageBarrier();
    }
    for (var e = lane; e < (TO - FROM) * n; e += LANES) {
        let k = FROM + e / n;
        let i = e % n;
        if i > k {
            out[base + i * n + k] /= sqrt(out[base + k * n + k]);
        }
    }
    storageBarrier();
    for (var k = FROM + lane; k < TO; k += LANES) {
        out[base + k * n + k] = sqrt(out[base + k * n + k]);
    }
}
