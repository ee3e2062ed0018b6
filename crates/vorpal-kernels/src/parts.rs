//! Programs that take their elements from one operand up to some place and from another behind it, as joined tensors
//! do: between two such places a program is a shorter one that decides nothing.

use std::ops::Range;

use vorpal_tensor::{DType, Layout};

use crate::{Inst, Program, ValueId};

/// Most places a program is cut at, and the fewest elements between two of them.
const CUTS_MAX: usize = 16;
const PART_MIN: usize = 1024;

/// The first of `len` elements whose place is not below a limit, if places never fall.
fn first_above(layout: &Layout, limit: f64, len: usize) -> Option<usize> {
    let layout = layout.collapse();
    let (&size, &stride) = (layout.shape.first()?, layout.strides.first()?);
    let level = layout.strides.iter().skip(1).all(|&s| s == 0) && layout.bounds.is_empty();
    if !level || stride <= 0 || layout.shape.numel() != len {
        return None;
    }
    let steps = ((limit - layout.offset as f64) / stride as f64).ceil().max(0.0) as usize;
    Some(steps.min(size) * (len / size.max(1)))
}

/// Where each comparison of places with a number turns from true to false, if it is one.
fn turns(program: &Program, len: usize) -> Vec<Option<usize>> {
    let turn = |inst: &Inst| {
        let Inst::Call { f, args } = inst else { return None };
        let &[place, limit] = &args[..] else { return None };
        match (f.name, &program.insts[place], &program.insts[limit]) {
            ("less", Inst::Place { layout, .. }, Inst::Const { value, .. }) => {
                first_above(layout, *value, len)
            }
            _ => None,
        }
    };
    program.insts.iter().map(turn).collect()
}

/// The program as it is where comparisons are known.
fn decided(program: &Program, known: &[Option<bool>]) -> Program {
    // Values that are others here.
    let mut same: Vec<ValueId> = (0..program.insts.len()).collect();
    let mut insts = Vec::with_capacity(program.insts.len());
    for (v, inst) in program.insts.iter().enumerate() {
        let mut inst = inst.clone();
        match (&mut inst, known[v]) {
            (inst, Some(value)) => {
                *inst = Inst::Const { value: f64::from(u8::from(value)), dtype: DType::Bool }
            }
            (Inst::Call { f, args }, None) => {
                if let ("select", &[condition, then, other]) = (f.name, &args[..])
                    && let Some(value) = known[condition]
                {
                    same[v] = same[if value { then } else { other }];
                }
                args.iter_mut().for_each(|a| *a = same[*a]);
            }
            (Inst::Cast { x, .. } | Inst::Reduce { x, .. }, None) => *x = same[*x],
            _ => {}
        }
        insts.push(inst);
    }
    let mut stores = program.stores.clone();
    stores.iter_mut().for_each(|store| store.value = same[store.value]);
    Program { insts, stores }
}

/// A program over `len` elements in parts, each with its elements.
pub(crate) fn parts(program: &Program, len: usize) -> Vec<(Range<usize>, Program)> {
    if len == 0 {
        return Vec::new();
    }
    let turns = turns(program, len);
    let mut cuts: Vec<usize> = turns.iter().flatten().copied().chain([0, len]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    if cuts.len() == 2 || cuts.len() > CUTS_MAX + 2 || cuts.windows(2).any(|c| c[1] - c[0] < PART_MIN) {
        return vec![(0..len, program.clone())];
    }
    let part = |c: &[usize]| {
        let known: Vec<Option<bool>> = turns.iter().map(|turn| turn.map(|turn| c[0] < turn)).collect();
        (c[0]..c[1], decided(program, &known))
    };
    cuts.windows(2).map(part).collect()
}
