// Adds elements at numbered places along an axis: out = base, then out[o, index[o, j, i], i] += source[o, j, i]
// for j in order. Every invocation owns a block of the axis for one (o, i) and looks at all j, so that equal
// numbers meet in order and without atomics.

@group(0) @binding(0) var<storage, read> base: array<f32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> source: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: array<vec4<u32>, 16>;
@group(0) @binding(5) var<storage, read_write> fault: array<atomic<u32>, 4>;

override OUTER: u32 = 1u;
override AXIS: u32 = 1u;
override INNER: u32 = 1u;
override LEN: u32 = 1u;
// Blocks of the axis, and how long each is.
override BLOCKS: u32 = 1u;
override BLOCK: u32 = 1u;
override BASE_OFFSET: u32 = 0u;
override INDEX_OFFSET: u32 = 0u;
override SOURCE_OFFSET: u32 = 0u;
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
    if at >= OUTER * BLOCKS * INNER {
        return;
    }
    let i = at % INNER;
    let block = at / INNER % BLOCKS;
    let o = at / INNER / BLOCKS;
    let low = block * BLOCK;
    let high = min(low + BLOCK, AXIS);
    for (var k = low; k < high; k++) {
        let place = (o * AXIS + k) * INNER + i;
        out[place] = base[BASE_OFFSET + place];
    }
    for (var j = 0u; j < LEN; j++) {
        let which = index[INDEX_OFFSET + o * INDEX_OUTER + j * INDEX_AXIS + i * INDEX_INNER];
        if which >= low && which < high {
            out[(o * AXIS + which) * INNER + i] += source[SOURCE_OFFSET + (o * LEN + j) * INNER + i];
        } else if which >= AXIS && block == 0u {
            if atomicCompareExchangeWeak(&fault[0], 0u, params[0].x).exchanged {
                atomicStore(&fault[1], which);
            }
        }
    }
}
