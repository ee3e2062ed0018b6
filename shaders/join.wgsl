// Joins parts along an axis: every invocation copies a word, or four, of the result from the part it lies in.

// Invocations with work, and words (or fours) of all parts behind one another.
override COUNT: u32 = 1u;
override STRETCH: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at < COUNT {
        place(at, at / STRETCH, at % STRETCH);
    }
}

// Copies what stands at `column` of row number `row`, `at` of all.
fn place(at: u32, row: u32, column: u32) {
}
