// Fused pointwise expressions: one invocation per element, or per four neighbours.

// Invocations with work.
override COUNT: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at < COUNT {
        element(at);
    }
}

// Evaluates and stores element (or four) number `at`.
fn element(at: u32) {
}
