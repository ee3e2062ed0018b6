// Matrix product through workgroup memory: a workgroup makes a tile of TILE by TILE, each invocation 8 by 8 of it in
// four blocks of 4 by 4, taking 16 terms at a time. What comes next is fetched into registers before the products of what
// is there are made, so that they hide the time it takes. Operands may have any strides; up to two batch axes.

// Rows and columns of a tile; 64 or 128.
const TILE: u32 = 64u;
const QUADS: u32 = TILE / 4u;
const LANES: u32 = TILE * TILE / 64u;
const TERMS: u32 = 16u;
// Terms of a block that an invocation fetches.
const STEPS: u32 = 4u;
// Rows of a block of results.
const ROWS: u32 = 4u;
// Fours of results of an invocation.
const RESULTS: u32 = 16u;
// Rows of tiles that are gone through column by column, so that operands are found in the cache.
const BAND: u32 = 8u;

// How operands are read: one by one; in fours along the terms; in fours across rows or columns. Fours never reach over
// an end.
const ALONG: u32 = 1u;
const ACROSS: u32 = 2u;
override A_FORM: u32 = 0u;
override B_FORM: u32 = 0u;

// Fours of rows or of columns, term after term.
var<workgroup> tile_a: array<vec4<f32>, TERMS * QUADS>;
var<workgroup> tile_b: array<vec4<f32>, TERMS * QUADS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_m = (M + TILE - 1u) / TILE;
    let tiles_n = (N + TILE - 1u) / TILE;
    let tile = wg.x + wg.y * wgs.x;
    let batch = tile / (tiles_n * tiles_m);
    if batch >= BATCH0 * BATCH1 {
        return;
    }
    let within = tile % (tiles_n * tiles_m);
    let band = within / (BAND * tiles_n);
    let high = min(BAND, tiles_m - band * BAND);
    let row0 = (band * BAND + within % (BAND * tiles_n) % high) * TILE;
    let col0 = within % (BAND * tiles_n) / high * TILE;
    let a_base = A_OFFSET + batch / BATCH1 * A_BATCH0 + batch % BATCH1 * A_BATCH1;
    let b_base = B_OFFSET + batch / BATCH1 * B_BATCH0 + batch % BATCH1 * B_BATCH1;
    // A block of each operand for every invocation, or the blocks of one by the first half, of the other by the second.
    let a_here = lane < TILE;
    let b_here = lane + TILE >= LANES;
    let a_block = block_of(A_FORM, lane % TILE);
    let b_block = block_of(B_FORM, lane % TILE);
    let ty = lane / (TILE / 8u);
    let tx = lane % (TILE / 8u);
    var next_a: array<vec4<f32>, STEPS>;
    var next_b: array<vec4<f32>, STEPS>;
    var c: array<vec4<f32>, RESULTS>;
    if a_here {
        fetch_a(&next_a, a_base, row0 + 4u * a_block.x, 4u * a_block.y);
    }
    if b_here {
        fetch_b(&next_b, b_base, col0 + 4u * b_block.x, 4u * b_block.y);
    }
    for (var k0 = 0u; k0 < K; k0 += TERMS) {
        workgroupBarrier();
        if a_here {
            for (var step = 0u; step < STEPS; step++) {
                tile_a[four_at(4u * a_block.y + step, a_block.x)] = next_a[step];
            }
        }
        if b_here {
            for (var step = 0u; step < STEPS; step++) {
                tile_b[four_at(4u * b_block.y + step, b_block.x)] = next_b[step];
            }
        }
        workgroupBarrier();
        if k0 + TERMS < K {
            if a_here {
                fetch_a(&next_a, a_base, row0 + 4u * a_block.x, k0 + TERMS + 4u * a_block.y);
            }
            if b_here {
                fetch_b(&next_b, b_base, col0 + 4u * b_block.x, k0 + TERMS + 4u * b_block.y);
            }
        }
        for (var term = 0u; term < TERMS; term++) {
            let pa = four_at(term, ty);
            let pb = four_at(term, tx);
            let x0 = tile_a[pa];
            let x1 = tile_a[pa + QUADS / 2u];
            let y0 = tile_b[pb];
            let y1 = tile_b[pb + QUADS / 2u];
            for (var row = 0u; row < ROWS; row++) {
                c[2u * row] = fma(vec4<f32>(x0[row]), y0, c[2u * row]);
                c[2u * row + 1u] = fma(vec4<f32>(x0[row]), y1, c[2u * row + 1u]);
                c[2u * row + 8u] = fma(vec4<f32>(x1[row]), y0, c[2u * row + 8u]);
                c[2u * row + 9u] = fma(vec4<f32>(x1[row]), y1, c[2u * row + 9u]);
            }
        }
    }
    // The accumulators stay in registers when one is picked among all, and what is done with a result is compiled once.
    for (var r = 0u; r < 16u; r++) {
        var picked = c[0];
        for (var i = 0u; i < RESULTS; i++) {
            picked = select(picked, c[i], r == i);
        }
        let row = row0 + 4u * ty + r / 2u % 4u + r / 8u * (TILE / 2u);
        let col = col0 + 4u * tx + r % 2u * (TILE / 2u);
        if row < M && col < N {
            finish_four(picked, (batch * M + row) * N + col, N - col);
        }
    }
}

// Which four rows (columns) and terms of a tile an invocation fetches: neighbours read neighbouring places.
fn block_of(form: u32, k: u32) -> vec2<u32> {
    return select(vec2<u32>(k / (TERMS / 4u), k % (TERMS / 4u)), vec2<u32>(k % QUADS, k / QUADS), form == ACROSS);
}

// Where a four of a term lies; shifted from four terms to four terms, so that invocations that write the same rows of
// them meet different banks.
fn four_at(term: u32, four: u32) -> u32 {
    return term * QUADS + (four ^ (term / 4u * 2u));
}

fn a_one(i: u32) -> f32 {
    return a[i];
}

fn a_four(i: u32) -> vec4<f32> {
    return vec4<f32>(a[i], a[i + 1u], a[i + 2u], a[i + 3u]);
}

fn b_one(i: u32) -> f32 {
    return b[i];
}

fn b_four(i: u32) -> vec4<f32> {
    return vec4<f32>(b[i], b[i + 1u], b[i + 2u], b[i + 3u]);
}

// An element or a four from a place on, zeros where there are none.
fn a_one_if(i: u32, there: bool) -> f32 {
    return select(0.0, a_one(select(0u, i, there)), there);
}

fn a_four_if(i: u32, there: bool) -> vec4<f32> {
    return select(vec4<f32>(), a_four(select(0u, i, there)), there);
}

fn b_one_if(i: u32, there: bool) -> f32 {
    return select(0.0, b_one(select(0u, i, there)), there);
}

fn b_four_if(i: u32, there: bool) -> vec4<f32> {
    return select(vec4<f32>(), b_four(select(0u, i, there)), there);
}

// Four rows from `row` on, of four terms each.
fn fetch_a(next: ptr<function, array<vec4<f32>, STEPS>>, base: u32, row: u32, term: u32) {
    let at = base + row * A_M + term * A_K;
    let rows = row + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(M);
    if A_FORM == ALONG {
        let w = a_four_if(at, rows.x && term < K);
        let x = a_four_if(at + A_M, rows.y && term < K);
        let y = a_four_if(at + 2u * A_M, rows.z && term < K);
        let z = a_four_if(at + 3u * A_M, rows.w && term < K);
        for (var step = 0u; step < STEPS; step++) {
            (*next)[step] = vec4<f32>(w[step], x[step], y[step], z[step]);
        }
        return;
    }
    for (var step = 0u; step < STEPS; step++) {
        let i = at + step * A_K;
        let counts = term + step < K;
        if A_FORM == ACROSS {
            (*next)[step] = a_four_if(i, rows.x && counts);
        } else {
            (*next)[step] = vec4<f32>(
                a_one_if(i, rows.x && counts),
                a_one_if(i + A_M, rows.y && counts),
                a_one_if(i + 2u * A_M, rows.z && counts),
                a_one_if(i + 3u * A_M, rows.w && counts),
            );
        }
    }
}

// Four columns from `column` on, of four terms each.
fn fetch_b(next: ptr<function, array<vec4<f32>, STEPS>>, base: u32, column: u32, term: u32) {
    let at = base + column * B_N + term * B_K;
    let columns = column + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(N);
    if B_FORM == ALONG {
        let w = b_four_if(at, columns.x && term < K);
        let x = b_four_if(at + B_N, columns.y && term < K);
        let y = b_four_if(at + 2u * B_N, columns.z && term < K);
        let z = b_four_if(at + 3u * B_N, columns.w && term < K);
        for (var step = 0u; step < STEPS; step++) {
            (*next)[step] = vec4<f32>(w[step], x[step], y[step], z[step]);
        }
        return;
    }
    for (var step = 0u; step < STEPS; step++) {
        let i = at + step * B_K;
        let counts = term + step < K;
        if B_FORM == ACROSS {
            (*next)[step] = b_four_if(i, columns.x && counts);
        } else {
            (*next)[step] = vec4<f32>(
                b_one_if(i, columns.x && counts),
                b_one_if(i + B_N, columns.y && counts),
                b_one_if(i + 2u * B_N, columns.z && counts),
                b_one_if(i + 3u * B_N, columns.w && counts),
            );
        }
    }
}
