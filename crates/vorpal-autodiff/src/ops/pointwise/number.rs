//! Arithmetic on floats and integers.

use vorpal_kernels::{LaneMut, map1, map2};

use vorpal_kernels::shaders::BITS;

use super::{GREATER, LESS, Operand, PointwiseFn, binary_methods, pointwise_table, unary_methods};
use crate::{Tensor, Vjp};

/// Arithmetic that floats and integers share. Integers wrap around; integer division by zero gives
/// the dividend, as in WGSL.
pub trait Number: vorpal_kernels::LaneElement {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Difference.
    fn minus(self, other: Self) -> Self;
    /// Product.
    fn times(self, other: Self) -> Self;
    /// Quotient.
    fn over(self, other: Self) -> Self;
    /// What division that truncates leaves; 0 for integers divided by zero.
    fn rest(self, other: Self) -> Self;
    /// Negation.
    fn negated(self) -> Self;
}

macro_rules! float_number {
    ($($ty:ty),*) => {$(
        impl Number for $ty {
            const ZERO: $ty = 0.0;
            const ONE: $ty = 1.0;
            #[inline(always)]
            fn minus(self, other: $ty) -> $ty { self - other }
            #[inline(always)]
            fn times(self, other: $ty) -> $ty { self * other }
            #[inline(always)]
            fn over(self, other: $ty) -> $ty { self / other }
            #[inline(always)]
            fn rest(self, other: $ty) -> $ty { self % other }
            #[inline(always)]
            fn negated(self) -> $ty { -self }
        }
    )*};
}
float_number!(f32, f64);

macro_rules! integer_number {
    ($($ty:ty),*) => {$(
        impl Number for $ty {
            const ZERO: $ty = 0;
            const ONE: $ty = 1;
            #[inline(always)]
            fn minus(self, other: $ty) -> $ty { self.wrapping_sub(other) }
            #[inline(always)]
            fn times(self, other: $ty) -> $ty { self.wrapping_mul(other) }
            #[inline(always)]
            fn over(self, other: $ty) -> $ty { if other == 0 { self } else { self.wrapping_div(other) } }
            #[inline(always)]
            fn rest(self, other: $ty) -> $ty { if other == 0 { 0 } else { self.wrapping_rem(other) } }
            #[inline(always)]
            fn negated(self) -> $ty { self.wrapping_neg() }
        }
    )*};
}
integer_number!(i64, i32, u32, i8, u8);

macro_rules! dispatch {
    ($args:ident, $out:ident, $body:ident, $a:ident) => {
        match $out {
            LaneMut::F64(_) => map1($args, $out, $body::<f64>),
            LaneMut::F32(_) => map1($args, $out, $body::<f32>),
            LaneMut::I64(_) => map1($args, $out, $body::<i64>),
            LaneMut::I32(_) => map1($args, $out, $body::<i32>),
            LaneMut::U32(_) => map1($args, $out, $body::<u32>),
            LaneMut::I8(_) => map1($args, $out, $body::<i8>),
            LaneMut::U8(_) => map1($args, $out, $body::<u8>),
        }
    };
    ($args:ident, $out:ident, $body:ident, $a:ident, $b:ident) => {
        match $out {
            LaneMut::F64(_) => map2($args, $out, $body::<f64>),
            LaneMut::F32(_) => map2($args, $out, $body::<f32>),
            LaneMut::I64(_) => map2($args, $out, $body::<i64>),
            LaneMut::I32(_) => map2($args, $out, $body::<i32>),
            LaneMut::U32(_) => map2($args, $out, $body::<u32>),
            LaneMut::I8(_) => map2($args, $out, $body::<i8>),
            LaneMut::U8(_) => map2($args, $out, $body::<u8>),
        }
    };
}

/// What division that truncates leaves of `a`, as `rest`. The reciprocal of the largest floats is below the normal
/// numbers, which devices take for 0: two such operands are divided as quarters.
macro_rules! rest {
    () => {
        "let four = one + one + one + one; let large = f32(min(abs(a), abs(b))) > 4e37; \
         let part = select(one, one / four, large); \
         let rest = ((a * part) % (b * part)) * select(one, four, large); "
    };
}

pointwise_table! { NUMBERS, Number, Number, Last, dispatch;
    /// Sum.
    ADD "add" (a, b) = a.plus(b);
    wgsl: "a + b", flops: 1, on: [(-2.0, 2.0), (-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad.clone()), Some(v.grad.clone())];

    /// Difference.
    SUB "sub" (a, b) = a.minus(b);
    wgsl: "a - b", flops: 1, on: [(-2.0, 2.0), (-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad.clone()), Some(-v.grad)];

    /// Product.
    MUL "mul" (a, b) = a.times(b);
    wgsl: "a * b", flops: 1, on: [(-2.0, 2.0), (-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * &v.inputs[1]), Some(v.grad * &v.inputs[0])];

    /// Quotient.
    DIV "div" (a, b) = a.over(b);
    wgsl: "a / b", flops: 1, on: [(-2.0, 2.0), (0.5, 2.0)],
    vjp: |v| {
        let over = v.grad / &v.inputs[1];
        vec![Some(over.clone()), Some(-(over * v.output))]
    };

    /// The larger; NaN wins.
    MAXIMUM "maximum" (a, b) = if a.nan() || a > b { a } else { b };
    wgsl: "select(b, a, is_nan(f32(a)) || (a > b && !is_nan(f32(b))))", support: BITS, flops: 1,
    on: [(-2.0, 0.0), (0.1, 2.0)],
    vjp: |v| winner(v, &v.inputs[0], &v.inputs[1]);

    /// The smaller; NaN wins.
    MINIMUM "minimum" (a, b) = if a.nan() || a < b { a } else { b };
    wgsl: "select(b, a, is_nan(f32(a)) || (a < b && !is_nan(f32(b))))", support: BITS, flops: 1,
    on: [(-2.0, 0.0), (0.1, 2.0)],
    vjp: |v| winner(v, &v.inputs[1], &v.inputs[0]);

    /// a, but not below b; NaN stays. Unlike [`MAXIMUM`] it is a where both are equal, derivative included.
    CLAMP_MIN "clamp_min" (a, b) = if a < b { b } else { a };
    wgsl: "select(a, b, a < b && !is_nan(f32(a)))", support: BITS, flops: 1, on: [(-2.0, 0.0), (0.1, 2.0)],
    vjp: |v| limited(v, &LESS);

    /// a, but not above b; NaN stays. Unlike [`MINIMUM`] it is a where both are equal, derivative included.
    CLAMP_MAX "clamp_max" (a, b) = if a > b { b } else { a };
    wgsl: "select(a, b, a > b && !is_nan(f32(a)))", support: BITS, flops: 1, on: [(-2.0, 0.0), (0.1, 2.0)],
    vjp: |v| limited(v, &GREATER);

    /// Absolute value.
    ABS "abs" (a) = if a < T::ZERO { T::ZERO.minus(a) } else { a };
    wgsl: "abs(a)", flops: 1, on: [(0.1, 2.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].sign())];

    /// −1, 0 or 1; NaN stays.
    SIGN "sign" (a) = if a > T::ZERO { T::ONE } else if a < T::ZERO { T::ZERO.minus(T::ONE) } else { a };
    wgsl: "select(select(select(zero, zero - one, a < zero), one, a > zero), a, is_nan(f32(a)))", support: BITS,
    flops: 1, on: [(0.1, 2.0)],
    vjp: |_| vec![None];

    /// What division rounded down leaves, with the sign of the divisor.
    REMAINDER "remainder" (a, b) = {
        let rest = a.rest(b);
        if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest.plus(b) } else { rest }
    };
    wgsl: concat!(rest!(), "rest + select(zero, b, rest != zero && (rest < zero) != (b < zero))"), flops: 8,
    on: [(-0.9, -0.1), (1.0, 2.0)],
    vjp: |v| vec![Some(v.grad.clone()), Some(-(v.grad * v.inputs[0].floor_divide(&v.inputs[1])))];

    /// What division that truncates leaves, with the sign of the dividend.
    FMOD "fmod" (a, b) = a.rest(b);
    wgsl: concat!(rest!(), "rest"), flops: 6, on: [(-2.9, -2.1), (1.0, 2.0)],
    vjp: |v| vec![Some(v.grad.clone()), Some(-(v.grad * (&v.inputs[0] / &v.inputs[1]).trunc()))];

    /// Negation; wraps around for unsigned integers.
    NEG "neg" (a) = a.negated();
    wgsl: "(a - a) - a", flops: 1, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(-v.grad)];
}

/// The cotangent goes to the limit where the operand lies `beyond` it.
fn limited(v: &Vjp<'_>, beyond: &'static PointwiseFn) -> Vec<Option<Tensor>> {
    let zero = v.grad.full_like(0.0);
    let beyond = Tensor::pointwise(beyond, &[&v.inputs[0], &v.inputs[1]]);
    vec![Some(beyond.select(&zero, v.grad)), Some(beyond.select(v.grad, &zero))]
}

/// The cotangent goes to the operand that won: the first where `high` is above `low`, the second
/// where it is below, half to each of equals.
fn winner(v: &Vjp<'_>, first_wins_when: &Tensor, over: &Tensor) -> Vec<Option<Tensor>> {
    let zero = v.grad.full_like(0.0);
    let half = v.grad.with_constant(&MUL, 0.5);
    let tie = first_wins_when.eq(over);
    let wins = Tensor::pointwise(&GREATER, &[first_wins_when, over]);
    let to_first = tie.select(&half, wins.select(v.grad, &zero));
    let to_second = tie.select(&half, wins.select(&zero, v.grad));
    vec![Some(to_first), Some(to_second)]
}

binary_methods! {
    /// Sum, element by element; operands broadcast.
    add ADD;
    /// Difference, element by element; operands broadcast.
    sub SUB;
    /// Product, element by element; operands broadcast.
    mul MUL;
    /// Quotient, element by element; operands broadcast. Integers truncate; divided by zero they give the dividend.
    div DIV;
    /// The larger of two elements; NaN wins.
    maximum MAXIMUM;
    /// The smaller of two elements; NaN wins.
    minimum MINIMUM;
    /// What division rounded down leaves, with the sign of the divisor, as `torch.remainder`; 0 for integers divided by
    /// zero, NaN for floats. Operands broadcast. Shaders are as exact as the quotient is in f32.
    remainder REMAINDER;
    /// What division that truncates leaves, with the sign of the dividend, as `torch.fmod`; 0 for integers divided by
    /// zero, NaN for floats. Operands broadcast. Shaders are as exact as the quotient is in f32.
    fmod FMOD;
}

unary_methods! {
    /// Absolute value.
    abs ABS;
    /// −1, 0 or 1; NaN stays.
    sign SIGN;
}

impl Tensor {
    /// Elements limited to `low..=high`; NaN stays. The derivative at the limits is 1.
    #[track_caller]
    pub fn clamp(&self, low: impl Into<Operand>, high: impl Into<Operand>) -> Tensor {
        self.clamp_min(low).clamp_max(high)
    }

    /// Elements not below `low`; NaN stays. The derivative at the limit is 1.
    #[track_caller]
    pub fn clamp_min(&self, low: impl Into<Operand>) -> Tensor {
        self.pointwise2(&CLAMP_MIN, low)
    }

    /// Elements not above `high`; NaN stays. The derivative at the limit is 1.
    #[track_caller]
    pub fn clamp_max(&self, high: impl Into<Operand>) -> Tensor {
        self.pointwise2(&CLAMP_MAX, high)
    }
}
