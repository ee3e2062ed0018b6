//! Gradient descent.

use vorpal_autodiff::Tensor;

use super::{Optim, Slot, Step, UpdateRule, penalised};

/// Options of [`Sgd`].
#[derive(Clone, Debug, Default)]
pub struct SgdOptions {
    /// Share of the previous step that is kept; 0 for none.
    pub momentum: f64,
    /// Share of a gradient that the momentum does not take.
    pub dampening: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
    /// Whether the momentum looks ahead (Nesterov 1983).
    pub nesterov: bool,
}

/// Stochastic gradient descent with momentum, PyTorch's `SGD`.
///
/// ```
/// use vorpal_nn::{Device, Linear, Optimizer, Sgd, SgdOptions, eval, value_and_grad};
///
/// let mut model = Linear::new(3, 1, &Device::cpu());
/// let mut optimizer = Sgd::with_options(0.1, SgdOptions { momentum: 0.9, ..SgdOptions::default() });
/// let (loss, grads) = value_and_grad(&model, |m| m.weight.square().sum_all())?;
/// optimizer.step(&mut model, grads)?;
/// eval(&(&loss, &model, &optimizer))?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub type Sgd = Optim<SgdOptions>;

impl UpdateRule for SgdOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        let slot = || Slot::like("momentum_buffer", parameter);
        if self.momentum == 0.0 { Vec::new() } else { vec![slot()] }
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let mut grad = penalised(grad, parameter, step.weight_decay);
        if let [velocity] = state {
            let new = if self.dampening == 0.0 {
                grad.clone()
            } else {
                // The first gradient is taken whole.
                &grad * if step.number == 1 { 1.0 } else { 1.0 - self.dampening }
            };
            *velocity = &*velocity * self.momentum + new;
            grad = if self.nesterov { grad + &*velocity * self.momentum } else { velocity.clone() };
        }
        parameter - grad * step.rate
    }
}
