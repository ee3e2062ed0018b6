//! Images and signals at other sizes: nearest, linear and cubic interpolation.

use vorpal_kernels::ReduceKind;
use vorpal_tensor::{At, DType, Device, Error, Result, Shape};

use super::index::Gather;
use super::pointwise::{
    ADD, DIV, GREATER_EQUAL, LESS, LESS_EQUAL, MAXIMUM, MINIMUM, MUL, PointwiseFn, SELECT, SUB,
};
use super::reduce::reduce;
use super::{dtype_error, shape_error};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// How [`Tensor::interpolate`] finds values between elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// The element in front.
    Nearest,
    /// A line between neighbours along each axis: `linear`, `bilinear`, `trilinear` in PyTorch.
    Linear,
    /// Cubic convolution with a = −0.75 (Keys 1981) along each axis: `bicubic` in PyTorch.
    Cubic,
}

/// Positions (scale · i + shift) ∕ denominator in the source of elements i of the result: integers, so that they are
/// exact on every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    scale: usize,
    shift: isize,
    denominator: usize,
}

impl Ratio {
    fn of(from: usize, to: usize, align_corners: bool) -> Ratio {
        if align_corners {
            let denominator = to.saturating_sub(1).max(1);
            return Ratio { scale: from - 1, shift: 0, denominator };
        }
        // (i + 1 ∕ 2) · from ∕ to − 1 ∕ 2
        Ratio { scale: 2 * from, shift: from as isize - to as isize, denominator: 2 * to }
    }

    /// Whether all numbers fit 32 bits, for `to` elements.
    fn fits(&self, to: usize) -> bool {
        let top = self.scale.saturating_mul(to).saturating_add(self.denominator.saturating_mul(8));
        top < i32::MAX as usize
    }

    /// How far each of `to` elements lies behind the element of the source in front of it, in 0..1. Positions are
    /// limited to the first element from below where `clamped`.
    #[track_caller]
    fn distances(&self, to: usize, clamped: bool, dtype: DType, device: &Device) -> Tensor {
        let count = Tensor::iota([to], 0, DType::I32, device);
        let numerator = count.with_constant(&MUL, self.scale as f64).with_constant(&ADD, self.shift as f64);
        // Division rounds towards zero: positions in front of the source are moved one element further first.
        let denominator = self.denominator as f64;
        let numerator = match clamped {
            true => numerator.with_constant(&MAXIMUM, 0.0),
            false => numerator.with_constant(&ADD, denominator),
        };
        let whole = numerator.with_constant(&DIV, denominator);
        let rest = &numerator - whole.with_constant(&MUL, denominator);
        rest.cast(dtype).with_constant(&DIV, denominator)
    }
}

/// Which element of an axis each of `to` elements looks at: the one `offset` behind the whole part of its position,
/// within the axis. The numbers never fall, so that elements looking at the same one are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taps {
    axis: usize,
    from: usize,
    to: usize,
    ratio: Ratio,
    /// Whether positions in front of the source count as its first element.
    clamped: bool,
    offset: isize,
}

/// Whole numbers in the compiler's graph.
struct Whole<'a> {
    cx: &'a mut Builder,
    shape: Shape,
}

impl Whole<'_> {
    fn count(&mut self) -> NodeId {
        let place = self.cx.coordinate(&self.shape, 0);
        self.cx.cast(place, DType::I32)
    }

    fn with(&mut self, f: &'static PointwiseFn, x: NodeId, number: isize) -> NodeId {
        let number = self.cx.constant(number as f64, self.shape.clone(), DType::I32);
        self.cx.call(&f.f, &[x, number])
    }

    /// `number` where a comparison with `limit` holds, else x.
    fn where_(
        &mut self,
        f: &'static PointwiseFn,
        k: NodeId,
        limit: isize,
        number: isize,
        x: NodeId,
    ) -> NodeId {
        let holds = self.with(f, k, limit);
        let number = self.cx.constant(number as f64, self.shape.clone(), DType::I32);
        self.cx.call(&SELECT.f, &[holds, number, x])
    }
}

impl Taps {
    fn key(&self, key: &mut Key) {
        let Ratio { scale, shift, denominator } = self.ratio;
        key.push_list(&[self.axis, self.from, self.to, scale, denominator, usize::from(self.clamped)]);
        key.push_signed(shift);
        key.push_signed(self.offset);
    }

    fn behind(&self) -> Taps {
        Taps { axis: self.axis + 1, ..*self }
    }

    /// The elements looked at, `[to]`.
    fn numbers(&self, cx: &mut Builder) -> NodeId {
        let Ratio { scale, shift, denominator } = self.ratio;
        let (scale, denominator) = (scale as isize, denominator as isize);
        let mut whole = Whole { cx, shape: Shape::from([self.to]) };
        let count = whole.count();
        let scaled = whole.with(&MUL, count, scale);
        let numerator = whole.with(&ADD, scaled, shift);
        // Division rounds towards zero.
        let (limit, further): (&'static PointwiseFn, _) =
            if self.clamped { (&MAXIMUM, 0) } else { (&ADD, denominator) };
        let numerator = whole.with(limit, numerator, further);
        let quotient = whole.with(&DIV, numerator, denominator);
        let moved = whole.with(&ADD, quotient, self.offset - isize::from(!self.clamped));
        let least = whole.with(&MAXIMUM, moved, 0);
        whole.with(&MINIMUM, least, self.from as isize - 1)
    }

    /// First element of the result that looks at element `k` of the source or one behind it.
    fn first(&self, k: usize) -> usize {
        let Ratio { scale, shift, denominator } = self.ratio;
        let behind = k as isize - self.offset;
        match k {
            0 => 0,
            _ if k >= self.from => self.to,
            _ if self.clamped && behind <= 0 => 0,
            _ => {
                let numerator = (behind * denominator as isize - shift).max(0) as usize;
                numerator.div_ceil(scale.max(1)).min(self.to)
            }
        }
    }

    /// The same for a list of elements of the source.
    fn firsts(&self, whole: &mut Whole<'_>, k: NodeId) -> NodeId {
        let Ratio { scale, shift, denominator } = self.ratio;
        let behind = whole.with(&SUB, k, self.offset);
        let scaled = whole.with(&MUL, behind, denominator as isize);
        let numerator = whole.with(&SUB, scaled, shift);
        let least = whole.with(&MAXIMUM, numerator, 0);
        let raised = whole.with(&ADD, least, scale.max(1) as isize - 1);
        let quotient = whole.with(&DIV, raised, scale.max(1) as isize);
        let mut first = whole.with(&MINIMUM, quotient, self.to as isize);
        if self.clamped {
            first = whole.where_(&LESS_EQUAL, behind, 0, 0, first);
        }
        let first = whole.where_(&LESS_EQUAL, k, 0, 0, first);
        whole.where_(&GREATER_EQUAL, k, self.from as isize, self.to as isize, first)
    }
}

/// The elements that [`Taps`] names.
#[derive(Debug)]
struct Look(Taps);

impl Op for Look {
    fn name(&self) -> &'static str {
        "interpolate"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(inputs[0].shape.with_axis(self.0.axis, self.0.to), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![v.inputs[0].dtype().is_float().then(|| Tensor::apply(LookBack(self.0), &[v.grad], At::caller()))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Look(self.0.behind()))
    }
    fn attributes(&self, key: &mut Key) {
        self.0.key(key);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let numbers = self.0.numbers(cx);
        Gather::list(self.0.axis).lower(cx, &[x[0], numbers], &[])
    }
}

/// The adjoint of [`Look`]: every element of the source adds up the run of elements that look at it, which costs as
/// many steps as there are such elements, where adding by number would look at all.
#[derive(Debug)]
struct LookBack(Taps);

impl Op for LookBack {
    fn name(&self) -> &'static str {
        "interpolate_back"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(inputs[0].shape.with_axis(self.0.axis, self.0.from), inputs[0].dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(Tensor::apply(Look(self.0), &[v.grad], At::caller()))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(LookBack(self.0.behind()))
    }
    fn attributes(&self, key: &mut Key) {
        self.0.key(key);
    }
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let Taps { axis, from, to, .. } = self.0;
        let run = (0..from).map(|k| self.0.first(k + 1) - self.0.first(k)).max().unwrap_or(0).max(1);
        let shape = cx.shape(x[0]).with_axis(axis, from * run);
        let mut whole = Whole { cx, shape: Shape::from([from * run]) };
        let count = whole.count();
        let k = whole.with(&DIV, count, run as isize);
        let start = whole.with(&MUL, k, run as isize);
        let within = whole.cx.call(&SUB.f, &[count, start]);
        let next = whole.with(&ADD, k, 1);
        let (first, end) = (self.0.firsts(&mut whole, k), self.0.firsts(&mut whole, next));
        let place = whole.cx.call(&ADD.f, &[first, within]);
        let looks = whole.cx.call(&LESS.f, &[place, end]);
        let number = whole.with(&MINIMUM, place, to as isize - 1);
        let picked = Gather::list(axis).lower(cx, &[x[0], number], &[])?;
        let along: Shape = (0..shape.rank()).map(|j| if j == axis { from * run } else { 1 }).collect();
        let looks = cx.view(looks, |l| l.reshape(&along))?;
        let looks = cx.view(looks, |l| Some(l.broadcast_to(&shape)))?;
        let zero = cx.constant(0.0, shape.clone(), cx.dtype(picked));
        let kept = cx.call(&SELECT.f, &[looks, picked, zero]);
        let split: Shape = shape[..axis]
            .iter()
            .copied()
            .chain([from, run])
            .chain(shape[axis + 1..].iter().copied())
            .collect();
        let kept = cx.view(kept, |l| l.reshape(&split))?;
        let mut summed = vec![false; split.rank()];
        summed[axis + 1] = true;
        let sum = reduce(cx, ReduceKind::Sum, kept, &summed)?;
        let out = shape.with_axis(axis, from);
        cx.view(sum, |l| l.reshape(&out))
    }
}

/// a + b·t + c·t² + d·t³.
#[track_caller]
fn cubic(t: &Tensor, [a, b, c, d]: [f64; 4]) -> Tensor {
    let inner = t.with_constant(&MUL, d).with_constant(&ADD, c);
    let middle = (inner * t).with_constant(&ADD, b);
    (middle * t).with_constant(&ADD, a)
}

/// One axis at another size.
#[track_caller]
fn along(x: &Tensor, axis: usize, to: usize, mode: Interpolation, ratio: Ratio, device: &Device) -> Tensor {
    let at = At::caller();
    let (from, clamped) = (x.shape()[axis], mode != Interpolation::Cubic);
    let tap = |offset| Tensor::apply(Look(Taps { axis, from, to, ratio, clamped, offset }), &[x], at);
    if mode == Interpolation::Nearest {
        return tap(0);
    }
    let distance = ratio.distances(to, clamped, x.dtype(), device);
    // Weights run along the axis.
    let place: Shape = (0..x.rank()).map(|k| if k == axis { to } else { 1 }).collect();
    let weight = |w: &Tensor| w.reshape(place.clone());
    if mode == Interpolation::Linear {
        let low = tap(0);
        return &low + (tap(1) - &low) * weight(&distance);
    }
    // Keys' kernel with a = −3 ∕ 4 at distances 1 + t, t, 1 − t and 2 − t.
    let coefficients =
        [[0.0, -0.75, 1.5, -0.75], [1.0, 0.0, -2.25, 1.25], [0.0, 0.75, 1.5, -1.25], [0.0, 0.0, -0.75, 0.75]];
    let mut sum = tap(-1) * weight(&cubic(&distance, coefficients[0]));
    for (offset, coefficients) in (0..).zip(&coefficients[1..]) {
        sum = sum + tap(offset) * weight(&cubic(&distance, *coefficients));
    }
    sum
}

impl Tensor {
    /// `[examples, channels, …]` with the axes behind the channels at the sizes `size`, as
    /// `torch.nn.functional.interpolate`. Axes are interpolated one after the other. Where `align_corners` holds, the
    /// first and last elements keep their places; else the outer borders do.
    ///
    /// Positions are exact rational numbers. 16-bit floats are computed in f32.
    ///
    /// Carries [`Error::Shape`] when `size` has not one number for each axis or an axis is empty, [`Error::Argument`]
    /// for aligned corners of [`Interpolation::Nearest`] and for axes of more than some 20,000 elements,
    /// [`Error::DType`] for lines between integers.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor, ops::Interpolation};
    /// let x = Tensor::from_slice(&[0.0f32, 1.0], [1, 1, 2], &Device::cpu());
    /// let wide = x.interpolate(&[3], Interpolation::Linear, true);
    /// assert_eq!(wide.to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn interpolate(&self, size: &[usize], mode: Interpolation, align_corners: bool) -> Tensor {
        let (at, shape, dtype) = (At::caller(), self.shape(), self.dtype());
        let Ok(device) = self.device() else { return self.clone() };
        if shape.rank() != size.len() + 2 {
            let message =
                format!("{} sizes for {} axes behind the channels", size.len(), shape.rank().max(2) - 2);
            return Tensor::error(shape_error("interpolate", message, &[self], at));
        }
        if shape[2..].contains(&0) || size.contains(&0) {
            let message = format!("an empty axis cannot be brought to {size:?} elements or from none");
            return Tensor::error(shape_error("interpolate", message, &[self], at));
        }
        if mode != Interpolation::Nearest && !dtype.is_float() {
            let message = format!("{mode:?} needs floats, found {dtype}");
            return Tensor::error(dtype_error("interpolate", message, &[self], at));
        }
        let refuse = |message: String| Tensor::error(Error::Argument { op: "interpolate", message, at });
        if mode == Interpolation::Nearest && align_corners {
            return refuse("Nearest does not align corners".into());
        }
        let mut x = if dtype.is_float() { self.cast(dtype.compute()) } else { self.clone() };
        for (k, &to) in size.iter().enumerate() {
            let from = shape[k + 2];
            if from == to {
                continue;
            }
            let ratio = match mode {
                Interpolation::Nearest => Ratio { scale: from, shift: 0, denominator: to },
                _ => Ratio::of(from, to, align_corners),
            };
            if !ratio.fits(to) {
                return refuse(format!("positions from {from} to {to} elements do not fit 32 bits"));
            }
            x = along(&x, k + 2, to, mode, ratio, &device);
        }
        x.cast(dtype)
    }
}
