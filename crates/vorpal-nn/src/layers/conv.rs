//! Convolutions.

use vorpal_autodiff::ops::Conv2dOptions;
use vorpal_autodiff::{Device, Tensor};

use crate::Module;
use crate::init::uniform;

/// Convolution of images: `[batch, channels, h, w]` to `[batch, filters, h′, w′]`. Named and laid out as in PyTorch:
/// `weight` is `[filters, channels ∕ groups, kh, kw]`.
///
/// ```
/// use vorpal_nn::{Conv2d, DType, Device, Tensor};
/// let conv = Conv2d::new(3, 8, [3, 3], &Device::cpu()).padding([1, 1]).stride([2, 2]);
/// let x = Tensor::ones([2, 3, 28, 28], DType::F32, &Device::cpu());
/// assert_eq!(conv.forward(&x).shape(), [2, 8, 14, 14].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv2d {
    /// `[filters, channels ∕ groups, kh, kw]`.
    pub weight: Tensor,
    /// `[filters]`.
    pub bias: Option<Tensor>,
    /// Stride, padding, dilation and groups.
    #[module(skip)]
    pub options: Conv2dOptions,
}

impl Conv2d {
    /// Weights and bias uniform in ±1∕√(inputs of a unit), PyTorch's default; stride 1, no padding.
    pub fn new(channels: usize, filters: usize, window: [usize; 2], device: &Device) -> Conv2d {
        Conv2d::with_options(channels, filters, window, Conv2dOptions::default(), device)
    }

    /// The same with stride, padding, dilation and groups.
    pub fn with_options(
        channels: usize,
        filters: usize,
        window: [usize; 2],
        options: Conv2dOptions,
        device: &Device,
    ) -> Conv2d {
        let seen = channels / options.groups.max(1);
        let bound = 1.0 / ((seen * window[0] * window[1]).max(1) as f64).sqrt();
        Conv2d {
            weight: uniform([filters, seen, window[0], window[1]], bound, device),
            bias: Some(uniform([filters], bound, device)),
            options,
        }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Conv2d {
        Conv2d { bias: None, ..self }
    }

    /// The same with zeros around the images, (vertical, horizontal).
    #[must_use]
    pub fn padding(mut self, padding: [usize; 2]) -> Conv2d {
        self.options.padding = padding;
        self
    }

    /// The same with steps of the window, (vertical, horizontal).
    #[must_use]
    pub fn stride(mut self, stride: [usize; 2]) -> Conv2d {
        self.options.stride = stride;
        self
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.weight, self.bias.as_ref(), self.options)
    }
}
