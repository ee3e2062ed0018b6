//! Cholesky factors.

use std::ops::Range;

use vorpal_shaders::{CHOLESKY, Shader};
use vorpal_tensor::{DType, Fault, Result};

use super::recursive::{NARROW, Panel, copied, middle, negated};
use super::{MatrixShape, Real, cut, each, lanes, link};
use crate::gemm::{Gemm, Matrix};
use crate::interp::workers;
use crate::lane::vectorized;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// L with L Lᵀ = A of symmetric matrices, of which the lower triangle is read. Matrices that are not positive definite
/// are reported by number.
#[derive(Clone, Debug)]
pub struct Cholesky {
    shape: MatrixShape,
    steps: Range<usize>,
    dtype: DType,
    offset: usize,
}

impl Cholesky {
    /// The whole factorisation of square matrices of `dtype` (f32; natively f64, too) that start at `offset`: launches
    /// to run one after the other, each on the result of the one before. The native body takes all at once.
    pub fn launches(shape: MatrixShape, dtype: DType, offset: usize, native: bool) -> Vec<Cholesky> {
        let n = shape.rows;
        let lanes = lanes(n * n);
        let pieces = if native {
            cut(n, 0, |_| 0)
        } else {
            cut(n, 2 * (n * n).div_ceil(lanes) + n, |k| (n - k - 1).pow(2).div_ceil(lanes) + 1)
        };
        let of = |steps: Range<usize>| {
            let offset = if steps.start == 0 { offset } else { 0 };
            Cholesky { shape, steps, dtype, offset }
        };
        pieces.into_iter().map(of).collect()
    }

    fn native<T: Real + Gemm>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (n, size) = (self.shape.rows, self.shape.size());
        if self.shape.batch * size == 0 {
            return Ok(());
        }
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        let steps = &self.steps;
        let tasks: Vec<(&mut [T], &[T])> = out.chunks_mut(size).zip(x.chunks(size)).collect();
        let parallel = self.shape.batch < workers();
        each(run, self.fault(), tasks, |(out, x)| {
            for i in 0..n {
                out[i * n..=i * n + i].copy_from_slice(&x[i * n..=i * n + i]);
                out[i * n + i + 1..(i + 1) * n].fill(T::ZERO);
            }
            if !factor(out, n, steps.clone(), parallel)? {
                return Ok(false);
            }
            // Launches of an adapter leave the columns behind to the next.
            take(out, n, steps.clone(), steps.end..n, parallel)?;
            (0..n).for_each(|i| out[i * n + i + 1..(i + 1) * n].fill(T::ZERO));
            Ok(true)
        })
    }
}

/// Some columns of the factor, from which those before were taken. Whether what is under a root is positive.
fn factor<T: Real + Gemm>(matrix: &mut [T], n: usize, columns: Range<usize>, parallel: bool) -> Result<bool> {
    if columns.len() > NARROW {
        let mid = middle(&columns);
        if !factor(matrix, n, columns.start..mid, parallel)? {
            return Ok(false);
        }
        take(matrix, n, columns.start..mid, mid..columns.end, parallel)?;
        return factor(matrix, n, mid..columns.end, parallel);
    }
    let mut panel = Panel::new(matrix, n, columns.clone());
    let is_positive = vectorized(
        #[inline(always)]
        || factor_panel(&mut panel.rows, columns.len()),
    );
    panel.store(matrix, n);
    Ok(is_positive)
}

/// The columns of a panel, one after the other.
#[inline(always)]
fn factor_panel<T: Real>(rows: &mut [[T; NARROW]], count: usize) -> bool {
    for j in 0..count {
        let pivot = rows[j][j];
        let positive = pivot > T::ZERO;
        if !positive {
            return false;
        }
        let root = pivot.root();
        rows[j][j] = root;
        let mut column = [T::ZERO; NARROW];
        for (i, row) in rows.iter_mut().enumerate().skip(j + 1) {
            row[j] /= root;
            let scale = row[j];
            if i < NARROW {
                column[i] = scale;
            }
            // Those that are not known yet are above the diagonal.
            for (o, &c) in row.iter_mut().zip(&column) {
                *o -= scale * c;
            }
        }
    }
    true
}

/// Takes from other columns, in the rows from the first of them on, what the columns `done` of the factor are there. What is
/// above the diagonal is of no use then.
fn take<T: Real + Gemm>(
    matrix: &mut [T],
    n: usize,
    done: Range<usize>,
    columns: Range<usize>,
    parallel: bool,
) -> Result<()> {
    let place = Matrix::rows_of(n);
    let (taken, side) = negated(matrix, place, columns.start..n, done.clone());
    let across = copied(matrix, n, columns.clone(), done.clone());
    let sizes = [n - columns.start, columns.len(), done.len()];
    let out = Matrix { offset: place.place(columns.start, columns.start) as isize, ..place };
    T::gemm(sizes, (matrix, out), (&taken, side), (&across, side.transposed()), true, parallel)
}

impl Kernel for Cholesky {
    fn name(&self) -> &'static str {
        "cholesky"
    }

    fn describe(&self) -> String {
        let MatrixShape { batch, rows, .. } = self.shape;
        format!("cholesky {batch} of {rows}×{rows}, steps {:?}", self.steps)
    }

    fn args(&self) -> Vec<Arg> {
        let len = self.shape.batch * self.shape.size();
        vec![Arg::read(self.dtype, self.offset + len), Arg::write(self.dtype, len)]
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn fault(&self) -> Option<Fault> {
        Some(Fault::Value { what: "matrix", problem: "of the batch is not positive definite" })
    }

    fn shader(&self) -> Result<Shader> {
        Ok(link(CHOLESKY, self.shape, &self.steps, self.offset, lanes(self.shape.size()))?.finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(if self.shape.size() == 0 { 0 } else { self.shape.batch })
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let MatrixShape { batch, rows, .. } = self.shape;
        let flops: usize = self.steps.clone().map(|k| (rows - k - 1).pow(2)).sum();
        let bytes = 2 * self.dtype.bytes(batch * self.shape.size());
        Cost { flops: (batch * flops) as u64, bytes: bytes as u64 }
    }
}
