//! Densities in the plane that are known exactly.

use std::f64::consts::{PI, TAU};

use vorpal_nn::{DType, Device, Tensor};

/// A mixture of round Gaussians in the plane, all of one weight and one deviation: samples for models of densities, and
/// the density itself to hold them to.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::data::Mixture;
/// let device = Device::cpu();
/// let one = Mixture::ring(1, 0.0, 1.0);
/// let x = one.sample(3, &device);
/// let expected = -(2.0 * std::f32::consts::PI).ln() - 0.5 * x.square().sum(-1);
/// assert!((one.log_density(&x) - expected).abs().max(0).item::<f32>()? < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    centres: Vec<[f32; 2]>,
    deviation: f64,
}

/// Gaussians along each of the two half circles.
const ALONG: usize = 100;

impl Mixture {
    /// `count` Gaussians, evenly on a circle around the origin.
    pub fn ring(count: usize, radius: f64, deviation: f64) -> Mixture {
        let place = |k: usize| {
            let (sin, cos) = (TAU * k as f64 / count as f64).sin_cos();
            [(radius * cos) as f32, (radius * sin) as f32]
        };
        Mixture { centres: (0..count).map(place).collect(), deviation }
    }

    /// Two half circles of radius 1 that reach into one another, as scikit-learn's `make_moons`, around the origin: a
    /// hundred Gaussians along each.
    pub fn moons(deviation: f64) -> Mixture {
        let place = |k: usize| {
            let (sin, cos) = (PI * ((k % ALONG) as f64 + 0.5) / ALONG as f64).sin_cos();
            let [x, y] = if k < ALONG { [cos, sin] } else { [1.0 - cos, 0.5 - sin] };
            [(x - 0.5) as f32, (y - 0.25) as f32]
        };
        Mixture { centres: (0..2 * ALONG).map(place).collect(), deviation }
    }

    /// The same with independent normal noise of this deviation added to every point.
    #[must_use]
    pub fn with_noise(mut self, deviation: f64) -> Mixture {
        self.deviation = self.deviation.hypot(deviation);
        self
    }

    fn places(&self, device: &Device) -> Tensor {
        Tensor::from_slice(self.centres.as_flattened(), [self.centres.len(), 2], device)
    }

    /// Points `[n, 2]`, drawn from the device's stream of random keys.
    pub fn sample(&self, n: usize, device: &Device) -> Tensor {
        let which = Tensor::randint([n], 0, self.centres.len() as i32, DType::I32, device);
        let noise = Tensor::randn([n, 2], DType::F32, device);
        self.places(device).index_select(0, &which) + noise * self.deviation
    }

    /// Logarithm of the density `[n]` at points `[n, 2]`.
    #[track_caller]
    pub fn log_density(&self, points: &Tensor) -> Tensor {
        let Ok(device) = points.device() else { return points.clone() };
        let variance = self.deviation * self.deviation;
        let squares = (points.unsqueeze(1) - self.places(&device)).square().sum(-1);
        let size = (TAU * variance * self.centres.len() as f64).ln();
        (squares * (-0.5 / variance)).logsumexp(-1) - size
    }
}
