//! Native body of row kernels.
//!
//! Rows that lie one behind the other are worked on a few at a time, from the first value to the last, while they
//! stay in the caches. Otherwise every pass goes through memory in its order and adds to the rows it meets. Either
//! way the division of work and the order of sums follow from the sizes alone.

use std::ops::Range;

use smallvec::SmallVec;
use vorpal_tensor::{DType, Layout, Result};

use super::{Row, levels};
use crate::arguments::{Piece, Source, take};
use crate::fold::Accumulator;
use crate::interp::{BLOCK, Block, Bound, TASK, bound, for_each};
use crate::tape::{Class, Scope, Tape};
use crate::{CpuRun, Domain, Inst, Lanes, ReduceKind, ValueId};

/// Most parts that sums over scattered rows are split into.
const PARTS_MAX: usize = 16;

/// Elements of a block that is read where it lies.
const IN_PLACE_BLOCK: usize = 16 * BLOCK;

/// Columns of rows that are worked on as a whole.
const COLUMNS_WHOLE: usize = 1 << 16;

/// A row kernel ready to run.
#[derive(Debug)]
pub(super) enum Recipe {
    /// Whole rows at a time.
    Whole(Tape),
    /// Elements in the order of memory, pass after pass.
    InOrder { map: Layout, passes: Vec<Pass>, rows: Box<Tape>, full: Box<Tape> },
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
        let tape = |scope: Scope| Tape::new(&row.program, &row.args, &scope);
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
        Recipe::InOrder {
            map: row.row_map(),
            passes,
            rows: last(Class::Row).into(),
            full: last(Class::Full).into(),
        }
    }
}

/// Row values known so far, by value.
type Known = Vec<Option<Lanes>>;

/// Elements in the order of memory.
struct InOrder<'r, 'a> {
    rows: usize,
    len: usize,
    map: &'r Layout,
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
        let bound = Bound { given: known, ..bound(&pass.level, self.sources, self.scalars) };
        let mut registers = bound.begin(0, BLOCK.min(self.rows))?;
        for row in (0..self.rows).step_by(BLOCK) {
            let block = Block { start: 0, n: 0, row, rows: BLOCK.min(self.rows - row) };
            bound.block(&block, &mut registers, &mut [])?;
            for (k, out) in out.iter_mut().enumerate() {
                out.append(bound.goal(k, &block, &registers)?);
            }
        }
        pass.values.iter().zip(out).for_each(|(&v, lanes)| known[v] = Some(lanes));
        Ok(())
    }

    /// Goes through elements once, for the reductions of a pass.
    fn reduce(
        &self,
        pass: &Pass,
        elements: Range<usize>,
        known: &Known,
        sources: &[Option<Source<'_>>],
    ) -> Result<Vec<Accumulator>> {
        let fresh =
            |&(_, kind, dtype): &(ValueId, ReduceKind, DType)| Accumulator::new(kind, dtype, self.rows);
        let mut accumulators: Vec<Accumulator> = pass.reductions.iter().map(fresh).collect();
        let bound =
            Bound { given: known, map: Some(self.map), ..bound(&pass.operands, sources, self.scalars) };
        // What is read where it lies takes no room in the cache: what is done once a block counts for less then.
        let in_place = pass.operands.registers[Class::Full as usize] == 0;
        let most = if in_place { IN_PLACE_BLOCK } else { BLOCK };
        let mut registers = bound.begin(most.min(elements.len()), 1)?;
        for start in elements.clone().step_by(most) {
            let block = Block { start, n: most.min(elements.end - start), row: 0, rows: 0 };
            bound.block(&block, &mut registers, &mut [])?;
            for (k, acc) in accumulators.iter_mut().enumerate() {
                acc.take(bound.goal(k, &block, &registers)?, self.map, start, block.n);
            }
        }
        Ok(accumulators)
    }

    /// All parts of the elements, joined in their order.
    fn reductions(&self, pass: &Pass, known: &mut Known, pieces: &[Piece<'a>]) -> Result<()> {
        if pass.reductions.is_empty() {
            return Ok(());
        }
        let mut sources: Vec<Option<Source<'_>>> = self.sources.to_vec();
        pieces.iter().for_each(|piece| sources[piece.arg] = Some(piece.sink.read()));
        let parts = (self.len / TASK).min(self.len / self.rows.max(1)).clamp(1, PARTS_MAX);
        let size = self.len.div_ceil(parts).max(1);
        let mut found: Vec<Vec<Accumulator>> = vec![Vec::new(); parts];
        let tasks: Vec<_> = found.iter_mut().enumerate().collect();
        for_each(tasks, |(k, out)| {
            let elements = (k * size).min(self.len)..((k + 1) * size).min(self.len);
            *out = self.reduce(pass, elements, known, &sources)?;
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
}

pub(super) fn run(row: &Row, mut run: CpuRun<'_>) -> Result<()> {
    let scalars = run.scalars;
    let arguments = take(&mut run, &row.args, 0)?;
    let (rows, columns, domains) = (row.rows(), row.columns(), row.program.domains());
    if rows == 0 {
        return Ok(());
    }
    let sinks = arguments.sinks.into_iter();
    let pieces: SmallVec<[Piece<'_>; 4]> =
        sinks.map(|(arg, sink)| Piece { arg, class: row.class_of(arg, &domains), start: 0, sink }).collect();
    let (map, passes, of_rows, of_full) = match row.recipe() {
        Recipe::Whole(tape) => return bound(tape, &arguments.sources, scalars).run(0..rows, pieces),
        Recipe::InOrder { map, passes, rows, full } => (map, passes, rows, full),
    };
    let order = InOrder { rows, len: rows * columns, map, scalars, sources: &arguments.sources };
    let mut known: Known = vec![None; row.program.insts.len()];
    for pass in passes {
        order.enter(pass, &mut known)?;
        order.reductions(pass, &mut known, &pieces)?;
    }
    let (row_pieces, full_pieces): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) =
        pieces.into_iter().partition(|piece| piece.class == Class::Row);
    if !row_pieces.is_empty() {
        let bound = Bound { given: &known, ..bound(of_rows, &arguments.sources, scalars) };
        bound.run(0..rows, row_pieces)?;
    }
    if full_pieces.is_empty() || order.len == 0 {
        return Ok(());
    }
    Bound { given: &known, map: Some(map), ..bound(of_full, &arguments.sources, scalars) }
        .run(0..order.len, full_pieces)
}
