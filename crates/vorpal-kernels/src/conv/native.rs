//! Native convolutions: windows laid out as columns of a matrix, a few rows of pixels at a time, then a product.

use std::borrow::Cow;
use std::ops::Range;

use vorpal_tensor::Result;

use super::ConvShape;
use super::direct;
#[cfg(target_arch = "x86_64")]
use super::shifted;
use crate::gemm::{Gemm, Matrix};
use crate::interp::for_each;
use crate::scratch::Scratch;
use crate::vector::Number;

/// Products that other processors have no vectors for.
#[cfg(not(target_arch = "x86_64"))]
mod shifted {
    use super::{ConvShape, Range, Result};

    pub fn sums<T>(_: &ConvShape, _: &[T], _: &[T], _: &mut [T], _: bool) -> Result<bool> {
        Ok(false)
    }
    pub fn backward_weight<T>(
        _: &ConvShape,
        _: &[T],
        _: &[T],
        _: Range<usize>,
        _: &mut [T],
        _: bool,
    ) -> Result<bool> {
        Ok(false)
    }
}

/// Bytes of the columns made at a time by one core: half of the second cache, as the product lays them out once more. The
/// more there are, the less often it lays out the filters.
fn columns_bytes() -> usize {
    (gemm_common::cache::CACHE_INFO[1].cache_bytes / 2).max(1 << 17)
}

/// Pixels of a product that are worth it.
const PIXELS_MIN: usize = 64;

/// Filters with everything but some terms set to zero. `term` numbers them by filter of the group and column.
pub(super) fn cut_filters<T: Gemm>(
    shape: &ConvShape,
    filters: &[T],
    term: impl Fn(usize, usize) -> usize,
    [first, count]: [usize; 2],
) -> Vec<T> {
    let columns = shape.channels * shape.window_len();
    let kept = |k: usize| (first..first + count).contains(&term(k / columns % shape.filters, k % columns));
    let all = filters[..shape.filters_len()].iter().enumerate();
    all.map(|(k, &w)| if kept(k) { w } else { T::default() }).collect()
}

/// Products of a group (channels times filters) up to which they are not worth a matrix product.
const DIRECT_MAX: usize = 4;

/// A run of places of a window along a row of the result, under one element of it.
struct Stretch {
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

    /// Images that make their columns together, because each by itself has few pixels.
    fn together(&self) -> usize {
        let pixels = self.output_plane().max(1);
        if self.groups > 1 || pixels >= PIXELS_MIN || self.is_direct() {
            return 1;
        }
        (4 * PIXELS_MIN / pixels).clamp(1, self.batch.max(1))
    }

    /// Blocks of some images: rows of one at a time, or all of several.
    fn blocks(&self, images: usize, many: bool) -> Vec<Block> {
        if self.output_plane() == 0 {
            return Vec::new();
        }
        let one = self.channels * self.window_len() * self.output[2];
        let most = columns_bytes() / size_of::<f32>();
        let most = if many { most } else { 4 * most };
        let step = if images > 1 { self.rows() } else { most / one.max(1) };
        let step = step.clamp(1, self.rows().max(1));
        let width = self.output[2];
        let block = |start| Block { images, rows: start..(start + step).min(self.rows()), width };
        (0..self.rows()).step_by(step).map(block).collect()
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

    /// Calls `f` for every stretch of some rows of the result under one element of the windows.
    fn stretches(&self, column: usize, rows: &Range<usize>, mut f: impl FnMut(Stretch)) {
        let [_, ky_count, kx_count] = self.window;
        let (window, plane) = (self.window_len(), self.input_plane());
        let (kz, ky) = (column % window / (ky_count * kx_count), column / kx_count % ky_count);
        let kx = column % kx_count;
        let places = self.inside(kx);
        let first = (places.start * self.stride[2] + kx * self.dilation[2]).saturating_sub(self.padding[2]);
        let (mut oz, mut oy) = (rows.start / self.output[1], rows.start % self.output[1]);
        let mut slice = self.under(0, oz, kz);
        for row in 0..rows.len() {
            let line = slice
                .zip(self.under(1, oy, ky))
                .map(|(iz, iy)| column / window * plane + (iz * self.input[1] + iy) * self.input[2]);
            f(Stretch { row, line, places: places.clone(), first });
            oy += 1;
            if oy == self.output[1] {
                (oy, oz) = (0, oz + 1);
                slice = self.under(0, oz, kz);
            }
        }
    }

    /// Where windows move by single pixels and the result is as wide as the image: what lies under one element of some rows of
    /// windows, as one run of pixels for each slice of the result.
    fn shifts(&self, column: usize, rows: &Range<usize>) -> Option<impl Iterator<Item = Shift>> {
        let width = self.input[2];
        let [_, ky_count, kx_count] = self.window;
        let kz = column / (kx_count * ky_count) % self.window[0];
        let (ky, kx) = (column / kx_count % ky_count, column % kx_count);
        let down = (ky * self.dilation[1]) as isize - self.padding[1] as isize;
        let right = (kx * self.dilation[2]) as isize - self.padding[2] as isize;
        let fits = self.stride[1..] == [1; 2] && self.output[2] == width && right.unsigned_abs() < width;
        let left = if right < 0 { 0 } else { width - right.unsigned_abs().min(width) };
        let side = left..left + right.unsigned_abs();
        let (rows, height, shape) = (rows.clone(), self.output[1], self);
        let slices = rows.start / height..rows.end.div_ceil(height);
        let shift = move |slice: usize| {
            // Rows of the result in this slice, of which those are inside that see a row of the image.
            let [first, last] = [slice, slice + 1].map(|slice| (slice * height).clamp(rows.start, rows.end));
            let cells = (first - rows.start) * width..(last - rows.start) * width;
            let seen = shape.under(0, slice, kz);
            let low = slice * height;
            let inside = |row: isize| (row.max((first - low) as isize) as usize).min(last - low);
            let (start, end) = (inside(-down), inside(shape.input[1] as isize - down));
            let end = if seen.is_some() { end.max(start) } else { start };
            let (from, count) = ((start as isize + down) * width as isize + right, (end - start) * width);
            // Cells in front of the slice and behind it are those at the sides.
            let plane = (shape.input[1] * width) as isize;
            let front = (-from).clamp(0, count as isize) as usize;
            let back = (from + count as isize - plane).clamp(0, (count - front) as isize) as usize;
            let at = (low + start - rows.start) * width;
            let to = at + front..at + count - back;
            let from = if to.is_empty() { 0 } else { (from + front as isize) as usize };
            let from = seen.unwrap_or(0) * shape.input[1] * width + from;
            Shift { cells, rows: at..at + count, to, from, side: side.clone() }
        };
        fits.then(|| slices.map(shift))
    }
}

/// A run of pixels under one element of some rows of windows.
struct Shift {
    /// Cells of the rows.
    cells: Range<usize>,
    /// Those at which the element is inside, as far as up and down go.
    rows: Range<usize>,
    /// Those of them that the run fills.
    to: Range<usize>,
    /// Its start in the image.
    from: usize,
    /// Cells of each row at which the element is outside, to the left or to the right.
    side: Range<usize>,
}

impl Shift {
    /// The same run where every pixel has as many cells.
    fn of_cells(self, count: usize) -> Shift {
        let all = |range: Range<usize>| range.start * count..range.end * count;
        Shift {
            cells: all(self.cells),
            rows: all(self.rows),
            to: all(self.to),
            from: self.from * count,
            side: all(self.side),
        }
    }
}

/// Pixels of a group whose columns are made together.
struct Block {
    /// Images; of more than one all rows. They are worked on as one image with a cell of each in every pixel, so that
    /// what is copied from small ones is longer.
    images: usize,
    rows: Range<usize>,
    width: usize,
}

impl Block {
    /// Of one image.
    fn pixels(&self) -> usize {
        self.rows.len() * self.width
    }

    fn all_pixels(&self) -> usize {
        self.images * self.pixels()
    }

    /// Place of the first pixel in its plane.
    fn first(&self) -> usize {
        self.rows.start * self.width
    }
}

/// Sets all cells at the sides to zero.
fn clear_sides<T: Gemm>(cells: &mut [T], width: usize, side: &Range<usize>) {
    if !side.is_empty() {
        cells.chunks_mut(width).for_each(|row| row[side.clone()].fill(T::default()));
    }
}

/// What lies under one element of the windows of a block.
fn column<T: Gemm>(shape: &ConvShape, image: &[T], column: usize, block: &Block, out: &mut [T]) {
    let (cells, stride) = (block.images, shape.stride[2]);
    let width = shape.output[2] * cells;
    if let Some(shifts) = shape.shifts(column, &block.rows) {
        let len = shape.input_plane() * cells;
        let plane = &image[column / shape.window_len() * len..][..len];
        for shift in shifts.map(|shift| shift.of_cells(cells)) {
            out[shift.cells.start..shift.rows.start].fill(T::default());
            out[shift.rows.end..shift.cells.end].fill(T::default());
            out[shift.to.clone()].copy_from_slice(&plane[shift.from..][..shift.to.len()]);
            clear_sides(&mut out[shift.rows.clone()], width, &shift.side);
        }
        return;
    }
    shape.stretches(column, &block.rows, |Stretch { row, line, places, first, .. }| {
        let out = &mut out[row * width..][..width];
        let Some(line) = line else { return out.fill(T::default()) };
        let places = places.start * cells..places.end * cells;
        out[..places.start].fill(T::default());
        out[places.end..].fill(T::default());
        let from = &image[line * cells..(line + shape.input[2]) * cells];
        if places.is_empty() {
        } else if stride == 1 {
            copy(&mut out[places.clone()], &from[first * cells..][..places.len()]);
        } else if cells == 1 {
            let taken = from[first..].iter().step_by(stride);
            out[places].iter_mut().zip(taken).for_each(|(o, &x)| *o = x);
        } else {
            let taken = from[first * cells..].chunks_exact(cells).step_by(stride);
            out[places].chunks_exact_mut(cells).zip(taken).for_each(|(o, x)| copy(o, x));
        }
    });
}

/// Lines of pixels of each of some images, `[images, lines, pixels]`, as lines with a cell of each image in every pixel,
/// `[lines, pixels, images]`.
fn interleaved<T: Gemm>(planes: &[T], images: usize, pixels: usize) -> Vec<T> {
    let mut out = vec![T::default(); planes.len()];
    let of_image = planes.len() / images.max(1);
    let cells = (pixels * images).max(1);
    for (line, out) in out.chunks_exact_mut(cells).enumerate() {
        for image in 0..images {
            let from = &planes[image * of_image + line * pixels..][..pixels];
            out[image..].iter_mut().step_by(images).zip(from).for_each(|(o, &x)| *o = x);
        }
    }
    out
}

/// The inverse of [`interleaved`].
fn apart<T: Gemm>(cells: &[T], images: usize, pixels: usize, out: &mut [T]) {
    let of_image = out.len() / images.max(1);
    let of_line = (pixels * images).max(1);
    for (line, cells) in cells.chunks_exact(of_line).enumerate() {
        for image in 0..images {
            let to = &mut out[image * of_image + line * pixels..][..pixels];
            to.iter_mut().zip(cells[image..].iter().step_by(images)).for_each(|(o, &x)| *o = x);
        }
    }
}

/// Copies a few elements; a call would take longer.
fn copy<T: Gemm>(to: &mut [T], from: &[T]) {
    let (to, to_rest) = to.as_chunks_mut::<4>();
    let (from, from_rest) = from.as_chunks::<4>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest).take(3) {
        *to = *from;
    }
}

/// The windows of a block of one group, `[channels · window, rows · ow · images]`.
fn columns<T: Gemm>(
    shape: &ConvShape,
    images: &[T],
    block: &Block,
    out: &mut Scratch<T>,
    many: bool,
) -> Result<()> {
    let all = block.all_pixels();
    out.resize(shape.channels * shape.window_len() * all);
    if out.is_empty() {
        return Ok(());
    }
    let image: Cow<'_, [T]> = match block.images {
        1 => Cow::Borrowed(images),
        count => Cow::Owned(interleaved(images, count, shape.input_plane())),
    };
    let share = shape.window_len() * shape.channels.div_ceil(TASKS);
    each(many, out.chunks_mut(share * all).enumerate().collect(), |(k, out)| {
        for (c, line) in out.chunks_mut(all).enumerate() {
            column(shape, &image, k * share + c, block, line);
        }
        Ok(())
    })
}

/// Tasks of what is shared out where there are too few images.
const TASKS: usize = 8;

/// Adds `f` of some values to every `step`-th of others; neighbours by vector instructions.
fn add_stretch<T: Gemm>(to: &mut [T], step: usize, from: &[T], f: impl Fn(T) -> T) {
    if step == 1 {
        to.iter_mut().zip(from).for_each(|(to, &x)| *to += f(x));
    } else {
        to.iter_mut().step_by(step).zip(from).for_each(|(to, &x)| *to += f(x));
    }
}

/// The adjoint of [`column`]: adds a column back to the pixels of the plane they came from.
fn add_column<T: Gemm>(shape: &ConvShape, out: &mut [T], column: usize, block: &Block, plane: &mut [T]) {
    let (cells, start) = (block.images, column / shape.window_len() * shape.input_plane());
    let width = shape.output[2] * cells;
    if let Some(shifts) = shape.shifts(column, &block.rows) {
        for shift in shifts.map(|shift| shift.of_cells(cells)) {
            clear_sides(&mut out[shift.rows.clone()], width, &shift.side);
            add_stretch(&mut plane[shift.from..], 1, &out[shift.to.clone()], |g| g);
        }
        return;
    }
    shape.stretches(column, &block.rows, |Stretch { row, line, places, first, .. }| {
        let Some(line) = line.map(|line| line - start) else { return };
        if places.is_empty() {
            return;
        }
        let from = &out[row * width..][places.start * cells..places.end * cells];
        let to = &mut plane[(line + first) * cells..(line + shape.input[2]) * cells];
        if cells == 1 || shape.stride[2] == 1 {
            return add_stretch(to, shape.stride[2], from, |g| g);
        }
        let taken = to.chunks_exact_mut(cells).step_by(shape.stride[2]);
        taken.zip(from.chunks_exact(cells)).for_each(|(to, from)| add_stretch(to, 1, from, |g| g));
    });
}

/// The adjoint of [`columns`]. Adds to what one image holds; several are set.
fn add_columns<T: Gemm>(
    shape: &ConvShape,
    columns: &mut [T],
    block: &Block,
    images: &mut [T],
    many: bool,
) -> Result<()> {
    let mut sum = vec![T::default(); if block.images > 1 { images.len() } else { 0 }];
    let image = if block.images > 1 { &mut sum[..] } else { &mut images[..] };
    let (all, window, share) = (block.all_pixels(), shape.window_len(), shape.channels.div_ceil(TASKS));
    let planes = image.chunks_mut((share * shape.input_plane() * block.images).max(1));
    let tasks = columns.chunks_mut(share * window * all).zip(planes).enumerate().collect();
    each(many, tasks, |(k, (columns, planes)): (usize, (&mut [T], &mut [T]))| {
        let planes = planes.chunks_mut((shape.input_plane() * block.images).max(1));
        for (channel, (columns, plane)) in columns.chunks_mut(window * all).zip(planes).enumerate() {
            for (element, line) in columns.chunks_mut(all).enumerate() {
                add_column(shape, line, (k * share + channel) * window + element, block, plane);
            }
        }
        Ok(())
    })?;
    if block.images > 1 {
        apart(&sum, block.images, shape.input_plane(), images);
    }
    Ok(())
}

/// Calls `f(block, columns, their matrix)` for blocks of one group of `count` images.
fn blocks<T: Gemm>(
    shape: &ConvShape,
    (images, count): (&[T], usize),
    many: bool,
    mut f: impl FnMut(&Block, &[T], Matrix) -> Result<()>,
) -> Result<()> {
    let mut buffer = Scratch::new(0);
    for block in shape.blocks(count, many) {
        let here: Cow<'_, [T]>;
        let matrix = if shape.is_pointwise() && count == 1 {
            here = Cow::Borrowed(images);
            Matrix { offset: block.first() as isize, ..Matrix::rows_of(shape.input_plane()) }
        } else {
            columns(shape, images, &block, &mut buffer, many)?;
            here = Cow::Borrowed(&buffer);
            Matrix::rows_of(block.all_pixels())
        };
        f(&block, &here, matrix)?;
    }
    Ok(())
}

/// Whether tasks are shared out whole; a few large ones are each shared by themselves.
fn are_many(tasks: usize) -> bool {
    tasks >= 4
}

/// Runs tasks side by side unless what calls this is one of many itself.
fn each<T: Send>(many: bool, tasks: Vec<T>, f: impl Fn(T) -> Result<()> + Sync + Send) -> Result<()> {
    if many { tasks.into_iter().try_for_each(f) } else { for_each(tasks, f) }
}

/// Runs tasks, side by side if there are many; they are told whether.
fn shared<T: Send>(tasks: Vec<T>, f: impl Fn(T, bool) -> Result<()> + Sync + Send) -> Result<()> {
    let many = are_many(tasks.len());
    each(!many, tasks, |task| f(task, many))
}

/// Filters of the group of a task.
fn filters_of<'a, T>(shape: &ConvShape, w: &'a [T], task: usize) -> &'a [T] {
    let len = shape.filters * shape.channels * shape.window_len();
    &w[task % shape.groups * len..][..len]
}

/// Cotangents of the results of a block of some images, a row for each filter.
fn grads_of<'a, T: Gemm>(shape: &ConvShape, grads: &'a [T], block: &Block) -> (Cow<'a, [T]>, Matrix) {
    if block.images > 1 {
        let cells = interleaved(grads, block.images, block.pixels());
        (Cow::Owned(cells), Matrix::rows_of(block.all_pixels()))
    } else {
        let offset = block.first() as isize;
        (Cow::Borrowed(grads), Matrix { offset, ..Matrix::rows_of(shape.output_plane()) })
    }
}

pub(super) fn forward<T: Number>(shape: &ConvShape, x: &[T], w: &[T], out: &mut [T]) -> Result<()> {
    let (of_image, of_result) = (shape.channels * shape.input_plane(), shape.filters * shape.output_plane());
    if out.is_empty() {
        return Ok(());
    }
    if shape.is_direct() {
        return direct::forward(shape, x, w, out);
    }
    if shifted::sums(shape, x, w, out, false)? {
        return Ok(());
    }
    let (k, together) = (shape.channels * shape.window_len(), shape.together());
    let tasks = out.chunks_mut(of_result * together).enumerate().collect();
    shared(tasks, |(task, out): (usize, &mut [T]), many| {
        let count = out.len() / of_result;
        let images = &x[task * together * of_image..][..count * of_image];
        let filters = filters_of(shape, w, task);
        blocks(shape, (images, count), many, |block, columns, matrix| {
            let sizes = [shape.filters, block.all_pixels(), k];
            let (filters, columns) = ((filters, Matrix::rows_of(k)), (columns, matrix));
            if block.images == 1 {
                let offset = block.first() as isize;
                let to = Matrix { offset, ..Matrix::rows_of(shape.output_plane()) };
                return T::gemm(sizes, (out, to), filters, columns, false, !many);
            }
            let mut cells = vec![T::default(); out.len()];
            let to = Matrix::rows_of(block.all_pixels());
            T::gemm(sizes, (&mut cells, to), filters, columns, false, !many)?;
            apart(&cells, block.images, block.pixels(), out);
            Ok(())
        })
    })
}

pub(super) fn backward_data<T: Number>(shape: &ConvShape, dy: &[T], w: &[T], out: &mut [T]) -> Result<()> {
    let (of_image, of_result) = (shape.channels * shape.input_plane(), shape.filters * shape.output_plane());
    if out.is_empty() {
        return Ok(());
    }
    if shape.is_direct() {
        return direct::backward_data(shape, dy, w, out);
    }
    if shifted::sums(shape, dy, w, out, true)? {
        return Ok(());
    }
    out.fill(T::default());
    let (k, together) = (shape.channels * shape.window_len(), shape.together());
    let tasks = out.chunks_mut(of_image * together).enumerate().collect();
    shared(tasks, |(task, images): (usize, &mut [T]), many| {
        let count = images.len() / of_image;
        let grads = &dy[task * together * of_result..][..count * of_result];
        let filters = filters_of(shape, w, task);
        let filters = (filters, Matrix::rows_of(k).transposed());
        let mut columns = Scratch::new(0);
        for block in shape.blocks(count, many) {
            let sizes = [k, block.all_pixels(), shape.filters];
            let (grads, from) = grads_of(shape, grads, &block);
            if shape.is_pointwise() && count == 1 {
                let to = Matrix { offset: block.first() as isize, ..Matrix::rows_of(shape.input_plane()) };
                T::gemm(sizes, (images, to), filters, (&grads, from), false, !many)?;
                continue;
            }
            columns.resize(k * block.all_pixels());
            let to = Matrix::rows_of(block.all_pixels());
            T::gemm(sizes, (&mut columns, to), filters, (&grads, from), false, !many)?;
            add_columns(shape, &mut columns, &block, images, many)?;
        }
        Ok(())
    })
}

/// Pixels of a share of a derivative of filters, counted in all of its images.
const SHARE_PIXELS: usize = 512;
/// Most shares of the images of a derivative of filters.
const SHARES_MAX: usize = 8;

/// The derivative by the filters in shares, one behind the other, each of some images; one is in turn made of several
/// where images are large against the filters, so that all cores have work.
pub(super) fn backward_weight<T: Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    out: &mut [T],
    splits: usize,
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    if splits > 1 {
        return shares_of(shape, x, dy, splits, out.chunks_mut(shape.filters_len()));
    }
    let shares = (shape.batch * shape.output_plane() / SHARE_PIXELS).clamp(1, SHARES_MAX);
    let shares = if shape.is_direct() && shape.groups >= TASKS { 1 } else { shares.min(shape.batch.max(1)) };
    let mut others = vec![T::default(); (shares - 1) * out.len()];
    shares_of(shape, x, dy, shares, [&mut *out].into_iter().chain(others.chunks_mut(shape.filters_len())))?;
    if shares == 1 {
        return Ok(());
    }
    let (len, piece) = (out.len(), out.len().div_ceil(TASKS));
    for_each(out.chunks_mut(piece).enumerate().collect(), |(k, out)| {
        for other in others.chunks(len) {
            add_stretch(out, 1, &other[k * piece..], |g| g);
        }
        Ok(())
    })
}

/// Makes every share of a derivative of filters.
fn shares_of<'o, T: Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    shares: usize,
    out: impl Iterator<Item = &'o mut [T]>,
) -> Result<()> {
    let share = shape.batch.div_ceil(shares);
    shared(out.enumerate().collect(), |(k, out): (usize, &mut [T]), many| {
        let images = (k * share).min(shape.batch)..((k + 1) * share).min(shape.batch);
        backward_weight_of(shape, x, dy, images, out, many)
    })
}

/// Sets the derivative of all filters to what some images give.
fn backward_weight_of<T: Number>(
    shape: &ConvShape,
    x: &[T],
    dy: &[T],
    images: Range<usize>,
    out: &mut [T],
    many: bool,
) -> Result<()> {
    if shape.is_direct() {
        return direct::backward_weight(shape, x, dy, images, out, many);
    }
    let (of_image, of_result) = (shape.channels * shape.input_plane(), shape.filters * shape.output_plane());
    let (k, together) = (shape.channels * shape.window_len(), shape.together());
    if shifted::backward_weight(shape, x, dy, images.clone(), out, many)? {
        return Ok(());
    }
    let pixels = images.len() * shape.output_plane();
    if pixels == 0 {
        out.fill(T::default());
    }
    // The product lays out the operand of which it makes rows. Where the columns are the larger one they should not be
    // it, but then the derivative has to be turned in the end.
    let turned = shape.filters * (pixels + 4 * k) < k * pixels;
    let mut sum = vec![T::default(); if turned { out.len() } else { 0 }];
    for task in (images.start * shape.groups..images.end * shape.groups).step_by(together) {
        let count = together.min(images.end * shape.groups - task);
        let grads = &dy[task * of_result..][..count * of_result];
        let inputs = &x[task * of_image..][..count * of_image];
        let of_group = task % shape.groups * shape.filters * k..;
        // The first product of a group sets, all others add.
        let mut add = task >= (images.start + 1) * shape.groups;
        blocks(shape, (inputs, count), many, |block, columns, matrix| {
            let (grads, from) = grads_of(shape, grads, block);
            let (filters, pixels) = (shape.filters, block.all_pixels());
            let add = std::mem::replace(&mut add, true);
            if turned {
                let (sum, to) = (&mut sum[of_group.clone()], Matrix::rows_of(filters));
                let grads = (&grads[..], from.transposed());
                return T::gemm([k, filters, pixels], (sum, to), (columns, matrix), grads, add, !many);
            }
            let (out, to) = (&mut out[of_group.clone()], Matrix::rows_of(k));
            let columns = (columns, matrix.transposed());
            T::gemm([filters, k, pixels], (out, to), (&grads, from), columns, add, !many)
        })?;
    }
    if turned {
        for (out, sum) in out.chunks_mut(shape.filters * k).zip(sum.chunks(shape.filters * k)) {
            for (f, filter) in out.chunks_mut(k).enumerate() {
                filter.iter_mut().zip(sum[f..].iter().step_by(shape.filters)).for_each(|(o, &s)| *o = s);
            }
        }
    }
    Ok(())
}
