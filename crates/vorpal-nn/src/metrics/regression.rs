//! Metrics of regression.

use vorpal_autodiff::{At, DType, Result, Tensor};

use super::{Metric, Totals, misfit};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mae,
    Mse,
    Rmse,
    Mape,
    R2,
    ExplainedVariance,
}

/// Errors of numbers against wanted ones of the same shape, over all elements.
///
/// Variances are put together from those of batches (Chan, Golub, LeVeque 1979), so that a large mean costs no digits.
///
/// ```
/// use vorpal_nn::metrics::{Metric, Regression};
/// use vorpal_nn::{Device, Tensor};
/// let numbers = |list: &[f32]| Tensor::from_slice(list, [list.len()], &Device::cpu());
/// let (mut mae, mut r2) = (Regression::mae(), Regression::r2());
/// for metric in [&mut mae, &mut r2] {
///     metric.update(&numbers(&[1.0, 2.0, 4.0]), &numbers(&[1.0, 2.0, 3.0]));
/// }
/// assert!((mae.compute()? - 1.0 / 3.0).abs() < 1e-6);
/// assert!((r2.compute()? - 0.5).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Regression {
    kind: Kind,
    totals: Totals,
}

impl Regression {
    fn new(kind: Kind) -> Regression {
        Regression { kind, totals: Totals::default() }
    }

    /// Mean absolute error.
    pub fn mae() -> Regression {
        Regression::new(Kind::Mae)
    }

    /// Mean squared error.
    pub fn mse() -> Regression {
        Regression::new(Kind::Mse)
    }

    /// Root of the mean squared error.
    pub fn rmse() -> Regression {
        Regression::new(Kind::Rmse)
    }

    /// Mean absolute error as a share of what is wanted (0.1 for 10 %); wanted numbers below 1.2e-7 count as that.
    pub fn mape() -> Regression {
        Regression::new(Kind::Mape)
    }

    /// Coefficient of determination R²: 1 less the mean squared error over the variance of what is wanted.
    pub fn r2() -> Regression {
        Regression::new(Kind::R2)
    }

    /// As [`r2`](Regression::r2) with the variance of the errors in place of their mean square.
    pub fn explained_variance() -> Regression {
        Regression::new(Kind::ExplainedVariance)
    }

    /// Adds the mean and the sum of squares around it of a batch to those before, which stand at `place`.
    fn moments(&self, place: usize, x: &Tensor, n: f64) -> [Tensor; 2] {
        let (mean, squares) = (x.mean_all(), x.var([0], 0) * n);
        let (before, all) = (self.totals.weight, self.totals.weight + n);
        let [old, sum] = [&self.totals.tensors[place], &self.totals.tensors[place + 1]];
        let apart = mean - old;
        [old + &apart * (n / all), sum + squares + apart.square() * (before * n / all)]
    }
}

impl Metric for Regression {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        if output.shape() != target.shape() || output.check().is_err() || target.check().is_err() {
            let message = "output and target must have the same shape";
            return self.totals.fail(misfit("regression", message, output, target, At::caller()));
        }
        let n = output.shape().numel();
        let flat = |x: &Tensor| x.stop_gradient().cast(DType::F32).reshape([n]);
        let (output, target) = (flat(output), flat(target));
        let error = output - &target;
        let weight = n as f64;
        match self.kind {
            Kind::Mae => self.totals.add(vec![error.abs().sum_all()], weight),
            Kind::Mse | Kind::Rmse => self.totals.add(vec![error.square().sum_all()], weight),
            Kind::Mape => {
                let share = error.abs() / target.abs().clamp_min(1.17e-7);
                self.totals.add(vec![share.sum_all()], weight);
            }
            Kind::R2 | Kind::ExplainedVariance => {
                self.totals.start(&vec![error.sum_all(); 4]);
                if self.totals.tensors.len() == 4 {
                    let ([a, b], [c, d]) =
                        (self.moments(0, &target, weight), self.moments(2, &error, weight));
                    self.totals.tensors = vec![a, b, c, d];
                    self.totals.weight += weight;
                }
            }
        }
    }

    fn compute(&self) -> Result<f64> {
        let sums: Vec<f64> = self.totals.read()?.into_iter().map(|s| s[0]).collect();
        let n = self.totals.weight;
        Ok(match (self.kind, &sums[..]) {
            (Kind::Mae | Kind::Mse | Kind::Mape, [sum, ..]) => sum / n,
            (Kind::Rmse, [sum, ..]) => (sum / n).sqrt(),
            (Kind::R2, [_, wanted, mean, squares]) => 1.0 - (squares + n * mean * mean) / wanted,
            (Kind::ExplainedVariance, [_, wanted, _, squares]) => 1.0 - squares / wanted,
            _ => f64::NAN,
        })
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    fn larger_is_better(&self) -> bool {
        matches!(self.kind, Kind::R2 | Kind::ExplainedVariance)
    }
}
