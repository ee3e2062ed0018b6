// Where values belong in sorted rows: the number of elements before each, which are those that are smaller, or
// smaller or equal.

@group(0) @binding(0) var<storage, read> sorted: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

override ROWS: u32 = 1u;
override LEN: u32 = 1u;
override COUNT: u32 = 1u;
// From one sorted row to the next; 0 where all share one.
override ROW_STRIDE: u32 = 0u;
override RIGHT: u32 = 0u;
override SORTED_OFFSET: u32 = 0u;
override X_OFFSET: u32 = 0u;

// Orders the words of elements as their values are.
fn key(word: u32) -> u32 {
    return word;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= ROWS * COUNT {
        return;
    }
    let row = SORTED_OFFSET + at / COUNT * ROW_STRIDE;
    let own = key(x[X_OFFSET + at]);
    var low = 0u;
    var high = LEN;
    while low < high {
        let middle = (low + high) / 2u;
        let there = key(sorted[row + middle]);
        if there < own || (RIGHT == 1u && there == own) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    out[at] = low;
}
