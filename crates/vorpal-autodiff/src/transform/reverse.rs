//! Reverse-mode differentiation, from graph to graph.

use vorpal_tensor::{At, Error, Result};

use super::{Trace, dependent};
use crate::graph::{IdMap, IdSet, Node};
use crate::ops::movement::total;
use crate::ops::shape_error;
use crate::{Spec, Tensor, Tree, Vjp};

/// The derivative of a scalar function at `at`, with the structure of `at`.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, grad};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu());
/// let g = grad(&x, |x| (x * x * x).sum_all())?;
/// assert_eq!(g.to_vec::<f32>()?, [3.0, 12.0, 27.0]);
/// // Derivatives are graphs like any other: take them again.
/// let h = grad(&x, |x| grad(x, |x| (x * x * x).sum_all()).map_or_else(Tensor::error, |g| g.sum_all()))?;
/// assert_eq!(h.to_vec::<f32>()?, [6.0, 12.0, 18.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// As [`value_and_grad`].
#[track_caller]
pub fn grad<T: Tree, R: Into<Tensor>>(at: &T, f: impl FnOnce(&T) -> R) -> Result<T> {
    value_and_grad(at, f).map(|(_, grads)| grads)
}

/// The value of a scalar function at `at` and its derivative, with the structure of `at`.
///
/// Nothing runs here: both are graphs. Tensors inside the function may be evaluated all the same.
///
/// # Errors
/// An error that the function's result carries; [`Error::Shape`] when the result is not one float.
#[track_caller]
pub fn value_and_grad<T: Tree, R: Into<Tensor>>(at: &T, f: impl FnOnce(&T) -> R) -> Result<(Tensor, T)> {
    value_and_grad_from(At::caller(), at, f)
}

/// As [`value_and_grad`], called at `place`.
pub(super) fn value_and_grad_from<T: Tree, R: Into<Tensor>>(
    place: At,
    at: &T,
    f: impl FnOnce(&T) -> R,
) -> Result<(Tensor, T)> {
    let trace = Trace::open();
    let variables = trace.variables(at);
    let value: Tensor = f(&variables).into();
    let node = value.ready()?;
    if node.spec.shape.numel() != 1 || !node.spec.dtype.is_float() {
        let message = "a derivative needs a function with one float as its result";
        return Err(shape_error("grad", message, &[&value], place));
    }
    let grads = pull_back(&value, value.full_like(1.0), &variables)?;
    Ok((value, grads))
}

/// The value of a function at `at`, and the function that takes a cotangent of the value to the cotangents
/// of `at`.
///
/// # Errors
/// An error that the function's result carries.
#[track_caller]
pub fn vjp<T: Tree, R: Into<Tensor>>(
    at: &T,
    f: impl FnOnce(&T) -> R,
) -> Result<(Tensor, impl Fn(&Tensor) -> Result<T>)> {
    let place = At::caller();
    let trace = Trace::open();
    let variables = trace.variables(at);
    let value: Tensor = f(&variables).into();
    value.check()?;
    let output = value.clone();
    let back = move |cotangent: &Tensor| {
        // The differentiation stays open as long as this function lives.
        let _open = &trace;
        cotangent.check()?;
        if cotangent.shape() != output.shape() || cotangent.dtype() != output.dtype() {
            let message = "the cotangent must have shape and dtype of the value";
            return Err(shape_error("vjp", message, &[cotangent, &output], place));
        }
        pull_back(&output, cotangent.clone(), &variables)
    };
    Ok((value, back))
}

/// Cotangents of the variables, zeros for those the value does not depend on.
fn pull_back<T: Tree>(value: &Tensor, cotangent: Tensor, variables: &T) -> Result<T> {
    let mut wanted = IdSet::default();
    let _ = variables.map(&mut |v| {
        if let Ok(node) = v.ready() {
            wanted.insert(node.id);
        }
        v.clone()
    });
    let mut grads = backward(vec![(value.clone(), cotangent)], &wanted)?;
    let mut failed = None;
    let out = variables.map(&mut |v| match v.ready() {
        Ok(node) => grads.remove(&node.id).unwrap_or_else(|| v.full_like(0.0)),
        Err(error) => {
            failed.get_or_insert(error);
            v.clone()
        }
    });
    failed.map_or(Ok(out), Err)
}

/// Cotangents of the operands of a node, by its rule.
pub(super) fn cotangents(
    node: &Node,
    inputs: &[Tensor],
    output: &Tensor,
    grad: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let found = node.op.vjp(&Vjp { inputs, output, grad });
    if found.len() != inputs.len() {
        let (op, given, operands) = (node.op.name(), found.len(), inputs.len());
        return Err(Error::internal("vjp", format!("{op} gave {given} cotangents for {operands} operands")));
    }
    Ok(found)
}

/// Walks from values with their cotangents to the variables and collects the cotangents of those.
pub(super) fn backward(values: Vec<(Tensor, Tensor)>, wanted: &IdSet) -> Result<IdMap<Tensor>> {
    // The cotangents found so far of every node.
    let (mut roots, mut grads): (Vec<_>, IdMap<Vec<Tensor>>) = (Vec::new(), IdMap::default());
    for (value, cotangent) in values {
        let root = value.ready()?;
        grads.entry(root.id).or_default().push(cotangent);
        roots.push(root.clone());
    }
    let order = dependent(&roots, wanted);
    let depends: IdSet = order.iter().map(|n| n.id).collect();
    grads.retain(|id, _| depends.contains(id));
    for node in order.iter().rev() {
        if wanted.contains(&node.id) {
            continue;
        }
        let Some(grad) = grads.remove(&node.id).and_then(total) else { continue };
        let inputs: Vec<Tensor> = node.inputs().into_iter().map(|n| Tensor(Ok(n))).collect();
        let output = Tensor(Ok(node.clone()));
        for (input, cotangent) in inputs.iter().zip(cotangents(node, &inputs, &output, &grad)?) {
            let (Ok(target), Some(cotangent)) = (input.ready(), cotangent) else { continue };
            if !depends.contains(&target.id) {
                continue;
            }
            let found = cotangent.ready()?.spec.clone();
            if found != target.spec {
                let expected: &Spec = &target.spec;
                let message = format!("{} gave a cotangent {found} for {expected}", node.op.name());
                return Err(Error::internal("vjp", message));
            }
            grads.entry(target.id).or_default().push(cotangent);
        }
    }
    Ok(grads.into_iter().filter_map(|(id, found)| Some((id, total(found)?))).collect())
}
