//! Elements combined by number: scatter, scatter_reduce, sums, means, extremes and softmax of segments.
//!
//! Numbers that are not sorted are sorted first; what has one number then is a segment, and segments are combined in
//! order: no float atomics, and two runs give the same bits.

use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_kernels::{Checked as CheckedKernel, Promise, ReduceKind, Segment as Kernel, SegmentPass};
use vorpal_tensor::{At, DType, Result, Shape};

use super::pointwise::{ADD, MAXIMUM, MUL};
use super::sort::{Argsort, Arrange, SearchSorted, arranged, differences};
use super::{axis_of, dtype_error, shape_error, whole_words};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Numbers as they are, found to be below a size and, where promised, in order along the last axis.
#[derive(Clone, Copy, Debug)]
struct Checked {
    /// The op to blame.
    name: &'static str,
    /// What all must be below; `None`: in order.
    size: Option<usize>,
}

/// `numbers`, found to be below `size` and in order where `sorted`: others are an error of `name` when the value is read.
pub(super) fn checked(name: &'static str, numbers: &Tensor, size: usize, sorted: bool, at: At) -> Tensor {
    let below = Tensor::apply(Checked { name, size: Some(size) }, &[numbers], at);
    if sorted { Tensor::apply(Checked { name, size: None }, &[&below], at) } else { below }
}

impl Op for Checked {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        match inputs[0].dtype {
            DType::I32 | DType::U32 => Ok(inputs[0].clone()),
            other => Misfit::dtype(format!("numbers must be i32 or u32, found {other}")),
        }
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push_text("checked");
        key.push_list(&[usize::from(self.size.is_some()), self.size.unwrap_or(0)]);
    }

    fn indexed_axis(&self, _: &[Spec]) -> Option<usize> {
        self.size
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x[0]).clone(), cx.dtype(x[0]));
        let (base, offset) = cx.dense(x[0]);
        let promise = match self.size {
            Some(size) => Promise::Below(size),
            None => Promise::Sorted(shape.last().copied().unwrap_or(1)),
        };
        let kernel = CheckedKernel { count: shape.numel(), promise, dtype, offset };
        Ok(cx.kernel(Arc::new(kernel), &[base], shape, dtype))
    }
}

/// What has which number.
struct Groups {
    /// The number of each element, `I32`.
    numbers: Tensor,
    /// Where the segment of each number starts in the sorted order, and where the last one ends.
    offsets: Tensor,
    /// Elements in the order of their numbers, where that is not their own order.
    order: Option<Tensor>,
}

impl Groups {
    /// Groups of elements by a list of numbers below `size`.
    fn new(name: &'static str, numbers: &Tensor, size: usize, sorted: bool, at: At) -> Result<Groups> {
        let device = numbers.device()?;
        let numbers = checked(name, numbers, size, sorted, at).cast(DType::I32);
        let order = (!sorted).then(|| Tensor::apply(Argsort { descending: false }, &[&numbers], at));
        let in_order = order.as_ref().map_or_else(|| numbers.clone(), |order| arranged(&numbers, order, at));
        let offsets = in_order.searchsorted(&Tensor::arange(size + 1, DType::I32, &device), false);
        Ok(Groups { numbers, offsets, order })
    }

    /// The elements of axis 0 of `x` combined by number.
    fn combined(&self, kind: ReduceKind, x: &Tensor, at: At) -> Tensor {
        let op = Grouped { kind, axis: 0, ordered: self.order.is_some() };
        let operands: SmallVec<[&Tensor; 4]> =
            [x, &self.numbers, &self.offsets].into_iter().chain(&self.order).collect();
        Tensor::apply(op, &operands, at)
    }

    /// How many elements have each number, to stand beside a result of `rank` axes.
    fn counts(&self, rank: usize, dtype: DType) -> Tensor {
        let counts = differences(&self.offsets).cast(dtype);
        let mut shape = vec![1; rank];
        shape[0] = counts.shape().numel();
        counts.reshape(shape)
    }
}

/// Elements of an axis combined by number. Operands: x, numbers, offsets and, where elements are not in the order of
/// their numbers, that order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grouped {
    pub kind: ReduceKind,
    pub axis: usize,
    pub ordered: bool,
}

impl Grouped {
    fn again(&self, kind: ReduceKind, x: &Tensor, v: &Vjp<'_>) -> Tensor {
        let operands: SmallVec<[&Tensor; 4]> = std::iter::once(x).chain(&v.inputs[1..]).collect();
        Tensor::apply(Grouped { kind, ..*self }, &operands, At::caller())
    }
}

impl Op for Grouped {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "segment_sum",
            ReduceKind::Max => "segment_max",
            ReduceKind::Min => "segment_min",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let (shape, numbers) = (&inputs[0].shape, &inputs[1].shape);
        if inputs[0].dtype == DType::Bool {
            return Misfit::dtype("needs numbers, found bool; cast it first");
        }
        if numbers.rank() != 1 || shape.rank() <= self.axis || shape[self.axis] != numbers[0] {
            return Misfit::shape("needs a list of one number for each element of the axis");
        }
        let segments = inputs[2].shape.numel() - 1;
        Ok(Spec::new(shape.with_axis(self.axis, segments), inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (x, axis) = (&v.inputs[0], self.axis as isize);
        let spread = |y: &Tensor| y.index_select(axis, &v.inputs[1]);
        let to_x = x.dtype().is_float().then(|| {
            if self.kind == ReduceKind::Sum {
                return spread(v.grad);
            }
            // Equals share the cotangent; nothing has equals.
            let ties = x.eq(spread(v.output)).cast(x.dtype());
            let count = self.again(ReduceKind::Sum, &ties, v).with_constant(&MAXIMUM, 1.0);
            ties * spread(&(v.grad / count))
        });
        let mut out = vec![None; v.inputs.len()];
        out[0] = to_x;
        out
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        if !v.batched[1..].contains(&true) {
            let operands: SmallVec<[&Tensor; 4]> = v.inputs.iter().collect();
            return Tensor::apply(Grouped { axis: self.axis + 1, ..*self }, &operands, v.at);
        }
        // The axes of all examples one behind the other, each with numbers of its own.
        let (x, size) = (v.example(0), v.size);
        let shape = x.shape();
        let (len, rank) = (shape[self.axis + 1], shape.rank());
        let segments = v.example(2).shape()[1] - 1;
        let Ok(device) = x.device() else { return x };
        let shifted = |x: &Tensor, by: usize| {
            let example = Tensor::iota(x.shape(), 0, DType::I32, &device);
            (x + example.with_constant(&MUL, by as f64)).reshape([x.shape().numel()])
        };
        let numbers = shifted(&v.example(1), segments);
        let starts = shifted(&v.example(2).narrow(1, 0, segments), len);
        let end = Tensor::full([1], (size * len) as f64, DType::I32, &device);
        let offsets = Tensor::concat(&[&starts, &end], 0);
        let order = self.ordered.then(|| shifted(&v.example(3), len));
        let mut axes: Vec<isize> = (1..rank as isize).collect();
        axes.insert(self.axis, 0);
        let merged = |count: usize| -> Shape {
            let (before, after) = (&shape[1..=self.axis], &shape[self.axis + 2..]);
            before.iter().copied().chain([count]).chain(after.iter().copied()).collect()
        };
        let flat = x.permute(&axes[..]).reshape(merged(size * len));
        let operands: SmallVec<[&Tensor; 4]> =
            [&flat, &numbers, &offsets].into_iter().chain(&order).collect();
        let out = Tensor::apply(*self, &operands, v.at);
        let split: Shape = shape[1..=self.axis]
            .iter()
            .copied()
            .chain([size, segments])
            .chain(shape[self.axis + 2..].iter().copied())
            .collect();
        let mut back: Vec<isize> = (0..rank as isize).collect();
        back.remove(self.axis);
        back.insert(0, self.axis as isize);
        out.reshape(split).permute(&back[..])
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.axis, usize::from(self.ordered)]);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let order = self.ordered.then(|| x[3]);
        combined(cx, self.kind, self.axis, [x[0], x[2]], order, None)
    }
}

/// Elements of an axis of x combined over segments bounded by offsets, in as many launches as their number asks for.
pub(super) fn combined(
    cx: &mut Builder,
    kind: ReduceKind,
    axis: usize,
    [x, offsets]: [NodeId; 2],
    order: Option<NodeId>,
    weights: Option<NodeId>,
) -> Result<NodeId> {
    let dtype = cx.dtype(x);
    let wide = whole_words(dtype);
    let x = cx.cast(x, wide);
    let shape = cx.shape(x).clone();
    let weights = weights.map(|w| cx.cast(w, wide));
    let len = match (order, weights) {
        (Some(list), _) | (None, Some(list)) => cx.shape(list).numel(),
        (None, None) => shape[axis],
    };
    let segments = cx.shape(offsets).numel() - 1;
    let ((x, x_at), (offsets, offsets_at)) = (cx.dense(x), cx.dense(offsets));
    let (order_node, order_at) = order.map_or((x, 0), |order| cx.dense(order));
    let (weights_node, weights_at) = weights.map_or((x, 0), |weights| cx.dense(weights));
    let kernel = Kernel {
        kind,
        shape: [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()],
        segments,
        len,
        ordered: order.is_some(),
        weighted: weights.is_some(),
        dtype: wide,
        starts: [x_at, offsets_at, order_at, weights_at],
        pass: SegmentPass::Whole,
    };
    let out = shape.with_axis(axis, segments);
    let operands = [x, offsets, order_node, weights_node];
    let whole = if kernel.in_pieces() {
        let pieces = Kernel { pass: SegmentPass::Pieces, ..kernel.clone() };
        let size = shape.with_axis(axis, kernel.pieces()).numel();
        let first = cx.kernel(Arc::new(pieces), &operands, Shape::from(size), wide);
        let join = Kernel { pass: SegmentPass::Join, ..kernel };
        cx.kernel(Arc::new(join), &[first, offsets, first, first], out, wide)
    } else {
        cx.kernel(Arc::new(kernel), &operands, out, wide)
    };
    Ok(cx.cast(whole, dtype))
}

/// Sums of the elements of an axis of x by a list of numbers, which are found to be below `size`.
pub(super) fn sums(
    cx: &mut Builder,
    name: &'static str,
    axis: usize,
    [x, numbers]: [NodeId; 2],
    size: usize,
) -> Result<NodeId> {
    let below = Checked { name, size: Some(size) }.lower(cx, &[numbers], &[])?;
    let numbers = cx.cast(below, DType::I32);
    let order = Argsort { descending: false }.lower(cx, &[numbers], &[])?;
    let in_order = Arrange.lower(cx, &[numbers, order], &[])?;
    let bounds = cx.linear_index(&Shape::from([size + 1]));
    let bounds = cx.cast(bounds, DType::I32);
    let offsets = SearchSorted { right: false }.lower(cx, &[in_order, bounds], &[])?;
    combined(cx, ReduceKind::Sum, axis, [x, offsets], Some(order), None)
}

/// How [`Tensor::scatter_reduce`] combines elements with one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScatterReduce {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

impl Tensor {
    #[track_caller]
    fn segments(
        &self,
        name: &'static str,
        ids: &Tensor,
        segments: usize,
        sorted: bool,
        f: impl FnOnce(&Groups, At) -> Tensor,
    ) -> Tensor {
        let at = At::caller();
        if self.check().is_err() || ids.check().is_err() {
            return if self.check().is_err() { self.clone() } else { ids.clone() };
        }
        if ids.rank() != 1 || self.rank() == 0 || self.shape()[0] != ids.shape()[0] {
            let message = "needs a list of one number for each element of axis 0";
            return Tensor::error(shape_error(name, message, &[self, ids], at));
        }
        Groups::new(name, ids, segments, sorted, at).map_or_else(Tensor::error, |groups| f(&groups, at))
    }

    /// Sums of the elements of axis 0 that have one number of a list `ids` (`I32` or `U32`, below `segments`):
    /// `[n, …]` to `[segments, …]`, as `jax.ops.segment_sum`. Numbers without elements give 0.
    ///
    /// With `indices_are_sorted` the numbers must not decrease, and need not be sorted first; if they do all the same,
    /// or are out of range, that is an [`Error::Index`](vorpal_tensor::Error::Index) when the value is read.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 4.0], [3], &Device::cpu());
    /// let ids = Tensor::from_slice(&[2i32, 0, 2], [3], &Device::cpu());
    /// assert_eq!(x.segment_sum(&ids, 3, false).to_vec::<f32>()?, [2.0, 0.0, 5.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn segment_sum(&self, ids: &Tensor, segments: usize, indices_are_sorted: bool) -> Tensor {
        self.segments("segment_sum", ids, segments, indices_are_sorted, |groups, at| {
            groups.combined(ReduceKind::Sum, self, at)
        })
    }

    /// Means of segments: see [`segment_sum`](Tensor::segment_sum). Floats only; numbers without elements give 0.
    #[track_caller]
    pub fn segment_mean(&self, ids: &Tensor, segments: usize, indices_are_sorted: bool) -> Tensor {
        let at = At::caller();
        if self.check().is_ok() && !self.dtype().is_float() {
            let message = format!("needs floats, found {}", self.dtype());
            return Tensor::error(dtype_error("segment_mean", message, &[self], at));
        }
        self.segments("segment_mean", ids, segments, indices_are_sorted, |groups, at| {
            let counts = groups.counts(self.rank(), self.dtype()).with_constant(&MAXIMUM, 1.0);
            groups.combined(ReduceKind::Sum, self, at) / counts
        })
    }

    /// Largest elements of segments: see [`segment_sum`](Tensor::segment_sum). Numbers without elements give −∞ (the
    /// smallest whole number); NaN wins; the derivative is shared by equals.
    #[track_caller]
    pub fn segment_max(&self, ids: &Tensor, segments: usize, indices_are_sorted: bool) -> Tensor {
        self.segments("segment_max", ids, segments, indices_are_sorted, |groups, at| {
            groups.combined(ReduceKind::Max, self, at)
        })
    }

    /// Smallest elements of segments: see [`segment_max`](Tensor::segment_max). Numbers without elements give +∞ (the
    /// largest whole number).
    #[track_caller]
    pub fn segment_min(&self, ids: &Tensor, segments: usize, indices_are_sorted: bool) -> Tensor {
        self.segments("segment_min", ids, segments, indices_are_sorted, |groups, at| {
            groups.combined(ReduceKind::Min, self, at)
        })
    }

    /// eˣ ∕ Σ eˣ over the elements of axis 0 with one number, without overflow: the attention of graph networks
    /// (Veličković et al. 2018). `[n, …]` to `[n, …]`; see [`segment_sum`](Tensor::segment_sum).
    #[track_caller]
    pub fn segment_softmax(&self, ids: &Tensor, segments: usize, indices_are_sorted: bool) -> Tensor {
        let at = At::caller();
        if self.check().is_ok() && !self.dtype().is_float() {
            let message = format!("needs floats, found {}", self.dtype());
            return Tensor::error(dtype_error("segment_softmax", message, &[self], at));
        }
        self.segments("segment_softmax", ids, segments, indices_are_sorted, |groups, at| {
            let spread = |y: &Tensor| y.index_select(0, &groups.numbers);
            let top = groups.combined(ReduceKind::Max, &self.stop_gradient(), at);
            let exp = (self - spread(&top)).exp();
            &exp / spread(&groups.combined(ReduceKind::Sum, &exp, at))
        })
    }

    /// `self` with `source[…, j, …]` in place of `[…, index[…, j, …], …]` along an axis, as `torch.scatter`. Of equal
    /// numbers the last one wins, always: two runs give the same bits. Shapes as for
    /// [`scatter_add`](Tensor::scatter_add). The derivative goes to what is left to see.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu());
    /// let index = Tensor::from_slice(&[2i32, 0, 2], [3], &Device::cpu());
    /// let source = Tensor::from_slice(&[7.0f32, 8.0, 9.0], [3], &Device::cpu());
    /// assert_eq!(x.scatter(0, &index, &source).to_vec::<f32>()?, [8.0, 2.0, 9.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn scatter(&self, axis: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let at = At::caller();
        self.scattered("scatter", axis, index, source, true, at, |groups, all| {
            // Every place has an element of its own, and the last of a segment wins.
            let segments = groups.offsets.shape().numel() - 1;
            let last = groups.offsets.narrow(0, 1, segments).with_constant(&ADD, -1.0);
            let winners =
                groups.order.as_ref().map_or_else(|| last.clone(), |order| order.index_select(0, &last));
            all.index_select(0, &winners)
        })
    }

    /// `self` with the elements of `source` that have one number along an axis combined with what is there, or, unless
    /// `include_self`, in its place, as `torch.scatter_reduce`. Shapes as for [`scatter_add`](Tensor::scatter_add). The
    /// derivative of extremes is shared by equals.
    #[track_caller]
    pub fn scatter_reduce(
        &self,
        axis: isize,
        index: &Tensor,
        source: &Tensor,
        reduce: ScatterReduce,
        include_self: bool,
    ) -> Tensor {
        let at = At::caller();
        let dtype = self.dtype();
        if self.check().is_ok()
            && (dtype == DType::Bool || reduce == ScatterReduce::Mean && !dtype.is_float())
        {
            let asked = if reduce == ScatterReduce::Mean { "floats" } else { "numbers" };
            let message = format!("needs {asked}, found {dtype}");
            return Tensor::error(dtype_error("scatter_reduce", message, &[self], at));
        }
        let combined = |groups: &Groups, all: &Tensor| match reduce {
            ScatterReduce::Sum => groups.combined(ReduceKind::Sum, all, at),
            ScatterReduce::Max => groups.combined(ReduceKind::Max, all, at),
            ScatterReduce::Min => groups.combined(ReduceKind::Min, all, at),
            ScatterReduce::Mean => {
                let counts = groups.counts(1, dtype).with_constant(&MAXIMUM, 1.0);
                groups.combined(ReduceKind::Sum, all, at) / counts
            }
        };
        self.scattered("scatter_reduce", axis, index, source, include_self, at, combined)
    }

    /// `combine` of all elements of the axis as one list, grouped by their places in the result. Where own elements
    /// take no part, they stay where nothing else is.
    #[allow(clippy::too_many_arguments)]
    fn scattered(
        &self,
        name: &'static str,
        axis: isize,
        index: &Tensor,
        source: &Tensor,
        include_self: bool,
        at: At,
        combine: impl FnOnce(&Groups, &Tensor) -> Tensor,
    ) -> Tensor {
        let operands = [self, index, source];
        if let Some(failed) = operands.iter().find(|x| x.check().is_err()) {
            return (*failed).clone();
        }
        let k = match axis_of(self, name, axis, at) {
            Ok(k) => k,
            Err(error) => return Tensor::error(error),
        };
        let (shape, places) = (self.shape(), index.shape());
        let fits =
            places.rank() == shape.rank() && (0..shape.rank()).all(|a| a == k || places[a] == shape[a]);
        if !fits || source.shape() != places {
            let message = format!("index and source must have one shape, that of the tensor beyond axis {k}");
            return Tensor::error(shape_error(name, message, &operands, at));
        }
        if self.dtype() != source.dtype() || !matches!(index.dtype(), DType::I32 | DType::U32) {
            let message = "needs numbers i32 or u32, and tensor and source of one dtype";
            return Tensor::error(dtype_error(name, message, &operands, at));
        }
        let Ok(device) = self.device() else { return self.clone() };
        if places.numel() == 0 {
            return self.clone();
        }
        let (size, len) = (shape[k], places[k]);
        let lines = places.numel() / len;
        let last = self.transpose(axis, -1);
        let line = |x: &Tensor, len: usize| x.transpose(axis, -1).reshape([lines, len]);
        let number = checked(name, index, size, false, at).cast(DType::I32);
        let (mut numbers, mut all) = (line(&number, len), line(source, len));
        if include_self {
            let own = Tensor::iota([lines, size], 1, DType::I32, &device);
            numbers = Tensor::concat(&[&own, &numbers], 1);
            all = Tensor::concat(&[&line(self, size), &all], 1);
        }
        let count = all.shape().numel();
        let first = Tensor::iota(numbers.shape(), 0, DType::I32, &device).with_constant(&MUL, size as f64);
        let numbers = (numbers + first).reshape([count]);
        let groups = match Groups::new(name, &numbers, lines * size, false, at) {
            Ok(groups) => groups,
            Err(error) => return Tensor::error(error),
        };
        let mut out = combine(&groups, &all.reshape([count]));
        if !include_self {
            let own = last.reshape([lines * size]);
            out = groups.counts(1, DType::I32).gt(0).select(out, own);
        }
        out.reshape(last.shape()).transpose(axis, -1)
    }
}
