//! Blocks of elements, as native bodies of scalar functions see them.

#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use vorpal_tensor::DType;

/// Calls an expression with the slices of two blocks of one type, whatever it is; further arms follow.
macro_rules! alike {
    ($pair:expr, $a:ident, $b:ident, ($x:ident, $y:ident) => $body:expr; $($rest:tt)*) => {
        match $pair {
            ($a::F64($x), $b::F64($y)) => $body,
            ($a::F32($x), $b::F32($y)) => $body,
            ($a::I64($x), $b::I64($y)) => $body,
            ($a::I32($x), $b::I32($y)) => $body,
            ($a::U32($x), $b::U32($y)) => $body,
            ($a::I8($x), $b::I8($y)) => $body,
            ($a::U8($x), $b::U8($y)) => $body,
            $($rest)*
        }
    };
}
pub(crate) use alike;

macro_rules! lanes {
    ($($(#[$doc:meta])* $variant:ident $ty:ty, $low:expr, $high:expr, $nan:expr, $plus:expr;)*) => {
        /// A borrowed block. Truth values are `U32` holding 0 or 1.
        #[derive(Clone, Copy, Debug)]
        pub enum Lane<'a> {$(
            $(#[$doc])*
            $variant(&'a [$ty]),
        )*}

        /// A borrowed block to fill. Its type and length are set before a body runs.
        #[derive(Debug)]
        pub enum LaneMut<'a> {$(
            $(#[$doc])*
            $variant(&'a mut [$ty]),
        )*}

        /// An owned block.
        #[derive(Clone, Debug)]
        pub enum Lanes {$(
            $(#[$doc])*
            $variant(Vec<$ty>),
        )*}

        impl<'a> Lane<'a> {
            /// `n` elements from `start` on.
            pub(crate) fn part(self, start: usize, n: usize) -> Option<Lane<'a>> {
                match self {$(Lane::$variant(v) => v.get(start..start + n).map(Lane::$variant),)*}
            }
        }

        impl LaneMut<'_> {
            /// Sets every element to a number.
            pub(crate) fn splat(&mut self, value: f64) {
                match self {$(LaneMut::$variant(v) => v.fill(value as $ty),)*}
            }

            /// `n` elements from `start` on.
            pub(crate) fn part(&mut self, start: usize, n: usize) -> Option<LaneMut<'_>> {
                match self {$(LaneMut::$variant(v) => v.get_mut(start..start + n).map(LaneMut::$variant),)*}
            }
        }

        impl Lanes {
            /// The block, borrowed.
            pub fn lane(&self) -> Lane<'_> {
                match self {$(Lanes::$variant(v) => Lane::$variant(v),)*}
            }

            /// The block, borrowed to be filled.
            pub fn lane_mut(&mut self) -> LaneMut<'_> {
                match self {$(Lanes::$variant(v) => LaneMut::$variant(v),)*}
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {$(Lanes::$variant(v) => v.len(),)*}
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Sets every element to a number.
            pub fn splat(&mut self, value: f64) {
                self.lane_mut().splat(value);
            }

            /// Sets every element to the lowest or highest value of the type.
            pub(crate) fn fill_extreme(&mut self, highest: bool) {
                match self {$(Lanes::$variant(v) => {
                    v.fill(if highest { <$ty>::HIGHEST } else { <$ty>::LOWEST });
                })*}
            }

            /// Adds a block of the same type at the end.
            pub(crate) fn append(&mut self, lane: Lane<'_>) {
                alike!((self, lane), Lanes, Lane, (o, v) => o.extend_from_slice(v); _ => {})
            }

            /// The first element, where a float holds it exactly.
            pub fn first(&self) -> Option<f64> {
                match self {$(Lanes::$variant(v) => {
                    let value = *v.first()?;
                    let same = (value as f64) as $ty == value || value.nan();
                    // Beyond 2⁵³ the nearest float may round back to the same integer only by saturation.
                    (same && (value.nan() || <$ty>::EXACT || (value as f64).abs() < 9e15)).then_some(value as f64)
                })*}
            }
        }

        $(impl LaneElement for $ty {
            const LOWEST: $ty = $low;
            const HIGHEST: $ty = $high;
            const EXACT: bool = size_of::<$ty>() < 8 || (0.5 as $ty) as f64 == 0.5;
            const SPREADS: bool = size_of::<$ty>() == 4 && (0.5 as $ty) as f64 == 0.5;
            fn of(lane: Lane<'_>) -> &[$ty] {
                if let Lane::$variant(v) = lane { v } else { &[] }
            }
            fn of_mut(lane: LaneMut<'_>) -> &mut [$ty] {
                if let LaneMut::$variant(v) = lane { v } else { &mut [] }
            }
            fn from_number(value: f64) -> $ty {
                value as $ty
            }
            #[inline(always)]
            fn nan(self) -> bool {
                $nan(self)
            }
            #[inline(always)]
            fn plus(self, other: $ty) -> $ty {
                $plus(self, other)
            }
        })*
    };
}

/// Integers are all numbers.
#[inline(always)]
fn never<T>(_: T) -> bool {
    false
}

lanes! {
    /// f64 elements.
    F64 f64, f64::NEG_INFINITY, f64::INFINITY, f64::is_nan, std::ops::Add::add;
    /// f32 elements (also 16-bit floats, widened).
    F32 f32, f32::NEG_INFINITY, f32::INFINITY, f32::is_nan, std::ops::Add::add;
    /// i64 elements.
    I64 i64, i64::MIN, i64::MAX, never, i64::wrapping_add;
    /// i32 elements.
    I32 i32, i32::MIN, i32::MAX, never, i32::wrapping_add;
    /// u32 or bool elements.
    U32 u32, u32::MIN, u32::MAX, never, u32::wrapping_add;
    /// i8 elements.
    I8 i8, i8::MIN, i8::MAX, never, i8::wrapping_add;
    /// u8 elements.
    U8 u8, u8::MIN, u8::MAX, never, u8::wrapping_add;
}

impl Lanes {
    /// `n` zeros of the type that a dtype is computed in.
    pub fn of(dtype: DType, n: usize) -> Lanes {
        match dtype.compute() {
            DType::F64 => Lanes::F64(vec![0.0; n]),
            DType::I64 => Lanes::I64(vec![0; n]),
            DType::I32 => Lanes::I32(vec![0; n]),
            DType::U32 | DType::Bool => Lanes::U32(vec![0; n]),
            DType::I8 => Lanes::I8(vec![0; n]),
            DType::U8 => Lanes::U8(vec![0; n]),
            DType::F32 | DType::F16 | DType::BF16 => Lanes::F32(vec![0.0; n]),
        }
    }
}

/// A Rust type that blocks hold.
pub trait LaneElement: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// −∞ or the lowest integer.
    const LOWEST: Self;
    /// +∞ or the highest integer.
    const HIGHEST: Self;
    /// Whether f64 holds every value.
    const EXACT: bool;
    /// Whether one element stands for all where it is beside many: so much code for a function is worth it only for the
    /// most common type.
    const SPREADS: bool;
    /// The elements of a block of this type; empty for a block of another type.
    fn of(lane: Lane<'_>) -> &[Self];
    /// The elements to fill of a block of this type; none for a block of another type.
    fn of_mut(lane: LaneMut<'_>) -> &mut [Self];
    /// A number, truncated and saturated for integers.
    fn from_number(value: f64) -> Self;
    /// Whether it is not a number.
    fn nan(self) -> bool;
    /// Sum; integers wrap around.
    fn plus(self, other: Self) -> Self;
}

/// Runs a loop as machine code for the processor at hand: with vectors of 512 or 256 bits where an x86 has them; what else
/// processors have, their plain code has too. Whatever the loop calls must be inlined to become vector code: loops are
/// `for` loops, as `for_each` may be a call.
#[inline(always)]
pub(crate) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        static WIDEST: LazyLock<Option<V4>> = LazyLock::new(V4::try_new);
        static WIDE: LazyLock<Option<V3>> = LazyLock::new(V3::try_new);
        if let Some(widest) = *WIDEST {
            return widest.vectorize(body);
        }
        if let Some(wide) = *WIDE {
            return wide.vectorize(body);
        }
    }
    body()
}

/// Fills `out` with `f` of each element.
pub fn map1<A: LaneElement, R: LaneElement>(args: &[Lane<'_>], out: LaneMut<'_>, f: impl Fn(A) -> R) {
    let (a, out) = (A::of(args[0]), R::of_mut(out));
    vectorized(
        #[inline(always)]
        || {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = f(a);
            }
        },
    );
}

/// Fills `out` with `f` of each pair. One f32 beside many stands for as many.
pub fn map2<A: LaneElement, B: LaneElement, R: LaneElement>(
    args: &[Lane<'_>],
    out: LaneMut<'_>,
    f: impl Fn(A, B) -> R,
) {
    let (a, b, out) = (A::of(args[0]), B::of(args[1]), R::of_mut(out));
    vectorized(
        #[inline(always)]
        || match (a, b) {
            (&[a], b) if A::SPREADS && out.len() > 1 => {
                for (o, &b) in out.iter_mut().zip(b) {
                    *o = f(a, b);
                }
            }
            (a, &[b]) if B::SPREADS && out.len() > 1 => {
                for (o, &a) in out.iter_mut().zip(a) {
                    *o = f(a, b);
                }
            }
            (a, b) => {
                for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *o = f(a, b);
                }
            }
        },
    );
}

/// Fills `out` with `f` of each triple.
pub fn map3<A: LaneElement, B: LaneElement, C: LaneElement, R: LaneElement>(
    args: &[Lane<'_>],
    out: LaneMut<'_>,
    f: impl Fn(A, B, C) -> R,
) {
    let (a, b, c, out) = (A::of(args[0]), B::of(args[1]), C::of(args[2]), R::of_mut(out));
    vectorized(
        #[inline(always)]
        || {
            for (((o, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                *o = f(a, b, c);
            }
        },
    );
}
