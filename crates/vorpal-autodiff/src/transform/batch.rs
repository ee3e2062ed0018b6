//! Batching: a function of one example becomes a function of many, from graph to graph.

use std::sync::Arc;

use vorpal_tensor::{At, Device, Error, Result};

use super::{dependent, leaves};
use crate::compile::ir::{Builder, NodeId};
use crate::graph::{IdMap, IdSet, Node};
use crate::op::in_front;
use crate::ops::{axis_of, shape_error};
use crate::tree::IntoTree;
use crate::{Key, Misfit, Op, Spec, Tensor, Tree, Vjp, Vmap};

/// Which axis of each input holds the examples.
///
/// Made from one number, for all inputs, or from one number or `None` for each tensor in its order: `None` for those
/// that all examples share. Negative axes count from the back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchAxes {
    /// The same axis of all inputs.
    All(isize),
    /// An axis for each input, or none for one that all examples share.
    Each(Vec<Option<isize>>),
}

impl From<i32> for BatchAxes {
    fn from(axis: i32) -> BatchAxes {
        BatchAxes::All(axis as isize)
    }
}
impl From<isize> for BatchAxes {
    fn from(axis: isize) -> BatchAxes {
        BatchAxes::All(axis)
    }
}
impl<const N: usize> From<[Option<i32>; N]> for BatchAxes {
    fn from(axes: [Option<i32>; N]) -> BatchAxes {
        BatchAxes::Each(axes.into_iter().map(|axis| axis.map(|a| a as isize)).collect())
    }
}
impl From<&[Option<isize>]> for BatchAxes {
    fn from(axes: &[Option<isize>]) -> BatchAxes {
        BatchAxes::Each(axes.to_vec())
    }
}

/// A function of one example applied to all examples at once: `jax.vmap`, `torch.func.vmap`.
///
/// The function sees tensors without the axis of the examples and returns a tensor, any structure of tensors, or a
/// [`Result`] of one; results have the examples along a new axis 0. It is called once, and its graph is built anew by
/// the batching rules of its ops, so that it composes with derivatives: `vmap` of [`grad`](crate::grad) gives the
/// gradients of every example.
///
/// Random tensors made inside are the same for all examples (`randomness="same"` in PyTorch); for numbers of their own
/// give every example a key: [`Tensor::rand_from_key`].
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, grad, vmap};
/// let w = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// let xs = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 3.0, 1.0], [3, 2], &Device::cpu());
/// // One gradient for each of three examples, the weights shared.
/// let each = vmap(&(w, xs), [None, Some(0)], |(w, x)| grad(w, |w| (w * x).sum_all().square()))?;
/// assert_eq!(each.to_vec::<f32>()?, [2.0, 0.0, 0.0, 4.0, 30.0, 10.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when an axis is out of range or inputs have different numbers of examples; [`Error::Argument`] when
/// no input is batched, when the axes are not one for each tensor, or when the function asks for a value (`item`,
/// `to_vec`), which an example does not have; an error that an input or the result carries.
#[track_caller]
pub fn vmap<T: Tree, R: IntoTree>(
    inputs: &T,
    in_axes: impl Into<BatchAxes>,
    f: impl FnOnce(&T) -> R,
) -> Result<R::Tree> {
    let place = At::caller();
    let (fronts, size) = examples_first(&leaves(inputs), &in_axes.into(), place)?;
    let mut batched = IdMap::default();
    let mut next = fronts.into_iter();
    let placeholders = inputs.map(&mut |input| match next.next().flatten() {
        Some(front) => {
            let example = Example::of(&front, place);
            if let Ok(node) = example.ready() {
                batched.insert(node.id, front);
            }
            example
        }
        None => input.clone(),
    });
    let value = f(&placeholders).into_tree()?;
    let mut roots = Vec::new();
    for root in leaves(&value) {
        roots.push(root.ready()?.clone());
    }
    rebuild(&roots, &mut batched, size)?;
    Ok(value.map(&mut |t| match t.ready().ok().and_then(|node| batched.get(&node.id)) {
        Some(all) => all.clone(),
        None => t.broadcast_to(in_front(size, &t.shape())),
    }))
}

/// The batched inputs with the examples in front, `None` for shared ones; and the number of examples.
fn examples_first(inputs: &[Tensor], axes: &BatchAxes, at: At) -> Result<(Vec<Option<Tensor>>, usize)> {
    let axes = match axes {
        BatchAxes::All(axis) => vec![Some(*axis); inputs.len()],
        BatchAxes::Each(axes) => axes.clone(),
    };
    let argument = |message: String| Err(Error::Argument { op: "vmap", message, at });
    if axes.len() != inputs.len() {
        return argument(format!("{} axes for {} tensors", axes.len(), inputs.len()));
    }
    let mut first: Option<(usize, usize)> = None;
    let mut out = Vec::with_capacity(inputs.len());
    for (k, (input, axis)) in inputs.iter().zip(axes).enumerate() {
        input.check()?;
        let Some(axis) = axis else {
            out.push(None);
            continue;
        };
        let axis = axis_of(input, "vmap", axis, at)?;
        let here = input.shape()[axis];
        let (of, size) = *first.get_or_insert((k, here));
        if size != here {
            let message = format!("input {of} has {size} examples, input {k} has {here}");
            return Err(shape_error("vmap", message, &[&inputs[of], input], at));
        }
        let order: Vec<isize> = std::iter::once(axis)
            .chain((0..input.rank()).filter(|&a| a != axis))
            .map(|a| a as isize)
            .collect();
        out.push(Some(input.permute(&order[..])));
    }
    match first {
        Some((_, size)) => Ok((out, size)),
        None => argument("no input is batched".to_string()),
    }
}

/// Builds what depends on the placeholders anew, with all examples.
fn rebuild(roots: &[Arc<Node>], batched: &mut IdMap<Tensor>, size: usize) -> Result<()> {
    let starts: IdSet = batched.keys().copied().collect();
    for node in dependent(roots, &starts) {
        if starts.contains(&node.id) {
            continue;
        }
        let (mut inputs, mut flags) = (Vec::new(), Vec::new());
        for input in node.inputs() {
            let all = batched.get(&input.id).cloned();
            flags.push(all.is_some());
            inputs.push(all.unwrap_or(Tensor(Ok(input))));
        }
        let all = node.op.vmap(&Vmap { inputs: &inputs, batched: &flags, size, at: node.at });
        let found = &all.ready()?.spec;
        let expected = Spec::new(in_front(size, &node.spec.shape), node.spec.dtype);
        if *found != expected {
            let message = format!("{} was batched to {found}, expected {expected}", node.op.name());
            return Err(Error::internal("vmap", message));
        }
        batched.insert(node.id, all);
    }
    Ok(())
}

/// Any one example of a batched input: it has a shape and no value.
#[derive(Debug)]
struct Example {
    spec: Spec,
    /// Where `vmap` was called.
    at: At,
}

impl Example {
    /// An example of a tensor with the examples in front.
    fn of(front: &Tensor, at: At) -> Tensor {
        let spec = Spec::new(&front.shape()[1..], front.dtype());
        let on: Result<Device> = front.device();
        match on {
            Ok(device) => Tensor::leaf(Example { spec: spec.clone(), at }, spec, &device, None, at),
            Err(error) => Tensor::error(error),
        }
    }
}

impl Op for Example {
    fn name(&self) -> &'static str {
        "vmap"
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(self.spec.clone())
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, _: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let message = "the function asked for a value, which an example does not have before all examples are \
                       computed together";
        Err(Error::Argument { op: "vmap", message: message.to_string(), at: self.at })
    }
}
