//! Sorting along an axis, and what follows from it: the largest few, medians, searching, counting, permutations.

use std::sync::Arc;

use vorpal_kernels::{
    Checked as CheckedKernel, Count as CountKernel, Gather, GatherShape, Promise, Ranked as RankedKernel,
    SearchSorted as SearchKernel, Sort as SortKernel, SortPass,
};
use vorpal_tensor::{At, DType, Device, Error, Result, Shape};

use super::pointwise::SUB;
use super::{axis_of, dtype_error, promoted, shape_error, whole_words};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Rows and the length of each, for ops of the last axis.
fn rows(shape: &Shape) -> (usize, usize) {
    match shape.split_last() {
        Some((&len, rest)) => (rest.iter().product(), len),
        None => (1, 1),
    }
}

/// Numbers of the elements of the last axis, sorted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Argsort {
    pub descending: bool,
}

impl Op for Argsort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(inputs[0].shape.clone(), DType::I32))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(usize::from(self.descending));
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x[0]).clone(), whole_words(cx.dtype(x[0])));
        let wide = cx.cast(x[0], dtype);
        let (mut now, offset) = cx.dense(wide);
        let (rows, len) = rows(&shape);
        let first =
            SortKernel { rows, len, dtype, descending: self.descending, offset, pass: SortPass::Whole };
        for pass in first.passes(cx.target().is_native()) {
            let kernel = SortKernel { pass, ..first.clone() };
            let last = matches!(pass, SortPass::Whole | SortPass::Last);
            let (out, dtype) =
                if last { (shape.clone(), DType::I32) } else { (Shape::from(first.pairs()), DType::U32) };
            now = cx.kernel(Arc::new(kernel), &[now], out, dtype);
        }
        Ok(now)
    }
}

/// Numbers of the elements of the last axis that come at places `first`, `first + step`, … when it is sorted.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    descending: bool,
    first: usize,
    step: usize,
    count: usize,
}

impl Ranked {
    /// The elements of the last axis at those places, and their numbers.
    fn of(self, x: &Tensor, at: At) -> (Tensor, Tensor) {
        let numbers = Tensor::apply(self, &[x], at);
        (x.gather(-1, &numbers), numbers)
    }
}

impl Op for Ranked {
    fn name(&self) -> &'static str {
        "ranked"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let shape = &inputs[0].shape;
        Ok(Spec::new(shape.with_axis(shape.rank() - 1, self.count), DType::I32))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[usize::from(self.descending), self.first, self.step, self.count]);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let Ranked { descending, first, step, count } = *self;
        let shape = cx.shape(x[0]).clone();
        let axis = shape.rank() - 1;
        if !cx.target().is_native() {
            let order = Argsort { descending }.lower(cx, x, &[])?;
            return cx.view(order, |l| Some(l.slice(axis, first, count, step)));
        }
        let dtype = whole_words(cx.dtype(x[0]));
        let wide = cx.cast(x[0], dtype);
        let (base, offset) = cx.dense(wide);
        let (rows, len) = rows(&shape);
        let kernel = RankedKernel { rows, len, dtype, descending, offset, first, step, count };
        Ok(cx.kernel(Arc::new(kernel), &[base], shape.with_axis(axis, count), DType::I32))
    }
}

/// How often each number below a size comes up in the last axis.
#[derive(Clone, Copy, Debug)]
struct Bincount {
    size: usize,
}

impl Op for Bincount {
    fn name(&self) -> &'static str {
        "bincount"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let shape = &inputs[0].shape;
        Ok(Spec::new(shape.with_axis(shape.rank() - 1, self.size), DType::I32))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(self.size);
    }

    fn indexed_axis(&self, _: &[Spec]) -> Option<usize> {
        Some(self.size)
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (shape, dtype, size) = (cx.shape(x[0]).clone(), cx.dtype(x[0]), self.size);
        let (base, offset) = cx.dense(x[0]);
        let axis = shape.rank() - 1;
        if cx.target().is_native() {
            let (rows, len) = rows(&shape);
            let kernel = CountKernel { rows, len, size, dtype, offset };
            return Ok(cx.kernel(Arc::new(kernel), &[base], shape.with_axis(axis, size), DType::I32));
        }
        let check = CheckedKernel { count: shape.numel(), promise: Promise::Below(size), dtype, offset };
        let below = cx.kernel(Arc::new(check), &[base], shape.clone(), dtype);
        let order = Argsort { descending: false }.lower(cx, &[below], &[])?;
        let sorted = Arrange.lower(cx, &[below, order], &[])?;
        let numbers = cx.coordinate(&shape.with_axis(axis, size + 1), axis);
        let numbers = cx.cast(numbers, dtype);
        let starts = SearchSorted { right: false }.lower(cx, &[sorted, numbers], &[])?;
        let part = |cx: &mut Builder, first: usize| cx.view(starts, |l| Some(l.slice(axis, first, size, 1)));
        let (ends, starts) = (part(cx, 1)?, part(cx, 0)?);
        Ok(cx.call(&SUB.f, &[ends, starts]))
    }
}

/// Elements of the last axis in an order that names each exactly once: what a gather is whose adjoint is one, too.
/// Operands: x, numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrange;

/// `x` with the elements of its last axis in an order that names each exactly once.
pub(super) fn arranged(x: &Tensor, order: &Tensor, at: At) -> Tensor {
    Tensor::apply(Arrange, &[x, order], at)
}

impl Op for Arrange {
    fn name(&self) -> &'static str {
        "sort"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if inputs[0].shape != inputs[1].shape {
            return Misfit::shape("an order needs one number for each element");
        }
        Ok(inputs[0].clone())
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        // The order that undoes another sorts it.
        let back = || Tensor::apply(Argsort { descending: false }, &[&v.inputs[1]], At::caller());
        vec![v.inputs[0].dtype().is_float().then(|| arranged(v.grad, &back(), At::caller())), None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, _: &mut Key) {}

    fn indexed_axis(&self, inputs: &[Spec]) -> Option<usize> {
        inputs[0].shape.last().copied()
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x[0]).clone(), cx.dtype(x[0]));
        let wide = cx.cast(x[0], dtype.compute());
        let ((base, offset), (order, order_offset)) = (cx.dense(wide), cx.dense(x[1]));
        let (outer, len) = rows(&shape);
        let picked = GatherShape { outer, axis: len, inner: 1, len, index_strides: [len, 1, 1] };
        let kernel = Gather::new(picked, dtype.compute(), DType::I32, [offset, order_offset]);
        let out = cx.kernel(Arc::new(kernel), &[base, order], shape, dtype.compute());
        Ok(cx.cast(out, dtype))
    }
}

/// How many elements of a sorted last axis come before values. Operands: sorted, values.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchSorted {
    pub right: bool,
}

impl Op for SearchSorted {
    fn name(&self) -> &'static str {
        "searchsorted"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        super::same_dtype(inputs)?;
        let (sorted, values) = (&inputs[0].shape, &inputs[1].shape);
        let rows_agree = sorted.rank() == values.rank()
            && sorted.rank() > 0
            && sorted[..sorted.rank() - 1] == values[..values.rank() - 1];
        if sorted.rank() != 1 && !rows_agree {
            return Misfit::shape("boundaries must be a list, or agree with the values beyond the last axis");
        }
        Ok(Spec::new(values.clone(), DType::I32))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None, None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        if v.inputs[0].rank() == 1 {
            return Tensor::apply(*self, &[&v.inputs[0], &v.inputs[1]], v.at);
        }
        // A list for each example: its values are one row.
        let (sorted, values) = (v.example(0), v.example(1));
        if sorted.rank() > 2 {
            return v.apply(*self);
        }
        let shape = values.shape();
        let flat = values.reshape([v.size, shape[1..].iter().product()]);
        Tensor::apply(*self, &[&sorted, &flat], v.at).reshape(shape)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(usize::from(self.right));
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = whole_words(cx.dtype(x[0]));
        let shape = cx.shape(x[1]).clone();
        let (sorted, values) = (cx.cast(x[0], dtype), cx.cast(x[1], dtype));
        let shared = cx.shape(sorted).rank() == 1;
        let (_, len) = rows(cx.shape(sorted));
        let (rows, count) = if shared { (1, shape.numel()) } else { rows(&shape) };
        let ((sorted, sorted_at), (values, values_at)) = (cx.dense(sorted), cx.dense(values));
        let offsets = [sorted_at, values_at];
        let kernel = SearchKernel { rows, len, count, shared, right: self.right, dtype, offsets };
        Ok(cx.kernel(Arc::new(kernel), &[sorted, values], shape, DType::I32))
    }
}

impl Tensor {
    /// Positions (`I32`) of the elements along an axis in ascending or `descending` order, as `torch.argsort` with
    /// `stable=True`: equal elements stay in order. NaN counts as larger than everything, as in PyTorch: it comes last,
    /// or first if descending. Zeros of both signs are equal.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 1.0, 2.0, 1.0], [4], &Device::cpu());
    /// assert_eq!(x.argsort(0, false).to_vec::<i32>()?, [1, 3, 2, 0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn argsort(&self, axis: isize, descending: bool) -> Tensor {
        let at = At::caller();
        match axis_of(self, "argsort", axis, at) {
            Ok(_) => {
                let order = Tensor::apply(Argsort { descending }, &[&self.transpose(axis, -1)], at);
                order.transpose(axis, -1)
            }
            Err(error) => Tensor::error(error),
        }
    }

    /// The elements along an axis in order, and the position each had (`I32`), as `torch.sort`: see
    /// [`argsort`](Tensor::argsort). The derivative goes back to where elements came from.
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> (Tensor, Tensor) {
        let at = At::caller();
        if let Err(error) = axis_of(self, "sort", axis, at) {
            return (Tensor::error(error.clone()), Tensor::error(error));
        }
        let last = self.transpose(axis, -1);
        let order = Tensor::apply(Argsort { descending }, &[&last], at);
        (arranged(&last, &order, at).transpose(axis, -1), order.transpose(axis, -1))
    }

    /// The `k` largest (or smallest) elements along an axis, the best first, and their positions (`I32`), as
    /// `torch.topk`. Of equals the first counts as better.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 1.0, 2.0, 4.0], [4], &Device::cpu());
    /// let (values, positions) = x.topk(2, 0, true);
    /// assert_eq!(values.to_vec::<f32>()?, [4.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [3, 0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize, largest: bool) -> (Tensor, Tensor) {
        let at = At::caller();
        let size = match axis_of(self, "topk", axis, at) {
            Ok(axis) => self.shape()[axis],
            Err(error) => return (Tensor::error(error.clone()), Tensor::error(error)),
        };
        if k > size {
            let error = shape_error("topk", format!("asked for {k} elements of {size}"), &[self], at);
            return (Tensor::error(error.clone()), Tensor::error(error));
        }
        // Where the order of most is asked for, sorting costs as much. Adapters sort in any case, and the derivative
        // of an order of all is faster there.
        if self.is_native() && 2 * k <= size {
            let places = Ranked { descending: largest, first: 0, step: 1, count: k };
            let (values, positions) = places.of(&self.transpose(axis, -1), at);
            return (values.transpose(axis, -1), positions.transpose(axis, -1));
        }
        let (values, positions) = self.sort(axis, largest);
        (values.narrow(axis, 0, k), positions.narrow(axis, 0, k))
    }

    /// The middle element of the sorted axis, the lower of two, as `torch.median`; the axis disappears. NaN if there is
    /// one.
    #[track_caller]
    pub fn median(&self, axis: isize) -> Tensor {
        let at = At::caller();
        match axis_of(self, "median", axis, at) {
            Err(error) => Tensor::error(error),
            Ok(k) if self.shape()[k] == 0 => {
                Tensor::error(shape_error("median", "an empty axis has none", &[self], at))
            }
            Ok(k) => {
                let (end, float) = (self.shape()[k] - 1, self.dtype().is_float());
                let middle = end / 2;
                let (found, first, last) = if self.is_native() {
                    let count = if float && middle < end { 2 } else { 1 };
                    let places =
                        Ranked { descending: false, first: middle, step: (end - middle).max(1), count };
                    (places.of(&self.transpose(axis, -1), at).0.transpose(axis, -1), 0, count - 1)
                } else {
                    (self.sort(axis, false).0, middle, end)
                };
                let middle = found.narrow(axis, first, 1).squeeze(axis);
                if !float {
                    return middle;
                }
                // NaN comes last.
                let last = found.narrow(axis, last, 1).squeeze(axis);
                last.is_nan().select(&last, &middle)
            }
        }
    }

    /// Where values belong in sorted boundaries, `self`: how many of them are smaller (or, with `right`, smaller or
    /// equal), as `torch.searchsorted` (`I32`). Boundaries are a list for all values, or `[…, n]` for values `[…, m]`.
    /// Boundaries that are not sorted give any result.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let edges = Tensor::from_slice(&[1.0f32, 3.0, 5.0], [3], &Device::cpu());
    /// let x = Tensor::from_slice(&[0.0f32, 3.0, 9.0], [3], &Device::cpu());
    /// assert_eq!(edges.searchsorted(&x, false).to_vec::<i32>()?, [0, 1, 3]);
    /// assert_eq!(edges.searchsorted(&x, true).to_vec::<i32>()?, [0, 2, 3]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Tensor {
        let at = At::caller();
        let operands = promoted(&[self, values]);
        Tensor::apply(SearchSorted { right }, &[&operands[0], &operands[1]], at)
    }

    /// How often each of the numbers 0 … `size` − 1 comes up (`I32`), as `torch.bincount` with a fixed length. Numbers
    /// out of range are an [`Error::Index`] when the value is read.
    #[track_caller]
    pub fn bincount(&self, size: usize) -> Tensor {
        let at = At::caller();
        if self.ready().is_err() {
            return self.clone();
        }
        if !matches!(self.dtype(), DType::I32 | DType::U32) {
            let message = format!("numbers must be i32 or u32, found {}", self.dtype());
            return Tensor::error(dtype_error("bincount", message, &[self], at));
        }
        let flat = self.reshape([self.shape().numel()]);
        Tensor::apply(Bincount { size }, &[&flat], at)
    }

    /// How many elements fall into each of `bins` equal intervals of `low..high` (`I32`), as `torch.histc`: intervals
    /// hold their lower end, the last one its upper end, too; what lies outside is not counted.
    #[track_caller]
    pub fn histogram(&self, bins: usize, low: f64, high: f64) -> Tensor {
        let at = At::caller();
        let Ok(device) = self.device() else { return self.clone() };
        if !self.dtype().is_float() {
            let message = format!("needs floats, found {}", self.dtype());
            return Tensor::error(dtype_error("histogram", message, &[self], at));
        }
        if bins == 0 || high <= low || !(high - low).is_finite() {
            let message = format!("cannot cut {low}..{high} into {bins} intervals");
            return Tensor::error(Error::Argument { op: "histogram", message, at });
        }
        let x = self.reshape([self.shape().numel()]).cast(whole_words(self.dtype()));
        let edges: Vec<f64> = (0..bins).map(|k| low + (high - low) * k as f64 / bins as f64).collect();
        let list = |edges: &[f64]| edge_list(edges, x.dtype(), &device);
        if self.is_native() {
            // How many intervals start up to an element: 0 is none, as is what lies above the last one.
            let number = list(&edges).searchsorted(&x, true);
            let inside = x.le(list(&[high]));
            let number = inside.select(&number, 0);
            return Tensor::apply(Bincount { size: bins + 1 }, &[&number], at).narrow(0, 1, bins);
        }
        let sorted = x.sort(0, false).0;
        let starts = sorted.searchsorted(&list(&edges), false);
        let end = sorted.searchsorted(&list(&[high]), true);
        differences(&Tensor::concat(&[&starts, &end], 0))
    }

    /// The numbers 0 … `n` − 1 in random order (`I32`), as `torch.randperm`: random words from the device's stream,
    /// sorted.
    #[track_caller]
    pub fn permutation(n: usize, device: &Device) -> Tensor {
        let [a, b, c, d] = device.next_key();
        let words =
            [vorpal_kernels::philox_word(0, [a, b], [c, d]), vorpal_kernels::philox_word(1, [a, b], [c, d])];
        let words = Tensor::from_slice(&words, [2], device).split_key(n);
        words.narrow(1, 0, 1).squeeze(1).argsort(0, false)
    }
}

/// Numbers as a list of a dtype that a device holds.
fn edge_list(edges: &[f64], dtype: DType, device: &Device) -> Tensor {
    if dtype == DType::F64 {
        return Tensor::from_slice(edges, [edges.len()], device);
    }
    let narrow: Vec<f32> = edges.iter().map(|&e| e as f32).collect();
    Tensor::from_slice(&narrow, [edges.len()], device)
}

/// Every number of a list less the one before.
pub(super) fn differences(x: &Tensor) -> Tensor {
    let len = x.shape().numel() - 1;
    x.narrow(0, 1, len) - x.narrow(0, 0, len)
}
