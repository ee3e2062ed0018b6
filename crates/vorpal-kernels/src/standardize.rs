//! Rows less their mean, over their deviation, weighted and moved: whole rows in one step.
//!
//! Each of the three passes over a row that this takes is as short as what a step costs beside its pass. In one step the
//! next row comes from memory while the differences of one are summed up, and a row leaves while the sums of the next go on.
//! A pass is a function of its own all the same: compilers make no vector code of all of them in one.

use smallvec::SmallVec;

use crate::ScalarFn;
use crate::chain::{is_product, is_sum, normalize_row};
use crate::fold::{deviation_and_sum_row, deviation_row, sum_row};
use crate::lane::vectorized;

/// What a number of a row becomes, and with which of the numbers that are the same for all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Add(usize),
    Mul(usize),
    Rsqrt,
}

impl Link {
    /// A function of one operand, or of one and the number `with`, whichever of the two comes first.
    pub fn of(f: &ScalarFn, with: Option<usize>) -> Option<Link> {
        match with {
            Some(number) if is_sum(f) => Some(Link::Add(number)),
            Some(number) if is_product(f) => Some(Link::Mul(number)),
            None if f.name == "rsqrt" => Some(Link::Rsqrt),
            _ => None,
        }
    }
}

/// Most numbers that links name.
pub(crate) const NUMBERS: usize = 8;

/// What is done to a number of each row, one after the other.
pub(crate) type Links = SmallVec<[Link; 4]>;

/// How the mean follows from the sum of a row, and the factor from the sum of the squares of its differences from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standardize {
    pub mean: Links,
    pub factor: Links,
}

/// Follows links, each step rounded as if it were alone.
#[inline(always)]
fn follow(links: &[Link], numbers: &[f32], start: f64) -> f32 {
    let mut value = start as f32;
    for link in links {
        value = match *link {
            Link::Add(k) => value + numbers[k],
            Link::Mul(k) => value * numbers[k],
            Link::Rsqrt => 1.0 / value.sqrt(),
        };
    }
    value
}

impl Standardize {
    /// Fills rows of `columns` with ((x − mean) factor) weight + bias. Weight and bias have an element for each of `x` or, if all
    /// rows have the same, those of one row; `numbers` are what links name.
    pub fn run(&self, [x, weight, bias]: [&[f32]; 3], numbers: &[f32], columns: usize, out: &mut [f32]) {
        let mut rows = x.chunks_exact(columns);
        let Some(mut here) = rows.next() else { return };
        let mut sum = sum_row(here);
        for (row, out) in out.chunks_exact_mut(columns).enumerate() {
            let mean = follow(&self.mean, numbers, sum);
            let next = rows.next();
            let deviation = match next {
                Some(next) => {
                    let [deviation, of_next] = deviation_and_sum_row(here, mean, next);
                    sum = of_next;
                    deviation
                }
                None => deviation_row(here, mean),
            };
            let factor = follow(&self.factor, numbers, deviation);
            let [weight, bias] = [weight, bias].map(|values| match values.len() == columns {
                true => values,
                false => &values[row * columns..][..columns],
            });
            vectorized(
                #[inline(always)]
                || normalize_row([here, weight, bias], mean, factor, out),
            );
            let Some(next) = next else { return };
            here = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use vorpal_tensor::{DType, Layout, Shape};

    use super::*;
    use crate::tape::{Action, Class, Scope, Tape};
    use crate::{Arg, Domain, Inst, Program, ReduceKind, ResultType, Store};

    static ADD: ScalarFn = function("add", 2);
    static SUB: ScalarFn = function("sub", 2);
    static MUL: ScalarFn = function("mul", 2);
    static RSQRT: ScalarFn = function("rsqrt", 1);

    const fn function(name: &'static str, arity: usize) -> ScalarFn {
        ScalarFn { name, arity, result: ResultType::Last, wgsl: "", support: "", cpu: |_, _| {}, flops: 1 }
    }

    /// The tape of a layer norm of four rows of 100; what else is stored is named by its place among the values.
    fn tape(beside: &[usize]) -> Tape {
        let shape = Shape::from([4, 100]);
        let of_columns = Layout::contiguous([1, 100]).broadcast_to(&shape);
        let load = |arg: usize, layout: Layout| Inst::Load { arg, layout, fill: 0.0, domain: Domain::Full };
        let call =
            |f: &'static ScalarFn, args: &[usize]| Inst::Call { f, args: args.iter().copied().collect() };
        let number = |value: f64| Inst::Const { value, dtype: DType::F32 };
        let sum = |x: usize| Inst::Reduce { kind: ReduceKind::Sum, x };
        let insts = vec![
            load(0, Layout::contiguous([400])),
            load(1, of_columns.clone()),
            load(2, of_columns),
            number(0.01),
            number(1e-5),
            sum(0),
            call(&MUL, &[5, 3]),
            call(&SUB, &[0, 6]),
            call(&MUL, &[7, 7]),
            sum(8),
            call(&MUL, &[3, 9]),
            call(&ADD, &[10, 4]),
            call(&RSQRT, &[11]),
            call(&MUL, &[7, 12]),
            call(&MUL, &[13, 1]),
            call(&ADD, &[14, 2]),
        ];
        let mut args: Vec<Arg> = [400, 100, 100].map(|n| Arg::read(DType::F32, n)).into();
        let mut stores = Vec::new();
        let program = Program { insts, stores: vec![] };
        let domains = program.domains();
        for &value in [15].iter().chain(beside) {
            let class = if domains[value] == Domain::Full { Class::Full } else { Class::Row };
            args.push(Arg::write(DType::F32, if class == Class::Full { 400 } else { 4 }));
            stores.push((Store { value, arg: args.len() - 1 }, class));
        }
        Tape::new(&program, &args, &Scope { stores, rows: Some((4, 100)), ..Scope::default() })
    }

    #[test]
    fn all_of_a_layer_norm_is_one_step() {
        let tape = tape(&[]);
        let [step] = &tape.steps[..] else { panic!("{:#?}", tape.steps) };
        let Action::Standardize { how, operands } = &step.action else { panic!("{step:?}") };
        assert_eq!(how.mean[..], [Link::Mul(0)]);
        assert_eq!(how.factor[..], [Link::Mul(2), Link::Add(1), Link::Rsqrt]);
        assert_eq!(operands.len(), 6);
        assert!(tape.kept_once && tape.kept == 2);
    }

    #[test]
    fn what_something_else_reads_is_made_by_itself() {
        // The sum, the mean, the sum of squares, the factor; what is scaled, which none of the sums needs.
        for value in [5, 6, 9, 12, 13] {
            let tape = tape(&[value]);
            assert!(tape.steps.len() > 1, "{value}");
            let joined = |action: &Action| matches!(action, Action::Standardize { .. });
            assert!(!tape.steps.iter().any(|step| joined(&step.action)), "{value}");
        }
        // Weights that a result shows are made for all rows.
        assert!(!tape(&[1]).kept_once && !tape(&[14]).kept_once);
    }
}
