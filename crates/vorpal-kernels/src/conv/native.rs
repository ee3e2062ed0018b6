//! Native convolutions: windows laid out as columns of a matrix, a few rows of pixels at a time, then a product.

use std::borrow::Cow;
use std::ops::{AddAssign, Mul, Range};

use vorpal_tensor::Result;

use super::ConvShape;
use crate::gemm::{Gemm, Matrix};
use crate::interp::for_each;

/// An element type.
pub(super) trait Number: Copy + Default + AddAssign + Mul<Output = Self> + Send + Sync {}
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

/// Products of a group (channels times filters) up to which they are not worth a matrix product.
const DIRECT_MAX: usize = 4;

/// A run of places of a window along a row of the result, under one element of it.
struct Stretch {
    /// Channel and element of the window.
    column: usize,
    /// Row of the result, counted from the first of those asked for.
    row: usize,
    /// Start of the row of the image; `None` outside of it.
    line: Option<usize>,
    /// Places at which the element is inside.
    places: Range<usize>,
    /// The pixel of the image's row at the first of them.
    first: usize,
}

impl ConvShape {
    /// Whether windows are single pixels, so that images are their own columns.
    fn is_pointwise(&self) -> bool {
        self.window == [1; 3] && self.stride == [1; 3] && self.padding == [0; 3] && self.input == self.output
    }

    /// Whether a group is so small, as where every channel has a filter of its own, that columns would take longer
    /// to make than the sums.
    fn is_direct(&self) -> bool {
        (1..=DIRECT_MAX).contains(&(self.channels * self.filters))
    }

    /// Rows of a plane of the result.
    fn rows(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Rows of the result whose columns are made together.
    fn block(&self) -> usize {
        (COLUMNS / (self.channels * self.window_len() * self.output[2]).max(1)).clamp(1, self.rows().max(1))
    }

    /// Input place under element `k` of the window at place `o` of an axis, if it is inside.
    fn under(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let at = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis])?;
        (at < self.input[axis]).then_some(at)
    }

    /// Places along the horizontal axis at which element `k` of the window is inside.
    fn inside(&self, k: usize) -> Range<usize> {
        let (stride, shift) = (self.stride[2], k * self.dilation[2]);
        let from = self.padding[2].saturating_sub(shift).div_ceil(stride);
        let to = (self.input[2] + self.padding[2]).saturating_sub(shift).div_ceil(stride).min(self.output[2]);
        from.min(to)..to
    }

    /// Calls `f` for every stretch of some rows of the result.
    fn stretches(&self, rows: &Range<usize>, mut f: impl FnMut(Stretch)) {
        let [_, ky_count, kx_count] = self.window;
        let (window, plane) = (self.window_len(), self.input_plane());
        for column in 0..self.channels * window {
            let (kz, ky) = (column % window / (ky_count * kx_count), column / kx_count % ky_count);
            let kx = column % kx_count;
            let places = self.inside(kx);
            let first =
                (places.start * self.stride[2] + kx * self.dilation[2]).saturating_sub(self.padding[2]);
            let (mut oz, mut oy) = (rows.start / self.output[1], rows.start % self.output[1]);
            let mut slice = self.under(0, oz, kz);
            for row in 0..rows.len() {
                let line = slice
                    .zip(self.under(1, oy, ky))
                    .map(|(iz, iy)| column / window * plane + (iz * self.input[1] + iy) * self.input[2]);
                f(Stretch { column, row, line, places: places.clone(), first });
                oy += 1;
                if oy == self.output[1] {
                    (oy, oz) = (0, oz + 1);
                    slice = self.under(0, oz, kz);
                }
            }
        }
    }
}

/// The windows of some rows of one group of an image, `[channels · window, rows · ow]`.
fn columns<T: Number>(shape: &ConvShape, image: &[T], rows: &Range<usize>, out: &mut Vec<T>) {
    let (width, stride) = (shape.output[2], shape.stride[2]);
    let pixels = rows.len() * width;
    out.resize(shape.channels * shape.window_len() * pixels, T::default());
    shape.stretches(rows, |Stretch { column, row, line, places, first }| {
        let out = &mut out[column * pixels + row * width..][..width];
        let Some(line) = line else { return out.fill(T::default()) };
        out[..places.start].fill(T::default());
        out[places.end..].fill(T::default());
        let from = &image[line..line + shape.input[2]];
        if places.is_empty() {
        } else if stride == 1 {
            out[places.clone()].copy_from_slice(&from[first..first + places.len()]);
        } else {
            let taken = from[first..].iter().step_by(stride);
            out[places].iter_mut().zip(taken).for_each(|(o, &x)| *o = x);
        }
    });
}

/// Adds `f` of some values to every `step`-th of others; neighbours by vector instructions.
fn add_stretch<T: Number>(to: &mut [T], step: usize, from: &[T], f: impl Fn(T) -> T) {
    if step == 1 {
        to.iter_mut().zip(from).for_each(|(to, &x)| *to += f(x));
    } else {
        to.iter_mut().step_by(step).zip(from).for_each(|(to, &x)| *to += f(x));
    }
}

/// The adjoint of [`columns`]: adds columns back to the pixels they came from.
fn add_columns<T: Number>(shape: &ConvShape, columns: &[T], rows: &Range<usize>, image: &mut [T]) {
    let width = shape.output[2];
    let pixels = rows.len() * width;
    shape.stretches(rows, |Stretch { column, row, line, places, first }| {
        let Some(line) = line else { return };
        if places.is_empty() {
            return;
        }
        let from = &columns[column * pixels + row * width..][places];
        add_stretch(&mut image[line + first..line + shape.input[2]], shape.stride[2], from, |g| g);
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
    for start in (0..shape.rows()).step_by(step) {
        let rows = start..(start + step).min(shape.rows());
        let block: Cow<'_, [T]>;
        let matrix = if shape.is_pointwise() {
            block = Cow::Borrowed(image);
            let offset = (start * shape.output[2]) as isize;
            Matrix { offset, ..Matrix::rows_of(shape.input_plane()) }
        } else {
            columns(shape, image, &rows, &mut buffer);
            block = Cow::Borrowed(&buffer);
            Matrix::rows_of(rows.len() * shape.output[2])
        };
        f(rows, &block, matrix)?;
    }
    Ok(())
}

/// Calls `f(filter, its stretch, where that starts in its plane)` for every stretch of every filter of a group, a few
/// rows at a time, so that they stay in the first cache.
fn each_stretch(shape: &ConvShape, mut f: impl FnMut(usize, &Stretch, usize)) {
    let step = (1 << 12) / shape.output[2].max(1) + 1;
    for start in (0..shape.rows()).step_by(step) {
        shape.stretches(&(start..(start + step).min(shape.rows())), |stretch| {
            let at = (start + stretch.row) * shape.output[2];
            if !stretch.places.is_empty() {
                (0..shape.filters).for_each(|filter| f(filter, &stretch, at));
            }
        });
    }
}

fn direct_forward<T: Number>(shape: &ConvShape, image: &[T], filters: &[T], out: &mut [T]) {
    out.fill(T::default());
    let (k, plane, stride) = (filters.len() / shape.filters, shape.output_plane(), shape.stride[2]);
    each_stretch(shape, |filter, stretch, at| {
        let Some(line) = stretch.line else { return };
        let w = filters[filter * k + stretch.column];
        let from = &image[line + stretch.first..line + shape.input[2]];
        let to = &mut out[filter * plane + at..][stretch.places.clone()];
        if stride == 1 {
            to.iter_mut().zip(from).for_each(|(o, &x)| *o += w * x);
        } else {
            to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(o, &x)| *o += w * x);
        }
    });
}

/// Adds to `image`.
fn direct_backward_data<T: Number>(shape: &ConvShape, grads: &[T], filters: &[T], image: &mut [T]) {
    let (k, plane, stride) = (filters.len() / shape.filters, shape.output_plane(), shape.stride[2]);
    each_stretch(shape, |filter, stretch, at| {
        let Some(line) = stretch.line else { return };
        let w = filters[filter * k + stretch.column];
        let from = &grads[filter * plane + at..][stretch.places.clone()];
        add_stretch(&mut image[line + stretch.first..line + shape.input[2]], stride, from, |g| w * g);
    });
}

/// Adds to `out`.
fn direct_backward_weight<T: Number>(shape: &ConvShape, image: &[T], grads: &[T], out: &mut [T]) {
    let (k, plane, stride) = (out.len() / shape.filters, shape.output_plane(), shape.stride[2]);
    each_stretch(shape, |filter, stretch, at| {
        let Some(line) = stretch.line else { return };
        let x = &image[line + stretch.first..line + shape.input[2]];
        let g = &grads[filter * plane + at..][stretch.places.clone()];
        out[filter * k + stretch.column] +=
            if stride == 1 { dot(&x[..g.len()], g) } else { dot_by(x, stride, g) };
    });
}

/// Σ a b in eight sums, as the processor likes it.
fn dot<T: Number>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let mut rest = dot_by(a_blocks.remainder(), 1, b_blocks.remainder());
    for (a, b) in a_blocks.zip(b_blocks) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (&a, &b))| *sum += a * b);
    }
    sums.into_iter().for_each(|sum| rest += sum);
    rest
}

/// Σ a b over every `step`-th of `a`.
fn dot_by<T: Number>(a: &[T], step: usize, b: &[T]) -> T {
    let mut sum = T::default();
    a.iter().step_by(step).zip(b).for_each(|(&a, &b)| sum += a * b);
    sum
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
        if shape.is_direct() {
            direct_forward(shape, image, filters, out);
            return Ok(());
        }
        blocks(shape, image, |rows, columns, matrix| {
            let sizes = [shape.filters, rows.len() * shape.output[2], k];
            let offset = (rows.start * shape.output[2]) as isize;
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
        if shape.is_direct() {
            direct_backward_data(shape, grads, filters, image);
            return Ok(());
        }
        let transposed = Matrix { offset: 0, row_stride: 1, column_stride: k as isize };
        let mut columns = Vec::new();
        for start in (0..shape.rows()).step_by(step) {
            let rows = start..(start + step).min(shape.rows());
            let pixels = rows.len() * shape.output[2];
            columns.resize(k * pixels, T::default());
            let offset = (start * shape.output[2]) as isize;
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
            if shape.is_direct() {
                direct_backward_weight(shape, &x[task * of_image..][..of_image], grads, out);
                continue;
            }
            blocks(shape, &x[task * of_image..][..of_image], |rows, columns, matrix| {
                let pixels = rows.len() * shape.output[2];
                let offset = (rows.start * shape.output[2]) as isize;
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
