//! Reductions: sum, extremes, their positions, moments.

use smallvec::SmallVec;
use vorpal_kernels::ReduceKind;
use vorpal_tensor::{At, DType, Result, Shape};

use super::pointwise::{ADD, MAXIMUM, MINIMUM, MUL};
use super::{Axes, axis_of};
use crate::compile::ir::{Builder, Class, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Columns that one launch reduces at most. Longer reductions take several launches, so that no invocation
/// goes through more than a software adapter allows and a GPU has enough rows to work on.
const COLUMNS_MAX: usize = 16_384;

/// Columns that one launch reduces natively where they are neighbours: as many as stay in a processor's second cache with
/// what is made of them. Vocabularies of language models have up to 2¹⁸ words.
const COLUMNS_NATIVE_MAX: usize = 1 << 18;

/// Columns that one launch of a card reduces where neighbours share rows of neighbouring columns, each of which adds up a
/// thousand: what is made of the elements and of the result stays in one launch …
const COLUMNS_SHARED_MAX: usize = 65_536;

/// … as long as there is a row for every multiprocessor of a large card.
const ROWS_SHARED_MIN: usize = 128;

/// Reduction over some axes, which keep size 1.
#[derive(Debug)]
struct Reduce {
    kind: ReduceKind,
    axes: SmallVec<[bool; 6]>,
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "sum",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if inputs[0].dtype == DType::Bool {
            return Misfit::dtype("needs numbers, found bool; cast it first");
        }
        let shape = &inputs[0].shape;
        let kept: Shape = shape.iter().zip(&self.axes).map(|(&d, &r)| if r { 1 } else { d }).collect();
        Ok(Spec::new(kept, inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let x = &v.inputs[0];
        let shape = x.shape();
        if self.kind == ReduceKind::Sum {
            return vec![Some(v.grad.broadcast_to(shape))];
        }
        // Equals share the cotangent.
        let ties = x.eq(v.output).cast(x.dtype());
        let axes: SmallVec<[isize; 6]> =
            (0..shape.rank()).filter(|&k| self.axes[k]).map(|k| k as isize).collect();
        let share = v.grad / ties.sum_keepdim(&axes[..]);
        vec![Some(ties * share)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let axes = std::iter::once(false).chain(self.axes.iter().copied()).collect();
        v.apply(Reduce { kind: self.kind, axes })
    }

    fn attributes(&self, key: &mut Key) {
        self.axes.iter().for_each(|&a| key.push(usize::from(a)));
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let wide = cx.cast(x[0], dtype.compute());
        let reduced = reduce(cx, self.kind, wide, &self.axes)?;
        Ok(cx.cast(reduced, dtype))
    }
}

/// A reduction in as many launches as its length asks for.
pub(crate) fn reduce(cx: &mut Builder, kind: ReduceKind, x: NodeId, axes: &[bool]) -> Result<NodeId> {
    let shape = cx.shape(x).clone();
    let columns: usize = shape.iter().zip(axes).filter(|&(_, &r)| r).map(|(&d, _)| d).product();
    if columns <= columns_max(cx, &shape, axes, columns) {
        return Ok(cx.reduce(kind, x, axes));
    }
    // As many of the inner axes as fit come first, the others after them.
    let (mut first, mut product) = (vec![false; axes.len()], 1);
    for axis in (0..axes.len()).rev().filter(|&k| axes[k]) {
        if product * shape[axis] > COLUMNS_MAX {
            break;
        }
        product *= shape[axis];
        first[axis] = true;
    }
    if product > 1 {
        let inner = cx.reduce(kind, x, &first);
        let rest: Vec<bool> = axes.iter().zip(&first).map(|(&a, &f)| a && !f).collect();
        return reduce(cx, kind, inner, &rest);
    }
    // One axis alone is too long: cut it into pieces of one length and a rest.
    let Some(axis) = (0..axes.len()).rev().find(|&k| axes[k] && shape[k] > 1) else { return Ok(x) };
    let size = shape[axis];
    let mut pieces = size.div_ceil(COLUMNS_MAX / 4);
    if cx.target().class == Class::Card {
        // Without a rest, what is reduced need not be stored before.
        pieces = (pieces..4 * pieces).find(|pieces| size.is_multiple_of(*pieces)).unwrap_or(pieces);
    }
    let length = size / pieces;
    let even = pieces * length;
    let main = cx.view(x, |l| Some(l.slice(axis, 0, even, 1)))?;
    let mut cut: SmallVec<[usize; 8]> = shape[..axis].iter().copied().collect();
    cut.extend([pieces, length]);
    cut.extend(shape[axis + 1..].iter().copied());
    let cut = Shape::from(&cut[..]);
    let main = cx.view(main, |l| l.reshape(&cut))?;
    let mut inner = vec![false; cut.rank()];
    inner[axis + 1] = true;
    let main = cx.reduce(kind, main, &inner);
    let joined = shape.with_axis(axis, pieces);
    let main = cx.view(main, |l| l.reshape(&joined))?;
    let mut out = reduce(cx, kind, main, axes)?;
    if even < size {
        let rest = cx.view(x, |l| Some(l.slice(axis, even, size - even, 1)))?;
        let rest = reduce(cx, kind, rest, axes)?;
        let f = match kind {
            ReduceKind::Sum => &ADD.f,
            ReduceKind::Max => &MAXIMUM.f,
            ReduceKind::Min => &MINIMUM.f,
        };
        out = cx.call(f, &[out, rest]);
    }
    Ok(out)
}

/// Columns that one launch takes.
fn columns_max(cx: &Builder, shape: &Shape, axes: &[bool], columns: usize) -> usize {
    let adjoin =
        shape.iter().zip(axes).rev().find(|&(&size, _)| size > 1).is_some_and(|(_, &reduced)| reduced);
    let shared = shape.numel() >= ROWS_SHARED_MIN * columns;
    match cx.target().class {
        Class::Native if adjoin => COLUMNS_NATIVE_MAX,
        Class::Card if adjoin && shared => COLUMNS_SHARED_MAX,
        _ => COLUMNS_MAX,
    }
}

impl Tensor {
    #[track_caller]
    fn reduce_keepdim(&self, kind: ReduceKind, op: &'static str, axes: Axes) -> Tensor {
        let at = At::caller();
        let axes = match axes.resolve(self, op, at) {
            Ok(axes) => axes,
            Err(error) => return Tensor::error(error),
        };
        // Bytes are added up in 32 bits.
        let wide = match (kind, self.dtype()) {
            (ReduceKind::Sum, DType::I8) => self.cast(DType::I32),
            (ReduceKind::Sum, DType::U8) => self.cast(DType::U32),
            _ => self.clone(),
        };
        let mut flags: SmallVec<[bool; 6]> = smallvec::smallvec![false; self.rank()];
        axes.iter().for_each(|&a| flags[a] = true);
        let trivial = self.shape().iter().zip(&flags).all(|(&d, &r)| !r || d == 1);
        if trivial && self.dtype() != DType::Bool {
            return wide;
        }
        Tensor::apply(Reduce { kind, axes: flags }, &[&wide], at)
    }

    #[track_caller]
    fn without_axes(&self, reduced: &Tensor, axes: &Axes) -> Tensor {
        let Ok(axes) = axes.resolve(self, "reduce", At::caller()) else { return reduced.clone() };
        let kept: Shape =
            self.shape().iter().enumerate().filter(|(k, _)| !axes.contains(k)).map(|(_, &d)| d).collect();
        reduced.reshape(kept)
    }

    /// Sum over axes, which disappear. 0 of nothing. Floats are accumulated in f32 or wider; bytes give
    /// 32-bit sums.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.sum(-1).to_vec::<f32>()?, [3.0, 7.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let reduced = self.reduce_keepdim(ReduceKind::Sum, "sum", axes.clone());
        self.without_axes(&reduced, &axes)
    }

    /// Sum over axes, which keep size 1.
    #[track_caller]
    pub fn sum_keepdim(&self, axes: impl Into<Axes>) -> Tensor {
        self.reduce_keepdim(ReduceKind::Sum, "sum", axes.into())
    }

    /// Sum of all elements, as a scalar.
    #[track_caller]
    pub fn sum_all(&self) -> Tensor {
        self.sum(&all_axes(self)[..])
    }

    /// Mean over axes, which disappear. NaN of nothing.
    #[track_caller]
    pub fn mean(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let kept = self.mean_keepdim_of(&axes);
        self.without_axes(&kept, &axes)
    }

    /// Mean over axes, which keep size 1.
    #[track_caller]
    pub fn mean_keepdim(&self, axes: impl Into<Axes>) -> Tensor {
        self.mean_keepdim_of(&axes.into())
    }

    #[track_caller]
    fn mean_keepdim_of(&self, axes: &Axes) -> Tensor {
        let sum = self.wide().reduce_keepdim(ReduceKind::Sum, "mean", axes.clone());
        if self.check().is_ok() && !self.dtype().is_float() {
            let message = format!("needs floats, found {}", self.dtype());
            return Tensor::error(super::dtype_error("mean", message, &[self], At::caller()));
        }
        let count = self.shape().numel() as f64 / sum.shape().numel() as f64;
        sum.with_constant(&MUL, 1.0 / count).cast(self.dtype())
    }

    /// The dtype that reductions work in: 16-bit floats as f32, so that only the result is rounded. Others as they are.
    #[track_caller]
    pub(crate) fn wide(&self) -> Tensor {
        self.cast(self.dtype().compute())
    }

    /// Mean of all elements, as a scalar.
    #[track_caller]
    pub fn mean_all(&self) -> Tensor {
        self.mean(&all_axes(self)[..])
    }

    /// Variance over axes, which disappear: the mean squared distance from the mean, times
    /// n ∕ (n − `correction`). PyTorch's default has a correction of 1.
    #[track_caller]
    pub fn var(&self, axes: impl Into<Axes>, correction: usize) -> Tensor {
        let axes = axes.into();
        let kept = self.var_keepdim(axes.clone(), correction);
        self.without_axes(&kept, &axes)
    }

    /// As [`var`](Tensor::var); axes keep size 1.
    #[track_caller]
    pub fn var_keepdim(&self, axes: impl Into<Axes>, correction: usize) -> Tensor {
        let axes = axes.into();
        let wide = self.wide();
        let centred = &wide - wide.mean_keepdim_of(&axes);
        let sum = (&centred * &centred).reduce_keepdim(ReduceKind::Sum, "var", axes);
        let count = self.shape().numel() as f64 / sum.shape().numel() as f64;
        sum.with_constant(&MUL, 1.0 / (count - correction as f64)).cast(self.dtype())
    }

    /// Largest element over axes, which disappear; NaN wins. The derivative is shared by equals.
    #[track_caller]
    pub fn max(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let reduced = self.reduce_keepdim(ReduceKind::Max, "max", axes.clone());
        self.without_axes(&reduced, &axes)
    }

    /// Largest element over axes, which keep size 1; NaN wins.
    #[track_caller]
    pub fn max_keepdim(&self, axes: impl Into<Axes>) -> Tensor {
        self.reduce_keepdim(ReduceKind::Max, "max", axes.into())
    }

    /// Smallest element over axes, which disappear; NaN wins.
    #[track_caller]
    pub fn min(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let reduced = self.reduce_keepdim(ReduceKind::Min, "min", axes.clone());
        self.without_axes(&reduced, &axes)
    }

    /// Position (`I32`) of the first largest element along an axis, which disappears; NaN counts as largest.
    #[track_caller]
    pub fn argmax(&self, axis: isize) -> Tensor {
        self.argument(axis, ReduceKind::Max)
    }

    /// Position (`I32`) of the first smallest element along an axis, which disappears; NaN counts as smallest.
    #[track_caller]
    pub fn argmin(&self, axis: isize) -> Tensor {
        self.argument(axis, ReduceKind::Min)
    }

    #[track_caller]
    fn argument(&self, axis: isize, kind: ReduceKind) -> Tensor {
        let at = At::caller();
        let k = match axis_of(self, "argmax", axis, at) {
            Ok(k) => k,
            Err(error) => return Tensor::error(error),
        };
        let Ok(device) = self.device() else { return self.clone() };
        let extreme = self.reduce_keepdim(kind, "argmax", Axes::from(axis));
        let mut hit = self.eq(&extreme);
        if self.dtype().is_float() {
            hit = hit.logical_or(self.is_nan());
        }
        let positions = Tensor::iota(self.shape(), k, DType::I32, &device);
        hit.select(&positions, i32::MAX).min(axis)
    }
}

fn all_axes(x: &Tensor) -> SmallVec<[isize; 6]> {
    (0..x.rank() as isize).collect()
}
