//! Blocks of elements, as native bodies of scalar functions see them.

/// A borrowed block. Truth values are `U32` holding 0 or 1.
#[derive(Clone, Copy, Debug)]
pub enum Lane<'a> {
    /// f64 elements.
    F64(&'a [f64]),
    /// f32 elements (also 16-bit floats, widened).
    F32(&'a [f32]),
    /// i32 elements.
    I32(&'a [i32]),
    /// u32 or bool elements.
    U32(&'a [u32]),
}

/// An owned block to fill. Its type and length are set before a body runs.
#[derive(Clone, Debug)]
pub enum Lanes {
    /// f64 elements.
    F64(Vec<f64>),
    /// f32 elements.
    F32(Vec<f32>),
    /// i32 elements.
    I32(Vec<i32>),
    /// u32 or bool elements.
    U32(Vec<u32>),
}

impl Lanes {
    /// The block, borrowed.
    pub fn lane(&self) -> Lane<'_> {
        match self {
            Lanes::F64(v) => Lane::F64(v),
            Lanes::F32(v) => Lane::F32(v),
            Lanes::I32(v) => Lane::I32(v),
            Lanes::U32(v) => Lane::U32(v),
        }
    }
}

/// A Rust type that blocks hold.
pub trait LaneElement: Copy + 'static {
    /// The elements of a block of this type; empty for a block of another type.
    fn of<'a>(lane: &Lane<'a>) -> &'a [Self];
    /// The elements of an owned block of this type; empty for a block of another type.
    fn of_mut(lanes: &mut Lanes) -> &mut [Self];
}

macro_rules! lane_element {
    ($($ty:ty => $variant:ident),*) => {$(
        impl LaneElement for $ty {
            fn of<'a>(lane: &Lane<'a>) -> &'a [Self] {
                if let Lane::$variant(v) = lane { v } else { &[] }
            }
            fn of_mut(lanes: &mut Lanes) -> &mut [Self] {
                if let Lanes::$variant(v) = lanes { v } else { &mut [] }
            }
        }
    )*};
}
lane_element!(f64 => F64, f32 => F32, i32 => I32, u32 => U32);

/// Fills `out` with `f` of each element.
pub fn map1<A: LaneElement, R: LaneElement>(args: &[&Lane<'_>], out: &mut Lanes, f: impl Fn(A) -> R) {
    for (o, &a) in R::of_mut(out).iter_mut().zip(A::of(args[0])) {
        *o = f(a);
    }
}

/// Fills `out` with `f` of each pair.
pub fn map2<A: LaneElement, B: LaneElement, R: LaneElement>(
    args: &[&Lane<'_>],
    out: &mut Lanes,
    f: impl Fn(A, B) -> R,
) {
    let (a, b) = (A::of(args[0]), B::of(args[1]));
    for ((o, &a), &b) in R::of_mut(out).iter_mut().zip(a).zip(b) {
        *o = f(a, b);
    }
}

/// Fills `out` with `f` of each triple.
pub fn map3<A: LaneElement, B: LaneElement, C: LaneElement, R: LaneElement>(
    args: &[&Lane<'_>],
    out: &mut Lanes,
    f: impl Fn(A, B, C) -> R,
) {
    let (a, b, c) = (A::of(args[0]), B::of(args[1]), C::of(args[2]));
    for (((o, &a), &b), &c) in R::of_mut(out).iter_mut().zip(a).zip(b).zip(c) {
        *o = f(a, b, c);
    }
}
