//! Optimisers. A step builds a graph like everything else: evaluate it together with the loss.

mod adam;
mod adaptive;
mod average;
mod clip;
mod factored;
mod group;
#[cfg(not(target_arch = "wasm32"))]
mod lbfgs;
mod matrix;
mod scaler;
mod sgd;
mod sign;
#[cfg(not(target_arch = "wasm32"))]
mod wolfe;

use std::collections::BTreeMap;
use std::fmt::Debug;

use vorpal_autodiff::{DType, Device, Result, Shape, Tensor, Tensors};

use crate::module::filled;
use crate::{Module, Role};

pub use adam::{
    Adam, AdamOptions, Adamax, AdamaxOptions, Lamb, LambOptions, NAdam, NAdamOptions, RAdam, RAdamOptions,
};
pub use adaptive::{Adadelta, AdadeltaOptions, Adagrad, AdagradOptions, RmsProp, RmsPropOptions};
pub use average::Averaged;
pub use clip::{clip_grad_norm, clip_grad_norm_p, clip_grad_value, global_norm, global_norm_p};
pub use factored::{Adafactor, AdafactorOptions};
pub use group::ParameterGroup;
#[cfg(not(target_arch = "wasm32"))]
pub use lbfgs::{Lbfgs, LbfgsOptions};
pub use matrix::{Muon, MuonOptions, MuonRate, Shampoo, ShampooOptions};
pub use scaler::{GradAccumulator, GradScaler, GradScalerOptions, Unscaled};
pub use sgd::{Sgd, SgdOptions};
pub use sign::{Lion, LionOptions, Rprop, RpropOptions};

/// What an optimiser keeps for one parameter: a tensor for each slot.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What the tensors are.
    pub slots: Vec<Slot>,
    /// The tensors.
    pub tensors: Vec<Tensor>,
}

/// What an optimiser remembers.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Steps taken.
    pub steps: u64,
    /// Steps that had been taken when a parameter was trained for the first time, where that is not 0: what was frozen
    /// at first counts its steps from there.
    pub since: BTreeMap<String, u64>,
    /// What is kept for every parameter that has been trained, by its name.
    pub kept: BTreeMap<String, Kept>,
}

/// A tensor that an optimiser keeps for a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its name, that of PyTorch: files hold it as `parameter.name`.
    pub name: &'static str,
    /// Its shape, which may be another than the parameter's.
    pub shape: Shape,
    /// Its dtype.
    pub dtype: DType,
    /// What it is filled with before the first step.
    pub value: f64,
}

impl Slot {
    /// Zeros of the shape and dtype of a parameter.
    pub fn like(name: &'static str, parameter: &Tensor) -> Slot {
        Slot { name, shape: parameter.shape(), dtype: parameter.dtype(), value: 0.0 }
    }

    /// Zeros of another shape, in the dtype of a parameter.
    pub fn shaped(name: &'static str, shape: impl Into<Shape>, parameter: &Tensor) -> Slot {
        Slot { name, shape: shape.into(), dtype: parameter.dtype(), value: 0.0 }
    }

    fn make(&self, device: &Device) -> Result<Tensor> {
        filled(&self.shape, self.value, self.dtype, device)
    }
}

/// A step as one parameter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Name of the parameter.
    pub name: &'a str,
    /// Number of the step for this parameter, from 1.
    pub number: u64,
    /// Step size of the parameter's group.
    pub rate: f64,
    /// Weight decay of the parameter's group.
    pub weight_decay: f64,
}

impl Step<'_> {
    /// 1 − `decay` to the power of the number of the step: what is missing in a running mean that began with zeros.
    pub fn correction(&self, decay: f64) -> f64 {
        1.0 - decay.powf(self.number as f64)
    }
}

/// What makes one optimiser differ from another: its options, and how a parameter changes. [`Optim`] does the rest:
/// names, groups, room for what is kept, files.
///
/// Numbers that change from step to step belong beside tensors as plain `f64` (`parameter - grad * step.rate`): they
/// are handed to the device anew in every run, and nothing is compiled again.
///
/// ```
/// use vorpal_nn::{Device, Linear, Optim, Optimizer, Slot, Step, Tensor, UpdateRule, grad};
///
/// /// Steps of one length, whatever the gradient (Bernstein et al. 2018).
/// #[derive(Clone, Debug, Default)]
/// struct SignSgd;
///
/// impl UpdateRule for SignSgd {
///     fn weight_decay(&self) -> f64 {
///         0.0
///     }
///     fn slots(&self, _: &Step<'_>, _: &Tensor) -> Vec<Slot> {
///         Vec::new()
///     }
///     fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, _: &mut [Tensor]) -> Tensor {
///         parameter - grad.sign() * step.rate
///     }
/// }
///
/// let mut model = Linear::new(3, 1, &Device::cpu());
/// let mut optimizer: Optim<SignSgd> = Optim::new(1e-3);
/// let grads = grad(&model, |m| m.weight.square().sum_all())?;
/// optimizer.step(&mut model, grads)?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub trait UpdateRule: Clone + Debug {
    /// The weight decay of parameters whose group says nothing else.
    fn weight_decay(&self) -> f64;

    /// What is kept for a parameter.
    fn slots(&self, step: &Step<'_>, parameter: &Tensor) -> Vec<Slot>;

    /// The parameter after a step. `state` holds a tensor for each slot, to be replaced.
    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor;
}

/// What all optimisers do.
pub trait Optimizer: Tensors {
    /// Replaces the parameters of `model` by better ones. `grads` has the structure of `model` and is used up:
    /// so the old parameters can be overwritten.
    ///
    /// # Errors
    /// An error a gradient carries, or what the room for the optimiser's state gives.
    fn step<M: Module>(&mut self, model: &mut M, grads: M) -> Result<()> {
        self.step_if(model, grads, None)
    }

    /// As [`step`](Optimizer::step); where `condition` (a truth value, part of the graph) does not hold, parameters and
    /// state keep their values. The step is counted all the same.
    ///
    /// # Errors
    /// As [`step`](Optimizer::step).
    fn step_if<M: Module>(&mut self, model: &mut M, grads: M, condition: Option<&Tensor>) -> Result<()>;

    /// The step size.
    fn learning_rate(&self) -> f64;

    /// The step size, which may be changed between steps without compiling anything anew.
    fn set_learning_rate(&mut self, rate: f64);

    /// What is kept for a parameter: nothing for one that is frozen.
    fn slots(&self, name: &str, parameter: &Tensor) -> Vec<Slot>;

    /// What the optimiser remembers, to be saved.
    fn state(&self) -> &OptimizerState;

    /// Puts the optimiser where another of its kind was. See [`load_optimizer`](crate::load_optimizer), which checks
    /// what it reads.
    fn set_state(&mut self, state: OptimizerState);
}

/// An optimiser: a rule, its step size, groups of parameters, and what is remembered of them. [`Adam`], [`Sgd`] and the
/// others are this with rules of their own.
///
/// ```
/// use vorpal_nn::{Adam, AdamOptions, Device, Linear, Optimizer, ParameterGroup, eval, grad};
///
/// let mut model = Linear::new(3, 1, &Device::cpu());
/// let options = AdamOptions { weight_decay: 0.1, decoupled: true, ..AdamOptions::default() };
/// let mut optimizer = Adam::with_options(1e-3, options).group(ParameterGroup::vectors().weight_decay(0.0));
/// let grads = grad(&model, |m| m.weight.square().sum_all())?;
/// optimizer.step(&mut model, grads)?;
/// eval(&(&model, &optimizer))?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Optim<R> {
    /// Step size.
    pub learning_rate: f64,
    /// Whether the value is to grow rather than to fall: gradients change their sign.
    pub maximize: bool,
    /// What the rule can be told.
    pub options: R,
    groups: Vec<ParameterGroup>,
    state: OptimizerState,
}

impl<R: UpdateRule + Default> Optim<R> {
    /// The optimiser with the default options of its rule, those of PyTorch.
    pub fn new(learning_rate: f64) -> Optim<R> {
        Optim::with_options(learning_rate, R::default())
    }
}

impl<R: UpdateRule> Optim<R> {
    /// The optimiser with other options.
    pub fn with_options(learning_rate: f64, options: R) -> Optim<R> {
        Optim {
            learning_rate,
            maximize: false,
            options,
            groups: Vec::new(),
            state: OptimizerState::default(),
        }
    }

    /// Adds a group of parameters with a step size or a decay of its own. A parameter belongs to the first group that
    /// takes it.
    #[must_use]
    pub fn group(mut self, group: ParameterGroup) -> Optim<R> {
        self.groups.push(group);
        self
    }

    /// Replaces all groups: to let frozen parameters go, for one. What is remembered stays.
    pub fn set_groups(&mut self, groups: Vec<ParameterGroup>) {
        self.groups = groups;
    }

    /// The groups of parameters.
    pub fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    /// How the next step is for a parameter; nothing for one that is frozen.
    fn step_of<'a>(&self, name: &'a str, parameter: &Tensor, steps: u64) -> Option<Step<'a>> {
        let group = self.groups.iter().find(|g| g.takes(name, parameter));
        if group.is_some_and(ParameterGroup::is_frozen) {
            return None;
        }
        let number = steps - self.state.since.get(name).copied().unwrap_or(0).min(steps);
        let rate = self.learning_rate * group.map_or(1.0, ParameterGroup::factor);
        let weight_decay =
            group.and_then(ParameterGroup::decay).unwrap_or_else(|| self.options.weight_decay());
        Some(Step { name, number, rate, weight_decay })
    }

    fn update(
        &mut self,
        name: &str,
        parameter: &mut Tensor,
        grad: &Tensor,
        condition: Option<&Tensor>,
    ) -> Result<()> {
        let steps = self.state.steps;
        let Some(mut step) = self.step_of(name, parameter, steps) else { return Ok(()) };
        grad.check()?;
        if !self.state.kept.contains_key(name) {
            let (slots, device) = (self.options.slots(&step, parameter), parameter.device()?);
            let tensors = slots.iter().map(|slot| slot.make(&device)).collect::<Result<Vec<_>>>()?;
            if !slots.is_empty() && steps > 1 {
                self.state.since.insert(name.to_string(), steps - 1);
                step.number = 1;
            }
            self.state.kept.insert(name.to_string(), Kept { slots, tensors });
        }
        let Some(Kept { tensors: state, .. }) = self.state.kept.get_mut(name) else { return Ok(()) };
        let before: Vec<Tensor> = if condition.is_some() { state.clone() } else { Vec::new() };
        let negated = self.maximize.then(|| -grad);
        let new = self.options.update(&step, parameter, negated.as_ref().unwrap_or(grad), state);
        *parameter = match condition {
            None => new,
            Some(condition) => {
                let kept = state.iter_mut().zip(&before);
                kept.for_each(|(now, before)| *now = condition.select(&*now, before));
                condition.select(&new, &*parameter)
            }
        };
        Ok(())
    }
}

impl<R> Tensors for Optim<R> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.state.kept.values().flat_map(|kept| &kept.tensors).for_each(f);
    }
}

impl<R: UpdateRule> Optimizer for Optim<R> {
    fn step_if<M: Module>(&mut self, model: &mut M, grads: M, condition: Option<&Tensor>) -> Result<()> {
        let mut by_name = BTreeMap::new();
        grads.walk("", &mut |name, role, grad| {
            if role == Role::Parameter {
                by_name.insert(name.to_string(), grad.clone());
            }
        });
        // Whoever still holds a gradient could ask for it later, and the old parameters would have to stay.
        drop(grads);
        self.state.steps += 1;
        let mut result = Ok(());
        model.walk_mut("", &mut |name, role, parameter| {
            let Some(grad) = by_name.remove(name).filter(|_| role == Role::Parameter) else { return };
            if let Err(error) = self.update(name, parameter, &grad, condition) {
                result = Err(error);
            }
        });
        result
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = rate;
    }

    fn slots(&self, name: &str, parameter: &Tensor) -> Vec<Slot> {
        let step = self.step_of(name, parameter, self.state.steps);
        step.map_or_else(Vec::new, |step| self.options.slots(&step, parameter))
    }

    fn state(&self) -> &OptimizerState {
        &self.state
    }

    fn set_state(&mut self, state: OptimizerState) {
        self.state = state;
    }
}

/// Decay as part of the gradient: an L2 penalty.
fn penalised(grad: &Tensor, parameter: &Tensor, decay: f64) -> Tensor {
    if decay == 0.0 { grad.clone() } else { grad + parameter * decay }
}

/// Decay of the parameter itself (Loshchilov & Hutter 2017).
fn decayed(parameter: &Tensor, step: &Step<'_>) -> Tensor {
    if step.weight_decay == 0.0 {
        parameter.clone()
    } else {
        parameter * (1.0 - step.rate * step.weight_decay)
    }
}

/// Decay in one of the two ways: the parameter and the gradient to go on with.
fn with_decay(parameter: &Tensor, grad: &Tensor, step: &Step<'_>, decoupled: bool) -> (Tensor, Tensor) {
    if decoupled {
        (decayed(parameter, step), grad.clone())
    } else {
        (parameter.clone(), penalised(grad, parameter, step.weight_decay))
    }
}

/// All elements in one list; scalars as well.
fn as_list(x: &Tensor) -> Tensor {
    x.reshape([x.shape().numel()])
}

/// Takes a running mean one step further.
fn running(mean: &Tensor, new: &Tensor, decay: f64) -> Tensor {
    mean * decay + new * (1.0 - decay)
}
