//! A quasi-Newton method for whole batches.

use std::collections::VecDeque;

use vorpal_autodiff::{DType, Error, Result, Tensor, eval, value_and_grad};

use super::as_list;
use super::wolfe::{self, Point};
use crate::{Module, Role};

/// Options of [`Lbfgs`].
#[derive(Clone, Debug)]
pub struct LbfgsOptions {
    /// Iterations of one step.
    pub max_iter: u64,
    /// Values of the function that one step may ask for; a quarter more than iterations if not given.
    pub max_eval: Option<u64>,
    /// It ends where no element of the gradient is larger.
    pub tolerance_grad: f64,
    /// It ends where the function or the parameters change by less.
    pub tolerance_change: f64,
    /// Steps that are remembered.
    pub history_size: usize,
    /// Whether the length of a step is searched for until it fulfils the strong Wolfe conditions.
    pub strong_wolfe: bool,
}

impl Default for LbfgsOptions {
    fn default() -> LbfgsOptions {
        LbfgsOptions {
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            strong_wolfe: false,
        }
    }
}

/// A step that was made and the change of the gradient along it.
#[derive(Clone, Debug)]
struct Pair {
    change: Tensor,
    step: Tensor,
    inverse: f64,
}

#[derive(Clone, Debug)]
struct Memory {
    pairs: VecDeque<Pair>,
    /// The last direction, the share of it that was gone, and the gradient before.
    direction: Tensor,
    length: f64,
    gradient: Tensor,
    diagonal: f64,
}

/// The limited-memory method of Broyden, Fletcher, Goldfarb and Shanno (Liu & Nocedal 1989), PyTorch's `LBFGS`. It asks
/// for the function itself, and decides on the host how far to go: every value of the function is a plan of its own.
/// What it remembers is not saved; a restart costs some iterations.
///
/// ```
/// use vorpal_nn::{Device, Lbfgs, LbfgsOptions, Tensor};
///
/// // The valley of Rosenbrock.
/// let mut x = Tensor::from_slice(&[-1.5f64, 2.0], [2], &Device::cpu());
/// let valley = |x: &Tensor| {
///     let (a, b) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
///     ((&a - 1.0).square() + (b - a.square()).square() * 100.0).sum_all()
/// };
/// let options = LbfgsOptions { max_iter: 100, strong_wolfe: true, ..LbfgsOptions::default() };
/// Lbfgs::with_options(1.0, options).step(&mut x, valley)?;
/// assert!(x.to_vec::<f64>()?.iter().all(|x| (x - 1.0).abs() < 1e-3));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lbfgs {
    /// Length of a step, or of the first that the search tries.
    pub learning_rate: f64,
    /// What it can be told.
    pub options: LbfgsOptions,
    memory: Option<Memory>,
}

impl Lbfgs {
    /// With the default options. PyTorch's default step size is 1.
    pub fn new(learning_rate: f64) -> Lbfgs {
        Lbfgs::with_options(learning_rate, LbfgsOptions::default())
    }

    /// With other options.
    pub fn with_options(learning_rate: f64, options: LbfgsOptions) -> Lbfgs {
        Lbfgs { learning_rate, options, memory: None }
    }

    /// Some iterations on `loss`, a function of the model that gives a scalar. Gives its value before.
    ///
    /// # Errors
    /// What the graph of the function or its evaluation gives; the model may stand at a point that was tried.
    pub fn step<M: Module>(&mut self, model: &mut M, loss: impl Fn(&M) -> Tensor) -> Result<f64> {
        let LbfgsOptions { max_iter, tolerance_grad, tolerance_change, strong_wolfe, .. } = self.options;
        let max_eval = self.options.max_eval.unwrap_or(max_iter * 5 / 4);
        let (first, mut gradient) = evaluate(model, &loss)?;
        let (mut value, mut evaluations) = (first, 1);
        if largest(&gradient)? <= tolerance_grad {
            return Ok(first);
        }
        for iteration in 1..=max_iter {
            let start = self.memory.is_none();
            let direction = self.direction(&gradient)?;
            let length = if start { (1.0 / number(&gradient.abs().sum_all())?).min(1.0) } else { 1.0 };
            let mut length = length * self.learning_rate;
            let (before, slope) = (value, dot(&gradient, &direction)?);
            if let Some(memory) = &mut self.memory {
                (memory.gradient, memory.direction) = (gradient.clone(), direction.clone());
                memory.length = length;
            }
            if slope > -tolerance_change {
                break;
            }
            let from = flat(model)?;
            let mut go = |length: f64, ask: bool| {
                place(model, &(&from + &direction * length));
                if ask { evaluate(model, &loss).map(Some) } else { eval(&*model).map(|()| None) }
            };
            if strong_wolfe {
                let mut at = |length: f64| -> Result<Point> {
                    let asked =
                        go(length, true)?.ok_or_else(|| Error::internal("lbfgs", "nothing was asked"))?;
                    let slope = dot(&asked.1, &direction)?;
                    Ok(Point { length, value: asked.0, slope, gradient: asked.1 })
                };
                let here = Point { length: 0.0, value, slope, gradient };
                let (size, left) = (largest(&direction)?, max_eval.saturating_sub(evaluations));
                let (found, count) = wolfe::search(&mut at, here, length, size, tolerance_change, left)?;
                (value, gradient, length) = (found.value, found.gradient, found.length);
                evaluations += count;
                go(length, false)?;
            } else if let Some(asked) = go(length, iteration < max_iter)? {
                (value, gradient) = asked;
                evaluations += 1;
            }
            if let Some(memory) = &mut self.memory {
                memory.length = length;
            }
            let moved = largest(&direction)? * length;
            let settled = moved <= tolerance_change || (value - before).abs() < tolerance_change;
            if evaluations >= max_eval || settled || largest(&gradient)? <= tolerance_grad {
                break;
            }
        }
        Ok(first)
    }

    /// Where to go from a point with this gradient. Remembers the step that led there.
    fn direction(&mut self, gradient: &Tensor) -> Result<Tensor> {
        let Some(memory) = &mut self.memory else {
            let direction = -gradient;
            let (pairs, length, diagonal) = (VecDeque::new(), 0.0, 1.0);
            let (kept, gradient) = (direction.clone(), gradient.clone());
            self.memory = Some(Memory { pairs, direction: kept, length, gradient, diagonal });
            return Ok(direction);
        };
        let (change, step) = (gradient - &memory.gradient, &memory.direction * memory.length);
        let products = ((&change * &step).sum_all(), change.square().sum_all());
        eval(&(&products, &change, &step))?;
        let curvature = number(&products.0)?;
        if curvature > 1e-10 {
            if memory.pairs.len() >= self.options.history_size.max(1) {
                memory.pairs.pop_front();
            }
            memory.pairs.push_back(Pair { change, step, inverse: 1.0 / curvature });
            memory.diagonal = curvature / number(&products.1)?;
        }
        let mut direction = -gradient;
        let mut shares = Vec::new();
        for pair in memory.pairs.iter().rev() {
            let share = (&pair.step * &direction).sum_all() * pair.inverse;
            direction = direction - &pair.change * &share;
            shares.push(share);
        }
        direction = direction * memory.diagonal;
        for (pair, share) in memory.pairs.iter().zip(shares.iter().rev()) {
            let other = (&pair.change * &direction).sum_all() * pair.inverse;
            direction = direction + &pair.step * (share - other);
        }
        eval(&direction)?;
        Ok(direction)
    }
}

/// The value of the function and its gradient in one list.
fn evaluate<M: Module>(model: &M, loss: &impl Fn(&M) -> Tensor) -> Result<(f64, Tensor)> {
    let (value, grads) = value_and_grad(model, |m| loss(m))?;
    let gradient = flat(&grads)?;
    eval(&(&value, &gradient))?;
    Ok((number(&value)?, gradient))
}

/// All parameters in one list.
fn flat<M: Module>(model: &M) -> Result<Tensor> {
    let mut parts = Vec::new();
    model.walk("", &mut |_, role, tensor| {
        if role == Role::Parameter {
            parts.push(as_list(tensor));
        }
    });
    if parts.is_empty() {
        return Err(Error::format("lbfgs", "the model has no parameters"));
    }
    let list = Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0);
    list.check()?;
    Ok(list)
}

/// The other way round.
fn place<M: Module>(model: &mut M, list: &Tensor) {
    let mut start = 0;
    model.walk_mut("", &mut |_, role, tensor| {
        if role == Role::Parameter {
            let count = tensor.shape().numel();
            *tensor = list.narrow(0, start, count).reshape(tensor.shape()).cast(tensor.dtype());
            start += count;
        }
    });
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    number(&(a * b).sum_all())
}

/// The largest size of an element.
fn largest(x: &Tensor) -> Result<f64> {
    number(&x.abs().max(0))
}

fn number(x: &Tensor) -> Result<f64> {
    match x.dtype() {
        DType::F64 => x.item::<f64>(),
        _ => x.cast(DType::F32).item::<f32>().map(f64::from),
    }
}
