// Solutions X of A X = B or Aᵀ X = B for triangular matrices A of ROWS rows; B has COLUMNS columns, of which a workgroup
// takes TILE. Step s finds row s, or row ROWS − 1 − s, and subtracts it from the rows to come. Rows are divided by the
// diagonal at the end of the launch: until then one barrier a step is enough.

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<uniform> params: array<vec4<u32>, 16>;
@group(0) @binding(4) var<storage, read_write> fault: array<atomic<u32>, 4>;

override B_OFFSET: u32 = 0u;
override TILE: u32 = 1u;
// Whether row 0 is the first to be found; whether A is transposed; whether its diagonal is 1.
override FORWARD: u32 = 1u;
override TRANSPOSED: u32 = 0u;
override UNIT: u32 = 0u;

fn row_of(step: u32) -> u32 {
    return select(ROWS - 1u - step, step, FORWARD == 1u);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (COLUMNS + TILE - 1u) / TILE;
    let group = wg.x + wg.y * wgs.x;
    if group >= BATCH * tiles {
        return;
    }
    let matrix = group / tiles;
    let first = group % tiles * TILE;
    let width = min(TILE, COLUMNS - first);
    let factor = X_OFFSET + matrix * ROWS * ROWS;
    let base = matrix * ROWS * COLUMNS + first;
    for (var e = lane; e < ROWS * width; e += LANES) {
        let at = base + e / width * COLUMNS + e % width;
        out[at] = b[B_OFFSET + at];
    }
    storageBarrier();
    for (var s = FROM; s < TO; s++) {
        let i = row_of(s);
        let pivot = select(a[factor + i * ROWS + i], 1.0, UNIT == 1u);
        if lane == 0u && pivot == 0.0 {
            if atomicCompareExchangeWeak(&fault[0], 0u, params[0].x).exchanged {
                atomicStore(&fault[1], matrix);
            }
        }
        for (var e = lane; e < (ROWS - 1u - s) * width; e += LANES) {
            let j = select(e / width, i + 1u + e / width, FORWARD == 1u);
            let c = base + e % width;
            let entry = a[factor + select(j * ROWS + i, i * ROWS + j, TRANSPOSED == 1u)];
            out[c + j * COLUMNS] -= entry * (out[c + i * COLUMNS] / pivot);
        }
        storageBarrier();
    }
    for (var e = lane; e < (TO - FROM) * width; e += LANES) {
        let i = row_of(FROM + e / width);
        let pivot = select(a[factor + i * ROWS + i], 1.0, UNIT == 1u);
        out[base + i * COLUMNS + e % width] /= pivot;
    }
}
