//! Averages of parameters over the steps of a training.

use vorpal_autodiff::{Error, Result, Tensor, Tensors, Tree};

use crate::module::{filled, join};
use crate::{Module, Role};

/// How an average takes in the parameters of another step.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A running mean with this decay.
    Exponential(f64),
    /// The mean of all.
    Equal,
}

/// A running average of the parameters of a model, which is often better than the last of them:
/// [`exponential`](Averaged::exponential) (EMA) or [`equal`](Averaged::equal) (SWA, Izmailov et al. 2018). PyTorch's
/// `torch.optim.swa_utils.AveragedModel`.
///
/// It is part of the step: update it behind the optimiser, evaluate all together. To use it,
/// [`swap`](Averaged::swap) it into the model, and out again to go on. Buffers (running statistics) are those of the
/// model unless [`with_buffers`](Averaged::with_buffers).
///
/// ```
/// use vorpal_nn::{Averaged, Device, Linear, Optimizer, Sgd, eval, value_and_grad};
///
/// let mut model = Linear::new(3, 1, &Device::cpu());
/// let (mut optimizer, mut average) = (Sgd::new(0.1), Averaged::exponential(&model, 0.999)?);
/// for _ in 0..3 {
///     let (loss, grads) = value_and_grad(&model, |m| m.weight.square().sum_all())?;
///     optimizer.step(&mut model, grads)?;
///     average.update(&model)?;
///     eval(&(&loss, &model, &optimizer, &average))?;
/// }
/// average.swap(&mut model)?;
/// // … evaluate the model …
/// average.swap(&mut model)?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Averaged {
    kind: Kind,
    buffers: bool,
    /// Parameters of how many steps are in it.
    updates: u64,
    names: Vec<String>,
    values: Vec<Tensor>,
}

impl Averaged {
    /// A running mean: `decay` of what is there and the rest of the present parameters in every update.
    ///
    /// # Errors
    /// What the room for the averages gives.
    pub fn exponential<M: Module>(model: &M, decay: f64) -> Result<Averaged> {
        Averaged::new(model, Kind::Exponential(decay), false)
    }

    /// The mean of the parameters of all updates.
    ///
    /// # Errors
    /// What the room for the averages gives.
    pub fn equal<M: Module>(model: &M) -> Result<Averaged> {
        Averaged::new(model, Kind::Equal, false)
    }

    /// The same with buffers of floats averaged as well, PyTorch's `use_buffers`.
    ///
    /// # Errors
    /// What the room for the averages gives.
    pub fn with_buffers<M: Module>(self, model: &M) -> Result<Averaged> {
        Averaged::new(model, self.kind, true)
    }

    fn new<M: Module>(model: &M, kind: Kind, buffers: bool) -> Result<Averaged> {
        let mut new = Averaged { kind, buffers, updates: 0, names: Vec::new(), values: Vec::new() };
        let mut failed = None;
        model.walk("", &mut |name, role, tensor| {
            if !averages(buffers, role, tensor) {
                return;
            }
            let zeros = tensor.device().and_then(|at| filled(&tensor.shape(), 0.0, tensor.dtype(), &at));
            match zeros {
                Ok(zeros) => {
                    new.names.push(name.to_string());
                    new.values.push(zeros);
                }
                Err(error) => failed = Some(error),
            }
        });
        failed.map_or(Ok(new), Err)
    }

    /// Takes in the present parameters of the model. The first update takes them as they are.
    ///
    /// # Errors
    /// [`Error::Format`] when the model has other parameters.
    pub fn update<M: Module>(&mut self, model: &M) -> Result<()> {
        self.update_if(model, None)
    }

    /// As [`update`](Averaged::update); where `condition` (a truth value, part of the graph) does not hold, nothing is
    /// added to what is there, as with [`Optimizer::step_if`](crate::Optimizer::step_if). The update is counted all the
    /// same.
    ///
    /// # Errors
    /// As [`update`](Averaged::update).
    pub fn update_if<M: Module>(&mut self, model: &M, condition: Option<&Tensor>) -> Result<()> {
        // The first update takes what a step that was called off has left as it was.
        let condition = condition.filter(|_| self.updates > 0);
        let keep = match (self.updates, self.kind) {
            (0, _) => 0.0,
            (_, Kind::Exponential(decay)) => decay,
            (n, Kind::Equal) => n as f64 / (n as f64 + 1.0),
        };
        let (mut values, buffers) = (Vec::new(), self.buffers);
        let pairs = self.names.iter().zip(&self.values);
        let mut old = pairs.peekable();
        model.walk("", &mut |name, role, tensor| {
            if averages(buffers, role, tensor)
                && let Some((_, value)) = old.next_if(|(own, _)| *own == name)
            {
                let new = value * keep + tensor * (1.0 - keep);
                values.push(condition.map_or_else(|| new.clone(), |holds| holds.select(&new, value)));
            }
        });
        if values.len() != self.names.len() {
            let known = self.names.get(values.len()).map_or("", String::as_str);
            return Err(Error::format("average", format!("the model has no \"{known}\" in its place")));
        }
        (self.values, self.updates) = (values, self.updates + 1);
        Ok(())
    }

    /// How many updates there were.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Says how many updates there were: of averages whose values came from a file, or of one that was called off.
    pub fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// Exchanges the parameters of the model and the averages; once more to have them back. Before the first update
    /// nothing is exchanged.
    ///
    /// # Errors
    /// [`Error::Format`] when the model has other parameters; nothing changes then.
    pub fn swap<M: Module>(&mut self, model: &mut M) -> Result<()> {
        if self.updates == 0 {
            return Ok(());
        }
        let (mut found, buffers) = (Vec::new(), self.buffers);
        model.walk("", &mut |name, role, tensor| {
            if averages(buffers, role, tensor) {
                found.push((name.to_string(), tensor.shape()));
            }
        });
        let own = self.names.iter().cloned().zip(self.values.iter().map(Tensor::shape));
        if !own.eq(found) {
            return Err(Error::format("average", "the model has other parameters"));
        }
        let mut values = self.values.iter_mut();
        model.walk_mut("", &mut |_, role, tensor| {
            if averages(buffers, role, tensor)
                && let Some(value) = values.next()
            {
                std::mem::swap(value, tensor);
            }
        });
        Ok(())
    }
}

/// Whether a tensor is averaged.
fn averages(buffers: bool, role: Role, tensor: &Tensor) -> bool {
    role == Role::Parameter || (buffers && tensor.dtype().is_float())
}

impl Tensors for Averaged {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.values.iter().for_each(f);
    }
}

impl Tree for Averaged {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Averaged {
        let values = self.values.iter().map(f).collect();
        Averaged { values, names: self.names.clone(), ..*self }
    }
}

/// Averages have the names of the parameters, so that they can be saved and loaded like a model.
impl Module for Averaged {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        let pairs = self.names.iter().zip(&self.values);
        pairs.for_each(|(name, value)| f(&join(path, name), Role::Buffer, value));
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        let pairs = self.names.iter().zip(&mut self.values);
        pairs.for_each(|(name, value)| f(&join(path, name), Role::Buffer, value));
    }
    fn train(&self, _: bool) {}
}
