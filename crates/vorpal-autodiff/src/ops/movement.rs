//! Movement: other views of the same values. None of these ops computes anything.

use std::any::Any;
use std::ops::{Bound as StdBound, RangeBounds};
use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_kernels::{Join, Joined};
use vorpal_tensor::{At, DType, DeviceKind, Error, Layout, Result, Shape};

use super::pointwise::{LESS, SELECT};
use super::{Axes, axis_of, shape_error};
use crate::compile::ir::{Builder, Kind, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// A half-open range of positions along an axis; negative positions count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    start: isize,
    end: Option<isize>,
}

impl Bound {
    /// From any range of integers, as in `1..`, `..-1`, `2..=4`, `..`.
    fn of(range: impl RangeBounds<isize>) -> Bound {
        let start = match range.start_bound() {
            StdBound::Included(&s) => s,
            StdBound::Excluded(&s) => s + 1,
            StdBound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            StdBound::Included(&-1) | StdBound::Unbounded => None,
            StdBound::Included(&e) => Some(e + 1),
            StdBound::Excluded(&e) => Some(e),
        };
        Bound { start, end }
    }

    /// Start and length within an axis of `size`, or `None` outside of it.
    fn within(self, size: usize) -> Option<(usize, usize)> {
        let size = size as isize;
        let from_front = |k: isize| if k < 0 { k + size } else { k };
        let (start, end) = (from_front(self.start), from_front(self.end.unwrap_or(size)));
        (0 <= start && start <= end && end <= size).then_some((start as usize, (end - start) as usize))
    }
}

#[derive(Debug)]
struct Reshape {
    shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if inputs[0].shape.checked_numel() != self.shape.checked_numel() {
            return Misfit::shape(format!(
                "{} elements do not fill shape {}",
                inputs[0].shape.numel(),
                self.shape
            ));
        }
        Ok(Spec::new(self.shape.clone(), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(v.grad.reshape(v.inputs[0].shape()))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Reshape { shape: v.in_front(&self.shape) })
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.shape);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        cx.view(x[0], |l| self.window(l))
    }
    fn window(&self, layout: &Layout) -> Option<Layout> {
        layout.reshape(&self.shape)
    }
}

#[derive(Debug)]
struct Permute {
    axes: SmallVec<[usize; 6]>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let shape = &inputs[0].shape;
        if self.axes.len() != shape.rank() {
            return Misfit::shape(format!(
                "{} axes given for a tensor with {}",
                self.axes.len(),
                shape.rank()
            ));
        }
        let shape: Shape = self.axes.iter().map(|&a| shape[a]).collect();
        Ok(Spec::new(shape, inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let mut back: SmallVec<[isize; 6]> = smallvec::smallvec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            back[from] = to as isize;
        }
        vec![Some(v.grad.permute(&back[..]))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Permute { axes: std::iter::once(0).chain(self.axes.iter().map(|&a| a + 1)).collect() })
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.axes);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        cx.view(x[0], |l| self.window(l))
    }
    fn window(&self, layout: &Layout) -> Option<Layout> {
        Some(layout.permute(&self.axes))
    }
}

#[derive(Debug)]
struct Broadcast {
    shape: Shape,
}

impl Op for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if inputs[0].shape.broadcast(&self.shape).as_ref() != Some(&self.shape) {
            return Misfit::shape(format!("shape {} does not broadcast to {}", inputs[0].shape, self.shape));
        }
        Ok(Spec::new(self.shape.clone(), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(v.grad.sum_to(&v.inputs[0].shape()))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        // Shapes are aligned at their ends: the examples go in front of the axes that are added.
        let shape = v.inputs[0].shape();
        let added = self.shape.rank() + 1 - shape.rank();
        let aligned: Shape = std::iter::once(v.size)
            .chain(std::iter::repeat_n(1, added))
            .chain(shape[1..].iter().copied())
            .collect();
        let shape = v.in_front(&self.shape);
        Tensor::apply(Broadcast { shape }, &[&v.inputs[0].reshape(aligned)], v.at)
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.shape);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        cx.view(x[0], |l| Some(l.broadcast_to(&self.shape)))
    }
}

#[derive(Debug)]
struct Slice {
    axis: usize,
    start: usize,
    len: usize,
    step: usize,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(inputs[0].shape.with_axis(self.axis, self.len), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let size = v.inputs[0].shape()[self.axis];
        let mut grad = v.grad.clone();
        let mut len = self.len;
        if self.step > 1 && len > 1 {
            // Spread the elements `step` apart: pad each with zeros behind it.
            let shape = grad.shape();
            let (mut split, mut joined) = (SmallVec::<[usize; 8]>::new(), shape.clone());
            split.extend(shape[..=self.axis].iter().copied());
            split.push(1);
            split.extend(shape[self.axis + 1..].iter().copied());
            let mut after: SmallVec<[usize; 8]> = smallvec::smallvec![0; split.len()];
            after[self.axis + 1] = self.step - 1;
            let before: SmallVec<[usize; 8]> = smallvec::smallvec![0; split.len()];
            joined = joined.with_axis(self.axis, len * self.step);
            let spread = grad.reshape(&split[..]).pad_axes(&before, &after, 0.0).reshape(joined);
            len = (len - 1) * self.step + 1;
            grad = spread.narrow(self.axis as isize, 0, len);
        }
        let rank = grad.rank();
        let (mut before, mut after): (SmallVec<[usize; 6]>, SmallVec<[usize; 6]>) =
            (smallvec::smallvec![0; rank], smallvec::smallvec![0; rank]);
        if rank > self.axis {
            before[self.axis] = self.start;
            after[self.axis] = size - self.start - len;
        }
        vec![Some(grad.pad_axes(&before, &after, 0.0))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Slice { axis: self.axis + 1, ..*self })
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.axis, self.start, self.len, self.step]);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        cx.view(x[0], |l| self.window(l))
    }
    fn window(&self, layout: &Layout) -> Option<Layout> {
        Some(layout.slice(self.axis, self.start, self.len, self.step))
    }
}

#[derive(Debug)]
struct Flip {
    axes: SmallVec<[usize; 6]>,
}

impl Op for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let axes: SmallVec<[isize; 6]> = self.axes.iter().map(|&a| a as isize).collect();
        vec![Some(v.grad.flip(&axes[..]))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Flip { axes: self.axes.iter().map(|&a| a + 1).collect() })
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.axes);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let mut out = x[0];
        for &axis in &self.axes {
            out = cx.view(out, |l| Some(l.flip(axis)))?;
        }
        Ok(out)
    }
}

#[derive(Debug)]
struct Pad {
    before: SmallVec<[usize; 6]>,
    after: SmallVec<[usize; 6]>,
    value: f64,
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let shape = &inputs[0].shape;
        if self.before.len() != shape.rank() || self.after.len() != shape.rank() {
            return Misfit::shape(format!("padding of {} axes for {}", self.before.len(), shape.rank()));
        }
        let padded: Shape =
            shape.iter().zip(&self.before).zip(&self.after).map(|((&d, &b), &a)| d + b + a).collect();
        Ok(Spec::new(padded, inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let mut grad = v.grad.clone();
        for (axis, &size) in v.inputs[0].shape().iter().enumerate() {
            grad = grad.narrow(axis as isize, self.before[axis], size);
        }
        vec![Some(grad)]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let none_first = |pads: &[usize]| std::iter::once(0).chain(pads.iter().copied()).collect();
        v.apply(Pad { before: none_first(&self.before), after: none_first(&self.after), value: self.value })
    }
    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.before);
        key.push_list(&self.after);
        key.push_float(self.value);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        cx.pad(x[0], &self.before, &self.after, self.value)
    }
}

/// Two parts are best joined by the kernel that reads them.
const PAIR: usize = 2;

/// Elements that lie behind one another in every part, from which on a kernel copies them rather than asks for each where it
/// comes from.
const RUN_MIN: usize = 64;

/// Parts that one launch selects from: with the result they fill the bindings of a kernel.
const SELECTED_MAX: usize = 7;

#[derive(Debug)]
struct Concat {
    axis: usize,
}

impl Concat {
    fn total(&self, inputs: impl Iterator<Item = usize>) -> usize {
        inputs.sum()
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        super::same_dtype(inputs)?;
        let first = &inputs[0].shape;
        let fits =
            |s: &Shape| s.rank() == first.rank() && (0..s.rank()).all(|k| k == self.axis || s[k] == first[k]);
        if let Some(other) = inputs.iter().find(|i| !fits(&i.shape)) {
            let axis = self.axis;
            return Misfit::shape(format!("{} and {first} differ beyond axis {axis}", other.shape));
        }
        let total = self.total(inputs.iter().map(|i| i.shape[self.axis]));
        Ok(Spec::new(first.with_axis(self.axis, total), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let mut start = 0;
        let mut out = Vec::with_capacity(v.inputs.len());
        for input in v.inputs {
            let len = input.shape()[self.axis];
            out.push(Some(v.grad.narrow(self.axis as isize, start, len)));
            start += len;
        }
        out
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Concat { axis: self.axis + 1 })
    }
    fn attributes(&self, key: &mut Key) {
        key.push(self.axis);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let run = |&part: &NodeId| cx.shape(part)[self.axis..].iter().product::<usize>();
        let (long, native) = (x.iter().map(run).min() >= Some(RUN_MIN), cx.target().is_native());
        if native && x.len() > SELECTED_MAX || long && x.len() > PAIR {
            // The result is bound, too, but natively nothing is.
            let bound = (cx.target().abilities.buffers as usize).saturating_sub(1).max(PAIR);
            let most = if native { x.len() } else { bound };
            let joined = self.in_groups(cx, x, most, |cx, few| Ok(self.join(cx, few)))?;
            if let Some(joined) = joined {
                return Ok(joined);
            }
        }
        self.in_groups(cx, x, SELECTED_MAX, |cx, few| self.select(cx, few).map(Some))?
            .ok_or_else(|| Error::internal("concat", "nothing to join"))
    }
}

impl Concat {
    /// `most` parts at a time, until there is one; `None` where they cannot be put together so.
    fn in_groups(
        &self,
        cx: &mut Builder,
        x: &[NodeId],
        most: usize,
        together: impl Fn(&mut Builder, &[NodeId]) -> Result<Option<NodeId>>,
    ) -> Result<Option<NodeId>> {
        let mut parts = x.to_vec();
        while parts.len() > 1 {
            let mut joined = Vec::with_capacity(parts.len().div_ceil(most));
            for few in parts.chunks(most) {
                let one = if let [one] = few { Some(*one) } else { together(cx, few)? };
                match one {
                    Some(one) => joined.push(one),
                    None => return Ok(None),
                }
            }
            parts = joined;
        }
        Ok(parts.pop())
    }

    /// Parts by a kernel that copies them, if the device has it.
    fn join(&self, cx: &mut Builder, x: &[NodeId]) -> Option<NodeId> {
        let (dtype, total) = (cx.dtype(x[0]), self.total(x.iter().map(|&n| cx.shape(n)[self.axis])));
        let shape = cx.shape(x[0]).with_axis(self.axis, total);
        let (mut inputs, mut parts) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        for &part in x {
            let len = cx.shape(part)[self.axis..].iter().product();
            if matches!(cx.nodes()[part].kind, Kind::Const { value } if value.to_bits() == 0) {
                parts.push(Joined::Zeros { len });
                continue;
            }
            let (buffer, offset) = cx.dense(part);
            inputs.push(buffer);
            parts.push(Joined::Operand { offset, len });
        }
        let outer = shape[..self.axis].iter().product();
        let join = Join::new(dtype, outer, parts);
        let can = cx.target().is_native() || join.has_shader();
        can.then(|| cx.kernel(Arc::new(join), &inputs, shape, dtype))
    }

    /// Few parts, each element from the one it lies in.
    fn select(&self, cx: &mut Builder, x: &[NodeId]) -> Result<NodeId> {
        let total = self.total(x.iter().map(|&n| cx.shape(n)[self.axis]));
        let shape = cx.shape(x[0]).with_axis(self.axis, total);
        let position = cx.coordinate(&shape, self.axis);
        let (mut out, mut start) = (None, 0);
        for &part in x {
            let len = cx.shape(part)[self.axis];
            let (mut before, mut after): (SmallVec<[usize; 6]>, SmallVec<[usize; 6]>) =
                (smallvec::smallvec![0; shape.rank()], smallvec::smallvec![0; shape.rank()]);
            before[self.axis] = start;
            after[self.axis] = total - start - len;
            let padded = cx.pad(part, &before, &after, 0.0)?;
            out = Some(match out {
                None => padded,
                Some(so_far) => {
                    let from = cx.constant(start as f64, shape.clone(), DType::U32);
                    let earlier = cx.call(&LESS.f, &[position, from]);
                    cx.call(&SELECT.f, &[earlier, so_far, padded])
                }
            });
            start += len;
        }
        out.ok_or_else(|| Error::internal("concat", "nothing to join"))
    }
}

/// A tensor among zeros along one axis.
struct Placed {
    axis: usize,
    start: usize,
    part: Tensor,
}

impl Placed {
    /// Where the derivative of a slice lies.
    fn of(x: &Tensor) -> Option<Placed> {
        let node = x.0.as_ref().ok()?;
        let pad = (&*node.op as &dyn Any).downcast_ref::<Pad>()?;
        let padded = |k: &usize| pad.before[*k] + pad.after[*k] > 0;
        let mut axes = (0..pad.before.len()).filter(padded);
        let (axis, None, 0.0) = (axes.next()?, axes.next(), pad.value) else { return None };
        let part = Tensor(Ok(node.inputs().into_iter().next()?));
        Some(Placed { axis, start: pad.before[axis], part })
    }

    fn end(&self) -> usize {
        self.start + self.part.shape()[self.axis]
    }
}

/// The sum of cotangents of one tensor. Those of slices that share no element are joined: adding T tensors of T elements
/// each of which is zero but for one would take T² steps. Many small products become one.
pub(crate) fn total(cotangents: Vec<Tensor>) -> Option<Tensor> {
    let cotangents = super::matmul::merged(cotangents);
    let placed: Vec<Option<Placed>> = match &cotangents[..] {
        [] | [_] => Vec::new(),
        several => several.iter().map(Placed::of).collect(),
    };
    let axis = placed.iter().flatten().next().map(|p| p.axis);
    let mine = |p: &Option<Placed>| p.as_ref().is_some_and(|p| Some(p.axis) == axis);
    let mut slices: Vec<&Placed> = placed.iter().filter(|p| mine(p)).flatten().collect();
    slices.sort_by_key(|p| p.start);
    // Two are added by whatever comes next.
    let apart = slices.len() > PAIR && slices.windows(2).all(|p| p[0].end() <= p[1].start);
    let joined = apart.then(|| join(&slices, &cotangents[0])).into_iter();
    let rest = cotangents.iter().enumerate().filter(|(k, _)| !apart || !mine(&placed[*k]));
    joined.chain(rest.map(|(_, x)| x.clone())).reduce(|sum, x| sum + x)
}

/// Slices in order, zeros between them, of the shape of `like`.
fn join(slices: &[&Placed], like: &Tensor) -> Tensor {
    let (shape, axis) = (like.shape(), slices[0].axis);
    let (mut parts, mut at) = (Vec::with_capacity(slices.len()), 0);
    let gap = |len: usize| like.narrow(axis as isize, 0, len).full_like(0.0);
    for slice in slices {
        parts.extend((slice.start > at).then(|| gap(slice.start - at)));
        parts.push(slice.part.clone());
        at = slice.end();
    }
    parts.extend((shape[axis] > at).then(|| gap(shape[axis] - at)));
    Tensor::concat(&parts.iter().collect::<Vec<_>>(), axis as isize)
}

impl Tensor {
    /// The same elements in row-major order under another shape.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::cpu());
    /// assert_eq!(x.reshape([3, 2]).shape().dims(), &[3, 2]);
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if shape == self.shape() {
            return self.clone();
        }
        Tensor::apply(Reshape { shape }, &[self], At::caller())
    }

    /// Axes `from..=to` (negative from the back) merged into one, as in `torch.flatten`.
    #[track_caller]
    pub fn flatten(&self, from: isize, to: isize) -> Tensor {
        let at = At::caller();
        let range =
            axis_of(self, "flatten", from, at).and_then(|f| Ok((f, axis_of(self, "flatten", to, at)?)));
        match range {
            Err(e) => Tensor::error(e),
            Ok((from, to)) if from > to => {
                Tensor::error(shape_error("flatten", format!("axis {from} lies behind {to}"), &[self], at))
            }
            Ok((from, to)) => {
                let shape = self.shape();
                let mut out: SmallVec<[usize; 6]> = shape[..from].iter().copied().collect();
                out.push(shape[from..=to].iter().product());
                out.extend(shape[to + 1..].iter().copied());
                self.reshape(&out[..])
            }
        }
    }

    /// A new axis of size 1 at `axis`.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let (at, rank) = (At::caller(), self.rank() as isize);
        let place = if axis < 0 { axis + rank + 1 } else { axis };
        if place < 0 || place > rank {
            let message = format!("axis {axis} for a tensor with {rank} axes");
            return self.check().err().map_or_else(
                || Tensor::error(shape_error("unsqueeze", message, &[self], at)),
                |_| self.clone(),
            );
        }
        let mut dims: SmallVec<[usize; 6]> = self.shape().iter().copied().collect();
        dims.insert(place as usize, 1);
        self.reshape(&dims[..])
    }

    /// Without axis `axis`, which must have size 1.
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Tensor {
        let at = At::caller();
        match axis_of(self, "squeeze", axis, at) {
            Err(e) => Tensor::error(e),
            Ok(k) if self.shape()[k] != 1 => {
                let message = format!("axis {axis} has size {}, not 1", self.shape()[k]);
                Tensor::error(shape_error("squeeze", message, &[self], at))
            }
            Ok(k) => self.reshape(self.shape().without_axis(k)),
        }
    }

    /// Axes in another order: axis `k` of the result is axis `axes[k]` of `self`.
    #[track_caller]
    pub fn permute(&self, axes: impl Into<Axes>) -> Tensor {
        let at = At::caller();
        match axes.into().resolve(self, "permute", at) {
            Ok(axes) if axes.iter().enumerate().all(|(k, &a)| k == a) && axes.len() == self.rank() => {
                self.clone()
            }
            Ok(axes) => Tensor::apply(Permute { axes }, &[self], at),
            Err(e) => Tensor::error(e),
        }
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let at = At::caller();
        let pair =
            axis_of(self, "transpose", a, at).and_then(|a| Ok((a, axis_of(self, "transpose", b, at)?)));
        match pair {
            Err(e) => Tensor::error(e),
            Ok((a, b)) => {
                let mut axes: SmallVec<[isize; 6]> = (0..self.rank() as isize).collect();
                axes.swap(a, b);
                self.permute(&axes[..])
            }
        }
    }

    /// The matrix that this is the transpose of, if it was made so. A permutation of two axes that leaves them is no node.
    pub(crate) fn transposed_from(&self) -> Option<Tensor> {
        let node = self.0.as_ref().ok().filter(|_| self.rank() == 2)?;
        (&*node.op as &dyn Any).downcast_ref::<Permute>()?;
        node.inputs().into_iter().next().map(|matrix| Tensor(Ok(matrix)))
    }

    /// Whether native code computes with this.
    pub(crate) fn is_native(&self) -> bool {
        self.0.as_ref().is_ok_and(|node| node.device.info().kind == DeviceKind::NativeCpu)
    }

    /// The matrix transpose: the last two axes exchanged.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        self.transpose(-2, -1)
    }

    /// Repeats axes of size 1 and adds axes in front, without copying.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if shape == self.shape() {
            return self.clone();
        }
        Tensor::apply(Broadcast { shape }, &[self], At::caller())
    }

    /// The adjoint of [`broadcast_to`](Tensor::broadcast_to): sums until `shape` is left.
    #[track_caller]
    pub fn sum_to(&self, shape: &Shape) -> Tensor {
        let have = self.shape();
        if &have == shape {
            return self.clone();
        }
        let front = have.rank().saturating_sub(shape.rank());
        let axes: SmallVec<[isize; 6]> = (0..have.rank())
            .filter(|&k| k < front || (shape[k - front] == 1 && have[k] != 1))
            .map(|k| k as isize)
            .collect();
        self.sum_keepdim(&axes[..]).reshape(shape.clone())
    }

    /// Positions `range` of an axis; negative positions count from its end.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [4], &Device::cpu());
    /// assert_eq!(x.slice(0, 1..-1).to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, axis: isize, range: impl RangeBounds<isize>) -> Tensor {
        self.slice_step(axis, range, 1)
    }

    /// Every `step`-th of the positions `range` of an axis, from its start.
    #[track_caller]
    pub fn slice_step(&self, axis: isize, range: impl RangeBounds<isize>, step: usize) -> Tensor {
        let (at, bound) = (At::caller(), Bound::of(range));
        let k = match axis_of(self, "slice", axis, at) {
            Ok(k) => k,
            Err(e) => return Tensor::error(e),
        };
        let size = self.shape()[k];
        match bound.within(size) {
            Some((start, len)) if step > 0 => {
                let len = len.div_ceil(step);
                if len == size && step == 1 {
                    return self.clone();
                }
                Tensor::apply(Slice { axis: k, start, len, step }, &[self], at)
            }
            _ => {
                let end = bound.end.map_or(String::new(), |e| e.to_string());
                let message = format!(
                    "positions {}..{end} (step {step}) do not lie on axis {axis} of size {size}",
                    bound.start
                );
                Tensor::error(shape_error("slice", message, &[self], at))
            }
        }
    }

    /// `len` positions of an axis from `start` on.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> Tensor {
        self.slice(axis, start as isize..(start + len) as isize)
    }

    /// Cuts an axis into pieces of the given sizes.
    ///
    /// # Errors
    /// The carried error, or [`Error::Shape`] when the sizes do not add up.
    #[track_caller]
    pub fn split(&self, axis: isize, sizes: &[usize]) -> Result<Vec<Tensor>> {
        let at = At::caller();
        let k = axis_of(self, "split", axis, at)?;
        let size = self.shape()[k];
        if sizes.iter().sum::<usize>() != size {
            return Err(shape_error("split", format!("{sizes:?} do not add up to {size}"), &[self], at));
        }
        let mut start = 0;
        let mut out = Vec::with_capacity(sizes.len());
        for &len in sizes {
            out.push(self.narrow(axis, start, len));
            start += len;
        }
        Ok(out)
    }

    /// Elements in reverse order along axes.
    #[track_caller]
    pub fn flip(&self, axes: impl Into<Axes>) -> Tensor {
        let at = At::caller();
        match axes.into().resolve(self, "flip", at) {
            Ok(axes) => Tensor::apply(Flip { axes }, &[self], at),
            Err(e) => Tensor::error(e),
        }
    }

    /// `before` and `after` elements of `value` around each axis, one number per axis.
    #[track_caller]
    pub fn pad_axes(&self, before: &[usize], after: &[usize], value: f64) -> Tensor {
        if before.iter().chain(after).all(|&n| n == 0) && before.len() == self.rank() {
            return self.clone();
        }
        let (before, after) = (before.iter().copied().collect(), after.iter().copied().collect());
        Tensor::apply(Pad { before, after, value }, &[self], At::caller())
    }

    /// `before` and `after` elements of `value` around one axis.
    #[track_caller]
    pub fn pad(&self, axis: isize, before: usize, after: usize, value: f64) -> Tensor {
        match axis_of(self, "pad", axis, At::caller()) {
            Err(e) => Tensor::error(e),
            Ok(k) => {
                let mut front: SmallVec<[usize; 6]> = smallvec::smallvec![0; self.rank()];
                let mut back = front.clone();
                (front[k], back[k]) = (before, after);
                self.pad_axes(&front, &back, value)
            }
        }
    }

    /// Tensors joined along an axis; all other axes must agree. Dtypes are promoted ([`DType::promote`]).
    #[track_caller]
    pub fn concat(parts: &[&Tensor], axis: isize) -> Tensor {
        let at = At::caller();
        let Some(first) = parts.first() else {
            let message = "needs at least one tensor".to_string();
            return Tensor::error(Error::Argument { op: "concat", message, at });
        };
        match axis_of(first, "concat", axis, at) {
            Err(e) => Tensor::error(e),
            Ok(_) if parts.len() == 1 => (*first).clone(),
            Ok(axis) => {
                Tensor::apply(Concat { axis }, &super::promoted(parts).iter().collect::<Vec<_>>(), at)
            }
        }
    }

    /// Tensors of one shape joined along a new axis.
    #[track_caller]
    pub fn stack(parts: &[&Tensor], axis: isize) -> Tensor {
        let mut raised = Vec::with_capacity(parts.len());
        for part in parts {
            raised.push(part.unsqueeze(axis));
        }
        Tensor::concat(&raised.iter().collect::<Vec<_>>(), axis)
    }

    /// The values copied into a gapless buffer of their own.
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        Tensor::apply(Copy, &[self], At::caller())
    }
}

/// A copy in a gapless buffer of its own.
#[derive(Debug)]
pub(crate) struct Copy;

impl Op for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(v.grad.clone())]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Copy)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(cx.copy(x[0]))
    }
}
