//! Functions of floats: powers and logarithms, rounding.

use std::f64::consts::{LN_2, LN_10};

use vorpal_kernels::elementary;
use vorpal_kernels::shaders::{BITS, ELEMENTARY, POWER};
use vorpal_kernels::{LaneElement, LaneMut, map1, map2};

use super::{ADD, DIV, MUL, Operand, SUB, binary_methods, pointwise_table, unary_methods};
use crate::Tensor;

/// Makes [`Real`] and its two implementations from the functions of each.
macro_rules! reals {
    ($($(#[$doc:meta])* $method:ident ($($arg:ident),*) = $single:path, $double:path;)*) => {
        /// f32 and f64, as the native bodies see them.
        pub trait Real:
            LaneElement
            + std::ops::Add<Output = Self>
            + std::ops::Sub<Output = Self>
            + std::ops::Mul<Output = Self>
            + std::ops::Div<Output = Self>
            + std::ops::Neg<Output = Self>
        {
            /// A constant.
            fn lit(value: f64) -> Self;
            /// The value in f64.
            fn number(self) -> f64;
            /// A function computed in f64.
            fn through(self, f: impl Fn(f64) -> f64) -> Self;
            $($(#[$doc])* fn $method(self $(, $arg: Self)*) -> Self;)*
        }
        impl Real for f32 {
            #[inline(always)]
            fn lit(value: f64) -> f32 {
                value as f32
            }
            fn number(self) -> f64 {
                f64::from(self)
            }
            fn through(self, f: impl Fn(f64) -> f64) -> f32 {
                f(f64::from(self)) as f32
            }
            $(#[inline(always)] fn $method(self $(, $arg: f32)*) -> f32 { $single(self $(, $arg)*) })*
        }
        impl Real for f64 {
            #[inline(always)]
            fn lit(value: f64) -> f64 {
                value
            }
            fn number(self) -> f64 {
                self
            }
            fn through(self, f: impl Fn(f64) -> f64) -> f64 {
                f(self)
            }
            $(#[inline(always)] fn $method(self $(, $arg: f64)*) -> f64 { $double(self $(, $arg)*) })*
        }
    };
}

/// 1 ∕ (1 + e⁻ˣ).
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

reals! {
    /// eˣ.
    exp() = elementary::exp, f64::exp;
    /// 2ˣ.
    exp2() = elementary::exp2, f64::exp2;
    /// eˣ − 1.
    expm1() = elementary::expm1, f64::exp_m1;
    /// Natural logarithm.
    ln() = elementary::ln, f64::ln;
    /// Logarithm to base 2.
    log2() = elementary::log2, f64::log2;
    /// Logarithm to base 10.
    log10() = elementary::log10, f64::log10;
    /// log(1 + x).
    log1p() = elementary::log1p, f64::ln_1p;
    /// 1 ∕ (1 + e⁻ˣ).
    logistic() = elementary::sigmoid, logistic;
    /// Square root.
    sqrt() = f32::sqrt, f64::sqrt;
    /// Cube root.
    cbrt() = f32::cbrt, f64::cbrt;
    /// Sine.
    sin() = elementary::sin, f64::sin;
    /// Cosine.
    cos() = elementary::cos, f64::cos;
    /// Tangent.
    tan() = f32::tan, f64::tan;
    /// Arc sine.
    asin() = f32::asin, f64::asin;
    /// Arc cosine.
    acos() = f32::acos, f64::acos;
    /// Arc tangent.
    atan() = f32::atan, f64::atan;
    /// Hyperbolic sine.
    sinh() = f32::sinh, f64::sinh;
    /// Hyperbolic cosine.
    cosh() = f32::cosh, f64::cosh;
    /// Hyperbolic tangent.
    tanh() = elementary::tanh, f64::tanh;
    /// Inverse hyperbolic sine.
    asinh() = libm::asinhf, libm::asinh;
    /// Inverse hyperbolic cosine.
    acosh() = libm::acoshf, libm::acosh;
    /// Inverse hyperbolic tangent.
    atanh() = libm::atanhf, libm::atanh;
    /// Largest integer not above.
    floor() = f32::floor, f64::floor;
    /// Smallest integer not below.
    ceil() = f32::ceil, f64::ceil;
    /// Nearest integer, halves to even.
    round_even() = f32::round_ties_even, f64::round_ties_even;
    /// Integer part.
    trunc() = f32::trunc, f64::trunc;
    /// Error function.
    erf() = elementary::erf, libm::erf;
    /// Complementary error function.
    erfc() = libm::erfcf, libm::erfc;
    /// Logarithm of the absolute gamma function.
    lgamma() = libm::lgammaf, libm::lgamma;
    /// Power.
    powf(exponent) = elementary::pow, f64::powf;
    /// Angle of a point.
    atan2(x) = f32::atan2, f64::atan2;
    /// Root of the sum of squares.
    hypot(other) = f32::hypot, f64::hypot;
    /// The size of this with the sign of another.
    copysign(sign) = f32::copysign, f64::copysign;
}

/// Bodies of floats for a type of lanes.
macro_rules! dispatch {
    ($args:ident, $out:ident, $body:ident, $a:ident) => {
        match $out {
            LaneMut::F64(_) => map1($args, $out, $body::<f64>),
            _ => map1($args, $out, $body::<f32>),
        }
    };
    ($args:ident, $out:ident, $body:ident, $a:ident, $b:ident) => {
        match $out {
            LaneMut::F64(_) => map2($args, $out, $body::<f64>),
            _ => map2($args, $out, $body::<f32>),
        }
    };
}

pub(super) use dispatch;

pointwise_table! { FLOATS, Real, Float, Last, dispatch;
    /// eˣ.
    EXP "exp" (a) = a.exp();
    wgsl: "exp(a)", flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.output)];

    /// Natural logarithm.
    LOG "log" (a) = a.ln();
    wgsl: "log(a)", flops: 8, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad / &v.inputs[0])];

    /// 2ˣ.
    EXP2 "exp2" (a) = a.exp2();
    wgsl: "exp2(a)", flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.output.with_constant(&MUL, LN_2))];

    /// eˣ − 1, accurate near 0.
    EXPM1 "expm1" (a) = a.expm1();
    wgsl: "expm1(a)", support: ELEMENTARY, flops: 16, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.output.with_constant(&ADD, 1.0))];

    /// Logarithm to base 2.
    LOG2 "log2" (a) = a.log2();
    wgsl: "log2(a)", flops: 8, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad / v.inputs[0].with_constant(&MUL, LN_2))];

    /// Logarithm to base 10.
    LOG10 "log10" (a) = a.log10();
    wgsl: "log2(a) * 0.30102998", flops: 9, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad / v.inputs[0].with_constant(&MUL, LN_10))];

    /// log(1 + x), accurate near 0.
    LOG1P "log1p" (a) = a.log1p();
    wgsl: "log1p(a)", support: ELEMENTARY, flops: 18, on: [(-0.6, 3.0)],
    vjp: |v| vec![Some(v.grad / v.inputs[0].with_constant(&ADD, 1.0))];

    /// Cube root.
    CBRT "cbrt" (a) = a.cbrt();
    wgsl: "cube_root(a)", support: ELEMENTARY, flops: 20, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad / (v.output * v.output).with_constant(&MUL, 3.0))];

    /// Square root.
    SQRT "sqrt" (a) = a.sqrt();
    wgsl: "sqrt(a)", flops: 4, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad.with_constant(&MUL, 0.5) / v.output)];

    /// 1 ∕ √x.
    RSQRT "rsqrt" (a) = T::lit(1.0) / a.sqrt();
    wgsl: "inverseSqrt(a)", flops: 4, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad.with_constant(&MUL, -0.5) * (v.output * v.output * v.output))];

    /// Logistic function.
    SIGMOID "sigmoid" (a) = a.logistic();
    wgsl: "1.0 / (1.0 + exp(min(-a, 88.0)))", flops: 10, on: [(-3.0, 3.0)],
    vjp: |v| vec![Some(v.grad * (v.output - v.output * v.output))];

    /// log(1 + eˣ), without overflow.
    SOFTPLUS "softplus" (a) = {
        let (high, size) = if a > T::lit(0.0) { (a, a) } else { (T::lit(0.0), -a) };
        high + (-size).exp().log1p()
    };
    wgsl: "max(a, 0.0) + log1p(exp(-abs(a)))", support: ELEMENTARY, flops: 28, on: [(-3.0, 3.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].sigmoid())];

    /// log(eᵃ + eᵇ), without overflow.
    LOGADDEXP "logaddexp" (a, b) = {
        let (high, low) = if a > b { (a, b) } else { (b, a) };
        // Two infinities of one sign have no difference.
        let below = if high == low { T::lit(0.0) } else { low - high };
        high + below.exp().log1p()
    };
    wgsl: "log_add_exp(a, b)", support: ELEMENTARY, flops: 30, on: [(-3.0, 3.0), (-3.0, 3.0)],
    vjp: |v| {
        let share = (&v.inputs[0] - &v.inputs[1]).sigmoid();
        let to_first = v.grad * &share;
        vec![Some(to_first.clone()), Some(v.grad - to_first)]
    };

    /// a · log b; 0 where a is 0, unless b is NaN.
    XLOGY "xlogy" (a, b) = if a == T::lit(0.0) && !b.nan() { a * T::lit(0.0) } else { a * b.ln() };
    wgsl: "select(a * log(b), 0.0, a == 0.0 && !is_nan(b))", support: BITS, flops: 9,
    on: [(-2.0, 2.0), (0.3, 3.0)],
    vjp: |v| {
        let (a, b) = (&v.inputs[0], &v.inputs[1]);
        let zero = v.grad.full_like(0.0);
        let nothing = a.eq(&zero).logical_and(b.le(&zero));
        vec![Some(nothing.select(&zero, v.grad * b.log())), Some(v.grad * a / b)]
    };

    /// √(a² + b²), without overflow on the way.
    HYPOT "hypot" (a, b) = a.hypot(b);
    wgsl: "hypotenuse(a, b)", support: ELEMENTARY, flops: 8, on: [(-2.0, 2.0), (0.3, 2.0)],
    vjp: |v| {
        let over = v.grad / v.output;
        vec![Some(&over * &v.inputs[0]), Some(over * &v.inputs[1])]
    };

    /// The size of a with the sign of b, signs of zeros included.
    COPYSIGN "copysign" (a, b) = a.copysign(b);
    wgsl: "bitcast<f32>((bitcast<u32>(a) & 0x7fffffffu) | (bitcast<u32>(b) & 0x80000000u))", flops: 1,
    on: [(0.1, 2.0), (-2.0, -0.1)],
    vjp: |v| {
        let (a, b) = (&v.inputs[0], &v.inputs[1]);
        vec![Some(v.grad * (a.sign() * a.full_like(1.0).copysign(b))), None]
    };

    /// max(x, 0); NaN stays. What is below 0 and no NaN is told by the bits: of a comparison compilers make a maximum,
    /// which drops NaN.
    RELU "relu" (a) = if a < T::lit(0.0) { T::lit(0.0) } else { a };
    wgsl: "select(a, 0.0, bitcast<i32>(a) <= -8388608i)", flops: 1, on: [(0.1, 2.0)],
    vjp: |v| vec![Some(v.output.gt(v.output.full_like(0.0)).select(v.grad, v.grad.full_like(0.0)))];

    /// aᵇ. Negative bases take whole exponents only.
    POW "pow" (a, b) = a.powf(b);
    wgsl: "power(a, b)", support: POWER, flops: 16, on: [(0.3, 2.0), (-2.0, 2.0)],
    vjp: |v| {
        let (a, b) = (&v.inputs[0], &v.inputs[1]);
        let to_base = v.grad * (b * a.pow(b.with_constant(&SUB, 1.0)));
        let positive = a.gt(a.full_like(0.0));
        let log = positive.select(a, a.full_like(1.0)).log();
        vec![Some(to_base), Some(v.grad * (v.output * log))]
    };

    /// Largest integer not above.
    FLOOR "floor" (a) = a.floor();
    wgsl: "floor(a)", flops: 1, on: [(0.1, 0.9)],
    vjp: |_| vec![None];

    /// Smallest integer not below.
    CEIL "ceil" (a) = a.ceil();
    wgsl: "ceil(a)", flops: 1, on: [(0.1, 0.9)],
    vjp: |_| vec![None];

    /// Nearest integer, halves to even.
    ROUND "round" (a) = a.round_even();
    wgsl: "round(a)", flops: 1, on: [(0.1, 0.4)],
    vjp: |_| vec![None];

    /// Integer part: rounded towards 0.
    TRUNC "trunc" (a) = a.trunc();
    wgsl: "trunc(a)", flops: 1, on: [(0.1, 0.9)],
    vjp: |_| vec![None];
}

unary_methods! {
    /// eˣ.
    exp EXP;
    /// 2ˣ.
    exp2 EXP2;
    /// eˣ − 1, accurate near 0.
    expm1 EXPM1;
    /// Natural logarithm.
    log LOG;
    /// Logarithm to base 2.
    log2 LOG2;
    /// Logarithm to base 10.
    log10 LOG10;
    /// log(1 + x), accurate near 0.
    log1p LOG1P;
    /// Square root.
    sqrt SQRT;
    /// 1 ∕ √x.
    rsqrt RSQRT;
    /// Cube root, of negative numbers too.
    cbrt CBRT;
    /// Logistic function 1 ∕ (1 + e⁻ˣ).
    sigmoid SIGMOID;
    /// log(1 + eˣ) without overflow (Dugas et al. 2001).
    softplus SOFTPLUS;
    /// max(x, 0).
    relu RELU;
    /// Largest integer not above.
    floor FLOOR;
    /// Smallest integer not below.
    ceil CEIL;
    /// Nearest integer, halves to even.
    round ROUND;
    /// Integer part: rounded towards 0.
    trunc TRUNC;
}

binary_methods! {
    /// aᵇ, element by element; operands broadcast.
    pow POW;
    /// log(eᵃ + eᵇ) without overflow; operands broadcast.
    logaddexp LOGADDEXP;
    /// a · log b, and 0 where a is 0; operands broadcast.
    xlogy XLOGY;
    /// √(a² + b²) without overflow on the way; operands broadcast.
    hypot HYPOT;
    /// The size of `self` with the sign of another; operands broadcast.
    copysign COPYSIGN;
}

impl Tensor {
    /// x².
    #[track_caller]
    pub fn square(&self) -> Tensor {
        self * self
    }

    /// 1 ∕ x.
    #[track_caller]
    pub fn reciprocal(&self) -> Tensor {
        Tensor::pointwise(&DIV, &[&self.full_like(1.0), self])
    }

    /// What is left of the integer part, with the sign of x: x − trunc(x).
    #[track_caller]
    pub fn frac(&self) -> Tensor {
        self - self.trunc()
    }

    /// `self + weight · (end − self)`; operands broadcast.
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Into<Operand>) -> Tensor {
        self + (end - self) * weight
    }

    /// sin(πx) ∕ πx, and 1 at 0, as in PyTorch and NumPy.
    #[track_caller]
    pub fn sinc(&self) -> Tensor {
        // Near 0 the series, so that derivatives of every order are right.
        let square = self.square().with_constant(&MUL, std::f64::consts::PI.powi(2));
        let mut series = square.with_constant(&MUL, -1.0 / (13.0 * 12.0)).with_constant(&ADD, 1.0);
        for n in (1..6).rev() {
            let n = f64::from(2 * n);
            series = (&square * series).with_constant(&MUL, -1.0 / (n * (n + 1.0))).with_constant(&ADD, 1.0);
        }
        let near = square.lt(square.full_like(0.1));
        let angle = near.select(self.full_like(1.0), self).with_constant(&MUL, std::f64::consts::PI);
        near.select(series, angle.sin() / &angle)
    }
}
