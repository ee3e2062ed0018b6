//! Native matrix products.

use vorpal_tensor::Result;

use super::{MatMul, Operand};
use crate::gemm::{Gemm, Matrix};
use crate::interp;

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
}
