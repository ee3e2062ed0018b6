// QR factors by Householder's reflections H = I − τ v vᵀ: R in and above the diagonal, the vectors v below it (their first
// entry is 1), and behind the matrix the numbers τ.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> parts: array<f32, LANES>;

// Sum of the squares of column k below the diagonal.
fn rest_of_column(base: u32, k: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var i = k + 1u + lane; i < ROWS; i += LANES) {
        let v = out[base + i * COLUMNS + k];
        sum += v * v;
    }
    parts[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            parts[lane] += parts[lane + half];
        }
        workgroupBarrier();
    }
    return parts[0];
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
    let m = ROWS;
    let n = COLUMNS;
    let size = m * n;
    let whole = size + min(m, n);
    let base = matrix * whole;
    let start = X_OFFSET + matrix * select(whole, size, FROM == 0u);
    for (var e = lane; e < select(whole, size, FROM == 0u); e += LANES) {
        out[base + e] = x[start + e];
    }
    storageBarrier();
    for (var k = FROM; k < TO; k++) {
        let below = rest_of_column(base, k, lane);
        let head = out[base + k * n + k];
        // A column that is 0 below the diagonal stays as it is.
        var beta = head;
        var tau = 0.0;
        var scale = 0.0;
        if below > 0.0 {
            beta = select(1.0, -1.0, head >= 0.0) * sqrt(head * head + below);
            tau = (beta - head) / beta;
            scale = 1.0 / (head - beta);
        }
        for (var j = k + 1u + lane; j < n; j += LANES) {
            var sum = out[base + k * n + j];
            for (var i = k + 1u; i < m; i++) {
                sum += scale * out[base + i * n + k] * out[base + i * n + j];
            }
            sum *= tau;
            out[base + k * n + j] -= sum;
            for (var i = k + 1u; i < m; i++) {
                out[base + i * n + j] -= scale * out[base + i * n + k] * sum;
            }
        }
        storageBarrier();
        for (var i = k + 1u + lane; i < m; i += LANES) {
            out[base + i * n + k] *= scale;
        }
        if lane == 0u {
            out[base + k * n + k] = beta;
            out[base + size + k] = tau;
        }
        storageBarrier();
    }
}
