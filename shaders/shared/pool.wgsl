// How windows and pixels of a pooling find each other. Places are (z, y, x).

override X_OFFSET: u32 = 0u;
override PLANES: u32 = 1u;
// Whether window i of n along an axis of s pixels reaches from ⌊i s / n⌋ to ⌈(i + 1) s / n⌉, instead of moving by steps.
override ADAPTIVE: u32 = 0u;

// Where something starts along each axis, and how much there is.
struct Span {
    start: vec3<u32>,
    count: vec3<u32>,
}

// Parts `at` of axes of `size` elements that are cut into `parts` which may overlap.
fn part(at: vec3<u32>, size: vec3<u32>, parts: vec3<u32>) -> Span {
    let start = at * size / parts;
    return Span(start, ((at + 1u) * size + parts - 1u) / parts - start);
}

fn pixels() -> vec3<u32> {
    return vec3<u32>(DEPTH, HEIGHT, WIDTH);
}

fn windows() -> vec3<u32> {
    return vec3<u32>(OUT_DEPTH, OUT_HEIGHT, OUT_WIDTH);
}

fn strides() -> vec3<u32> {
    return vec3<u32>(STRIDE_Z, STRIDE_Y, STRIDE_X);
}

fn dilations() -> vec3<u32> {
    return vec3<u32>(DILATION_Z, DILATION_Y, DILATION_X);
}

fn paddings() -> vec3<u32> {
    return vec3<u32>(PADDING_Z, PADDING_Y, PADDING_X);
}

// The elements of a window; those in the padding lie past every pixel.
fn elements(window: vec3<u32>) -> Span {
    if ADAPTIVE == 1u {
        return part(window, pixels(), windows());
    }
    return Span(window * strides() - paddings(), vec3<u32>(WINDOW_Z, WINDOW_Y, WINDOW_X));
}

// Element `k` of them.
fn element(span: Span, k: vec3<u32>) -> vec3<u32> {
    return span.start + k * dilations();
}

// The windows that may hold a pixel.
fn holders(pixel: vec3<u32>) -> Span {
    if ADAPTIVE == 1u {
        return part(pixel, windows(), pixels());
    }
    return Span(pixel + paddings(), vec3<u32>(WINDOW_Z, WINDOW_Y, WINDOW_X));
}

// The one of them whose element `k` the pixel is; past every window if there is none.
fn holder(span: Span, k: vec3<u32>) -> vec3<u32> {
    if ADAPTIVE == 1u {
        return span.start + k;
    }
    let offset = span.start - k * dilations();
    let window = offset / strides();
    return select(vec3<u32>(0xffffffffu), window, window * strides() == offset);
}

// The next place in a box, the last axis first.
fn next(k: vec3<u32>, count: vec3<u32>) -> vec3<u32> {
    if k.z + 1u < count.z {
        return vec3<u32>(k.x, k.y, k.z + 1u);
    }
    if k.y + 1u < count.y {
        return vec3<u32>(k.x, k.y + 1u, 0u);
    }
    return vec3<u32>(k.x + 1u, 0u, 0u);
}

// Coordinates of place `at` among planes of a size.
fn coordinates(at: u32, size: vec3<u32>) -> vec3<u32> {
    return vec3<u32>(at / (size.y * size.z) % size.x, at / size.z % size.y, at % size.z);
}

fn volume(size: vec3<u32>) -> u32 {
    return size.x * size.y * size.z;
}

fn linear(place: vec3<u32>, size: vec3<u32>) -> u32 {
    return (place.x * size.y + place.y) * size.z + place.z;
}
