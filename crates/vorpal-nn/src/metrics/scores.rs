//! Metrics of scores and probabilities.

use vorpal_autodiff::{At, DType, Result, Tensor};

use super::{Metric, Totals, misfit, numbers};

/// What is made of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Roc,
    PrecisionRecall,
}

/// Areas under curves, exact: all scores are kept, and ranked when the number is asked for.
///
/// Outputs are scores `[n]` of class 1 against targets `[n]` of 0 and 1, or scores `[n, classes]` against class
/// numbers: the mean over the classes that come up, each against the rest.
///
/// ```
/// use vorpal_nn::metrics::{Metric, Ranking};
/// use vorpal_nn::{Device, Tensor};
/// let mut auroc = Ranking::auroc();
/// let scores = Tensor::from_slice(&[0.1f32, 0.4, 0.35, 0.8], [4], &Device::cpu());
/// auroc.update(&scores, &Tensor::from_slice(&[0i32, 0, 1, 1], [4], &Device::cpu()));
/// assert_eq!(auroc.compute()?, 0.75);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ranking {
    area: Area,
    totals: Totals,
}

impl Ranking {
    /// Area under the receiver operating characteristic: how probable it is that an example of the class has a higher
    /// score than another, equal ones counting half.
    pub fn auroc() -> Ranking {
        Ranking { area: Area::Roc, totals: Totals::default() }
    }

    /// Average precision: the precision at each score, weighted by the recall it adds, as scikit-learn's
    /// `average_precision_score`.
    pub fn average_precision() -> Ranking {
        Ranking { area: Area::PrecisionRecall, totals: Totals::default() }
    }
}

impl Metric for Ranking {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        let (have, want) = (output.shape(), target.shape());
        if want.rank() != 1 || have.rank() > 2 || have.rank() == 0 || have.dims()[0] != want.dims()[0] {
            let message = "scores must be [n] or [n, classes], targets [n]";
            return self.totals.fail(misfit("ranking", message, output, target, At::caller()));
        }
        // A list of batches: scores and targets by turns.
        self.totals.tensors.push(output.cast(DType::F32).stop_gradient());
        self.totals.tensors.push(target.cast(DType::I32));
        self.totals.weight += want.dims()[0] as f64;
    }

    fn compute(&self) -> Result<f64> {
        vorpal_autodiff::eval(&self.totals)?;
        let (mut scores, mut targets, mut classes) = (Vec::new(), Vec::new(), 1);
        for pair in self.totals.tensors.chunks(2) {
            if let [of, target] = pair {
                classes = if of.rank() == 2 { of.shape().dims()[1] } else { 1 };
                scores.extend(numbers(of)?);
                targets.extend(target.to_vec::<i32>()?);
            }
        }
        let area = |class: usize, positive: i32| {
            let pairs = targets.iter().enumerate();
            let list = pairs.map(|(k, &t)| (scores[k * classes + class], t == positive)).collect();
            area(self.area, list)
        };
        if classes == 1 {
            return Ok(area(0, 1));
        }
        let each: Vec<f64> = (0..classes).map(|c| area(c, c as i32)).filter(|a| !a.is_nan()).collect();
        Ok(each.iter().sum::<f64>() / each.len() as f64)
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }
}

/// Area of scores, each with whether it is of the class; NaN where one side is empty.
fn area(area: Area, mut list: Vec<(f64, bool)>) -> f64 {
    list.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = list.iter().filter(|l| l.1).count() as f64;
    let negatives = list.len() as f64 - positives;
    if positives == 0.0 || area == Area::Roc && negatives == 0.0 {
        return f64::NAN;
    }
    let (mut tp, mut fp, mut sum) = (0.0, 0.0, 0.0);
    for equal in list.chunk_by(|a, b| a.0 == b.0) {
        let more = equal.iter().filter(|l| l.1).count() as f64;
        let others = equal.len() as f64 - more;
        match area {
            Area::Roc => sum += others * (tp + more / 2.0) / (positives * negatives),
            Area::PrecisionRecall => sum += more / positives * ((tp + more) / (tp + fp + equal.len() as f64)),
        }
        (tp, fp) = (tp + more, fp + others);
    }
    sum
}

/// Expected calibration error (Naeini, Cooper, Hauskrecht 2015): how far confidence and accuracy lie apart, by bins of
/// confidence.
///
/// Outputs are logits `[…, classes]`, or probabilities after [`probabilities`](CalibrationError::probabilities);
/// targets are class numbers `[…]`.
///
/// ```
/// use vorpal_nn::metrics::{CalibrationError, Metric};
/// use vorpal_nn::{Device, Tensor};
/// let mut error = CalibrationError::new(10).probabilities();
/// let output = Tensor::from_slice(&[0.75f32, 0.25, 0.75, 0.25], [2, 2], &Device::cpu());
/// error.update(&output, &Tensor::from_slice(&[0i32, 1], [2], &Device::cpu()));
/// assert_eq!(error.compute()?, 0.25);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CalibrationError {
    bins: usize,
    logits: bool,
    totals: Totals,
}

impl CalibrationError {
    /// With `bins` equal bins, one at least; 15 are usual.
    pub fn new(bins: usize) -> CalibrationError {
        CalibrationError { bins: bins.max(1), logits: true, totals: Totals::default() }
    }

    /// Outputs are probabilities already.
    #[must_use]
    pub fn probabilities(mut self) -> CalibrationError {
        self.logits = false;
        self
    }
}

impl Metric for CalibrationError {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        let (have, want) = (output.shape(), target.shape());
        if have.rank() != want.rank() + 1 || have.dims()[..want.rank()] != *want.dims() {
            let message = "scores must be [..., classes], targets [...]";
            return self.totals.fail(misfit("calibration_error", message, output, target, At::caller()));
        }
        let n = want.numel();
        let scores = output.stop_gradient().cast(DType::F32);
        let scores = if self.logits { scores.softmax(-1) } else { scores };
        let confidence = scores.max(-1).reshape([n]);
        let right =
            scores.argmax(-1).cast(DType::I32).eq(target.cast(DType::I32)).cast(DType::F32).reshape([n]);
        let last = (self.bins - 1) as f64;
        let bin = (&confidence * self.bins as f64).floor().clamp(0.0, last).cast(DType::I32);
        let bins = bin.one_hot(self.bins, DType::F32);
        let sum = |x: &Tensor| (&bins * x.unsqueeze(-1)).sum(0);
        self.totals.add(vec![sum(&confidence), sum(&right)], n as f64);
    }

    fn compute(&self) -> Result<f64> {
        let sums = self.totals.read()?;
        let [confidence, right] = &sums[..] else { return Ok(f64::NAN) };
        Ok(confidence.iter().zip(right).map(|(c, r)| (c - r).abs()).sum::<f64>() / self.totals.weight)
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    fn larger_is_better(&self) -> bool {
        false
    }
}

/// Perplexity of logits `[…, classes]` against class numbers `[…]`: e to the mean cross-entropy.
///
/// ```
/// use vorpal_nn::metrics::{Metric, Perplexity};
/// use vorpal_nn::{DType, Device, Tensor};
/// let mut perplexity = Perplexity::new();
/// let logits = Tensor::zeros([5, 8], DType::F32, &Device::cpu());
/// perplexity.update(&logits, &Tensor::arange(5, DType::I32, &Device::cpu()));
/// assert!((perplexity.compute()? - 8.0).abs() < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Perplexity {
    ignore: Option<i32>,
    totals: Totals,
}

impl Perplexity {
    /// All targets count.
    pub fn new() -> Perplexity {
        Perplexity::default()
    }

    /// As [`Accuracy::ignore_index`](super::Accuracy::ignore_index).
    #[must_use]
    pub fn ignore_index(mut self, class: i32) -> Perplexity {
        self.ignore = Some(class);
        self
    }
}

impl Metric for Perplexity {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        let (logits, target) = (output.stop_gradient().cast(DType::F32), target.cast(DType::I32));
        let Some(class) = self.ignore else {
            let sum = logits.cross_entropy_rows(&target).sum_all();
            return self.totals.add(vec![sum], target.shape().numel() as f64);
        };
        let counts = target.ne(class);
        let rows = logits.cross_entropy_rows(&counts.select(&target, 0));
        let sum = counts.select(&rows, 0.0).sum_all();
        self.totals.add(vec![sum, counts.cast(DType::I32).sum_all()], 0.0);
    }

    fn compute(&self) -> Result<f64> {
        let sums = self.totals.read()?;
        Ok(match &sums[..] {
            [] => f64::NAN,
            [sum] => (sum[0] / self.totals.weight).exp(),
            [sum, count, ..] => (sum[0] / count[0]).exp(),
        })
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    fn larger_is_better(&self) -> bool {
        false
    }
}
