//! A network at random, of which only the readout is learned.

use vorpal_nn::{DType, Device, Frozen, Module, Tensor, init};

use crate::linear::LinearRegression;

/// Sizes of an [`Esn`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EsnOptions {
    /// Units of the reservoir.
    pub units: usize,
    /// Units that each unit hears, from 1 to all.
    pub connections: usize,
    /// Spectral radius of the reservoir: how slowly it forgets. Below 1 for the echo state property.
    pub spectral_radius: f64,
    /// Weights of the input, and constants, are uniform in ± this.
    pub input_scale: f64,
    /// How much of a unit is new in each step, above 0 and up to 1.
    pub leak: f64,
}

/// Squarings of a matrix in [`spectral_radius`].
const SQUARINGS: usize = 16;

/// The largest magnitude of the eigenvalues of a square matrix, as a scalar, by Gelfand's formula: ‖Aⁿ‖^(1 ∕ n), with n =
/// 2¹⁶ by repeated squaring and Frobenius' norm. Rounding aside it is never too small, and too large by a factor of at most
/// (κ √size)^(1 ∕ n), where κ is the condition number of the eigenvectors: 1.0003 for a size of 100 and a κ of a million. Powers
/// that vanish give 0.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::forecast::spectral_radius;
/// // A quarter turn, and twice as long: eigenvalues 2 i and −2 i.
/// let matrix = Tensor::from_slice(&[0.0f32, -2.0, 2.0, 0.0], [2, 2], &Device::cpu());
/// assert!((spectral_radius(&matrix).item::<f32>()? - 2.0).abs() < 1e-4);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[track_caller]
pub fn spectral_radius(matrix: &Tensor) -> Tensor {
    let (mut power, mut norms) = (matrix.clone(), Vec::new());
    for _ in 0..=SQUARINGS {
        let norm = power.norm(2.0, [0, 1]);
        let unit = &power / norm.clamp_min(1e-30);
        power = unit.matmul(&unit);
        norms.push(norm);
    }
    // ρ(A) is ‖A‖ times the root of ρ of the square of A ∕ ‖A‖; of the last square its norm is taken.
    norms.into_iter().rev().reduce(|inner, norm| norm * inner.sqrt()).unwrap_or_else(|| matrix.clone())
}

/// An echo state network (Jaeger 2001) of leaky integrators (Jaeger et al. 2007) for series of numbers: units that hear the
/// input and a few of one another, by weights at random that stay as they are, and a linear readout of the input and all units,
/// which alone is trained: by ridge regression in closed form ([`fit`](Esn::fit)), or by gradients as any model.
///
/// x(t) = (1 − leak) x(t − 1) + leak · tanh(W x(t − 1) + input · u(t) + bias), where W is sparse and scaled to a
/// [`spectral_radius`]. Below 1 it is what makes a reservoir forget where it began, as a rule and not in all cases: the echo state
/// property.
///
/// Series `[batch, length]` to forecasts of the number after each, `[batch, length]`; units + 2 parameters, and (units + 2) ·
/// units numbers that are kept and saved, but not trained. `vorpal train esn` forecasts the sunspots of 59 years, each from all
/// before it (102 parameters; goal: at most 0.7 of the error of the last year's number).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::forecast::{Esn, EsnOptions};
/// let device = Device::cpu();
/// let options = EsnOptions { units: 20, connections: 4, spectral_radius: 0.8, input_scale: 0.5, leak: 1.0 };
/// let mut model = Esn::new(options, &device);
/// let wave: Vec<f32> = (0..60).map(|t| (0.5 * t as f32).sin()).collect();
/// let wave = Tensor::from_slice(&wave, [60], &device);
/// model.fit(&wave, 20, 1e-3);
/// let next = model.forward(&wave.unsqueeze(0)).narrow(1, 59, 1).item::<f32>()?;
/// assert!((next - 30f32.sin()).abs() < 0.05);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Esn {
    /// Weights of the input, `[units]`.
    input: Frozen<Tensor>,
    /// Constants of the units, `[units]`.
    bias: Frozen<Tensor>,
    /// `[units, units]`: a row for each unit that hears.
    recurrent: Frozen<Tensor>,
    /// Of the input and the units, `[units + 1]`.
    readout: LinearRegression,
    leak: f64,
}

impl Esn {
    /// A random reservoir, and a readout of 0. Each unit hears at least one other, so that there is a loop and the reservoir can
    /// be scaled.
    pub fn new(options: EsnOptions, device: &Device) -> Esn {
        let EsnOptions { units, connections, spectral_radius: radius, input_scale, leak } = options;
        let heard = connections.clamp(1, units.max(1));
        let lots = Tensor::rand([units, units], DType::F32, device);
        let least = lots.topk(heard, -1, true).0.narrow(-1, heard - 1, 1);
        let drawn = lots.ge(&least).cast(DType::F32) * Tensor::randn([units, units], DType::F32, device);
        let scale = radius / spectral_radius(&drawn);
        Esn {
            input: Frozen(init::uniform([units], input_scale, device)),
            bias: Frozen(init::uniform([units], input_scale, device)),
            recurrent: Frozen(drawn * scale),
            readout: LinearRegression::new(units + 1, device),
            leak,
        }
    }

    /// States `[batch, length, units]` behind each of the numbers `[batch, length]`, from `start`, `[batch, units]`, or from
    /// rest.
    #[track_caller]
    pub fn states(&self, inputs: &Tensor, start: Option<&Tensor>) -> Tensor {
        let (&[batch, length], Ok(device)) = (inputs.shape().dims(), inputs.device()) else {
            return inputs.clone();
        };
        let units = self.bias.shape().numel();
        let driven = inputs.unsqueeze(-1) * &*self.input + &*self.bias;
        let recurrent = self.recurrent.t();
        let rest = || Tensor::zeros([batch, units], DType::F32, &device);
        let mut state = start.cloned().unwrap_or_else(rest);
        let mut states = Vec::with_capacity(length);
        for t in 0..length {
            let heard = driven.narrow(1, t, 1).squeeze(1) + state.matmul(&recurrent);
            state = &state * (1.0 - self.leak) + heard.tanh() * self.leak;
            states.push(state.clone());
        }
        Tensor::stack(&states.iter().collect::<Vec<_>>(), 1)
    }

    /// What the readout sees, `[batch, length, units + 1]`: numbers `[batch, length]` and the states behind them, from rest.
    #[track_caller]
    pub fn features(&self, inputs: &Tensor) -> Tensor {
        Tensor::concat(&[&inputs.unsqueeze(-1), &self.states(inputs, None)], -1)
    }

    /// Puts the readout of ridge regression in the place of the one before: with the least squares of errors of each number of a
    /// series `[length]` from those before it, plus `alpha` times the squares of the weights. The first `washout` states,
    /// which still know that the reservoir was at rest, are left out. Gives the mean of the squares of the errors that are left.
    ///
    /// Carries [`Error::Shape`](vorpal_nn::Error::Shape) when the series is not longer than the washout.
    #[track_caller]
    pub fn fit(&mut self, series: &Tensor, washout: usize, alpha: f64) -> Tensor {
        let seen = series.shape().numel().saturating_sub(1);
        let rows = seen.saturating_sub(washout);
        let features = self.features(&series.narrow(0, 0, seen).unsqueeze(0)).squeeze(0);
        let features = features.narrow(0, washout, rows);
        let wanted = series.slice(0, 1..).narrow(0, washout, rows);
        self.readout = LinearRegression::ridge(&features, &wanted, alpha);
        self.readout.forward(&features).mse(&wanted)
    }

    /// Forecasts `[batch, length]` of the number after each of `[batch, length]`, from rest.
    #[track_caller]
    pub fn forward(&self, inputs: &Tensor) -> Tensor {
        self.readout.forward(&self.features(inputs))
    }
}
