//! Arithmetic of several steps in one pass over a block.
//!
//! A pass over a block in the first cache costs reads, a write and the turns of its loop, whatever it computes. The
//! arithmetic that is most of programs is done several steps at a time, each rounded as if it were alone, so that results
//! do not depend on what met in a pass.

use crate::elementary::{erf, exp};
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

/// Whether a function is the error function.
pub(crate) fn is_error_function(f: &ScalarFn) -> bool {
    f.name == "erf"
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

/// Fills `out` with (a b) (erf(a c) + d), where one number each stands for `b`, `c` and `d`: a gelu.
pub(crate) fn error_gate(operands: &[Lane<'_>], out: LaneMut<'_>) {
    let (&[a, b, c, d], out) = (operands, f32::of_mut(out)) else { return };
    let (a, &[b], &[c], &[d]) = (f32::of(a), f32::of(b), f32::of(c), f32::of(d)) else { return };
    vectorized(
        #[inline(always)]
        || {
            for (o, &a) in out.iter_mut().zip(a) {
                *o = (a * b) * (erf(a * c) + d);
            }
        },
    );
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

#[cfg(test)]
mod tests {
    use vorpal_tensor::{DType, Layout};

    use super::*;
    use crate::tape::{Action, Class, Scope, Tape};
    use crate::{Arg, Domain, Inst, Program, ResultType, Store};

    static ADD: ScalarFn = function("add", 2);
    static MUL: ScalarFn = function("mul", 2);
    static ERF: ScalarFn = function("erf", 1);

    const fn function(name: &'static str, arity: usize) -> ScalarFn {
        ScalarFn { name, arity, result: ResultType::Last, wgsl: "", support: "", cpu: |_, _| {}, flops: 1 }
    }

    /// The tape of a gelu of 100 numbers; what else is stored is named by its place among the values.
    fn gelu(beside: &[usize]) -> Tape {
        let layout = Layout::contiguous([100]);
        let call =
            |f: &'static ScalarFn, args: &[usize]| Inst::Call { f, args: args.iter().copied().collect() };
        let number = |value: f64| Inst::Const { value, dtype: DType::F32 };
        let insts = vec![
            Inst::Load { arg: 0, layout, fill: 0.0, domain: Domain::Full },
            number(0.7),
            number(0.5),
            number(1.0),
            call(&MUL, &[0, 1]),
            call(&ERF, &[4]),
            call(&MUL, &[0, 2]),
            call(&ADD, &[5, 3]),
            call(&MUL, &[6, 7]),
        ];
        let mut args = vec![Arg::read(DType::F32, 100)];
        let mut stores = Vec::new();
        for &value in [8].iter().chain(beside) {
            args.push(Arg::write(DType::F32, 100));
            stores.push((Store { value, arg: args.len() - 1 }, Class::Full));
        }
        let program = Program { insts, stores: vec![] };
        Tape::new(&program, &args, &Scope { stores, ..Scope::default() })
    }

    #[test]
    fn a_gelu_is_one_step_unless_what_lies_between_is_read() {
        assert!(matches!(&gelu(&[]).steps[..], [step] if matches!(step.action, Action::ErrorGate(_))));
        for value in [4, 5, 6, 7] {
            let tape = gelu(&[value]);
            assert!(!tape.steps.iter().any(|step| matches!(step.action, Action::ErrorGate(_))), "{value}");
        }
    }

    #[test]
    fn a_gelu_is_rounded_as_its_steps_are() {
        let x: Vec<f32> = (-200..200).map(|k| k as f32 * 0.031).collect();
        let mut found = vec![0.0; x.len()];
        let numbers = [[0.5f32], [0.7], [1.0]];
        let [b, c, d] = numbers.each_ref().map(|number| Lane::F32(number));
        error_gate(&[Lane::F32(&x), b, c, d], LaneMut::F32(&mut found));
        for (found, x) in found.into_iter().zip(x) {
            let (half, sum) = (x * 0.5, erf(x * 0.7) + 1.0);
            assert_eq!(found.to_bits(), (half * sum).to_bits(), "{x}");
        }
    }
}
