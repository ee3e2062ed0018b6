//! Losses scaled for short floats, gradients of several batches.

use vorpal_autodiff::{DType, Device, Result, Shape, Tensor, Tensors, Tree};

use super::{Optimizer, as_list};
use crate::module::{filled, join};
use crate::{Module, Role};

/// Options of [`GradScaler`].
#[derive(Clone, Copy, Debug)]
pub struct GradScalerOptions {
    /// The first scale.
    pub init_scale: f64,
    /// What the scale is multiplied with after many good steps.
    pub growth_factor: f64,
    /// What it is multiplied with after a step whose gradients are not finite.
    pub backoff_factor: f64,
    /// How many good steps are many.
    pub growth_interval: u32,
}

impl Default for GradScalerOptions {
    fn default() -> GradScalerOptions {
        GradScalerOptions {
            init_scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }
}

/// Dynamic scaling of the loss (Micikevicius et al. 2018), so that small gradients do not vanish in `F16`: PyTorch's
/// `torch.amp.GradScaler`. A step whose gradients are not finite changes nothing and lowers the scale. All of that is
/// part of the graph: nothing is read back, and every step is the same plan.
///
/// A step that is called off is counted by the optimiser all the same (it shows in the corrections of Adam's first
/// steps alone).
///
/// ```
/// use vorpal_autodiff::Precision;
/// use vorpal_nn::{Adam, DType, Device, GradScaler, Linear, Tensor, clip_grad_norm, eval, value_and_grad};
///
/// let (device, policy) = (Device::cpu(), Precision::mixed(DType::F16));
/// let mut model = Linear::new(3, 1, &device);
/// let (mut optimizer, mut scaler) = (Adam::new(1e-3), GradScaler::new(&device)?);
/// let x = Tensor::ones([4, 3], DType::F32, &device);
/// let (loss, grads) = value_and_grad(&model, |m| {
///     let y = policy.cast(m).forward(&policy.cast(&x));
///     scaler.scale(&policy.widen(&y).square().mean_all())
/// })?;
/// let (loss, unscaled) = (scaler.unscale_loss(&loss), scaler.unscale(&grads));
/// let (clipped, _) = clip_grad_norm(&unscaled.grads, 1.0);
/// scaler.step(&mut optimizer, &mut model, clipped, &unscaled.finite)?;
/// eval(&(&loss, &model, &optimizer, &scaler))?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GradScaler {
    options: GradScalerOptions,
    scale: Tensor,
    /// Good steps since the scale was changed.
    good: Tensor,
}

/// Gradients as they would be without a scale.
#[derive(Clone, Debug)]
pub struct Unscaled<M> {
    /// The gradients.
    pub grads: M,
    /// Whether all of them are finite: a truth value that is part of the graph.
    pub finite: Tensor,
}

impl GradScaler {
    /// With PyTorch's options.
    ///
    /// # Errors
    /// What the room for two numbers gives.
    pub fn new(device: &Device) -> Result<GradScaler> {
        GradScaler::with_options(GradScalerOptions::default(), device)
    }

    /// With other options.
    ///
    /// # Errors
    /// What the room for two numbers gives.
    pub fn with_options(options: GradScalerOptions, device: &Device) -> Result<GradScaler> {
        let number = |value| filled(&Shape::scalar(), value, DType::F32, device);
        Ok(GradScaler { options, scale: number(options.init_scale)?, good: number(0.0)? })
    }

    /// The present scale. Reads it from the device.
    ///
    /// # Errors
    /// What evaluating and reading gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn get_scale(&self) -> Result<f32> {
        self.scale.item()
    }

    /// The loss to be differentiated. It should be a tensor of `F32`: 16 bits do not hold it.
    #[track_caller]
    pub fn scale(&self, loss: &Tensor) -> Tensor {
        loss * &self.scale
    }

    /// The loss itself again. Like all else that unscales it belongs before the [`step`](GradScaler::step).
    #[track_caller]
    pub fn unscale_loss(&self, scaled: &Tensor) -> Tensor {
        scaled / &self.scale
    }

    /// The gradients themselves, to be clipped or looked at before the [`step`](GradScaler::step).
    pub fn unscale<M: Module>(&self, grads: &M) -> Unscaled<M> {
        let inverse = self.scale.reciprocal();
        let grads = grads.map(&mut |g| (g * &inverse).cast(g.dtype()));
        let mut bad: Option<Tensor> = None;
        grads.walk("", &mut |_, role, grad| {
            if role == Role::Parameter {
                let found = as_list(&grad.is_finite().logical_not().cast(DType::F32)).max(0);
                bad = Some(bad.take().map_or_else(|| found.clone(), |bad| bad.maximum(&found)));
            }
        });
        let bad = bad.unwrap_or_else(|| self.scale.full_like(0.0));
        Unscaled { grads, finite: bad.eq(bad.full_like(0.0)) }
    }

    /// A step of the optimiser if the gradients are finite, and the scale for the next.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub fn step<M: Module>(
        &mut self,
        optimizer: &mut impl Optimizer,
        model: &mut M,
        grads: M,
        finite: &Tensor,
    ) -> Result<()> {
        optimizer.step_if(model, grads, Some(finite))?;
        let GradScalerOptions { growth_factor, backoff_factor, growth_interval, .. } = self.options;
        let good = &self.good + 1.0;
        let grows = good.ge(good.full_like(f64::from(growth_interval)));
        let (none, scale) = (good.full_like(0.0), &self.scale);
        let larger = grows.select(scale * growth_factor, scale);
        let next = finite.select(&larger, scale * backoff_factor);
        let good = finite.select(grows.select(&none, &good), &none);
        (self.scale, self.good) = (next, good);
        Ok(())
    }
}

impl Tensors for GradScaler {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        f(&self.scale);
        f(&self.good);
    }
}

impl Tree for GradScaler {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> GradScaler {
        GradScaler { options: self.options, scale: f(&self.scale), good: f(&self.good) }
    }
}

/// So that a scaler can be saved and loaded like a model.
impl Module for GradScaler {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        f(&join(path, "scale"), Role::Buffer, &self.scale);
        f(&join(path, "growth_tracker"), Role::Buffer, &self.good);
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(&join(path, "scale"), Role::Buffer, &mut self.scale);
        f(&join(path, "growth_tracker"), Role::Buffer, &mut self.good);
    }
    fn train(&self, _: bool) {}
}

/// Adds up the gradients of several batches, so that a step is one of a large batch in the memory of a small one.
///
/// ```
/// use vorpal_nn::{Device, GradAccumulator, Linear, Optimizer, Sgd, eval, value_and_grad};
///
/// let mut model = Linear::new(3, 1, &Device::cpu());
/// let (mut optimizer, mut accumulator) = (Sgd::new(0.1), GradAccumulator::new(4));
/// for _ in 0..8 {
///     let (loss, grads) = value_and_grad(&model, |m| m.weight.square().sum_all())?;
///     if let Some(mean) = accumulator.add(grads) {
///         optimizer.step(&mut model, mean)?;
///     }
///     eval(&(&loss, &model, &optimizer, &accumulator))?;
/// }
/// assert_eq!(optimizer.state().steps, 2);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GradAccumulator<M> {
    every: u64,
    count: u64,
    sum: Option<M>,
}

impl<M: Module> GradAccumulator<M> {
    /// One for steps of so many batches.
    pub fn new(every: u64) -> GradAccumulator<M> {
        GradAccumulator { every: every.max(1), count: 0, sum: None }
    }

    /// Takes the gradients of a batch; gives their mean when there are enough, and begins again. What is added so far
    /// should be evaluated with every batch: its graph would grow.
    pub fn add(&mut self, mut grads: M) -> Option<M> {
        if let Some(sum) = self.sum.take() {
            let mut parts = std::collections::BTreeMap::new();
            sum.walk("", &mut |name, role, tensor| {
                if role == Role::Parameter {
                    parts.insert(name.to_string(), tensor.clone());
                }
            });
            grads.walk_mut("", &mut |name, role, grad| {
                if let (Role::Parameter, Some(part)) = (role, parts.remove(name)) {
                    *grad = part + &*grad;
                }
            });
        }
        self.count += 1;
        if self.count < self.every {
            self.sum = Some(grads);
            return None;
        }
        self.count = 0;
        if self.every > 1 {
            let share = 1.0 / self.every as f64;
            grads.walk_mut("", &mut |_, role, grad| {
                if role == Role::Parameter {
                    *grad = &*grad * share;
                }
            });
        }
        Some(grads)
    }

    /// How many batches are in it.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl<M: Tensors> Tensors for GradAccumulator<M> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.sum.visit(f);
    }
}
