// Numbers as they are, once found to be below a size, or else in order: one that is not becomes 0. Reported is the
// number that is not below the size, or the place of the one that is out of order.

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<uniform> params: array<vec4<u32>, 16>;
@group(0) @binding(3) var<storage, read_write> fault: array<atomic<u32>, 4>;

override COUNT: u32 = 1u;
override SIZE: u32 = 1u;
override X_OFFSET: u32 = 0u;
// Numbers must be in order within rows of this many; 0: below the size instead.
override ROW: u32 = 0u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wg.x + wg.y * wgs.x) * 64u + lane;
    if at >= COUNT {
        return;
    }
    let number = x[X_OFFSET + at];
    var fine = number < SIZE;
    if ROW > 0u {
        fine = at % max(ROW, 1u) == 0u || x[X_OFFSET + max(at, 1u) - 1u] <= number;
    }
    out[at] = select(0u, number, fine);
    if !fine {
        if atomicCompareExchangeWeak(&fault[0], 0u, params[0].x).exchanged {
            atomicStore(&fault[1], select(at, number, ROW == 0u));
        }
    }
}
