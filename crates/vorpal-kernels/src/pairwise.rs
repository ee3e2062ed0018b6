//! Sums of powers of the differences of all rows of two matrices, and their derivatives, natively.
//!
//! They are made as matrix products are, a difference and its power in the place of a product: what is close keeps its digits,
//! which squares of lengths less twice a product would lose.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use smallvec::SmallVec;
use vorpal_shaders::Shader;
use vorpal_tensor::{DType, Error, Result};

use crate::interp::{for_each, workers};
use crate::linalg::Real;
use crate::scratch::Scratch;
use crate::vector::Number;
use crate::{Arg, Cost, CpuRun, Kernel};

/// Rows of a tile: with two vectors each, twelve of sixteen registers.
const TALL: usize = 6;
/// Terms that are added up before the result is touched, so that what they are made of fits the first cache.
const DEPTH: usize = 256;
/// Columns of a task at most, whose rows a task lays out for itself.
const WIDE: usize = 512;
/// Tasks for every core, so that one that was late does not hold up all.
const TASKS_A_CORE: usize = 4;

/// What becomes of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Its absolute value.
    Absolute,
    /// Its square.
    Square,
}

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairwisePass {
    /// From `a [batch, n, d]` and `b [batch, m, d]`: `out[i, j] = Σₖ |a[i, k] − b[j, k]|ᵖ`.
    Sums,
    /// From weights `w [batch, n, m]`, `a` and `b` the derivative of `Σ w[i, j] out[i, j]` by `a`, or by `b`.
    Slopes {
        /// Whether it is the one by `b`.
        by_second: bool,
    },
}

/// One of these on gapless operands of f32 or f64. Native code alone.
#[derive(Clone, Debug)]
pub struct Pairwise {
    /// Matrices, rows of the first and of the second, columns.
    sizes: [usize; 4],
    power: Power,
    pass: PairwisePass,
    dtype: DType,
    offsets: SmallVec<[usize; 3]>,
}

impl Pairwise {
    /// `sizes` are those of the batch, n, m and d; operands start at `offsets` of their buffers.
    pub fn new(
        sizes: [usize; 4],
        power: Power,
        pass: PairwisePass,
        dtype: DType,
        offsets: &[usize],
    ) -> Pairwise {
        Pairwise { sizes, power, pass, dtype, offsets: offsets.into() }
    }

    /// Elements of the operands, and of the result.
    fn lens(&self) -> (SmallVec<[usize; 3]>, usize) {
        let [batch, n, m, d] = self.sizes;
        let (a, b, w) = (batch * n * d, batch * m * d, batch * n * m);
        match self.pass {
            PairwisePass::Sums => (SmallVec::from_slice(&[a, b]), w),
            PairwisePass::Slopes { by_second } => {
                (SmallVec::from_slice(&[w, a, b]), if by_second { b } else { a })
            }
        }
    }

    fn native<T: Real + Number>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (lens, _) = self.lens();
        let mut operands: SmallVec<[&[T]; 3]> = SmallVec::new();
        for (k, (&offset, len)) in self.offsets.iter().zip(lens).enumerate() {
            operands.push(&run.read::<T>(k)?[offset..offset + len]);
        }
        let out = run.write::<T>(operands.len())?;
        match (self.pass, &operands[..]) {
            (PairwisePass::Sums, &[a, b]) => self.sums(a, b, out),
            (PairwisePass::Slopes { by_second }, &[w, a, b]) => self.slopes(w, a, b, by_second, out),
            _ => Err(Error::internal(self.name(), format!("{} operands", operands.len()))),
        }
    }

    fn sums<T: Number>(&self, a: &[T], b: &[T], out: &mut [T]) -> Result<()> {
        let [_, n, m, d] = self.sizes;
        if out.is_empty() {
            return Ok(());
        }
        let rows = rows_of_a_task(n, out.len() / m * m.div_ceil(WIDE));
        let mut tasks: Vec<Sums<'_, '_, T>> = Vec::new();
        for (k, matrix) in out.chunks_exact_mut(n * m).enumerate() {
            let (a, b) = (&a[k * n * d..][..n * d], &b[k * m * d..][..m * d]);
            for (block, lines) in matrix.chunks_mut(rows * m).enumerate() {
                let first = tasks.len();
                tasks.extend((0..m).step_by(WIDE).map(|start| {
                    let columns = start..(start + WIDE).min(m);
                    let a = &a[block * rows * d..];
                    Sums { power: self.power, d, a, b, columns, out: SmallVec::new() }
                }));
                for line in lines.chunks_exact_mut(m) {
                    tasks[first..].iter_mut().zip(line.chunks_mut(WIDE)).for_each(|(t, o)| t.out.push(o));
                }
            }
        }
        for_each(tasks, |task| {
            Arch::new().dispatch(task);
            Ok(())
        })
    }

    fn slopes<T: Real + Number>(
        &self,
        w: &[T],
        a: &[T],
        b: &[T],
        by_second: bool,
        out: &mut [T],
    ) -> Result<()> {
        let [_, n, m, d] = self.sizes;
        if out.is_empty() {
            return Ok(());
        }
        let (mine, others) = if by_second { (m, n) } else { (n, m) };
        let rows = rows_of_a_task(mine, out.len() / d);
        let mut tasks: Vec<Slopes<'_, '_, T>> = Vec::new();
        for (k, matrix) in out.chunks_exact_mut(mine * d).enumerate() {
            let (w, a, b) = (&w[k * n * m..][..n * m], &a[k * n * d..][..n * d], &b[k * m * d..][..m * d]);
            let (x, y) = if by_second { (b, a) } else { (a, b) };
            tasks.extend(matrix.chunks_mut(rows * d).enumerate().map(|(block, out)| Slopes {
                power: self.power,
                d,
                w,
                // From one of its rows to the next, and from one of the others to the next.
                strides: if by_second { [1, m] } else { [m, 1] },
                first: block * rows,
                x: &x[block * rows * d..],
                y,
                others,
                out,
            }));
        }
        for_each(tasks, |task| {
            Arch::new().dispatch(task);
            Ok(())
        })
    }
}

/// Rows of a task, of `n` in a matrix and `all` that there are.
fn rows_of_a_task(n: usize, all: usize) -> usize {
    all.div_ceil(workers() * TASKS_A_CORE).next_multiple_of(TALL).clamp(TALL, n.next_multiple_of(TALL))
}

/// Some sums of a matrix: those of the first rows of `a` with some rows of `b`.
struct Sums<'o, 'a, T> {
    power: Power,
    d: usize,
    a: &'a [T],
    b: &'a [T],
    columns: Range<usize>,
    /// Row by row.
    out: SmallVec<[&'o mut [T]; 8]>,
}

impl<T: Number> WithSimd for Sums<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        match self.power {
            Power::Absolute => self.run(s, |sum, x| T::add(s, sum, T::abs(s, x))),
            Power::Square => self.run(s, |sum, x| T::mul_add(s, x, x, sum)),
        }
    }
}

impl<T: Number> Sums<'_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, add: impl Fn(T::Vector<S>, T::Vector<S>) -> T::Vector<S> + Copy) {
        let (d, wide) = (self.d, 2 * T::lanes::<S>());
        // Rows of `b` side by side, for each term.
        let mut panel = Scratch::<T>::new(DEPTH * wide);
        for start in (0..d.max(1)).step_by(DEPTH) {
            let depth = DEPTH.min(d - start);
            for column in (0..self.columns.len()).step_by(wide) {
                let count = wide.min(self.columns.len() - column);
                let rows = self.b[(self.columns.start + column) * d..].chunks_exact(d.max(1)).take(count);
                for (k, row) in rows.enumerate() {
                    let places = panel[k..].iter_mut().step_by(wide);
                    places.zip(&row[start..start + depth]).for_each(|(place, &x)| *place = x);
                }
                let panel = &panel[..depth * wide];
                for (block, out) in self.out.chunks_mut(TALL).enumerate() {
                    let line = |row: usize| &self.a[(block * TALL + row) * d + start..][..depth];
                    match out.len() {
                        TALL => {
                            let lines = std::array::from_fn(line);
                            let sums = tile::<T, S, TALL>(s, lines, panel, add);
                            for (out, sums) in out.iter_mut().zip(sums) {
                                put::<T, S>(s, &mut out[column..column + count], sums, start > 0);
                            }
                        }
                        _ => {
                            for (row, out) in out.iter_mut().enumerate() {
                                let [sums] = tile::<T, S, 1>(s, [line(row)], panel, add);
                                put::<T, S>(s, &mut out[column..column + count], sums, start > 0);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Sums for some lines and all columns of a panel.
#[inline(always)]
fn tile<T: Number, S: Simd, const R: usize>(
    s: S,
    lines: [&[T]; R],
    panel: &[T],
    add: impl Fn(T::Vector<S>, T::Vector<S>) -> T::Vector<S>,
) -> [[T::Vector<S>; 2]; R] {
    let lanes = T::lanes::<S>();
    let zero = T::splat(s, T::default());
    let mut sums = [[zero; 2]; R];
    for (k, b) in panel.chunks_exact(2 * lanes).enumerate() {
        let (left, right) = (T::load::<S>(b, 0), T::load::<S>(b, lanes));
        for (sum, line) in sums.iter_mut().zip(&lines) {
            let x = T::splat(s, line[k]);
            *sum = [add(sum[0], T::sub(s, x, left)), add(sum[1], T::sub(s, x, right))];
        }
    }
    sums
}

/// Stores as many numbers as there is room for, added to what is there if `more`.
#[inline(always)]
fn put<T: Number, S: Simd>(s: S, out: &mut [T], numbers: [T::Vector<S>; 2], more: bool) {
    for (out, numbers) in out.chunks_mut(T::lanes::<S>()).zip(numbers) {
        let numbers = if more { T::add(s, numbers, take::<T, S>(s, out)) } else { numbers };
        if out.len() == T::lanes::<S>() { T::store(out, numbers) } else { T::store_some(s, out, numbers) }
    }
}

/// As many numbers as there are, zeros behind them.
#[inline(always)]
fn take<T: Number, S: Simd>(s: S, from: &[T]) -> T::Vector<S> {
    if from.len() == T::lanes::<S>() { T::load::<S>(from, 0) } else { T::load_some(s, from) }
}

/// Derivatives by some rows `x`, from their differences to all rows `y`.
struct Slopes<'o, 'a, T> {
    power: Power,
    d: usize,
    w: &'a [T],
    strides: [usize; 2],
    /// The first row.
    first: usize,
    x: &'a [T],
    y: &'a [T],
    others: usize,
    out: &'o mut [T],
}

impl<T: Real + Number> WithSimd for Slopes<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        match self.power {
            Power::Absolute => {
                let one = T::splat(s, T::ONE);
                self.run(s, |sum, w, x| T::mul_add(s, w, T::signed(s, one, x), sum));
            }
            Power::Square => {
                self.run(s, |sum, w, x| T::mul_add(s, w, x, sum));
                self.out.iter_mut().for_each(|slope| *slope *= T::whole(2));
            }
        }
    }
}

impl<T: Number> Slopes<'_, '_, T> {
    #[inline(always)]
    fn run<S: Simd>(
        &mut self,
        s: S,
        add: impl Fn(T::Vector<S>, T::Vector<S>, T::Vector<S>) -> T::Vector<S> + Copy,
    ) {
        let (d, lanes) = (self.d, T::lanes::<S>());
        for start in (0..self.others.max(1)).step_by(DEPTH) {
            let others = start..self.others.min(start + DEPTH);
            for column in (0..d).step_by(lanes) {
                let columns = column..(column + lanes).min(d);
                let mut row = 0;
                while row * d < self.out.len() {
                    let left = self.out.len() / d - row;
                    if left >= TALL {
                        self.rows::<S, TALL>(s, row, &columns, &others, add);
                        row += TALL;
                    } else {
                        self.rows::<S, 1>(s, row, &columns, &others, add);
                        row += 1;
                    }
                }
            }
        }
    }

    /// Some columns of some rows, from the differences to some other rows.
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &mut self,
        s: S,
        row: usize,
        columns: &Range<usize>,
        others: &Range<usize>,
        add: impl Fn(T::Vector<S>, T::Vector<S>, T::Vector<S>) -> T::Vector<S>,
    ) {
        let (d, [down, along]) = (self.d, self.strides);
        let place = |row: usize| row * d + columns.start..row * d + columns.end;
        let zero = T::splat(s, T::default());
        let x: [T::Vector<S>; R] = std::array::from_fn(|k| take::<T, S>(s, &self.x[place(row + k)]));
        let weights: [&[T]; R] =
            std::array::from_fn(|k| self.w.get((self.first + row + k) * down..).unwrap_or_default());
        let mut sums = [zero; R];
        for other in others.clone() {
            let y = take::<T, S>(s, &self.y[place(other)]);
            for ((sum, x), w) in sums.iter_mut().zip(x).zip(weights) {
                *sum = add(*sum, T::splat(s, w[other * along]), T::sub(s, x, y));
            }
        }
        for (k, sum) in sums.into_iter().enumerate() {
            put::<T, S>(s, &mut self.out[place(row + k)], [sum, zero], others.start > 0);
        }
    }
}

impl Kernel for Pairwise {
    fn name(&self) -> &'static str {
        "pairwise"
    }

    fn describe(&self) -> String {
        let [batch, n, m, d] = self.sizes;
        let what = match self.pass {
            PairwisePass::Sums => "differences",
            PairwisePass::Slopes { by_second: false } => "slopes by the first",
            PairwisePass::Slopes { by_second: true } => "slopes by the second",
        };
        format!("pairwise {what} {batch}×[{n}×{d}, {m}×{d}]")
    }

    fn args(&self) -> Vec<Arg> {
        let (lens, out) = self.lens();
        let read = |(offset, len): (&usize, usize)| Arg::read(self.dtype, offset + len);
        self.offsets.iter().zip(lens).map(read).chain([Arg::write(self.dtype, out)]).collect()
    }

    fn shader(&self) -> Result<Shader> {
        Err(Error::internal("pairwise", format!("{} has no shader", self.describe())))
    }

    fn groups(&self) -> [u32; 3] {
        [0; 3]
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let (lens, out) = self.lens();
        let moved = lens.iter().sum::<usize>() + out;
        let [batch, n, m, d] = self.sizes.map(|size| size as u64);
        Cost { flops: 3 * batch * n * m * d, bytes: self.dtype.bytes(moved) as u64 }
    }
}
