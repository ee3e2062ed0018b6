//! Optimisers. A step builds a graph like everything else: evaluate it together with the loss.

use std::collections::BTreeMap;

use vorpal_autodiff::{Result, Tensor, Tensors};

use crate::module::zeros_like;
use crate::{Module, Role};

/// Tensors an optimiser keeps for each parameter, by the parameter's name.
pub type States = BTreeMap<String, Vec<Tensor>>;

/// What an optimiser remembers.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: u64,
    /// For every parameter a tensor for each of [`Optimizer::slots`], or none yet.
    pub tensors: States,
}

/// What all optimisers do.
pub trait Optimizer: Tensors {
    /// Replaces the parameters of `model` by better ones. `grads` has the structure of `model` and is used up:
    /// so the old parameters can be overwritten.
    ///
    /// # Errors
    /// An error a gradient carries, or what the room for the optimiser's state gives.
    fn step<M: Module>(&mut self, model: &mut M, grads: M) -> Result<()>;

    /// The step size, which may be changed between steps without compiling anything anew.
    fn set_learning_rate(&mut self, rate: f64);

    /// Names of the tensors kept for each parameter, those of PyTorch.
    fn slots(&self) -> &'static [&'static str];

    /// What the optimiser remembers, to be saved.
    fn state(&self) -> &OptimizerState;

    /// Puts the optimiser where another of its kind was. See [`load_optimizer`](crate::load_optimizer), which checks
    /// what it reads.
    fn set_state(&mut self, state: OptimizerState);
}

fn visit(state: &OptimizerState, f: &mut dyn FnMut(&Tensor)) {
    state.tensors.values().flatten().for_each(f);
}

/// Calls `update` with every parameter, its gradient and its `slots` state tensors, zeros at first.
fn each<M: Module>(
    state: &mut OptimizerState,
    slots: usize,
    model: &mut M,
    grads: M,
    mut update: impl FnMut(&Tensor, &Tensor, &mut [Tensor]) -> Tensor,
) -> Result<()> {
    let states = &mut state.tensors;
    let mut by_name = BTreeMap::new();
    grads.walk("", &mut |name, role, grad| {
        if role == Role::Parameter {
            by_name.insert(name.to_string(), grad.clone());
        }
    });
    // Whoever still holds a gradient could ask for it later, and the old parameters would have to stay.
    drop(grads);
    let mut result = Ok(());
    model.walk_mut("", &mut |name, role, parameter| {
        let Some(grad) = by_name.remove(name).filter(|_| role == Role::Parameter) else { return };
        if !states.contains_key(name) {
            match (0..slots).map(|_| zeros_like(parameter)).collect() {
                Ok(zeros) => drop(states.insert(name.to_string(), zeros)),
                Err(error) => result = Err(error),
            }
        }
        let Some(state) = states.get_mut(name) else { return };
        match grad.check() {
            Ok(()) => *parameter = update(parameter, &grad, state),
            Err(error) => result = Err(error),
        }
    });
    result
}

/// Stochastic gradient descent with momentum, PyTorch's `SGD`.
#[derive(Clone, Debug)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the previous step that is kept; 0 for none.
    pub momentum: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
    /// Whether the momentum looks ahead (Nesterov 1983).
    pub nesterov: bool,
    state: OptimizerState,
}

impl Sgd {
    /// Plain gradient descent; set the other fields for more.
    pub fn new(learning_rate: f64) -> Sgd {
        Sgd {
            learning_rate,
            momentum: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            state: OptimizerState::default(),
        }
    }
}

impl Tensors for Sgd {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        visit(&self.state, f);
    }
}

impl Optimizer for Sgd {
    fn step<M: Module>(&mut self, model: &mut M, grads: M) -> Result<()> {
        let Sgd { learning_rate, momentum, weight_decay, nesterov, .. } = *self;
        let slots = usize::from(momentum != 0.0);
        self.state.steps += 1;
        each(&mut self.state, slots, model, grads, |parameter, grad, state| {
            let mut grad = grad.clone();
            if weight_decay != 0.0 {
                grad = grad + parameter * weight_decay;
            }
            if let [velocity] = state {
                *velocity = &*velocity * momentum + &grad;
                grad = if nesterov { grad + &*velocity * momentum } else { velocity.clone() };
            }
            parameter - grad * learning_rate
        })
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = rate;
    }

    fn slots(&self) -> &'static [&'static str] {
        &["momentum_buffer"]
    }

    fn state(&self) -> &OptimizerState {
        &self.state
    }

    fn set_state(&mut self, state: OptimizerState) {
        self.state = state;
    }
}

/// Adam (Kingma & Ba 2014), and AdamW (Loshchilov & Hutter 2017) where the decay acts on the parameters
/// themselves.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f64,
    /// Decay rates of the running means of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameters that is taken away, or added to their gradients if not `decoupled`.
    pub weight_decay: f64,
    /// Whether decay acts on the parameters themselves (AdamW).
    pub decoupled: bool,
    state: OptimizerState,
}

impl Adam {
    /// Adam with PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no decay.
    pub fn new(learning_rate: f64) -> Adam {
        Adam {
            learning_rate,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            state: OptimizerState::default(),
        }
    }

    /// AdamW with PyTorch's default decay of 0.01.
    pub fn adamw(learning_rate: f64) -> Adam {
        Adam { weight_decay: 0.01, decoupled: true, ..Adam::new(learning_rate) }
    }
}

impl Tensors for Adam {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        visit(&self.state, f);
    }
}

impl Optimizer for Adam {
    fn step<M: Module>(&mut self, model: &mut M, grads: M) -> Result<()> {
        self.state.steps += 1;
        let steps = i32::try_from(self.state.steps).unwrap_or(i32::MAX);
        let Adam { learning_rate, betas: (b1, b2), eps, weight_decay, decoupled, .. } = *self;
        let rate = learning_rate / (1.0 - b1.powi(steps));
        let scale = 1.0 / (1.0 - b2.powi(steps)).sqrt();
        each(&mut self.state, 2, model, grads, |parameter, grad, state| {
            let (mut parameter, mut grad) = (parameter.clone(), grad.clone());
            if weight_decay != 0.0 && decoupled {
                parameter = parameter * (1.0 - learning_rate * weight_decay);
            } else if weight_decay != 0.0 {
                grad = grad + &parameter * weight_decay;
            }
            let [first, second] = state else { return parameter };
            *first = &*first * b1 + &grad * (1.0 - b1);
            *second = &*second * b2 + grad.square() * (1.0 - b2);
            parameter - (&*first * rate) / (second.sqrt() * scale + eps)
        })
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = rate;
    }

    fn slots(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn state(&self) -> &OptimizerState {
        &self.state
    }

    fn set_state(&mut self, state: OptimizerState) {
        self.state = state;
    }
}

/// The root of the sum of squares of all gradients.
#[must_use]
pub fn global_norm<M: Module>(grads: &M) -> Option<Tensor> {
    let mut sum: Option<Tensor> = None;
    grads.walk("", &mut |_, role, grad| {
        if role == Role::Parameter {
            let square = grad.square().sum_all();
            sum = Some(match sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    });
    sum.map(|s| s.sqrt())
}

/// Gradients scaled down together where their norm exceeds `max` (Pascanu, Mikolov, Bengio 2013), as
/// `torch.nn.utils.clip_grad_norm_`, and the norm before.
#[must_use]
pub fn clip_grad_norm<M: Module>(grads: &M, max: f64) -> (M, Option<Tensor>) {
    let norm = global_norm(grads);
    let scale = norm.as_ref().map(|n| (n.full_like(max) / (n + 1e-6)).clamp(0.0, 1.0));
    let clipped = grads.map(&mut |g| match &scale {
        Some(scale) => g * scale,
        None => g.clone(),
    });
    (clipped, norm)
}
