// Halves (binary16) as words, from bits: what devices make of subnormal and overflowing values differs.

// Nearest binary16, ties to even, as an f32. Built from bits: what hardware does with subnormal
// and overflowing values differs.
fn round_f16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let sign = bits & 0x80000000u;
    let size = bits & 0x7fffffffu;
    if size >= 0x7f800000u {
        return x;
    }
    if size < 0x38800000u {
        // Below the smallest normal number the spacing is constant: 2^-24.
        let steps = bitcast<f32>(size) * 16777216.0;
        let low = floor(steps);
        let rest = steps - low;
        let odd = floor(low * 0.5) * 2.0 != low;
        let up = rest > 0.5 || (rest == 0.5 && odd);
        return bitcast<f32>(sign | bitcast<u32>(select(low, low + 1.0, up) * 0.000000059604645));
    }
    let rounded = (size + 0x0fffu + ((size >> 13u) & 1u)) & 0xffffe000u;
    let limited = select(rounded, 0x7f800000u, rounded >= 0x47800000u);
    return bitcast<f32>(sign | limited);
}

// The value of sixteen bits of binary16.
fn f16_value(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let size = bits & 0x7fffu;
    if size >= 0x7c00u {
        return bitcast<f32>(sign | 0x7f800000u | ((size & 0x3ffu) << 13u));
    }
    if size < 0x400u {
        return bitcast<f32>(sign | bitcast<u32>(f32(size) * 0.000000059604645));
    }
    return bitcast<f32>(sign | ((size << 13u) + 0x38000000u));
}

// The sixteen bits of the nearest binary16, ties to even.
fn f16_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(round_f16(x));
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if size >= 0x7f800000u {
        return sign | 0x7c00u | select(0u, 0x200u, size > 0x7f800000u);
    }
    if size < 0x38800000u {
        return sign | u32(bitcast<f32>(size) * 16777216.0);
    }
    return sign | ((size - 0x38000000u) >> 13u);
}

// Two halves as a word.
fn f16_pair(low: f32, high: f32) -> u32 {
    return f16_bits(low) | (f16_bits(high) << 16u);
}
