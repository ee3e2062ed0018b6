//! Normalisations.

use vorpal_autodiff::{DType, Device, Tensor};

use crate::init::constant;
use crate::{Module, State, Training};

/// Layer normalisation over the last axis (Ba, Kiros, Hinton 2016).
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// `[features]`, ones at first.
    pub weight: Tensor,
    /// `[features]`, zeros at first.
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// For a last axis of `features`, with PyTorch's `eps` of 1e-5.
    pub fn new(features: usize, device: &Device) -> LayerNorm {
        LayerNorm {
            weight: constant([features], 1.0, device),
            bias: constant([features], 0.0, device),
            eps: 1e-5,
        }
    }

    /// The layer applied to the last axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(Some(&self.weight), Some(&self.bias), self.eps)
    }
}

/// Root mean square normalisation over the last axis (Zhang, Sennrich 2019).
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// `[features]`, ones at first.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// For a last axis of `features`, with PyTorch's `eps`, the distance of `f32` numbers at 1.
    pub fn new(features: usize, device: &Device) -> RmsNorm {
        RmsNorm { weight: constant([features], 1.0, device), eps: f64::from(f32::EPSILON) }
    }

    /// The layer applied to the last axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.rms_norm(Some(&self.weight), self.eps)
    }
}

/// Normalisation of groups of channels of `[batch, channels, …]` (Wu, He 2018); with one channel a group it is instance
/// normalisation.
///
/// ```
/// use vorpal_nn::{DType, Device, GroupNorm, Tensor};
/// let norm = GroupNorm::new(2, 4, &Device::cpu());
/// let x = Tensor::randn([3, 4, 5], DType::F32, &Device::cpu());
/// let mean = norm.forward(&x).reshape([3, 2, 10]).mean(-1);
/// assert!(mean.to_vec::<f32>()?.iter().all(|m| m.abs() < 1e-6));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct GroupNorm {
    /// `[channels]`, ones at first.
    pub weight: Tensor,
    /// `[channels]`, zeros at first.
    pub bias: Tensor,
    /// Number of groups, which divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// For `channels` in `groups`, with PyTorch's `eps` of 1e-5.
    pub fn new(groups: usize, channels: usize, device: &Device) -> GroupNorm {
        GroupNorm {
            weight: constant([channels], 1.0, device),
            bias: constant([channels], 0.0, device),
            groups,
            eps: 1e-5,
        }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, Some(&self.weight), Some(&self.bias), self.eps)
    }
}

/// Batch normalisation of images `[batch, channels, height, width]` (Ioffe & Szegedy 2015). While training, with
/// mean and variance of the batch, of which running means are kept; in evaluation with the running ones.
///
/// ```
/// use vorpal_nn::{BatchNorm2d, DType, Device, Module, Tensor};
/// let norm = BatchNorm2d::new(3, &Device::cpu());
/// norm.train(false);
/// let x = Tensor::ones([2, 3, 4, 4], DType::F32, &Device::cpu());
/// assert_eq!(norm.forward(&x).shape(), [2, 3, 4, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct BatchNorm2d {
    /// `[channels]`, ones at first.
    pub weight: Tensor,
    /// `[channels]`, zeros at first.
    pub bias: Tensor,
    /// Running mean, `[channels]`, zeros at first.
    pub running_mean: State,
    /// Running variance without bias, `[channels]`, ones at first.
    pub running_var: State,
    /// Share of a batch in the running means, 0.1 as in PyTorch.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
    training: Training,
}

impl BatchNorm2d {
    /// For images of `channels`, with PyTorch's `eps` of 1e-5 and momentum of 0.1.
    pub fn new(channels: usize, device: &Device) -> BatchNorm2d {
        BatchNorm2d {
            weight: constant([channels], 1.0, device),
            bias: constant([channels], 0.0, device),
            running_mean: State::new(constant([channels], 0.0, device)),
            running_var: State::new(constant([channels], 1.0, device)),
            momentum: 0.1,
            eps: 1e-5,
            training: Training::default(),
        }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        if !self.training.is_on() {
            return x.batch_norm(&self.running_mean.get(), &self.running_var.get(), weight, bias, self.eps);
        }
        let axes = [0, 2, 3];
        let (mean, variance) = (x.mean(axes), x.var(axes, 0));
        let out = x.batch_norm(&mean, &variance, weight, bias, self.eps);
        if out.check().is_ok() {
            let shape = x.shape();
            let count = (shape.numel() / shape[1].max(1)) as f64;
            self.note(&self.running_mean, &mean, 1.0);
            self.note(&self.running_var, &variance, count / (count - 1.0).max(1.0));
        }
        out
    }

    /// Moves a running mean towards `scale` times what a batch shows.
    fn note(&self, running: &State, batch: &Tensor, scale: f64) {
        let batch = batch.stop_gradient().cast(DType::F32);
        running.set(running.get() * (1.0 - self.momentum) + batch * (self.momentum * scale));
    }
}
