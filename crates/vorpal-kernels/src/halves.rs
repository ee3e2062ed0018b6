//! 32-bit floats as 16-bit ones: rounded to the nearest, halves to even, NaN kept, as `half` does. Without branches and calls,
//! so that a loop over them becomes vector code; `half` has a call for every eight, which takes longer than to round by hand.

use half::{bf16, f16};

use crate::lane::vectorized;

/// Sizes beyond it are no numbers.
const INFINITY: u32 = f32::INFINITY.to_bits();

#[inline(always)]
fn to_f16(x: f32) -> f16 {
    // The powers of two from which on f16 has all its bits, and from which on it has none: 2⁻¹⁴ and 2¹⁶.
    const NORMAL: u32 = (127 - 14) << 23;
    const OVERFLOW: u32 = (127 + 16) << 23;
    // What the exponents' biases differ by, and just below half of the last place that stays.
    const MOVED: u32 = (15u32.wrapping_sub(127) << 23).wrapping_add(0xfff);
    let size = x.to_bits() & 0x7fff_ffff;
    let sign = (x.to_bits() ^ size) >> 16;
    let normal = size.wrapping_add(MOVED).wrapping_add(size >> 13 & 1) >> 13;
    // The last place of ½ is the last one of f16: the sum is rounded there.
    let subnormal = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let value = if size < NORMAL { subnormal } else { normal };
    let value = if size >= OVERFLOW { 0x7c00 } else { value };
    let value = if size > INFINITY { 0x7e00 | size >> 13 & 0x3ff } else { value };
    f16::from_bits((sign | value) as u16)
}

#[inline(always)]
fn to_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let value = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let value = if x.is_nan() { bits >> 16 | 0x40 } else { value };
    bf16::from_bits(value as u16)
}

/// Fills a block with numbers as f16.
pub(crate) fn shorten_f16(from: &[f32], out: &mut [f16]) {
    vectorized(
        #[inline(always)]
        || {
            for (o, &x) in out.iter_mut().zip(from) {
                *o = to_f16(x);
            }
        },
    );
}

/// Fills a block with numbers as bf16.
pub(crate) fn shorten_bf16(from: &[f32], out: &mut [bf16]) {
    vectorized(
        #[inline(always)]
        || {
            for (o, &x) in out.iter_mut().zip(from) {
                *o = to_bf16(x);
            }
        },
    );
}

/// Rounds numbers to those that bf16 has.
pub(crate) fn round_to_bf16(values: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for v in values {
                *v = to_bf16(*v).to_f32();
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_as_half_does() {
        for bits in (0..=u32::MAX).step_by(997).chain((0..0x2_0000).map(|high| high << 15 | 1)) {
            // With ties, and what lies beside them.
            for bits in [bits, bits & !0xfff, bits & !0xfff | 0x1000, bits & !0x7fff] {
                let x = f32::from_bits(bits);
                assert_eq!(to_f16(x).to_bits(), f16::from_f32(x).to_bits(), "{x} of bits {bits:x}");
                assert_eq!(to_bf16(x).to_bits(), bf16::from_f32(x).to_bits(), "{x} of bits {bits:x}");
            }
        }
    }
}
