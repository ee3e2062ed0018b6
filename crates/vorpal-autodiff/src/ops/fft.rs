//! Fourier transforms. Complex numbers are pairs of real and imaginary parts in a last axis of size 2, as
//! `torch.view_as_real` lays them out: `[…, n, 2]` are n complex numbers.

use std::sync::Arc;

use vorpal_kernels::{FFT_LEN_MAX, Fft as Kernel, UnitRoots as RootsKernel};
use vorpal_tensor::{At, DType, Device, Error, Result, Shape};

use super::pointwise::{ADD, LESS, MUL, SELECT, SUB};
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
        if n.is_power_of_two() { self.of_power(cx, x[0]) } else { self.through_chirp(cx, x[0]) }
    }
}

impl Fft {
    /// The transform of a power of two on an adapter.
    fn of_power(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x).clone(), cx.dtype(x));
        let n = shape[shape.rank() - 2];
        let rows = shape[..shape.rank() - 2].iter().product();
        let (base, offset) = cx.dense(x);
        let launches = Kernel::launches(n, rows, self.inverse, self.scale, dtype, offset);
        let refused = || Error::internal("fft", format!("no kernel for rows of {n}"));
        let chain = |state, kernel| cx.kernel(Arc::new(kernel), &[state], shape.clone(), dtype);
        Ok(launches.ok_or_else(refused)?.into_iter().fold(base, chain))
    }

    /// Any other length on an adapter, Bluestein 1970: j k = (j² + k² − (k − j)²) ∕ 2 makes the transform a convolution
    /// with a chirp, which transforms of a power of two compute.
    fn through_chirp(&self, cx: &mut Builder, x: NodeId) -> Result<NodeId> {
        let (shape, dtype) = (cx.shape(x).clone(), cx.dtype(x));
        let axis = shape.rank() - 2;
        let n = shape[axis];
        let m = (2 * n - 1).next_power_of_two();
        let pad = |cx: &mut Builder, x: NodeId, axis: usize, before: usize, after: usize| {
            let (mut front, mut back) = (vec![0; cx.shape(x).rank()], vec![0; cx.shape(x).rank()]);
            (front[axis], back[axis]) = (before, after);
            cx.pad(x, &front, &back, 0.0)
        };
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

/// The product of complex numbers with a row `[n, 2]` of them.
fn product(cx: &mut Builder, x: NodeId, row: NodeId) -> Result<NodeId> {
    let shape = cx.shape(x).clone();
    let last = shape.rank() - 1;
    let half = shape.with_axis(last, 1);
    let part = |cx: &mut Builder, x: NodeId, which: usize| {
        let axis = cx.shape(x).rank() - 1;
        cx.view(x, |l| Some(l.slice(axis, which, 1, 1).broadcast_to(&half)))
    };
    let (a, b) = (part(cx, x, 0)?, part(cx, x, 1)?);
    let (c, d) = (part(cx, row, 0)?, part(cx, row, 1)?);
    let [ac, bd, ad, bc] = [(a, c), (b, d), (a, d), (b, c)].map(|(p, q)| cx.call(&MUL.f, &[p, q]));
    let (re, im) = (cx.call(&SUB.f, &[ac, bd]), cx.call(&ADD.f, &[ad, bc]));
    let (re, im) =
        (cx.view(re, |l| Some(l.broadcast_to(&shape)))?, cx.view(im, |l| Some(l.broadcast_to(&shape)))?);
    let place = cx.coordinate(&shape, last);
    let one = cx.constant(1.0, shape, DType::U32);
    let is_real = cx.call(&LESS.f, &[place, one]);
    Ok(cx.call(&SELECT.f, &[is_real, re, im]))
}

/// A table of roots of unity (see [`RootsKernel`]).
#[derive(Debug)]
struct Roots {
    count: usize,
    turn: usize,
    inverse: bool,
    dtype: DType,
}

impl Op for Roots {
    fn name(&self) -> &'static str {
        "unit_roots"
    }

    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new([self.count, 2], self.dtype))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.count, self.turn, usize::from(self.inverse)]);
    }

    fn lower(&self, cx: &mut Builder, _: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let Roots { count, turn, inverse, dtype } = *self;
        let kernel = RootsKernel::new(count, turn, false, inverse, dtype);
        Ok(cx.kernel(Arc::new(kernel), &[], Shape::from([count, 2]), dtype))
    }
}

/// e^(±2πi k ∕ turn) as `[count, 2]` beside `like`; the sign is + for the inverse.
fn roots(count: usize, turn: usize, inverse: bool, like: &Tensor, at: At) -> Tensor {
    let Ok(device) = like.device() else { return like.clone() };
    let dtype = like.dtype();
    let op = Roots { count, turn, inverse, dtype };
    Tensor::leaf(op, Spec::new([count, 2], dtype), &device, None, at)
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
    check_length(x, op, shape[axis], at)?;
    Ok(axis)
}

pub(super) fn check_floats(x: &Tensor, op: &'static str, at: At) -> Result<()> {
    if matches!(x.dtype(), DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(dtype_error(op, format!("needs f32 or f64, found {}", x.dtype()), &[x], at))
}

/// Fails where an adapter cannot transform so many numbers.
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
    match complex_axis(x, op, axis, at) {
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

/// The first n ∕ 2 + 1 results for real rows of even length n, through a transform of n ∕ 2 complex numbers.
fn real_even(x: &Tensor, scale: f64, at: At) -> Tensor {
    let shape = x.shape();
    let last = shape.rank() - 1;
    let (n, half) = (shape[last], (shape[last] / 2) as isize);
    let pairs: Shape = shape[..last].iter().copied().chain([n / 2, 2]).collect();
    let z = transform(&x.reshape(pairs), false, 0.5 * scale, at);
    let axis = last as isize;
    let z = Tensor::concat(&[&z, &z.slice(axis, ..1)], axis);
    let mirrored = z.flip(axis);
    let ([a, b], [c, d]) = ([z.real(), z.imag()], [mirrored.real(), mirrored.imag()]);
    // The even part, and −i times the odd part.
    let (even, odd) = ([&a + &c, &b - &d], [b + d, c - a]);
    turned_onto(even, odd, &roots(half as usize + 1, n, false, x, at), false)
}

/// a + b w, or a + i b w, of complex numbers in parts.
fn turned_onto([a_re, a_im]: [Tensor; 2], [b_re, b_im]: [Tensor; 2], w: &Tensor, quarter: bool) -> Tensor {
    let (c, s) = (w.real(), w.imag());
    let (re, im) = (&b_re * &c - &b_im * &s, b_re * s + b_im * c);
    if quarter {
        Tensor::complex(&(a_re - im), &(a_im + re))
    } else {
        Tensor::complex(&(a_re + re), &(a_im + im))
    }
}

/// n real results, n even, for rows of n ∕ 2 + 1 complex numbers, through a transform of n ∕ 2.
fn real_even_inverse(x: &Tensor, n: usize, scale: f64, at: At) -> Tensor {
    let axis = x.rank() as isize - 2;
    let half = (n / 2) as isize;
    // The first and the last number count as real.
    let inside = x.imag().slice(axis, 1..half).pad(axis, 1, 1, 0.0);
    let [a, b] = [x.real(), inside];
    let [c, d] = [&a, &b].map(|part| part.flip(axis));
    let [even, odd] =
        [[&a + &c, &b - &d], [a - c, b + d]].map(|pair| pair.map(|part| part.slice(axis, ..half)));
    let z = turned_onto(even, odd, &roots(half as usize, n, true, x, at), true);
    let y = transform(&z, true, scale, at);
    let shape = y.shape();
    y.reshape(shape[..shape.rank() - 2].iter().copied().chain([n]).collect::<Shape>())
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
        part(self, "real", 0, At::caller())
    }

    /// The imaginary parts of pairs.
    #[track_caller]
    pub fn imag(&self) -> Tensor {
        part(self, "imag", 1, At::caller())
    }

    /// The conjugates of complex numbers, which are pairs in the last axis.
    #[track_caller]
    pub fn conj(&self) -> Tensor {
        let at = At::caller();
        Tensor::complex(&part(self, "conj", 0, at), &-part(self, "conj", 1, at))
    }

    /// Products of complex numbers, which are pairs in the last axes; the axes before broadcast.
    #[track_caller]
    pub fn complex_mul(&self, other: &Tensor) -> Tensor {
        let at = At::caller();
        let [a, b] = [0, 1].map(|k| part(self, "complex_mul", k, at));
        let [c, d] = [0, 1].map(|k| part(other, "complex_mul", k, at));
        Tensor::complex(&(&a * &c - &b * &d), &(&a * &d + &b * &c))
    }

    /// The absolute values of complex numbers, which are pairs in the last axis. The derivative at 0 is NaN.
    #[track_caller]
    pub fn complex_abs(&self) -> Tensor {
        let at = At::caller();
        let [a, b] = [0, 1].map(|k| part(self, "complex_abs", k, at));
        (a.square() + b.square()).sqrt()
    }
}

/// Real or imaginary parts.
fn part(x: &Tensor, op: &'static str, which: isize, at: At) -> Tensor {
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
            check_length(self, "rfft", self.shape()[axis], at)?;
            Ok(axis as isize)
        }) {
            Ok(axis) => axis,
            Err(error) => return Tensor::error(error),
        };
        let last = self.rank() as isize - 1;
        let x = if axis == last { self.clone() } else { self.transpose(axis, last) };
        let n = self.shape()[axis as usize];
        let scale = norm.scale(n.max(1), false);
        let y = if n == 0 {
            let message = "a transform of no numbers";
            return Tensor::error(shape_error("rfft", message, &[self], at));
        } else if n.is_multiple_of(2) {
            real_even(&x, scale, at)
        } else {
            let all = transform(&Tensor::complex(&x, &x.full_like(0.0)), false, scale, at);
            all.slice(last, ..(n / 2 + 1) as isize)
        };
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
        let last = self.rank() as isize - 2;
        let x = if axis == last { self.clone() } else { self.transpose(axis, last) };
        let scale = norm.scale(n, true);
        let y = if n.is_multiple_of(2) {
            real_even_inverse(&x, n, scale, at)
        } else {
            let mirrored = x.slice(last, 1..).flip(last).conj();
            transform(&Tensor::concat(&[&x, &mirrored], last), true, scale, at).real()
        };
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
