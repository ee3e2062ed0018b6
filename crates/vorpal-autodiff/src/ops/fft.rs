//! Fourier transforms. Complex numbers are pairs of real and imaginary parts in a last axis of size 2, as
//! `torch.view_as_real` lays them out: `[…, n, 2]` are n complex numbers.

use std::sync::Arc;

use vorpal_kernels::{FFT_LEN_MAX, Fft as Kernel, RealFft as RealKernel, UnitRoots as RootsKernel};
use vorpal_tensor::{At, DType, Device, Error, Layout, Result, Shape};

use super::pointwise::{ADD, LESS, MUL, PointwiseFn, SELECT, SUB};
use super::{Axes, axis_of, dtype_error, shape_error};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Which of a transform and its inverse is scaled, as PyTorch's `norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FftNorm {
    /// The inverse, by 1 ∕ n.
    #[default]
    Backward,
    /// Both, by 1 ∕ √n.
    Ortho,
    /// The transform, by 1 ∕ n.
    Forward,
}

impl FftNorm {
    /// Factor of a transform of n numbers, or of its inverse.
    fn scale(self, n: usize, inverse: bool) -> f64 {
        match (self, inverse) {
            (FftNorm::Ortho, _) => 1.0 / (n as f64).sqrt(),
            (FftNorm::Backward, true) | (FftNorm::Forward, false) => 1.0 / n as f64,
            _ => 1.0,
        }
    }
}

/// The transform of the axis before the pairs.
#[derive(Clone, Copy, Debug)]
struct Fft {
    inverse: bool,
    scale: f64,
}

impl Op for Fft {
    fn name(&self) -> &'static str {
        if self.inverse { "ifft" } else { "fft" }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let shape = &inputs[0].shape;
        if shape.rank() < 2 || shape[shape.rank() - 1] != 2 {
            return Misfit::shape("needs pairs of real and imaginary parts in the last axis");
        }
        Ok(inputs[0].clone())
    }

    /// The adjoint of a linear map: the conjugate matrix, which is symmetric.
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let at = v.output.ready().map_or_else(|_| At::caller(), |node| node.at);
        vec![Some(Tensor::apply(Fft { inverse: !self.inverse, ..*self }, &[v.grad], at))]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(usize::from(self.inverse));
        key.push_float(self.scale);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x[0]).clone(), cx.dtype(x[0]));
        let n = shape[shape.rank() - 2];
        if cx.target().is_native() {
            let rows = shape[..shape.rank() - 2].iter().product();
            let (base, offset) = cx.dense(x[0]);
            let kernel = Kernel::whole(n, rows, self.inverse, self.scale, dtype, offset);
            return Ok(cx.kernel(Arc::new(kernel), &[base], shape, dtype));
        }
        self.on_adapter(cx, x[0])
    }
}

impl Fft {
    fn on_adapter(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let shape = cx.shape(x).clone();
        match shape[shape.rank() - 2] {
            // No more than numbers that are scaled.
            0 | 1 => {
                let scale = cx.constant(self.scale, shape, cx.dtype(x));
                Ok(cx.call(&MUL.f, &[x, scale]))
            }
            n if n.is_power_of_two() => self.of_power(cx, x),
            _ => self.through_chirp(cx, x),
        }
    }

    /// The transform of a power of two on an adapter.
    fn of_power(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x).clone(), cx.dtype(x));
        let n = shape[shape.rank() - 2];
        let rows = shape[..shape.rank() - 2].iter().product();
        let (base, offset) = cx.dense(x);
        let launches = Kernel::launches(n, rows, self.inverse, self.scale, dtype, offset);
        let chain = |state, kernel| cx.kernel(Arc::new(kernel), &[state], shape.clone(), dtype);
        Ok(launches.ok_or_else(|| refused(n))?.into_iter().fold(base, chain))
    }

    /// Any other length on an adapter, Bluestein 1970: j k = (j² + k² − (k − j)²) ∕ 2 makes the transform a convolution
    /// with a chirp, which transforms of a power of two compute.
    fn through_chirp(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x).clone(), cx.dtype(x));
        let axis = shape.rank() - 2;
        let n = shape[axis];
        let m = (2 * n - 1).next_power_of_two();
        let table = |cx: &mut Builder, inverse: bool| {
            let kernel = RootsKernel::new(n, 2 * n, true, inverse, dtype);
            cx.kernel(Arc::new(kernel), &[], Shape::from([n, 2]), dtype)
        };
        let chirp = table(cx, self.inverse);
        let turned = product(cx, x, chirp)?;
        let turned = pad(cx, turned, axis, 0, m - n)?;
        // The conjugate chirp from −n to n, around the end of the row.
        let mirror = table(cx, !self.inverse);
        let tail = cx.view(mirror, |l| Some(l.slice(0, 1, n - 1, 1).flip(0)))?;
        let (ahead, behind) = (pad(cx, mirror, 0, 0, m - n)?, pad(cx, tail, 0, m + 1 - n, 0)?);
        let around = cx.call(&ADD.f, &[ahead, behind]);
        let forward = Fft { inverse: false, scale: 1.0 };
        let (left, right) = (forward.of_power(cx, turned)?, forward.of_power(cx, around)?);
        let both = product(cx, left, right)?;
        let back = Fft { inverse: true, scale: self.scale / m as f64 }.of_power(cx, both)?;
        let cut = cx.view(back, |l| Some(l.slice(axis, 0, n, 1)))?;
        product(cx, cut, chirp)
    }
}

fn refused(n: usize) -> Error {
    Error::internal("fft", format!("no kernel for rows of {n}"))
}

/// Zeros around an axis.
fn pad(cx: &mut Builder, x: NodeId, axis: usize, before: usize, after: usize) -> Result<NodeId> {
    let (mut front, mut back) = (vec![0; cx.shape(x).rank()], vec![0; cx.shape(x).rank()]);
    (front[axis], back[axis]) = (before, after);
    cx.pad(x, &front, &back, 0.0)
}

/// Real (0) or imaginary (1) parts of complex numbers in the place of both, so that what is made of them is one launch.
fn part(cx: &mut Builder, x: NodeId, which: usize) -> Result<NodeId> {
    let (shape, axis) = (cx.shape(x).clone(), cx.shape(x).rank() - 1);
    cx.view(x, |l| Some(l.slice(axis, which, 1, 1).broadcast_to(&shape)))
}

/// Complex numbers of their parts.
fn complex(cx: &mut Builder, re: NodeId, im: NodeId) -> NodeId {
    let shape = cx.shape(re).clone();
    let place = cx.coordinate(&shape, shape.rank() - 1);
    let one = cx.constant(1.0, shape, DType::U32);
    let is_real = cx.call(&LESS.f, &[place, one]);
    cx.call(&SELECT.f, &[is_real, re, im])
}

/// The parts of products of complex numbers with a row `[n, 2]` of them.
fn times(cx: &mut Builder, [a, b]: [NodeId; 2], row: NodeId) -> Result<[NodeId; 2]> {
    let shape = cx.shape(a).clone();
    let [c, d] = [0, 1].map(|which| {
        let part = part(cx, row, which)?;
        cx.view(part, |l| Some(l.broadcast_to(&shape)))
    });
    let (c, d) = (c?, d?);
    let [ac, bd, ad, bc] = [(a, c), (b, d), (a, d), (b, c)].map(|(p, q)| cx.call(&MUL.f, &[p, q]));
    Ok([cx.call(&SUB.f, &[ac, bd]), cx.call(&ADD.f, &[ad, bc])])
}

/// Products of complex numbers with a row `[n, 2]` of them.
fn product(cx: &mut Builder, x: NodeId, row: NodeId) -> Result<NodeId> {
    let parts = [part(cx, x, 0)?, part(cx, x, 1)?];
    let [re, im] = times(cx, parts, row)?;
    Ok(complex(cx, re, im))
}

/// The first n ∕ 2 + 1 numbers of the transform of n real ones in the last axis, as pairs, or the real numbers of those.
#[derive(Clone, Copy, Debug)]
struct RealFft {
    n: usize,
    inverse: bool,
    scale: f64,
}

impl RealFft {
    /// Complex numbers of a row.
    fn numbers(&self) -> usize {
        self.n / 2 + 1
    }

    /// Complex numbers `x`, those times `factor` that stand for two of the whole transform.
    fn weighted(&self, x: &Tensor, factor: f64) -> Tensor {
        let Ok(device) = x.device() else { return x.clone() };
        let k = Tensor::arange(self.numbers(), DType::I32, &device).unsqueeze(-1);
        let is_between = k.gt(0).logical_and(k.lt(self.n.div_ceil(2) as i64));
        is_between.select(&(x * factor), x)
    }

    /// n even, from the transform of n ∕ 2 complex numbers.
    fn pairs(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (mut shape, half) = (cx.shape(x).clone(), self.n / 2);
        let axis = shape.rank() - 1;
        shape = [&shape[..axis], &[half, 2]].concat().into();
        let x = cx.view(x, |l| l.reshape(&shape))?;
        let z = Fft { inverse: false, scale: 0.5 * self.scale }.on_adapter(cx, x)?;
        // Number k and number n ∕ 2 − k, for k from 0 to n ∕ 2: the first of all is the last, too.
        let around = |cx: &mut Builder, which: usize, mirrored: bool| {
            let z = part(cx, z, which)?;
            let first = cx.view(z, |l| Some(l.slice(axis, 0, 1, 1)))?;
            let (z, before) = if mirrored { (cx.view(z, |l| Some(l.flip(axis)))?, 1) } else { (z, 0) };
            let z = pad(cx, z, axis, before, 1 - before)?;
            let first = pad(cx, first, axis, half * (1 - before), half * before)?;
            Ok::<_, Error>(cx.call(&ADD.f, &[z, first]))
        };
        let (a, b) = (around(cx, 0, false)?, around(cx, 1, false)?);
        let (c, d) = (around(cx, 0, true)?, around(cx, 1, true)?);
        // The even part, and −i times the odd part.
        let even = [cx.call(&ADD.f, &[a, c]), cx.call(&SUB.f, &[b, d])];
        let odd = [cx.call(&ADD.f, &[b, d]), cx.call(&SUB.f, &[c, a])];
        let [re, im] = self.turned(cx, odd)?;
        let (re, im) = (cx.call(&ADD.f, &[even[0], re]), cx.call(&ADD.f, &[even[1], im]));
        Ok(complex(cx, re, im))
    }

    /// The inverse of [`pairs`](RealFft::pairs).
    fn pairs_inverse(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (mut shape, half) = (cx.shape(x).clone(), self.n / 2);
        let axis = shape.rank() - 2;
        let side = |cx: &mut Builder, which: usize, mirrored: bool| {
            let x = part(cx, x, which)?;
            let cut = |l: &Layout| {
                if mirrored { l.slice(axis, 1, half, 1).flip(axis) } else { l.slice(axis, 0, half, 1) }
            };
            cx.view(x, |l| Some(cut(l)))
        };
        // The first and the last number count as real.
        let imaginary = |cx: &mut Builder, mirrored: bool| {
            let x = side(cx, 1, mirrored)?;
            let (shape, dtype) = (cx.shape(x).clone(), cx.dtype(x));
            let k = cx.coordinate(&shape, axis);
            let one = cx.constant(1.0, shape.clone(), DType::U32);
            let zero = cx.constant(0.0, shape, dtype);
            let is_first = cx.call(&LESS.f, &[k, one]);
            Ok::<_, Error>(cx.call(&SELECT.f, &[is_first, zero, x]))
        };
        let (a, b) = (side(cx, 0, false)?, imaginary(cx, false)?);
        let (c, d) = (side(cx, 0, true)?, imaginary(cx, true)?);
        let even = [cx.call(&ADD.f, &[a, c]), cx.call(&SUB.f, &[b, d])];
        let odd = [cx.call(&SUB.f, &[a, c]), cx.call(&ADD.f, &[b, d])];
        // A quarter of a turn on.
        let [re, im] = self.turned(cx, odd)?;
        let (re, im) = (cx.call(&SUB.f, &[even[0], im]), cx.call(&ADD.f, &[even[1], re]));
        let z = complex(cx, re, im);
        let y = Fft { inverse: true, scale: self.scale }.on_adapter(cx, z)?;
        shape = [&shape[..axis], &[self.n]].concat().into();
        cx.view(y, |l| l.reshape(&shape))
    }

    /// Parts of complex numbers k, turned by root k of n.
    fn turned(&self, cx: &mut Builder, [re, im]: [NodeId; 2]) -> Result<[NodeId; 2]> {
        let (shape, dtype) = (cx.shape(re).clone(), cx.dtype(re));
        let count = shape[shape.rank() - 2];
        let kernel = RootsKernel::new(count, self.n, false, self.inverse, dtype);
        let table = cx.kernel(Arc::new(kernel), &[], Shape::from([count, 2]), dtype);
        times(cx, [re, im], table)
    }

    /// n odd, from the transform of as many complex numbers.
    fn all(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let axis = cx.shape(x).rank() - 1;
        let [single, shape] = [1, 2].map(|size| Shape::from([&cx.shape(x)[..], &[size]].concat()));
        let re = cx.view(x, |l| Some(l.reshape(&single)?.broadcast_to(&shape)))?;
        let im = cx.constant(0.0, shape, cx.dtype(re));
        let z = complex(cx, re, im);
        let y = Fft { inverse: false, scale: self.scale }.on_adapter(cx, z)?;
        cx.view(y, |l| Some(l.slice(axis, 0, self.numbers(), 1)))
    }

    /// The inverse of [`all`](RealFft::all).
    fn all_inverse(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (mut shape, there) = (cx.shape(x).clone(), self.numbers());
        let axis = shape.rank() - 2;
        let whole = |cx: &mut Builder, which: usize, join: &'static PointwiseFn| {
            let x = part(cx, x, which)?;
            let mirrored = cx.view(x, |l| Some(l.slice(axis, 1, there - 1, 1).flip(axis)))?;
            let (x, mirrored) = (pad(cx, x, axis, 0, there - 1)?, pad(cx, mirrored, axis, there, 0)?);
            Ok::<_, Error>(cx.call(&join.f, &[x, mirrored]))
        };
        let (re, im) = (whole(cx, 0, &ADD)?, whole(cx, 1, &SUB)?);
        let z = complex(cx, re, im);
        let y = Fft { inverse: true, scale: self.scale }.on_adapter(cx, z)?;
        shape = [&shape[..axis], &[self.n]].concat().into();
        cx.view(y, |l| l.slice(axis + 1, 0, 1, 1).reshape(&shape))
    }
}

impl Op for RealFft {
    fn name(&self) -> &'static str {
        if self.inverse { "irfft" } else { "rfft" }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let Spec { shape, dtype } = &inputs[0];
        let last = shape.rank().saturating_sub(if self.inverse { 2 } else { 1 });
        let (from, to): (&[usize], &[usize]) = (&[self.numbers(), 2], &[self.n]);
        let (from, to) = if self.inverse { (from, to) } else { (to, from) };
        if self.n == 0 || shape[last..] != *from {
            return Misfit::shape(format!("a row of {} real numbers has other axes than {shape}", self.n));
        }
        Ok(Spec::new([&shape[..last], to].concat(), *dtype))
    }

    /// The adjoint of a linear map. What counts twice in the inverse counts once in the transform.
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let at = v.output.ready().map_or_else(|_| At::caller(), |node| node.at);
        let adjoint = RealFft { inverse: !self.inverse, ..*self };
        let grad = if self.inverse {
            self.weighted(&Tensor::apply(adjoint, &[v.grad], at), 2.0)
        } else {
            Tensor::apply(adjoint, &[&self.weighted(v.grad, 0.5)], at)
        };
        vec![Some(grad)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.n, usize::from(self.inverse)]);
        key.push_float(self.scale);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x[0]).clone(), cx.dtype(x[0]));
        if !cx.target().is_native() {
            return match (self.n.is_multiple_of(2), self.inverse) {
                (true, false) => self.pairs(cx, x[0]),
                (true, true) => self.pairs_inverse(cx, x[0]),
                (false, false) => self.all(cx, x[0]),
                (false, true) => self.all_inverse(cx, x[0]),
            };
        }
        let Spec { shape: to, .. } =
            self.infer(&[Spec::new(shape.clone(), dtype)]).map_err(|_| refused(self.n))?;
        let rows = shape[..shape.rank() - if self.inverse { 2 } else { 1 }].iter().product();
        let (base, offset) = cx.dense(x[0]);
        let kernel = RealKernel::new(self.n, rows, self.inverse, self.scale, dtype, offset);
        Ok(cx.kernel(Arc::new(kernel.ok_or_else(|| refused(self.n))?), &[base], to, dtype))
    }
}

/// The transform of the axis before the pairs.
fn transform(x: &Tensor, inverse: bool, scale: f64, at: At) -> Tensor {
    let shape = x.shape();
    let n = shape[shape.rank() - 2];
    if n < 2 {
        return x * scale;
    }
    Tensor::apply(Fft { inverse, scale }, &[x], at)
}

/// The place of axis `axis` of an array of complex numbers.
fn complex_axis(x: &Tensor, op: &'static str, axis: isize, at: At) -> Result<usize> {
    let shape = x.ready()?.spec.shape.clone();
    check_floats(x, op, at)?;
    if shape.rank() < 2 || shape[shape.rank() - 1] != 2 {
        let message = "needs pairs of real and imaginary parts in the last axis, and an axis before it";
        return Err(shape_error(op, message, &[x], at));
    }
    let rank = shape.rank() as isize - 1;
    if axis < -rank || axis >= rank {
        let message = format!("axis {axis} of an array of complex numbers with {rank} axes");
        return Err(shape_error(op, message, &[x], at));
    }
    let axis = axis.rem_euclid(rank) as usize;
    Ok(axis)
}

pub(super) fn check_floats(x: &Tensor, op: &'static str, at: At) -> Result<()> {
    if matches!(x.dtype(), DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(dtype_error(op, format!("needs f32 or f64, found {}", x.dtype()), &[x], at))
}

/// Complex numbers through which an adapter transforms n real ones.
fn real_length(n: usize) -> usize {
    if n.is_multiple_of(2) { n / 2 } else { n }
}

/// Fails where an adapter cannot transform so many complex numbers.
fn check_length(x: &Tensor, op: &'static str, n: usize, at: At) -> Result<()> {
    let needed = if n.is_power_of_two() { n } else { (2 * n).next_power_of_two() };
    if needed > FFT_LEN_MAX && !x.device()?.is_cpu() {
        let message = format!("{n} numbers need transforms of more than {FFT_LEN_MAX}");
        return Err(Error::Argument { op, message, at });
    }
    Ok(())
}

/// The transform of an axis of an array of complex numbers.
fn along(x: &Tensor, axis: isize, norm: FftNorm, inverse: bool, op: &'static str, at: At) -> Tensor {
    let found = complex_axis(x, op, axis, at).and_then(|axis| {
        check_length(x, op, x.shape()[axis], at)?;
        Ok(axis)
    });
    match found {
        Err(error) => Tensor::error(error),
        Ok(axis) => {
            let (last, axis) = (x.rank() as isize - 2, axis as isize);
            let scale = norm.scale(x.shape()[axis as usize].max(1), inverse);
            if axis == last {
                return transform(x, inverse, scale, at);
            }
            transform(&x.transpose(axis, last), inverse, scale, at).transpose(axis, last)
        }
    }
}

/// Complex numbers.
impl Tensor {
    /// Pairs of real and imaginary parts in a new last axis (`torch.complex` seen through `view_as_real`).
    #[track_caller]
    pub fn complex(re: &Tensor, im: &Tensor) -> Tensor {
        Tensor::stack(&[re, im], -1)
    }

    /// The real parts of pairs: the first half of the last axis of size 2.
    #[track_caller]
    pub fn real(&self) -> Tensor {
        part_of(self, "real", 0, At::caller())
    }

    /// The imaginary parts of pairs.
    #[track_caller]
    pub fn imag(&self) -> Tensor {
        part_of(self, "imag", 1, At::caller())
    }

    /// The conjugates of complex numbers, which are pairs in the last axis.
    #[track_caller]
    pub fn conj(&self) -> Tensor {
        let at = At::caller();
        Tensor::complex(&part_of(self, "conj", 0, at), &-part_of(self, "conj", 1, at))
    }

    /// Products of complex numbers, which are pairs in the last axes; the axes before broadcast.
    #[track_caller]
    pub fn complex_mul(&self, other: &Tensor) -> Tensor {
        let at = At::caller();
        let [a, b] = [0, 1].map(|k| part_of(self, "complex_mul", k, at));
        let [c, d] = [0, 1].map(|k| part_of(other, "complex_mul", k, at));
        Tensor::complex(&(&a * &c - &b * &d), &(&a * &d + &b * &c))
    }

    /// The absolute values of complex numbers, which are pairs in the last axis. The derivative at 0 is NaN.
    #[track_caller]
    pub fn complex_abs(&self) -> Tensor {
        let at = At::caller();
        let [a, b] = [0, 1].map(|k| part_of(self, "complex_abs", k, at));
        (a.square() + b.square()).sqrt()
    }
}

/// Real or imaginary parts.
fn part_of(x: &Tensor, op: &'static str, which: isize, at: At) -> Tensor {
    let Ok(node) = x.ready() else { return x.clone() };
    if node.spec.shape.last() != Some(&2) {
        let message = "needs pairs of real and imaginary parts in the last axis";
        return Tensor::error(shape_error(op, message, &[x], at));
    }
    x.slice(-1, which..which + 1).squeeze(-1)
}

/// Transforms.
impl Tensor {
    /// Discrete Fourier transforms `Σ x[j] e^(−2πi jk ∕ n)` along an axis of complex numbers `[…, 2]` of f32 or f64
    /// (`torch.fft.fft` through `view_as_real`). `axis` does not count the pairs: −1 is the axis before them. Any length;
    /// powers of two are the fastest on adapters.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::FftNorm;
    /// let x = Tensor::from_slice(&[1.0f32, 0.0, 3.0, 0.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.fft(-1, FftNorm::Backward).to_vec::<f32>()?, [4.0, 0.0, -2.0, 0.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn fft(&self, axis: isize, norm: FftNorm) -> Tensor {
        along(self, axis, norm, false, "fft", At::caller())
    }

    /// The inverse of [`fft`](Tensor::fft) under the same norm (`torch.fft.ifft`).
    #[track_caller]
    pub fn ifft(&self, axis: isize, norm: FftNorm) -> Tensor {
        along(self, axis, norm, true, "ifft", At::caller())
    }

    /// [`fft`](Tensor::fft) along the last two axes of complex numbers: `[…, h, w, 2]` (`torch.fft.fft2`).
    #[track_caller]
    pub fn fft2(&self, norm: FftNorm) -> Tensor {
        let at = At::caller();
        along(&along(self, -1, norm, false, "fft2", at), -2, norm, false, "fft2", at)
    }

    /// The inverse of [`fft2`](Tensor::fft2) under the same norm (`torch.fft.ifft2`).
    #[track_caller]
    pub fn ifft2(&self, norm: FftNorm) -> Tensor {
        let at = At::caller();
        along(&along(self, -1, norm, true, "ifft2", at), -2, norm, true, "ifft2", at)
    }

    /// The first n ∕ 2 + 1 numbers of the transform along an axis of n real numbers, which determine the others
    /// (`torch.fft.rfft`): `[…, n, …]` becomes `[…, n ∕ 2 + 1, …, 2]`.
    #[track_caller]
    pub fn rfft(&self, axis: isize, norm: FftNorm) -> Tensor {
        let at = At::caller();
        let axis = match axis_of(self, "rfft", axis, at).and_then(|axis| {
            check_floats(self, "rfft", at)?;
            check_length(self, "rfft", real_length(self.shape()[axis]), at)?;
            Ok(axis as isize)
        }) {
            Ok(axis) => axis,
            Err(error) => return Tensor::error(error),
        };
        let last = self.rank() as isize - 1;
        let x = if axis == last { self.clone() } else { self.transpose(axis, last) };
        let n = self.shape()[axis as usize];
        let scale = norm.scale(n.max(1), false);
        if n == 0 {
            let message = "a transform of no numbers";
            return Tensor::error(shape_error("rfft", message, &[self], at));
        }
        let y = Tensor::apply(RealFft { n, inverse: false, scale }, &[&x], at);
        if axis == last { y } else { y.transpose(axis, last) }
    }

    /// The n real numbers whose [`rfft`](Tensor::rfft) under the same norm are the given n ∕ 2 + 1 complex ones
    /// (`torch.fft.irfft`); imaginary parts that such numbers cannot have are not looked at. `axis` does not count the
    /// pairs.
    #[track_caller]
    pub fn irfft(&self, n: usize, axis: isize, norm: FftNorm) -> Tensor {
        let at = At::caller();
        let axis = match complex_axis(self, "irfft", axis, at) {
            Ok(axis) => axis as isize,
            Err(error) => return Tensor::error(error),
        };
        let have = self.shape()[axis as usize];
        if n == 0 || have != n / 2 + 1 {
            let message = format!("{n} real numbers belong to {} complex ones, found {have}", n / 2 + 1);
            return Tensor::error(shape_error("irfft", message, &[self], at));
        }
        if let Err(error) = check_length(self, "irfft", real_length(n), at) {
            return Tensor::error(error);
        }
        let last = self.rank() as isize - 2;
        let x = if axis == last { self.clone() } else { self.transpose(axis, last) };
        let scale = norm.scale(n, true);
        let y = Tensor::apply(RealFft { n, inverse: true, scale }, &[&x], at);
        if axis == last { y } else { y.transpose(axis, last) }
    }

    /// Halves of axes exchanged, so that frequency 0 is in the middle (`torch.fft.fftshift`). Axes are those of the
    /// tensor as it lies: for complex numbers the pairs count.
    #[track_caller]
    pub fn fftshift(&self, axes: impl Into<Axes>) -> Tensor {
        shifted(self, &axes.into(), "fftshift", |n| n / 2, At::caller())
    }

    /// The inverse of [`fftshift`](Tensor::fftshift) (`torch.fft.ifftshift`).
    #[track_caller]
    pub fn ifftshift(&self, axes: impl Into<Axes>) -> Tensor {
        shifted(self, &axes.into(), "ifftshift", |n| -(n / 2), At::caller())
    }

    /// The frequencies of the numbers of a transform of n samples at a distance of `spacing`: 0, 1, …, −2, −1 over
    /// n · spacing (`torch.fft.fftfreq`).
    #[track_caller]
    pub fn fftfreq(n: usize, spacing: f64, dtype: DType, device: &Device) -> Tensor {
        let k = Tensor::arange(n, DType::I32, device);
        let negative = k.ge(k.full_like(n.div_ceil(2) as f64));
        let whole = negative.select(&k - k.full_like(n as f64), &k);
        whole.cast(dtype) * (1.0 / (n as f64 * spacing))
    }
}

/// Axes rolled by `by(size)`.
fn shifted(x: &Tensor, axes: &Axes, op: &'static str, by: fn(isize) -> isize, at: At) -> Tensor {
    match axes.resolve(x, op, at) {
        Ok(axes) => axes.into_iter().fold(x.clone(), |x, axis| {
            let size = x.shape()[axis] as isize;
            x.roll(by(size), axis as isize)
        }),
        Err(error) => Tensor::error(error),
    }
}
