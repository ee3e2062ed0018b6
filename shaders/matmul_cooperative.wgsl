// Matrix product of halves, with sums in f32, by subgroups of 32 that multiply matrices of 16 by 16 (`VK_KHR_cooperative_matrix`).
// A workgroup makes a tile of 128 by WIDTH, each subgroup 64 by 64 of it in sixteen matrices. Terms go by in steps of 16: while the
// matrices of one step are multiplied, those of the next are loaded from workgroup memory, the step after it is put there, and
// what comes then is on its way to registers. So one barrier a step is enough, and nothing is waited for that was just asked for.
// Rows of operands are eights in memory along the terms or across them; up to two batch axes.
// Subgroups are told apart by numbers of invocations: with their own builtins drivers do not compile cooperative matrices.

const TILE: u32 = 128u;
const WIDTH: u32 = 256u;
const TERMS: u32 = 16u;
const LANES: u32 = WIDTH;
// Eights of each operand that an invocation fetches at a time.
const FETCHES_A: u32 = 1u;
const FETCHES_B: u32 = 2u;

// How operands lie: in eights along the terms or across rows or columns.
const ALONG: u32 = 1u;
override A_FORM: u32 = 1u;
override B_FORM: u32 = 1u;

// A tile as it lies in memory: rows of 16 terms or terms of all rows, in fours, and a gap so that neighbours meet different
// banks. Of each operand there are two.
const ALONG_PITCH: u32 = TERMS / 4u + 2u;
const ACROSS_PITCH_A: u32 = TILE / 4u + 2u;
const ACROSS_PITCH_B: u32 = WIDTH / 4u + 2u;
const SLOT_A: u32 = TILE * ALONG_PITCH;
const SLOT_B: u32 = WIDTH * ALONG_PITCH;
var<workgroup> tile_a: array<vec4<f16>, 2u * SLOT_A>;
var<workgroup> tile_b: array<vec4<f16>, 2u * SLOT_B>;
// A matrix of results of each subgroup.
var<workgroup> results: array<vec4<f32>, LANES / 32u * 64u>;

var<private> next_a: array<Eight, FETCHES_A>;
var<private> next_b: array<Eight, FETCHES_B>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * wgs.x;
    let tiles = (M + TILE - 1u) / TILE * ((N + WIDTH - 1u) / WIDTH);
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
    let row = subgroup / (WIDTH / 64u) * 64u;
    let col = subgroup % (WIDTH / 64u) * 64u;
    var a_sum_0 = coop_mat16x16<f32, C>(); // each ACROSS
    var b_sum_0 = coop_mat16x16<f32, C>(); // each ACROSS
    var c_sum_0 = coop_mat16x16<f32, C>(); // each ACROSS
    var d_sum_0 = coop_mat16x16<f32, C>(); // each ACROSS
    var even_a = coop_mat16x16<f16, A>();
    var even_b = coop_mat16x16<f16, A>();
    var even_c = coop_mat16x16<f16, A>();
    var even_d = coop_mat16x16<f16, A>();
    var even_right_0 = coop_mat16x16<f16, B>(); // each ACROSS
    var odd_a = coop_mat16x16<f16, A>();
    var odd_b = coop_mat16x16<f16, A>();
    var odd_c = coop_mat16x16<f16, A>();
    var odd_d = coop_mat16x16<f16, A>();
    var odd_right_0 = coop_mat16x16<f16, B>(); // each ACROSS
    // The first step is loaded, the second put, the third on its way.
    fetch(a_base, b_base, first, 0u, lane);
    put(0u, lane);
    fetch(a_base, b_base, first, TERMS, lane);
    workgroupBarrier();
    if A_FORM == ALONG {
        even_a = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[row * ALONG_PITCH], ALONG_PITCH);
        even_b = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 16u) * ALONG_PITCH], ALONG_PITCH);
        even_c = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 32u) * ALONG_PITCH], ALONG_PITCH);
        even_d = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 48u) * ALONG_PITCH], ALONG_PITCH);
    } else {
        even_a = coopLoad<coop_mat16x16<f16, A>>(&tile_a[row / 4u], ACROSS_PITCH_A);
        even_b = coopLoad<coop_mat16x16<f16, A>>(&tile_a[(row + 16u) / 4u], ACROSS_PITCH_A);
        even_c = coopLoad<coop_mat16x16<f16, A>>(&tile_a[(row + 32u) / 4u], ACROSS_PITCH_A);
        even_d = coopLoad<coop_mat16x16<f16, A>>(&tile_a[(row + 48u) / 4u], ACROSS_PITCH_A);
    }
    if B_FORM == ALONG {
        even_right_0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(col + 0u * 16u) * ALONG_PITCH], ALONG_PITCH); // each ACROSS
    } else {
        even_right_0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[(col + 0u * 16u) / 4u], ACROSS_PITCH_B); // each ACROSS
    }
    put(1u, lane);
    fetch(a_base, b_base, first, 2u * TERMS, lane);
    workgroupBarrier();
    for (var k0 = 0u; k0 < K; k0 += 2u * TERMS) {
        if A_FORM == ALONG {
            odd_a = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + row * ALONG_PITCH], ALONG_PITCH);
            odd_b = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + (row + 16u) * ALONG_PITCH], ALONG_PITCH);
            odd_c = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + (row + 32u) * ALONG_PITCH], ALONG_PITCH);
            odd_d = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + (row + 48u) * ALONG_PITCH], ALONG_PITCH);
        } else {
            odd_a = coopLoad<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + row / 4u], ACROSS_PITCH_A);
            odd_b = coopLoad<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + (row + 16u) / 4u], ACROSS_PITCH_A);
            odd_c = coopLoad<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + (row + 32u) / 4u], ACROSS_PITCH_A);
            odd_d = coopLoad<coop_mat16x16<f16, A>>(&tile_a[SLOT_A + (row + 48u) / 4u], ACROSS_PITCH_A);
        }
        if B_FORM == ALONG {
            odd_right_0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[SLOT_B + (col + 0u * 16u) * ALONG_PITCH], ALONG_PITCH); // each ACROSS
        } else {
            odd_right_0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[SLOT_B + (col + 0u * 16u) / 4u], ACROSS_PITCH_B); // each ACROSS
        }
        put(0u, lane);
        fetch(a_base, b_base, first, k0 + 3u * TERMS, lane);
        a_sum_0 = coopMultiplyAdd(even_a, even_right_0, a_sum_0); // each ACROSS
        b_sum_0 = coopMultiplyAdd(even_b, even_right_0, b_sum_0); // each ACROSS
        c_sum_0 = coopMultiplyAdd(even_c, even_right_0, c_sum_0); // each ACROSS
        d_sum_0 = coopMultiplyAdd(even_d, even_right_0, d_sum_0); // each ACROSS
        workgroupBarrier();
        if A_FORM == ALONG {
            even_a = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[row * ALONG_PITCH], ALONG_PITCH);
            even_b = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 16u) * ALONG_PITCH], ALONG_PITCH);
            even_c = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 32u) * ALONG_PITCH], ALONG_PITCH);
            even_d = coopLoadT<coop_mat16x16<f16, A>>(&tile_a[(row + 48u) * ALONG_PITCH], ALONG_PITCH);
        } else {
            even_a = coopLoad<coop_mat16x16<f16, A>>(&tile_a[row / 4u], ACROSS_PITCH_A);
            even_b = coopLoad<coop_mat16x16<f16, A>>(&tile_a[(row + 16u) / 4u], ACROSS_PITCH_A);
            even_c = coopLoad<coop_mat16x16<f16, A>>(&tile_a[(row + 32u) / 4u], ACROSS_PITCH_A);
            even_d = coopLoad<coop_mat16x16<f16, A>>(&tile_a[(row + 48u) / 4u], ACROSS_PITCH_A);
        }
        if B_FORM == ALONG {
            even_right_0 = coopLoad<coop_mat16x16<f16, B>>(&tile_b[(col + 0u * 16u) * ALONG_PITCH], ALONG_PITCH); // each ACROSS
        } else {
            even_right_0 = coopLoadT<coop_mat16x16<f16, B>>(&tile_b[(col + 0u * 16u) / 4u], ACROSS_PITCH_B); // each ACROSS
        }
        put(1u, lane);
        fetch(a_base, b_base, first, k0 + 4u * TERMS, lane);
        a_sum_0 = coopMultiplyAdd(odd_a, odd_right_0, a_sum_0); // each ACROSS
        b_sum_0 = coopMultiplyAdd(odd_b, odd_right_0, b_sum_0); // each ACROSS
        c_sum_0 = coopMultiplyAdd(odd_c, odd_right_0, c_sum_0); // each ACROSS
        d_sum_0 = coopMultiplyAdd(odd_d, odd_right_0, d_sum_0); // each ACROSS
        workgroupBarrier();
    }
    coopStoreT(a_sum_0, &results[subgroup * 64u], 4u); workgroupBarrier(); leave(batch, row0 + row, col0 + col + 0u * 16u, lane); workgroupBarrier(); // each ACROSS
    coopStoreT(b_sum_0, &results[subgroup * 64u], 4u); workgroupBarrier(); leave(batch, row0 + row + 16u, col0 + col + 0u * 16u, lane); workgroupBarrier(); // each ACROSS
    coopStoreT(c_sum_0, &results[subgroup * 64u], 4u); workgroupBarrier(); leave(batch, row0 + row + 32u, col0 + col + 0u * 16u, lane); workgroupBarrier(); // each ACROSS
    coopStoreT(d_sum_0, &results[subgroup * 64u], 4u); workgroupBarrier(); leave(batch, row0 + row + 48u, col0 + col + 0u * 16u, lane); workgroupBarrier(); // each ACROSS
}

// Where the first half of an eight of a tile of so many rows goes, counted as it is fetched.
fn four_at(form: u32, rows: u32, k: u32) -> u32 {
    let start = start_of(form, rows, k);
    return select(start.y * (rows / 4u + 2u) + start.x / 4u, start.x * ALONG_PITCH + start.y / 4u, form == ALONG);
}

// Which row (column) and term eight number k of a tile starts with. Along the terms neighbours take every other row, so that no two of
// four rows that are put at a time meet in a bank.
fn start_of(form: u32, rows: u32, k: u32) -> vec2<u32> {
    let pair = k / 2u;
    let row = (pair & ~7u) | (pair & 3u) << 1u | (pair >> 2u & 1u);
    return select(
        vec2<u32>(k % (rows / 8u) * 8u, k / (rows / 8u)),
        vec2<u32>(row, k % 2u * 8u),
        form == ALONG,
    );
}

// Fetches the eights of a step of terms, zeros where there are none: those along never reach over the last term, those across never
// over the last row or column. Where everything is whole, what comes after the last step is that step once more.
fn fetch(a_base: u32, b_base: u32, first: vec2<u32>, step: u32, lane: u32) {
    let whole = K != 0u && K % (2u * TERMS) == 0u;
    let term0 = select(step, min(step, max(K, TERMS) - TERMS), whole);
    for (var i = 0u; i < FETCHES_A; i++) {
        let start = start_of(A_FORM, TILE, lane + i * LANES) + vec2<u32>(first.x, term0);
        let there = (M % TILE == 0u || start.x < M) && (whole || start.y < K);
        next_a[i] = Eight();
        if there {
            next_a[i] = a[(a_base + start.x * A_M + start.y * A_K) / 8u];
        }
    }
    for (var i = 0u; i < FETCHES_B; i++) {
        let start = start_of(B_FORM, WIDTH, lane + i * LANES) + vec2<u32>(first.y, term0);
        let there = (N % WIDTH == 0u || start.x < N) && (whole || start.y < K);
        next_b[i] = Eight();
        if there {
            next_b[i] = b[(b_base + start.x * B_N + start.y * B_K) / 8u];
        }
    }
}

// Puts the eights that were fetched where a slot has them.
fn put(slot: u32, lane: u32) {
    for (var i = 0u; i < FETCHES_A; i++) {
        let at = slot * SLOT_A + four_at(A_FORM, TILE, lane + i * LANES);
        tile_a[at] = low(next_a[i]);
        tile_a[at + 1u] = high(next_a[i]);
    }
    for (var i = 0u; i < FETCHES_B; i++) {
        let at = slot * SLOT_B + four_at(B_FORM, WIDTH, lane + i * LANES);
        tile_b[at] = low(next_b[i]);
        tile_b[at + 1u] = high(next_b[i]);
    }
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
