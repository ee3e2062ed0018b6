//! Metrics: numbers about a model over many batches, added up on the device and read once.
//!
//! `update` only builds a graph, like everything else: evaluate it together with the loss, or from time to time in a
//! loop without one. `compute` reads.
//!
//! ```
//! use vorpal_nn::metrics::{Accuracy, ClassScore, Metric, MetricSet};
//! use vorpal_nn::{Device, Tensor, eval};
//!
//! let device = Device::cpu();
//! let mut metrics = MetricSet::new().with("accuracy", Accuracy::new()).with("f1", ClassScore::f1(3));
//! let logits = Tensor::from_slice(&[2.0f32, 1.0, 0.0, 0.0, 3.0, 1.0], [2, 3], &device);
//! metrics.update(&logits, &Tensor::from_slice(&[0i32, 1], [2], &device));
//! metrics.update(&logits, &Tensor::from_slice(&[0i32, 2], [2], &device));
//! eval(&metrics)?;
//! assert_eq!(metrics.compute()?[0], ("accuracy".to_string(), 0.75));
//! # Ok::<(), vorpal_nn::Error>(())
//! ```

mod classes;
mod regression;
mod scores;
mod text;

use vorpal_autodiff::{DType, Error, Result, Tensor, Tensors};

use crate::module::zeros_like;

pub use classes::{Accuracy, Average, ClassScore, ConfusionMatrix};
pub use regression::Regression;
pub use scores::{CalibrationError, Perplexity, Ranking};
pub use text::{Bleu, rouge_l};

/// A number about what a model gave and what was wanted, over many batches.
pub trait Metric {
    /// Adds a batch. Runs nothing and reads nothing; what does not fit is told by [`compute`](Metric::compute) or by
    /// evaluating the [`totals`](Metric::totals).
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor);

    /// The number over all batches since the last [`reset`](Metric::reset); NaN without any.
    ///
    /// # Errors
    /// What did not fit in an update, or what evaluating and reading gives.
    fn compute(&self) -> Result<f64>;

    /// Forgets all batches.
    fn reset(&mut self) {
        *self.totals_mut() = Totals::default();
    }

    /// What has been added up.
    fn totals(&self) -> &Totals;

    /// What has been added up, to be put where it was by a checkpoint.
    fn totals_mut(&mut self) -> &mut Totals;

    /// How often class `k` (row) was taken for class `j` (column), by metrics that count it.
    ///
    /// # Errors
    /// As [`compute`](Metric::compute).
    fn confusion(&self) -> Result<Option<Vec<Vec<u64>>>> {
        Ok(None)
    }

    /// Whether a larger number is the better one.
    fn larger_is_better(&self) -> bool {
        true
    }
}

/// What a metric adds up: tensors on the device of the batches, and how much they weigh together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Sums or lists, as the metric needs them; none before the first batch.
    pub tensors: Vec<Tensor>,
    /// Examples or elements behind them, where their number is known without reading.
    pub weight: f64,
}

impl Tensors for Totals {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.tensors.visit(f);
    }
}

impl Totals {
    /// Adds numbers to the sums, which start from zeros in memory of their own, so that all steps have one plan.
    fn add(&mut self, parts: Vec<Tensor>, weight: f64) {
        self.start(&parts);
        self.tensors = self.tensors.iter().zip(&parts).map(|(sum, part)| sum + part).collect();
        self.weight += weight;
    }

    /// Zeros like `parts`, if there are no sums yet.
    fn start(&mut self, parts: &[Tensor]) {
        if self.tensors.is_empty() {
            let zeros = |x: &Tensor| x.check().and_then(|()| zeros_like(x)).unwrap_or_else(Tensor::error);
            self.tensors = parts.iter().map(zeros).collect();
        }
    }

    /// Remembers that an update did not fit.
    fn fail(&mut self, error: Error) {
        self.tensors.push(Tensor::error(error));
    }

    /// All sums as numbers.
    fn read(&self) -> Result<Vec<Vec<f64>>> {
        vorpal_autodiff::eval(self)?;
        self.tensors.iter().map(numbers).collect()
    }
}

/// The elements of a tensor of any dtype.
fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    x.check()?;
    Ok(match x.dtype() {
        DType::I32 => x.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::U32 => x.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        DType::F64 => x.to_vec()?,
        _ => x.cast(DType::F32).to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
}

/// Error about operands of a metric.
fn misfit(
    op: &'static str,
    message: &str,
    output: &Tensor,
    target: &Tensor,
    at: vorpal_autodiff::At,
) -> Error {
    let operands = format!("{}{}, {}{}", output.dtype(), output.shape(), target.dtype(), target.shape());
    output.check().and_then(|()| target.check()).err().unwrap_or_else(|| Error::Shape {
        op,
        message: message.to_string(),
        operands,
        at,
    })
}

/// The weighted mean of numbers that are there already, of losses for example.
///
/// ```
/// use vorpal_nn::metrics::Mean;
/// use vorpal_nn::{Device, Tensor};
/// let mut loss = Mean::default();
/// loss.add(&Tensor::from_item(1.0f32, &Device::cpu()), 3);
/// loss.add(&Tensor::from_item(5.0f32, &Device::cpu()), 1);
/// assert_eq!(loss.compute()?, 2.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mean(pub Totals);

impl Mean {
    /// Adds a number (a tensor with one element) that stands for `weight` examples.
    pub fn add(&mut self, value: &Tensor, weight: usize) {
        let value = value.stop_gradient().cast(DType::F32).reshape([] as [usize; 0]);
        self.0.add(vec![value * weight as f64], weight as f64);
    }

    /// The mean so far; NaN without any number.
    ///
    /// # Errors
    /// What evaluating and reading gives.
    pub fn compute(&self) -> Result<f64> {
        Ok(self.0.read()?.first().map_or(f64::NAN, |sum| sum[0] / self.0.weight))
    }
}

impl Tensors for Mean {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.0.visit(f);
    }
}

/// Metrics with names that get the same batches.
#[derive(Default)]
pub struct MetricSet(Vec<(String, Box<dyn Metric>)>);

impl MetricSet {
    /// None at first.
    pub fn new() -> MetricSet {
        MetricSet::default()
    }

    /// One more, in place of the one of the same name if there is one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, metric: impl Metric + 'static) -> MetricSet {
        let name = name.into();
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, Box::new(metric)));
        self
    }

    /// Adds a batch to every metric.
    #[track_caller]
    pub fn update(&mut self, output: &Tensor, target: &Tensor) {
        self.0.iter_mut().for_each(|(_, metric)| metric.update(output, target));
    }

    /// Every name with its number.
    ///
    /// # Errors
    /// That of the first metric that has one.
    pub fn compute(&self) -> Result<Vec<(String, f64)>> {
        self.0.iter().map(|(name, metric)| Ok((name.clone(), metric.compute()?))).collect()
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.0.iter_mut().for_each(|(_, metric)| metric.reset());
    }

    /// Names and metrics.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Metric)> {
        self.0.iter().map(|(name, metric)| (name.as_str(), &**metric))
    }

    /// Names and metrics that may be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut (dyn Metric + 'static))> {
        self.0.iter_mut().map(|(name, metric)| (name.as_str(), &mut **metric))
    }
}

impl Tensors for MetricSet {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.0.iter().for_each(|(_, metric)| metric.totals().visit(f));
    }
}

impl std::fmt::Debug for MetricSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
