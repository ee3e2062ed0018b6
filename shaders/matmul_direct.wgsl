// Matrix product with registers alone: every invocation makes a tile of 4 rows and 8 columns straight from
// memory. Operands may have any strides; up to two batch axes. Arithmetic on places is modulo 2^32.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_n = (N + 63u) / 64u;
    let tiles_m = (M + 31u) / 32u;
    let tile = wg.x + wg.y * wgs.x;
    let batch = tile / (tiles_n * tiles_m);
    if batch >= BATCH0 * BATCH1 {
        return;
    }
    let row = (tile / tiles_n) % tiles_m * 32u + lane / 8u * 4u;
    let col = tile % tiles_n * 64u + lane % 8u * 8u;
    if row >= M || col >= N {
        return;
    }
    let batch0 = batch / BATCH1;
    let batch1 = batch % BATCH1;
    // Rows and columns past the end read the last one and are not stored.
    let a_base = A_OFFSET + batch0 * A_BATCH0 + batch1 * A_BATCH1;
    var pa = a_base + vec4<u32>(
        row, min(row + 1u, M - 1u), min(row + 2u, M - 1u), min(row + 3u, M - 1u)) * A_M;
    let b_base = B_OFFSET + batch0 * B_BATCH0 + batch1 * B_BATCH1;
    var pb0 = b_base + vec4<u32>(
        col, min(col + 1u, N - 1u), min(col + 2u, N - 1u), min(col + 3u, N - 1u)) * B_N;
    var pb1 = b_base + vec4<u32>(
        min(col + 4u, N - 1u), min(col + 5u, N - 1u), min(col + 6u, N - 1u), min(col + 7u, N - 1u)) * B_N;
    var c00 = vec4<f32>();
    var c01 = vec4<f32>();
    var c10 = vec4<f32>();
    var c11 = vec4<f32>();
    var c20 = vec4<f32>();
    var c21 = vec4<f32>();
    var c30 = vec4<f32>();
    var c31 = vec4<f32>();
    for (var k = 0u; k < K; k++) {
        let x = vec4<f32>(a[pa.x], a[pa.y], a[pa.z], a[pa.w]);
        let y0 = vec4<f32>(b[pb0.x], b[pb0.y], b[pb0.z], b[pb0.w]);
        let y1 = vec4<f32>(b[pb1.x], b[pb1.y], b[pb1.z], b[pb1.w]);
        c00 += x.x * y0;
        c01 += x.x * y1;
        c10 += x.y * y0;
        c11 += x.y * y1;
        c20 += x.z * y0;
        c21 += x.z * y1;
        c30 += x.w * y0;
        c31 += x.w * y1;
        pa += vec4<u32>(A_K);
        pb0 += vec4<u32>(B_K);
        pb1 += vec4<u32>(B_K);
    }
    let first = (batch * M + row) * N + col;
    store_row(c00, c01, first, row, col);
    store_row(c10, c11, first + N, row + 1u, col);
    store_row(c20, c21, first + 2u * N, row + 2u, col);
    store_row(c30, c31, first + 3u * N, row + 3u, col);
}

fn store_row(c0: vec4<f32>, c1: vec4<f32>, first: u32, row: u32, col: u32) {
    if row >= M {
        return;
    }
    finish(c0.x, first);
    if col + 1u < N {
        finish(c0.y, first + 1u);
    }
    if col + 2u < N {
        finish(c0.z, first + 2u);
    }
    if col + 3u < N {
        finish(c0.w, first + 3u);
    }
    if col + 4u < N {
        finish(c1.x, first + 4u);
    }
    if col + 5u < N {
        finish(c1.y, first + 5u);
    }
    if col + 6u < N {
        finish(c1.z, first + 6u);
    }
    if col + 7u < N {
        finish(c1.w, first + 7u);
    }
}

// What is done with an element of the product.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
