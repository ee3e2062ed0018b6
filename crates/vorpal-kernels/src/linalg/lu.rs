//! LU factors with partial pivoting.

use std::ops::Range;

use vorpal_shaders::{LU, Shader};
use vorpal_tensor::{DType, Result};

use super::{MatrixShape, Real, cut, each, lanes, link, two_rows};
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

    fn native<T: Real>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (n, size) = (self.shape.rows, self.shape.size());
        if self.shape.batch * size == 0 {
            return Ok(());
        }
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        let step = if self.steps.start == 0 { size } else { self.result() };
        let tasks: Vec<(&mut [T], &[T])> = out.chunks_mut(self.result()).zip(x.chunks(step)).collect();
        each(run, None, tasks, |(out, x)| {
            out[..step].copy_from_slice(x);
            let (matrix, rows) = out.split_at_mut(size);
            if self.steps.start == 0 {
                (0..n).for_each(|i| rows[i] = T::whole(i));
                rows[n..].fill(T::ONE);
            }
            for k in self.steps.clone() {
                eliminate(matrix, rows, n, k);
            }
            for i in 0..n {
                if let Some(from) = (0..n).find(|&r| rows[r] == T::whole(i)) {
                    rows[n + i] = T::whole(from);
                }
            }
            true
        })
    }
}

/// Step k: exchanges rows, and subtracts row k from those below.
fn eliminate<T: Real>(matrix: &mut [T], rows: &mut [T], n: usize, k: usize) {
    let mut pivot = k;
    for i in k + 1..n {
        if matrix[i * n + k].size() > matrix[pivot * n + k].size() {
            pivot = i;
        }
    }
    if pivot != k {
        let (a, b) = two_rows(matrix, n, k, pivot);
        a.swap_with_slice(b);
        rows.swap(k, pivot);
        rows[2 * n] = -rows[2 * n];
    }
    let divisor = matrix[k * n + k];
    if divisor == T::ZERO {
        return;
    }
    for i in k + 1..n {
        let (row, top) = two_rows(matrix, n, i, k);
        row[k] /= divisor;
        let factor = row[k];
        for (o, &t) in row[k + 1..].iter_mut().zip(&top[k + 1..]) {
            *o -= factor * t;
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
