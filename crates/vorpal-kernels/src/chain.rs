//! Arithmetic of several steps in one pass over a block.
//!
//! A pass over a block in the first cache costs reads, a write and the turns of its loop, whatever it computes. The
//! arithmetic that is most of programs is done several steps at a time, each rounded as if it were alone, so that results
//! do not depend on what met in a pass.

use crate::elementary::exp;
use crate::lane::vectorized;
use crate::stream::{Ahead, LINE};
use crate::{Lane, LaneElement, LaneMut, ScalarFn};

/// What a function does, where it is arithmetic that passes join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
}

impl Arithmetic {
    /// Functions are known by their names, which are theirs alone.
    fn of(f: &ScalarFn) -> Option<Arithmetic> {
        match f.name {
            "add" => Some(Arithmetic::Add),
            "sub" => Some(Arithmetic::Sub),
            "mul" => Some(Arithmetic::Mul),
            _ => None,
        }
    }
}

/// Two steps of arithmetic on three operands, the first of which has an element each; of the others one may stand for
/// all elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// (a + b) + c
    AddAdd,
    /// (a + b) c
    AddMul,
    /// (a − b) c
    SubMul,
    /// (a b) c
    MulMul,
    /// a b + c
    MulAdd,
    /// a b − c
    MulSub,
    /// c − a b
    SubOfMul,
}

/// The pair that a function makes of another's result, which is its operand number `at`, and of its other operand; `wide`
/// tells which operands of the two, in the order they are given in, have an element each. With it the order in which
/// the pair takes them.
pub(crate) fn pair(
    first: &ScalarFn,
    second: &ScalarFn,
    at: usize,
    wide: [bool; 3],
) -> Option<(Pair, [usize; 3])> {
    let (first, second) = (Arithmetic::of(first)?, Arithmetic::of(second)?);
    let pair = match (first, second, at) {
        (Arithmetic::Add, Arithmetic::Add, _) => Pair::AddAdd,
        (Arithmetic::Add, Arithmetic::Mul, _) => Pair::AddMul,
        (Arithmetic::Sub, Arithmetic::Mul, _) => Pair::SubMul,
        (Arithmetic::Mul, Arithmetic::Mul, _) => Pair::MulMul,
        (Arithmetic::Mul, Arithmetic::Add, _) => Pair::MulAdd,
        (Arithmetic::Mul, Arithmetic::Sub, 0) => Pair::MulSub,
        (Arithmetic::Mul, Arithmetic::Sub, _) => Pair::SubOfMul,
        _ => return None,
    };
    match wide {
        [true, ..] => Some((pair, [0, 1, 2])),
        [false, true, _] if first != Arithmetic::Sub => Some((pair, [1, 0, 2])),
        _ => None,
    }
}

/// Whether a function is the product.
pub(crate) fn is_product(f: &ScalarFn) -> bool {
    Arithmetic::of(f) == Some(Arithmetic::Mul)
}

/// Whether a function is the sum of two.
pub(crate) fn is_sum(f: &ScalarFn) -> bool {
    Arithmetic::of(f) == Some(Arithmetic::Add)
}

/// Whether a function is the difference.
pub(crate) fn is_difference(f: &ScalarFn) -> bool {
    Arithmetic::of(f) == Some(Arithmetic::Sub)
}

/// Whether a function is the exponential one.
pub(crate) fn is_exponential(f: &ScalarFn) -> bool {
    f.name == "exp"
}

/// Whether [`normalize`] can take operands, of which `wide` have an element each.
pub(crate) fn normalizes(wide: [bool; 5]) -> bool {
    matches!(wide, [true, false, false, true, true] | [true, true, true, true, true])
}

/// Fills `out` with ((a − b) c) d + e: what is left of a mean, scaled, weighted and moved.
pub(crate) fn normalize(operands: &[Lane<'_>], out: LaneMut<'_>) {
    let (&[a, b, c, d, e], out) = (operands, f32::of_mut(out)) else { return };
    let [a, b, c, d, e] = [a, b, c, d, e].map(f32::of);
    vectorized(
        #[inline(always)]
        || match (b, c) {
            (&[b], &[c]) => normalize_row([a, d, e], b, c, out),
            (b, c) => {
                for (((((o, &a), &b), &c), &d), &e) in out.iter_mut().zip(a).zip(b).zip(c).zip(d).zip(e) {
                    *o = ((a - b) * c) * d + e;
                }
            }
        },
    );
}

/// Fills `out` with ((a − b) c) d + e, of which `b` and `c` are one number each.
#[inline(always)]
pub(crate) fn normalize_row([a, d, e]: [&[f32]; 3], b: f32, c: f32, out: &mut [f32]) {
    for (((o, &a), &d), &e) in out.iter_mut().zip(a).zip(d).zip(e) {
        *o = ((a - b) * c) * d + e;
    }
}

/// Fills `out` with eᵃ⁻ᵇ. Where one `b` stands for all, it calls for a line of what is `ahead` with every line it makes.
pub(crate) fn exp_difference(operands: &[Lane<'_>], out: LaneMut<'_>, ahead: &mut Ahead<'_>) {
    let (&[a, b], out) = (operands, f32::of_mut(out)) else { return };
    let [a, b] = [a, b].map(f32::of);
    vectorized(
        #[inline(always)]
        || match b {
            &[b] => {
                let (lines, rest) = out.as_chunks_mut::<LINE>();
                let (values, values_rest) = a.as_chunks::<LINE>();
                for (line, values) in lines.iter_mut().zip(values) {
                    ahead.call();
                    for (o, &a) in line.iter_mut().zip(values) {
                        *o = exp(a - b);
                    }
                }
                for (o, &a) in rest.iter_mut().zip(values_rest) {
                    *o = exp(a - b);
                }
            }
            b => {
                for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                    *o = exp(a - b);
                }
            }
        },
    );
}

/// Fills `out` with `f` of each element of the first operand and those of the others.
#[inline(always)]
fn map(x: [&[f32]; 3], out: &mut [f32], f: impl Fn(f32, f32, f32) -> f32) {
    let [a, b, c] = x;
    match (b, c) {
        (&[b], &[c]) => {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = f(a, b, c);
            }
        }
        (&[b], c) => {
            for ((o, &a), &c) in out.iter_mut().zip(a).zip(c) {
                *o = f(a, b, c);
            }
        }
        (b, &[c]) => {
            for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *o = f(a, b, c);
            }
        }
        (b, c) => {
            for (((o, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                *o = f(a, b, c);
            }
        }
    }
}

impl Pair {
    /// Does both steps.
    pub fn run(self, operands: &[Lane<'_>], out: LaneMut<'_>) {
        let (&[a, b, c], out) = (operands, f32::of_mut(out)) else { return };
        let [a, b, c] = [a, b, c].map(f32::of);
        vectorized(
            #[inline(always)]
            || match self {
                Pair::AddAdd => map([a, b, c], out, |a, b, c| (a + b) + c),
                Pair::AddMul => map([a, b, c], out, |a, b, c| (a + b) * c),
                Pair::SubMul => map([a, b, c], out, |a, b, c| (a - b) * c),
                Pair::MulMul => map([a, b, c], out, |a, b, c| (a * b) * c),
                Pair::MulAdd => map([a, b, c], out, |a, b, c| a * b + c),
                Pair::MulSub => map([a, b, c], out, |a, b, c| a * b - c),
                Pair::SubOfMul => map([a, b, c], out, |a, b, c| c - a * b),
            },
        );
    }
}
