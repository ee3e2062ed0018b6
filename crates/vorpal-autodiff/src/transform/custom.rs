//! Functions whose derivative the user gives.

use std::sync::Arc;

use vorpal_tensor::{At, Error, Result};

use super::reverse::backward;
use super::{Trace, vmap};
use crate::compile::ir::{Builder, NodeId};
use crate::ops::{Variable, shape_error};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Cotangents of the inputs from the inputs, the value and its cotangent.
type Rule = Arc<dyn Fn(&[Tensor], &Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

/// The value of `forward` at `inputs`, with `backward` in place of its reverse derivative: `jax.custom_vjp`,
/// `torch.autograd.Function`.
///
/// `backward` gets the inputs, the value and the cotangent of the value, and gives the cotangent of each input, `None`
/// for zero. It is a graph like any other: its own derivative is the second derivative. Forward mode and batches follow
/// from it. What `forward` reads beside `inputs` is constant to derivatives.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, custom_vjp, grad};
/// // Rounding with the derivative of the identity ("straight through").
/// let x = Tensor::from_slice(&[0.4f32, 1.7], [2], &Device::cpu());
/// let round = |x: &Tensor| custom_vjp(&[x], |x| x[0].round(), |_, _, grad| vec![Some(grad.clone())]);
/// assert_eq!(round(&x).to_vec::<f32>()?, [0.0, 2.0]);
/// assert_eq!(grad(&x, |x| round(x).sum_all())?.to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// Carries an error of `forward`. A rule that gives another number of cotangents, or one of another shape or dtype than
/// its input, is an [`Error::Argument`] or [`Error::Shape`] of the derivative.
#[track_caller]
pub fn custom_vjp(
    inputs: &[&Tensor],
    forward: impl FnOnce(&[Tensor]) -> Tensor,
    backward: impl Fn(&[Tensor], &Tensor, &Tensor) -> Vec<Option<Tensor>> + Send + Sync + 'static,
) -> Tensor {
    let rule: Rule = Arc::new(move |inputs, value, grad| Ok(backward(inputs, value, grad)));
    custom("custom_vjp", inputs, forward, rule, At::caller())
}

/// The value of `forward` at `inputs`, with `rule` in place of its forward derivative: `jax.custom_jvp`.
///
/// `rule` gets the inputs, the value and a tangent of each input, and gives the tangent of the value, linear in those
/// of the inputs. The reverse derivative is its transpose.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, custom_jvp, grad};
/// // log(1 + eˣ) with a derivative that does not overflow.
/// let x = Tensor::from_slice(&[0.0f32, 100.0], [2], &Device::cpu());
/// let softplus = |x: &Tensor| {
///     custom_jvp(&[x], |x| (x[0].exp() + 1.0).log(), |x, _, t| &t[0] / ((-&x[0]).exp() + 1.0))
/// };
/// assert_eq!(grad(&x, |x| softplus(x).sum_all())?.to_vec::<f32>()?, [0.5, 1.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// Carries an error of `forward`. A tangent of another shape or dtype than the value is an [`Error::Shape`] of the
/// derivative.
#[track_caller]
pub fn custom_jvp(
    inputs: &[&Tensor],
    forward: impl FnOnce(&[Tensor]) -> Tensor,
    rule: impl Fn(&[Tensor], &Tensor, &[Tensor]) -> Tensor + Send + Sync + 'static,
) -> Tensor {
    let at = At::caller();
    let transposed: Rule = Arc::new(move |inputs, value, grad| {
        let trace = Trace::open();
        let tangents: Vec<Tensor> =
            inputs.iter().map(|x| x.full_like(0.0).variable(Variable, trace.0.clone())).collect();
        let tangent = rule(inputs, value, &tangents);
        if tangent.ready()?.spec != value.ready()?.spec {
            let message = "the tangent must have shape and dtype of the value";
            return Err(shape_error("custom_jvp", message, &[&tangent, value], at));
        }
        pulled(tangent, grad, &tangents)
    });
    custom("custom_jvp", inputs, forward, transposed, at)
}

/// Cotangents of variables, `None` where the value does not depend on them.
pub(super) fn pulled(value: Tensor, grad: &Tensor, variables: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
    let ids = variables.iter().map(|v| Ok(v.ready()?.id)).collect::<Result<Vec<u64>>>()?;
    let mut grads = backward(vec![(value, grad.clone())], &ids.iter().copied().collect())?;
    Ok(ids.iter().map(|id| grads.remove(id)).collect())
}

fn custom(
    name: &'static str,
    inputs: &[&Tensor],
    forward: impl FnOnce(&[Tensor]) -> Tensor,
    rule: Rule,
    at: At,
) -> Tensor {
    let inputs: Vec<Tensor> = inputs.iter().copied().cloned().collect();
    let value = forward(&inputs);
    let operands: Vec<&Tensor> = inputs.iter().chain([&value]).collect();
    Tensor::apply(Custom { name, rule, at }, &operands, at)
}

/// Operands: the inputs, and the value. Only the inputs have cotangents.
struct Custom {
    name: &'static str,
    rule: Rule,
    at: At,
}

impl std::fmt::Debug for Custom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Custom {
    /// What the user's rule gives, found to fit.
    fn cotangents(&self, inputs: &[Tensor], value: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let grads = (self.rule)(inputs, value, grad)?;
        if grads.len() != inputs.len() {
            let message = format!("the rule gave {} cotangents for {} inputs", grads.len(), inputs.len());
            return Err(Error::Argument { op: self.name, message, at: self.at });
        }
        for (k, (input, grad)) in inputs.iter().zip(&grads).enumerate() {
            if let Some(grad) = grad
                && grad.ready()?.spec != input.ready()?.spec
            {
                let message = format!("cotangent {k} must have shape and dtype of its input");
                return Err(shape_error(self.name, message, &[grad, input], self.at));
            }
        }
        Ok(grads)
    }
}

/// The rule for all examples at once: the rule of one example, batched. Cotangents of what the examples share add up.
fn of_examples(rule: &Rule, batched: &[bool]) -> Rule {
    let (rule, batched) = (rule.clone(), batched.to_vec());
    Arc::new(move |inputs, value, grad| {
        let all: Vec<Tensor> = inputs.iter().chain([value, grad]).cloned().collect();
        let axes: Vec<Option<isize>> =
            batched.iter().map(|&b| b.then_some(0)).chain([Some(0), Some(0)]).collect();
        let n = inputs.len();
        let grads = vmap(&all, &axes[..], |one| rule(&one[..n], &one[n], &one[n + 1]))?;
        let own =
            |(grad, &batched): (Option<Tensor>, &bool)| grad.map(|g| if batched { g } else { g.sum(0) });
        Ok(grads.into_iter().zip(&batched).map(own).collect())
    })
}

impl Op for Custom {
    fn name(&self) -> &'static str {
        self.name
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[inputs.len() - 1].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let inputs = &v.inputs[..v.inputs.len() - 1];
        let mut grads = match self.cotangents(inputs, v.output, v.grad) {
            Ok(grads) => grads,
            Err(error) => inputs.iter().map(|_| Some(Tensor::error(error.clone()))).collect(),
        };
        grads.push(None);
        grads
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let last = v.inputs.len() - 1;
        let value = v.example(last);
        let operands: Vec<&Tensor> = v.inputs[..last].iter().chain([&value]).collect();
        let rule = of_examples(&self.rule, &v.batched[..last]);
        Tensor::apply(Custom { name: self.name, rule, at: self.at }, &operands, v.at)
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[inputs.len() - 1])
    }
}
