//! Native matrix products.

use vorpal_tensor::{Error, Result};

use super::{MatMul, Operand};
use crate::gemm::{Gemm, Matrix};
use crate::interp;
use crate::lane::vectorized;

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
        // A row with a matrix, or a column with its transpose.
        let (row, of_row, matrix, of_matrix) =
            if m == 1 { (a, of_a, b, of_b) } else { (b, of_b.transposed(), a, of_a.transposed()) };
        interp::for_each(tasks, |(task, out): (usize, &mut [T])| {
            let (len, start) = (out.len(), (task * piece) as isize);
            let of_matrix =
                Matrix { offset: of_matrix.offset + start * of_matrix.column_stride, ..of_matrix };
            if in_runs {
                return rows_times([k, len], out, (row, of_row), (matrix, of_matrix));
            }
            if m == 1 {
                let to = Matrix::rows_of(len);
                return T::gemm([1, len, k], (out, to), (row, of_row), (matrix, of_matrix), false, false);
            }
            let (left, right) = ((matrix, of_matrix.transposed()), (row, of_row.transposed()));
            T::gemm([len, 1, k], (out, Matrix::rows_of(1)), left, right, false, false)
        })
    }
}

/// Rows of a matrix that are read side by side: so many streams of memory a processor reads ahead of.
const ROWS: usize = 8;
/// Columns whose sums stay in registers meanwhile.
const COLUMNS: usize = 64;

/// The sum of `k` rows of a matrix, each as often as an element of a row says. Rows lie without gaps.
fn rows_times<T: Gemm>(
    [k, columns]: [usize; 2],
    out: &mut [T],
    (row, of_row): (&[T], Matrix),
    (matrix, of_matrix): (&[T], Matrix),
) -> Result<()> {
    let outside =
        || Error::internal("matmul", format!("a row times {k}×{columns} reaches outside of its buffers"));
    let times = |i: usize| row.get(of_row.place(0, i)).copied().ok_or_else(outside);
    let line = |i: usize| {
        matrix.get(of_matrix.place(i, 0)..).and_then(|rest| rest.get(..columns)).ok_or_else(outside)
    };
    out.fill(T::default());
    for first in (0..k).step_by(ROWS) {
        let count = ROWS.min(k - first);
        let (mut factors, mut lines) = ([T::default(); ROWS], [&[][..]; ROWS]);
        for i in 0..count {
            (factors[i], lines[i]) = (times(first + i)?, line(first + i)?);
        }
        let terms = (&factors[..count], &lines[..count]);
        vectorized(
            #[inline(always)]
            || add_rows(terms, out),
        );
    }
    Ok(())
}

/// Adds lines, each as often as its factor says.
#[inline(always)]
fn add_rows<T: Gemm>((factors, lines): (&[T], &[&[T]]), out: &mut [T]) {
    let (chunks, rest) = out.as_chunks_mut::<COLUMNS>();
    let done = chunks.len() * COLUMNS;
    for (c, out) in chunks.iter_mut().enumerate() {
        let mut sums = *out;
        for (&factor, line) in factors.iter().zip(lines) {
            for (sum, &x) in sums.iter_mut().zip(&line[c * COLUMNS..(c + 1) * COLUMNS]) {
                *sum += factor * x;
            }
        }
        *out = sums;
    }
    for (&factor, line) in factors.iter().zip(lines) {
        for (sum, &x) in rest.iter_mut().zip(&line[done..]) {
            *sum += factor * x;
        }
    }
}
