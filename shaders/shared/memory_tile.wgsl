// A product of matrices, rows × terms by terms × columns, through workgroup memory: 64 invocations make a tile of 64 by 64,
// each 8 by 8 of it, and read both operands in fours. While the terms of a step are multiplied, those of the next are
// on their way into registers. What the elements are is said by the shader that this is a part of:
//   tile_rows, tile_columns, tile_batches: sizes;
//   enter(batch, columns): which product it is, and four columns that this invocation loads;
//   first_term(batch), end_term(batch): the terms that are summed;
//   a, a_index(term), a_stride(): the buffer of the rows, where row 0 is at a term, and how far apart rows are;
//   load_columns(term): the elements of the four columns;
//   place(batch, row, column): where a result goes.

// Terms of a step.
const STEPS: u32 = 16u;
const FOUR: u32 = 4u;

// Fours of rows, 17 places for each term: so that invocations that write different terms do not wait for one another.
var<workgroup> tile_a: array<vec4<f32>, 272>;
// Fours of columns, 16 for each term. Those of a four lie 16 apart, so that neighbours read and write neighbouring places.
var<workgroup> tile_b: array<vec4<f32>, 256>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_r = (tile_rows() + 63u) / 64u;
    let tiles_c = (tile_columns() + 63u) / 64u;
    let tile = wg.x + wg.y * wgs.x;
    let batch = tile / (tiles_r * tiles_c);
    if batch >= tile_batches() {
        return;
    }
    let row0 = tile / tiles_c % tiles_r * 64u;
    let column0 = tile % tiles_c * 64u;
    // What an invocation loads: one term of four fours of rows, and four terms of one four of columns.
    let one = lane % 16u;
    let part = lane / 16u;
    enter(batch, min(column0 + one + vec4<u32>(0u, 16u, 32u, 48u), vec4<u32>(tile_columns() - 1u)));
    var term = first_term(batch);
    let end = end_term(batch);
    var rows: array<vec4<f32>, FOUR>;
    var columns: array<vec4<f32>, FOUR>;
    if term < end {
        load(&rows, &columns, term, end, row0, lane);
    }
    // Which fours an invocation multiplies.
    let ty = lane / 8u;
    let tx = lane % 8u;
    var c: array<vec4<f32>, 16>;
    while term < end {
        workgroupBarrier();
        for (var k = 0u; k < FOUR; k++) {
            tile_a[one * 17u + part + k * 4u] = rows[k];
            tile_b[(part * 4u + k) * 16u + one] = columns[k];
        }
        workgroupBarrier();
        term += STEPS;
        if term < end {
            load(&rows, &columns, term, end, row0, lane);
        }
        for (var step = 0u; step < STEPS; step++) {
            let upper = tile_a[step * 17u + ty];
            let lower = tile_a[step * 17u + ty + 8u];
            let left = tile_b[step * 16u + tx];
            let right = tile_b[step * 16u + tx + 8u];
            for (var k = 0u; k < FOUR; k++) {
                c[k] += upper[k] * left;
                c[k + 4u] += upper[k] * right;
                c[k + 8u] += lower[k] * left;
                c[k + 12u] += lower[k] * right;
            }
        }
    }
    let row = row0 + ty * 4u;
    let column = column0 + tx;
    for (var k = 0u; k < FOUR; k++) {
        store(c[k], batch, row + k, column);
        store(c[k + 4u], batch, row + k, column + 8u);
        store(c[k + 8u], batch, row + k + 32u, column);
        store(c[k + 12u], batch, row + k + 32u, column + 8u);
    }
}

// Terms past the end are zeros; rows past the end are the last one, and not stored.
fn load(
    rows: ptr<function, array<vec4<f32>, FOUR>>,
    columns: ptr<function, array<vec4<f32>, FOUR>>,
    first: u32,
    end: u32,
    row0: u32,
    lane: u32,
) {
    let own = first + lane % 16u;
    let at = a_index(min(own, end - 1u));
    for (var k = 0u; k < FOUR; k++) {
        let row = row0 + (lane / 16u + k * 4u) * 4u + vec4<u32>(0u, 1u, 2u, 3u);
        let i = at + min(row, vec4<u32>(tile_rows() - 1u)) * a_stride();
        (*rows)[k] = select(vec4<f32>(), vec4<f32>(a[i.x], a[i.y], a[i.z], a[i.w]), own < end);
    }
    for (var k = 0u; k < FOUR; k++) {
        let term = first + lane / 16u * 4u + k;
        (*columns)[k] = select(vec4<f32>(), load_columns(min(term, end - 1u)), term < end);
    }
}

fn store(c: vec4<f32>, batch: u32, row: u32, column: u32) {
    if row >= tile_rows() {
        return;
    }
    for (var j = 0u; j < 4u; j++) {
        if column + j * 16u < tile_columns() {
            finish(c[j], place(batch, row, column + j * 16u));
        }
    }
}

// What is done with an element of the result.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
