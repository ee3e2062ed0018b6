//! Forecasts without a model to train: what a trained one has to beat.

use vorpal_nn::{Error, Result};

/// The last number again and again.
///
/// ```
/// assert_eq!(vorpal_zoo::forecast::naive(&[1.0, 3.0], 2), [3.0, 3.0]);
/// ```
pub fn naive(past: &[f64], horizon: usize) -> Vec<f64> {
    vec![past.last().copied().unwrap_or(0.0); horizon]
}

/// The last season again and again.
///
/// ```
/// assert_eq!(vorpal_zoo::forecast::seasonal_naive(&[1.0, 3.0, 4.0], 2, 3), [3.0, 4.0, 3.0]);
/// ```
pub fn seasonal_naive(past: &[f64], period: usize, horizon: usize) -> Vec<f64> {
    let season = &past[past.len().saturating_sub(period.max(1))..];
    (0..horizon).map(|k| season.get(k % season.len().max(1)).copied().unwrap_or(0.0)).collect()
}

/// Exponential smoothing with a trend and a season that are added (Holt 1957, Winters 1960).
///
/// ```
/// use vorpal_zoo::forecast::HoltWinters;
/// let series: Vec<f64> = (0..40).map(|t| 0.5 * t as f64 + [3.0, -1.0, 0.0, -2.0][t % 4]).collect();
/// let model = HoltWinters::fit(&series, 4)?;
/// let next = model.forecast(&series, 2)?;
/// assert!((next[0] - 23.0).abs() < 0.05 && (next[1] - 19.5).abs() < 0.05);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoltWinters {
    /// How fast the level follows, 0 to 1.
    pub alpha: f64,
    /// How fast the trend follows, 0 to 1.
    pub beta: f64,
    /// How fast the season follows, 0 to 1.
    pub gamma: f64,
    /// Length of a season.
    pub period: usize,
}

impl HoltWinters {
    /// The rates with the smallest squares of errors one step ahead: the best of a grid, which is then made finer around
    /// it.
    ///
    /// # Errors
    /// [`Error::Format`] for less than two seasons.
    pub fn fit(series: &[f64], period: usize) -> Result<HoltWinters> {
        let mut best = HoltWinters { alpha: 0.5, beta: 0.1, gamma: 0.3, period };
        let mut least = best.run(series)?.1;
        let mut reach = 0.4;
        for _ in 0..6 {
            let middle = best;
            let near = |rate: f64| {
                (-2..=2).map(move |k| (rate + f64::from(k) * reach / 2.0).clamp(1e-4, 1.0 - 1e-4))
            };
            for alpha in near(middle.alpha) {
                for beta in near(middle.beta) {
                    for gamma in near(middle.gamma) {
                        let model = HoltWinters { alpha, beta, gamma, period };
                        let squares = model.run(series)?.1;
                        if squares < least {
                            (best, least) = (model, squares);
                        }
                    }
                }
            }
            reach /= 2.0;
        }
        Ok(best)
    }

    /// The numbers that follow `past`.
    ///
    /// # Errors
    /// [`Error::Format`] for less than two seasons.
    pub fn forecast(&self, past: &[f64], horizon: usize) -> Result<Vec<f64>> {
        let (State { level, trend, season }, _) = self.run(past)?;
        let at = |k: usize| level + (k + 1) as f64 * trend + season[(past.len() + k) % self.period];
        Ok((0..horizon).map(at).collect())
    }

    /// The state behind a series, and the sum of the squares of its errors one step ahead.
    fn run(&self, series: &[f64]) -> Result<(State, f64)> {
        let period = self.period;
        if period == 0 || series.len() < 2 * period {
            let message = format!("{} numbers are less than two seasons of {period}", series.len());
            return Err(Error::format("Holt-Winters", message));
        }
        let mean = |from: usize| series[from..from + period].iter().sum::<f64>() / period as f64;
        let trend = (mean(period) - mean(0)) / period as f64;
        // The line through the first two seasons; what the first one is off it is the season.
        let middle = (period as f64 - 1.0) / 2.0;
        let line = |t: usize| mean(0) + (t as f64 - middle) * trend;
        let season = (0..period).map(|t| series[t] - line(t)).collect();
        let mut state = State { level: line(period - 1), trend, season };
        let mut squares = 0.0;
        for (t, &value) in series.iter().enumerate().skip(period) {
            let State { level, trend, season } = &mut state;
            let seasonal = &mut season[t % period];
            let expected = *level + *trend + *seasonal;
            squares += (value - expected) * (value - expected);
            let before = *level;
            *level = self.alpha * (value - *seasonal) + (1.0 - self.alpha) * (before + *trend);
            *trend = self.beta * (*level - before) + (1.0 - self.beta) * *trend;
            *seasonal = self.gamma * (value - *level) + (1.0 - self.gamma) * *seasonal;
        }
        Ok((state, squares))
    }
}

/// What exponential smoothing knows at a time.
struct State {
    level: f64,
    trend: f64,
    season: Vec<f64>,
}
