// One stride of a level of bitonic sorting, or two at once, for strides that no tile holds: pairs of key and number
// of rows of WIDTH, a power of two.

@group(0) @binding(0) var<storage, read> x: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec2<u32>>;

override COUNT: u32 = 2u;
override WIDTH: u32 = 2u;
override LEVEL: u32 = 2u;
// The shorter stride, and whether twice as long a one comes before it.
override STRIDE: u32 = 1u;
override DOUBLE: u32 = 0u;

// Whether two elements change places.
fn wrong(a: vec2<u32>, b: vec2<u32>, up: bool) -> bool {
    let greater = a.x > b.x || (a.x == b.x && a.y > b.y);
    return greater == up;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let k = (wg.x + wg.y * wgs.x) * 256u + lane;
    let parts = 2u + 2u * DOUBLE;
    if k >= COUNT / parts {
        return;
    }
    let low = k / STRIDE * parts * STRIDE + k % STRIDE;
    let up = (low % WIDTH & LEVEL) == 0u;
    var a = x[low];
    var b = x[low + STRIDE];
    if DOUBLE == 1u {
        var c = x[low + 2u * STRIDE];
        var d = x[low + 3u * STRIDE];
        if wrong(a, c, up) {
            let kept = a;
            a = c;
            c = kept;
        }
        if wrong(b, d, up) {
            let kept = b;
            b = d;
            d = kept;
        }
        let cross = wrong(c, d, up);
        out[low + 2u * STRIDE] = select(c, d, cross);
        out[low + 3u * STRIDE] = select(d, c, cross);
    }
    let cross = wrong(a, b, up);
    out[low] = select(a, b, cross);
    out[low + STRIDE] = select(b, a, cross);
}
