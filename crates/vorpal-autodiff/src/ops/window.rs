//! Sliding windows: views of an axis, their adjoint, and columns of images made of them.

use smallvec::SmallVec;
use vorpal_kernels::ReduceKind;
use vorpal_tensor::{At, Error, Layout, Result, Shape};

use super::reduce::reduce;
use super::{axis_of, shape_error};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// How windows lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Windows {
    axis: usize,
    /// Elements of a window.
    size: usize,
    /// From window to window.
    step: usize,
    /// From element to element.
    dilation: usize,
}

impl Windows {
    /// Number of windows on `len` elements.
    fn count(&self, len: usize) -> Option<usize> {
        let reach = self.dilation.checked_mul(self.size.checked_sub(1)?)?.checked_add(1)?;
        Some(len.checked_sub(reach)?.checked_div(self.step)? + 1)
    }

    fn key(&self, key: &mut Key) {
        key.push_list(&[self.axis, self.size, self.step, self.dilation]);
    }

    /// The same behind one more axis.
    fn behind(&self) -> Windows {
        Windows { axis: self.axis + 1, ..*self }
    }
}

/// The elements of windows along a new last axis: a view.
#[derive(Debug)]
struct Unfold(Windows);

impl Op for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let Windows { axis, size, step, dilation } = self.0;
        let shape = &inputs[0].shape;
        let Some(count) = self.0.count(shape[axis]) else {
            let len = shape[axis];
            return Misfit::shape(format!(
                "windows of {size} elements (step {step}, dilation {dilation}) do not fit an axis of size {len}"
            ));
        };
        let shape = shape.with_axis(axis, count).iter().copied().chain([size]).collect::<Shape>();
        Ok(Spec::new(shape, inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let len = v.inputs[0].shape()[self.0.axis];
        vec![Some(Tensor::apply(OverlapAdd { windows: self.0, len }, &[v.grad], At::caller()))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Unfold(self.0.behind()))
    }
    fn attributes(&self, key: &mut Key) {
        self.0.key(key);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let Windows { axis, size, step, dilation } = self.0;
        let count = self.0.count(cx.shape(x[0])[axis]).unwrap_or(0);
        cx.view(x[0], |l| {
            // One bound cannot guard the sum of two coordinates.
            let whole = l.bounds.get(axis).is_none_or(|&(lo, hi)| lo == 0 && hi >= l.shape[axis]);
            let mut out = l.clone();
            if let Some(bound) = out.bounds.get_mut(axis) {
                *bound = (0, count);
                out.bounds.push((0, size));
            }
            out.shape = l.shape.with_axis(axis, count).iter().copied().chain([size]).collect();
            out.strides.push(l.strides[axis] * dilation as isize);
            out.strides[axis] *= step as isize;
            whole.then_some(out)
        })
    }
}

/// The adjoint of [`Unfold`]: elements of windows added where they came from.
#[derive(Debug)]
struct OverlapAdd {
    windows: Windows,
    /// Size of the axis the windows lie on.
    len: usize,
}

impl OverlapAdd {
    /// Shape of the result, from that of the windows.
    fn joined(&self, shape: &Shape) -> Shape {
        shape.without_axis(shape.rank() - 1).with_axis(self.windows.axis, self.len)
    }

    /// Elements of the padded windows that are summed, for one of the other axes.
    fn padded(&self, size: usize, step: usize, dilation: usize) -> usize {
        let (size, dilation) = if step > 1 { (size * dilation, 1) } else { (size, dilation) };
        let per_step = size.div_ceil(step);
        ((per_step - 1) * dilation + self.len.div_ceil(step)) * per_step * step
    }
}

impl Op for OverlapAdd {
    fn name(&self) -> &'static str {
        "overlap_add"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let (shape, windows) = (&inputs[0].shape, &self.windows);
        if !inputs[0].dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", inputs[0].dtype));
        }
        let count = windows.count(self.len);
        if count != Some(shape[windows.axis]) {
            let (found, len) = (shape[windows.axis], self.len);
            let Windows { size, step, dilation, .. } = *windows;
            let fits = count.map_or("none".to_string(), |n| n.to_string());
            return Misfit::shape(format!(
                "an axis of size {len} has {fits} windows of {size} elements (step {step}, dilation {dilation}), found {found}"
            ));
        }
        Ok(Spec::new(self.joined(shape), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::apply(Unfold(self.windows), &[v.grad], At::caller()))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(OverlapAdd { windows: self.windows.behind(), len: self.len })
    }
    fn attributes(&self, key: &mut Key) {
        self.windows.key(key);
        key.push(self.len);
    }

    /// A sum along a skewed view of the padded windows: every element of the result looks at the windows that hold
    /// it, in order, so that the bits do not depend on who runs when.
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let Windows { axis, mut size, mut step, mut dilation } = self.windows;
        let dtype = cx.dtype(x[0]);
        let mut x = cx.cast(x[0], dtype.compute());
        let out = self.joined(cx.shape(x));
        if out.contains(&0) || cx.shape(x).contains(&0) {
            return Ok(cx.constant(0.0, out, dtype));
        }
        let (rank, count) = (cx.shape(x).rank(), cx.shape(x)[axis]);
        // Windows and their elements play the same part: element w·step + k·dilation belongs to window w, place k, and
        // as well to window k, place w, with step and dilation exchanged. Whichever needs less padding.
        if self.padded(count, dilation, step) < self.padded(size, step, dilation) {
            let mut order: SmallVec<[usize; 8]> = (0..rank).collect();
            order.swap(axis, rank - 1);
            x = cx.view(x, |l| Some(l.permute(&order)))?;
            (size, step, dilation) = (count, dilation, step);
        }
        if step > 1 && dilation > 1 {
            // Zeros between the elements of a window, so that they are neighbours.
            x = appended(cx, x, dilation - 1)?;
            (size, dilation) = (size * dilation, 1);
        }
        // Element j = q·step + r lies in window q − m·dilation at place m·step + r, for every m.
        let per_step = size.div_ceil(step);
        let steps = self.len.div_ceil(step);
        let (mut before, mut after): (SmallVec<[usize; 8]>, SmallVec<[usize; 8]>) =
            (smallvec::smallvec![0; rank], smallvec::smallvec![0; rank]);
        before[axis] = (per_step - 1) * dilation;
        after[axis] = steps.saturating_sub(cx.shape(x)[axis]);
        after[rank - 1] = per_step * step - size;
        let padded = cx.pad(x, &before, &after, 0.0)?;
        let buffer = cx.buffer(padded);
        let skewed =
            cx.view(buffer, |l| l.bounds.is_empty().then(|| skew(l, axis, steps, step, dilation)))?;
        let mut summed: SmallVec<[bool; 8]> = smallvec::smallvec![false; rank + 1];
        summed[axis + 2] = true;
        let sum = reduce(cx, ReduceKind::Sum, skewed, &summed)?;
        let whole = out.with_axis(axis, steps * step);
        let joined = cx.view(sum, |l| l.reshape(&whole))?;
        let cut = cx.view(joined, |l| Some(l.slice(axis, 0, self.len, 1)))?;
        Ok(cx.cast(cut, dtype))
    }
}

/// `zeros` zeros behind every element of the last axis.
fn appended(cx: &mut Builder, x: NodeId, zeros: usize) -> Result<NodeId> {
    let shape = cx.shape(x).clone();
    let rank = shape.rank();
    let single: Shape = shape.iter().copied().chain([1]).collect();
    let spread = shape.with_axis(rank - 1, shape[rank - 1] * (zeros + 1));
    let mut after: SmallVec<[usize; 8]> = smallvec::smallvec![0; rank + 1];
    let before = after.clone();
    after[rank] = zeros;
    let x = cx.view(x, |l| l.reshape(&single))?;
    let x = cx.pad(x, &before, &after, 0.0)?;
    let x = cx.buffer(x);
    cx.view(x, |l| l.reshape(&spread))
}

/// From axes `[…, window, …, place]` to `[…, q, r, m, …]`: window q − m·dilation counted from the padding in front,
/// place m·step + r.
fn skew(l: &Layout, axis: usize, steps: usize, step: usize, dilation: usize) -> Layout {
    let last = l.shape.rank() - 1;
    let per_step = l.shape[last] / step;
    let (window, place) = (l.strides[axis], l.strides[last]);
    let mut out = Layout { strides: SmallVec::new(), ..l.clone() };
    let mut shape: SmallVec<[usize; 8]> = SmallVec::new();
    for k in 0..last {
        if k == axis {
            shape.extend([steps, step, per_step]);
            out.strides.extend([window, place, step as isize * place - dilation as isize * window]);
        } else {
            shape.push(l.shape[k]);
            out.strides.push(l.strides[k]);
        }
    }
    out.shape = Shape::from(&shape[..]);
    out.offset += ((per_step - 1) * dilation) as isize * window;
    out
}

/// Options of [`Tensor::unfold2d`] and [`Tensor::fold2d`]. Pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unfold2dOptions {
    /// Steps of the window, 1 by default.
    pub stride: [usize; 2],
    /// Zeros on each side, none by default.
    pub padding: [usize; 2],
    /// Distance of the elements of the window, 1 by default.
    pub dilation: [usize; 2],
}

impl Default for Unfold2dOptions {
    fn default() -> Unfold2dOptions {
        Unfold2dOptions { stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }
}

impl Tensor {
    /// Windows of `size` elements, one every `step`, along an axis, which then counts the windows; their elements,
    /// `dilation` apart, lie along a new last axis. Nothing is copied. As `torch.Tensor.unfold`.
    ///
    /// Carries [`Error::Shape`] when no window fits, [`Error::Argument`] when a number is 0.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i32, 2, 3, 4], [4], &Device::cpu());
    /// assert_eq!(x.unfold(0, 2, 1, 1).to_vec::<i32>()?, [1, 2, 2, 3, 3, 4]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn unfold(&self, axis: isize, size: usize, step: usize, dilation: usize) -> Tensor {
        let at = At::caller();
        match windows_of(self, "unfold", axis, [size, step, dilation], at) {
            Ok(windows) => Tensor::apply(Unfold(windows), &[self], at),
            Err(error) => Tensor::error(error),
        }
    }

    /// The adjoint of [`unfold`](Tensor::unfold): the elements of the last axis added to an axis of `len` elements, at
    /// the places of the windows that `axis` counts. Sums are in order: the same bits in every run.
    ///
    /// Carries [`Error::Shape`] when the windows are not as many as fit on `len` elements.
    #[track_caller]
    pub fn overlap_add(&self, axis: isize, len: usize, step: usize, dilation: usize) -> Tensor {
        let at = At::caller();
        let shape = self.shape();
        if self.check().is_ok() && shape.rank() < 2 {
            let message = "needs an axis of windows and one of their elements";
            return Tensor::error(shape_error("overlap_add", message, &[self], at));
        }
        let size = shape.last().copied().unwrap_or(0);
        match windows_of(self, "overlap_add", axis, [size, step, dilation], at) {
            Ok(windows) if windows.axis + 1 == shape.rank() => {
                let message = "the last axis holds the elements of windows, it cannot count them";
                Tensor::error(shape_error("overlap_add", message, &[self], at))
            }
            Ok(windows) => Tensor::apply(OverlapAdd { windows, len }, &[self], at),
            Err(error) => Tensor::error(error),
        }
    }

    /// The windows of images `[examples, channels, height, width]` as columns:
    /// `[examples, channels · kernel[0] · kernel[1], windows]`, as `torch.nn.functional.unfold` (im2col).
    #[track_caller]
    pub fn unfold2d(&self, kernel: [usize; 2], options: Unfold2dOptions) -> Tensor {
        let at = At::caller();
        if self.check().is_ok() && self.rank() != 4 {
            let message = format!("needs [examples, channels, height, width], found {} axes", self.rank());
            return Tensor::error(shape_error("unfold2d", message, &[self], at));
        }
        let [top, left] = options.padding;
        let padded = self.pad(2, top, top, 0.0).pad(3, left, left, 0.0);
        let rows = padded.unfold(2, kernel[0], options.stride[0], options.dilation[0]);
        let windows = rows.unfold(3, kernel[1], options.stride[1], options.dilation[1]);
        // [n, c, windows down, windows across, kernel down, kernel across]
        let shape = windows.shape();
        if windows.check().is_err() {
            return windows;
        }
        let out = [shape[0], shape[1] * shape[4] * shape[5], shape[2] * shape[3]];
        windows.permute([0, 1, 4, 5, 2, 3]).reshape(out)
    }

    /// The adjoint of [`unfold2d`](Tensor::unfold2d): columns added up to images of `size` (height, width), as
    /// `torch.nn.functional.fold` (col2im).
    ///
    /// Carries [`Error::Shape`] when the columns are not those of such images.
    #[track_caller]
    pub fn fold2d(&self, size: [usize; 2], kernel: [usize; 2], options: Unfold2dOptions) -> Tensor {
        let (at, shape) = (At::caller(), self.shape());
        if self.check().is_err() {
            return self.clone();
        }
        let padded = [size[0] + 2 * options.padding[0], size[1] + 2 * options.padding[1]];
        let mut counts = [0; 2];
        for k in 0..2 {
            let windows =
                Windows { axis: 0, size: kernel[k], step: options.stride[k], dilation: options.dilation[k] };
            counts[k] = windows.count(padded[k]).unwrap_or(0);
        }
        let inside = kernel[0] * kernel[1];
        let fits = shape.rank() == 3
            && inside > 0
            && shape[1].is_multiple_of(inside)
            && counts[0] * counts[1] > 0
            && shape[2] == counts[0] * counts[1];
        if !fits {
            let message = format!(
                "needs [examples, channels · {inside}, {} · {}] for images of {size:?} and windows of {kernel:?}",
                counts[0], counts[1]
            );
            return Tensor::error(shape_error("fold2d", message, &[self], at));
        }
        let channels = shape[1] / inside;
        let split = self.reshape([shape[0], channels, kernel[0], kernel[1], counts[0], counts[1]]);
        let windows = split.permute([0, 1, 4, 5, 2, 3]);
        let rows = windows.overlap_add(3, padded[1], options.stride[1], options.dilation[1]);
        let image = rows.overlap_add(2, padded[0], options.stride[0], options.dilation[0]);
        image.narrow(2, options.padding[0], size[0]).narrow(3, options.padding[1], size[1])
    }

    /// `[…, channels · r², height, width]` to `[…, channels, height · r, width · r]` (Shi et al. 2016), as
    /// `torch.nn.functional.pixel_shuffle`.
    ///
    /// Carries [`Error::Shape`] when r² does not divide the channels.
    #[track_caller]
    pub fn pixel_shuffle(&self, r: usize) -> Tensor {
        let (at, shape) = (At::caller(), self.shape());
        let rank = shape.rank();
        if self.check().is_err() {
            return self.clone();
        }
        if rank < 3 || r == 0 || !shape[rank - 3].is_multiple_of(r * r) {
            let message = format!("needs […, channels, height, width] with channels that {r}² divides");
            return Tensor::error(shape_error("pixel_shuffle", message, &[self], at));
        }
        let (channels, height, width) = (shape[rank - 3] / (r * r), shape[rank - 2], shape[rank - 1]);
        let batch: usize = shape[..rank - 3].iter().product();
        let out: Shape = shape[..rank - 3].iter().copied().chain([channels, height * r, width * r]).collect();
        let split = self.reshape([batch, channels, r, r, height, width]);
        split.permute([0, 1, 4, 2, 5, 3]).reshape(out)
    }

    /// The inverse of [`pixel_shuffle`](Tensor::pixel_shuffle).
    #[track_caller]
    pub fn pixel_unshuffle(&self, r: usize) -> Tensor {
        let (at, shape) = (At::caller(), self.shape());
        let rank = shape.rank();
        if self.check().is_err() {
            return self.clone();
        }
        if rank < 3 || r == 0 || !shape[rank - 2].is_multiple_of(r) || !shape[rank - 1].is_multiple_of(r) {
            let message =
                format!("needs […, channels, height, width] with height and width that {r} divides");
            return Tensor::error(shape_error("pixel_unshuffle", message, &[self], at));
        }
        let (channels, height, width) = (shape[rank - 3], shape[rank - 2] / r, shape[rank - 1] / r);
        let batch: usize = shape[..rank - 3].iter().product();
        let out: Shape = shape[..rank - 3].iter().copied().chain([channels * r * r, height, width]).collect();
        let split = self.reshape([batch, channels, height, r, width, r]);
        split.permute([0, 1, 3, 5, 2, 4]).reshape(out)
    }
}

fn windows_of(x: &Tensor, op: &'static str, axis: isize, numbers: [usize; 3], at: At) -> Result<Windows> {
    let axis = axis_of(x, op, axis, at)?;
    let [size, step, dilation] = numbers;
    if numbers.contains(&0) {
        let message =
            format!("windows of {size} elements with step {step} and dilation {dilation}: none may be 0");
        return Err(Error::Argument { op, message, at });
    }
    Ok(Windows { axis, size, step, dilation })
}
