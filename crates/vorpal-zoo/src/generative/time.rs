//! How networks are told the time.

use vorpal_nn::Device;
use vorpal_nn::{DType, Linear, Module, Tensor};

/// Times from 0 to 1 as numbers to compute with: cosines and sines of 1000 · t at falling frequencies (Vaswani et al.
/// 2017, as Ho et al. 2020 use them), then two layers with SiLU between.
#[derive(Clone, Debug, Module)]
pub(super) struct TimeEmbedding {
    fc1: Linear,
    fc2: Linear,
    features: usize,
}

impl TimeEmbedding {
    /// From an even number of `features` to `width` numbers.
    pub fn new(features: usize, width: usize, device: &Device) -> TimeEmbedding {
        TimeEmbedding {
            fc1: Linear::new(features, width, device),
            fc2: Linear::new(width, width, device),
            features,
        }
    }

    /// `[n, width]` of times `[n]`.
    #[track_caller]
    pub fn forward(&self, times: &Tensor) -> Tensor {
        self.fc2.forward(&self.fc1.forward(&time_features(times, self.features)).silu())
    }
}

/// Cosines and sines `[n, features]` of times `[n]`.
#[track_caller]
pub(super) fn time_features(times: &Tensor, features: usize) -> Tensor {
    let Ok(device) = times.device() else { return times.clone() };
    let half = features / 2;
    let falling = (Tensor::arange(half, DType::F32, &device) * (-10_000f64.ln() / half as f64)).exp();
    let angles = times.unsqueeze(-1) * 1000.0 * falling;
    Tensor::concat(&[&angles.cos(), &angles.sin()], -1)
}
