//! Whole numbers as bits, and whole division.

use vorpal_kernels::{LaneMut, ResultType, ScalarFn, map1, map2};

use super::logic::none;
use super::number::Number;
use super::{Accepts, PointwiseFn, binary_methods, unary_methods};
use crate::Tensor;

/// What integers of every length do with their bits.
pub trait Whole: Number {
    /// Bits set in both.
    fn and(self, other: Self) -> Self;
    /// Bits set in at least one.
    fn or(self, other: Self) -> Self;
    /// Bits set in one.
    fn xor(self, other: Self) -> Self;
    /// Bits not set.
    fn inverted(self) -> Self;
    /// Moved to the left; 0 for a distance that is negative or not below the number of bits.
    fn left(self, by: Self) -> Self;
    /// Moved to the right, filled with the sign; the sign alone for a distance as above.
    fn right(self, by: Self) -> Self;
}

macro_rules! whole {
    ($($ty:ty),*) => {$(
        impl Whole for $ty {
            #[inline(always)]
            fn and(self, other: $ty) -> $ty { self & other }
            #[inline(always)]
            fn or(self, other: $ty) -> $ty { self | other }
            #[inline(always)]
            fn xor(self, other: $ty) -> $ty { self ^ other }
            #[inline(always)]
            fn inverted(self) -> $ty { !self }
            #[inline(always)]
            fn left(self, by: $ty) -> $ty {
                u32::try_from(by).ok().and_then(|by| self.checked_shl(by)).unwrap_or(0)
            }
            #[inline(always)]
            fn right(self, by: $ty) -> $ty {
                let sign = (self >> (<$ty>::BITS - 1)) >> 1;
                u32::try_from(by).ok().and_then(|by| self.checked_shr(by)).unwrap_or(sign)
            }
        }
    )*};
}
whole!(i64, i32, u32, i8, u8);

macro_rules! integers {
    ($map:ident, $args:ident, $out:ident, $body:ident) => {
        match $out {
            LaneMut::I64(_) => $map($args, $out, $body::<i64>),
            LaneMut::I32(_) => $map($args, $out, $body::<i32>),
            LaneMut::U32(_) => $map($args, $out, $body::<u32>),
            LaneMut::I8(_) => $map($args, $out, $body::<i8>),
            LaneMut::U8(_) => $map($args, $out, $body::<u8>),
            LaneMut::F64(_) | LaneMut::F32(_) => {}
        }
    };
}

macro_rules! whole_functions {
    ($($(#[$doc:meta])* $name:ident $text:literal $arity:literal $map:ident ($($arg:ident),+) = $body:expr,
        $wgsl:expr, $domain:expr;)*) => {
        $(
            $(#[$doc])*
            pub static $name: PointwiseFn = {
                #[inline(always)]
                fn body<T: Whole>($($arg: T),+) -> T {
                    $body
                }
                PointwiseFn {
                    f: ScalarFn {
                        name: $text,
                        arity: $arity,
                        result: ResultType::Last,
                        wgsl: $wgsl,
                        support: "",
                        cpu: |args, out| integers!($map, args, out, body),
                        flops: 0,
                    },
                    accepts: Accepts::Integer,
                    vjp: none,
                    reference: |x| {
                        let mut x = x.iter();
                        $(let $arg = x.next().map_or(0, |&v| v as i64);)+
                        body::<i64>($($arg),+) as f64
                    },
                    domain: &$domain,
                }
            };
        )*
        /// The functions of this file.
        pub static WHOLE: &[&PointwiseFn] = &[$(&$name),*];
    };
}
whole_functions! {
    /// Bits set in both.
    BIT_AND "bitwise_and" 2 map2 (a, b) = a.and(b), "a & b", [(0.0, 100.0), (0.0, 100.0)];
    /// Bits set in at least one.
    BIT_OR "bitwise_or" 2 map2 (a, b) = a.or(b), "a | b", [(0.0, 100.0), (0.0, 100.0)];
    /// Bits set in one.
    BIT_XOR "bitwise_xor" 2 map2 (a, b) = a.xor(b), "a ^ b", [(0.0, 100.0), (0.0, 100.0)];
    /// Bits not set.
    BIT_NOT "bitwise_not" 1 map1 (a) = a.inverted(), "~a", [(-100.0, 100.0)];
    /// Moved to the left; 0 for a distance that is negative or not below the number of bits.
    SHIFT_LEFT "left_shift" 2 map2 (a, b) = a.left(b),
        "select(a << (u32(b) & 31u), zero, u32(b) >= 32u)", [(0.0, 15.0), (0.0, 2.0)];
    /// Moved to the right, filled with the sign.
    SHIFT_RIGHT "right_shift" 2 map2 (a, b) = a.right(b),
        "select(a >> (u32(b) & 31u), (a >> 31u) >> 1u, u32(b) >= 32u)", [(0.0, 100.0), (0.0, 6.0)];
    /// Quotient rounded down.
    FLOOR_DIVIDE "floor_divide" 2 map2 (a, b) = {
        let rest = a.rest(b);
        let quotient = a.over(b);
        if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { quotient.minus(T::ONE) } else { quotient }
    }, "a / b - select(zero, one, (a % b) != zero && ((a % b) < zero) != (b < zero))",
        [(-100.0, 100.0), (1.0, 9.0)];
}

binary_methods! {
    /// Bits set in both of two integers; operands broadcast.
    bitwise_and BIT_AND;
    /// Bits set in at least one of two integers; operands broadcast.
    bitwise_or BIT_OR;
    /// Bits set in one of two integers; operands broadcast.
    bitwise_xor BIT_XOR;
    /// Bits moved to the left; 0 for a distance that is negative or not below the number of bits, as in PyTorch.
    left_shift SHIFT_LEFT;
    /// Bits moved to the right, filled with the sign; for a distance that is negative or not below the number of bits
    /// 0, or −1 for negative numbers, as in PyTorch.
    right_shift SHIFT_RIGHT;
}

unary_methods! {
    /// Bits not set.
    bitwise_not BIT_NOT;
}

impl Tensor {
    /// Quotient rounded down; operands broadcast. Integers divided by zero give the dividend, floats ±∞ or NaN.
    #[track_caller]
    pub fn floor_divide(&self, other: impl Into<super::Operand>) -> Tensor {
        let other = other.into().tensor_beside(self);
        let both = crate::ops::promoted(&[self, &other]);
        let (a, b) = (&both[0], &both[1]);
        if !a.dtype().is_float() {
            return Tensor::pointwise(&FLOOR_DIVIDE, &[a, b]);
        }
        // As PyTorch: what the remainder leaves is a multiple, so that the two always fit together.
        let whole = ((a - a.remainder(b)) / b).round();
        b.eq(b.full_like(0.0)).select(a / b, whole)
    }
}
