//! Similarities and distances of vectors.

use std::sync::Arc;

use vorpal_kernels::{Pairwise as Kernel, PairwisePass, Power, ReduceKind};
use vorpal_tensor::{At, Error, Layout, Result, Shape};

use super::aggregate::away_from_zero;
use super::pointwise::{ABS, ADD, MUL, SIGN, SUB};
use super::reduce::reduce;
use super::{promoted, same_dtype, shape_error};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Sums of powers of the differences of all rows of `a […, n, d]` and `b […, m, d]`: `[…, n, m]`.
#[derive(Clone, Copy, Debug)]
struct Pairwise(Power);

/// The derivative of the sum of weights `w […, n, m]` times those by `a`, or by `b`.
#[derive(Clone, Copy, Debug)]
struct PairwiseSlopes {
    power: Power,
    by_second: bool,
}

/// Sizes of `a` and `b`: batch, rows of either, and their length.
fn sizes(a: &Shape, b: &Shape) -> Option<[usize; 4]> {
    let (front, &[n, d]) = a.split_last_chunk::<2>()?;
    let (other_front, &[m, other_d]) = b.split_last_chunk::<2>()?;
    (front == other_front && d == other_d).then_some([front.iter().product(), n, m, d])
}

fn pairs<T>() -> Result<T, Misfit> {
    Misfit::shape("needs rows of one length, […, n, d] and […, m, d]")
}

/// All differences, `[…, n, m, d]`.
fn differences(cx: &mut Builder, a: NodeId, b: NodeId) -> Result<NodeId> {
    let (of_a, of_b) = (cx.shape(a).clone(), cx.shape(b).clone());
    let (rank, m) = (of_a.rank(), of_b[of_b.rank() - 2]);
    let all: Shape = [&of_a[..rank - 1], &[m, of_a[rank - 1]]].concat().into();
    let spread = |cx: &mut Builder, x: NodeId, axis: usize| {
        let mut one = cx.shape(x).to_vec();
        one.insert(axis, 1);
        let one = Shape::from(one);
        cx.view(x, |l: &Layout| Some(l.reshape(&one)?.broadcast_to(&all)))
    };
    let (a, b) = (spread(cx, a, rank - 1)?, spread(cx, b, rank - 2)?);
    Ok(cx.call(&SUB.f, &[a, b]))
}

/// The sum over an axis, which disappears.
fn summed(cx: &mut Builder, x: NodeId, axis: usize) -> Result<NodeId> {
    let shape = cx.shape(x).clone();
    let axes: Vec<bool> = (0..shape.rank()).map(|k| k == axis).collect();
    let sum = reduce(cx, ReduceKind::Sum, x, &axes)?;
    let mut rest = shape.to_vec();
    rest.remove(axis);
    let rest = Shape::from(rest);
    cx.view(sum, |l| l.reshape(&rest))
}

/// What is computed natively, from operands in the dtype that is computed with.
fn native(cx: &mut Builder, power: Power, pass: PairwisePass, x: &[NodeId], to: Shape) -> Result<NodeId> {
    let [.., a, b] = x else { return Err(misfit()) };
    let sizes = sizes(cx.shape(*a), cx.shape(*b)).ok_or_else(misfit)?;
    let dtype = cx.dtype(*a);
    let (bases, offsets): (Vec<_>, Vec<_>) = x.iter().map(|&x| cx.dense(x)).unzip();
    Ok(cx.kernel(Arc::new(Kernel::new(sizes, power, pass, dtype, &offsets)), &bases, to, dtype))
}

fn misfit() -> Error {
    Error::internal("cdist", "rows do not fit")
}

impl Op for Pairwise {
    fn name(&self) -> &'static str {
        "cdist"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let (a, b) = (&inputs[0], &inputs[1]);
        same_dtype(inputs)?;
        let Some([_, _, m, _]) = sizes(&a.shape, &b.shape) else { return pairs() };
        Ok(Spec::new(a.shape.with_axis(a.shape.rank() - 1, m), a.dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let at = v.output.ready().map_or_else(|_| At::caller(), |node| node.at);
        let slopes = |by_second| {
            let op = PairwiseSlopes { power: self.0, by_second };
            Some(Tensor::apply(op, &[v.grad, &v.inputs[0], &v.inputs[1]], at))
        };
        vec![slopes(false), slopes(true)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(self.0 as usize);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let [a, b] = [x[0], x[1]].map(|x| cx.cast(x, dtype.compute()));
        let sums = if cx.target().is_native() {
            let of_a = cx.shape(a);
            let to = of_a.with_axis(of_a.rank() - 1, cx.shape(b)[of_a.rank() - 2]);
            native(cx, self.0, PairwisePass::Sums, &[a, b], to)?
        } else {
            let difference = differences(cx, a, b)?;
            let power = match self.0 {
                Power::Absolute => cx.call(&ABS.f, &[difference]),
                Power::Square => cx.call(&MUL.f, &[difference, difference]),
            };
            let last = cx.shape(power).rank() - 1;
            summed(cx, power, last)?
        };
        Ok(cx.cast(sums, dtype))
    }
}

impl Op for PairwiseSlopes {
    fn name(&self) -> &'static str {
        "cdist_slopes"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let (w, a, b) = (&inputs[0], &inputs[1], &inputs[2]);
        same_dtype(inputs)?;
        let Some([_, _, m, _]) = sizes(&a.shape, &b.shape) else { return pairs() };
        if w.shape != a.shape.with_axis(a.shape.rank() - 1, m) {
            return Misfit::shape("needs a weight for every pair of rows, […, n, m]");
        }
        Ok(if self.by_second { b.clone() } else { a.clone() })
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let [w, a, b] = v.inputs else { return Vec::new() };
        let (sign, mine, own) = match self.by_second {
            false => (1.0, v.grad.unsqueeze(-2), w.sum_keepdim(-1)),
            true => (-1.0, v.grad.unsqueeze(-3), w.sum_keepdim(-2).transpose(-1, -2)),
        };
        let difference = a.unsqueeze(-2) - b.unsqueeze(-3);
        match self.power {
            Power::Absolute => {
                let by_weight = (difference.sign() * mine).sum(-1).with_constant(&MUL, sign);
                vec![Some(by_weight), None, None]
            }
            Power::Square => {
                let by_weight = (difference * mine).sum(-1).with_constant(&MUL, 2.0 * sign);
                let twice = v.grad.with_constant(&MUL, 2.0);
                let (own, across) =
                    (&twice * own, -(if self.by_second { w.clone() } else { w.t() }).matmul(&twice));
                let [by_a, by_b] = if self.by_second { [across, own] } else { [own, across] };
                vec![Some(by_weight), Some(by_a), Some(by_b)]
            }
        }
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&[self.power as usize, usize::from(self.by_second)]);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let [w, a, b] = [x[0], x[1], x[2]].map(|x| cx.cast(x, dtype.compute()));
        let slopes = if cx.target().is_native() {
            let to = cx.shape(if self.by_second { b } else { a }).clone();
            let pass = PairwisePass::Slopes { by_second: self.by_second };
            native(cx, self.power, pass, &[w, a, b], to)?
        } else {
            let difference = differences(cx, a, b)?;
            let shape = cx.shape(difference).clone();
            let sign = if self.by_second { -1.0 } else { 1.0 };
            let (slope, factor) = match self.power {
                Power::Absolute => (cx.call(&SIGN.f, &[difference]), sign),
                Power::Square => (difference, 2.0 * sign),
            };
            let one = cx.shape(w).iter().copied().chain([1]).collect::<Shape>();
            let w = cx.view(w, |l| Some(l.reshape(&one)?.broadcast_to(&shape)))?;
            let factor = cx.constant(factor, shape.clone(), dtype.compute());
            let product = cx.call(&MUL.f, &[slope, w]);
            let product = cx.call(&MUL.f, &[product, factor]);
            summed(cx, product, shape.rank() - if self.by_second { 3 } else { 2 })?
        };
        Ok(cx.cast(slopes, dtype))
    }
}

impl Tensor {
    /// The cosine of the angle between vectors along an axis, which disappears; operands broadcast. Norms below `eps`
    /// count as `eps`. As `torch.nn.functional.cosine_similarity`.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 0.0], [2], &Device::cpu());
    /// let y = Tensor::from_slice(&[0.0f32, 2.0], [2], &Device::cpu());
    /// assert_eq!(x.cosine_similarity(&y, 0, 1e-8).item::<f32>()?, 0.0);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, axis: isize, eps: f64) -> Tensor {
        (self.normalize_l2(axis, eps) * other.normalize_l2(axis, eps)).sum(axis)
    }

    /// The p-norm of the difference of vectors along the last axis, which disappears; operands broadcast. `eps` is
    /// added to every difference, as `torch.nn.functional.pairwise_distance` does.
    #[track_caller]
    pub fn pairwise_distance(&self, other: &Tensor, p: f64, eps: f64) -> Tensor {
        (self - other).with_constant(&ADD, eps).norm(p, -1)
    }

    /// The p-norms of the differences of all rows of `self` `[…, n, d]` and `other` `[…, m, d]`: `[…, n, m]`, as
    /// `torch.cdist`. Batch axes broadcast. Exact for equal rows: derivatives there are 0.
    ///
    /// Carries [`Error::Shape`](crate::Error::Shape) unless both have rows of one length.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 0.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.cdist(&x, 2.0).to_vec::<f32>()?, [0.0, 5.0, 5.0, 0.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Tensor {
        let (at, a, b) = (At::caller(), self.shape(), other.shape());
        for x in [self, other] {
            if x.check().is_err() {
                return x.clone();
            }
        }
        let length = |s: &Shape| s.last().copied();
        if a.rank() < 2 || b.rank() < 2 || length(&a) != length(&b) {
            let message = "needs rows of one length, […, n, d] and […, m, d]";
            return Tensor::error(shape_error("cdist", message, &[self, other], at));
        }
        if (p != 1.0 && p != 2.0) || !self.dtype().is_float() || !other.dtype().is_float() {
            return (self.unsqueeze(-2) - other.unsqueeze(-3)).norm(p, -1);
        }
        let front = |s: &Shape| Shape::from(&s[..s.rank() - 2]);
        let Some(all) = front(&a).broadcast(&front(&b)) else {
            return Tensor::error(shape_error("cdist", "batch axes do not broadcast", &[self, other], at));
        };
        let both = promoted(&[self, other]);
        let rows = |s: &Shape| [s[s.rank() - 2], s[s.rank() - 1]];
        let ([n, d], [m, _]) = (rows(&a), rows(&b));
        let spread = |x: &Tensor, rows: [usize; 2]| {
            x.broadcast_to([&all[..], &rows].concat().into_iter().collect::<Shape>())
        };
        // Rows of many matrices that meet the same ones are rows of one.
        let (x, y) = if front(&b).numel() == 1 {
            (spread(&both[0], [n, d]).reshape([all.numel() * n, d]), both[1].reshape([m, d]))
        } else {
            (spread(&both[0], [n, d]), spread(&both[1], [m, d]))
        };
        let power = if p == 1.0 { Power::Absolute } else { Power::Square };
        let sums = Tensor::apply(Pairwise(power), &[&x, &y], at)
            .reshape([&all[..], &[n, m]].concat().into_iter().collect::<Shape>());
        if p == 1.0 { sums } else { away_from_zero(&sums, Tensor::sqrt) }
    }
}
