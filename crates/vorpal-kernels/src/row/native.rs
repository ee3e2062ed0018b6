//! Native body of row kernels.
//!
//! Rows that lie one behind the other are worked on a few at a time, so that what several passes read stays in
//! the caches. Otherwise every pass goes through memory in its order and adds to the rows it meets. Either way
//! the division of work and the order of sums follow from the sizes alone.

use std::ops::Range;

use vorpal_tensor::{DType, Layout, Result};

use super::{Row, levels};
use crate::interp::{
    Around, BLOCK, Block, Env, Registers, RowValues, Sink, TASK, cut, for_each, stretches, take,
};
use crate::lane::alike;
use crate::{CpuRun, Domain, Inst, Lane, LaneElement, Lanes, ReduceKind, ValueId};

/// Most parts that sums over scattered rows are split into.
const PARTS_MAX: usize = 16;

/// What a run needs everywhere.
struct Context<'a, 'p> {
    row: &'p Row,
    env: Env<'a, 'p>,
    levels: Vec<usize>,
    domains: Vec<Domain>,
    map: &'p Layout,
}

/// Accumulators of one reduction for a range of rows. Sums of floats are kept in f64.
#[derive(Clone, Debug)]
struct Accumulator {
    kind: ReduceKind,
    dtype: DType,
    lanes: Lanes,
}

impl Accumulator {
    fn new(kind: ReduceKind, dtype: DType, rows: usize) -> Accumulator {
        let wide = kind == ReduceKind::Sum && dtype.is_float();
        let mut lanes = Lanes::of(if wide { DType::F64 } else { dtype }, rows);
        if kind != ReduceKind::Sum {
            lanes.fill_extreme(kind == ReduceKind::Min);
        }
        Accumulator { kind, dtype, lanes }
    }

    /// Takes a block of values whose rows the map tells; `first` is the row of accumulator 0.
    fn take(&mut self, values: Lane<'_>, map: &Layout, start: usize, n: usize, first: usize) {
        let kind = self.kind;
        stretches(map, start, n, |at, len, place, stride| {
            let row = (place.unwrap_or(0) - first as isize) as usize;
            let range = at..at + len;
            let one = stride == 0;
            match (values, &mut self.lanes) {
                (Lane::F32(v), Lanes::F64(acc)) => sum_f32(&v[range], &mut acc[row..], one),
                pair => alike!(pair, Lane, Lanes, (v, acc) => fold(kind, &v[range], &mut acc[row..], one);
                    _ => {}
                ),
            }
        });
    }

    /// Takes what another part of the elements gave for the same rows.
    fn merge(&mut self, other: &Accumulator) {
        let kind = self.kind;
        alike!((&other.lanes, &mut self.lanes), Lanes, Lanes, (v, acc) => fold(kind, v, acc, false); _ => {});
    }

    /// The results.
    fn finish(self) -> Lanes {
        match self.lanes {
            Lanes::F64(v) if self.dtype != DType::F64 => {
                Lanes::F32(v.into_iter().map(|x| x as f32).collect())
            }
            lanes => lanes,
        }
    }
}

/// Joins values with one accumulator, or each with its own.
fn join<T: Copy>(values: &[T], acc: &mut [T], one: bool, f: impl Fn(T, T) -> T) {
    if one {
        acc[0] = values.iter().fold(acc[0], |a, &v| f(a, v));
    } else {
        acc.iter_mut().zip(values).for_each(|(a, &v)| *a = f(*a, v));
    }
}

fn fold<T: LaneElement>(kind: ReduceKind, values: &[T], acc: &mut [T], one: bool) {
    match kind {
        ReduceKind::Sum => join(values, acc, one, T::plus),
        ReduceKind::Max => join(values, acc, one, |a, v| if v > a || v.nan() { v } else { a }),
        ReduceKind::Min => join(values, acc, one, |a, v| if v < a || v.nan() { v } else { a }),
    }
}

fn sum_f32(values: &[f32], acc: &mut [f64], one: bool) {
    if one {
        let mut lanes = [0f32; 16];
        let chunks = values.chunks_exact(16);
        let rest: f64 = chunks.remainder().iter().map(|&v| f64::from(v)).sum();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(l, &v)| *l += v);
        }
        acc[0] += lanes.iter().map(|&l| f64::from(l)).sum::<f64>() + rest;
    } else {
        acc.iter_mut().zip(values).for_each(|(a, &v)| *a += f64::from(v));
    }
}

type Sinks<'a> = Vec<(usize, Sink<'a>)>;

impl Context<'_, '_> {
    /// Goes through elements once, for the reductions of a pass.
    fn reduce(
        &self,
        pass: usize,
        d: Range<usize>,
        rows: &RowValues,
        count: usize,
        sinks: &Sinks<'_>,
        at: usize,
    ) -> Result<Vec<Accumulator>> {
        let reductions = self.row.reductions(&self.levels, pass);
        let goals: Vec<ValueId> = reductions.iter().map(|&(_, _, x)| x).collect();
        let wanted = self.row.needed(&goals, &self.domains);
        let new =
            |&(_, kind, x): &(ValueId, ReduceKind, ValueId)| Accumulator::new(kind, self.env.types[x], count);
        let mut accumulators: Vec<Accumulator> = reductions.iter().map(new).collect();
        let mut regs = Registers::new(self.env.types);
        for start in d.clone().step_by(BLOCK) {
            let block = Block { start, n: BLOCK.min(d.end - start), domain: Domain::Full };
            self.env.run(
                &wanted,
                block,
                &mut regs,
                Around { rows: Some(rows), sinks, sink_start: at, acc: None },
            )?;
            for (acc, &(_, _, x)) in accumulators.iter_mut().zip(&reductions) {
                acc.take(self.env.lane(x, block, &regs), self.map, start, block.n, rows.first);
            }
        }
        Ok(accumulators)
    }

    /// Enters the results of a pass.
    fn enter(&self, pass: usize, accumulators: Vec<Accumulator>, rows: &mut RowValues) {
        for ((v, _, _), acc) in self.row.reductions(&self.levels, pass).into_iter().zip(accumulators) {
            rows.values[v] = Some(acc.finish());
        }
    }

    /// Evaluates the row values of a level for `count` rows.
    fn row_values(&self, level: usize, rows: &mut RowValues, count: usize) -> Result<()> {
        let insts = &self.env.program.insts;
        for (v, inst) in insts.iter().enumerate() {
            let plain = matches!(inst, Inst::Reduce { .. } | Inst::Const { .. } | Inst::Scalar { .. });
            if self.domains[v] != Domain::Row || self.levels[v] != level || plain {
                continue;
            }
            let operands: Vec<ValueId> = match inst {
                Inst::Call { args, .. } => args.to_vec(),
                Inst::Cast { x, .. } => vec![*x],
                _ => Vec::new(),
            };
            let mut regs = Registers::new(self.env.types);
            let mut out = Lanes::of(self.env.types[v], 0);
            for start in (0..count).step_by(BLOCK) {
                let n = BLOCK.min(count - start);
                let block = Block { start: rows.first + start, n, domain: Domain::Row };
                for &operand in &operands {
                    match &rows.values[operand] {
                        Some(known) => regs.set(operand, known, start, n),
                        None => self.env.run(&[operand], block, &mut regs, Around::default())?,
                    }
                }
                self.env.run(&[v], block, &mut regs, Around::default())?;
                out.append(self.env.lane(v, block, &regs));
            }
            rows.values[v] = Some(out);
        }
        Ok(())
    }

    /// Evaluates and stores full values.
    fn store(&self, d: Range<usize>, rows: &RowValues, sinks: &mut Sinks<'_>, at: usize) -> Result<()> {
        let full = |arg: usize| sinks.iter().any(|(k, _)| *k == arg);
        let stores: Vec<_> = self.env.program.stores.iter().filter(|s| full(s.arg)).collect();
        let goals: Vec<ValueId> = stores.iter().map(|s| s.value).collect();
        let wanted = self.row.needed(&goals, &self.domains);
        let mut regs = Registers::new(self.env.types);
        for start in d.clone().step_by(BLOCK) {
            let block = Block { start, n: BLOCK.min(d.end - start), domain: Domain::Full };
            self.env.run(
                &wanted,
                block,
                &mut regs,
                Around { rows: Some(rows), sinks, sink_start: at, acc: None },
            )?;
            for store in &stores {
                let lane = self.env.lane(store.value, block, &regs);
                if let Some((_, sink)) = sinks.iter_mut().find(|(k, _)| *k == store.arg) {
                    sink.store(start - at, lane);
                }
            }
        }
        Ok(())
    }

    /// Stores row values.
    fn store_rows(&self, rows: &RowValues, count: usize, sinks: &mut Sinks<'_>) -> Result<()> {
        for store in &self.env.program.stores {
            let Some((_, sink)) = sinks.iter_mut().find(|(k, _)| *k == store.arg) else { continue };
            match &rows.values[store.value] {
                Some(values) => sink.store(0, values.lane()),
                None => {
                    // A constant.
                    let mut regs = Registers::new(self.env.types);
                    let block = Block { start: rows.first, n: count, domain: Domain::Row };
                    self.env.run(&[store.value], block, &mut regs, Around::default())?;
                    sink.store(0, self.env.lane(store.value, block, &regs));
                }
            }
        }
        Ok(())
    }

    fn fresh(&self, first: usize) -> RowValues {
        RowValues { first, values: vec![None; self.env.program.insts.len()] }
    }

    fn top(&self) -> usize {
        self.levels.iter().copied().max().unwrap_or(0)
    }
}

pub(super) fn run(row: &Row, mut run: CpuRun<'_>) -> Result<()> {
    let scalars = run.scalars;
    let mut arguments = take(&mut run, &row.args, 0)?;
    let types = row.program.types(&row.args);
    let map = row.row_map();
    let (rows, columns) = (row.rows(), row.columns());
    let domains = row.program.domains();
    let is_row = |arg: usize| {
        let value = row.program.stores.iter().find(|s| s.arg == arg).map(|s| s.value);
        row.args[arg].len == rows && value.is_some_and(|v| domains[v] == Domain::Row)
    };
    let all = std::mem::take(&mut arguments.sinks);
    let (row_sinks, full_sinks): (Sinks<'_>, Sinks<'_>) = all.into_iter().partition(|(arg, _)| is_row(*arg));
    let env = Env {
        program: &row.program,
        types: &types,
        sources: &arguments.sources,
        scalars,
        row_map: Some(&map),
    };
    let context = Context { row, env, levels: levels(&row.program), domains, map: &map };
    if rows == 0 {
        return Ok(());
    }
    let behind_one_another = row.part(true).shape.len() <= 1 && row.part(true).is_contiguous();
    if behind_one_another && columns > 0 && (rows >= 8 || rows * columns <= TASK) {
        return rows_apart(&context, rows, columns, row_sinks, full_sinks);
    }
    elements_in_order(&context, rows, rows * columns, row_sinks, full_sinks)
}

/// Rows behind one another: a few at a time.
fn rows_apart(
    context: &Context<'_, '_>,
    rows: usize,
    columns: usize,
    row_sinks: Sinks<'_>,
    full_sinks: Sinks<'_>,
) -> Result<()> {
    let tile = (TASK / columns).max(1);
    let mut of_rows = cut(row_sinks, tile);
    let mut of_full = cut(full_sinks, tile * columns);
    let count = rows.div_ceil(tile);
    of_rows.resize_with(count, Vec::new);
    of_full.resize_with(count, Vec::new);
    let tasks: Vec<_> = of_rows.into_iter().zip(of_full).enumerate().collect();
    for_each(tasks, |(k, (mut row_sinks, mut full_sinks))| {
        let first = k * tile;
        let here = tile.min(rows - first);
        let elements = first * columns..(first + here) * columns;
        let mut values = context.fresh(first);
        context.row_values(0, &mut values, here)?;
        for pass in 0..context.top() {
            let at = elements.start;
            let found = context.reduce(pass, elements.clone(), &values, here, &full_sinks, at)?;
            context.enter(pass, found, &mut values);
            context.row_values(pass + 1, &mut values, here)?;
        }
        context.store_rows(&values, here, &mut row_sinks)?;
        if full_sinks.is_empty() {
            return Ok(());
        }
        context.store(elements.clone(), &values, &mut full_sinks, elements.start)
    })
}

/// Rows that are scattered, few or empty: elements in the order of memory.
fn elements_in_order(
    context: &Context<'_, '_>,
    rows: usize,
    len: usize,
    mut row_sinks: Sinks<'_>,
    full_sinks: Sinks<'_>,
) -> Result<()> {
    let parts = (len / TASK).min(len / rows.max(1)).clamp(1, PARTS_MAX);
    let size = len.div_ceil(parts).max(1);
    let mut values = context.fresh(0);
    context.row_values(0, &mut values, rows)?;
    for pass in 0..context.top() {
        let mut found: Vec<Vec<Accumulator>> = vec![Vec::new(); parts];
        let tasks: Vec<_> = found.iter_mut().enumerate().collect();
        for_each(tasks, |(k, out)| {
            let elements = (k * size).min(len)..((k + 1) * size).min(len);
            *out = context.reduce(pass, elements, &values, rows, &full_sinks, 0)?;
            Ok(())
        })?;
        let mut found = found.into_iter();
        let mut sum = found.next().unwrap_or_default();
        for part in found {
            sum.iter_mut().zip(&part).for_each(|(a, b)| a.merge(b));
        }
        context.enter(pass, sum, &mut values);
        context.row_values(pass + 1, &mut values, rows)?;
    }
    context.store_rows(&values, rows, &mut row_sinks)?;
    if full_sinks.is_empty() || len == 0 {
        return Ok(());
    }
    let tasks: Vec<_> = cut(full_sinks, TASK).into_iter().enumerate().collect();
    for_each(tasks, |(k, mut sinks)| {
        let elements = k * TASK..((k + 1) * TASK).min(len);
        context.store(elements.clone(), &values, &mut sinks, elements.start)
    })
}
