//! Native convolutions: windows laid out as columns of a matrix, a few rows of pixels at a time, then a product.

use std::borrow::Cow;
use std::ops::{AddAssign, Range};

use vorpal_tensor::Result;

use super::ConvShape;
use crate::gemm::{Gemm, Matrix};
use crate::interp::for_each;

/// An element type.
pub(super) trait Number: Copy + Default + AddAssign + Send + Sync {}
impl Number for f32 {}
impl Number for f64 {}

/// Elements of the columns made at a time: they should stay in the second cache.
const COLUMNS: usize = 1 << 16;

/// Filters with everything but some terms set to zero; `None` when all are wanted. `term` numbers them by
/// filter of the group and column.
pub(super) fn cut_filters<T: Number>(
    shape: &ConvShape,
    filters: &[T],
    term: impl Fn(usize, usize) -> usize,
    [first, count]: [usize; 2],
) -> Option<Vec<T>> {
    let columns = shape.channels * shape.window_len();
    let whole = first == 0 && (0..shape.filters).all(|f| (0..columns).all(|c| term(f, c) < count));
    if whole {
        return None;
    }
    let kept = |k: usize| (first..first + count).contains(&term(k / columns % shape.filters, k % columns));
    Some(
        filters[..shape.filters_len()]
            .iter()
            .enumerate()
            .map(|(k, &w)| if kept(k) { w } else { T::default() })
            .collect(),
    )
}

impl ConvShape {
    /// Whether windows are single pixels, so that images are their own columns.
    fn is_pointwise(&self) -> bool {
        self.window == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Rows of the result whose columns are made together.
    fn block(&self) -> usize {
        (COLUMNS / (self.channels * self.window_len() * self.output[1]).max(1))
            .clamp(1, self.output[0].max(1))
    }

    /// Input row (or column) under element `k` of the window at place `o`, if it is inside.
    fn under(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let at = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis])?;
        (at < self.input[axis]).then_some(at)
    }

    /// Places along the horizontal axis at which element `k` of the window is inside.
    fn inside(&self, k: usize) -> Range<usize> {
        let (stride, shift) = (self.stride[1], k * self.dilation[1]);
        let from = self.padding[1].saturating_sub(shift).div_ceil(stride);
        let to = (self.input[1] + self.padding[1]).saturating_sub(shift).div_ceil(stride).min(self.output[1]);
        from.min(to)..to
    }

    /// Calls `f(column, row of the block, input row, places, first input column)` for every stretch of windows.
    /// Input row `None` is outside.
    fn stretches(
        &self,
        rows: &Range<usize>,
        mut f: impl FnMut(usize, usize, Option<usize>, Range<usize>, usize),
    ) {
        let (window, plane) = (self.window_len(), self.input_plane());
        for column in 0..self.channels * window {
            let (ky, kx) = (column % window / self.window[1], column % self.window[1]);
            let places = self.inside(kx);
            let first =
                (places.start * self.stride[1] + kx * self.dilation[1]).saturating_sub(self.padding[1]);
            for (row, oy) in rows.clone().enumerate() {
                let line = self.under(0, oy, ky).map(|iy| column / window * plane + iy * self.input[1]);
                f(column, row, line, places.clone(), first);
            }
        }
    }
}

/// The windows of some rows of one group of an image, `[channels · window, rows · ow]`.
fn columns<T: Number>(shape: &ConvShape, image: &[T], rows: &Range<usize>, out: &mut Vec<T>) {
    let width = shape.output[1];
    let pixels = rows.len() * width;
    out.resize(shape.channels * shape.window_len() * pixels, T::default());
    shape.stretches(rows, |column, row, line, places, first| {
        let out = &mut out[column * pixels + row * width..][..width];
        let Some(line) = line else { return out.fill(T::default()) };
        out[..places.start].fill(T::default());
        out[places.end..].fill(T::default());
        let from = &image[line..line + shape.input[1]];
        if places.is_empty() {
        } else if shape.stride[1] == 1 {
            out[places.clone()].copy_from_slice(&from[first..first + places.len()]);
        } else {
            let taken = from[first..].iter().step_by(shape.stride[1]);
            out[places].iter_mut().zip(taken).for_each(|(o, &x)| *o = x);
        }
    });
}

/// The adjoint of [`columns`]: adds columns back to the pixels they came from.
fn add_columns<T: Number>(shape: &ConvShape, columns: &[T], rows: &Range<usize>, image: &mut [T]) {
    let width = shape.output[1];
    let pixels = rows.len() * width;
    shape.stretches(rows, |column, row, line, places, first| {
        let Some(line) = line else { return };
        if places.is_empty() {
            return;
        }
        let from = &columns[column * pixels + row * width..][places];
        let to = image[line + first..line + shape.input[1]].iter_mut().step_by(shape.stride[1]);
        to.zip(from).for_each(|(o, &x)| *o += x);
    });
}

/// Calls `f(rows, columns, their matrix)` for blocks of rows of one group of an image.
fn blocks<T: Number>(
    shape: &ConvShape,
    image: &[T],
    mut f: impl FnMut(Range<usize>, &[T], Matrix) -> Result<()>,
) -> Result<()> {
    let mut buffer = Vec::new();
    let step = shape.block();
    for start in (0..shape.output[0]).step_by(step) {
        let rows = start..(start + step).min(shape.output[0]);
        let block: Cow<'_, [T]>;
        let matrix = if shape.is_pointwise() {
            block = Cow::Borrowed(image);
            let offset = (start * shape.output[1]) as isize;
            Matrix { offset, ..Matrix::rows_of(shape.input_plane()) }
        } else {
            columns(shape, image, &rows, &mut buffer);
            block = Cow::Borrowed(&buffer);
            Matrix::rows_of(rows.len() * shape.output[1])
        };
        f(rows, &block, matrix)?;
    }
    Ok(())
}

/// Whether the images are shared out whole; a few large ones are each shared by themselves.
fn many(shape: &ConvShape) -> bool {
    shape.batch * shape.groups >= 4
}

/// Runs tasks side by side if there are many of them.
fn each<T: Send>(many: bool, tasks: Vec<T>, f: impl Fn(T) -> Result<()> + Sync + Send) -> Result<()> {
    if many { for_each(tasks, f) } else { tasks.into_iter().try_for_each(f) }
}

pub(super) fn forward<T: Gemm + Number>(shape: &ConvShape, x: &[T], w: &[T], out: &mut [T]) -> Result<()> {
    let (of_image, of_result) = (shape.channels * shape.input_plane(), shape.filters * shape.output_plane());
    if out.is_empty() {
        return Ok(());
    }
    let k = shape.channels * shape.window_len();
    let tasks: Vec<_> = out.chunks_mut(of_result).enumerate().collect();
    each(many(shape), tasks, |(task, out)| {
        let image = &x[task * of_image..][..of_image];
        let filters = &w[task % shape.groups * shape.filters * k..][..shape.filters * k];
        blocks(shape, image, |rows, columns, matrix| {
            let sizes = [shape.filters, rows.len() * shape.output[1], k];
            let offset = (rows.start * shape.output[1]) as isize;
            let to = Matrix { offset, ..Matrix::rows_of(shape.output_plane()) };
            T::gemm(sizes, (out, to), (filters, Matrix::rows_of(k)), (columns, matrix), false, !many(shape))
        })
    })
}

pub(super) fn backward_data<T: Gemm + Number>(
    shape: &ConvShape,
    dy: &[T],
    w: &[T],
    out: &mut [T],
) -> Result<()> {
    let (of_image, of_result) = (shape.channels * shape.input_plane(), shape.filters * shape.output_plane());
    if out.is_empty() {
        return Ok(());
    }
    out.fill(T::default());
    let k = shape.channels * shape.window_len();
    let step = shape.block();
    let tasks: Vec<_> = out.chunks_mut(of_image).enumerate().collect();
    each(many(shape), tasks, |(task, image)| {
        let grads = &dy[task * of_result..][..of_result];
        let filters = &w[task % shape.groups * shape.filters * k..][..shape.filters * k];
        let transposed = Matrix { offset: 0, row_stride: 1, column_stride: k as isize };
        let mut columns = Vec::new();
        for start in (0..shape.output[0]).step_by(step) {
            let rows = start..(start + step).min(shape.output[0]);
            let pixels = rows.len() * shape.output[1];
            columns.resize(k * pixels, T::default());
            let offset = (start * shape.output[1]) as isize;
            let from = Matrix { offset, ..Matrix::rows_of(shape.output_plane()) };
            let to = Matrix::rows_of(pixels);
            T::gemm(
                [k, pixels, shape.filters],
                (&mut columns, to),
                (filters, transposed),
                (grads, from),
                false,
                !many(shape),
            )?;
            add_columns(shape, &columns, &rows, image);
        }
        Ok(())
    })
}

pub(super) fn backward_weight<T: Gemm + Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    out: &mut [T],
    splits: usize,
) -> Result<()> {
    let (of_image, of_result) = (shape.channels * shape.input_plane(), shape.filters * shape.output_plane());
    if out.is_empty() {
        return Ok(());
    }
    out.fill(T::default());
    let k = shape.channels * shape.window_len();
    let share = shape.batch.div_ceil(splits);
    let tasks: Vec<_> = out.chunks_mut(shape.filters_len()).enumerate().collect();
    each(splits >= 2, tasks, |(split, out)| {
        let images = (split * share).min(shape.batch)..((split + 1) * share).min(shape.batch);
        for task in images.start * shape.groups..images.end * shape.groups {
            let grads = &dy[task * of_result..][..of_result];
            let out = &mut out[task % shape.groups * shape.filters * k..][..shape.filters * k];
            blocks(shape, &x[task * of_image..][..of_image], |rows, columns, matrix| {
                let pixels = rows.len() * shape.output[1];
                let offset = (rows.start * shape.output[1]) as isize;
                let from = Matrix { offset, ..Matrix::rows_of(shape.output_plane()) };
                let transposed =
                    Matrix { row_stride: matrix.column_stride, column_stride: matrix.row_stride, ..matrix };
                let sizes = [shape.filters, k, pixels];
                let to = Matrix::rows_of(k);
                T::gemm(sizes, (out, to), (grads, from), (columns, transposed), true, splits < 2)
            })?;
        }
        Ok(())
    })
}
