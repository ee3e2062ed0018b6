// Matrix product through workgroup memory: a workgroup of 256 makes a tile of 64 by 64, each invocation 4 by 4
// of it, taking 16 steps of K at a time. Operands may have any strides; up to two batch axes.

// Element (m, k) of the tile of a lies at k * 64 + m, element (k, n) of the tile of b at k * 64 + n.
var<workgroup> tile_a: array<f32, 1024>;
var<workgroup> tile_b: array<f32, 1024>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_n = (N + 63u) / 64u;
    let tiles_m = (M + 63u) / 64u;
    let tile = wg.x + wg.y * wgs.x;
    let batch = tile / (tiles_n * tiles_m);
    if batch >= BATCH0 * BATCH1 {
        return;
    }
    let batch0 = batch / BATCH1;
    let batch1 = batch % BATCH1;
    let row0 = (tile / tiles_n) % tiles_m * 64u;
    let col0 = tile % tiles_n * 64u;
    let a_base = A_OFFSET + batch0 * A_BATCH0 + batch1 * A_BATCH1;
    let b_base = B_OFFSET + batch0 * B_BATCH0 + batch1 * B_BATCH1;
    let ty = lane / 16u * 4u;
    let tx = lane % 16u * 4u;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    for (var k0 = 0u; k0 < K; k0 += 16u) {
        for (var step = 0u; step < 4u; step++) {
            // Neighbouring lanes read neighbouring places: along K where that is dense, else along M.
            let place = step * 256u + lane;
            let am = select(place % 64u, place / 16u, A_K == 1u);
            let ak = select(place / 64u, place % 16u, A_K == 1u);
            let a_in = row0 + am < M && k0 + ak < K;
            let pa = select(0u, a_base + (row0 + am) * A_M + (k0 + ak) * A_K, a_in);
            tile_a[ak * 64u + am] = select(0.0, a[pa], a_in);
            let bn = select(place / 16u, place % 64u, B_N == 1u);
            let bk = select(place % 16u, place / 64u, B_N == 1u);
            let b_in = col0 + bn < N && k0 + bk < K;
            let pb = select(0u, b_base + (k0 + bk) * B_K + (col0 + bn) * B_N, b_in);
            tile_b[bk * 64u + bn] = select(0.0, b[pb], b_in);
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let pa = k * 64u + ty;
            let pb = k * 64u + tx;
            let y = vec4<f32>(tile_b[pb], tile_b[pb + 1u], tile_b[pb + 2u], tile_b[pb + 3u]);
            c0 += tile_a[pa] * y;
            c1 += tile_a[pa + 1u] * y;
            c2 += tile_a[pa + 2u] * y;
            c3 += tile_a[pa + 3u] * y;
        }
        workgroupBarrier();
    }
    let row = row0 + ty;
    let col = col0 + tx;
    let first = (batch * M + row) * N + col;
    store_row(c0, first, row, col);
    store_row(c1, first + N, row + 1u, col);
    store_row(c2, first + 2u * N, row + 2u, col);
    store_row(c3, first + 3u * N, row + 3u, col);
}

fn store_row(c: vec4<f32>, first: u32, row: u32, col: u32) {
    if row >= M {
        return;
    }
    if col < N {
        finish(c.x, first);
    }
    if col + 1u < N {
        finish(c.y, first + 1u);
    }
    if col + 2u < N {
        finish(c.z, first + 2u);
    }
    if col + 3u < N {
        finish(c.w, first + 3u);
    }
}

// What is done with an element of the product.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
