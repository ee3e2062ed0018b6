// A table of roots of unity: e^(±2πi k ∕ TURN), or e^(±2πi k² ∕ TURN), for k < COUNT.

@group(0) @binding(0) var<storage, read_write> out: array<f32>;

override COUNT: u32 = 1u;
override TURN: u32 = 1u;
override SQUARED: u32 = 0u;
override SIGN: f32 = 1.0;

// k² modulo TURN, which is at most 2^29, by doubling.
fn squared(k: u32) -> u32 {
    var sum = 0u;
    var part = k % TURN;
    for (var bits = k; bits > 0u; bits >>= 1u) {
        if (bits & 1u) == 1u {
            sum = (sum + part) % TURN;
        }
        part = 2u * part % TURN;
    }
    return sum;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let k = (wg.x + wg.y * wgs.x) * 64u + lane;
    if k >= COUNT {
        return;
    }
    let root = unit_root(select(k % TURN, squared(k), SQUARED == 1u), TURN);
    out[2u * k] = root.x;
    out[2u * k + 1u] = SIGN * root.y;
}
