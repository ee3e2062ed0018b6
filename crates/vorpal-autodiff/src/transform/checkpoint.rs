//! Checkpoints: intermediate values of a function are computed again for its derivative instead of kept (Chen et al.,
//! "Training Deep Nets with Sublinear Memory Cost", 2016; `jax.checkpoint`, `torch.utils.checkpoint`).
//!
//! Forward and backward are one plan here, in which equal nodes are one node. So the derivative builds the function's
//! graph again from its inputs behind *barriers*: the same values under an identity of their own, not to be read before
//! the cotangent of the result is there.

use std::sync::Arc;

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Error, Result};

use super::reverse::backward;
use super::{Trace, leaves};
use crate::compile::ir::{Builder, NodeId};
use crate::graph::{IdMap, IdSet, Node, next_id};
use crate::ops::Variable;
use crate::{Key, Misfit, Op, Spec, Tensor, Tree, Vjp, Vmap};

/// Which intermediate values a checkpoint keeps.
#[derive(Clone, Copy, Debug, Default)]
pub enum Policy {
    /// None: everything is computed again, from the inputs.
    #[default]
    Everything,
    /// The results of matrix products and convolutions: what is cheap is computed again.
    DotsSaved,
    /// The results of ops whose name, as errors print it, the function accepts.
    Custom(fn(&str) -> bool),
}

impl Policy {
    fn keeps(self, op: &str) -> bool {
        match self {
            Policy::Everything => false,
            Policy::DotsSaved => op == "matmul" || op.starts_with("conv"),
            Policy::Custom(keeps) => keeps(op),
        }
    }
}

/// The value of `f` at `inputs`, whose intermediate values are computed again for derivatives instead of kept.
///
/// Everything that `f` reads may have derivatives, whether it comes through `inputs` or not. Random tensors made
/// inside have the same numbers when they are computed again. Derivatives of any order, in both modes, and batches
/// compose with it.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, checkpoint, grad};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// let g = grad(&x, |x| checkpoint(x, |x| x.sin().sin().sin()).sum_all())?;
/// let plain = grad(&x, |x| x.sin().sin().sin().sum_all())?;
/// assert_eq!(g.to_vec::<f32>()?, plain.to_vec::<f32>()?);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
#[track_caller]
pub fn checkpoint<T: ?Sized, R: Tree>(inputs: &T, f: impl FnOnce(&T) -> R) -> R {
    checkpoint_with(Policy::Everything, inputs, f)
}

/// As [`checkpoint`], with a choice of what is kept.
#[track_caller]
pub fn checkpoint_with<T: ?Sized, R: Tree>(policy: Policy, inputs: &T, f: impl FnOnce(&T) -> R) -> R {
    let at = At::caller();
    let start = next_id();
    let value = f(inputs);
    // Results that are made inside and may have derivatives.
    let made = |t: &Tensor| t.ready().is_ok_and(|node| node.id >= start && node.spec.dtype.is_float());
    let results: Vec<Tensor> = leaves(&value).into_iter().filter(made).collect();
    match &results[..] {
        [] => value,
        [single] => {
            let marked = region(policy, single, start, at);
            value.map(&mut |t| if made(t) { marked.clone() } else { t.clone() })
        }
        _ => {
            let joint = region(policy, &joined(&results), start, at);
            let mut first = 0;
            value.map(&mut |t| {
                if !made(t) {
                    return t.clone();
                }
                let part = Tensor::apply(Part { first, batch: 0 }, &[&joint, t], at);
                first += t.shape().numel();
                part
            })
        }
    }
}

/// All elements in a row, in the widest dtype. Its value is never computed: it stands for several results.
fn joined(results: &[Tensor]) -> Tensor {
    let wide = results.iter().any(|t| t.dtype() == DType::F64);
    let dtype = if wide { DType::F64 } else { DType::F32 };
    let flat: Vec<Tensor> = results.iter().map(|t| t.cast(dtype).reshape([t.shape().numel()])).collect();
    Tensor::concat(&flat.iter().collect::<Vec<_>>(), 0)
}

/// `result` with the mark that what was made since `start` is to be made again.
fn region(policy: Policy, result: &Tensor, start: u64, at: At) -> Tensor {
    let Ok(root) = result.ready() else { return result.clone() };
    let boundary = boundary(root, start);
    if boundary.is_empty() {
        return result.clone();
    }
    let operands: Vec<&Tensor> = boundary.iter().chain([result]).collect();
    Tensor::apply(Checkpoint { policy }, &operands, at)
}

/// What was there before `start` and is read by what was made since, in an order that follows from the graph alone.
fn boundary(root: &Arc<Node>, start: u64) -> Vec<Tensor> {
    let (mut seen, mut out, mut pending) = (IdSet::default(), Vec::new(), vec![root.clone()]);
    while let Some(node) = pending.pop() {
        if !seen.insert(node.id) {
            continue;
        }
        if node.id < start {
            out.push(Tensor(Ok(node)));
        } else {
            pending.extend(node.inputs().into_iter().rev());
        }
    }
    out
}

/// Operands: what a function reads, and its result, which is the value.
#[derive(Debug)]
struct Checkpoint {
    policy: Policy,
}

impl Checkpoint {
    fn pull(&self, boundary: &[Tensor], result: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let at = result.ready()?.at;
        let trace = Trace::open();
        let behind = |x: &Tensor| Tensor::apply(Barrier, &[x, grad], at);
        let (mut again, mut ids) = (IdMap::default(), Vec::new());
        for input in boundary {
            let variable = behind(input).variable(Variable, trace.0.clone());
            ids.push(variable.ready()?.id);
            again.insert(input.ready()?.id, variable);
        }
        let kept =
            |node: &Arc<Node>| self.policy.keeps(node.op.name()).then(|| behind(&Tensor(Ok(node.clone()))));
        let value = rebuilt(result.ready()?, again, kept)?;
        let mut grads = backward(vec![(value, grad.clone())], &ids.iter().copied().collect())?;
        Ok(ids.iter().map(|id| grads.remove(id)).collect())
    }
}

/// A node on the way down, or with its inputs on the way back up.
type Visit = (Arc<Node>, Option<SmallVec<[Arc<Node>; 3]>>);

/// The graph behind `root` once more, on other operands. Leaves without a value are made anew, too: random numbers are
/// computed again from the same key.
fn rebuilt(
    root: &Arc<Node>,
    mut again: IdMap<Tensor>,
    kept: impl Fn(&Arc<Node>) -> Option<Tensor>,
) -> Result<Tensor> {
    let missing = || Error::internal("checkpoint", "an operand was not made again");
    let mut pending: Vec<Visit> = vec![(root.clone(), None)];
    while let Some((node, inputs)) = pending.pop() {
        if again.contains_key(&node.id) {
            continue;
        }
        let Some(inputs) = inputs else {
            let inputs = node.inputs();
            let open: Vec<_> = inputs.iter().rev().map(|input| (input.clone(), None)).collect();
            pending.push((node, Some(inputs)));
            pending.extend(open);
            continue;
        };
        let mut operands = Vec::with_capacity(inputs.len() + 1);
        for input in &inputs {
            operands.push(again.get(&input.id).cloned().ok_or_else(missing)?);
        }
        let made = match kept(&node).filter(|_| !inputs.is_empty()) {
            _ if inputs.is_empty() && node.is_evaluated() => Tensor(Ok(node.clone())),
            Some(value) => {
                operands.push(value);
                Tensor::apply(Kept(node.op.clone()), &operands.iter().collect::<Vec<_>>(), node.at)
            }
            None => Tensor::again(&node, &operands)?,
        };
        again.insert(node.id, made);
    }
    again.remove(&root.id).ok_or_else(missing)
}

impl Op for Checkpoint {
    fn name(&self) -> &'static str {
        "checkpoint"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[inputs.len() - 1].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (result, boundary) = match v.inputs {
            [boundary @ .., result] => (result, boundary),
            [] => return Vec::new(),
        };
        let mut grads = match self.pull(boundary, result, v.grad) {
            Ok(grads) => grads,
            Err(error) => boundary.iter().map(|_| Some(Tensor::error(error.clone()))).collect(),
        };
        // What leads to the result directly is what is computed again.
        grads.push(None);
        grads
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        // What is read must be what the batched graph reads: nothing is repeated.
        let last = v.inputs.len() - 1;
        let result = v.example(last);
        let operands: Vec<&Tensor> = v.inputs[..last].iter().chain([&result]).collect();
        Tensor::apply(Checkpoint { policy: self.policy }, &operands, v.at)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[inputs.len() - 1])
    }
}

/// Operands: a value, and what to wait for. The same value, but nothing computed from it is shared with what is
/// computed from the operand.
#[derive(Debug)]
struct Barrier;

impl Op for Barrier {
    fn name(&self) -> &'static str {
        "barrier"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(v.grad.clone()), None]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        Tensor::apply(Barrier, &[&v.example(0), &v.inputs[1]], v.at)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(cx.barrier(inputs[0], inputs[1]))
    }
}

/// Operands: those of an op, made again, and its result, kept: the value. Its derivative is that of the op.
#[derive(Debug)]
struct Kept(Arc<dyn Op>);

impl Op for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[inputs.len() - 1].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let operands = &v.inputs[..v.inputs.len() - 1];
        let mut grads = self.0.vjp(&Vjp { inputs: operands, ..*v });
        grads.push(None);
        grads
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        // The op of all examples is another op, with another derivative: it is computed again.
        let last = v.inputs.len() - 1;
        let (inputs, batched) = (&v.inputs[..last], &v.batched[..last]);
        if batched.contains(&true) { self.0.vmap(&Vmap { inputs, batched, ..*v }) } else { v.example(last) }
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[inputs.len() - 1])
    }
}

/// Operands: several results in a row behind `batch` axes, and one of them, which is the value. Its cotangent belongs
/// to the row, from element `first` on.
#[derive(Debug)]
struct Part {
    first: usize,
    batch: usize,
}

impl Op for Part {
    fn name(&self) -> &'static str {
        "checkpoint"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[1].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let row = v.inputs[0].shape();
        let (shape, b) = (v.grad.shape(), self.batch);
        let n: usize = shape[b..].iter().product();
        let flat: SmallVec<[usize; 4]> = shape[..b].iter().copied().chain([n]).collect();
        let grad = v.grad.cast(v.inputs[0].dtype()).reshape(&flat[..]);
        vec![Some(grad.pad(-1, self.first, row[b] - self.first - n, 0.0)), None]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Part { first: self.first, batch: self.batch + 1 })
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[1])
    }
}
