// Inclusive scans along the middle axis of [OUTER, LEN, INNER]. A workgroup goes through one block of the axis for
// COLUMNS neighbouring inner places, a tile of ROWS * STEPS elements of the axis at a time. Elements are pairs of
// words, of which most rules use the first alone. A launch gives either the total of every block, or every prefix,
// on top of what came before the block.

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> y: array<u32>;
@group(0) @binding(2) var<storage, read> start: array<u32>;
@group(0) @binding(3) var<storage, read> carries: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;

override OUTER: u32 = 1u;
override LEN: u32 = 1u;
override INNER: u32 = 1u;
// Size of the axis that positions count, for rules that carry positions.
override AXIS: u32 = 1u;
// Blocks of the axis, and tiles of each.
override BLOCKS: u32 = 1u;
override TILES: u32 = 1u;
override COLUMNS: u32 = 1u;
override COLUMN_TILES: u32 = 1u;
override REVERSE: u32 = 0u;
// Whether totals of blocks are wanted, or prefixes.
override TOTALS: u32 = 0u;
override CARRY: u32 = 0u;
override INIT: u32 = 0u;
override X_OFFSET: u32 = 0u;
override Y_OFFSET: u32 = 0u;
override START_OFFSET: u32 = 0u;
// Words of an element, and elements an invocation takes of a tile: 8 words.
const WORDS: u32 = 1u;
const STEPS: u32 = 8u;

const LANES: u32 = 256u;
// Skewed by one word in 32, so that invocations do not queue for one bank.
var<workgroup> tile: array<u32, 2112>;
var<workgroup> sums: array<vec2<u32>, 256>;

// Place of a position of the scan.
fn place(o: u32, p: u32, i: u32) -> u32 {
    return (o * LEN + select(p, LEN - 1u - p, REVERSE == 1u)) * INNER + i;
}

fn element(o: u32, p: u32, i: u32) -> vec2<u32> {
    return vec2<u32>(x[X_OFFSET + place(o, p, i)], 0u);
}

fn carried(o: u32, block: u32, i: u32) -> vec2<u32> {
    return vec2<u32>(carries[(o * BLOCKS + block) * INNER + i], 0u);
}

// What changes nothing.
fn nothing() -> vec2<u32> {
    return vec2<u32>(0u, 0u);
}

fn join(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(bitcast<u32>(bitcast<f32>(a.x) + bitcast<f32>(b.x)), 0u);
}

fn held(at: u32) -> vec2<u32> {
    let skewed = at + (at >> 5u);
    if WORDS == 1u {
        return vec2<u32>(tile[skewed], 0u);
    }
    return vec2<u32>(tile[skewed], tile[skewed + 1056u]);
}

fn hold(at: u32, e: vec2<u32>) {
    let skewed = at + (at >> 5u);
    tile[skewed] = e.x;
    if WORDS == 2u {
        tile[skewed + 1056u] = e.y;
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wg.x + wg.y * wgs.x;
    if group >= OUTER * BLOCKS * COLUMN_TILES {
        return;
    }
    let block = group / COLUMN_TILES % BLOCKS;
    let o = group / COLUMN_TILES / BLOCKS;
    let column = lane % COLUMNS;
    let segment = lane / COLUMNS;
    let rows = LANES / COLUMNS;
    let i = group % COLUMN_TILES * COLUMNS + column;
    let inside = i < INNER;
    var before = nothing();
    var some = false;
    if TOTALS == 0u && CARRY == 1u && block > 0u {
        some = true;
        if inside {
            before = carried(o, block - 1u, i);
        }
    } else if TOTALS == 0u && INIT == 1u {
        some = true;
        if inside {
            before = vec2<u32>(0u, start[START_OFFSET + o * INNER + i]);
        }
    }
    for (var t = 0u; t < TILES; t++) {
        let first = (block * TILES + t) * rows * STEPS;
        for (var k = 0u; k < STEPS; k++) {
            let p = first + k * rows + segment;
            var e = nothing();
            if inside && p < LEN {
                e = element(o, p, i);
            }
            hold(k * LANES + lane, e);
        }
        workgroupBarrier();
        var sum = held(segment * STEPS * COLUMNS + column);
        for (var s = 1u; STEPS > s; s++) {
            let at = (segment * STEPS + s) * COLUMNS + column;
            sum = join(sum, held(at));
            hold(at, sum);
        }
        sums[lane] = sum;
        workgroupBarrier();
        for (var d = 1u; d < rows; d *= 2u) {
            var left = sums[lane];
            if segment >= d {
                left = sums[lane - d * COLUMNS];
            }
            workgroupBarrier();
            if segment >= d {
                sums[lane] = join(left, sums[lane]);
            }
            workgroupBarrier();
        }
        let all = sums[(rows - 1u) * COLUMNS + column];
        if TOTALS == 0u {
            var prefix = before;
            if segment > 0u {
                prefix = sums[lane - COLUMNS];
                if some {
                    prefix = join(before, prefix);
                }
            }
            if segment > 0u || some {
                for (var s = 0u; s < STEPS; s++) {
                    let at = (segment * STEPS + s) * COLUMNS + column;
                    hold(at, join(prefix, held(at)));
                }
            }
            workgroupBarrier();
            for (var k = 0u; k < STEPS; k++) {
                let p = first + k * rows + segment;
                if inside && p < LEN {
                    out[place(o, p, i)] = held(k * LANES + lane)[WORDS - 1u];
                }
            }
        }
        if some {
            before = join(before, all);
        } else {
            before = all;
        }
        some = true;
        workgroupBarrier();
    }
    if TOTALS == 1u && segment == 0u && inside {
        let at = (o * BLOCKS + block) * INNER + i;
        if CARRY == 1u {
            // Both words are wanted.
            out[at] = before.x;
            out[OUTER * BLOCKS * INNER + at] = before.y;
        } else {
            out[at] = before[WORDS - 1u];
        }
    }
}
