//! Functions of floats.

use vorpal_kernels::shaders::{ERF as ERF_WGSL, POWER};
use vorpal_kernels::{LaneElement, Lanes, map1, map2};

use super::{ADD, DIV, MUL, Operand, SUB, pointwise_table};
use crate::Tensor;

/// f32 and f64, as the native bodies see them.
pub trait Real:
    LaneElement
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
{
    /// A constant.
    fn lit(value: f64) -> Self;
    /// eˣ.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Power.
    fn powf(self, exponent: Self) -> Self;
    /// Largest integer not above.
    fn floor(self) -> Self;
    /// Smallest integer not below.
    fn ceil(self) -> Self;
    /// Nearest integer, halves to even.
    fn round_even(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
}

macro_rules! real {
    ($ty:ty, $erf:path) => {
        impl Real for $ty {
            fn lit(value: f64) -> $ty {
                value as $ty
            }
            fn exp(self) -> $ty {
                <$ty>::exp(self)
            }
            fn ln(self) -> $ty {
                <$ty>::ln(self)
            }
            fn sqrt(self) -> $ty {
                <$ty>::sqrt(self)
            }
            fn sin(self) -> $ty {
                <$ty>::sin(self)
            }
            fn cos(self) -> $ty {
                <$ty>::cos(self)
            }
            fn tanh(self) -> $ty {
                <$ty>::tanh(self)
            }
            fn powf(self, exponent: $ty) -> $ty {
                <$ty>::powf(self, exponent)
            }
            fn floor(self) -> $ty {
                <$ty>::floor(self)
            }
            fn ceil(self) -> $ty {
                <$ty>::ceil(self)
            }
            fn round_even(self) -> $ty {
                <$ty>::round_ties_even(self)
            }
            fn erf(self) -> $ty {
                $erf(self)
            }
        }
    };
}
real!(f32, libm::erff);
real!(f64, libm::erf);

macro_rules! dispatch {
    ($args:ident, $out:ident, $body:ident, $a:ident) => {
        match $out {
            Lanes::F64(_) => map1($args, $out, $body::<f64>),
            _ => map1($args, $out, $body::<f32>),
        }
    };
    ($args:ident, $out:ident, $body:ident, $a:ident, $b:ident) => {
        match $out {
            Lanes::F64(_) => map2($args, $out, $body::<f64>),
            _ => map2($args, $out, $body::<f32>),
        }
    };
}

/// 2 ∕ √π.
const TWO_OVER_ROOT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

pointwise_table! { FLOATS, Real, Float, Last, dispatch;
    /// eˣ.
    EXP "exp" (a) = a.exp();
    wgsl: "exp(a)", flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.output)];

    /// Natural logarithm.
    LOG "log" (a) = a.ln();
    wgsl: "log(a)", flops: 8, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad / &v.inputs[0])];

    /// Square root.
    SQRT "sqrt" (a) = a.sqrt();
    wgsl: "sqrt(a)", flops: 4, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad.with_constant(&MUL, 0.5) / v.output)];

    /// 1 ∕ √x.
    RSQRT "rsqrt" (a) = T::lit(1.0) / a.sqrt();
    wgsl: "inverseSqrt(a)", flops: 4, on: [(0.3, 3.0)],
    vjp: |v| vec![Some(v.grad.with_constant(&MUL, -0.5) * (v.output * v.output * v.output))];

    /// Sine.
    SIN "sin" (a) = a.sin();
    wgsl: "sin(a)", flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].cos())];

    /// Cosine.
    COS "cos" (a) = a.cos();
    wgsl: "cos(a)", flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(-(v.grad * v.inputs[0].sin()))];

    /// Hyperbolic tangent. Shaders limit the operand to ±15, where the result is ±1 in f32.
    TANH "tanh" (a) = a.tanh();
    wgsl: "tanh(clamp(a, -15.0, 15.0))", flops: 10, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad - v.grad * (v.output * v.output))];

    /// Error function. Shaders: absolute error below 3e-7.
    ERF "erf" (a) = a.erf();
    wgsl: "erf(a)", support: ERF_WGSL, flops: 20, on: [(-2.0, 2.0)],
    vjp: |v| {
        let x = &v.inputs[0];
        vec![Some(v.grad * (-(x * x)).exp().with_constant(&MUL, TWO_OVER_ROOT_PI))]
    };

    /// Complementary error function 1 − erf(x). Shaders: absolute error below 3e-7.
    ERFC "erfc" (a) = T::lit(1.0) - a.erf();
    wgsl: "1.0 - erf(a)", support: ERF_WGSL, flops: 21, on: [(-2.0, 2.0)],
    vjp: |v| {
        let x = &v.inputs[0];
        vec![Some(v.grad * (-(x * x)).exp().with_constant(&MUL, -TWO_OVER_ROOT_PI))]
    };

    /// Logistic function.
    SIGMOID "sigmoid" (a) = T::lit(1.0) / (T::lit(1.0) + (-a).exp());
    wgsl: "1.0 / (1.0 + exp(min(-a, 87.0)))", flops: 10, on: [(-3.0, 3.0)],
    vjp: |v| vec![Some(v.grad * (v.output - v.output * v.output))];

    /// max(x, 0); NaN stays.
    RELU "relu" (a) = if a < T::lit(0.0) { T::lit(0.0) } else { a };
    wgsl: "select(a, 0.0, a < 0.0)", flops: 1, on: [(0.1, 2.0)],
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

    /// −1, 0 or 1; NaN stays.
    SIGN "sign" (a) = if a > T::lit(0.0) { T::lit(1.0) } else if a < T::lit(0.0) { T::lit(-1.0) } else { a };
    wgsl: "select(select(a, -1.0, a < 0.0), 1.0, a > 0.0)", flops: 1, on: [(0.1, 2.0)],
    vjp: |_| vec![None];

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
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident $f:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(&self) -> Tensor {
                Tensor::pointwise(&$f, &[self])
            }
        )*}
    };
}
methods! {
    /// eˣ.
    exp EXP;
    /// Natural logarithm.
    log LOG;
    /// Square root.
    sqrt SQRT;
    /// 1 ∕ √x.
    rsqrt RSQRT;
    /// Sine.
    sin SIN;
    /// Cosine.
    cos COS;
    /// Hyperbolic tangent.
    tanh TANH;
    /// Error function.
    erf ERF;
    /// Complementary error function 1 − erf(x).
    erfc ERFC;
    /// Logistic function 1 ∕ (1 + e⁻ˣ).
    sigmoid SIGMOID;
    /// max(x, 0).
    relu RELU;
    /// −1, 0 or 1.
    sign SIGN;
    /// Largest integer not above.
    floor FLOOR;
    /// Smallest integer not below.
    ceil CEIL;
    /// Nearest integer, halves to even.
    round ROUND;
}

impl Tensor {
    /// aᵇ, element by element; operands broadcast.
    #[track_caller]
    pub fn pow(&self, exponent: impl Into<Operand>) -> Tensor {
        self.pointwise2(&POW, exponent)
    }

    /// x².
    #[track_caller]
    pub fn square(&self) -> Tensor {
        self * self
    }

    /// x · sigmoid(x), also called swish (Elfwing et al. 2017).
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        self * self.sigmoid()
    }

    /// x · Φ(x) with the normal distribution function Φ (Hendrycks & Gimpel 2016).
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        let erf = self.with_constant(&MUL, std::f64::consts::FRAC_1_SQRT_2).erf();
        self.with_constant(&MUL, 0.5) * erf.with_constant(&ADD, 1.0)
    }

    /// The tanh approximation of [`gelu`](Tensor::gelu), as in GPT-2.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        let cubed = (self * self * self).with_constant(&MUL, 0.044_715);
        let inner = (self + cubed).with_constant(&MUL, (2.0 / std::f64::consts::PI).sqrt());
        self.with_constant(&MUL, 0.5) * inner.tanh().with_constant(&ADD, 1.0)
    }

    /// 1 ∕ x.
    #[track_caller]
    pub fn reciprocal(&self) -> Tensor {
        Tensor::pointwise(&DIV, &[&self.full_like(1.0), self])
    }
}
