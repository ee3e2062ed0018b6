// What depends on the bits of numbers: NaN, rounding to 16-bit floats, saturating conversion to integers,
// an order of floats in which NaN comes last.

// Compilers may assume that NaN does not occur, so `x != x` tells nothing: look at the bits.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

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

// The sixteen bits of the nearest bfloat16, ties to even.
fn bf16_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if is_nan(x) {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

// Nearest bfloat16 as an f32.
fn round_bf16(x: f32) -> f32 {
    return bitcast<f32>(bf16_bits(x) << 16u);
}

fn f32_to_i32(x: f32) -> i32 {
    if is_nan(x) {
        return 0i;
    }
    if x >= 2147483648.0 {
        return 2147483647i;
    }
    return i32(max(x, -2147483648.0));
}

fn f32_to_u32(x: f32) -> u32 {
    if is_nan(x) || x <= 0.0 {
        return 0u;
    }
    if x >= 4294967296.0 {
        return 0xffffffffu;
    }
    return u32(x);
}

// Larger floats have larger numbers; NaN has the largest.
fn order_f32(x: f32) -> u32 {
    if is_nan(x) {
        return 0xffffffffu;
    }
    let bits = bitcast<u32>(x);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn unorder_f32(n: u32) -> f32 {
    return bitcast<f32>(select(~n, n & 0x7fffffffu, n >= 0x80000000u));
}

// Smaller floats have larger numbers; NaN has the largest.
fn order_down_f32(x: f32) -> u32 {
    return select(~order_f32(x), 0xffffffffu, is_nan(x));
}

fn unorder_down_f32(n: u32) -> f32 {
    return unorder_f32(select(~n, n, n == 0xffffffffu));
}

fn order_i32(x: i32) -> u32 {
    return bitcast<u32>(x) ^ 0x80000000u;
}

fn unorder_i32(n: u32) -> i32 {
    return bitcast<i32>(n ^ 0x80000000u);
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
