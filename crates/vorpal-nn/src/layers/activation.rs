//! Activations as layers.
//!
//! ```
//! use vorpal_nn::{Device, Elu, Gelu, Hardtanh, Relu, Softmax, Tensor};
//! let x = Tensor::from_slice(&[-1.0f32, 0.0, 3.0], [3], &Device::cpu());
//! assert_eq!(Relu.forward(&x).to_vec::<f32>()?, [0.0, 0.0, 3.0]);
//! assert_eq!(Hardtanh { min: 0.0, max: 2.0 }.forward(&x).to_vec::<f32>()?, [0.0, 0.0, 2.0]);
//! let sum = Softmax { dim: -1 }.forward(&Gelu::default().forward(&Elu::default().forward(&x))).sum_all();
//! assert!((sum.item::<f32>()? - 1.0).abs() < 1e-6);
//! # Ok::<(), vorpal_nn::Error>(())
//! ```

use vorpal_autodiff::{At, Device, Tensor};

use super::{Layer, wrong};
use crate::init::constant;
use crate::{Module, Training};

/// Layers without parameters: documentation, name and function, and fields with PyTorch's defaults if there are any.
macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident |$x:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Module)]
        pub struct $name;

        impl $name {
            /// The function applied to a tensor.
            #[track_caller]
            pub fn forward(&self, $x: &Tensor) -> Tensor {
                $body
            }
        }
        layers!($name);
    )*};
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $field:ident : $ty:ty = $default:expr),+ }
        |$this:ident, $x:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Module)]
        pub struct $name {
            $($(#[$of])* #[module(skip)] pub $field: $ty),+
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default),+ }
            }
        }
        impl $name {
            /// The function applied to a tensor.
            #[track_caller]
            pub fn forward(&self, $x: &Tensor) -> Tensor {
                let $this = self;
                $body
            }
        }
        layers!($name);
    )*};
}

activations! {
    /// max(x, 0).
    Relu |x| x.relu();
    /// min(max(x, 0), 6).
    Relu6 |x| x.relu6();
    /// 1 ∕ (1 + e⁻ˣ).
    Sigmoid |x| x.sigmoid();
    /// log(sigmoid(x)), without overflow.
    LogSigmoid |x| x.log_sigmoid();
    /// min(max(x + 3, 0), 6) ∕ 6 (Howard et al. 2019).
    Hardsigmoid |x| x.hardsigmoid();
    /// x · hardsigmoid(x) (Howard et al. 2019).
    Hardswish |x| x.hardswish();
    /// x · sigmoid(x), also called swish (Elfwing et al. 2017).
    Silu |x| x.silu();
    /// x · tanh(softplus(x)) (Misra 2019).
    Mish |x| x.mish();
    /// The ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017).
    Selu |x| x.selu();
    /// x ∕ (1 + |x|).
    Softsign |x| x.softsign();
    /// Hyperbolic tangent.
    Tanh |x| x.tanh();
    /// x − tanh(x).
    Tanhshrink |x| x - x.tanh();
    /// Softmax over the channels of images, `[batch, channels, h, w]` or `[channels, h, w]`.
    Softmax2d |x| x.softmax(-3);
}

activations! {
    /// x above 0, `alpha` (eˣ − 1) below (Clevert, Unterthiner, Hochreiter 2016).
    Elu {
        /// Minus the limit below, 1 by default.
        alpha: f64 = 1.0
    } |this, x| x.elu(this.alpha);
    /// x above 0, `alpha` (exp(x ∕ `alpha`) − 1) below (Barron 2017).
    Celu {
        /// Minus the limit below, 1 by default.
        alpha: f64 = 1.0
    } |this, x| x.celu(this.alpha);
    /// x · Φ(x) with the normal distribution function Φ (Hendrycks & Gimpel 2016).
    Gelu {
        /// Whether Φ is approximated by tanh, as in GPT-2: PyTorch's `approximate="tanh"`.
        approximate: bool = false
    } |this, x| if this.approximate { x.gelu_tanh() } else { x.gelu() };
    /// Elements limited to `min..=max`.
    Hardtanh {
        /// Lower limit, −1 by default.
        min: f64 = -1.0,
        /// Upper limit, 1 by default.
        max: f64 = 1.0
    } |this, x| x.hardtanh(this.min, this.max);
    /// x above 0, `slope` · x below.
    LeakyRelu {
        /// Slope below 0, 0.01 by default.
        slope: f64 = 0.01
    } |this, x| x.leaky_relu(this.slope);
    /// x above `threshold`, else `value`.
    Threshold {
        /// Limit, 0 by default.
        threshold: f64 = 0.0,
        /// What stands below, 0 by default.
        value: f64 = 0.0
    } |this, x| x.threshold(this.threshold, this.value);
    /// x where its magnitude is above `lambda`, else 0.
    Hardshrink {
        /// Limit, 0.5 by default.
        lambda: f64 = 0.5
    } |this, x| x.abs().gt(x.full_like(this.lambda)).select(x, x.full_like(0.0));
    /// x moved towards 0 by `lambda`, but not beyond.
    Softshrink {
        /// Distance, 0.5 by default.
        lambda: f64 = 0.5
    } |this, x| x - x.hardtanh(-this.lambda, this.lambda);
    /// log(1 + exp(`beta` x)) ∕ `beta`; x itself where `beta` x is above `threshold`.
    Softplus {
        /// Sharpness, 1 by default.
        beta: f64 = 1.0,
        /// From here on it is a line, 20 by default.
        threshold: f64 = 20.0
    } |this, x| {
        let scaled = x * this.beta;
        let line = scaled.gt(scaled.full_like(this.threshold));
        line.select(x, scaled.softplus() / this.beta)
    };
    /// eˣ ∕ Σ eˣ along an axis.
    Softmax {
        /// The axis, the last by default.
        dim: isize = -1
    } |this, x| x.softmax(this.dim);
    /// log(eˣ ∕ Σ eˣ) along an axis, without overflow.
    LogSoftmax {
        /// The axis, the last by default.
        dim: isize = -1
    } |this, x| x.log_softmax(this.dim);
    /// e⁻ˣ ∕ Σ e⁻ˣ along an axis.
    Softmin {
        /// The axis, the last by default.
        dim: isize = -1
    } |this, x| x.softmin(this.dim);
}

/// x above 0, `weight` · x below, with a trained slope for all or for each channel (He et al. 2015).
///
/// ```
/// use vorpal_nn::{Device, Prelu, Tensor};
/// let x = Tensor::from_slice(&[-4.0f32, 2.0], [1, 2], &Device::cpu());
/// assert_eq!(Prelu::new(1, &Device::cpu()).forward(&x).to_vec::<f32>()?, [-1.0, 2.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Prelu {
    /// One slope, or one for each channel: `[1]` or `[channels]`.
    pub weight: Tensor,
}

impl Prelu {
    /// Slopes of 1 ∕ 4 for so many channels (axis 1), or one for all.
    pub fn new(channels: usize, device: &Device) -> Prelu {
        Prelu { weight: constant([channels], 0.25, device) }
    }

    /// The function applied to a tensor, `[batch, channels, …]` where there are several slopes.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (at, slopes) = (At::caller(), self.weight.shape().numel());
        if slopes != 1 && x.shape().get(1) != Some(&slopes) {
            let message = format!("{slopes} slopes need [batch, {slopes}, …]");
            return wrong::shape("prelu", message, &[x, &self.weight], at);
        }
        let weight = match slopes {
            1 => self.weight.reshape(()),
            _ => (2..x.rank()).fold(self.weight.clone(), |weight, _| weight.unsqueeze(-1)),
        };
        let zero = x.full_like(0.0);
        x.gt(&zero).select(x, x * weight)
    }
}

/// x above 0, a · x below, where a is drawn anew for every element while training, and the mean of its limits
/// otherwise (Xu et al. 2015).
///
/// ```
/// use vorpal_nn::{Device, Module, Rrelu, Tensor};
/// let layer = Rrelu::new(0.1, 0.3);
/// layer.train(false);
/// let x = Tensor::from_slice(&[-1.0f32, 2.0], [2], &Device::cpu());
/// assert_eq!(layer.forward(&x).to_vec::<f32>()?, [-0.2, 2.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Rrelu {
    /// Smallest slope.
    pub lower: f64,
    /// Largest slope.
    pub upper: f64,
    training: Training,
}

impl Default for Rrelu {
    /// PyTorch's slopes, 1 ∕ 8 to 1 ∕ 3.
    fn default() -> Rrelu {
        Rrelu::new(1.0 / 8.0, 1.0 / 3.0)
    }
}

impl Rrelu {
    /// Slopes between two numbers.
    pub fn new(lower: f64, upper: f64) -> Rrelu {
        Rrelu { lower, upper, training: Training::default() }
    }

    /// The function applied to a tensor.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let at = At::caller();
        if self.lower.partial_cmp(&self.upper).is_none_or(std::cmp::Ordering::is_gt) {
            return wrong::argument("rrelu", format!("slopes from {} to {}", self.lower, self.upper), at);
        }
        let Ok(device) = x.device() else { return x.clone() };
        if !self.training.is_on() {
            return x.leaky_relu((self.lower + self.upper) / 2.0);
        }
        let slopes = Tensor::uniform(x.shape(), self.lower, self.upper, x.dtype(), &device);
        x.gt(x.full_like(0.0)).select(x, x * slopes)
    }
}

layers!(Prelu, Rrelu);
