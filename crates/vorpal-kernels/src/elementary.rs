//! Elementary functions of f32 for native bodies: without branches, tables or calls, so that a loop over them becomes
//! vector code. The plain operations of IEEE 754 alone, so that processors give the same bits: multiplication and addition
//! in one step on those that have it (`fused`), in two on the others.
//!
//! Every function gives its f64 value to the error that its tests state, subnormal results to the last of
//! their bits, and the corners (NaN, infinities, zeros with their signs) of the functions of C.
//!
//! The polynomials are Chebyshev fits of what is left after the first, exact terms.

use std::f32::consts::{LOG2_E, LOG10_E};
use std::f64::consts::FRAC_2_PI;

use crate::lane::{LaneElement, LaneMut, vectorized};

/// Adding and subtracting it rounds numbers below 2²² to whole ones; the low bits of the sum are that number.
const WHOLE: f32 = 12_582_912.0;

/// As [`WHOLE`], for f64 below 2⁵¹.
const WHOLE_WIDE: f64 = 6_755_399_441_055_744.0;

/// ln 2 in two parts, the first of which times a whole number below 2¹⁵ is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// a b + c, rounded once where processors do it in one step. An x86 that does not is older than vectors of 256 bits, and
/// slow here.
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

/// As [`fused`], of f64.
#[inline(always)]
fn fused_wide(a: f64, b: f64, c: f64) -> f64 {
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
}

/// c₀ + c₁ x + c₂ x² + c₃ x³, or as much of it as there is.
#[inline(always)]
fn cubic(x: f32, square: f32, c: &[f32]) -> f32 {
    match *c {
        [c0] => c0,
        [c0, c1] => fused(c1, x, c0),
        [c0, c1, c2] => fused(c2, square, fused(c1, x, c0)),
        [c0, c1, c2, c3] => fused(fused(c3, x, c2), square, fused(c1, x, c0)),
        _ => 0.0,
    }
}

/// c₀ + c₁ x + c₂ x² + … of up to 12 terms, as a tree (Estrin's scheme): processors wait for results rather than for
/// operations.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let square = x * x;
    let fourth = square * square;
    if N <= 4 {
        cubic(x, square, &c)
    } else if N <= 8 {
        fused(cubic(x, square, &c[4..]), fourth, cubic(x, square, &c[..4]))
    } else {
        let high = fused(cubic(x, square, &c[8..]), fourth, cubic(x, square, &c[4..8]));
        fused(high, fourth, cubic(x, square, &c[..4]))
    }
}

/// c₀ + c₁ x + c₂ x² + …, term by term: the fewest operations, where others are there to be done while each waits for the
/// one before.
#[inline(always)]
fn horner<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let [rest @ .., last] = &c[..] else { return 0.0 };
    rest.iter().rev().fold(*last, |sum, &c| fused(sum, x, c))
}

/// `x` between two limits; NaN stays.
#[inline(always)]
fn limited<T: PartialOrd>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// The whole number nearest to x ∕ ln 2, as a float and as an integer.
#[inline(always)]
fn whole(x: f32) -> (f32, i32) {
    let sum = fused(x, LOG2_E, WHOLE);
    (sum - WHOLE, (sum.to_bits() as i32).wrapping_sub(WHOLE.to_bits() as i32))
}

/// 2ⁿ for −126 ≤ n ≤ 128, the last of which is infinite.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// (eʳ − 1 − r) ∕ r² for |r| ≤ ½ ln 2, by powers of r.
const EXP_NEAR_ZERO: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_552, 0.008_363_42, 0.001_392_648_4];

/// eʳ − 1 for |r| ≤ ½ ln 2.
#[inline(always)]
fn expm1_near_zero(r: f32) -> f32 {
    fused(r * r, polynomial(r, EXP_NEAR_ZERO), r)
}

/// eʳ for |r| ≤ ½ ln 2, by Horner's scheme: fewer operations than eʳ − 1 and 1 take.
#[inline(always)]
fn exp_near_zero(r: f32) -> f32 {
    let [c2, c3, c4, c5, c6] = EXP_NEAR_ZERO;
    [c5, c4, c3, c2, 1.0, 1.0].into_iter().fold(c6, |sum, c| fused(sum, r, c))
}

/// x − n ln 2.
#[inline(always)]
fn without(x: f32, n: f32) -> f32 {
    fused(n, -LN_2_LOW, fused(n, -LN_2_HIGH, x))
}

/// The rest r and the whole number n of x = n ln 2 + r.
#[inline(always)]
fn reduced(x: f32) -> (f32, i32) {
    let (n, bits) = whole(x);
    (without(x, n), bits)
}

/// The whole number n nearest to `x` times `factor`, where −252 ≤ n ≤ 254, and 2ⁿ as a product of two powers, so that what is
/// multiplied by both is rounded once only: half of n is rounded by itself, and the rest is the other half.
#[inline(always)]
fn exponent(x: f32, factor: f32) -> (f32, [f32; 2]) {
    // Low bits that are an exponent with its bias: shifted to its place, they are a power of two.
    const BIAS: f32 = 127.0;
    let sum = fused(x, factor, WHOLE + 2.0 * BIAS);
    let half = fused(x, 0.5 * factor, WHOLE + BIAS);
    let rest = sum.to_bits().wrapping_sub(half.to_bits());
    (sum - (WHOLE + 2.0 * BIAS), [half.to_bits(), rest].map(|bits| f32::from_bits(bits << 23)))
}

/// eˣ.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = limited(x, -104.0, 89.0);
    let (n, [half, rest]) = exponent(x, LOG2_E);
    exp_near_zero(without(x, n)) * half * rest
}

/// 1 ∕ (1 + e⁻ˣ); 0 where it would be subnormal.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    // The power of two is infinite from −88.4 on.
    let (r, n) = reduced(limited(-x, -80.0, 89.0));
    1.0 / fused(expm1_near_zero(r) + 1.0, power_of_two(n), 1.0)
}

/// 2ˣ.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    let x = limited(x, -151.0, 129.0);
    let (n, [half, rest]) = exponent(x, 1.0);
    exp_near_zero((x - n) * std::f32::consts::LN_2) * half * rest
}

/// eˣ − 1, accurate near 0.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    let (r, n) = reduced(limited(x, -80.0, 89.0));
    // Half of the power, so that it is a float where the result still is one.
    let half = power_of_two(n.wrapping_sub(1));
    let value = fused(half, expm1_near_zero(r), half - 0.5) * 2.0;
    if x.abs() < 2e-8 { x } else { value }
}

/// A positive number x = m · 2ᵉ with √½ ≤ m < √2 as (e, m − 1, log(m) − (m − 1)).
#[inline(always)]
fn log_parts(x: f32) -> (f32, f32, f32) {
    // All bits where it is subnormal, as a number: compilers make two of everything behind a choice.
    let subnormal = i32::from(x < f32::MIN_POSITIVE).wrapping_neg();
    let factor = f32::from_bits((0x3f80_0000 + (subnormal & (23 << 23))) as u32);
    let bits = (x * factor).to_bits();
    // The bits of √½ are taken off, so that the exponent changes there.
    let e = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((e << 23) as u32)) - 1.0;
    let p = polynomial(
        f,
        [
            0.333_333_3,
            -0.249_999_97,
            0.200_007_17,
            -0.166_678_07,
            0.142_490_07,
            -0.124_255_23,
            0.116_857_85,
            -0.114_812_12,
            0.069_725_186,
        ],
    );
    let square = f * f;
    let e = e.wrapping_sub(subnormal & 23) as f32;
    (e, f, fused(f * square, p, -0.5 * square))
}

/// A logarithm where the number is positive and finite, else what it is there.
#[inline(always)]
fn log_or_corner(x: f32, value: f32) -> f32 {
    let corner = if x == 0.0 { f32::NEG_INFINITY } else { x };
    let corner = if x < 0.0 { f32::NAN } else { corner };
    if x.to_bits().wrapping_sub(1) < 0x7f7f_ffff { value } else { corner }
}

/// Natural logarithm.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let (e, f, rest) = log_parts(x);
    log_or_corner(x, fused(e, LN_2_HIGH, f + fused(e, LN_2_LOW, rest)))
}

/// Logarithm to base 2; exact of powers of two.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    let (e, f, rest) = log_parts(x);
    // log₂e − 1 keeps the leading term exact.
    let fraction = (f + rest) + (rest * (LOG2_E - 1.0) + f * (LOG2_E - 1.0));
    log_or_corner(x, e + fraction)
}

/// Logarithm to base 10.
#[inline(always)]
pub fn log10(x: f32) -> f32 {
    // log₁₀2 in two parts, the first of which times a whole number below 2¹⁵ is exact.
    const HIGH: f32 = 0.300_781_25;
    const LOW: f32 = 2.487_456_6e-4;
    let (e, f, rest) = log_parts(x);
    log_or_corner(x, (f + rest) * LOG10_E + e * LOW + e * HIGH)
}

/// log(1 + x), accurate near 0.
#[inline(always)]
pub fn log1p(x: f32) -> f32 {
    let sum = 1.0 + x;
    // What the sum has lost, to first order.
    let lost = if x.abs() < 1e30 { (x - (sum - 1.0)) / sum } else { 0.0 };
    let value = ln(sum);
    let value = if sum == 0.0 { value } else { value + lost };
    if x.abs() < 2e-8 { x } else { value }
}

/// Logarithm to base 2 of a positive number that f32 holds, to 2⁻³⁷ of itself; of others some number.
#[inline(always)]
fn log2_wide(x: f64) -> f64 {
    const EXPONENT: u32 = f64::MANTISSA_DIGITS - 1;
    const FRACTION: u64 = (1 << EXPONENT) - 1;
    // An exponent with its bias is the low bits of this float.
    const BIASED: f64 = 4_503_599_627_370_496.0;
    const BIAS: u64 = 1024;
    let root = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    // The bits of √½ are taken off, so that the exponent changes there: x = m · 2ᵉ with √½ ≤ m < √2.
    let bits = x.to_bits().wrapping_add((BIAS << EXPONENT) - root);
    let e = f64::from_bits(bits >> EXPONENT | BIASED.to_bits()) - (BIASED + BIAS as f64);
    let m = f64::from_bits((bits & FRACTION) + root);
    // log m is twice the inverse hyperbolic tangent of s.
    let s = (m - 1.0) / (m + 1.0);
    let p = [0.577_083_596_187_111, 0.961_796_673_275_674_9, 2.885_390_081_790_147]
        .into_iter()
        .fold(fused_wide(s * s, 0.340_740_456_325_976_7, 0.411_672_109_397_036_7), |sum, c| {
            fused_wide(sum, s * s, c)
        });
    fused_wide(s, p, e)
}

/// 2ˣ to 2⁻²⁸ of itself for −1022 ≤ x ≤ 1023.
#[inline(always)]
fn exp2_wide(x: f64) -> f64 {
    // Low bits that are an exponent with its bias: shifted to its place, they are a power of two.
    const BIAS: f64 = 1023.0;
    let sum = x + (WHOLE_WIDE + BIAS);
    let r = x - (sum - (WHOLE_WIDE + BIAS));
    let p = [
        0.001_339_018_407_936_418_1,
        0.009_618_526_618_716_494,
        0.055_503_622_138_476_42,
        0.240_226_475_460_163_67,
        std::f64::consts::LN_2,
        1.0,
    ];
    let value = p.into_iter().fold(1.532_112_267_508_490_5e-4, |sum, c| fused_wide(sum, r, c));
    value * f64::from_bits(sum.to_bits() << (f64::MANTISSA_DIGITS - 1))
}

/// xʸ. In f64, as a number f32 holds of the logarithm is not enough to be multiplied by y.
#[inline(always)]
pub fn pow(x: f32, y: f32) -> f32 {
    let (size, bits) = (x.abs(), x.abs().to_bits());
    // Of ±1 an infinite power is 1.
    let y = limited(y, -f32::MAX, f32::MAX);
    // Beyond these limits are 0 and infinity of f32.
    let exponent = limited(f64::from(y) * log2_wide(f64::from(size)), -160.0, 160.0);
    let value = exp2_wide(exponent) as f32;
    let is_whole = y.round_ties_even() == y;
    let value = if x < 0.0 && !is_whole { f32::NAN } else { value };
    // 0 and infinity become themselves or each other, NaN stays; but the power 0 of them all is 1, as it is of others.
    let infinity = f32::INFINITY.to_bits();
    let corner = if y < 0.0 { infinity.wrapping_sub(bits) } else { bits };
    let has_corner = bits.wrapping_sub(1) >= infinity - 1 && y.abs() > 0.0;
    let value = if has_corner { f32::from_bits(corner) } else { value };
    // An odd number is whole, and half of it is not.
    let half = 0.5 * y;
    let is_odd = is_whole && half.round_ties_even() != half;
    let sign = if is_odd { x.to_bits() & !(u32::MAX >> 1) } else { 0 };
    let value = f32::from_bits(value.to_bits() | sign);
    if x == 1.0 { 1.0 } else { value }
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let (r, n) = reduced(if size > 10.0 { 20.0 } else { size + size });
    let power = power_of_two(n);
    let t = fused(power, expm1_near_zero(r), power - 1.0);
    (t / (t + 2.0)).copysign(x)
}

/// Error function.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let near = horner(
        x * x,
        [
            0.128_379_17,
            -0.376_125_96,
            0.112_832_49,
            -0.026_839_778,
            0.005_161_997_4,
            -7.783_19e-4,
            7.121_527e-5,
        ],
    );
    let near = fused(x, near, x);
    // About 2.4, so that terms are small where the function is not yet flat.
    let t = x.abs();
    let far = horner(
        limited(t, 1.0, 3.9) - 2.4,
        [
            0.999_311_5,
            0.003_555_716_7,
            -0.008_534_229,
            0.012_467_398,
            -0.012_112_011,
            0.007_896_878,
            -0.003_100_647_8,
            2.277_687_4e-4,
            5.479_611e-4,
            -3.200_594_8e-4,
            3.970_348e-5,
            2.821_214_2e-5,
            -1.047_677_9e-5,
            7.518_280_5e-7,
        ],
    );
    if t < 1.1 { near } else { far.copysign(x) }
}

/// Angles from here on are reduced by what reads tables.
const ANGLE_FAR: f32 = 1_048_576.0;

/// Quarter turns of an angle below [`ANGLE_FAR`] that is not negative, and sine and cosine of what is left of it, an eighth of
/// a turn at most.
#[inline(always)]
fn turned(size: f32) -> (u32, f32, f32) {
    // π ∕ 2 in two parts, the first of which times a whole number below 2²⁰ is exact.
    const HIGH: f64 = 1.570_796_326_734_125_6;
    const LOW: f64 = 6.077_100_506_506_192e-11;
    // In f64, where what is left keeps all of its bits.
    let x = f64::from(size);
    let sum = x * FRAC_2_PI + WHOLE_WIDE;
    let n = sum - WHOLE_WIDE;
    let r = ((x - n * HIGH) - n * LOW) as f32;
    let square = r * r;
    let sine = polynomial(square, [-0.166_666_64, 0.008_332_748, -1.958_775_7e-4]);
    let cosine = polynomial(square, [0.041_666_664, -0.001_388_830_2, 2.454_778_8e-5]);
    let (sine, cosine) =
        (fused(r * square, sine, r), fused(square * square, cosine, fused(-0.5, square, 1.0)));
    (sum.to_bits() as u32, sine, cosine)
}

/// The second of two numbers after an odd number of quarter turns, else the first; its sign is the second lowest bit of `sign`.
#[inline(always)]
fn after(turns: u32, even: f32, odd: f32, sign: u32) -> f32 {
    let value = if turns & 1 == 0 { even } else { odd };
    f32::from_bits(value.to_bits() ^ ((sign & 2) << 30))
}

/// Sine of an angle below 2²⁰ in radians.
#[inline(always)]
pub fn sin_near(x: f32) -> f32 {
    let (turns, sine, cosine) = turned(x.abs());
    // An odd function, −0 of −0.
    after(turns, sine, cosine, turns ^ (x.to_bits() >> 30 & 2))
}

/// Cosine of an angle below 2²⁰ in radians.
#[inline(always)]
pub fn cos_near(x: f32) -> f32 {
    let (turns, sine, cosine) = turned(x.abs());
    after(turns, cosine, sine, turns.wrapping_add(1))
}

/// Sine of an angle in radians.
pub fn sin(x: f32) -> f32 {
    if x.abs() < ANGLE_FAR { sin_near(x) } else { libm::sinf(x) }
}

/// Cosine of an angle in radians.
pub fn cos(x: f32) -> f32 {
    if x.abs() < ANGLE_FAR { cos_near(x) } else { libm::cosf(x) }
}

/// Fills a block with a function of angles: with `near` of those below 2²⁰, of which alone it knows, and `any` of the others.
pub fn map_angles(x: &[f32], out: LaneMut<'_>, near: impl Fn(f32) -> f32, any: impl Fn(f32) -> f32) {
    let out = f32::of_mut(out);
    // One loop for each: together they make no vector code.
    let far = vectorized(
        #[inline(always)]
        || {
            for (o, &x) in out.iter_mut().zip(x) {
                *o = near(x);
            }
            let mut far = false;
            for x in x {
                far |= x.abs() >= ANGLE_FAR;
            }
            far
        },
    );
    if far {
        let all = out.iter_mut().zip(x);
        all.filter(|(_, x)| x.abs() >= ANGLE_FAR).for_each(|(o, &x)| *o = any(x));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far a float is from a value, in units of the last place of f32 there.
    fn distance(found: f32, value: f64) -> f64 {
        let nearest = value as f32;
        if found == nearest || (found.is_nan() && nearest.is_nan()) {
            return 0.0;
        }
        let last_place = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
        (f64::from(found) - value).abs() / last_place
    }

    /// The largest distance between a function of every 509th float and its f64 value, in units of the last place of
    /// f32 there, and where.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0f64, 0.0f32);
        for bits in (0..u32::MAX).step_by(509) {
            let x = f32::from_bits(bits);
            let (found, value) = (f(x), exact(f64::from(x)));
            let error = distance(found, value);
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn errors_in_units_of_the_last_place() {
        type Measured = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);
        let functions: [Measured; 12] = [
            ("exp", exp, f64::exp, 1.0),
            ("sigmoid", |x| sigmoid(x.max(-87.0)), |x| 1.0 / (1.0 + (-x.max(-87.0)).exp()), 2.5),
            ("exp2", exp2, f64::exp2, 1.0),
            ("expm1", expm1, f64::exp_m1, 2.0),
            ("ln", ln, f64::ln, 1.1),
            ("log2", log2, f64::log2, 2.0),
            ("log10", log10, f64::log10, 2.0),
            ("log1p", log1p, f64::ln_1p, 2.0),
            ("tanh", tanh, f64::tanh, 2.5),
            ("erf", erf, libm::erf, 1.5),
            ("sin", sin, f64::sin, 1.6),
            ("cos", cos, f64::cos, 1.6),
        ];
        for (name, f, exact, bound) in functions {
            let (error, x) = worst(f, exact);
            println!("{name}: {error:.2} at {x}");
            assert!(error <= bound, "{name} of {x} is off by {error:.2} units");
        }
    }

    #[test]
    fn errors_of_powers() {
        let power = |x: f32, y: f32| (pow(x, y), f64::from(x).powf(f64::from(y)));
        let (mut worst, mut bits) = ((0.0, 0.0, 0.0), 0u64);
        let mut next = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 32) as u32
        };
        for k in 0..8_000_000 {
            // Any two floats, whose power is mostly 0 or infinite; powers of all sizes; those of numbers about 1.
            let (x, y) = (f32::from_bits(next()), f32::from_bits(next()));
            let part = next() as f32 / 2f32.powi(31) - 1.0;
            let (x, y) = match k % 4 {
                0 => (x, y),
                1 => (x.abs(), 152.0 * part / x.abs().log2()),
                2 => (1.0 + part * part * part, y),
                _ => (x, (4.0 * part).round()),
            };
            let (found, value) = power(x, y);
            let error = distance(found, value);
            if error > worst.0 || error.is_nan() {
                worst = (error, x, y);
            }
        }
        let (error, x, y) = worst;
        println!("pow: {error:.3} at {x}, {y}");
        assert!(error <= 0.6, "{x} to the power of {y} is off by {error:.3} units");
    }

    #[test]
    fn corners_of_powers_are_those_of_c() {
        let (inf, max) = (f32::INFINITY, f32::MAX);
        let below = 1f32.next_down();
        let sizes = [0.0, 1e-45, f32::MIN_POSITIVE, 0.25, 0.5, below, 1.0, 1.0f32.next_up(), 1.5, 2.0, 3.0];
        let large = [4.0, 150.0, 8_388_607.5, 16_777_215.0, 16_777_216.0, 2e31, 2f32.powi(104), max, inf];
        let sizes: Vec<f32> = sizes.into_iter().chain(large).collect();
        let all: Vec<f32> = sizes.iter().flat_map(|&x| [x, -x]).chain([f32::NAN]).collect();
        for &x in &all {
            for &y in &all {
                let (found, value) = (pow(x, y), f64::from(x).powf(f64::from(y)));
                let same = distance(found, value) <= 0.6
                    && (value.is_nan() || found.is_sign_negative() == value.is_sign_negative());
                assert!(same, "{x} to the power of {y} is {found}, should be {value}");
            }
        }
    }

    #[test]
    fn large_angles_among_others() {
        let x = [1.0, -ANGLE_FAR, f32::NAN, 1e30, -0.0, f32::INFINITY, ANGLE_FAR.next_down(), -2.0];
        for (near, any) in [(sin_near as fn(f32) -> f32, sin as fn(f32) -> f32), (cos_near, cos)] {
            let mut found = [0.0; 8];
            map_angles(&x, LaneMut::F32(&mut found), near, any);
            assert_eq!(found.map(f32::to_bits), x.map(any).map(f32::to_bits));
        }
    }

    #[test]
    fn corners_are_those_of_c() {
        let (inf, nan, max) = (f32::INFINITY, f32::NAN, f32::MAX);
        type Corner = (&'static str, fn(f32) -> f32, f32, f32);
        let corners: [Corner; 41] = [
            ("exp", exp, -inf, 0.0),
            ("exp", exp, inf, inf),
            ("exp", exp, nan, nan),
            ("exp", exp, -0.0, 1.0),
            ("sigmoid", sigmoid, -inf, 0.0),
            ("sigmoid", sigmoid, inf, 1.0),
            ("sigmoid", sigmoid, nan, nan),
            ("exp2", exp2, -149.0, 1e-45),
            ("exp2", exp2, 127.0, 1.701_411_8e38),
            ("exp2", exp2, max, inf),
            ("exp2", exp2, nan, nan),
            ("expm1", expm1, -0.0, -0.0),
            ("expm1", expm1, -inf, -1.0),
            ("expm1", expm1, inf, inf),
            ("expm1", expm1, 1e-45, 1e-45),
            ("expm1", expm1, nan, nan),
            ("ln", ln, 0.0, -inf),
            ("ln", ln, -0.0, -inf),
            ("ln", ln, -1.0, nan),
            ("ln", ln, 1.0, 0.0),
            ("ln", ln, inf, inf),
            ("ln", ln, nan, nan),
            ("log2", log2, 1e-45, -149.0),
            ("log1p", log1p, -0.0, -0.0),
            ("log1p", log1p, -1.0, -inf),
            ("log1p", log1p, -2.0, nan),
            ("log1p", log1p, inf, inf),
            ("log1p", log1p, nan, nan),
            ("tanh", tanh, -0.0, -0.0),
            ("tanh", tanh, -inf, -1.0),
            ("tanh", tanh, nan, nan),
            ("erf", erf, -0.0, -0.0),
            ("erf", erf, -inf, -1.0),
            ("erf", erf, nan, nan),
            ("sin", sin, -0.0, -0.0),
            ("sin", sin, 0.0, 0.0),
            ("sin", sin, 1e-45, 1e-45),
            ("sin", sin, -inf, nan),
            ("sin", sin, nan, nan),
            ("cos", cos, -0.0, 1.0),
            ("cos", cos, inf, nan),
        ];
        for (name, f, x, expected) in corners {
            let found = f(x);
            let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            assert!(same, "{name} of {x} is {found}, should be {expected}");
        }
    }
}
