// Fused reductions and what is made of them, one row per invocation: neighbours in a workgroup are
// neighbouring rows.

override ROWS: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (wg.x + wg.y * wgs.x) * 64u + lane;
    if row < ROWS {
        process(row, 0u);
    }
}

// Evaluates and stores a row.
fn process(row: u32, lane: u32) {
}
