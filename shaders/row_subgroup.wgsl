// Fused reductions and what is made of them, one row, or four rows, per subgroup, all of which are of one size.

// Rows, or fours of them.
override UNITS: u32 = 1u;
override LANES: u32 = 64u;
override SUBGROUP: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let unit = (wg.x + wg.y * wgs.x) * (LANES / SUBGROUP) + subgroup;
    if unit < UNITS {
        process(unit, lane);
    }
}

// Evaluates and stores a row, or four.
fn process(unit: u32, lane: u32) {
}
