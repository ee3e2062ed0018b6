// Matrix product through workgroup memory: a workgroup makes a tile of TILE by TILE, each invocation blocks of 4 by 4 of it, two
// across and PARTS down, taking 16 terms at a time. What comes next is fetched into registers before the products of what
// is there are made, so that they hide the time it takes: by half of the invocations for one operand, by the others for the
// other, as registers are scarce. With two slots it goes to the one nobody reads, so that invocations wait for one another
// once a step. Operands may have any strides; up to two batch axes.

// Rows and columns of a tile, 64 or 128, and blocks of an invocation one below the other, 1 or 2.
const TILE: u32 = 64u;
const WIDTH: u32 = TILE;
const PARTS: u32 = 1u;
const QUADS: u32 = TILE / 4u;
const TERMS: u32 = 16u;
// Terms of a block that an invocation fetches.
const STEPS: u32 = 4u;
// Rows of a block of results, and fours of results of an invocation.
const ROWS: u32 = 4u;
const RESULTS: u32 = 8u;
// Those that are finished one after the other.
const TURNS: u32 = 8u * PARTS;
// Tiles of each operand in workgroup memory, 1 or 2, and fours of one.
const SLOTS: u32 = 1u;
const SLOT: u32 = TERMS * QUADS;

// How operands are read: one by one; in fours along the terms; in fours across rows or columns. Fours never reach over
// an end.
const ALONG: u32 = 1u;
const ACROSS: u32 = 2u;
override A_FORM: u32 = 0u;
override B_FORM: u32 = 0u;

// Fours of rows or of columns, term after term.
var<workgroup> tile_a: array<vec4<f32>, SLOTS * SLOT>;
var<workgroup> tile_b: array<vec4<f32>, SLOTS * SLOT>;

@compute @workgroup_size(2u * TILE)
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
    // Which four rows (columns) and terms of a tile this invocation fetches.
    let block = block_of(select(B_FORM, A_FORM, lane < TILE), lane % TILE);
    // Eight invocations side by side and four above one another read the fewest fours that differ.
    let strip = lane / 32u;
    let ty = strip / (TILE / 64u) * 4u + lane % 32u / 8u;
    let tx = strip % (TILE / 64u) * 8u + lane % 8u;
    var next: array<vec4<f32>, STEPS>;
    var c: array<vec4<f32>, RESULTS>;
    if lane < TILE {
        fetch_a(&next, a_base, row0 + 4u * block.x, 4u * block.y);
    } else {
        fetch_b(&next, b_base, col0 + 4u * block.x, 4u * block.y);
    }
    keep(&next, 4u * block.y * QUADS + block.x, lane);
    workgroupBarrier();
    for (var k0 = 0u; k0 < K; k0 += TERMS) {
        let more = k0 + TERMS < K;
        if more {
            if lane < TILE {
                fetch_a(&next, a_base, row0 + 4u * block.x, k0 + TERMS + 4u * block.y);
            } else {
                fetch_b(&next, b_base, col0 + 4u * block.x, k0 + TERMS + 4u * block.y);
            }
        }
        let slot = k0 / TERMS % SLOTS * SLOT;
        for (var term = 0u; term < TERMS; term++) {
            let left = tile_b[slot + term * QUADS + tx];
            let right = tile_b[slot + term * QUADS + tx + QUADS / 2u];
            for (var part = 0u; part < PARTS; part++) {
                let rows = tile_a[slot + term * QUADS + ty + part * 16u];
                for (var row = 0u; row < ROWS; row++) {
                    c[8u * part + 2u * row] = fma(vec4<f32>(rows[row]), left, c[8u * part + 2u * row]);
                    c[8u * part + 2u * row + 1u] = fma(vec4<f32>(rows[row]), right, c[8u * part + 2u * row + 1u]);
                }
            }
        }
        if SLOTS == 1u {
            workgroupBarrier();
        }
        if more {
            keep(&next, (k0 / TERMS + 1u) % SLOTS * SLOT + 4u * block.y * QUADS + block.x, lane);
        }
        workgroupBarrier();
    }
    // The accumulators stay in registers when one is picked among all, and what is done with a result is compiled once.
    for (var r = 0u; r < TURNS; r++) {
        var picked = c[0];
        for (var i = 0u; i < RESULTS; i++) {
            picked = select(picked, c[i], r == i);
        }
        let row = row0 + 4u * ty + r / 2u % 4u + r / 8u * 64u;
        let col = col0 + 4u * tx + r % 2u * (TILE / 2u);
        if row < M && col < N {
            finish_four(picked, (batch * M + row) * N + col, N - col);
        }
    }
}

// Puts a block that was fetched where a tile has it.
fn keep(next: ptr<function, array<vec4<f32>, STEPS>>, at: u32, lane: u32) {
    if lane < TILE {
        for (var step = 0u; step < STEPS; step++) {
            tile_a[at + step * QUADS] = (*next)[step];
        }
    } else {
        for (var step = 0u; step < STEPS; step++) {
            tile_b[at + step * QUADS] = (*next)[step];
        }
    }
}

// The block of a tile that is fetched in its place: neighbours read neighbouring places.
fn block_of(form: u32, k: u32) -> vec2<u32> {
    return select(vec2<u32>(k / (TERMS / 4u), k % (TERMS / 4u)), vec2<u32>(k % QUADS, k / QUADS), form == ACROSS);
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

// Whether a term is one of the sum: where steps are whole, all are.
fn counts(term: u32) -> bool {
    return K % TERMS == 0u || term < K;
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

// Four rows from `row` on, of four terms each. Where tiles are whole there are no questions, which what was fetched would have to be
// there for.
fn fetch_a(next: ptr<function, array<vec4<f32>, STEPS>>, base: u32, row: u32, term: u32) {
    let at = base + row * A_M + term * A_K;
    let rows = vec4<bool>(M % TILE == 0u) | (row + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(M));
    if A_FORM == ALONG {
        let w = a_four_if(at, rows.x && counts(term));
        let x = a_four_if(at + A_M, rows.y && counts(term));
        let y = a_four_if(at + 2u * A_M, rows.z && counts(term));
        let z = a_four_if(at + 3u * A_M, rows.w && counts(term));
        for (var step = 0u; step < STEPS; step++) {
            (*next)[step] = vec4<f32>(w[step], x[step], y[step], z[step]);
        }
        return;
    }
    for (var step = 0u; step < STEPS; step++) {
        let i = at + step * A_K;
        let there = counts(term + step);
        if A_FORM == ACROSS {
            (*next)[step] = a_four_if(i, rows.x && there);
        } else {
            (*next)[step] = vec4<f32>(
                a_one_if(i, rows.x && there),
                a_one_if(i + A_M, rows.y && there),
                a_one_if(i + 2u * A_M, rows.z && there),
                a_one_if(i + 3u * A_M, rows.w && there),
            );
        }
    }
}

// Four columns from `column` on, of four terms each.
fn fetch_b(next: ptr<function, array<vec4<f32>, STEPS>>, base: u32, column: u32, term: u32) {
    let at = base + column * B_N + term * B_K;
    let columns = vec4<bool>(N % TILE == 0u) | (column + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(N));
    if B_FORM == ALONG {
        let w = b_four_if(at, columns.x && counts(term));
        let x = b_four_if(at + B_N, columns.y && counts(term));
        let y = b_four_if(at + 2u * B_N, columns.z && counts(term));
        let z = b_four_if(at + 3u * B_N, columns.w && counts(term));
        for (var step = 0u; step < STEPS; step++) {
            (*next)[step] = vec4<f32>(w[step], x[step], y[step], z[step]);
        }
        return;
    }
    for (var step = 0u; step < STEPS; step++) {
        let i = at + step * B_K;
        let there = counts(term + step);
        if B_FORM == ACROSS {
            (*next)[step] = b_four_if(i, columns.x && there);
        } else {
            (*next)[step] = vec4<f32>(
                b_one_if(i, columns.x && there),
                b_one_if(i + B_N, columns.y && there),
                b_one_if(i + 2u * B_N, columns.z && there),
                b_one_if(i + 3u * B_N, columns.w && there),
            );
        }
    }
}
