// Halves (binary16) as words on devices that round to the nearest, ties to even, when they pack them.

// Nearest binary16 as an f32.
fn round_f16(x: f32) -> f32 {
    return unpack2x16float(pack2x16float(vec2<f32>(x, 0.0))).x;
}

// The value of sixteen bits of binary16.
fn f16_value(bits: u32) -> f32 {
    return unpack2x16float(bits).x;
}

// Two halves as a word.
fn f16_pair(low: f32, high: f32) -> u32 {
    return pack2x16float(vec2<f32>(low, high));
}
