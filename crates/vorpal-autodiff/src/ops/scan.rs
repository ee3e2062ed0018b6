//! Prefixes along an axis: cumulative sums, products, extremes, linear recurrences, and any associative function.

use std::sync::Arc;

use vorpal_kernels::{Scan as Kernel, ScanPass, ScanRule};
use vorpal_tensor::{At, DType, Result, Shape};

use super::{axis_of, promoted, shape_error, whole_words};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Tree, Vjp, Vmap};

/// Every prefix of an axis, combined.
#[derive(Clone, Copy, Debug)]
struct Scan {
    rule: ScanRule,
    axis: usize,
    reverse: bool,
}

/// Sizes in front of an axis, of the axis, and behind it.
fn sizes(shape: &Shape, axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

/// A scan in as many launches as its length asks for: totals of blocks, their prefixes, and from those all prefixes.
fn launches(cx: &mut Builder, kernel: &Kernel, [x, y, start]: [NodeId; 3], shape: Shape) -> NodeId {
    let block = Kernel::block_for(kernel.rule, kernel.shape, cx.target().is_native());
    let kernel = Kernel { block, ..kernel.clone() };
    let positions = matches!(kernel.rule, ScanRule::ArgMax | ScanRule::ArgMin);
    let dtype = if positions { DType::I32 } else { kernel.dtype };
    let ([outer, len, inner], blocks) = (kernel.shape, kernel.blocks());
    if blocks <= 1 {
        return cx.kernel(Arc::new(kernel), &[x, y, start, x], shape, dtype);
    }
    let count = outer * blocks * inner;
    let first = Kernel { pass: ScanPass::Totals, init: false, ..kernel.clone() };
    let totals = cx.kernel(Arc::new(first), &[x, y, start, x], Shape::from(kernel.planes() * count), dtype);
    let mut upper = Kernel { shape: [outer, blocks, inner], reverse: false, ..kernel.clone() };
    let from = match kernel.rule {
        ScanRule::ArgMax | ScanRule::ArgMin => {
            upper.positions = Some(kernel.positions.unwrap_or(len));
            [x, totals, start]
        }
        _ => {
            upper.offsets = [0, if kernel.rule == ScanRule::Linear { count } else { 0 }, kernel.offsets[2]];
            [totals, totals, start]
        }
    };
    let carries = launches(cx, &upper, from, Shape::from(count));
    let last = Kernel { pass: ScanPass::Carried, ..kernel };
    cx.kernel(Arc::new(last), &[x, y, start, carries], shape, dtype)
}

/// Every element's neighbour along an axis, `fill` where there is none.
fn neighbour(x: &Tensor, axis: usize, next: bool, fill: f64) -> Tensor {
    let (len, axis) = (x.shape()[axis], axis as isize);
    match len {
        0 => x.clone(),
        1 => x.full_like(fill),
        _ if next => x.narrow(axis, 1, len - 1).pad(axis, 0, 1, fill),
        _ => x.narrow(axis, 0, len - 1).pad(axis, 1, 0, fill),
    }
}

impl Scan {
    /// The recurrence rᵢ = gᵢ + aᵢ rᵢ₊₁ that cotangents follow.
    fn pulled(&self, a: &Tensor, g: &Tensor) -> Tensor {
        let op = LinearScan { axis: self.axis, reverse: !self.reverse, init: false };
        Tensor::apply(op, &[a, g], At::caller())
    }

    /// The cotangent of log Σ eˣ: shares e^(xᵢ − yⱼ) are products of e^(xᵢ − yᵢ) and ratios of neighbours, none above 1.
    fn log_sum_exp_vjp(&self, v: &Vjp<'_>) -> Tensor {
        let (x, y, len, axis) = (&v.inputs[0], v.output, v.output.shape()[self.axis], self.axis as isize);
        // −∞ less −∞ counts as 0.
        let difference = |a: &Tensor, b: &Tensor| b.eq(f64::NEG_INFINITY).select(0.0, a - b);
        let own = difference(x, y).exp();
        if len < 2 {
            return own * v.grad;
        }
        let (low, high) = (y.narrow(axis, 0, len - 1), y.narrow(axis, 1, len - 1));
        let ratios = if self.reverse {
            difference(&high, &low).exp().pad(axis, 1, 0, 0.0)
        } else {
            difference(&low, &high).exp().pad(axis, 0, 1, 0.0)
        };
        own * self.pulled(&ratios, v.grad)
    }
}

impl Op for Scan {
    fn name(&self) -> &'static str {
        match self.rule {
            ScanRule::Sum => "cumsum",
            ScanRule::Product => "cumprod",
            ScanRule::LogSumExp => "logcumsumexp",
            ScanRule::ArgMax => "cummax",
            ScanRule::ArgMin => "cummin",
            ScanRule::Linear => "linear_scan",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let Spec { shape, dtype } = inputs[0].clone();
        match self.rule {
            ScanRule::ArgMax | ScanRule::ArgMin => Ok(Spec::new(shape, DType::I32)),
            ScanRule::LogSumExp if !dtype.is_float() => Misfit::dtype(format!("needs floats, found {dtype}")),
            _ if dtype == DType::Bool => Misfit::dtype("needs numbers, found bool; cast it first"),
            _ => Ok(inputs[0].clone()),
        }
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let x = &v.inputs[0];
        vec![match self.rule {
            _ if !x.dtype().is_float() => None,
            ScanRule::Sum => {
                Some(Tensor::apply(Scan { reverse: !self.reverse, ..*self }, &[v.grad], At::caller()))
            }
            // Without a division: elements may be 0.
            ScanRule::Product => {
                let after = self.pulled(&neighbour(x, self.axis, !self.reverse, 0.0), v.grad);
                Some(neighbour(v.output, self.axis, self.reverse, 1.0) * after)
            }
            ScanRule::LogSumExp => Some(self.log_sum_exp_vjp(v)),
            ScanRule::ArgMax | ScanRule::ArgMin | ScanRule::Linear => None,
        }]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Scan { axis: self.axis + 1, ..*self })
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.axis, usize::from(self.reverse)]);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (dtype, shape) = (cx.dtype(x[0]), cx.shape(x[0]).clone());
        let wide = cx.cast(x[0], whole_words(dtype));
        let (base, offset) = cx.dense(wide);
        let kernel = Kernel {
            rule: self.rule,
            shape: sizes(&shape, self.axis),
            reverse: self.reverse,
            dtype: whole_words(dtype),
            positions: None,
            init: false,
            offsets: [offset, 0, 0],
            pass: ScanPass::Whole,
            block: 1,
        };
        let out = launches(cx, &kernel, [base, base, base], shape);
        let positions = matches!(self.rule, ScanRule::ArgMax | ScanRule::ArgMin);
        Ok(if positions { out } else { cx.cast(out, dtype) })
    }
}

/// hₜ = aₜ hₜ₋₁ + bₜ along an axis. Operands: a, b and, where there is one, the state to start from.
#[derive(Clone, Copy, Debug)]
struct LinearScan {
    axis: usize,
    reverse: bool,
    init: bool,
}

impl Op for LinearScan {
    fn name(&self) -> &'static str {
        "linear_scan"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        if !inputs[0].dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", inputs[0].dtype));
        }
        super::same_dtype(inputs)?;
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        if a != b {
            return Misfit::shape("factors and summands must have one shape");
        }
        let start = b.with_axis(self.axis, 1);
        match inputs.get(2) {
            Some(h) if h.shape != start => Misfit::shape(format!("the state to start from must be {start}")),
            _ => Ok(inputs[1].clone()),
        }
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (a, k, axis) = (&v.inputs[0], self.axis, self.axis as isize);
        let len = a.shape()[k];
        let start = v.inputs.get(2);
        if len == 0 {
            return v.inputs.iter().map(|x| Some(x.full_like(0.0))).collect();
        }
        let op = LinearScan { reverse: !self.reverse, init: false, ..*self };
        let pulled = Tensor::apply(op, &[&neighbour(a, k, !self.reverse, 0.0), v.grad], At::caller());
        let before = match (start, self.reverse) {
            (None, reverse) => neighbour(v.output, k, reverse, 0.0),
            (Some(start), false) => Tensor::concat(&[start, &v.output.narrow(axis, 0, len - 1)], axis),
            (Some(start), true) => Tensor::concat(&[&v.output.narrow(axis, 1, len - 1), start], axis),
        };
        let first = if self.reverse { len - 1 } else { 0 };
        let to_start = start.map(|_| a.narrow(axis, first, 1) * pulled.narrow(axis, first, 1));
        let mut out = vec![Some(&pulled * before), Some(pulled)];
        out.extend(to_start.map(Some));
        out
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(LinearScan { axis: self.axis + 1, ..*self })
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.axis, usize::from(self.reverse), usize::from(self.init)]);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let (dtype, shape) = (cx.dtype(x[0]), cx.shape(x[0]).clone());
        let mut bases = [0; 3];
        let mut offsets = [0; 3];
        for (k, &operand) in x.iter().enumerate() {
            let wide = cx.cast(operand, dtype.compute());
            (bases[k], offsets[k]) = cx.dense(wide);
        }
        if !self.init {
            bases[2] = bases[0];
        }
        let kernel = Kernel {
            rule: ScanRule::Linear,
            shape: sizes(&shape, self.axis),
            reverse: self.reverse,
            dtype: dtype.compute(),
            positions: None,
            init: self.init,
            offsets,
            pass: ScanPass::Whole,
            block: 1,
        };
        let out = launches(cx, &kernel, bases, shape);
        Ok(cx.cast(out, dtype))
    }
}

impl Tensor {
    fn scan(&self, rule: ScanRule, axis: isize, at: At) -> Tensor {
        let op = Scan { rule, axis: 0, reverse: false };
        match axis_of(self, op.name(), axis, at) {
            Ok(axis) => Tensor::apply(Scan { axis, ..op }, &[self], at),
            Err(error) => Tensor::error(error),
        }
    }

    #[track_caller]
    fn extremes(&self, rule: ScanRule, axis: isize) -> (Tensor, Tensor) {
        let positions = self.scan(rule, axis, At::caller());
        if positions.check().is_err() {
            return (positions.clone(), positions);
        }
        (self.gather(axis, &positions), positions)
    }

    /// Sums of all elements up to each along an axis, as `torch.cumsum`. Floats are added in f32 or wider, in blocks:
    /// the error of a long axis does not grow with its length as that of a plain loop does. Integers wrap around.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [4], &Device::cpu());
    /// assert_eq!(x.cumsum(0).to_vec::<f32>()?, [1.0, 3.0, 6.0, 10.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        self.scan(ScanRule::Sum, axis, At::caller())
    }

    /// Products of all elements up to each along an axis, as `torch.cumprod`. The derivative divides by nothing, so
    /// that zeros are no exception.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Tensor {
        self.scan(ScanRule::Product, axis, At::caller())
    }

    /// log Σ eˣ of all elements up to each along an axis, without overflow, as `torch.logcumsumexp`. Floats only; NaN
    /// is not promised to be passed on by adapters.
    #[track_caller]
    pub fn logcumsumexp(&self, axis: isize) -> Tensor {
        self.scan(ScanRule::LogSumExp, axis, At::caller())
    }

    /// The largest element up to each along an axis and its position (`I32`), as `torch.cummax`: of equals the last;
    /// NaN counts as largest. The derivative goes to the element at the position.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 3.0, 2.0, 3.0], [4], &Device::cpu());
    /// let (values, positions) = x.cummax(0);
    /// assert_eq!(values.to_vec::<f32>()?, [1.0, 3.0, 3.0, 3.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [0, 1, 1, 3]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cummax(&self, axis: isize) -> (Tensor, Tensor) {
        self.extremes(ScanRule::ArgMax, axis)
    }

    /// As [`cummax`](Tensor::cummax), of the smallest elements; NaN counts as smallest.
    #[track_caller]
    pub fn cummin(&self, axis: isize) -> (Tensor, Tensor) {
        self.extremes(ScanRule::ArgMin, axis)
    }

    /// The linear recurrence hₜ = aₜ hₜ₋₁ + bₜ along an axis, in parallel (Blelloch 1990): what S4D, LRU, Mamba and
    /// other linear recurrent networks do. `a` and `b` are floats of one shape; `start` is the state before, of size 1
    /// along the axis, 0 where it is `None`. With `reverse` the recurrence runs from the end. Its derivative is one
    /// more such recurrence, the other way.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let a = Tensor::from_slice(&[0.5f32, 0.5, 0.5], [3], &Device::cpu());
    /// let b = Tensor::from_slice(&[1.0f32, 1.0, 1.0], [3], &Device::cpu());
    /// let start = Tensor::from_slice(&[4.0f32], [1], &Device::cpu());
    /// let h = Tensor::linear_scan(&a, &b, Some(&start), 0, false);
    /// assert_eq!(h.to_vec::<f32>()?, [3.0, 2.5, 2.25]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_scan(a: &Tensor, b: &Tensor, start: Option<&Tensor>, axis: isize, reverse: bool) -> Tensor {
        let at = At::caller();
        let axis = match axis_of(b, "linear_scan", axis, at) {
            Ok(axis) => axis,
            Err(error) => return Tensor::error(error),
        };
        let operands: Vec<&Tensor> = [a, b].into_iter().chain(start).collect();
        let operands = promoted(&operands);
        let op = LinearScan { axis, reverse, init: start.is_some() };
        Tensor::apply(op, &operands.iter().collect::<Vec<_>>(), at)
    }

    /// [`linear_scan`](Tensor::linear_scan) of complex numbers, given and returned as real and imaginary parts, from
    /// state 0: diagonal state space models (Gu, Gupta, Goel, Ré 2022; Orvieto et al. 2023). A composite of
    /// [`associative_scan`].
    #[track_caller]
    pub fn linear_scan_complex(a: [&Tensor; 2], b: [&Tensor; 2], axis: isize, reverse: bool) -> [Tensor; 2] {
        let elements = vec![a[0].clone(), a[1].clone(), b[0].clone(), b[1].clone()];
        let mut out = associative_scan(&elements, axis, reverse, |l, r| {
            let times = |re: &Tensor, im: &Tensor| (&r[0] * re - &r[1] * im, &r[0] * im + &r[1] * re);
            let ((a, b), (c, d)) = (times(&l[0], &l[1]), times(&l[2], &l[3]));
            vec![a, b, c + &r[2], d + &r[3]]
        });
        let im = out.pop().unwrap_or_else(|| b[1].clone());
        let re = out.pop().unwrap_or_else(|| b[0].clone());
        [re, im]
    }
}

/// All prefixes of an axis under an associative function, as `jax.lax.associative_scan` (Blelloch 1990): about
/// 2 log₂ n calls of `f`, which gets two structures of tensors, earlier and later elements, and combines them element
/// by element of the axis. All tensors must have one size along `axis`. With `reverse`, prefixes start at the end. The
/// result is made of ordinary ops: differentiate it, batch it.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, ops::associative_scan};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0], [5], &Device::cpu());
/// let products = associative_scan(&x, 0, false, |a, b| a * b);
/// assert_eq!(products.to_vec::<f32>()?, [1.0, 2.0, 6.0, 24.0, 120.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
#[track_caller]
pub fn associative_scan<T: Tree>(elements: &T, axis: isize, reverse: bool, f: impl Fn(&T, &T) -> T) -> T {
    let at = At::caller();
    let (mut size, mut failed) = (None, None);
    elements.visit(&mut |x| match axis_of(x, "associative_scan", axis, at) {
        Ok(k) if *size.get_or_insert(x.shape()[k]) == x.shape()[k] => {}
        Ok(_) => {
            let message = "all tensors must have one size along the axis";
            failed.get_or_insert(shape_error("associative_scan", message, &[x], at));
        }
        Err(error) => {
            failed.get_or_insert(error);
        }
    });
    if let Some(error) = failed {
        return elements.map(&mut |_| Tensor::error(error.clone()));
    }
    let from_front = |x: &Tensor| if axis < 0 { axis + x.rank() as isize } else { axis };
    let turned = |x: &Tensor| if reverse { x.flip(from_front(x)) } else { x.clone() };
    let forward = elements.map(&mut |x| turned(x));
    prefixes(&forward, size.unwrap_or(0), &from_front, &f).map(&mut |x| turned(x))
}

fn prefixes<T: Tree>(x: &T, len: usize, axis: &dyn Fn(&Tensor) -> isize, f: &dyn Fn(&T, &T) -> T) -> T {
    if len < 2 {
        return x.map(&mut |x| x.clone());
    }
    let every_second = |start: usize, count: usize| {
        let range = start as isize..(start + 2 * count) as isize - 1;
        x.map(&mut |x| x.slice_step(axis(x), range.clone(), 2))
    };
    let (half, rest) = (len / 2, (len - 1) / 2);
    // Prefixes that end at odd places are those of pairs; the others take one element more.
    let odd = prefixes(&f(&every_second(0, half), &every_second(1, half)), half, axis, f);
    let even = (rest > 0).then(|| {
        let before = odd.map(&mut |x| x.narrow(axis(x), 0, rest));
        f(&before, &every_second(2, rest))
    });
    let list = |tree: &T| {
        let mut all = Vec::new();
        tree.visit(&mut |x| all.push(x.clone()));
        all
    };
    let (odd, even) = (list(&odd), even.map(|even| list(&even)));
    let mut k = 0;
    x.map(&mut |x| {
        let (own, axis) = (k, axis(x));
        k += 1;
        let first = x.narrow(axis, 0, 1);
        let even = even.as_ref().map_or_else(|| first.clone(), |e| Tensor::concat(&[&first, &e[own]], axis));
        let pairs = Tensor::stack(&[&even.narrow(axis, 0, half), &odd[own]], axis + 1);
        let woven = pairs.reshape(x.shape().with_axis(axis as usize, 2 * half));
        if len.is_multiple_of(2) {
            woven
        } else {
            Tensor::concat(&[&woven, &even.narrow(axis, half, 1)], axis)
        }
    })
}
