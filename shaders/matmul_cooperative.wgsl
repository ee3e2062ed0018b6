// Matrix product of halves, with sums in f32, by subgroups of 32 that multiply matrices of 16 by 16 (`VK_KHR_cooperative_matrix`).
// A workgroup of four makes a tile of 128 by 128, each subgroup 64 by 64 of it in sixteen matrices, taking 32 terms at a
// time. What comes next is fetched into registers before the products of what is there are made. Rows of operands are
// eights in memory along the terms or across them; up to two batch axes.
// Subgroups are told apart by numbers of invocations: with their own builtins drivers do not compile cooperative matrices.

const TILE: u32 = 128u;
const TERMS: u32 = 32u;
// Eights of each operand that an invocation fetches at a time, and the matrices along its terms.
const FETCHES: u32 = 4u;
const PARTS: u32 = 2u;

// How operands lie: in eights along the terms or across rows or columns.
const ALONG: u32 = 1u;
override A_FORM: u32 = 1u;
override B_FORM: u32 = 1u;

// A tile as it lies in memory: rows of 32 terms or terms of 128 rows, in fours, and a gap so that neighbours meet different
// banks.
const ALONG_PITCH: u32 = TERMS / 4u + 2u;
const ACROSS_PITCH: u32 = TILE / 4u + 2u;
var<workgroup> tile_a: array<vec4<f16>, TILE * ALONG_PITCH>;
var<workgroup> tile_b: array<vec4<f16>, TILE * ALONG_PITCH>;
// A matrix of results of each subgroup.
var<workgroup> results: array<vec4<f32>, 256>;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * wgs.x;
    let tiles = (M + TILE - 1u) / TILE * ((N + TILE - 1u) / TILE);
    let batch = group / tiles;
    if batch >= BATCH0 * BATCH1 {
        return;
    }
    let first = first_of(group % tiles);
    let row0 = first.x;
    let col0 = first.y;
    let a_base = A_OFFSET + batch / BATCH1 * A_BATCH0 + batch % BATCH1 * A_BATCH1;
    let b_base = B_OFFSET + batch / BATCH1 * B_BATCH0 + batch % BATCH1 * B_BATCH1;
    let subgroup = lane / 32u;
    let row = subgroup / 2u * 64u;
    let col = subgroup % 2u * 64u;
    var next_a: array<Eight, FETCHES>;
    var next_b: array<Eight, FETCHES>;
    var c00 = coop_mat16x16<f32, C>();
    var c01 = coop_mat16x16<f32, C>();
    var c02 = coop_mat16x16<f32, C>();
    var c03 = coop_mat16x16<f32, C>();
    var c10 = coop_mat16x16<f32, C>();
    var c11 = coop_mat16x16<f32, C>();
    var c12 = coop_mat16x16<f32, C>();
    var c13 = coop_mat16x16<f32, C>();
    var c20 = coop_mat16x16<f32, C>();
    var c21 = coop_mat16x16<f32, C>();
    var c22 = coop_mat16x16<f32, C>();
    var c23 = coop_mat16x16<f32, C>();
    var c30 = coop_mat16x16<f32, C>();
    var c31 = coop_mat16x16<f32, C>();
    var c32 = coop_mat16x16<f32, C>();
    var c33 = coop_mat16x16<f32, C>();
    for (var i = 0u; i < FETCHES; i++) {
        next_a[i] = fetch_a(a_base, row0, 0u, lane + i * 128u);
        next_b[i] = fetch_b(b_base, col0, 0u, lane + i * 128u);
    }
    for (var k0 = 0u; k0 < K; k0 += TERMS) {
        workgroupBarrier();
        for (var i = 0u; i < FETCHES; i++) {
            let at = four_at(A_FORM, lane + i * 128u);
            tile_a[at] = next_a[i].low;
            tile_a[at + 1u] = next_a[i].high;
        }
        for (var i = 0u; i < FETCHES; i++) {
            let at = four_at(B_FORM, lane + i * 128u);
            tile_b[at] = next_b[i].low;
            tile_b[at + 1u] = next_b[i].high;
        }
        workgroupBarrier();
        if k0 + TERMS < K {
            for (var i = 0u; i < FETCHES; i++) {
                next_a[i] = fetch_a(a_base, row0, k0 + TERMS, lane + i * 128u);
                next_b[i] = fetch_b(b_base, col0, k0 + TERMS, lane + i * 128u);
            }
        }
        for (var part = 0u; part < PARTS; part++) {
            let term = part * 16u;
            var a0 = coop_mat16x16<f16, A>();
            var a1 = coop_mat16x16<f16, A>();
            var a2 = coop_mat16x16<f16, A>();
            var a3 = coop_mat16x16<f16, A>();
            if A_FORM == ALONG {
                a0 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 0u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
                a1 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 16u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
                a2 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 32u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
                a3 = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 48u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
            } else {
                a0 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[term * ACROSS_PITCH + (row + 0u) / 4u], ACROSS_PITCH);
                a1 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[term * ACROSS_PITCH + (row + 16u) / 4u], ACROSS_PITCH);
                a2 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[term * ACROSS_PITCH + (row + 32u) / 4u], ACROSS_PITCH);
                a3 = coopLoad<coop_mat16x16<f16, A>>(&tile_a[term * ACROSS_PITCH + (row + 48u) / 4u], ACROSS_PITCH);
            }
            var b0 = coop_mat16x16<f16, B>();
            var b1 = coop_mat16x16<f16, B>();
            var b2 = coop_mat16x16<f16, B>();
            var b3 = coop_mat16x16<f16, B>();
            if B_FORM == ALONG {
                b0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(col + 0u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
                b1 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(col + 16u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
                b2 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(col + 32u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
                b3 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(col + 48u) * ALONG_PITCH + term / 4u], ALONG_PITCH);
            } else {
                b0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[term * ACROSS_PITCH + (col + 0u) / 4u], ACROSS_PITCH);
                b1 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[term * ACROSS_PITCH + (col + 16u) / 4u], ACROSS_PITCH);
                b2 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[term * ACROSS_PITCH + (col + 32u) / 4u], ACROSS_PITCH);
                b3 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[term * ACROSS_PITCH + (col + 48u) / 4u], ACROSS_PITCH);
            }
            c00 = coopMultiplyAdd(a0, b0, c00);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c20 = coopMultiplyAdd(a2, b0, c20);
            c30 = coopMultiplyAdd(a3, b0, c30);
            c01 = coopMultiplyAdd(a0, b1, c01);
            c11 = coopMultiplyAdd(a1, b1, c11);
            c21 = coopMultiplyAdd(a2, b1, c21);
            c31 = coopMultiplyAdd(a3, b1, c31);
            c02 = coopMultiplyAdd(a0, b2, c02);
            c12 = coopMultiplyAdd(a1, b2, c12);
            c22 = coopMultiplyAdd(a2, b2, c22);
            c32 = coopMultiplyAdd(a3, b2, c32);
            c03 = coopMultiplyAdd(a0, b3, c03);
            c13 = coopMultiplyAdd(a1, b3, c13);
            c23 = coopMultiplyAdd(a2, b3, c23);
            c33 = coopMultiplyAdd(a3, b3, c33);
        }
    }
    workgroupBarrier();
    coopStoreT(c00, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 0u, col0 + col + 0u, lane);
    workgroupBarrier();
    coopStoreT(c01, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 0u, col0 + col + 16u, lane);
    workgroupBarrier();
    coopStoreT(c02, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 0u, col0 + col + 32u, lane);
    workgroupBarrier();
    coopStoreT(c03, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 0u, col0 + col + 48u, lane);
    workgroupBarrier();
    coopStoreT(c10, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 16u, col0 + col + 0u, lane);
    workgroupBarrier();
    coopStoreT(c11, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 16u, col0 + col + 16u, lane);
    workgroupBarrier();
    coopStoreT(c12, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 16u, col0 + col + 32u, lane);
    workgroupBarrier();
    coopStoreT(c13, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 16u, col0 + col + 48u, lane);
    workgroupBarrier();
    coopStoreT(c20, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 32u, col0 + col + 0u, lane);
    workgroupBarrier();
    coopStoreT(c21, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 32u, col0 + col + 16u, lane);
    workgroupBarrier();
    coopStoreT(c22, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 32u, col0 + col + 32u, lane);
    workgroupBarrier();
    coopStoreT(c23, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 32u, col0 + col + 48u, lane);
    workgroupBarrier();
    coopStoreT(c30, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 48u, col0 + col + 0u, lane);
    workgroupBarrier();
    coopStoreT(c31, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 48u, col0 + col + 16u, lane);
    workgroupBarrier();
    coopStoreT(c32, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 48u, col0 + col + 32u, lane);
    workgroupBarrier();
    coopStoreT(c33, &results[subgroup * 64u], 4u);
    workgroupBarrier();
    leave(batch, row0 + row + 48u, col0 + col + 48u, lane);
}

// Where the first half of an eight of a tile goes, counted as it is fetched.
fn four_at(form: u32, k: u32) -> u32 {
    return select(
        k / (TILE / 8u) * ACROSS_PITCH + k % (TILE / 8u) * 2u,
        k / (TERMS / 8u) * ALONG_PITCH + k % (TERMS / 8u) * 2u,
        form == ALONG,
    );
}

// Which row (column) and term eight number k of a tile starts with.
fn start_of(form: u32, k: u32) -> vec2<u32> {
    return select(
        vec2<u32>(k % (TILE / 8u) * 8u, k / (TILE / 8u)),
        vec2<u32>(k / (TERMS / 8u), k % (TERMS / 8u) * 8u),
        form == ALONG,
    );
}

// An eight of a tile, zeros where there are none: those along never reach over the last term, those across never over the
// last row or column.
fn fetch_a(base: u32, row0: u32, term0: u32, k: u32) -> Eight {
    let start = start_of(A_FORM, k) + vec2<u32>(row0, term0);
    let whole = M % TILE == 0u && K % TERMS == 0u;
    if !whole && (start.x >= M || start.y >= K) {
        return Eight();
    }
    return a[(base + start.x * A_M + start.y * A_K) / 8u];
}

fn fetch_b(base: u32, col0: u32, term0: u32, k: u32) -> Eight {
    let start = start_of(B_FORM, k) + vec2<u32>(col0, term0);
    let whole = N % TILE == 0u && K % TERMS == 0u;
    if !whole && (start.x >= N || start.y >= K) {
        return Eight();
    }
    return b[(base + start.x * B_N + start.y * B_K) / 8u];
}

// Stores the matrix of results of a subgroup, whose first element is that of a row and a column: two fours each.
fn leave(batch: u32, row0: u32, col0: u32, lane: u32) {
    for (var half = 0u; half < 2u; half++) {
        let four = lane % 32u + half * 32u;
        let row = row0 + four / 4u;
        let col = col0 + four % 4u * 4u;
        if row < M && col < N {
            finish_four(results[lane / 32u * 64u + four], (batch * M + row) * N + col, N - col);
        }
    }
}
