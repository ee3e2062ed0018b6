// Fused reductions and what is made of them, one row, or four rows, per invocation: neighbours in a
// workgroup are neighbouring rows.

// Rows, or fours of them.
override UNITS: u32 = 1u;
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (wg.x + wg.y * wgs.x) * LANES + lane;
    if unit < UNITS {
        process(unit, 0u);
    }
}

// Evaluates and stores a row, or four.
fn process(unit: u32, lane: u32) {
}
