// LU factors with partial pivoting. The result has three more rows than the matrix: the row of the matrix that each row
// of the factors was, the inverse of this permutation, and its sign in the first column.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> best: array<f32, LANES>;
var<workgroup> place: array<u32, LANES>;

// Row of the largest entry of column k from row k on; the first of equal ones.
fn pivot_row(base: u32, k: u32, lane: u32) -> u32 {
    var top = -1.0;
    var row = k;
    for (var i = k + lane; i < ROWS; i += LANES) {
        let size = abs(out[base + i * ROWS + k]);
        if size > top {
            top = size;
            row = i;
        }
    }
    best[lane] = top;
    place[lane] = row;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let other = lane + half;
            let larger = best[other] > best[lane];
            if larger || (best[other] == best[lane] && place[other] < place[lane]) {
                best[lane] = best[other];
                place[lane] = place[other];
            }
        }
        workgroupBarrier();
    }
    return place[0];
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
    let base = matrix * (n + 3u) * n;
    let rows = base + n * n;
    if FROM == 0u {
        for (var e = lane; e < n * n; e += LANES) {
            out[base + e] = x[X_OFFSET + matrix * n * n + e];
        }
        for (var i = lane; i < n; i += LANES) {
            out[rows + i] = f32(i);
            out[rows + 2u * n + i] = 1.0;
        }
    } else {
        for (var e = lane; e < (n + 3u) * n; e += LANES) {
            out[base + e] = x[X_OFFSET + base + e];
        }
    }
    storageBarrier();
    for (var k = FROM; k < TO; k++) {
        let p = pivot_row(base, k, lane);
        if p != k {
            for (var j = lane; j < n; j += LANES) {
                let upper = out[base + k * n + j];
                out[base + k * n + j] = out[base + p * n + j];
                out[base + p * n + j] = upper;
            }
            if lane == 0u {
                let upper = out[rows + k];
                out[rows + k] = out[rows + p];
                out[rows + p] = upper;
                out[rows + 2u * n] = -out[rows + 2u * n];
            }
        }
        storageBarrier();
        // Where the whole column is 0 nothing is to be subtracted.
        let pivot = out[base + k * n + k];
        let divisor = select(pivot, 1.0, pivot == 0.0);
        let rest = n - k - 1u;
        for (var e = lane; e < rest * rest; e += LANES) {
            let i = k + 1u + e / rest;
            let j = k + 1u + e % rest;
            out[base + i * n + j] -= out[base + i * n + k] / divisor * out[base + k * n + j];
        }
        storageBarrier();
    }
    for (var e = lane; e < (TO - FROM) * n; e += LANES) {
        let k = FROM + e / n;
        let i = e % n;
        let pivot = out[base + k * n + k];
        if i > k && pivot != 0.0 {
            out[base + i * n + k] /= pivot;
        }
    }
    for (var i = lane; i < n; i += LANES) {
        out[rows + n + u32(out[rows + i])] = f32(i);
    }
}
