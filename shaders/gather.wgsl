// Picks elements along an axis by number: out[o, j, i] = x[o, index[o, j, i], i]. Elements are words or pairs of
// words, moved as they are.

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<uniform> params: array<vec4<u32>, 16>;
@group(0) @binding(4) var<storage, read_write> fault: array<atomic<u32>, 4>;

override COUNT: u32 = 1u;
override AXIS: u32 = 1u;
override INNER: u32 = 1u;
override LEN: u32 = 1u;
override X_OFFSET: u32 = 0u;
override INDEX_OFFSET: u32 = 0u;
// Strides of the index over outer axes, the picked axis and inner axes.
override INDEX_OUTER: u32 = 0u;
override INDEX_AXIS: u32 = 1u;
override INDEX_INNER: u32 = 0u;

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
    let i = at % INNER;
    let j = at / INNER % LEN;
    let o = at / INNER / LEN;
    let which = index[INDEX_OFFSET + o * INDEX_OUTER + j * INDEX_AXIS + i * INDEX_INNER];
    // Negative numbers are large ones here.
    if which >= AXIS {
        if atomicCompareExchangeWeak(&fault[0], 0u, params[0].x).exchanged {
            atomicStore(&fault[1], which);
        }
        out[at] = 0u;
        return;
    }
    out[at] = x[X_OFFSET + (o * AXIS + which) * INNER + i];
}
