//! Scaled dot-product attention.

mod options;
mod written_out;

use std::sync::Arc;

use vorpal_kernels::{
    ATTENTION_COLUMNS_MAX, Attention as Kernel, AttentionCooperative, AttentionPass, AttentionRules,
    AttentionShape, ResultType, ScalarFn, map1,
};
use vorpal_tensor::{At, DType, Error, Layout, Result, Shape};

use super::pointwise::ADD;
use crate::compile::ir::{Builder, Class, Kind, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap, vjp};

pub use options::AttentionOptions;

/// Rounds of loops an invocation may take on software adapters, which give up after 65,535.
const TRIPS_MAX: usize = 50_000;

/// Operands: see [`Parts`]. Everything but queries, keys and values is in the compute dtype; the result, too.
#[derive(Clone, Copy, Debug)]
struct Attention {
    pass: AttentionPass,
    rules: AttentionRules,
    bias: bool,
    mask: bool,
}

/// The operands of an [`Attention`], or places of them, in order.
#[derive(Clone, Copy, Debug)]
struct Parts<'a, T> {
    q: &'a T,
    k: &'a T,
    v: &'a T,
    /// In backward passes: the cotangent of the result without its last column, that last column of the result, and
    /// its cotangent less the products of results and cotangents.
    given: Option<[&'a T; 3]>,
    /// `[batch or 1, heads or 1, t or 1, s or 1]`, as the mask.
    bias: Option<&'a T>,
    mask: Option<&'a T>,
    /// `[batch, heads]`.
    slopes: Option<&'a T>,
    /// Of queries and of keys, `[batch]` each.
    lengths: Option<[&'a T; 2]>,
    /// Two scalars.
    random_key: Option<[&'a T; 2]>,
}

impl Attention {
    /// Sorts operands; `None` where there are too few.
    fn parts<'a, T>(&self, operands: &'a [T]) -> Option<Parts<'a, T>> {
        let mut next = operands.iter();
        let (q, k, v) = (next.next()?, next.next()?, next.next()?);
        let backward = self.pass != AttentionPass::Forward;
        Some(Parts {
            q,
            k,
            v,
            given: if backward { Some([next.next()?, next.next()?, next.next()?]) } else { None },
            bias: if self.bias { Some(next.next()?) } else { None },
            mask: if self.mask { Some(next.next()?) } else { None },
            slopes: if self.rules.slopes { Some(next.next()?) } else { None },
            lengths: if self.rules.lengths { Some([next.next()?, next.next()?]) } else { None },
            random_key: if self.rules.dropout.is_some() { Some([next.next()?, next.next()?]) } else { None },
        })
    }

    fn shape(q: &Shape, k: &Shape, v: &Shape) -> AttentionShape {
        AttentionShape {
            batch: q[0],
            heads: q[1],
            kv_heads: k[1],
            queries: q[2],
            keys: k[2],
            columns: q[3],
            value_columns: v[3],
        }
    }

    fn of(&self, pass: AttentionPass, operands: &[&Tensor], at: At) -> Tensor {
        Tensor::apply(Attention { pass, ..*self }, operands, at)
    }

    /// The pass over windows on its operands.
    fn kernel(
        &self,
        shape: AttentionShape,
        dtype: DType,
        windows: &[Layout],
        bias: Option<&Layout>,
        mask: Option<&Layout>,
    ) -> Result<Kernel> {
        Kernel::new(shape, self.pass, self.rules, dtype, windows, bias, mask)
            .ok_or_else(|| Error::internal(self.name(), format!("no kernel for {shape:?}")))
    }

    /// Whether this is best cut from a launch that makes all cotangents, which has a task for each head of keys.
    fn is_part(&self, is_native: bool, shape: &AttentionShape) -> bool {
        is_native
            && matches!(self.pass, AttentionPass::BackwardQ | AttentionPass::BackwardKv)
            && shape.batch * shape.kv_heads >= 4
            && shape.queries.min(shape.keys) > 0
    }

    /// Small operands behind one another.
    fn side(cx: &mut Builder, parts: &Parts<'_, NodeId>, dtype: DType) -> Result<Option<NodeId>> {
        let mut all: Vec<NodeId> = Vec::new();
        all.extend(parts.given.iter().flat_map(|given| given[1..].iter().map(|&&x| x)));
        all.extend(parts.slopes);
        all.extend(parts.lengths.iter().flatten().map(|&&x| x));
        for &&word in parts.random_key.iter().flatten() {
            let scalar = cx.view(word, |l| l.reshape(&Shape::from([1])))?;
            all.extend([&LOW, &HIGH].map(|half| cx.call(half, &[scalar])));
        }
        let mut flat = Vec::with_capacity(all.len());
        for x in all {
            let wide = cx.cast(x, dtype);
            let shape = Shape::from(cx.shape(wide).numel());
            flat.push(cx.view(wide, |l| l.reshape(&shape))?);
        }
        let total: usize = flat.iter().map(|&x| cx.shape(x)[0]).sum();
        let (mut side, mut start) = (None, 0);
        for x in flat {
            let len = cx.shape(x)[0];
            let padded = cx.pad(x, &[start], &[total - start - len], 0.0)?;
            side = Some(side.map_or(padded, |side| cx.call(&ADD.f, &[side, padded])));
            start += len;
        }
        Ok(side)
    }

    /// The pass by a kernel that multiplies matrices of halves, where the target has such and everything is as it takes it.
    fn of_halves(&self, cx: &mut Builder, x: &[NodeId], shape: AttentionShape) -> Result<Option<NodeId>> {
        let target = cx.target();
        let can = target.class == Class::Card && target.abilities.matrices;
        if !can || self.bias || self.mask || cx.dtype(x[0]) != DType::F16 {
            return Ok(None);
        }
        let Some(parts) = self.parts(x) else { return Ok(None) };
        let operands = [*parts.q, *parts.k, *parts.v].into_iter().chain(parts.given.map(|given| *given[0]));
        let (mut nodes, mut windows) = (Vec::with_capacity(5), Vec::with_capacity(4));
        for operand in operands {
            let mut half = halves(cx, operand)?;
            let (_, layout) = cx.strided(half);
            if !AttentionCooperative::reads(&layout) {
                half = cx.copy(half);
            }
            let (node, layout) = cx.strided(half);
            nodes.push(node);
            windows.push(layout);
        }
        let Some(kernel) = AttentionCooperative::new(shape, self.pass, self.rules, &windows) else {
            return Ok(None);
        };
        nodes.extend(Attention::side(cx, &parts, DType::F32)?);
        let result = kernel.result();
        Ok(Some(cx.kernel(Arc::new(kernel), &nodes, result, DType::F32)))
    }

    /// Cotangent of a bias; keys that share one change nothing but the logarithms of the sums.
    fn bias_cotangent(
        &self,
        bias: &Tensor,
        sums: &Tensor,
        to_sums: &Tensor,
        operands: &[&Tensor],
        at: At,
    ) -> Tensor {
        let shape = bias.shape();
        if shape[3] == 1 {
            let seen = sums.gt(HALF_NOTHING);
            return seen.select(to_sums, 0.0).sum_to(&shape);
        }
        self.of(AttentionPass::BackwardBias, operands, at).sum_to(&shape)
    }
}

/// A node in halves: what it was before it was widened, or rounded. Cotangents of a result of halves are halves.
fn halves(cx: &mut Builder, x: NodeId) -> Result<NodeId> {
    let narrow = |cx: &Builder, x: NodeId| match cx.nodes()[x].kind {
        Kind::Cast { x } if cx.dtype(x) == DType::F16 => Some(x),
        _ => None,
    };
    if cx.dtype(x) == DType::F16 {
        return Ok(x);
    }
    if let Some(x) = narrow(cx, x) {
        return Ok(x);
    }
    if let Kind::View { base, layout, barrier: None, .. } = cx.nodes()[x].kind.clone()
        && layout.bounds.is_empty()
        && let Some(narrow) = narrow(cx, base)
        // A window on a window may be none on what lies below.
        && cx.base(narrow) == narrow
    {
        return cx.view(narrow, |_| Some(layout.clone()));
    }
    Ok(cx.cast(x, DType::F16))
}

/// Logarithms of sums below this belong to queries that see no key.
const HALF_NOTHING: f64 = -5e29;

static LOW: ScalarFn = ScalarFn {
    name: "low_16_bits",
    arity: 1,
    result: ResultType::U32,
    wgsl: "a & 0xffffu",
    support: "",
    cpu: |x, out| map1(x, out, |a: u32| a & 0xffff),
    flops: 1,
};

static HIGH: ScalarFn = ScalarFn {
    name: "high_16_bits",
    arity: 1,
    result: ResultType::U32,
    wgsl: "a >> 16u",
    support: "",
    cpu: |x, out| map1(x, out, |a: u32| a >> 16),
    flops: 1,
};

impl Op for Attention {
    fn name(&self) -> &'static str {
        match self.pass {
            AttentionPass::Forward => "scaled_dot_product_attention",
            AttentionPass::BackwardQ => "attention_backward_q",
            AttentionPass::BackwardKv => "attention_backward_kv",
            AttentionPass::Backward => "attention_backward",
            AttentionPass::BackwardBias => "attention_backward_bias",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let Some(Parts { q, k, v, bias, mask, .. }) = self.parts(inputs) else {
            return Misfit::shape("needs queries, keys and values");
        };
        super::same_dtype(&inputs[..3])?;
        if !q.dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", q.dtype));
        }
        let dtype = q.dtype.compute();
        let (q, k, v) = (&q.shape, &k.shape, &v.shape);
        let fits = [q, k, v].iter().all(|x| x.rank() == 4)
            && q[0] == k[0]
            && q[3] == k[3]
            && k.dims()[..3] == v.dims()[..3];
        if !fits {
            return Misfit::shape(
                "needs queries [batch, heads, t, columns], keys [batch, kv heads, s, columns] and values [batch, kv \
                 heads, s, value columns]",
            );
        }
        if q[1] != k[1] && (k[1] == 0 || q[1] % k[1] != 0) {
            return Misfit::shape(format!("{} heads of keys do not divide {} heads of queries", k[1], q[1]));
        }
        if let Some(columns) = [q[3], v[3]].iter().find(|c| !(1..=ATTENTION_COLUMNS_MAX).contains(*c)) {
            return Misfit::shape(format!("{columns} columns are not in 1..={ATTENTION_COLUMNS_MAX}"));
        }
        let shape = Attention::shape(q, k, v);
        let whole = |spec: &Spec| Layout::contiguous(spec.shape.clone());
        let windows: Vec<Layout> =
            inputs[..if self.pass == AttentionPass::Forward { 3 } else { 4 }].iter().map(whole).collect();
        match self.kernel(shape, dtype, &windows, bias.map(whole).as_ref(), mask.map(whole).as_ref()) {
            Ok(kernel) => Ok(Spec::new(kernel.result(), dtype)),
            Err(error) => Misfit::shape(error.to_string()),
        }
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let Some(parts) = self.parts(v.inputs) else { return Vec::new() };
        if parts.given.is_some() {
            // In contrast to the kernels this needs memory for all scores.
            let smooth: Vec<usize> = (0..6 + usize::from(self.bias)).collect();
            let variables: Vec<Tensor> = smooth.iter().map(|&k| v.inputs[k].clone()).collect();
            let run = |x: &Vec<Tensor>| {
                let all: Vec<Tensor> = x.iter().chain(&v.inputs[x.len()..]).cloned().collect();
                self.written_out(&all)
            };
            let mut out = match vjp(&variables, run).and_then(|(_, back)| back(v.grad)) {
                Ok(cotangents) => cotangents.into_iter().map(Some).collect(),
                Err(error) => vec![Some(Tensor::error(error)); smooth.len()],
            };
            out.resize(v.inputs.len(), None);
            return out;
        }
        let at = At::caller();
        let (q, columns) = (parts.q, parts.v.shape()[3] as isize);
        let cut = |x: &Tensor| (x.slice(-1, ..columns), x.slice(-1, columns..));
        let ((out, sums), (given, to_sums)) = (cut(v.output), cut(v.grad));
        let excess = &to_sums - (&out * &given).sum_keepdim(-1);
        let mut operands: Vec<&Tensor> = v.inputs[..3].iter().collect();
        operands.extend([&given, &sums, &excess]);
        operands.extend(&v.inputs[3..]);
        let to_q = self.of(AttentionPass::BackwardQ, &operands, at);
        let to_kv = self.of(AttentionPass::BackwardKv, &operands, at);
        let split = q.shape()[3] as isize;
        let mut cotangents = vec![
            Some(to_q.cast(q.dtype())),
            Some(to_kv.slice(-1, ..split).cast(q.dtype())),
            Some(to_kv.slice(-1, split..).cast(q.dtype())),
        ];
        cotangents
            .extend(parts.bias.map(|bias| Some(self.bias_cotangent(bias, &sums, &to_sums, &operands, at))));
        cotangents.resize(v.inputs.len(), None);
        cotangents
    }

    /// Examples become further sequences.
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let numbers: Vec<usize> = (0..v.inputs.len()).collect();
        let Some(places) = self.parts(&numbers) else { return v.inputs[0].clone() };
        let example = v.example(0).shape();
        let (size, batch) = (example[0], example[1]);
        let scores = [places.bias, places.mask];
        let random_key: Vec<&usize> = places.random_key.into_iter().flatten().collect();
        let fold = |k: &usize| {
            let x = v.example(*k);
            let mut shape = x.shape().dims().to_vec();
            if random_key.contains(&k) {
                return v.inputs[*k].clone();
            }
            // What a single sequence shares with all others, examples share, too; but not its derivative.
            let own = v.batched[*k] || shape[1] != 1 || self.pass == AttentionPass::BackwardBias;
            if scores.contains(&Some(k)) && !own {
                return v.inputs[*k].clone();
            }
            shape[1] = batch;
            x.broadcast_to(&shape[..]).flatten(0, 1)
        };
        let operands: Vec<Tensor> = numbers.iter().map(fold).collect();
        let out = Tensor::apply(*self, &operands.iter().collect::<Vec<_>>(), v.at);
        let mut shape = out.shape().dims().to_vec();
        shape.splice(..1, [size, batch]);
        let out = out.reshape(&shape[..]);
        // Of a bias that sequences share, examples have one each.
        let shared =
            places.bias.is_some_and(|&k| v.example(k).shape()[1] == 1 && v.example(k).shape()[3] != 1);
        if self.pass == AttentionPass::BackwardBias && shared { out.sum_keepdim(1) } else { out }
    }

    fn attributes(&self, key: &mut Key) {
        let AttentionRules { scale, left, right, softcap, slopes, lengths, dropout } = self.rules;
        key.push(self.pass as u64);
        for flag in [self.bias, self.mask, slopes, lengths] {
            key.push(u64::from(flag));
        }
        key.push_float(scale);
        for steps in [left, right] {
            key.push_list(steps.as_slice());
        }
        key.push_float(softcap.unwrap_or(0.0));
        key.push_float(dropout.map_or(0.0, |d| d.p));
        key.push(dropout.map_or(0, |d| d.batch));
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let parts = self.parts(x).ok_or_else(|| Error::internal(self.name(), "operands are missing"))?;
        let dtype = cx.dtype(x[0]).compute();
        let shape = Attention::shape(cx.shape(x[0]), cx.shape(x[1]), cx.shape(x[2]));
        if let Some(out) = self.of_halves(cx, x, shape)? {
            return Ok(out);
        }
        let mut nodes: Vec<NodeId> = Vec::with_capacity(x.len());
        let mut windows: Vec<Layout> = Vec::with_capacity(x.len());
        for &operand in &x[..if parts.given.is_some() { 4 } else { 3 }] {
            let wide = cx.cast(operand, dtype);
            let (node, layout) = cx.strided(wide);
            nodes.push(node);
            windows.push(layout);
        }
        nodes.extend(Attention::side(cx, &parts, dtype)?);
        let mut of_scores = [None, None];
        for (layout, operand) in of_scores.iter_mut().zip([parts.bias, parts.mask]) {
            if let Some(&operand) = operand {
                let (node, window) = cx.strided(operand);
                nodes.push(node);
                *layout = Some(window);
            }
        }
        let [bias, mask] = &of_scores;
        let of = |pass| {
            let op = Attention { pass, ..*self };
            op.kernel(shape, dtype, &windows, bias.as_ref(), mask.as_ref())
        };
        let kernel = of(self.pass)?.with_abilities(cx.target().abilities);
        let result = kernel.result();
        if self.is_part(cx.target().is_native(), &shape) {
            // Whoever asks for the other part gets the same launch.
            let whole = of(AttentionPass::Backward)?;
            let (all, len) = (whole.result(), result.numel());
            let start = if self.pass == AttentionPass::BackwardKv { all.numel() - len } else { 0 };
            let whole = cx.kernel(Arc::new(whole), &nodes, all, dtype);
            return cx.view(whole, |l| l.slice(0, start, len, 1).reshape(&result));
        }
        let trips_max = if cx.target().class == Class::Software { TRIPS_MAX } else { usize::MAX };
        let mut out: Option<NodeId> = None;
        for part in kernel.parts(trips_max) {
            let forward = self.pass == AttentionPass::Forward;
            let so_far = out.filter(|_| forward);
            let inputs: Vec<NodeId> = nodes.iter().copied().chain(so_far).collect();
            let next = cx.kernel(Arc::new(part), &inputs, result.clone(), dtype);
            out = Some(match out {
                Some(out) if !forward => cx.call(&ADD.f, &[out, next]),
                _ => next,
            });
        }
        out.ok_or_else(|| Error::internal(self.name(), "a pass without parts"))
    }
}
