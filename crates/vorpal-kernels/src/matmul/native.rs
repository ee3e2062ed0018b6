//! Native matrix products.

use vorpal_tensor::Result;

use super::{MatMul, Operand};
use crate::gemm::{Gemm, Matrix};
use crate::interp;

/// Pieces of a long result of one row or column.
const PIECES: usize = 8;
/// Elements of a piece at least, where the matrix is read a part of a row at a time: two pages of memory, which is what
/// processors read ahead of …
const RUN_MIN: usize = 2048;
/// … and where it is read by whole rows or columns.
const PIECE_MIN: usize = 64;

impl MatMul {
    /// The products of all batches, without what comes after.
    pub(super) fn native<T: Gemm>(&self, a: &[T], b: &[T], out: &mut [T]) -> Result<()> {
        let [m, n, _] = self.sizes;
        let (one, rows) = (m * n, Matrix::rows_of(n));
        if one == 0 {
            return Ok(());
        }
        let shift = |operand: &Operand, index: usize| {
            let (i, j) = ((index / self.batch[1]) as isize, (index % self.batch[1]) as isize);
            let offset = operand.matrix.offset + i * operand.batch[0] + j * operand.batch[1];
            Matrix { offset, ..operand.matrix }
        };
        if self.batches() == 1 && m.min(n) == 1 {
            return self.native_vector(a, b, out);
        }
        // Many small products are shared out whole, few large ones each by itself.
        let many = self.batches() >= 4;
        let product = |index: usize, out: &mut [T]| {
            T::gemm(
                self.sizes,
                (out, rows),
                (a, shift(&self.a, index)),
                (b, shift(&self.b, index)),
                false,
                !many,
            )
        };
        let tasks: Vec<(usize, &mut [T])> = out.chunks_mut(one).enumerate().collect();
        if many {
            interp::for_each(tasks, |(index, out)| product(index, out))
        } else {
            tasks.into_iter().try_for_each(|(index, out)| product(index, out))
        }
    }

    /// A matrix times a vector, on either side, in a few pieces: the matrix is read once, which takes all memory can give.
    fn native_vector<T: Gemm>(&self, a: &[T], b: &[T], out: &mut [T]) -> Result<()> {
        let [m, _, k] = self.sizes;
        let (of_a, of_b) = (self.a.matrix, self.b.matrix);
        let in_runs = if m == 1 { of_b.column_stride == 1 } else { of_a.row_stride == 1 };
        let least = if in_runs { RUN_MIN } else { PIECE_MIN };
        let piece = out.len().div_ceil(PIECES).max(least).next_multiple_of(PIECE_MIN);
        let tasks = out.chunks_mut(piece).enumerate().collect();
        interp::for_each(tasks, |(task, out): (usize, &mut [T])| {
            let (len, start) = (out.len(), (task * piece) as isize);
            if m == 1 {
                let of_b = Matrix { offset: of_b.offset + start * of_b.column_stride, ..of_b };
                return T::gemm([1, len, k], (out, Matrix::rows_of(len)), (a, of_a), (b, of_b), false, false);
            }
            let of_a = Matrix { offset: of_a.offset + start * of_a.row_stride, ..of_a };
            T::gemm([len, 1, k], (out, Matrix::rows_of(1)), (a, of_a), (b, of_b), false, false)
        })
    }
}
