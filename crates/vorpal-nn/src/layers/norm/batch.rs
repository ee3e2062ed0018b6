//! Normalisations of channels with running statistics.

use vorpal_autodiff::{At, Device, Tensor};

use super::super::{Layer, wrong};
use crate::init::constant;
use crate::{Module, State, Training};

/// All axes but the channels.
fn beside_channels(x: &Tensor) -> Vec<isize> {
    (0..x.rank() as isize).filter(|&axis| axis != 1).collect()
}

/// Moves a running statistic towards `batch` by a share.
fn note(running: &State, batch: Tensor, share: &Share) {
    let old = running.get();
    let batch = batch.stop_gradient().cast(old.dtype());
    running.set(match share {
        Share::Fixed(share) => old * (1.0 - share) + batch * *share,
        Share::Counted(count) => &old + (batch - &old) / count.cast(old.dtype()),
    });
}

/// Share of a batch in running statistics.
enum Share {
    Fixed(f64),
    /// One ∕ number of batches.
    Counted(Tensor),
}

impl Share {
    /// The share of the batch at hand, which is counted.
    fn next(momentum: Option<f64>, count: Option<&State>) -> Share {
        match (momentum, count) {
            (None, Some(count)) => {
                count.set(count.get() + 1);
                Share::Counted(count.get())
            }
            (momentum, _) => Share::Fixed(momentum.unwrap_or(0.1)),
        }
    }
}

/// Batch normalisation of `[batch, channels, …]` (Ioffe & Szegedy 2015), as [`BatchNorm1d`], [`BatchNorm2d`] and
/// [`BatchNorm3d`]. While training, with mean and variance of the batch, of which running means are kept; in evaluation
/// with the running ones.
///
/// ```
/// use vorpal_nn::{BatchNorm2d, DType, Device, Module, Tensor};
/// let norm = BatchNorm2d::new(3, &Device::cpu());
/// norm.train(false);
/// let x = Tensor::ones([2, 3, 4, 4], DType::F32, &Device::cpu());
/// assert_eq!(norm.forward(&x).shape(), [2, 3, 4, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct BatchNorm<const N: usize> {
    /// `[channels]`, ones at first.
    pub weight: Option<Tensor>,
    /// `[channels]`, zeros at first.
    pub bias: Option<Tensor>,
    /// Running mean, `[channels]`, zeros at first. Without it batches are normalised by themselves in evaluation, too.
    pub running_mean: Option<State>,
    /// Running variance without bias, `[channels]`, ones at first.
    pub running_var: Option<State>,
    /// Batches seen, a whole number; only kept where `momentum` is `None`, which needs it.
    pub num_batches_tracked: Option<State>,
    /// Share of a batch in the running means, 0.1 as in PyTorch; `None` for the mean of all batches.
    pub momentum: Option<f64>,
    /// Added to the variance.
    pub eps: f64,
    training: Training,
}

/// Batch normalisation of rows `[batch, channels]` or signals `[batch, channels, w]`.
pub type BatchNorm1d = BatchNorm<1>;
/// Batch normalisation of images, `[batch, channels, h, w]`.
pub type BatchNorm2d = BatchNorm<2>;
/// Batch normalisation of volumes, `[batch, channels, d, h, w]`.
pub type BatchNorm3d = BatchNorm<3>;

impl<const N: usize> BatchNorm<N> {
    /// For `channels`, with PyTorch's `eps` of 1e-5 and momentum of 0.1.
    pub fn new(channels: usize, device: &Device) -> BatchNorm<N> {
        BatchNorm {
            weight: Some(constant([channels], 1.0, device)),
            bias: Some(constant([channels], 0.0, device)),
            running_mean: Some(State::new(constant([channels], 0.0, device))),
            running_var: Some(State::new(constant([channels], 1.0, device))),
            num_batches_tracked: None,
            momentum: Some(0.1),
            eps: 1e-5,
            training: Training::default(),
        }
    }

    /// The same without weight and bias.
    #[must_use]
    pub fn without_affine(self) -> BatchNorm<N> {
        BatchNorm { weight: None, bias: None, ..self }
    }

    /// The same without running means: batches are normalised by themselves, in evaluation, too.
    #[must_use]
    pub fn without_running_stats(self) -> BatchNorm<N> {
        BatchNorm { running_mean: None, running_var: None, num_batches_tracked: None, ..self }
    }

    /// The same with another share of a batch in the running means.
    #[must_use]
    pub fn momentum(self, momentum: f64) -> BatchNorm<N> {
        BatchNorm { momentum: Some(momentum), num_batches_tracked: None, ..self }
    }

    /// The same with the means of all batches seen, PyTorch's `momentum=None`.
    #[must_use]
    pub fn cumulative(self) -> BatchNorm<N> {
        let device = self.running_mean.as_ref().and_then(|mean| mean.get().device().ok());
        let none = |device| State::new(Tensor::from_slice(&[0i32], (), &device));
        BatchNorm { momentum: None, num_batches_tracked: device.map(none), ..self }
    }

    /// The same with another `eps`.
    #[must_use]
    pub fn eps(self, eps: f64) -> BatchNorm<N> {
        BatchNorm { eps, ..self }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        const NAMES: [&str; 3] = ["batch_norm1d", "batch_norm2d", "batch_norm3d"];
        let (at, op, shape) = (At::caller(), NAMES[N.clamp(1, 3) - 1], x.shape());
        if shape.rank() != N + 2 && (N, shape.rank()) != (1, 2) {
            let axes = ["channels] or [batch, channels, w", "channels, h, w", "channels, d, h, w"];
            return wrong::shape(op, format!("needs [batch, {}]", axes[N.clamp(1, 3) - 1]), &[x], at);
        }
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        if let (Some(mean), Some(var), false) = (&self.running_mean, &self.running_var, self.training.is_on())
        {
            return x.batch_norm(&mean.get(), &var.get(), weight, bias, self.eps);
        }
        let count = shape.numel() / shape[1].max(1);
        if self.training.is_on() && count == 1 {
            let message = "training needs more than one value for each channel";
            return wrong::shape(op, message, &[x], at);
        }
        let axes = beside_channels(x);
        let (mean, variance) = (x.mean(&axes[..]), x.var(&axes[..], 0));
        let out = x.batch_norm(&mean, &variance, weight, bias, self.eps);
        if let (Some(running_mean), Some(running_var), true, Ok(())) =
            (&self.running_mean, &self.running_var, self.training.is_on(), out.check())
        {
            let share = Share::next(self.momentum, self.num_batches_tracked.as_ref());
            note(running_mean, mean, &share);
            let unbiased = count as f64 / (count as f64 - 1.0).max(1.0);
            note(running_var, variance.cast(variance.dtype().compute()) * unbiased, &share);
        }
        out
    }
}

/// Normalisation of every channel of every example of `[batch, channels, …]` (Ulyanov, Vedaldi, Lempitsky 2016), as
/// [`InstanceNorm1d`], [`InstanceNorm2d`] and [`InstanceNorm3d`]. As in PyTorch, without weights and running means
/// unless they are asked for.
///
/// ```
/// use vorpal_nn::{DType, Device, InstanceNorm2d, Tensor};
/// let norm = InstanceNorm2d::new().affine(3, &Device::cpu());
/// let x = Tensor::ones([2, 3, 4, 4], DType::F32, &Device::cpu());
/// assert_eq!(norm.forward(&x).shape(), [2, 3, 4, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct InstanceNorm<const N: usize> {
    /// `[channels]`, ones at first.
    pub weight: Option<Tensor>,
    /// `[channels]`, zeros at first.
    pub bias: Option<Tensor>,
    /// Running mean, `[channels]`, zeros at first; where there is one, evaluation uses it.
    pub running_mean: Option<State>,
    /// Running variance without bias, `[channels]`, ones at first.
    pub running_var: Option<State>,
    /// Share of a batch in the running means, 0.1 as in PyTorch.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
    training: Training,
}

/// Instance normalisation of signals, `[batch, channels, w]`.
pub type InstanceNorm1d = InstanceNorm<1>;
/// Instance normalisation of images, `[batch, channels, h, w]`.
pub type InstanceNorm2d = InstanceNorm<2>;
/// Instance normalisation of volumes, `[batch, channels, d, h, w]`.
pub type InstanceNorm3d = InstanceNorm<3>;

impl<const N: usize> InstanceNorm<N> {
    /// Without parameters, for any number of channels, with PyTorch's `eps` of 1e-5.
    pub fn new() -> InstanceNorm<N> {
        InstanceNorm {
            weight: None,
            bias: None,
            running_mean: None,
            running_var: None,
            momentum: 0.1,
            eps: 1e-5,
            training: Training::default(),
        }
    }

    /// The same with a weight and a bias for each of `channels`.
    #[must_use]
    pub fn affine(self, channels: usize, device: &Device) -> InstanceNorm<N> {
        let [weight, bias] = [1.0, 0.0].map(|value| Some(constant([channels], value, device)));
        InstanceNorm { weight, bias, ..self }
    }

    /// The same with running means of the statistics, which evaluation uses.
    #[must_use]
    pub fn track_running_stats(self, channels: usize, device: &Device) -> InstanceNorm<N> {
        let [mean, var] = [0.0, 1.0].map(|value| Some(State::new(constant([channels], value, device))));
        InstanceNorm { running_mean: mean, running_var: var, ..self }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (at, shape) = (At::caller(), x.shape());
        if shape.rank() != N + 2 {
            let message = format!("needs batch, channels and {N} axes of pixels");
            return wrong::shape("instance_norm", message, &[x], at);
        }
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let running = self.running_mean.as_ref().zip(self.running_var.as_ref());
        if let (Some((mean, var)), false) = (running, self.training.is_on()) {
            return x.batch_norm(&mean.get(), &var.get(), weight, bias, self.eps);
        }
        let pixels = shape[2..].iter().product::<usize>();
        if pixels == 1 {
            let message = "statistics need more than one pixel for each channel";
            return wrong::shape("instance_norm", message, &[x], at);
        }
        let out = x.instance_norm(weight, bias, self.eps);
        if let (Some((running_mean, running_var)), Ok(())) = (running, out.check()) {
            let (share, axes) = (Share::Fixed(self.momentum), beside_channels(x));
            note(running_mean, x.mean(&axes[..]), &share);
            note(running_var, x.var(&axes[1..], 1).mean(0), &share);
        }
        out
    }
}

impl<const N: usize> Default for InstanceNorm<N> {
    fn default() -> InstanceNorm<N> {
        InstanceNorm::new()
    }
}
impl<const N: usize> Layer for BatchNorm<N> {
    fn forward(&self, x: &Tensor) -> Tensor {
        BatchNorm::forward(self, x)
    }
}
impl<const N: usize> Layer for InstanceNorm<N> {
    fn forward(&self, x: &Tensor) -> Tensor {
        InstanceNorm::forward(self, x)
    }
}
