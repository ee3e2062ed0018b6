// A product of matrices, rows × terms by terms × columns, made by subgroups without workgroup memory: a tile of ROWS
// rows and four columns for each invocation. Elements of the rows are loaded once by a subgroup, a share by each
// invocation, and handed to the others from register to register. What the elements are is said by the shader that
// this is a part of:
//   tile_rows, tile_columns, tile_batches: sizes;
//   enter(batch, row0, lane, column): where a tile lies (with enter_rows); columns past the end may be any other;
//   terms(), counts(term): the end of the sums, and whether a term is before it, which only the last step has to ask;
//   a, a_index(at, term): the buffer of the rows and where the elements of one that starts at `at` are;
//   load_columns(columns, first): the elements of a step, zeros for terms that do not count;
//   place(row, column, j): where a result goes, for the column `column` + j of an invocation.

// Invocations of a subgroup, at least eight.
override LANES: u32 = 8u;

// Rows of a tile, in eights.
const OCTETS: u32 = 2u;
const OCTET: u32 = 8u;
const ROWS: u32 = OCTETS * 8u;

// Terms of a step.
const STEPS: u32 = 4u;

// How elements are read: one by one; in fours along the terms; in fours across rows or columns. Fours never reach over
// an end.
const ONES: u32 = 0u;
const ALONG: u32 = 1u;
const ACROSS: u32 = 2u;
override A_FORM: u32 = 0u;

// Where the elements that this invocation loads for the rows begin, and the terms of a step they are of.
var<private> a_place: array<u32, OCTETS>;
var<private> a_term: array<u32, OCTETS>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tile = (wg.x + wg.y * wgs.x) * (64u / LANES) + subgroup;
    let tiles_r = (tile_rows() + ROWS - 1u) / ROWS;
    let tiles_c = (tile_columns() + 4u * LANES - 1u) / (4u * LANES);
    let batch = tile / (tiles_r * tiles_c);
    if batch >= tile_batches() {
        return;
    }
    let row0 = tile % tiles_r * ROWS;
    let column = tile / tiles_r % tiles_c * (4u * LANES) + lane * 4u;
    enter(batch, row0, lane % 8u, column);
    var rows: array<vec4<f32>, OCTETS>;
    var columns: array<vec4<f32>, STEPS>;
    var c: array<vec4<f32>, ROWS>;
    let end = terms();
    for (var term = 0u; term < end; term += STEPS) {
        load_rows(&rows, term);
        // Invocations without columns have nothing to load.
        if tile_columns() % (4u * LANES) == 0u || column < tile_columns() {
            load_columns(&columns, term);
        }
        for (var step = 0u; step < STEPS; step++) {
            for (var octet = 0u; octet < OCTETS; octet++) {
                for (var row = 0u; row < OCTET; row++) {
                    c[octet * OCTET + row] += row_at(&rows, octet * OCTET + row, step) * columns[step];
                }
            }
        }
    }
    // The accumulators stay in registers when a row is picked among all, and what is done with a result is compiled once.
    for (var r = 0u; r < ROWS; r++) {
        var picked = c[0];
        for (var octet = 0u; octet < OCTETS; octet++) {
            for (var row = 0u; row < OCTET; row++) {
                picked = select(picked, c[octet * OCTET + row], r == octet * OCTET + row);
            }
        }
        for (var j = 0u; j < 4u; j++) {
            if row0 + r < tile_rows() && column + j < tile_columns() {
                finish(picked[j], place(row0 + r, column, j));
            }
        }
    }
}

// Rows that begin at `base` and are `stride` apart.
fn enter_rows(base: u32, stride: u32, row0: u32, lane: u32) {
    for (var octet = 0u; octet < OCTETS; octet++) {
        if A_FORM == ACROSS {
            // The elements of a step in fours, one after the other.
            let four = octet * 8u + lane;
            a_term[octet] = four / (ROWS / 4u);
            a_place[octet] = base + min(row0 + four % (ROWS / 4u) * 4u, tile_rows() - 4u) * stride;
        } else {
            a_term[octet] = 0u;
            a_place[octet] = base + min(row0 + octet * 8u + lane, tile_rows() - 1u) * stride;
        }
    }
}

fn a_one(i: u32) -> f32 {
    return a[i];
}

fn a_four(i: u32) -> vec4<f32> {
    return vec4<f32>(a[i], a[i + 1u], a[i + 2u], a[i + 3u]);
}

fn a_if(at: u32, term: u32) -> f32 {
    return select(0.0, a_one(a_index(at, select(0u, term, counts(term)))), counts(term));
}

fn load_rows(rows: ptr<function, array<vec4<f32>, OCTETS>>, first: u32) {
    for (var octet = 0u; octet < OCTETS; octet++) {
        let at = a_place[octet];
        if A_FORM == ONES {
            (*rows)[octet] = vec4<f32>(
                a_if(at, first), a_if(at, first + 1u), a_if(at, first + 2u), a_if(at, first + 3u));
        } else {
            let term = first + a_term[octet];
            let four = a_four(a_index(at, select(0u, term, counts(term))));
            (*rows)[octet] = select(vec4<f32>(), four, counts(term));
        }
    }
}

fn row_at(rows: ptr<function, array<vec4<f32>, OCTETS>>, row: u32, step: u32) -> f32 {
    if A_FORM == ACROSS {
        let four = step * (ROWS / 4u) + row / 4u;
        return subgroupShuffle((*rows)[four / 8u][row % 4u], four % 8u);
    }
    return subgroupShuffle((*rows)[row / 8u][step], row % 8u);
}

// What is done with an element of the result.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
