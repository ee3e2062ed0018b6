// Fused pointwise expressions: one invocation per element, or per pair of elements where results are
// stored in 16 bits.

// Invocations with work.
override COUNT: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * wgs.x) * 64u + lane;
    if i < COUNT {
        element(i);
    }
}

// Evaluates and stores element (or pair) i.
fn element(i: u32) {
}
