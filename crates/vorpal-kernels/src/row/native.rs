//! Native body of row kernels.
//!
//! Rows that lie one behind the other are worked on a few at a time, from the first value to the last, while they
//! stay in the caches. Otherwise every pass goes through memory in its order and adds to the rows it meets: through as
//! many rows as lie in one stretch that stays in the caches, or through all of them. In any case the division of work
//! and the order of sums follow from the sizes alone.

use std::ops::Range;

use smallvec::SmallVec;
use vorpal_tensor::{DType, Layout, Result};

use super::{Row, levels};
use crate::arguments::{Piece, Source, cut, take};
use crate::fold::Accumulator;
use crate::interp::{BLOCK, Block, Bound, TASK, bound, for_each};
use crate::tape::{Class, Scope, Tape};
use crate::{CpuRun, Domain, Inst, Lanes, ReduceKind, ValueId};

/// Most parts that sums over scattered rows are split into.
const PARTS_MAX: usize = 16;

/// Elements of a stretch that stays in a second cache, and stretches that are enough to share out whatever their size.
const STRETCH_MAX: usize = 1 << 18;
const STRETCHES_MANY: usize = 4 * PARTS_MAX;

/// Elements of a block that is read where it lies.
const IN_PLACE_BLOCK: usize = 16 * BLOCK;

/// Columns of rows that are worked on as a whole.
const COLUMNS_WHOLE: usize = 1 << 18;

/// A row kernel ready to run.
#[derive(Debug)]
pub(super) enum Recipe {
    /// Whole rows at a time.
    Whole(Tape),
    /// Elements in the order of memory, pass after pass.
    InOrder(Box<Passes>),
}

/// Passes over elements in the order of memory.
#[derive(Debug)]
pub(super) struct Passes {
    /// From the linear index of an element to its row.
    map: Layout,
    passes: Vec<Pass>,
    /// What stores results for rows, and for elements.
    rows: Tape,
    full: Tape,
}

/// Row values of a level, then the reductions that follow from them.
#[derive(Debug)]
pub(super) struct Pass {
    /// Row values to evaluate first, and what does.
    values: Vec<ValueId>,
    level: Tape,
    /// Results, and what gives their operands.
    reductions: Vec<(ValueId, ReduceKind, DType)>,
    operands: Tape,
}

impl Recipe {
    pub fn new(row: &Row) -> Recipe {
        let (rows, columns, domains) = (row.rows(), row.columns(), row.program.domains());
        let stores = |class: Class| {
            row.program
                .stores
                .iter()
                .map(|&s| (s, row.class_of(s.arg, &domains)))
                .filter(move |s| s.1 == class)
        };
        let behind_one_another = row.part(true).shape.len() <= 1 && row.part(true).is_contiguous();
        let many = rows >= 8 || rows * columns <= TASK;
        if behind_one_another && many && (1..=COLUMNS_WHOLE).contains(&columns) {
            let stores = stores(Class::Row).chain(stores(Class::Full)).collect();
            let scope = Scope { stores, rows: Some((rows, columns)), ..Scope::default() };
            return Recipe::Whole(Tape::new(&row.program, &row.args, &scope));
        }
        let levels = levels(&row.program);
        let types = row.program.types(&row.args);
        let constant = |v: ValueId| matches!(row.program.insts[v], Inst::Const { .. } | Inst::Scalar { .. });
        let is_row = |v: ValueId| domains[v] == Domain::Row && !constant(v);
        let reduced = |v: ValueId| matches!(row.program.insts[v], Inst::Reduce { .. });
        let all = 0..row.program.insts.len();
        // Known while row values of a level are evaluated: those below it and the reductions of the pass before.
        let below = |level: usize| {
            all.clone()
                .map(|v| is_row(v) && (levels[v] < level || (levels[v] == level && reduced(v))))
                .collect()
        };
        let known =
            |level: usize| all.clone().map(|v| is_row(v) && levels[v] <= level).collect::<Vec<bool>>();
        let tape = |scope: Scope| Tape::new(&row.program, &row.args, &Scope { one_row: rows == 1, ..scope });
        let top = levels.iter().copied().max().unwrap_or(0);
        let mut passes = Vec::new();
        for level in 0..=top {
            let values: Vec<ValueId> =
                all.clone().filter(|&v| is_row(v) && levels[v] == level && !reduced(v)).collect();
            let goals = values.iter().map(|&v| (v, Class::Row)).collect();
            let of_level = tape(Scope { given: below(level), goals, ..Scope::default() });
            let found = row.reductions(&levels, level);
            let goals = found.iter().map(|&(_, _, x)| (x, Class::Full)).collect();
            let operands = tape(Scope { given: known(level), goals, read_only: true, ..Scope::default() });
            let reductions = found.into_iter().map(|(v, kind, x)| (v, kind, types[x])).collect();
            passes.push(Pass { values, level: of_level, reductions, operands });
        }
        let last = |class: Class| {
            tape(Scope { given: known(top), stores: stores(class).collect(), ..Scope::default() })
        };
        let (rows, full) = (last(Class::Row), last(Class::Full));
        Recipe::InOrder(Passes { map: row.row_map(), passes, rows, full }.into())
    }
}

/// Row values known so far, by value.
type Known = Vec<Option<Lanes>>;

/// Elements in the order of memory, and their rows.
struct InOrder<'r, 'a> {
    elements: Range<usize>,
    rows: Range<usize>,
    /// From the linear index of an element to its row, counted from the first one of `rows`.
    map: Layout,
    scalars: &'r [f64],
    sources: &'r [Option<Source<'a>>],
}

impl<'a> InOrder<'_, 'a> {
    /// Evaluates row values and enters them.
    fn enter(&self, pass: &Pass, known: &mut Known) -> Result<()> {
        if pass.values.is_empty() {
            return Ok(());
        }
        let dtypes = pass.level.goals.iter().map(|goal| goal.dtype);
        let mut out: Vec<Lanes> = dtypes.map(|dtype| Lanes::of(dtype, 0)).collect();
        let bound = self.bound(&pass.level, known, &[]);
        let mut registers = bound.begin(0, BLOCK.min(self.rows.len()))?;
        for row in self.rows.clone().step_by(BLOCK) {
            let block = Block { start: 0, n: 0, row, rows: BLOCK.min(self.rows.end - row) };
            bound.block(&block, &mut registers, &mut [])?;
            for (k, out) in out.iter_mut().enumerate() {
                out.append(bound.goal(k, &block, &registers)?);
            }
        }
        pass.values.iter().zip(out).for_each(|(&v, lanes)| known[v] = Some(lanes));
        Ok(())
    }

    /// A tape with what is known.
    fn bound<'t>(&'t self, tape: &'t Tape, known: &'t Known, reread: &'t [Piece<'a>]) -> Bound<'t, 'a> {
        let (first_row, map) = (self.rows.start, Some(&self.map));
        Bound { given: known, first_row, map, reread, ..bound(tape, self.sources, self.scalars) }
    }

    /// Goes through elements once, for the reductions of a pass.
    fn reduce(
        &self,
        pass: &Pass,
        elements: Range<usize>,
        known: &Known,
        reread: &[Piece<'a>],
    ) -> Result<Vec<Accumulator>> {
        let fresh =
            |&(_, kind, dtype): &(ValueId, ReduceKind, DType)| Accumulator::new(kind, dtype, self.rows.len());
        let mut accumulators: Vec<Accumulator> = pass.reductions.iter().map(fresh).collect();
        let bound = self.bound(&pass.operands, known, reread);
        // What is read where it lies takes no room in the cache: what is done once a block counts for less then.
        let in_place = pass.operands.registers[Class::Full as usize] == 0;
        let most = if in_place { IN_PLACE_BLOCK } else { BLOCK };
        let mut registers = bound.begin(most.min(elements.len()), 1)?;
        for start in elements.clone().step_by(most) {
            let block = Block { start, n: most.min(elements.end - start), row: 0, rows: 0 };
            bound.block(&block, &mut registers, &mut [])?;
            for (k, acc) in accumulators.iter_mut().enumerate() {
                acc.take(bound.goal(k, &block, &registers)?, &self.map, start, block.n);
            }
        }
        Ok(accumulators)
    }

    /// Reductions of a pass by parts of the elements, joined in their order.
    fn reductions(&self, pass: &Pass, known: &mut Known, parts: usize, pieces: &[Piece<'a>]) -> Result<()> {
        if pass.reductions.is_empty() {
            return Ok(());
        }
        let Range { start, end } = self.elements;
        let size = (end - start).div_ceil(parts).max(1);
        let mut found: Vec<Vec<Accumulator>> = vec![Vec::new(); parts];
        let tasks: Vec<_> = found.iter_mut().enumerate().collect();
        for_each(tasks, |(k, out)| {
            let elements = (start + k * size).min(end)..(start + (k + 1) * size).min(end);
            *out = self.reduce(pass, elements, known, pieces)?;
            Ok(())
        })?;
        let mut found = found.into_iter();
        let mut sum = found.next().unwrap_or_default();
        for part in found {
            sum.iter_mut().zip(&part).for_each(|(a, b)| a.merge(b));
        }
        pass.reductions.iter().zip(sum).for_each(|(&(v, _, _), acc)| known[v] = Some(acc.finish()));
        Ok(())
    }

    /// Evaluates all there is: what follows from the elements by so many parts of them.
    fn run(&self, recipe: &Passes, values: usize, parts: usize, pieces: Pieces<'a>) -> Result<()> {
        let mut known: Known = vec![None; values];
        for pass in &recipe.passes {
            self.enter(pass, &mut known)?;
            self.reductions(pass, &mut known, parts, &pieces)?;
        }
        let (row_pieces, full_pieces): (Pieces<'_>, Pieces<'_>) =
            pieces.into_iter().partition(|piece| piece.class == Class::Row);
        if !row_pieces.is_empty() {
            self.bound(&recipe.rows, &known, &[]).run(self.rows.clone(), row_pieces)?;
        }
        if !full_pieces.is_empty() && !self.elements.is_empty() {
            self.bound(&recipe.full, &known, &[]).run(self.elements.clone(), full_pieces)?;
        }
        Ok(())
    }
}

/// Results that are written.
type Pieces<'a> = SmallVec<[Piece<'a>; 4]>;

pub(super) fn run(row: &Row, mut run: CpuRun<'_>) -> Result<()> {
    let scalars = run.scalars;
    let arguments = take(&mut run, &row.args, 0)?;
    let (rows, columns, domains) = (row.rows(), row.columns(), row.program.domains());
    if rows == 0 {
        return Ok(());
    }
    let sinks = arguments.sinks.into_iter();
    let pieces: Pieces<'_> =
        sinks.map(|(arg, sink)| Piece { arg, class: row.class_of(arg, &domains), start: 0, sink }).collect();
    let recipe = match row.recipe() {
        Recipe::Whole(tape) => return bound(tape, &arguments.sources, scalars).run(0..rows, pieces),
        Recipe::InOrder(recipe) => recipe,
    };
    let (len, values) = (rows * columns, row.program.insts.len());
    let order = |rows: Range<usize>| {
        let mut map = recipe.map.clone();
        map.offset -= rows.start as isize;
        let elements = rows.start * columns..rows.end * columns;
        InOrder { elements, rows, map, scalars, sources: &arguments.sources }
    };
    let parts = (len / TASK).min(columns).clamp(1, PARTS_MAX);
    // Rows whose elements lie in one stretch are worked on by themselves, while what is made of them stays in the caches.
    let (shape, strides) = (&recipe.map.shape, &recipe.map.strides);
    let outer = shape.iter().zip(strides).take_while(|&(&size, &stride)| stride != 0 || size == 1);
    let stretches: usize = outer.map(|(&size, _)| size).product();
    let small = len <= STRETCH_MAX * stretches || stretches >= STRETCHES_MANY;
    if len <= 2 * TASK || stretches < parts || !small {
        return order(0..rows).run(recipe, values, parts, pieces);
    }
    let each = rows / stretches;
    let step = each * (2 * TASK).div_ceil(each * columns);
    let tasks: Vec<_> = cut(pieces, step, columns).into_iter().enumerate().collect();
    for_each(tasks, |(k, pieces)| order(k * step..((k + 1) * step).min(rows)).run(recipe, values, 1, pieces))
}
