//! How good forecasts are.

use vorpal_nn::Result;
use vorpal_nn::plot::Figure;

use crate::data::Series;
use crate::forecast::{HoltWinters, naive, seasonal_naive};
use crate::recipe::Run;

/// Forecasts of a held out end: one for every place it can begin at.
pub struct Held<'a> {
    pub series: &'a Series,
    /// How many numbers were learned from.
    pub learned: usize,
    pub horizon: usize,
    /// Numbers in front of a forecast that the picture shows.
    pub shown: usize,
}

impl Held<'_> {
    /// Where forecasts begin.
    pub fn origins(&self) -> impl Iterator<Item = usize> {
        self.learned..(self.series.values.len() + 1).saturating_sub(self.horizon)
    }

    fn actual(&self, origin: usize) -> &[f64] {
        &self.series.values[origin..origin + self.horizon]
    }

    /// The mean over all origins and times of `error` of a forecast and the truth.
    fn mean(&self, forecast: impl Fn(usize) -> Result<Vec<f64>>, error: fn(f64, f64) -> f64) -> Result<f64> {
        let (mut sum, mut count) = (0.0, 0usize);
        for origin in self.origins() {
            for (f, a) in forecast(origin)?.iter().zip(self.actual(origin)) {
                (sum, count) = (sum + error(*f, *a), count + 1);
            }
        }
        Ok(sum / count.max(1) as f64)
    }

    /// Mean absolute error of the numbers a season before.
    pub fn seasonal(&self) -> Result<f64> {
        let Series { values, period, .. } = self.series;
        self.mean(|t| Ok(seasonal_naive(&values[..t], *period, self.horizon)), |f, a| (f - a).abs())
    }

    /// Leaves MASE (Hyndman & Koehler 2006: errors by those of last season's numbers in what was learned from) and sMAPE of
    /// `forecasts`, `horizon` numbers for each origin, MASE of the baselines, the quotient `relative` of the errors and those
    /// of last season's numbers, and a picture.
    pub fn judge(&self, run: &mut Run, forecasts: &[f64]) -> Result<()> {
        let Series { values, period, .. } = self.series;
        let (period, horizon) = (*period, self.horizon);
        let learned = &values[..self.learned];
        let steps = learned.len().saturating_sub(period).max(1) as f64;
        let unit = learned.iter().zip(&learned[period..]).map(|(a, b)| (a - b).abs()).sum::<f64>() / steps;
        let smoothing = HoltWinters::fit(learned, period)?;
        let model = |t: usize| {
            let from = (t - self.learned) * horizon;
            Ok(forecasts[from..from + horizon].to_vec())
        };
        let smooth = |t: usize| smoothing.forecast(&values[..t], horizon);
        let off = |f: f64, a: f64| (f - a).abs();
        let (found, seasonal) = (self.mean(model, off)?, self.seasonal()?);
        run.result("mase", found / unit);
        run.result("relative", found / seasonal);
        run.result("smape", self.mean(model, |f, a| 200.0 * (f - a).abs() / (f.abs() + a.abs()).max(1e-12))?);
        run.result("mase_seasonal", seasonal / unit);
        run.result("mase_naive", self.mean(|t| Ok(naive(&values[..t], horizon)), off)? / unit);
        run.result("mase_smoothing", self.mean(smooth, off)? / unit);
        let points = self.chained(forecasts);
        let figure = self.figure().line("forecasts", points);
        run.file("forecast.svg", figure.svg());
        Ok(())
    }

    /// Forecasts that do not overlap, one behind the other: places and numbers.
    pub fn chained(&self, forecasts: &[f64]) -> Vec<(f64, f64)> {
        let each = forecasts.chunks(self.horizon.max(1)).zip(self.origins()).step_by(self.horizon.max(1));
        each.flat_map(|(part, t)| part.iter().enumerate().map(move |(k, v)| ((t + k) as f64, *v))).collect()
    }

    /// A picture with the truth.
    pub fn figure(&self) -> Figure {
        let from = self.learned.saturating_sub(self.shown);
        let truth = self.series.values.iter().enumerate().skip(from);
        Figure::new(&self.series.name, "time").line("truth", truth.map(|(t, v)| (t as f64, *v)))
    }
}

/// The continuous ranked probability score of samples (Matheson & Winkler 1976): their mean distance from the truth, less
/// half their mean distance from one another.
pub fn crps(sorted: &[f64], truth: f64) -> f64 {
    let n = sorted.len() as f64;
    let off = sorted.iter().map(|v| (v - truth).abs()).sum::<f64>() / n;
    // In order, the k-th is the larger one of k pairs and the smaller one of n - 1 - k.
    let apart: f64 = sorted.iter().enumerate().map(|(k, v)| (2.0 * k as f64 + 1.0 - n) * v).sum();
    off - apart / (n * n)
}

/// The number below which this share of sorted numbers lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let value = |k: usize| sorted.get(k.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN);
    value(low) * (1.0 - part) + value(low + 1) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_samples() {
        // By hand: |0 - 1|, |2 - 1| and |4 - 1| over 3, less half of (2 + 4 + 2) · 2 over 9.
        assert!((crps(&[0.0, 2.0, 4.0], 1.0) - (5.0 / 3.0 - 8.0 / 9.0)).abs() < 1e-12);
        assert!((crps(&[2.5], 1.0) - 1.5).abs() < 1e-12);
        assert_eq!((quantile(&[0.0, 1.0, 4.0], 0.5), quantile(&[0.0, 1.0, 4.0], 0.75)), (1.0, 2.5));
    }
}
