// What depends on the bits of numbers: NaN, rounding to 16-bit floats, saturating conversion to integers,
// an order of floats in which NaN comes last.

// Compilers may assume that NaN does not occur, so `x != x` tells nothing: look at the bits.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Nearest binary16, ties to even, as an f32. Built from bits: what hardware does with subnormal
// and overflowing values differs.
fn round_f16(x: f32) -> f32 {
    return f16_value(f16_bits(x));
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
    let size = bits & 0x7fffu;
    let wide = size << 13u;
    let usual = wide + select(0x38000000u, 0x70000000u, size >= 0x7c00u);
    // Below the smallest normal number the exponent is one too many, and a leading one that is not there is taken off.
    let small = bitcast<u32>(bitcast<f32>(wide + 0x38800000u) - 0.00006103515625);
    return bitcast<f32>(select(usual, small, size < 0x400u) | ((bits & 0x8000u) << 16u));
}

// The sixteen bits of the nearest binary16, ties to even. Without branches: invocations beside one another would take all of them.
fn f16_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    // Half of the last place, less the least there is unless that place is odd, and the exponents apart.
    let usual = (size + 0xc8000fffu + ((size >> 13u) & 1u)) >> 13u;
    // Below the smallest normal number the spacing is constant, 2^-24, that of floats from a half on.
    let small = bitcast<u32>(bitcast<f32>(size) + 0.5) - 0x3f000000u;
    let finite = select(usual, small, size < 0x38800000u);
    let limited = select(finite, select(0x7c00u, 0x7e00u, size > 0x7f800000u), size >= 0x47800000u);
    return limited | ((bits >> 16u) & 0x8000u);
}
