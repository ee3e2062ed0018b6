//! Solutions of x = f(x, θ), with derivatives by the implicit function theorem.

use std::sync::Arc;

use vorpal_tensor::{At, Error, Result};

use super::custom::pulled;
use super::{Trace, leaves};
use crate::compile::ir::{Builder, NodeId};
use crate::ops::{Variable, shape_error};
use crate::{Key, Misfit, Op, Spec, Tensor, Tree, Vjp, Vmap, eval};

/// When [`fixed_point`] stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedPointOptions {
    /// Stops when ‖f(x) − x‖ ≤ `tolerance` · (1 + ‖f(x)‖).
    pub tolerance: f64,
    /// An error when it takes more.
    pub iterations_max: usize,
    /// `None`: the linear equation of the derivative is solved in the same way, to the same tolerance, while the graph
    /// of the derivative is built. `Some(n)`: the first n terms of its series, which stay in the graph.
    pub derivative_terms: Option<usize>,
}

impl Default for FixedPointOptions {
    fn default() -> FixedPointOptions {
        FixedPointOptions { tolerance: 1e-6, iterations_max: 1000, derivative_terms: None }
    }
}

/// One step: the next x from x and the parameters in order.
type Step = Arc<dyn Fn(&Tensor, &[Tensor]) -> Tensor + Send + Sync>;

/// The solution of x = f(x, θ) near `start`, found by iteration: x is evaluated step by step, the steps are not part of
/// the graph. Its derivative by θ (of any order, in both modes) follows from the equation itself by the implicit
/// function theorem (see Blondel et al., "Efficient and Modular Implicit Differentiation", 2022; `jaxopt`), whatever
/// the number of steps. What `f` reads beside x and θ is constant to derivatives.
///
/// ```
/// # use vorpal_autodiff::{Device, FixedPointOptions, Tensor, fixed_point, grad};
/// // Heron: x = (x + a ∕ x) ∕ 2 is the root of a, whose derivative is 1 ∕ 2√a.
/// let a = Tensor::from_item(9.0f64, &Device::cpu());
/// let one = Tensor::from_item(1.0f64, &Device::cpu());
/// let root = |a: &Tensor| fixed_point(&one, a, FixedPointOptions::default(), |x, a| (x + a / x) * 0.5);
/// assert!((root(&a)?.item::<f64>()? - 3.0).abs() < 1e-6);
/// let slope = grad(&a, |a| Tensor::from(root(a)))?;
/// assert!((slope.item::<f64>()? - 1.0 / 6.0).abs() < 1e-6);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// [`Error::Convergence`] with the iterations and the last residual when it does not settle; [`Error::Shape`] when `f`
/// changes shape or dtype of x; [`Error::Argument`] inside of `vmap`, where nothing has a value (batch inside of `f`
/// instead); errors that tensors carry.
#[track_caller]
pub fn fixed_point<T: Tree + Send + Sync + 'static>(
    start: &Tensor,
    params: &T,
    options: FixedPointOptions,
    f: impl Fn(&Tensor, &T) -> Tensor + Send + Sync + 'static,
) -> Result<Tensor> {
    let at = At::caller();
    let operands = leaves(params);
    // The structure alone: the tensors themselves come with every call.
    let like = params.map(&mut |t| t.full_like(0.0));
    let step: Step = Arc::new(move |x, params| {
        let mut next = params.iter();
        f(x, &like.map(&mut |t| next.next().unwrap_or(t).clone()))
    });
    solved(start, &operands, Solver { step, options, at })
}

/// How to solve an equation.
#[derive(Clone)]
struct Solver {
    step: Step,
    options: FixedPointOptions,
    at: At,
}

fn solved(start: &Tensor, params: &[Tensor], solver: Solver) -> Result<Tensor> {
    let (at, x) = (solver.at, solver.iterate(start, params)?);
    let operands: Vec<&Tensor> = [&x].into_iter().chain(params).collect();
    Ok(Tensor::apply(FixedPoint(solver), &operands, at))
}

impl Solver {
    fn iterate(&self, start: &Tensor, params: &[Tensor]) -> Result<Tensor> {
        let params = params.iter().map(Tensor::detached).collect::<Result<Vec<_>>>()?;
        let FixedPointOptions { tolerance, iterations_max, .. } = self.options;
        let (mut x, mut residual) = (start.detached()?, f64::INFINITY);
        for iterations in 1..=iterations_max {
            let next = (self.step)(&x, &params);
            if next.ready()?.spec != x.ready()?.spec {
                let message = "a step must keep shape and dtype";
                return Err(shape_error("fixed_point", message, &[&x, &next], self.at));
            }
            let norm = |x: &Tensor| x.cast(x.dtype().compute()).square().sum_all().sqrt();
            let change = norm(&(&next - &x)) / (norm(&next) + 1.0);
            eval(&(&next, &change))?;
            residual = change.cast(vorpal_tensor::DType::F32).item::<f32>()?.into();
            x = next.detached()?;
            if residual <= tolerance {
                return Ok(x);
            }
            if !residual.is_finite() {
                return Err(self.unsettled(iterations, residual));
            }
        }
        Err(self.unsettled(iterations_max, residual))
    }

    fn unsettled(&self, iterations: usize, residual: f64) -> Error {
        let tolerance = self.options.tolerance;
        Error::Convergence { op: "fixed_point", iterations, residual, tolerance, at: self.at }
    }

    /// Cotangents of x and the parameters for a cotangent of one step.
    fn step_back(&self, x: &Tensor, params: &[Tensor], grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let trace = Trace::open();
        let variables: Vec<Tensor> =
            [x].into_iter().chain(params).map(|t| t.variable(Variable, trace.0.clone())).collect();
        let value = (self.step)(&variables[0], &variables[1..]);
        pulled(value, grad, &variables)
    }

    /// The cotangent of the step that stands for all steps: u = grad + u ∂f∕∂x.
    fn adjoint(&self, x: &Tensor, params: &[Tensor], grad: &Tensor) -> Result<Tensor> {
        let forward = self.clone();
        // Operands: the cotangent, x, parameters.
        let step = move |u: &Tensor, given: &[Tensor]| {
            let back = forward.step_back(&given[1], &given[2..], u).map(|mut grads| grads.swap_remove(0));
            match back {
                Ok(Some(change)) => &given[0] + change,
                Ok(None) => given[0].clone(),
                Err(error) => Tensor::error(error),
            }
        };
        let operands: Vec<Tensor> = [grad, x].into_iter().chain(params).cloned().collect();
        match self.options.derivative_terms {
            None => {
                solved(grad, &operands, Solver { step: Arc::new(step), options: self.options, at: self.at })
            }
            Some(terms) => Ok((1..terms).fold(grad.clone(), |u, _| step(&u, &operands))),
        }
    }
}

/// Operands: the solution, which is the value, and the parameters.
struct FixedPoint(Solver);

impl std::fmt::Debug for FixedPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FixedPoint({:?})", self.0.options)
    }
}

impl Op for FixedPoint {
    fn name(&self) -> &'static str {
        "fixed_point"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let params = &v.inputs[1..];
        let pull = || {
            // The value, and not the operand: the derivative of this depends on θ, too.
            let u = self.0.adjoint(v.output, params, v.grad)?;
            self.0.step_back(v.output, params, &u)
        };
        let mut grads = match pull() {
            Ok(grads) => grads,
            Err(error) => v.inputs.iter().map(|_| Some(Tensor::error(error.clone()))).collect(),
        };
        grads[0] = None;
        grads
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let message = "the solution is found outside of the graph, where examples have no values; batch inside of \
                       the function";
        Tensor::error(Error::Argument { op: "fixed_point", message: message.to_string(), at: v.at })
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, _: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(inputs[0])
    }
}
