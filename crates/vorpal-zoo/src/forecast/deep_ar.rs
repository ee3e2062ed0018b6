//! DeepAR: a recurrent network that answers with a distribution.

use std::f64::consts::{PI, TAU};

use vorpal_nn::{Device, Linear, Lstm, LstmState, Module, RecurrentOptions, Tensor};

/// How numbers lie around what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likelihood {
    /// A normal distribution: mean and deviation.
    Gaussian,
    /// Student's distribution, which knows outliers: place, scale and degrees of freedom above 2.
    StudentT,
}

impl Likelihood {
    /// How many parameters it has.
    pub fn parameters(self) -> usize {
        match self {
            Likelihood::Gaussian => 2,
            Likelihood::StudentT => 3,
        }
    }

    /// Minus the logarithm of the density of `values`, element by element, for parameters `[…, parameters]` as
    /// [`DeepAr::forward`] gives them.
    ///
    /// ```
    /// use vorpal_nn::{Device, Tensor};
    /// use vorpal_zoo::forecast::Likelihood;
    /// let device = Device::cpu();
    /// let normal = Tensor::from_slice(&[0.0f32, 1.0], [1, 2], &device);
    /// let nll = Likelihood::Gaussian.nll(&normal, &Tensor::from_slice(&[1.0f32], [1], &device));
    /// assert!((nll.to_vec::<f32>()?[0] - 1.418_938_5).abs() < 1e-5);
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    #[track_caller]
    pub fn nll(self, parameters: &Tensor, values: &Tensor) -> Tensor {
        let part = |k: usize| parameters.narrow(-1, k, 1).squeeze(-1);
        let scale = part(1);
        let off = (values - part(0)) / &scale;
        match self {
            Likelihood::Gaussian => off.square() * 0.5 + scale.log() + 0.5 * TAU.ln(),
            Likelihood::StudentT => {
                let df = part(2);
                let half = (&df + 1.0) * 0.5;
                let constant = (&df * 0.5).lgamma() - half.lgamma() + (&df * PI).log() * 0.5 + scale.log();
                half * (off.square() / df).log1p() + constant
            }
        }
    }

    /// A number from each distribution.
    #[track_caller]
    fn draw(self, parameters: &Tensor) -> Tensor {
        let part = |k: usize| parameters.narrow(-1, k, 1).squeeze(-1);
        let (place, scale) = (part(0), part(1));
        let device = match place.device() {
            Ok(device) => device,
            Err(error) => return Tensor::error(error),
        };
        let normal = Tensor::randn(place.shape(), place.dtype(), &device);
        match self {
            Likelihood::Gaussian => place + scale * normal,
            Likelihood::StudentT => {
                let half = part(2) * 0.5;
                place + scale * normal / (half.gamma() / half).sqrt()
            }
        }
    }
}

/// Sizes of a [`DeepAr`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeepArOptions {
    /// Numbers that are known of every time, such as the season.
    pub covariates: usize,
    /// Width of the recurrent layers.
    pub hidden: usize,
    /// Recurrent layers.
    pub layers: usize,
    /// Dropout between them.
    pub dropout: f64,
    /// How numbers lie around what is expected.
    pub likelihood: Likelihood,
    /// How many numbers of a window its scale is taken from.
    pub context: usize,
}

/// DeepAR (Salinas, Flunkert, Gasthaus & Januschowski 2020): an LSTM reads the number before and what is known of each time,
/// and answers with the parameters of a distribution of the number itself. A forecast is many paths: each draws a number and
/// reads it in the next step, so that quantiles of paths are intervals. Numbers are divided by a scale of their window, one
/// plus the mean of their sizes.
///
/// Series `[batch, times]` and what is known of each time `[batch, times, covariates]` to `[batch, times − 1, parameters]`.
/// `vorpal train deep_ar` (2,859 parameters) forecasts monthly temperatures of the sea twelve months ahead, with a CRPS of at
/// most 0.65 of the error of last year's numbers, and says how much of the truth intervals of 80 and 90 % cover.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::forecast::{DeepAr, DeepArOptions, Likelihood};
/// let options = DeepArOptions {
///     covariates: 1, hidden: 8, layers: 1, dropout: 0.0, likelihood: Likelihood::StudentT, context: 6,
/// };
/// let model = DeepAr::new(options, &Device::cpu());
/// let past = Tensor::zeros([2, 6], DType::F32, &Device::cpu());
/// // Of six times that are over and three that come.
/// let known = Tensor::zeros([2, 9, 1], DType::F32, &Device::cpu());
/// assert_eq!(model.sample(&past, &known, 10).shape(), [2, 10, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct DeepAr {
    lstm: Lstm,
    out: Linear,
    #[module(skip)]
    options: DeepArOptions,
}

impl DeepAr {
    /// Random weights.
    pub fn new(options: DeepArOptions, device: &Device) -> DeepAr {
        let layers = RecurrentOptions {
            layers: options.layers,
            batch_first: true,
            dropout: options.dropout,
            ..RecurrentOptions::default()
        };
        DeepAr {
            lstm: Lstm::with_options(1 + options.covariates, options.hidden, layers, device),
            out: Linear::new(options.hidden, options.likelihood.parameters(), device),
            options,
        }
    }

    /// Parameters `[batch, times − 1, parameters]` of the distribution of every number but the first, for series `[batch,
    /// times]` and what is known, `[batch, times, covariates]`; each has seen the numbers before.
    #[track_caller]
    pub fn forward(&self, series: &Tensor, known: &Tensor) -> Tensor {
        let times = known.shape().dims().get(1).copied().unwrap_or(0);
        let scale = self.scale(series);
        let before = series.narrow(1, 0, times.saturating_sub(1));
        self.step(&before, &known.slice(1, 1..), &scale, None).0
    }

    /// The mean of minus the logarithm of the density of all numbers but the first.
    #[track_caller]
    pub fn loss(&self, series: &Tensor, known: &Tensor) -> Tensor {
        self.options.likelihood.nll(&self.forward(series, known), &series.slice(1, 1..)).mean_all()
    }

    /// Paths `[batch, samples, horizon]` that may follow series `[batch, times]`, where `[batch, times + horizon, covariates]`
    /// is known.
    #[track_caller]
    pub fn sample(&self, past: &Tensor, known: &Tensor, samples: usize) -> Tensor {
        let (past_shape, known_shape) = (past.shape(), known.shape());
        let (&[batch, times], &[_, all, _]) = (past_shape.dims(), known_shape.dims()) else {
            return self.forward(past, known);
        };
        let scale = self.scale(past);
        let (parameters, state) = self.step(past, &known.narrow(1, 1, times), &scale, None);
        let many = |x: &Tensor| x.repeat_interleave(samples, 0);
        let mut state: Vec<LstmState> = state.iter().map(|(h, c)| (many(h), many(c))).collect();
        let (scale, known) = (many(&scale), many(known));
        let mut parameters = many(&parameters.narrow(1, times - 1, 1));
        let mut path = Vec::new();
        for time in times..all {
            if time > times {
                let last = path.last().cloned().unwrap_or_else(|| scale.clone());
                (parameters, state) = self.step(&last, &known.narrow(1, time, 1), &scale, Some(&state));
            }
            path.push(self.options.likelihood.draw(&parameters));
        }
        Tensor::concat(&path.iter().collect::<Vec<_>>(), 1).reshape([
            batch,
            samples,
            all.saturating_sub(times),
        ])
    }

    /// `[batch, 1]`: one plus the mean size of the first numbers.
    #[track_caller]
    fn scale(&self, series: &Tensor) -> Tensor {
        let times = series.shape().dims().last().copied().unwrap_or(0);
        series.narrow(-1, 0, self.options.context.clamp(1, times.max(1))).abs().mean_keepdim(-1) + 1.0
    }

    /// Parameters of the distributions behind numbers `[batch, times]`, and the state after them.
    #[track_caller]
    fn step(
        &self,
        before: &Tensor,
        known: &Tensor,
        scale: &Tensor,
        state: Option<&[LstmState]>,
    ) -> (Tensor, Vec<LstmState>) {
        let inputs = Tensor::concat(&[&(before / scale).unsqueeze(-1), known], -1);
        let (hidden, state) = self.lstm.forward(&inputs, state);
        let raw = self.out.forward(&hidden);
        let part = |k: usize| raw.narrow(-1, k, 1);
        let scale = scale.unsqueeze(-1);
        let (place, deviation) = (part(0) * &scale, (part(1).softplus() + 1e-3) * &scale);
        let parameters = match self.options.likelihood {
            Likelihood::Gaussian => Tensor::concat(&[&place, &deviation], -1),
            Likelihood::StudentT => Tensor::concat(&[&place, &deviation, &(part(2).softplus() + 2.0)], -1),
        };
        (parameters, state)
    }
}

/// What is known of times from `from`, `count` of them, when a season has `period`: cosine and sine of its place, `[count,
/// 2]` row by row.
///
/// ```
/// assert_eq!(vorpal_zoo::forecast::season(4, 2, 4)[0], 1.0);
/// ```
pub fn season(from: usize, count: usize, period: usize) -> Vec<f32> {
    let angle = |t: usize| TAU * (t % period.max(1)) as f64 / period.max(1) as f64;
    (from..from + count).flat_map(|t| [angle(t).cos() as f32, angle(t).sin() as f32]).collect()
}
