//! Error functions, the gamma function's logarithm and its derivatives.

use std::f64::consts::{FRAC_2_SQRT_PI, PI};

use vorpal_kernels::shaders::{ERF as ERF_WGSL, GAMMA};
use vorpal_kernels::{LaneMut, map1, map2};

use super::float::dispatch;
use super::{ADD, MUL, Real, pointwise_table, unary_methods};
use crate::Tensor;

pointwise_table! { SPECIAL, Real, Float, Last, dispatch;
    /// Error function. Shaders: absolute error below 3e-7.
    ERF "erf" (a) = a.erf();
    wgsl: "erf(a)", support: ERF_WGSL, flops: 20, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * bell(&v.inputs[0]))];

    /// Complementary error function 1 − erf(x), accurate in the tail. Shaders: relative error below 1e-5.
    ERFC "erfc" (a) = a.erfc();
    wgsl: "erfc(a)", support: ERF_WGSL, flops: 21, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(-(v.grad * bell(&v.inputs[0])))];

    /// Inverse of the error function, on −1..=1.
    ERFINV "erfinv" (a) = a.through(erfinv);
    wgsl: "erfinv(a)", support: ERF_WGSL, flops: 30, on: [(-0.9, 0.9)],
    vjp: |v| {
        let slope = (v.output * v.output).exp().with_constant(&MUL, 1.0 / FRAC_2_SQRT_PI);
        vec![Some(v.grad * slope)]
    };

    /// Logarithm of the absolute gamma function.
    LGAMMA "lgamma" (a) = a.lgamma();
    wgsl: "lgamma(a)", support: GAMMA, flops: 40, on: [(0.3, 5.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].digamma())];

    /// Logarithmic derivative of the gamma function.
    DIGAMMA "digamma" (a) = a.through(digamma);
    wgsl: "digamma(a)", support: GAMMA, flops: 40, on: [(0.3, 5.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].polygamma(1))];

    /// Derivative number a (a whole number, no more than 20) of digamma at b.
    POLYGAMMA "polygamma" (a, b) = b.through(|x| polygamma(a.number(), x));
    wgsl: "polygamma(a, b)", support: GAMMA, flops: 100, on: [(0.6, 3.4), (0.5, 3.0)],
    vjp: |v| {
        let next = v.inputs[0].with_constant(&ADD, 1.0);
        vec![None, Some(v.grad * Tensor::pointwise(&POLYGAMMA, &[&next, &v.inputs[1]]))]
    };
}

/// 2 ∕ √π · exp(−x²).
fn bell(x: &Tensor) -> Tensor {
    (-(x * x)).exp().with_constant(&MUL, FRAC_2_SQRT_PI)
}

/// Winitzki's approximation, then Halley steps on whichever of erf and erfc is the smaller.
fn erfinv(x: f64) -> f64 {
    let size = x.abs();
    if size >= 1.0 || size == 0.0 || x.is_nan() {
        return if size > 1.0 {
            f64::NAN
        } else if size == 1.0 {
            x * f64::INFINITY
        } else {
            x
        };
    }
    const A: f64 = 0.147;
    let log = ((1.0 - size) * (1.0 + size)).ln();
    let half = 2.0 / (PI * A) + log / 2.0;
    let mut y = ((half * half - log / A).sqrt() - half).sqrt();
    for _ in 0..3 {
        let error = if size < 0.5 { libm::erf(y) - size } else { (1.0 - size) - libm::erfc(y) };
        let step = error / (FRAC_2_SQRT_PI * (-y * y).exp());
        y -= step / (1.0 + y * step);
    }
    y.copysign(x)
}

/// Reflection for negative numbers, recurrence to 10, the asymptotic series.
fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return -f64::INFINITY.copysign(x);
    }
    if x < 0.0 {
        if x == x.floor() {
            return f64::NAN;
        }
        return digamma(1.0 - x) - PI / (PI * x.fract()).tan();
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let s = 1.0 / (x * x);
    const TERMS: [f64; 7] =
        [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0, 1.0 / 12.0];
    let series = TERMS.iter().rev().fold(0.0, |sum, term| (sum + term) * s);
    sum + x.ln() - 0.5 / x - series
}

/// n! times a Hurwitz zeta function: terms one by one, then the Euler-Maclaurin formula. NaN below −200.
fn polygamma(order: f64, x: f64) -> f64 {
    let n = order.round_ties_even();
    if !(0.0..=20.0).contains(&n) || x < -200.0 {
        return f64::NAN;
    }
    if n == 0.0 {
        return digamma(x);
    }
    let s = n + 1.0;
    let (mut a, mut sum) = (x, 0.0);
    while a < 10.0 + s {
        sum += a.powf(-s);
        a += 1.0;
    }
    // Bernoulli numbers B₂ₖ ∕ (2k)!.
    const TERMS: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 720.0,
        1.0 / 30_240.0,
        -1.0 / 1_209_600.0,
        1.0 / 47_900_160.0,
        -691.0 / 1_307_674_368_000.0,
        1.0 / 74_724_249_600.0,
        -3_617.0 / 10_670_622_842_880_000.0,
    ];
    let power = a.powf(-s);
    sum += power * (a / (s - 1.0) + 0.5);
    let mut factor = s / a;
    for (k, term) in TERMS.iter().enumerate() {
        sum += power * factor * term;
        let m = s + 2.0 * k as f64;
        factor *= (m + 1.0) * (m + 2.0) / (a * a);
    }
    let factorial: f64 = (2..=n as u32).map(f64::from).product();
    let value = factorial * sum;
    if n % 2.0 == 1.0 { value } else { -value }
}

unary_methods! {
    /// Error function.
    erf ERF;
    /// Complementary error function 1 − erf(x), accurate in the tail.
    erfc ERFC;
    /// Inverse of the error function on −1..=1.
    erfinv ERFINV;
    /// Logarithm of the absolute gamma function; ∞ at 0, −1, −2, …
    lgamma LGAMMA;
    /// Logarithmic derivative of the gamma function, ψ(x).
    digamma DIGAMMA;
}

impl Tensor {
    /// Derivative number `n` of [`digamma`](Tensor::digamma), as `torch.polygamma`; `n` is at most 20 and x not below
    /// −200, else the result is NaN.
    #[track_caller]
    pub fn polygamma(&self, n: u32) -> Tensor {
        match self.check() {
            Ok(()) => Tensor::pointwise(&POLYGAMMA, &[&self.full_like(f64::from(n)), self]),
            Err(_) => self.clone(),
        }
    }
}
