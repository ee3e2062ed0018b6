//! LU factors with partial pivoting.

use std::ops::Range;

use vorpal_shaders::{LU, Shader};
use vorpal_tensor::{DType, Result};

use super::recursive::{self, NARROW, Panel, Triangle, copied, middle, negated};
use super::{MatrixShape, Real, cut, each, lanes, link, two_rows};
use crate::gemm::{Gemm, Matrix};
use crate::interp::workers;
use crate::lane::vectorized;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Factors of square matrices with rows exchanged: the unit lower and the upper one share n rows; in three more follow,
/// as floats, the row of the matrix that each row of the factors was, the inverse of this permutation, and its sign in
/// the first column. A singular matrix leaves a 0 on the diagonal of the upper factor.
#[derive(Clone, Debug)]
pub struct Lu {
    shape: MatrixShape,
    steps: Range<usize>,
    dtype: DType,
    offset: usize,
}

impl Lu {
    /// Rows of the result behind those of the factors.
    pub const ROWS_MORE: usize = 3;

    /// The whole factorisation of square matrices of `dtype` (f32; natively f64, too) that start at `offset`: launches
    /// to run one after the other, each on the result of the one before. The native body takes all at once.
    pub fn launches(shape: MatrixShape, dtype: DType, offset: usize, native: bool) -> Vec<Lu> {
        let n = shape.rows;
        let lanes = lanes(n * n);
        let pieces = if native {
            cut(n, 0, |_| 0)
        } else {
            let fixed = 2 * ((n + Lu::ROWS_MORE) * n).div_ceil(lanes) + n;
            cut(n, fixed, |k| (n - k - 1).pow(2).div_ceil(lanes) + 2 * n.div_ceil(lanes) + 12)
        };
        let of = |steps: Range<usize>| {
            let offset = if steps.start == 0 { offset } else { 0 };
            Lu { shape, steps, dtype, offset }
        };
        pieces.into_iter().map(of).collect()
    }

    fn result(&self) -> usize {
        (self.shape.rows + Lu::ROWS_MORE) * self.shape.columns
    }

    fn native<T: Real + Gemm>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (n, size) = (self.shape.rows, self.shape.size());
        if self.shape.batch * size == 0 {
            return Ok(());
        }
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        let step = if self.steps.start == 0 { size } else { self.result() };
        let tasks: Vec<(&mut [T], &[T])> = out.chunks_mut(self.result()).zip(x.chunks(step)).collect();
        let parallel = self.shape.batch < workers();
        each(run, None, tasks, |(out, x)| {
            out[..step].copy_from_slice(x);
            let (matrix, rows) = out.split_at_mut(size);
            if self.steps.start == 0 {
                (0..n).for_each(|i| rows[i] = T::whole(i));
                rows[n..].fill(T::ONE);
            }
            factor(matrix, rows, n, self.steps.clone(), parallel)?;
            // Launches of an adapter leave the columns behind to the next.
            take(matrix, n, self.steps.clone(), self.steps.end..n, parallel)?;
            for i in 0..n {
                if let Some(from) = (0..n).find(|&r| rows[r] == T::whole(i)) {
                    rows[n + i] = T::whole(from);
                }
            }
            Ok(true)
        })
    }
}

/// Some columns of the factors, from which those before were taken.
fn factor<T: Real + Gemm>(
    matrix: &mut [T],
    rows: &mut [T],
    n: usize,
    columns: Range<usize>,
    parallel: bool,
) -> Result<()> {
    if columns.len() <= NARROW {
        factor_narrow(matrix, rows, n, columns);
        return Ok(());
    }
    let mid = middle(&columns);
    factor(matrix, rows, n, columns.start..mid, parallel)?;
    take(matrix, n, columns.start..mid, mid..columns.end, parallel)?;
    factor(matrix, rows, n, mid..columns.end, parallel)
}

/// Finds the rows of the upper factor that belong to the steps `done` in other columns, and takes from the rows below what they
/// are there.
fn take<T: Real + Gemm>(
    matrix: &mut [T],
    n: usize,
    done: Range<usize>,
    columns: Range<usize>,
    parallel: bool,
) -> Result<()> {
    if done.is_empty() || columns.is_empty() {
        return Ok(());
    }
    let (first, count) = (done.start, done.len());
    let lower = copied(matrix, n, done.clone(), done.clone());
    let triangle = Triangle { entries: &lower, place: Matrix::rows_of(count), lower: true, unit: true };
    let below = negated(matrix, Matrix::rows_of(n), done.end..n, done);
    let x = &mut matrix[first * n..];
    triangle.solve(0..count, x, n, columns.clone(), parallel)?;
    recursive::take(&below, [0..count, count..n - first], x, n, columns, parallel)
}

/// The same of few columns, one after the other.
fn factor_narrow<T: Real>(matrix: &mut [T], rows: &mut [T], n: usize, columns: Range<usize>) {
    let mut panel = Panel::new(matrix, n, columns.clone());
    vectorized(
        #[inline(always)]
        || eliminate(matrix, rows, n, columns, &mut panel.rows),
    );
    panel.store(matrix, n);
}

/// The columns of a panel, which are those of the matrix. Its rows are exchanged as those of the panel are.
#[inline(always)]
fn eliminate<T: Real>(
    matrix: &mut [T],
    rows: &mut [T],
    n: usize,
    columns: Range<usize>,
    panel: &mut [[T; NARROW]],
) {
    for (j, k) in columns.enumerate() {
        let mut pivot = j;
        for (i, row) in panel.iter().enumerate().skip(j + 1) {
            if row[j].size() > panel[pivot][j].size() {
                pivot = i;
            }
        }
        if pivot != j {
            panel.swap(pivot, j);
            let pivot = k - j + pivot;
            let (a, b) = two_rows(matrix, n, k, pivot);
            a.swap_with_slice(b);
            rows.swap(k, pivot);
            rows[2 * n] = -rows[2 * n];
        }
        let (top, below) = panel.split_at_mut(j + 1);
        let mut top = top[j];
        let divisor = top[j];
        if divisor == T::ZERO {
            continue;
        }
        // What is in front stays as it is.
        top[..=j].fill(T::ZERO);
        for row in below {
            row[j] /= divisor;
            let factor = row[j];
            for (o, &t) in row.iter_mut().zip(&top) {
                *o -= factor * t;
            }
        }
    }
}

impl Kernel for Lu {
    fn name(&self) -> &'static str {
        "lu"
    }

    fn describe(&self) -> String {
        let MatrixShape { batch, rows, .. } = self.shape;
        format!("lu {batch} of {rows}×{rows}, steps {:?}", self.steps)
    }

    fn args(&self) -> Vec<Arg> {
        let read = if self.steps.start == 0 { self.shape.size() } else { self.result() };
        vec![
            Arg::read(self.dtype, self.offset + self.shape.batch * read),
            Arg::write(self.dtype, self.shape.batch * self.result()),
        ]
    }

    fn shader(&self) -> Result<Shader> {
        Ok(link(LU, self.shape, &self.steps, self.offset, lanes(self.shape.size()))?.finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(if self.shape.size() == 0 { 0 } else { self.shape.batch })
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let MatrixShape { batch, rows, .. } = self.shape;
        let flops: usize = self.steps.clone().map(|k| 2 * (rows - k - 1).pow(2)).sum();
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: (batch * flops) as u64, bytes: bytes as u64 }
    }
}
