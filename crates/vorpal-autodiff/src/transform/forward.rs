//! Forward-mode differentiation, from graph to graph.
//!
//! No op has a rule for it. The derivative rule of an op maps a cotangent u of its result to cotangents g(u) of its
//! operands, linearly; pulling the tangents of the operands back through that graph to u gives the tangent of the
//! result: the transpose of the transpose (Radul et al., "You only linearize once", 2022, read backwards). As g is
//! linear the outcome does not depend on the value of u.

use std::sync::Arc;

use vorpal_tensor::{At, Error, Result};

use super::reverse::{backward, cotangents};
use super::{Trace, dependent, leaves};
use crate::graph::{IdMap, IdSet, Node};
use crate::ops::shape_error;
use crate::tree::IntoTree;
use crate::{Tensor, Tree};

/// The value of a function at `at`, and its derivative there in the direction `tangents`, both with the structure of
/// the value: `jax.jvp`, `torch.func.jvp`. Costs a few times the function itself, whatever the number of results; ops
/// whose second derivative needs more memory than the first (attention) need that memory here.
///
/// The function returns a tensor, any structure of tensors, or a [`Result`] of one.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, jvp};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// let t = Tensor::from_slice(&[1.0f32, 0.5], [2], &Device::cpu());
/// let (y, change) = jvp(&x, &t, |x| x * x * x)?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 8.0]);
/// assert_eq!(change.to_vec::<f32>()?, [3.0, 6.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that the result or a tangent carries; [`Error::Shape`] when a tangent has not the shape and dtype of its
/// place in `at`.
#[track_caller]
pub fn jvp<T: Tree, R: IntoTree>(
    at: &T,
    tangents: &T,
    f: impl FnOnce(&T) -> R,
) -> Result<(R::Tree, R::Tree)> {
    let place = At::caller();
    let trace = Trace::open();
    let variables = trace.variables(at);
    let value = f(&variables).into_tree()?;
    let tangents = matched(&leaves(&variables), leaves(tangents), place)?;
    let change = push_forward(&value, &leaves(&variables), tangents)?;
    Ok((value, change))
}

/// The value of a function at `at`, and the function that takes tangents of `at` to tangents of the value:
/// `jax.linearize`. The user's function is called once.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, linearize};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// let (y, push) = linearize(&x, |x| (x * x).sum_all())?;
/// assert_eq!(y.item::<f32>()?, 5.0);
/// assert_eq!(push(&x)?.item::<f32>()?, 10.0);
/// assert_eq!(push(&x.flip(0))?.item::<f32>()?, 8.0);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that the function's result carries.
#[track_caller]
pub fn linearize<T: Tree, U: Tree, R: IntoTree<Tree = U>>(
    at: &T,
    f: impl FnOnce(&T) -> R,
) -> Result<(U, impl Fn(&T) -> Result<U>)> {
    let place = At::caller();
    let linear = Linear::new(at, f)?;
    let value = linear.value.map(&mut |t| t.clone());
    Ok((value, move |tangents: &T| linear.push(matched(&linear.variables, leaves(tangents), place)?)))
}

/// A function's graph, kept open for tangents.
pub(super) struct Linear<U> {
    pub value: U,
    variables: Vec<Tensor>,
    /// The differentiation stays open as long as this lives.
    _open: Trace,
}

impl<U: Tree> Linear<U> {
    pub fn new<T: Tree, R: IntoTree<Tree = U>>(at: &T, f: impl FnOnce(&T) -> R) -> Result<Linear<U>> {
        let trace = Trace::open();
        let variables = trace.variables(at);
        let value = f(&variables).into_tree()?;
        Ok(Linear { value, variables: leaves(&variables), _open: trace })
    }

    /// Tangents of the value for tangents of the variables, `None` for zeros.
    pub fn push(&self, tangents: Vec<Option<Tensor>>) -> Result<U> {
        push_forward(&self.value, &self.variables, tangents)
    }
}

/// The tangents, found to fit the variables.
fn matched(variables: &[Tensor], tangents: Vec<Tensor>, at: At) -> Result<Vec<Option<Tensor>>> {
    if variables.len() != tangents.len() {
        let message = format!("{} tangents for {} tensors", tangents.len(), variables.len());
        return Err(Error::Argument { op: "jvp", message, at });
    }
    for (k, (x, t)) in variables.iter().zip(&tangents).enumerate() {
        x.check()?;
        t.check()?;
        if x.shape() != t.shape() || x.dtype() != t.dtype() {
            let message = format!("tangent {k} must have shape and dtype of its tensor");
            return Err(shape_error("jvp", message, &[t, x], at));
        }
    }
    Ok(tangents.into_iter().map(Some).collect())
}

/// Tangents of a value; zeros where it does not depend on the variables or is no float.
fn push_forward<U: Tree>(value: &U, variables: &[Tensor], tangents: Vec<Option<Tensor>>) -> Result<U> {
    let mut known: IdMap<Tensor> = IdMap::default();
    for (x, tangent) in variables.iter().zip(tangents) {
        let node = x.ready()?;
        if let Some(tangent) = tangent.filter(|_| node.spec.dtype.is_float()) {
            known.insert(node.id, tangent);
        }
    }
    let starts: IdSet = known.keys().copied().collect();
    let mut roots = Vec::new();
    for root in leaves(value) {
        roots.push(root.ready()?.clone());
    }
    for node in dependent(&roots, &starts) {
        if node.spec.dtype.is_float()
            && !starts.contains(&node.id)
            && let Some(tangent) = tangent_of(&node, &known)?
        {
            known.insert(node.id, tangent);
        }
    }
    Ok(value.map(&mut |t| {
        let tangent = t.ready().ok().and_then(|node| known.get(&node.id).cloned());
        tangent.unwrap_or_else(|| t.full_like(0.0))
    }))
}

/// The tangent of a node from those of its operands, `None` for zero.
fn tangent_of(node: &Arc<Node>, known: &IdMap<Tensor>) -> Result<Option<Tensor>> {
    let operands = node.inputs();
    if !operands.iter().any(|input| known.contains_key(&input.id)) {
        return Ok(None);
    }
    let inputs: Vec<Tensor> = operands.iter().map(|n| Tensor(Ok(n.clone()))).collect();
    let output = Tensor(Ok(node.clone()));
    let u = output.full_like(0.0);
    let id = u.ready()?.id;
    let mut pulled = Vec::new();
    for (operand, cotangent) in operands.iter().zip(cotangents(node, &inputs, &output, &u)?) {
        if let (Some(tangent), Some(cotangent)) = (known.get(&operand.id), cotangent) {
            pulled.push((cotangent, tangent.clone()));
        }
    }
    Ok(backward(pulled, &IdSet::from_iter([id]))?.remove(&id))
}
