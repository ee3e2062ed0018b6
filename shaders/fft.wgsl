// Discrete Fourier transforms of N complex numbers, N a power of two, by Stockham's algorithm in workgroup memory with
// radix 4, and radix 2 in the end where one is left. THREADS invocations share a row, ROWS rows a workgroup. Where rows
// and results lie is said by strides over outer, middle and inner rows and along the row, in complex numbers; before they
// are stored, results may be turned by roots of unity: the middle of the four-step method (Bailey 1989).

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

const N: u32 = 8u;
const THREADS: u32 = 2u;
const ROWS: u32 = 1u;

override COUNT: u32 = 1u;
override MIDDLE: u32 = 1u;
override INNER: u32 = 1u;
override X_OFFSET: u32 = 0u;
override FROM_OUTER: u32 = 0u;
override FROM_MIDDLE: u32 = 0u;
override FROM_INNER: u32 = 0u;
override FROM_STEP: u32 = 1u;
override TO_OUTER: u32 = 0u;
override TO_MIDDLE: u32 = 0u;
override TO_INNER: u32 = 0u;
override TO_STEP: u32 = 1u;
// Result k of inner row i is multiplied by the root number i·k of TURN; 0 for none.
override TURN: u32 = 0u;
// −1 for the transform, 1 for its inverse.
override SIGN: f32 = -1.0;
override SCALE: f32 = 1.0;

var<workgroup> data: array<vec2<f32>, N * ROWS>;

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// Root k of n of the transform.
fn root(k: u32, n: u32) -> vec2<f32> {
    let w = unit_root(k, n);
    return vec2<f32>(w.x, SIGN * w.y);
}

@compute @workgroup_size(THREADS * ROWS)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (wg.x + wg.y * wgs.x) * ROWS + lane / THREADS;
    let thread = lane % THREADS;
    let base = lane / THREADS * N;
    let inside = row < COUNT;
    let inner = row % INNER;
    let middle = row / INNER % MIDDLE;
    let outer = row / INNER / MIDDLE;
    let start = X_OFFSET + 2u * (outer * FROM_OUTER + middle * FROM_MIDDLE + inner * FROM_INNER);
    for (var k = thread; k < N; k += THREADS) {
        if inside {
            let at = start + 2u * k * FROM_STEP;
            data[base + k] = vec2<f32>(x[at], x[at + 1u]);
        }
    }
    workgroupBarrier();
    // Transforms of length n remain, of s interleaved rows.
    var n = N;
    var s = 1u;
    while n >= 4u {
        let m = n / 4u;
        let q = thread % s;
        let p = thread / s;
        let a = data[base + thread];
        let b = data[base + thread + s * m];
        let c = data[base + thread + 2u * s * m];
        let d = data[base + thread + 3u * s * m];
        workgroupBarrier();
        let w = root(p, n);
        let w2 = times(w, w);
        // ±i (b − d)
        let cross = SIGN * vec2<f32>(d.y - b.y, b.x - d.x);
        let to = base + q + 4u * s * p;
        data[to] = a + c + (b + d);
        data[to + s] = times(w, a - c + cross);
        data[to + 2u * s] = times(w2, a + c - (b + d));
        data[to + 3u * s] = times(times(w, w2), a - c - cross);
        workgroupBarrier();
        n = m;
        s *= 4u;
    }
    if n == 2u {
        // Pairs at a distance of half the row, in place.
        for (var q = thread; q < N / 2u; q += THREADS) {
            let a = data[base + q];
            let b = data[base + q + N / 2u];
            data[base + q] = a + b;
            data[base + q + N / 2u] = a - b;
        }
        workgroupBarrier();
    }
    if !inside {
        return;
    }
    let to = 2u * (outer * TO_OUTER + middle * TO_MIDDLE + inner * TO_INNER);
    for (var k = thread; k < N; k += THREADS) {
        var y = data[base + k];
        if TURN > 0u {
            y = times(y, root(inner * k, TURN));
        }
        let at = to + 2u * k * TO_STEP;
        out[at] = SCALE * y.x;
        out[at + 1u] = SCALE * y.y;
    }
}
