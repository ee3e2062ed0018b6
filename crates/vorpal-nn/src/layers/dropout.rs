//! Layers that leave things out at random while training.

use vorpal_autodiff::{At, DType, Shape, Tensor};

use super::{Layer, wrong};
use crate::{Module, Training};

/// Zeroes elements at random while training (Srivastava et al. 2014).
///
/// ```
/// use vorpal_nn::{DType, Device, Dropout, Module, Tensor};
/// let drop = Dropout::new(0.5);
/// let x = Tensor::ones([100], DType::F32, &Device::cpu());
/// assert!(drop.forward(&x).to_vec::<f32>()?.iter().all(|&v| v == 0.0 || v == 2.0));
/// drop.train(false);
/// assert_eq!(drop.forward(&x).to_vec::<f32>()?, [1.0; 100]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dropout {
    /// Probability of a zero.
    pub p: f64,
    training: Training,
}

impl Dropout {
    /// Zeroes with probability `p`.
    pub fn new(p: f64) -> Dropout {
        Dropout { p, training: Training::default() }
    }

    /// The probability while training, else 0.
    pub(super) fn active(&self) -> f64 {
        if self.training.is_on() { self.p } else { 0.0 }
    }

    /// The layer applied to every element; nothing happens outside of training.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if self.training.is_on() { x.dropout(self.p) } else { x.clone() }
    }
}

/// `x` with all elements dropped or kept together that differ in their last `inner` places only.
#[track_caller]
fn drop_blocks(x: &Tensor, p: f64, inner: usize) -> Tensor {
    match x.device() {
        Ok(device) => x * Tensor::ones(blocks(x, inner), x.dtype(), &device).dropout(p),
        Err(_) => x.clone(),
    }
}

/// The shape of `x` with ones in its last `inner` places.
fn blocks(x: &Tensor, inner: usize) -> Shape {
    let outer = x.rank().saturating_sub(inner);
    x.shape().iter().enumerate().map(|(k, &size)| if k < outer { size } else { 1 }).collect()
}

/// Zeroes whole channels at random while training (Tompson et al. 2015), as [`Dropout1d`], [`Dropout2d`] and
/// [`Dropout3d`]: `[batch, channels, …]` or `[channels, …]` with `N` axes at the end.
///
/// ```
/// use vorpal_nn::{DType, Device, Dropout2d, Tensor};
/// let x = Tensor::ones([2, 8, 3, 3], DType::F32, &Device::cpu());
/// let y = Dropout2d::new(0.5).forward(&x).sum([2, 3]).to_vec::<f32>()?;
/// assert!(y.iter().all(|&sum| sum == 0.0 || sum == 18.0));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct ChannelDropout<const N: usize> {
    /// Probability of a zero.
    pub p: f64,
    training: Training,
}

/// Zeroes whole channels of signals, `[batch, channels, w]`.
pub type Dropout1d = ChannelDropout<1>;
/// Zeroes whole channels of images, `[batch, channels, h, w]`.
pub type Dropout2d = ChannelDropout<2>;
/// Zeroes whole channels of volumes, `[batch, channels, d, h, w]`.
pub type Dropout3d = ChannelDropout<3>;

impl<const N: usize> ChannelDropout<N> {
    /// Zeroes channels with probability `p`.
    pub fn new(p: f64) -> ChannelDropout<N> {
        ChannelDropout { p, training: Training::default() }
    }

    /// The layer applied to a batch; nothing happens outside of training.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let at = At::caller();
        if !(N + 1..=N + 2).contains(&x.rank()) {
            let message = format!("needs [batch, channels, …] or [channels, …] with {N} axes at the end");
            return wrong::shape("channel_dropout", message, &[x], at);
        }
        if self.training.is_on() { drop_blocks(x, self.p, N) } else { x.clone() }
    }
}

/// Zeroes whole examples of `[batch, …]` at random while training: stochastic depth, where it stands in front of the sum
/// of a residual block (Huang et al. 2016).
///
/// ```
/// use vorpal_nn::{DType, Device, DropPath, Tensor};
/// let x = Tensor::ones([16, 3], DType::F32, &Device::cpu());
/// let y = DropPath::new(0.5).forward(&x).sum(1).to_vec::<f32>()?;
/// assert!(y.iter().all(|&sum| sum == 0.0 || sum == 6.0));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct DropPath {
    /// Probability of a zero.
    pub p: f64,
    training: Training,
}

impl DropPath {
    /// Zeroes examples with probability `p`.
    pub fn new(p: f64) -> DropPath {
        DropPath { p, training: Training::default() }
    }

    /// The layer applied to a batch; nothing happens outside of training.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if self.training.is_on() { drop_blocks(x, self.p, x.rank().max(1) - 1) } else { x.clone() }
    }
}

/// What a SELU tends to far below 0: what stands for a dropped element.
const DROPPED: f64 = -1.758_099_340_847_376_6;

/// `x` with blocks set to [`DROPPED`], shifted and scaled to mean 0 and variance 1 if `x` has them.
#[track_caller]
fn alpha_dropout(op: &'static str, x: &Tensor, p: f64, inner: usize) -> Tensor {
    let at = At::caller();
    let Ok(device) = x.device() else { return x.clone() };
    if !(0.0..1.0).contains(&p) {
        return wrong::argument(op, format!("probability {p} is not in 0..1"), at);
    }
    if p == 0.0 {
        return x.clone();
    }
    let uniform = Tensor::rand(blocks(x, inner), DType::F32, &device);
    let keep = uniform.ge(uniform.full_like(p)).broadcast_to(x.shape());
    let scale = 1.0 / ((1.0 - p) * (1.0 + p * DROPPED * DROPPED)).sqrt();
    keep.select(x, x.full_like(DROPPED)) * scale - scale * DROPPED * p
}

/// Dropout that keeps mean 0 and variance 1, for networks of [`Selu`](crate::Selu) (Klambauer et al. 2017).
///
/// ```
/// use vorpal_nn::{AlphaDropout, DType, Device, Tensor};
/// let x = Tensor::randn([10_000], DType::F32, &Device::cpu());
/// let variance = AlphaDropout::new(0.3).forward(&x).var(0, 0).item::<f32>()?;
/// assert!((variance - 1.0).abs() < 0.1);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct AlphaDropout {
    /// Probability that an element is dropped.
    pub p: f64,
    training: Training,
}

impl AlphaDropout {
    /// Drops with probability `p`.
    pub fn new(p: f64) -> AlphaDropout {
        AlphaDropout { p, training: Training::default() }
    }

    /// The layer applied to every element; nothing happens outside of training.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if self.training.is_on() { alpha_dropout("alpha_dropout", x, self.p, 0) } else { x.clone() }
    }
}

/// [`AlphaDropout`] of whole channels of `[batch, channels, …]`.
///
/// ```
/// use vorpal_nn::{DType, Device, FeatureAlphaDropout, Tensor};
/// let x = Tensor::randn([2, 3, 4], DType::F32, &Device::cpu());
/// assert_eq!(FeatureAlphaDropout::new(0.3).forward(&x).shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct FeatureAlphaDropout {
    /// Probability that a channel is dropped.
    pub p: f64,
    training: Training,
}

impl FeatureAlphaDropout {
    /// Drops channels with probability `p`.
    pub fn new(p: f64) -> FeatureAlphaDropout {
        FeatureAlphaDropout { p, training: Training::default() }
    }

    /// The layer applied to a batch; nothing happens outside of training.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let inner = x.rank().max(2) - 2;
        if self.training.is_on() {
            alpha_dropout("feature_alpha_dropout", x, self.p, inner)
        } else {
            x.clone()
        }
    }
}

layers!(Dropout, DropPath, AlphaDropout, FeatureAlphaDropout);
layers!(<N> ChannelDropout);
