//! Vectors of floats, for native bodies that are written in them.

use bytemuck::{Pod, cast_slice, pod_read_unaligned};
use pulp::Simd;

use crate::gemm::Gemm;

/// An element type with vectors.
pub(crate) trait Number: Gemm + Pod {
    type Vector<S: Simd>: Pod;

    fn splat<S: Simd>(s: S, x: Self) -> Self::Vector<S>;
    fn add<S: Simd>(s: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn sub<S: Simd>(s: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn abs<S: Simd>(s: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// Numbers with the signs of others; 0 for 0, NaN for NaN.
    fn signed<S: Simd>(s: S, numbers: Self::Vector<S>, like: Self::Vector<S>) -> Self::Vector<S>;
    /// a b + c
    fn mul_add<S: Simd>(s: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// The first numbers of a vector, zeros behind them.
    fn load_some<S: Simd>(s: S, from: &[Self]) -> Self::Vector<S>;
    fn store_some<S: Simd>(s: S, to: &mut [Self], numbers: Self::Vector<S>);

    /// Numbers of a vector.
    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::Vector<S>>() / size_of::<Self>()
    }
    /// As many numbers as a vector has, from a place on.
    #[inline(always)]
    fn load<S: Simd>(from: &[Self], at: usize) -> Self::Vector<S> {
        pod_read_unaligned(cast_slice(&from[at..at + Self::lanes::<S>()]))
    }
    /// Sets as many numbers as a vector has.
    #[inline(always)]
    fn store<S: Simd>(to: &mut [Self], numbers: Self::Vector<S>) {
        to.copy_from_slice(cast_slice(&[numbers]));
    }
}

impl Number for f32 {
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn splat<S: Simd>(s: S, x: f32) -> S::f32s {
        s.splat_f32s(x)
    }
    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::f32s, b: S::f32s) -> S::f32s {
        s.add_f32s(a, b)
    }
    #[inline(always)]
    fn sub<S: Simd>(s: S, a: S::f32s, b: S::f32s) -> S::f32s {
        s.sub_f32s(a, b)
    }
    #[inline(always)]
    fn abs<S: Simd>(s: S, a: S::f32s) -> S::f32s {
        s.abs_f32s(a)
    }
    #[inline(always)]
    fn signed<S: Simd>(s: S, numbers: S::f32s, like: S::f32s) -> S::f32s {
        let zero = s.splat_f32s(0.0);
        let above = s.select_f32s(s.less_than_f32s(zero, like), numbers, zero);
        let below = s.select_f32s(s.less_than_f32s(like, zero), numbers, zero);
        let is_number = s.equal_f32s(like, like);
        s.select_f32s(is_number, s.sub_f32s(above, below), like)
    }
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        s.mul_add_e_f32s(a, b, c)
    }
    #[inline(always)]
    fn load_some<S: Simd>(s: S, from: &[f32]) -> S::f32s {
        s.partial_load_f32s(from)
    }
    #[inline(always)]
    fn store_some<S: Simd>(s: S, to: &mut [f32], numbers: S::f32s) {
        s.partial_store_f32s(to, numbers);
    }
}

impl Number for f64 {
    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn splat<S: Simd>(s: S, x: f64) -> S::f64s {
        s.splat_f64s(x)
    }
    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::f64s, b: S::f64s) -> S::f64s {
        s.add_f64s(a, b)
    }
    #[inline(always)]
    fn sub<S: Simd>(s: S, a: S::f64s, b: S::f64s) -> S::f64s {
        s.sub_f64s(a, b)
    }
    #[inline(always)]
    fn abs<S: Simd>(s: S, a: S::f64s) -> S::f64s {
        s.abs_f64s(a)
    }
    #[inline(always)]
    fn signed<S: Simd>(s: S, numbers: S::f64s, like: S::f64s) -> S::f64s {
        let zero = s.splat_f64s(0.0);
        let above = s.select_f64s(s.less_than_f64s(zero, like), numbers, zero);
        let below = s.select_f64s(s.less_than_f64s(like, zero), numbers, zero);
        let is_number = s.equal_f64s(like, like);
        s.select_f64s(is_number, s.sub_f64s(above, below), like)
    }
    #[inline(always)]
    fn mul_add<S: Simd>(s: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        s.mul_add_e_f64s(a, b, c)
    }
    #[inline(always)]
    fn load_some<S: Simd>(s: S, from: &[f64]) -> S::f64s {
        s.partial_load_f64s(from)
    }
    #[inline(always)]
    fn store_some<S: Simd>(s: S, to: &mut [f64], numbers: S::f64s) {
        s.partial_store_f64s(to, numbers);
    }
}
