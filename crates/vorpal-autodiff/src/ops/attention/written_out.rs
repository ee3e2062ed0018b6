//! Backward passes of attention through ordinary ops, from which their own derivatives are taken.

use vorpal_kernels::{AttentionPass, ResultType, ScalarFn, map3};
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::{Attention, HALF_NOTHING, Parts};
use crate::compile::ir::{Builder, NodeId};
use crate::ops::pointwise::GREATER_EQUAL;
use crate::ops::random::{PAIR, PHILOX_WORD};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

impl Attention {
    /// What the kernel of a backward pass computes, with all scores in memory.
    pub(super) fn written_out(&self, operands: &[Tensor]) -> Tensor {
        let missing = || Tensor::error(Error::internal("attention", "a backward pass lacks operands"));
        let Some(parts) = self.parts(operands) else { return missing() };
        let Some([given, sums, excess]) = parts.given else { return missing() };
        let shape = Attention::shape(&parts.q.shape(), &parts.k.shape(), &parts.v.shape());
        let wide = |x: &Tensor| x.cast(x.dtype().compute());
        // Heads of queries that share a head of keys see copies of it.
        let every = |x: &Tensor| {
            let [b, h, s, c] = [x.shape()[0], shape.kv_heads, shape.keys, x.shape()[3]];
            let repeated = wide(x).unsqueeze(2).broadcast_to([b, h, shape.group(), s, c]);
            repeated.reshape([b, shape.heads, s, c])
        };
        let (q, k, v) = (wide(parts.q), every(parts.k), every(parts.v));
        let product = q.matmul(&k.t()) * self.rules.scale;
        let (bounded, slope) = match self.rules.softcap {
            None => (product.clone(), product.full_like(1.0)),
            Some(cap) => {
                let t = (product / cap).tanh();
                (&t * cap, 1.0 - t.square())
            }
        };
        let (score, seen) = self.scores(&parts, &bounded);
        let p = seen.select(seen.select(score - sums, 0.0).exp(), 0.0);
        let kept = match (self.rules.dropout, parts.random_key) {
            (Some(dropout), Some(random_key)) => {
                let whole = [shape.batch, shape.heads, shape.queries, shape.keys];
                let keep =
                    Keep { shape: [dropout.batch, whole[1], whole[2], whole[3]], p: dropout.threshold() };
                let keep = Tensor::apply(keep, &random_key, At::caller());
                let times = shape.batch / dropout.batch.max(1);
                let keep =
                    keep.unsqueeze(0).broadcast_to([times, dropout.batch, whole[1], whole[2], whole[3]]);
                let factor = p.full_like(dropout.keep());
                &p * keep.reshape(whole).select(factor, 0.0)
            }
            _ => p.clone(),
        };
        let to_scores = &kept * given.matmul(&v.t()) + &p * excess;
        // The sum over the heads that share one.
        let fewer = |x: Tensor| {
            let columns = x.shape()[3];
            let groups = [shape.batch, shape.kv_heads, shape.group(), shape.keys, columns];
            x.reshape(groups).sum(2)
        };
        match self.pass {
            AttentionPass::BackwardBias => {
                let bias = parts.bias.map_or_else(|| to_scores.shape(), Tensor::shape);
                if bias[2] == 1 { to_scores.sum_keepdim(2) } else { to_scores.sum_to(&bias) }
            }
            AttentionPass::BackwardQ => (to_scores * slope * self.rules.scale).matmul(&k),
            _ => {
                let to_k = (to_scores * slope * self.rules.scale).t().matmul(&q);
                Tensor::concat(&[&fewer(to_k), &fewer(kept.t().matmul(given))], -1)
            }
        }
    }

    /// Scores, and which of them are seen.
    fn scores(&self, parts: &Parts<'_, Tensor>, bounded: &Tensor) -> (Tensor, Tensor) {
        let Ok(device) = bounded.device() else { return (bounded.clone(), bounded.clone()) };
        let shape = bounded.shape();
        let [queries, keys] = [shape[2], shape[3]];
        let [own_queries, own_keys] = match parts.lengths {
            None => [queries, keys].map(|n| Tensor::full([1, 1, 1, 1], n as f64, DType::I32, &device)),
            Some(lengths) => lengths.map(|n| n.cast(DType::I32).reshape([shape[0], 1, 1, 1])),
        };
        let query = Tensor::iota([1, 1, queries, keys], 2, DType::I32, &device);
        let key = Tensor::iota([1, 1, queries, keys], 3, DType::I32, &device);
        // More queries or keys than there are count as all.
        let (own_queries, own_keys) = (own_queries.minimum(queries as f64), own_keys.minimum(keys as f64));
        let ahead = &key - &query - &own_keys + &own_queries;
        let mut seen = query.lt(&own_queries).logical_and(key.lt(&own_keys));
        // No sequence is longer than this.
        let steps = |steps: usize| steps.min(1 << 30) as f64;
        if let Some(right) = self.rules.right {
            seen = seen.logical_and(ahead.le(steps(right)));
        }
        if let Some(left) = self.rules.left {
            seen = seen.logical_and(ahead.ge(-steps(left)));
        }
        let mut score = bounded.clone();
        if let Some(bias) = parts.bias {
            score = score + bias;
            seen = seen.logical_and(score.ge(HALF_NOTHING));
        }
        if let Some(slopes) = parts.slopes {
            let steps = ahead.abs().cast(score.dtype());
            score = score - slopes.unsqueeze(-1).unsqueeze(-1) * steps;
        }
        if let Some(mask) = parts.mask {
            seen = seen.logical_and(mask);
        }
        (score, seen.broadcast_to(shape))
    }
}

/// Place of the word of a query `a` and a key `b`; `c` draws of four words serve two queries.
static PLACE: ScalarFn = ScalarFn {
    name: "draw_place",
    arity: 3,
    result: ResultType::U32,
    wgsl: "((a >> 1u) * c + (b >> 1u)) * 4u + (a & 1u) * 2u + (b & 1u)",
    support: "",
    cpu: |x, out| {
        map3(x, out, |a: u32, b: u32, c: u32| {
            let draw = (a >> 1).wrapping_mul(c).wrapping_add(b >> 1);
            draw.wrapping_mul(4).wrapping_add((a & 1) * 2 + (b & 1))
        });
    },
    flops: 8,
};

/// Which probabilities dropout keeps, as the kernels draw them, from the two words of a key.
#[derive(Debug)]
struct Keep {
    /// Sequences, heads, queries, keys.
    shape: [usize; 4],
    /// Words below this drop theirs.
    p: u32,
}

impl Op for Keep {
    fn name(&self) -> &'static str {
        "attention_dropout"
    }

    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(self.shape, DType::Bool))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None; v.inputs.len()]
    }

    /// Keys come from the device, one for all examples; for others each example draws on its own.
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let draw = |example: usize| {
            let words: Vec<Tensor> = (0..2).map(|k| v.example(k).narrow(0, example, 1).squeeze(0)).collect();
            Tensor::apply(Keep { ..*self }, &words.iter().collect::<Vec<_>>(), v.at)
        };
        let examples: Vec<Tensor> = (0..v.size).map(draw).collect();
        Tensor::stack(&examples.iter().collect::<Vec<_>>(), 0)
    }

    fn attributes(&self, key: &mut Key) {
        key.push_list(&self.shape);
        key.push(self.p);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let [batch, heads, ..] = self.shape;
        let (shape, pairs) = (Shape::from(self.shape), Shape::from([batch, heads]));
        let pair = cx.linear_index(&pairs);
        let mut own = [0; 2];
        let spread = |cx: &mut Builder, x: NodeId, to: &Shape| cx.view(x, |l| Some(l.broadcast_to(to)));
        let words = [spread(cx, x[0], &pairs)?, spread(cx, x[1], &pairs)?];
        for (which, own) in own.iter_mut().enumerate() {
            let which = cx.constant(which as f64, pairs.clone(), DType::U32);
            let place = cx.call(&PAIR, &[pair, which]);
            let word = cx.call(&PHILOX_WORD, &[place, words[0], words[1]]);
            let word = cx.view(word, |l| l.reshape(&Shape::from([batch, heads, 1, 1])))?;
            *own = spread(cx, word, &shape)?;
        }
        let (query, key) = (cx.coordinate(&shape, 2), cx.coordinate(&shape, 3));
        let draws = cx.constant(self.shape[3].div_ceil(2) as f64, shape.clone(), DType::U32);
        let place = cx.call(&PLACE, &[query, key, draws]);
        let word = cx.call(&PHILOX_WORD, &[place, own[0], own[1]]);
        let threshold = cx.constant(f64::from(self.p), shape, DType::U32);
        Ok(cx.call(&GREATER_EQUAL.f, &[word, threshold]))
    }
}
