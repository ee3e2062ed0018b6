// The orthogonal factor Q of matrices from their reflections (see qr_factor.wgsl), a column per invocation. Step s applies
// reflection COUNT − 1 − s to the unit matrix.

@group(0) @binding(0) var<storage, read> packed: array<f32>;
@group(0) @binding(1) var<storage, read> before: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// Columns of Q.
override WIDTH: u32 = 1u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * LANES + lane;
    if at >= BATCH * WIDTH {
        return;
    }
    let j = at % WIDTH;
    let matrix = at / WIDTH;
    let count = min(ROWS, COLUMNS);
    let v = X_OFFSET + matrix * (ROWS * COLUMNS + count);
    let q = matrix * ROWS * WIDTH + j;
    for (var i = 0u; i < ROWS; i++) {
        if FROM == 0u {
            out[q + i * WIDTH] = select(0.0, 1.0, i == j);
        } else {
            out[q + i * WIDTH] = before[q + i * WIDTH];
        }
    }
    for (var s = FROM; s < TO; s++) {
        let k = count - 1u - s;
        // Columns in front are still those of the unit matrix.
        if k > j {
            continue;
        }
        var sum = out[q + k * WIDTH];
        for (var i = k + 1u; i < ROWS; i++) {
            sum += packed[v + i * COLUMNS + k] * out[q + i * WIDTH];
        }
        sum *= packed[v + ROWS * COLUMNS + k];
        out[q + k * WIDTH] -= sum;
        for (var i = k + 1u; i < ROWS; i++) {
            out[q + i * WIDTH] -= packed[v + i * COLUMNS + k] * sum;
        }
    }
}
