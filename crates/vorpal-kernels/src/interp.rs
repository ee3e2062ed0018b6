//! Native evaluation of fused programs, block by block.
//!
//! Values of a block live in registers of up to [`BLOCK`] elements that stay in the first caches;
//! operands that lie in memory in the right order and type are used where they are, results are made where they
//! belong.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use smallvec::SmallVec;
use vorpal_tensor::{DType, Error, Layout, Result};

pub(crate) use crate::arguments::{Arguments, Piece, Sink, Source, take};
use crate::arguments::{copy, cut, gather, load, place};
use crate::chain::{error_gate, exp_difference, normalize};
use crate::fold::{deviation_rows, dot_rows, fold_rows};
use crate::halves::{round_to_bf16, shorten_f16};
use crate::lane::alike;
use crate::scratch::Scratch;
use crate::standardize::NUMBERS;
use crate::stream::{Ahead, LINE, call_for};
use crate::tape::{Action, Calls, Class, Home, Operand, Scope, Step, Tape};
use crate::{Arg, CpuRun, Lane, LaneElement, LaneMut, Lanes, Program};

/// Elements of a block where nothing speaks for another number.
pub(crate) const BLOCK: usize = 1024;

/// Elements of a block of whole rows: what is between their passes is done for more rows at a time.
const ROWS_BLOCK: usize = 4 * BLOCK;

/// Bytes that the registers of a block may take together where an operand is turned: a part of a second cache.
const TURNED_BYTES: usize = 512 << 10;

/// Elements of a task: small enough to share, large enough to be worth it.
pub(crate) const TASK: usize = 16 * BLOCK;

/// Bytes that the registers of a block may take together: half of a first cache.
const REGISTER_BYTES: usize = 16 << 10;

/// Work of a task in passes over an element, some ten microseconds: less is not worth sharing.
const TASK_WORK: usize = 1 << 16;

/// Most tasks of a run: enough for cores that are not equally fast, few enough that what is done once for a task does
/// not count.
const TASKS_MAX: usize = 64;

/// Runs tasks, on all cores where the feature `parallel` is on. The first error wins.
pub(crate) fn for_each<T: Send>(tasks: Vec<T>, f: impl Fn(T) -> Result<()> + Sync + Send) -> Result<()> {
    #[cfg(feature = "parallel")]
    if tasks.len() > 1 {
        use std::sync::{Mutex, PoisonError};
        let tasks: Vec<Mutex<Option<T>>> = tasks.into_iter().map(|task| Mutex::new(Some(task))).collect();
        return shared_out(tasks.len(), &|k| {
            let task = tasks[k].lock().unwrap_or_else(PoisonError::into_inner).take();
            task.map_or(Ok(()), &f)
        });
    }
    tasks.into_iter().try_for_each(f)
}

/// Calls `f` with every number below `n`, on all cores. It is no generic function since what it stands on is large, and
/// callers are many: each would have a copy compiled.
#[cfg(feature = "parallel")]
fn shared_out(n: usize, f: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    use rayon::prelude::*;
    (0..n).into_par_iter().try_for_each(f)
}

/// How many threads take shares of work.
pub(crate) fn workers() -> usize {
    #[cfg(feature = "parallel")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "parallel"))]
    1
}

/// Runs `f` where it can share out work at little cost: on one of the threads that take shares, while the others stay awake.
/// A thread from outside falls asleep every time it shares something out, and to wake a thread takes as long as many a kernel.
#[cfg(feature = "parallel")]
pub fn among_workers<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    use std::sync::atomic::{AtomicBool, Ordering};
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        for _ in 1..workers() {
            scope.spawn(|_| {
                let mut idle = 0;
                while idle < IDLE && !done.load(Ordering::Relaxed) {
                    if rayon::yield_now() == Some(rayon::Yield::Executed) {
                        idle = 0;
                    } else {
                        // Whoever else needs the core has it.
                        std::thread::yield_now();
                        idle += 1;
                    }
                }
            });
        }
        let result = f();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// How often a worker looks for work in vain before it may fall asleep.
#[cfg(feature = "parallel")]
const IDLE: u32 = 2_000;

/// Runs `f` where work is shared out: here, as there are no threads.
#[cfg(not(feature = "parallel"))]
pub fn among_workers<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// A stretch of elements with their rows: linear indices of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub start: usize,
    pub n: usize,
    pub row: usize,
    pub rows: usize,
}

impl Block {
    /// The linear indices of a class.
    fn range(&self, class: Class) -> (usize, usize) {
        match class {
            Class::Uniform => (0, 1),
            Class::Row => (self.row, self.rows),
            Class::Full => (self.start, self.n),
        }
    }
}

/// A tape with what it reads.
#[derive(Clone, Copy)]
pub(crate) struct Bound<'t, 'a> {
    pub tape: &'t Tape,
    pub sources: &'t [Option<Source<'a>>],
    pub scalars: &'t [f64],
    /// Row values known before, by value, from row `first_row` on.
    pub given: &'t [Option<Lanes>],
    pub first_row: usize,
    /// Map from linear index to place in those, for spreading them.
    pub map: Option<&'t Layout>,
    /// Results that are read as they were.
    pub reread: &'t [Piece<'a>],
}

/// Where registers lie in the words of a thread, one behind the other.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    /// First register and size of a register by class, in words.
    first: [usize; 3],
    size: [usize; 3],
    /// Of those with an element each the first ones, which are as long as a row, and their size.
    of_a_row: [usize; 2],
}

impl Geometry {
    fn range(&self, class: Class, register: usize) -> Range<usize> {
        let (first, size, [short, length]) =
            (self.first[class as usize], self.size[class as usize], self.of_a_row);
        match class {
            Class::Full if register < short => first + register * length..first + (register + 1) * length,
            Class::Full => {
                let start = first + short * length + (register - short) * size;
                start..start + size
            }
            _ => first + register * size..first + (register + 1) * size,
        }
    }
}

/// Registers of one thread.
pub(crate) struct Registers {
    words: Scratch<u64>,
    geometry: Geometry,
}

impl Registers {
    /// Registers for blocks of up to `n` elements and `rows` rows.
    pub fn new(tape: &Tape, n: usize, rows: usize) -> Registers {
        // A line more, so that the same places of two registers do not fall on one place of the cache.
        let words = |elements: usize| (elements * tape.width).div_ceil(64) * 8 + 8;
        let size = [1, words(rows), words(n)];
        let of_a_row = tape.row_kept().map_or([0, 0], |columns| [tape.kept, words(columns)]);
        let [short, length] = of_a_row;
        // The largest come first, so that they start where lines of the cache do if the first does.
        let full = size[2] * (tape.registers[2] - short) + length * short;
        let row = size[1] * tape.registers[1];
        let words = Scratch::new(full + row + tape.registers[0]);
        let geometry = Geometry { first: [full + row, full, 0], size, of_a_row };
        Registers { words, geometry }
    }
}

/// `n` elements of a register.
#[inline(always)]
fn lane_of(words: &[u64], dtype: DType, n: usize) -> Lane<'_> {
    match dtype.compute() {
        DType::F64 => Lane::F64(&bytemuck::cast_slice(words)[..n]),
        DType::I64 => Lane::I64(&bytemuck::cast_slice(words)[..n]),
        DType::I32 => Lane::I32(&bytemuck::cast_slice(words)[..n]),
        DType::U32 | DType::Bool => Lane::U32(&bytemuck::cast_slice(words)[..n]),
        DType::I8 => Lane::I8(&bytemuck::cast_slice(words)[..n]),
        DType::U8 => Lane::U8(&bytemuck::cast_slice(words)[..n]),
        DType::F32 | DType::F16 | DType::BF16 => Lane::F32(&bytemuck::cast_slice(words)[..n]),
    }
}

/// `n` elements of a register to fill.
fn lane_mut_of(words: &mut [u64], dtype: DType, n: usize) -> LaneMut<'_> {
    match dtype.compute() {
        DType::F64 => LaneMut::F64(&mut bytemuck::cast_slice_mut(words)[..n]),
        DType::I64 => LaneMut::I64(&mut bytemuck::cast_slice_mut(words)[..n]),
        DType::I32 => LaneMut::I32(&mut bytemuck::cast_slice_mut(words)[..n]),
        DType::U32 | DType::Bool => LaneMut::U32(&mut bytemuck::cast_slice_mut(words)[..n]),
        DType::I8 => LaneMut::I8(&mut bytemuck::cast_slice_mut(words)[..n]),
        DType::U8 => LaneMut::U8(&mut bytemuck::cast_slice_mut(words)[..n]),
        DType::F32 | DType::F16 | DType::BF16 => LaneMut::F32(&mut bytemuck::cast_slice_mut(words)[..n]),
    }
}

/// What can be read while a value is made: everything but its own place.
struct View<'v, 'a> {
    bound: &'v Bound<'v, 'a>,
    block: &'v Block,
    /// Results, but for the one that is written.
    pieces: [&'v [Piece<'a>]; 2],
    geometry: &'v Geometry,
    /// Words before and behind those that are written, and where the latter end.
    before: &'v [u64],
    after: &'v [u64],
    end: usize,
}

impl<'v> View<'v, '_> {
    /// An operand. It is no [`Result`], whose error is so large that it would go through memory: what is read there just
    /// after it was written waits for all that was written before.
    #[inline(always)]
    fn find(&self, x: &Operand) -> Option<Lane<'v>> {
        let (start, n) = self.block.range(x.class);
        match x.home {
            Home::Register(register) => {
                let range = self.geometry.range(x.class, register);
                let n = if self.bound.tape.is_kept(x) { self.bound.tape.row_kept().unwrap_or(n) } else { n };
                let words = if range.start < self.end {
                    self.before.get(range)?
                } else {
                    self.after.get(range.start - self.end..range.end - self.end)?
                };
                Some(lane_of(words, x.dtype, n))
            }
            Home::Source { arg, offset } => match self.bound.sources[arg] {
                Some(source) => source.lane(offset + start, n),
                None => self.bound.reread.iter().find(|piece| piece.arg == arg)?.lane(offset + start, n),
            },
            Home::Sink(arg) => self.pieces.into_iter().flatten().find(|p| p.arg == arg)?.lane(start, n),
            Home::Given(v) => {
                self.bound.given[v].as_ref()?.lane().part(start.checked_sub(self.bound.first_row)?, n)
            }
        }
    }

    #[inline(always)]
    fn lane(&self, x: &Operand) -> Result<Lane<'v>> {
        self.find(x).ok_or_else(no_operand)
    }

    /// Makes a value.
    fn make(&self, step: &Step, mut out: LaneMut<'_>) -> Result<()> {
        let (start, n) = self.block.range(step.out.class);
        match &step.action {
            Action::Constant(value) => out.splat(*value),
            Action::Scalar(index) => out.splat(self.bound.scalars[*index]),
            Action::Load { arg, layout, fill } => match self.bound.sources[*arg] {
                Some(source) => load(source, layout, start, Some(*fill), out),
                // It lies as it is written: one behind the other.
                None => piece([self.bound.reread, &[]], *arg)?.load(start, out),
            },
            Action::Joined(windows) => {
                for (arg, layout) in &**windows {
                    let source = self.bound.sources[*arg].ok_or_else(no_operand)?;
                    load(source, layout, start, None, out.part(0, n).ok_or_else(no_operand)?);
                }
            }
            Action::Reload(arg) => piece(self.pieces, *arg)?.load(start, out),
            Action::Place(layout) => place(layout, start, out),
            Action::Call { f, operands } => self.call(operands, step.out.class, out, f.cpu)?,
            Action::Pair { pair, operands } => {
                self.call(operands, step.out.class, out, |operands, out| pair.run(operands, out))?;
            }
            Action::Normalize(operands) => self.call(operands, step.out.class, out, normalize)?,
            Action::ErrorGate(operands) => self.call(operands, step.out.class, out, error_gate)?,
            Action::Standardize { how, operands } => {
                let &[x, weight, bias, ref numbers @ ..] = &operands[..] else { return Err(no_operand()) };
                let mut known = [0.0; NUMBERS];
                for (known, number) in known.iter_mut().zip(numbers) {
                    *known = f32::of(self.lane(number)?).first().copied().ok_or_else(no_operand)?;
                }
                let rows =
                    [f32::of(self.lane(&x)?), f32::of(self.lane(&weight)?), f32::of(self.lane(&bias)?)];
                how.run(rows, &known, self.tape_columns(), f32::of_mut(out));
            }
            Action::ExpDifference { operands, calls } => {
                let mut ahead = self.called_for(calls);
                let f = |operands: &[Lane<'_>], out: LaneMut<'_>| exp_difference(operands, out, &mut ahead);
                self.call(operands, step.out.class, out, f)?;
            }
            Action::Deviation(operands) => {
                deviation_rows(self.lane(&operands[0])?, self.lane(&operands[1])?, self.tape_columns(), out);
            }
            Action::Dot(operands) => {
                dot_rows(self.lane(&operands[0])?, self.lane(&operands[1])?, self.tape_columns(), out);
            }
            Action::Cast { x, from, to } => convert(self.lane(x)?, *from, *to, out),
            Action::Reduce { kind, x } => fold_rows(*kind, self.lane(x)?, self.tape_columns(), out),
            Action::Spread(x) => self.spread(x, start, out)?,
            Action::Copy(x) | Action::Stream { x, .. } => {
                alike!((self.lane(x)?, out), Lane, LaneMut, (v, o) => o.copy_from_slice(v); _ => {})
            }
        }
        Ok(())
    }

    /// Calls a function of whole blocks, or row by row where an operand is one for each.
    fn call(
        &self,
        operands: &[Operand],
        class: Class,
        mut out: LaneMut<'_>,
        mut f: impl FnMut(&[Lane<'_>], LaneMut<'_>),
    ) -> Result<()> {
        let mut whole = [Lane::U8(&[]); 5];
        for (lane, x) in whole.iter_mut().zip(operands) {
            match self.find(x) {
                Some(found) => *lane = found,
                None => return Err(no_operand()),
            }
        }
        if class != Class::Full || operands.iter().all(|x| x.class != Class::Row) {
            f(&whole[..operands.len()], out);
            return Ok(());
        }
        // Only floats stand for their rows.
        let (columns, values) = (self.tape_columns(), whole.map(f32::of));
        let missing = || Error::internal("interp", "a row is not there");
        for row in 0..self.block.rows {
            let here = row * columns..(row + 1) * columns;
            let mut lanes = [Lane::F32(&[]); 5];
            for ((lane, values), x) in lanes.iter_mut().zip(values).zip(operands) {
                let range = match x.class {
                    Class::Uniform => 0..1,
                    Class::Row => row..row + 1,
                    // The first row stays in the cache.
                    Class::Full if self.bound.tape.is_kept(x) => 0..columns,
                    Class::Full => here.clone(),
                };
                *lane = Lane::F32(values.get(range).ok_or_else(missing)?);
            }
            let out = match &mut out {
                LaneMut::F32(out) => out.get_mut(here).map(LaneMut::F32),
                out => out.part(row * columns, columns),
            };
            f(&lanes[..operands.len()], out.ok_or_else(missing)?);
        }
        Ok(())
    }

    /// What the next block will read of an argument.
    fn ahead(&self, what: Option<(usize, usize)>) -> Lane<'v> {
        let Block { start, n, .. } = *self.block;
        let next = what.and_then(|(arg, offset)| self.bound.sources[arg]?.lane(offset + start + n, n));
        next.unwrap_or(Lane::F32(&[]))
    }

    /// What a step calls for.
    fn called_for(&self, calls: &Calls) -> Ahead<'v> {
        let Block { start, n, .. } = *self.block;
        let written = |arg| self.pieces.into_iter().flatten().find(|p| p.arg == arg)?.lane(start, n);
        let sink = calls.sink.and_then(written).unwrap_or(Lane::F32(&[]));
        Ahead::new([self.ahead(calls.source), sink].map(f32::of))
    }

    fn tape_columns(&self) -> usize {
        self.bound.tape.columns.unwrap_or(1)
    }

    /// A value once more for every element that shares it.
    fn spread(&self, x: &Operand, start: usize, out: LaneMut<'_>) -> Result<()> {
        if x.class == Class::Uniform {
            alike!((self.lane(x)?, out), Lane, LaneMut, (v, o) => o.fill(v[0]); _ => {});
        } else if let (Home::Given(v), Some(map)) = (x.home, self.bound.map) {
            let known = self.bound.given[v].as_ref().map(Lanes::lane);
            let known = known.ok_or_else(|| Error::internal("interp", "a row value is not there"))?;
            alike!((known, out), Lane, LaneMut, (s, o) => gather(map, start, s, o, Some(Default::default()), (|x| x, copy));
                _ => {});
        } else {
            let columns = self.tape_columns();
            alike!((self.lane(x)?, out), Lane, LaneMut,
                (v, o) => o.chunks_exact_mut(columns).zip(v).for_each(|(o, &v)| o.fill(v)); _ => {});
        }
        Ok(())
    }
}

#[cold]
fn no_operand() -> Error {
    Error::internal("interp", "an operand is not there")
}

/// The piece of a result.
fn piece<'p, 'a>(pieces: [&'p [Piece<'a>]; 2], arg: usize) -> Result<&'p Piece<'a>> {
    let missing = || Error::internal("interp", format!("result {arg} is not there"));
    pieces.into_iter().flatten().find(|p| p.arg == arg).ok_or_else(missing)
}

impl<'t, 'a> Bound<'t, 'a> {
    /// Makes the values of a list of steps.
    fn steps(
        &self,
        steps: &[Step],
        block: &Block,
        registers: &mut Registers,
        pieces: &mut [Piece<'a>],
    ) -> Result<()> {
        let geometry = &registers.geometry;
        for step in steps {
            let (start, n) = block.range(step.out.class);
            match step.out.home {
                Home::Register(register) => {
                    let range = geometry.range(step.out.class, register);
                    let (before, rest) = registers.words.split_at_mut(range.start);
                    let (own, after) = rest.split_at_mut(range.end - range.start);
                    let pieces = [&*pieces, &[]];
                    let view = View { bound: self, block, pieces, geometry, before, after, end: range.end };
                    view.make(step, lane_mut_of(own, step.out.dtype, n))?;
                }
                Home::Sink(arg) => {
                    let missing = || Error::internal("interp", format!("result {arg} is not there"));
                    let at = pieces.iter().position(|p| p.arg == arg).ok_or_else(missing)?;
                    let (others, rest) = pieces.split_at_mut(at);
                    let (own, more) = rest.split_first_mut().ok_or_else(missing)?;
                    let (from, pieces) = (start - own.start, [&*others, &*more]);
                    let (before, after) = (&registers.words[..], &[][..]);
                    let view = View { bound: self, block, pieces, geometry, before, after, end: usize::MAX };
                    match &step.action {
                        Action::Copy(x) if own.sink.is_short() => own.sink.store(from, view.lane(x)?),
                        Action::Stream { x, ahead } => {
                            own.sink.stream(from, view.lane(x)?, view.ahead(*ahead))
                        }
                        _ => view.make(step, own.sink.lane_mut(from, n).ok_or_else(missing)?)?,
                    }
                }
                Home::Source { .. } | Home::Given(_) => {}
            }
        }
        Ok(())
    }

    /// What is done once for a thread, for blocks of up to the size of one.
    pub fn begin(&self, n: usize, rows: usize) -> Result<Registers> {
        let mut registers = Registers::new(self.tape, n, rows);
        let n = self.tape.row_kept().unwrap_or(n);
        self.steps(&self.tape.once, &Block { start: 0, n, row: 0, rows }, &mut registers, &mut [])?;
        Ok(registers)
    }

    /// Evaluates a block and writes its results.
    pub fn block(&self, block: &Block, registers: &mut Registers, pieces: &mut [Piece<'a>]) -> Result<()> {
        let steps = &self.tape.steps;
        if self.tape.reloaded.is_empty() {
            return self.steps(steps, block, registers, pieces);
        }
        for (k, step) in steps.iter().enumerate() {
            self.call_for_next(block, [k, steps.len()], pieces);
            self.steps(std::slice::from_ref(step), block, registers, pieces)?;
        }
        Ok(())
    }

    /// Calls for part `k` of `of` of what the next block copies from its results before it writes them. Those are many pieces
    /// of memory, each so short that a processor does not notice by itself what comes next.
    fn call_for_next(&self, block: &Block, [k, of]: [usize; 2], pieces: &[Piece<'a>]) {
        let next = block.start + block.n;
        for piece in pieces.iter().filter(|piece| self.tape.reloaded.contains(&piece.arg)) {
            let (from, to) = (next + block.n * k / of, next + block.n * (k + 1) / of);
            if let Some(Lane::F32(x)) = piece.lane(from, to - from) {
                call_for(x);
            }
        }
    }

    /// Goal number `k` of a block that was evaluated.
    pub fn goal<'r>(&'r self, k: usize, block: &'r Block, registers: &'r Registers) -> Result<Lane<'r>> {
        let (before, after) = (&registers.words[..], &[][..]);
        let (geometry, pieces) = (&registers.geometry, [&[][..]; 2]);
        View { bound: self, block, pieces, geometry, before, after, end: usize::MAX }
            .lane(&self.tape.goals[k])
    }

    /// Evaluates elements `start..start + n`, or where blocks are rows those of rows, on this thread. The pieces hold
    /// at least these elements of the results.
    pub fn apply(&self, start: usize, n: usize, pieces: &mut [Piece<'a>]) -> Result<()> {
        let columns = self.tape.columns;
        let size = self.tape.block_len();
        let step = columns.map_or(size, |c| (size / c).max(1)).min(n.max(1));
        let per = columns.unwrap_or(1);
        let mut registers = self.begin(step * per, step)?;
        for at in (start..start + n).step_by(step) {
            let here = step.min(start + n - at);
            let block = Block { start: at * per, n: here * per, row: at, rows: here };
            self.block(&block, &mut registers, pieces)?;
        }
        Ok(())
    }

    /// Evaluates some elements or rows, on all cores where it is worth it.
    pub fn run(&self, range: Range<usize>, mut pieces: SmallVec<[Piece<'a>; 4]>) -> Result<()> {
        let (n, per) = (range.len(), self.tape.columns.unwrap_or(1));
        let step = (TASK_WORK / self.tape.weight.max(1)).max(BLOCK).next_multiple_of(BLOCK);
        let step = if self.tape.columns.is_some() { (step / per).max(1) } else { step };
        if n <= step {
            return self.apply(range.start, n, &mut pieces);
        }
        let step = step.max(n.div_ceil(TASKS_MAX));
        let tasks: Vec<_> = cut(pieces, step, per).into_iter().enumerate().collect();
        for_each(tasks, |(k, mut pieces)| {
            self.apply(range.start + k * step, step.min(n - k * step), &mut pieces)
        })
    }
}

impl Tape {
    /// Whether a value is made once, every row of it the same.
    fn is_kept(&self, x: &Operand) -> bool {
        matches!(x.home, Home::Register(k) if x.class == Class::Full && k < self.kept)
    }

    /// Columns, where of values that are made once there is but one row.
    fn row_kept(&self) -> Option<usize> {
        self.columns.filter(|_| self.kept_once)
    }

    /// Elements of a block whose registers fit the cache. Rows that one step alone goes over, where they are read and written,
    /// need no blocks but for their row values.
    fn block_len(&self) -> usize {
        let in_place =
            self.registers[Class::Full as usize] == self.kept && (self.kept == 0 || self.kept_once);
        if let (Some(columns), true, 0..=1) = (self.columns, in_place, self.passes) {
            return columns.saturating_mul(ROWS_BLOCK);
        }
        let all = self.registers[Class::Full as usize];
        // A block of as many lines as a line of the caches holds elements reads all of what it fetches.
        let turned = self.steps.iter().filter_map(Step::turned_line).max().map_or(0, |line| LINE * line);
        if self.columns.is_none() && (1..=TURNED_BYTES).contains(&(turned * all.max(1) * self.width)) {
            return turned.max(2 * BLOCK);
        }
        // What is done for each row of a block costs more than what is read again from the second cache.
        let (registers, most) = match self.columns {
            Some(_) => (all - self.kept, ROWS_BLOCK),
            None => (all, 2 * BLOCK),
        };
        (REGISTER_BYTES / (registers.max(1) * self.width) / 64 * 64).clamp(BLOCK / 4, most)
    }
}

impl Step {
    /// Elements of a line of what it loads, where those lie apart and the same elements of other lines beside each other.
    fn turned_line(&self) -> Option<usize> {
        let Action::Load { layout, .. } = &self.action else { return None };
        let [.., outer, inner] = layout.strides[..] else { return None };
        let [.., lines, line] = layout.shape[..] else { return None };
        (outer == 1 && inner > 1 && lines.min(line) >= LINE && layout.bounds.is_empty()).then_some(line)
    }
}

/// Conversion as Rust's `as`: floats to integers truncate and saturate, integers to integers wrap; anything to `Bool`
/// is `!= 0`.
fn convert(x: Lane<'_>, from: DType, to: DType, mut out: LaneMut<'_>) {
    macro_rules! from_to {
        ($x:ident, |$e:ident| $value:expr, $($variant:ident $ty:ty),*) => {
            match &mut out {
                LaneMut::U32(o) if to == DType::Bool => {
                    o.iter_mut().zip($x).for_each(|(o, &$e)| *o = u32::from($value != Default::default()));
                }
                $(LaneMut::$variant(o) => o.iter_mut().zip($x).for_each(|(o, &$e)| *o = $value as $ty),)*
            }
        };
        ($x:ident, |$e:ident| $value:expr) => {
            from_to!($x, |$e| $value, F64 f64, F32 f32, I64 i64, I32 i32, U32 u32, I8 i8, U8 u8)
        };
    }
    match x {
        Lane::F64(x) => from_to!(x, |e| e),
        Lane::F32(x) => from_to!(x, |e| e),
        Lane::I64(x) => from_to!(x, |e| e),
        Lane::I32(x) => from_to!(x, |e| e),
        // Any word but 0 is true.
        Lane::U32(x) if from == DType::Bool => from_to!(x, |e| u8::from(e != 0)),
        Lane::U32(x) => from_to!(x, |e| e),
        Lane::I8(x) => from_to!(x, |e| e),
        Lane::U8(x) => from_to!(x, |e| e),
    }
    if let LaneMut::F32(o) = out {
        round(o, to);
    }
}

/// Rounds to what 16 bits hold.
fn round(values: &mut [f32], to: DType) {
    match to {
        DType::F16 => {
            let mut short = [f16::ZERO; 64];
            for values in values.chunks_mut(short.len()) {
                let short = &mut short[..values.len()];
                shorten_f16(values, short);
                short.convert_to_f32_slice(values);
            }
        }
        DType::BF16 => round_to_bf16(values),
        _ => {}
    }
}

/// The tape of a pointwise program. `acc` names the argument that holds the accumulators of an epilogue.
pub(crate) fn pointwise_tape(program: &Program, args: &[Arg], acc: Option<usize>) -> Tape {
    let stores = program.stores.iter().map(|&store| (store, Class::Full)).collect();
    Tape::new(program, args, &Scope { stores, acc, ..Scope::default() })
}

/// Evaluates the tapes of the parts of a pointwise program.
pub(crate) fn pointwise(tapes: &[(Range<usize>, Tape)], args: &[Arg], run: &mut CpuRun<'_>) -> Result<()> {
    if tapes.is_empty() {
        return Ok(());
    }
    let scalars = run.scalars;
    let arguments = take(run, args, 0)?;
    let mut rest = Piece::all(arguments.sinks, Class::Full);
    let mut tasks = Vec::with_capacity(tapes.len());
    for (range, tape) in tapes {
        let (here, more) = rest.into_iter().map(|piece| piece.split_at(range.len())).unzip();
        rest = more;
        tasks.push((range, tape, here));
    }
    let run = |(range, tape, here): (&Range<usize>, &Tape, _)| {
        bound(tape, &arguments.sources, scalars).run(range.clone(), here)
    };
    match tapes.iter().map(|(range, tape)| range.len() * tape.weight.max(1)).sum::<usize>() {
        ..TASK_WORK => tasks.into_iter().try_for_each(run),
        _ => for_each(tasks, run),
    }
}

/// A pointwise tape with what it reads.
pub(crate) fn bound<'t, 'a>(
    tape: &'t Tape,
    sources: &'t [Option<Source<'a>>],
    scalars: &'t [f64],
) -> Bound<'t, 'a> {
    Bound { tape, sources, scalars, given: &[], first_row: 0, map: None, reread: &[] }
}

/// Evaluates the epilogue of a kernel over the `len` elements of its result, on arguments taken before.
pub(crate) fn pointwise_on(tape: &Tape, len: usize, arguments: Arguments<'_>, scalars: &[f64]) -> Result<()> {
    bound(tape, &arguments.sources, scalars).run(0..len, Piece::all(arguments.sinks, Class::Full))
}
