//! Convolutions.

use vorpal_autodiff::ops::{ConvOptions, ConvTransposeOptions, Padding};
use vorpal_autodiff::{Device, Tensor};

use super::Layer;
use crate::Module;
use crate::init::uniform;

/// Convolution of images with `N` axes, as [`Conv1d`], [`Conv2d`] and [`Conv3d`]: `[batch, channels, …]` to
/// `[batch, filters, …]`. Named and laid out as in PyTorch: `weight` is `[filters, channels ∕ groups, …]`.
///
/// ```
/// use vorpal_nn::{Conv2d, DType, Device, Tensor};
/// let conv = Conv2d::new(3, 8, [3, 3], &Device::cpu()).padding([1, 1]).stride([2, 2]);
/// let x = Tensor::ones([2, 3, 28, 28], DType::F32, &Device::cpu());
/// assert_eq!(conv.forward(&x).shape(), [2, 8, 14, 14].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv<const N: usize> {
    /// `[filters, channels ∕ groups, …]`, with the sizes of the window at the end.
    pub weight: Tensor,
    /// `[filters]`.
    pub bias: Option<Tensor>,
    /// Stride, padding, dilation and groups.
    #[module(skip)]
    pub options: ConvOptions<N>,
}

/// Convolution of signals, `[batch, channels, w]`.
pub type Conv1d = Conv<1>;
/// Convolution of images, `[batch, channels, h, w]`. Pairs are (vertical, horizontal).
pub type Conv2d = Conv<2>;
/// Convolution of volumes, `[batch, channels, d, h, w]`.
pub type Conv3d = Conv<3>;

impl<const N: usize> Conv<N> {
    /// Weights and bias uniform in ±1∕√(inputs of a unit), PyTorch's default; stride 1, no padding.
    pub fn new(channels: usize, filters: usize, window: [usize; N], device: &Device) -> Conv<N> {
        Conv::with_options(channels, filters, window, ConvOptions::default(), device)
    }

    /// The same with stride, padding, dilation and groups.
    pub fn with_options(
        channels: usize,
        filters: usize,
        window: [usize; N],
        options: ConvOptions<N>,
        device: &Device,
    ) -> Conv<N> {
        let (weight, bias) = initial(filters, channels / options.groups.max(1), filters, window, device);
        Conv { weight, bias: Some(bias), options }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Conv<N> {
        Conv { bias: None, ..self }
    }

    /// The same with zeros around the images: a number for each axis, or a [`Padding`].
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding<N>>) -> Conv<N> {
        self.options.padding = padding.into();
        self
    }

    /// The same with steps of the window, one for each axis.
    #[must_use]
    pub fn stride(mut self, stride: [usize; N]) -> Conv<N> {
        self.options.stride = stride;
        self
    }

    /// The same with a distance of the elements of the window for each axis.
    #[must_use]
    pub fn dilation(mut self, dilation: [usize; N]) -> Conv<N> {
        self.options.dilation = dilation;
        self
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv(&self.weight, self.bias.as_ref(), self.options)
    }
}

/// Transposed convolution of images with `N` axes, as [`ConvTranspose1d`], [`ConvTranspose2d`] and
/// [`ConvTranspose3d`]: `[batch, channels, …]` to `[batch, filters, …]`. Named and laid out as in PyTorch: `weight` is
/// `[channels, filters ∕ groups, …]`.
///
/// ```
/// use vorpal_nn::{ConvTranspose2d, DType, Device, Tensor};
/// let twice = ConvTranspose2d::new(8, 3, [4, 4], &Device::cpu()).padding([1, 1]).stride([2, 2]);
/// let x = Tensor::ones([2, 8, 14, 14], DType::F32, &Device::cpu());
/// assert_eq!(twice.forward(&x).shape(), [2, 3, 28, 28].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct ConvTranspose<const N: usize> {
    /// `[channels, filters ∕ groups, …]`, with the sizes of the window at the end.
    pub weight: Tensor,
    /// `[filters]`.
    pub bias: Option<Tensor>,
    /// Stride, padding, output padding, dilation and groups.
    #[module(skip)]
    pub options: ConvTransposeOptions<N>,
}

/// Transposed convolution of signals, `[batch, channels, w]`.
pub type ConvTranspose1d = ConvTranspose<1>;
/// Transposed convolution of images, `[batch, channels, h, w]`. Pairs are (vertical, horizontal).
pub type ConvTranspose2d = ConvTranspose<2>;
/// Transposed convolution of volumes, `[batch, channels, d, h, w]`.
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const N: usize> ConvTranspose<N> {
    /// Weights and bias uniform in ±1∕√(filters of a group · elements of the window), PyTorch's default; stride 1, no
    /// padding.
    pub fn new(channels: usize, filters: usize, window: [usize; N], device: &Device) -> ConvTranspose<N> {
        ConvTranspose::with_options(channels, filters, window, ConvTransposeOptions::default(), device)
    }

    /// The same with stride, padding, output padding, dilation and groups.
    pub fn with_options(
        channels: usize,
        filters: usize,
        window: [usize; N],
        options: ConvTransposeOptions<N>,
        device: &Device,
    ) -> ConvTranspose<N> {
        let (weight, bias) = initial(channels, filters / options.groups.max(1), filters, window, device);
        ConvTranspose { weight, bias: Some(bias), options }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> ConvTranspose<N> {
        ConvTranspose { bias: None, ..self }
    }

    /// The same with so many pixels cut off on both sides of each axis.
    #[must_use]
    pub fn padding(mut self, padding: [usize; N]) -> ConvTranspose<N> {
        self.options.padding = padding;
        self
    }

    /// The same with distances of the pixels in the result, one for each axis.
    #[must_use]
    pub fn stride(mut self, stride: [usize; N]) -> ConvTranspose<N> {
        self.options.stride = stride;
        self
    }

    /// The same with more pixels at the end of each axis.
    #[must_use]
    pub fn output_padding(mut self, more: [usize; N]) -> ConvTranspose<N> {
        self.options.output_padding = more;
        self
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.conv_transpose(&self.weight, self.bias.as_ref(), self.options)
    }
}

layers!(<N> Conv, ConvTranspose);

/// Weights `[rows, columns, …]` and a bias, uniform in ±1∕√(columns · elements of the window).
fn initial<const N: usize>(
    rows: usize,
    columns: usize,
    filters: usize,
    window: [usize; N],
    device: &Device,
) -> (Tensor, Tensor) {
    let shape: Vec<usize> = [rows, columns].into_iter().chain(window).collect();
    let bound = 1.0 / (shape[1..].iter().product::<usize>().max(1) as f64).sqrt();
    (uniform(shape, bound, device), uniform([filters], bound, device))
}
