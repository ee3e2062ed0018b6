//! Scaled dot-product attention.

use std::sync::Arc;

use vorpal_kernels::{ATTENTION_COLUMNS_MAX, Attention as Kernel, AttentionPass, AttentionShape};
use vorpal_tensor::{At, DeviceKind, Error, Layout, Result, Shape};

use super::shape_error;
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, vjp};

/// Rounds of loops after which software adapters give up.
const TRIPS_MAX: usize = 60_000;

/// Options of [`Tensor::scaled_dot_product_attention`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttentionOptions {
    /// Whether query t sees the keys up to t + keys − queries only: its past where there are as many keys as queries.
    pub causal: bool,
    /// Factor of the scores, 1 ∕ √columns by default.
    pub scale: Option<f64>,
}

/// Operands: queries, keys, values; for the derivatives also the cotangent of the result, the logarithms of the sums
/// of the exponentials of the scores, and the excess (see [`AttentionPass`]). Sums are in the compute dtype.
#[derive(Clone, Copy, Debug)]
struct Attention {
    pass: AttentionPass,
    causal: bool,
    scale: f64,
}

impl Attention {
    fn shape(&self, q: &Shape, k: &Shape) -> AttentionShape {
        AttentionShape { batch: q[0], heads: q[1], queries: q[2], keys: k[2], columns: q[3] }
    }

    fn of(&self, pass: AttentionPass, operands: &[&Tensor]) -> Tensor {
        Tensor::apply(Attention { pass, ..*self }, operands, At::caller())
    }

    /// A backward pass through ordinary ops, from which its own derivatives are taken.
    fn written_out(&self, x: &[Tensor]) -> Tensor {
        let [q, k, v, given, sums, excess] = x else {
            return Tensor::error(Error::internal("attention", "a backward pass has six operands"));
        };
        let wide = |x: &Tensor| x.cast(x.dtype().compute());
        let (q, k, v) = (wide(q), wide(k), wide(v));
        let mut log = q.matmul(&k.t()) * self.scale - sums;
        if self.causal {
            let diagonal = k.shape()[2] as i32 - q.shape()[2] as i32;
            let hidden = (log.full_like(1.0).tril(diagonal) - 1.0) * 1e30;
            log = log.tril(diagonal) + hidden;
        }
        let p = log.exp();
        let change = &p * (given.matmul(&v.t()) + excess) * self.scale;
        match self.pass {
            AttentionPass::BackwardQ => change.matmul(&k),
            _ => Tensor::stack(&[&change.t().matmul(&q), &p.t().matmul(given)], 0),
        }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        match self.pass {
            AttentionPass::Forward => "scaled_dot_product_attention",
            AttentionPass::BackwardQ => "attention_backward_q",
            AttentionPass::BackwardKv => "attention_backward_kv",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        super::same_dtype(&inputs[..3])?;
        if !inputs[0].dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", inputs[0].dtype));
        }
        let (q, k, v) = (&inputs[0].shape, &inputs[1].shape, &inputs[2].shape);
        let fits = q.rank() == 4 && k == v && k.rank() == 4 && q[..2] == k[..2] && q[3] == k[3];
        if !fits {
            return Misfit::shape(
                "needs queries [batch, heads, t, columns], keys and values [batch, heads, s, columns]",
            );
        }
        if !(1..=ATTENTION_COLUMNS_MAX).contains(&q[3]) {
            return Misfit::shape(format!("{} columns are not in 1..={ATTENTION_COLUMNS_MAX}", q[3]));
        }
        Ok(Spec::new(Kernel::result(&self.shape(q, k), self.pass), inputs[0].dtype.compute()))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        if self.pass != AttentionPass::Forward {
            // In contrast to the kernels this needs memory for all scores.
            let pulled = vjp(&v.inputs.to_vec(), |x| self.written_out(x)).and_then(|(_, back)| back(v.grad));
            return match pulled {
                Ok(cotangents) => cotangents.into_iter().map(Some).collect(),
                Err(error) => vec![Some(Tensor::error(error)); v.inputs.len()],
            };
        }
        let [q, keys, values] = v.inputs else { return Vec::new() };
        let columns = q.shape()[3] as isize;
        let cut = |x: &Tensor| (x.slice(-1, ..columns), x.slice(-1, columns..));
        let ((out, sums), (given, to_sums)) = (cut(v.output), cut(v.grad));
        let excess = to_sums - (&out * &given).sum_keepdim(-1);
        let operands = [q, keys, values, &given, &sums, &excess];
        let to_q = self.of(AttentionPass::BackwardQ, &operands);
        let to_kv = self.of(AttentionPass::BackwardKv, &operands);
        let part = |k: isize| to_kv.slice(0, k..k + 1).squeeze(0).cast(q.dtype());
        vec![Some(to_q.cast(q.dtype())), Some(part(0)), Some(part(1))]
    }

    fn attributes(&self, key: &mut Key) {
        key.push(u64::from(self.causal));
        key.push_float(self.scale);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]).compute();
        let shape = self.shape(cx.shape(x[0]), cx.shape(x[1]));
        let mut windows: Vec<(NodeId, Layout)> = Vec::with_capacity(x.len());
        for &operand in x {
            let wide = cx.cast(operand, dtype);
            windows.push(cx.strided(wide));
        }
        let (nodes, layouts): (Vec<NodeId>, Vec<Layout>) = windows.into_iter().unzip();
        let kernel = Kernel::new(shape, self.pass, self.causal, self.scale, dtype, &layouts)
            .ok_or_else(|| Error::internal(self.name(), format!("no kernel for {shape:?}")))?;
        Ok(cx.kernel(Arc::new(kernel), &nodes, Kernel::result(&shape, self.pass), dtype))
    }
}

impl Tensor {
    /// softmax(scale · Q Kᵀ) V for each head: `self` are the queries `[…, t, columns]`, `keys` and `values` are
    /// `[…, s, columns]`, with up to two axes in front. Neither this nor its derivative holds a matrix of scores:
    /// memory is linear in t and s (Vaswani et al. 2017; Dao et al. 2022). Second derivatives do hold one.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::AttentionOptions;
    /// let x = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 2.0], [2, 2], &Device::cpu());
    /// let causal = AttentionOptions { causal: true, ..AttentionOptions::default() };
    /// let y = x.scaled_dot_product_attention(&x, &x, causal);
    /// assert_eq!(y.slice(0, ..1).to_vec::<f32>()?, [1.0, 0.0], "the first sees itself alone");
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        keys: &Tensor,
        values: &Tensor,
        options: AttentionOptions,
    ) -> Tensor {
        let at = At::caller();
        let operands = [self, keys, values];
        if let Some(broken) = operands.iter().find(|t| t.check().is_err()) {
            return (*broken).clone();
        }
        let rank = self.rank();
        if !(2..=4).contains(&rank) || operands.iter().any(|t| t.rank() != rank) {
            let message = "queries, keys and values need the same two to four axes";
            return Tensor::error(shape_error("scaled_dot_product_attention", message, &operands, at));
        }
        let [q, k, v] = operands.map(|t| (rank..4).fold(t.clone(), |t, _| t.unsqueeze(0)));
        let columns = q.shape()[3];
        let scale = options.scale.unwrap_or(1.0 / (columns.max(1) as f64).sqrt());
        let op = Attention { pass: AttentionPass::Forward, causal: options.causal, scale };
        let shape = op.shape(&q.shape(), &k.shape());
        let passes = [AttentionPass::Forward, AttentionPass::BackwardQ, AttentionPass::BackwardKv];
        let trips = passes.iter().map(|&pass| shape.trips(pass)).max().unwrap_or(0);
        let software = self.device().is_ok_and(|d| d.info().kind == DeviceKind::Software);
        if software && trips > TRIPS_MAX {
            let (t, s) = (shape.queries, shape.keys);
            let message = format!(
                "{t} queries, {s} keys of {columns} columns take {trips} steps, a software adapter stops after \
                 {TRIPS_MAX}"
            );
            return Tensor::error(Error::Argument { op: "scaled_dot_product_attention", message, at });
        }
        let out = Tensor::apply(op, &[&q, &k, &v], at).slice(-1, ..columns as isize).cast(self.dtype());
        (rank..4).fold(out, |t, _| t.squeeze(0))
    }
}
