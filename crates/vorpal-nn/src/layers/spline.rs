//! Trained functions of one number.

use vorpal_autodiff::{At, Device, Tensor};

use super::{Layer, wrong};
use crate::Module;
use crate::init::{constant, normal, uniform};

/// B-splines (de Boor 1978) on equal intervals, which go on outside by as many as the degree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplineGrid {
    /// Where the intervals begin, −1 by default.
    pub low: f64,
    /// Where they end, 1 by default.
    pub high: f64,
    /// Their number, 5 by default.
    pub intervals: usize,
    /// Degree of the polynomials, 3 by default.
    pub degree: usize,
}

impl Default for SplineGrid {
    fn default() -> SplineGrid {
        SplineGrid { low: -1.0, high: 1.0, intervals: 5, degree: 3 }
    }
}

impl SplineGrid {
    /// Number of basis functions.
    pub fn functions(&self) -> usize {
        self.intervals + self.degree
    }

    /// The basis functions of every element, along a new last axis. Between `low` and `high` they add up to 1.
    ///
    /// ```
    /// use vorpal_nn::{Device, SplineGrid, Tensor};
    /// let x = Tensor::from_slice(&[-0.9f32, 0.2], [2], &Device::cpu());
    /// let bases = SplineGrid::default().bases(&x);
    /// assert_eq!(bases.shape(), [2, 8].into());
    /// let sums = bases.sum(-1).to_vec::<f32>()?;
    /// assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    #[track_caller]
    pub fn bases(&self, x: &Tensor) -> Tensor {
        let at = At::caller();
        let Ok(device) = x.device() else { return x.clone() };
        if self.intervals == 0 || self.low.partial_cmp(&self.high).is_none_or(std::cmp::Ordering::is_ge) {
            let message = format!("{} intervals from {} to {}", self.intervals, self.low, self.high);
            return wrong::argument("spline", message, at);
        }
        // In widths of intervals from the first knot on; knot k is at k.
        let width = (self.high - self.low) / self.intervals as f64;
        let place = ((x - self.low) * (1.0 / width) + self.degree as f64).unsqueeze(-1);
        let count = self.intervals + 2 * self.degree;
        let knots = Tensor::arange(count, x.dtype(), &device);
        let inside = place.ge(&knots).logical_and(place.lt(&knots + 1.0));
        let mut bases = inside.cast(x.dtype());
        for degree in 1..=self.degree {
            let left = count - degree;
            let knots = knots.narrow(0, 0, left);
            let rising = (&place - &knots) * bases.narrow(-1, 0, left);
            let falling = ((&knots + (degree as f64 + 1.0)) - &place) * bases.narrow(-1, 1, left);
            bases = (rising + falling) * (1.0 / degree as f64);
        }
        bases
    }
}

/// An activation with a trained shape: `base` · silu(x) + Σ cₖ Bₖ(x), with the basis functions of a [`SplineGrid`] and
/// coefficients for all or for each place of the last axis.
///
/// ```
/// use vorpal_nn::{Device, SplineActivation, SplineGrid, Tensor};
/// let activation = SplineActivation::new(3, SplineGrid::default(), &Device::cpu());
/// let x = Tensor::from_slice(&[0.5f32; 6], [2, 3], &Device::cpu());
/// assert_eq!(activation.forward(&x).shape(), [2, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct SplineActivation {
    /// Factor of silu(x), `[features]`, ones at first.
    pub base: Tensor,
    /// Coefficients, `[features, functions]`, zeros at first.
    pub coefficients: Tensor,
    #[module(skip)]
    grid: SplineGrid,
}

impl SplineActivation {
    /// For a last axis of `features`, or for any with 1; a silu at first.
    pub fn new(features: usize, grid: SplineGrid, device: &Device) -> SplineActivation {
        SplineActivation {
            base: constant([features], 1.0, device),
            coefficients: constant([features, grid.functions()], 0.0, device),
            grid,
        }
    }

    /// The function applied to every element.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (at, features) = (At::caller(), self.base.shape().numel());
        if features != 1 && x.shape().last() != Some(&features) {
            return wrong::shape("spline_activation", format!("needs […, {features}]"), &[x], at);
        }
        &self.base * x.silu() + (self.grid.bases(x) * &self.coefficients).sum(-1)
    }
}

/// A layer of Kolmogorov–Arnold networks (Liu et al. 2024): every output is the sum of a trained function of each input,
/// made as in [`SplineActivation`]: `[…, inputs]` to `[…, outputs]`.
///
/// ```
/// use vorpal_nn::{Device, KanLinear, SplineGrid, Tensor};
/// let layer = KanLinear::new(3, 2, SplineGrid::default(), &Device::cpu());
/// let x = Tensor::from_slice(&[0.5f32; 12], [4, 3], &Device::cpu());
/// assert_eq!(layer.forward(&x).shape(), [4, 2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct KanLinear {
    /// Weights of silu(x), `[outputs, inputs]`.
    pub base_weight: Tensor,
    /// Coefficients, `[outputs, inputs, functions]`.
    pub spline_weight: Tensor,
    #[module(skip)]
    grid: SplineGrid,
}

impl KanLinear {
    /// Weights uniform in ±1∕√inputs, and coefficients normal with deviation 0.1 ∕ intervals.
    pub fn new(inputs: usize, outputs: usize, grid: SplineGrid, device: &Device) -> KanLinear {
        let noise = 0.1 / grid.intervals.max(1) as f64;
        KanLinear {
            base_weight: uniform([outputs, inputs], 1.0 / (inputs.max(1) as f64).sqrt(), device),
            spline_weight: normal([outputs, inputs, grid.functions()], noise, device),
            grid,
        }
    }

    /// The layer applied to the last axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let at = At::caller();
        let inputs = self.base_weight.shape().last().copied().unwrap_or(0);
        if x.shape().last() != Some(&inputs) {
            return wrong::shape("kan_linear", format!("needs […, {inputs}]"), &[x], at);
        }
        let bases = self.grid.bases(x).flatten(-2, -1);
        x.silu().matmul(&self.base_weight.t()) + bases.matmul(&self.spline_weight.flatten(1, 2).t())
    }
}

layers!(SplineActivation, KanLinear);
