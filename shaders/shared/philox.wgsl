// Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).

// High and low word of a 32 x 32 bit product; WGSL has no 64-bit integers.
fn multiply_wide(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a1 * b1 + (middle >> 16u) + (cross >> 16u), a * b);
}

fn philox_round(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let p0 = multiply_wide(0xD2511F53u, counter.x);
    let p1 = multiply_wide(0xCD9E8D57u, counter.z);
    return vec4<u32>(p1.x ^ counter.y ^ key.x, p1.y, p0.x ^ counter.w ^ key.y, p0.y);
}

fn philox4x32(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let weyl = vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    var x = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        x = philox_round(x, k);
        k += weyl;
    }
    return x;
}

// Word `index` of the stream named by a key and the upper half of the counter.
fn philox_word(index: u32, k0: u32, k1: u32, c0: u32, c1: u32) -> u32 {
    let words = philox4x32(vec4<u32>(index >> 2u, 0u, c0, c1), vec2<u32>(k0, k1));
    return words[index & 3u];
}
