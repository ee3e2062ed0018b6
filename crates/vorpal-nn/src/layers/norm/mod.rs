//! Normalisations.

mod batch;

use vorpal_autodiff::{At, Device, Shape, Tensor};

pub use self::batch::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm, InstanceNorm1d, InstanceNorm2d,
    InstanceNorm3d,
};
use super::{Layer, wrong};
use crate::Module;
use crate::init::constant;

/// The last axes of `x`, of sizes `shape`, as one, handed to `f`; the result in the shape of `x`.
#[track_caller]
fn over_last(op: &'static str, x: &Tensor, shape: &Shape, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    let (at, whole, axes) = (At::caller(), x.shape(), shape.rank());
    if axes == 0 || whole.rank() < axes || whole.dims()[whole.rank() - axes..] != *shape.dims() {
        return wrong::shape(op, format!("the last axes must be {shape}"), &[x], at);
    }
    if axes == 1 {
        return f(x);
    }
    f(&x.flatten(-(axes as isize), -1)).reshape(whole)
}

/// Layer normalisation over the last axes (Ba, Kiros, Hinton 2016).
///
/// ```
/// use vorpal_nn::{Device, LayerNorm, Tensor};
/// let norm = LayerNorm::new([2, 3], &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 2, 3], &Device::cpu());
/// assert!(norm.forward(&x).mean_all().item::<f32>()?.abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// Of the shape of the last axes, ones at first.
    pub weight: Option<Tensor>,
    /// Of the shape of the last axes, zeros at first.
    pub bias: Option<Tensor>,
    /// Sizes of the last axes.
    #[module(skip)]
    pub normalized_shape: Shape,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// For last axes of these sizes (a number: one axis), with PyTorch's `eps` of 1e-5.
    pub fn new(normalized_shape: impl Into<Shape>, device: &Device) -> LayerNorm {
        let shape = normalized_shape.into();
        LayerNorm {
            weight: Some(constant(shape.clone(), 1.0, device)),
            bias: Some(constant(shape.clone(), 0.0, device)),
            normalized_shape: shape,
            eps: 1e-5,
        }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }

    /// The same without weight and bias.
    #[must_use]
    pub fn without_affine(self) -> LayerNorm {
        LayerNorm { weight: None, bias: None, ..self }
    }

    /// The same with another `eps`.
    #[must_use]
    pub fn eps(self, eps: f64) -> LayerNorm {
        LayerNorm { eps, ..self }
    }

    /// The layer applied to the last axes.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let flat = |p: &Option<Tensor>| p.as_ref().map(|p| p.flatten(0, -1));
        over_last("layer_norm", x, &self.normalized_shape, |x| {
            x.layer_norm(flat(&self.weight).as_ref(), flat(&self.bias).as_ref(), self.eps)
        })
    }
}

/// Root mean square normalisation over the last axes (Zhang, Sennrich 2019).
///
/// ```
/// use vorpal_nn::{Device, RmsNorm, Tensor};
/// let x = Tensor::from_slice(&[1.0f32, 7.0], [2], &Device::cpu());
/// let y = RmsNorm::new(2, &Device::cpu()).forward(&x).to_vec::<f32>()?;
/// assert!((y[0] - 0.2).abs() < 1e-6 && (y[1] - 1.4).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// Of the shape of the last axes, ones at first.
    pub weight: Option<Tensor>,
    /// Sizes of the last axes.
    #[module(skip)]
    pub normalized_shape: Shape,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// For last axes of these sizes (a number: one axis), with PyTorch's `eps`, the distance of `f32` numbers at 1.
    pub fn new(normalized_shape: impl Into<Shape>, device: &Device) -> RmsNorm {
        let shape = normalized_shape.into();
        let weight = Some(constant(shape.clone(), 1.0, device));
        RmsNorm { weight, normalized_shape: shape, eps: f64::from(f32::EPSILON) }
    }

    /// The same without a weight.
    #[must_use]
    pub fn without_affine(self) -> RmsNorm {
        RmsNorm { weight: None, ..self }
    }

    /// The same with another `eps`.
    #[must_use]
    pub fn eps(self, eps: f64) -> RmsNorm {
        RmsNorm { eps, ..self }
    }

    /// The layer applied to the last axes.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let weight = self.weight.as_ref().map(|p| p.flatten(0, -1));
        over_last("rms_norm", x, &self.normalized_shape, |x| x.rms_norm(weight.as_ref(), self.eps))
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
    pub weight: Option<Tensor>,
    /// `[channels]`, zeros at first.
    pub bias: Option<Tensor>,
    /// Number of groups, which divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// For `channels` in `groups`, with PyTorch's `eps` of 1e-5.
    pub fn new(groups: usize, channels: usize, device: &Device) -> GroupNorm {
        GroupNorm {
            weight: Some(constant([channels], 1.0, device)),
            bias: Some(constant([channels], 0.0, device)),
            groups,
            eps: 1e-5,
        }
    }

    /// The same without weight and bias.
    #[must_use]
    pub fn without_affine(self) -> GroupNorm {
        GroupNorm { weight: None, bias: None, ..self }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.group_norm(self.groups, self.weight.as_ref(), self.bias.as_ref(), self.eps)
    }
}

/// Every element of `[batch, channels, …]` divided by (k + alpha · mean of the squares of `size` neighbouring
/// channels)^beta (Krizhevsky, Sutskever, Hinton 2012).
///
/// ```
/// use vorpal_nn::{DType, Device, LocalResponseNorm, Tensor};
/// let x = Tensor::ones([1, 4, 2, 2], DType::F32, &Device::cpu());
/// assert_eq!(LocalResponseNorm::new(2).forward(&x).shape(), x.shape());
/// ```
#[derive(Clone, Debug, Module)]
pub struct LocalResponseNorm {
    /// Neighbouring channels that count.
    pub size: usize,
    /// Factor of the mean, 1e-4 as in PyTorch.
    pub alpha: f64,
    /// Exponent, 0.75 as in PyTorch.
    pub beta: f64,
    /// Added to the mean, 1 as in PyTorch.
    pub k: f64,
}

impl LocalResponseNorm {
    /// Over `size` channels, with PyTorch's constants.
    pub fn new(size: usize) -> LocalResponseNorm {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let at = At::caller();
        if self.size == 0 {
            return wrong::argument("local_response_norm", "a size of 0 channels", at);
        }
        if x.rank() < 2 {
            return wrong::shape("local_response_norm", "needs [batch, channels, …]", &[x], at);
        }
        // Channels outside count as zeros.
        let squares = x.square().pad(1, self.size / 2, (self.size - 1) / 2, 0.0);
        let mean = squares.unfold(1, self.size, 1, 1).mean(-1);
        x / (mean * self.alpha + self.k).pow(self.beta)
    }
}

layers!(LayerNorm, RmsNorm, GroupNorm, LocalResponseNorm);
