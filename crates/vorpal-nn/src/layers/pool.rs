//! Pooling.

use vorpal_autodiff::Tensor;
use vorpal_autodiff::ops::PoolOptions;

use super::Layer;
use crate::Module;

/// `forward` for one, two and three axes, each an op of its own.
macro_rules! pooled {
    ($name:ident, |$this:ident, $x:ident| $($n:literal => $body:expr),+) => {$(
        impl $name<$n> {
            /// The layer applied to a batch.
            #[track_caller]
            pub fn forward(&self, $x: &Tensor) -> Tensor {
                let $this = self;
                $body
            }
        }
        impl Layer for $name<$n> {
            fn forward(&self, x: &Tensor) -> Tensor {
                $name::<$n>::forward(self, x)
            }
        }
    )+};
}

/// `stride`, `padding` and `ceil_mode` of windows.
macro_rules! windows {
    ($($name:ident),+) => {$(
        impl<const N: usize> $name<N> {
            /// The same with steps of the window, one for each axis; by default its own size.
            #[must_use]
            pub fn stride(mut self, stride: [usize; N]) -> $name<N> {
                self.options.stride = stride;
                self
            }

            /// The same with so many pixels around the images for each axis.
            #[must_use]
            pub fn padding(mut self, padding: [usize; N]) -> $name<N> {
                self.options.padding = padding;
                self
            }

            /// The same with a last window that reaches over the end.
            #[must_use]
            pub fn ceil_mode(mut self) -> $name<N> {
                self.options.ceil_mode = true;
                self
            }
        }
    )+};
}

/// Maximum of every window of `[batch, channels, …]`, as [`MaxPool1d`], [`MaxPool2d`] and [`MaxPool3d`].
///
/// ```
/// use vorpal_nn::{DType, Device, MaxPool2d, Tensor};
/// let x = Tensor::ones([1, 2, 8, 8], DType::F32, &Device::cpu());
/// assert_eq!(MaxPool2d::new(3).stride([2, 2]).padding([1, 1]).forward(&x).shape(), [1, 2, 4, 4].into());
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct MaxPool<const N: usize> {
    /// Window, stride, padding and dilation.
    #[module(skip)]
    pub options: PoolOptions<N>,
}
/// Maxima of windows of signals, `[batch, channels, w]`.
pub type MaxPool1d = MaxPool<1>;
/// Maxima of windows of images, `[batch, channels, h, w]`.
pub type MaxPool2d = MaxPool<2>;
/// Maxima of windows of volumes, `[batch, channels, d, h, w]`.
pub type MaxPool3d = MaxPool<3>;

impl<const N: usize> MaxPool<N> {
    /// A window: a number for all axes, one for each, or options. It moves by its own size unless these say otherwise.
    pub fn new(window: impl Into<PoolOptions<N>>) -> MaxPool<N> {
        MaxPool { options: window.into() }
    }
}
pooled!(MaxPool, |this, x| 1 => x.max_pool1d(this.options), 2 => x.max_pool2d(this.options), 3 => x.max_pool3d(this.options));

/// Average of every window of `[batch, channels, …]`, as [`AvgPool1d`], [`AvgPool2d`] and [`AvgPool3d`].
///
/// ```
/// use vorpal_nn::{AvgPool1d, Device, Tensor};
/// let x = Tensor::from_slice(&[1.0f32, 3.0, 5.0, 7.0], [1, 1, 4], &Device::cpu());
/// assert_eq!(AvgPool1d::new(2).forward(&x).to_vec::<f32>()?, [2.0, 6.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct AvgPool<const N: usize> {
    /// Window, stride, padding, and whether padding counts.
    #[module(skip)]
    pub options: PoolOptions<N>,
}
/// Averages of windows of signals, `[batch, channels, w]`.
pub type AvgPool1d = AvgPool<1>;
/// Averages of windows of images, `[batch, channels, h, w]`.
pub type AvgPool2d = AvgPool<2>;
/// Averages of windows of volumes, `[batch, channels, d, h, w]`.
pub type AvgPool3d = AvgPool<3>;

impl<const N: usize> AvgPool<N> {
    /// A window: a number for all axes, one for each, or options. It moves by its own size unless these say otherwise.
    pub fn new(window: impl Into<PoolOptions<N>>) -> AvgPool<N> {
        AvgPool { options: window.into() }
    }
}
pooled!(AvgPool, |this, x| 1 => x.avg_pool1d(this.options), 2 => x.avg_pool2d(this.options), 3 => x.avg_pool3d(this.options));

/// (Σ xᵖ)^(1 ∕ p) over every window of `[batch, channels, …]`, as [`LpPool1d`], [`LpPool2d`] and [`LpPool3d`].
///
/// ```
/// use vorpal_nn::{Device, LpPool1d, Tensor};
/// let x = Tensor::from_slice(&[3.0f32, 4.0], [1, 1, 2], &Device::cpu());
/// let y = LpPool1d::new(2.0, 2).forward(&x).item::<f32>()?;
/// assert!((y - 5.0).abs() < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct LpPool<const N: usize> {
    /// The exponent p, above 0.
    pub norm_type: f64,
    /// Window and stride.
    #[module(skip)]
    pub options: PoolOptions<N>,
}
/// Norms of windows of signals, `[batch, channels, w]`.
pub type LpPool1d = LpPool<1>;
/// Norms of windows of images, `[batch, channels, h, w]`.
pub type LpPool2d = LpPool<2>;
/// Norms of windows of volumes, `[batch, channels, d, h, w]`.
pub type LpPool3d = LpPool<3>;

impl<const N: usize> LpPool<N> {
    /// An exponent, and a window as in [`MaxPool::new`].
    pub fn new(norm_type: f64, window: impl Into<PoolOptions<N>>) -> LpPool<N> {
        LpPool { norm_type, options: window.into() }
    }
}
pooled!(LpPool, |this, x| 1 => x.lp_pool1d(this.norm_type, this.options), 2 => x.lp_pool2d(this.norm_type, this.options), 3 => x.lp_pool3d(this.norm_type, this.options));
windows!(MaxPool, AvgPool, LpPool);

/// Averages of equal parts of `[batch, channels, …]`, as [`AdaptiveAvgPool1d`], [`AdaptiveAvgPool2d`] and
/// [`AdaptiveAvgPool3d`].
///
/// ```
/// use vorpal_nn::{AdaptiveAvgPool2d, DType, Device, Tensor};
/// let x = Tensor::ones([1, 2, 9, 7], DType::F32, &Device::cpu());
/// assert_eq!(AdaptiveAvgPool2d::new([1, 1]).forward(&x).shape(), [1, 2, 1, 1].into());
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct AdaptiveAvgPool<const N: usize> {
    /// Number of parts of each axis.
    #[module(skip)]
    pub output_size: [usize; N],
}
/// Averages of parts of signals, `[batch, channels, w]`.
pub type AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
/// Averages of parts of images, `[batch, channels, h, w]`.
pub type AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
/// Averages of parts of volumes, `[batch, channels, d, h, w]`.
pub type AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

impl<const N: usize> AdaptiveAvgPool<N> {
    /// So many parts of each axis.
    pub fn new(output_size: [usize; N]) -> AdaptiveAvgPool<N> {
        AdaptiveAvgPool { output_size }
    }
}
pooled!(AdaptiveAvgPool, |this, x| 1 => x.adaptive_avg_pool1d(this.output_size), 2 => x.adaptive_avg_pool2d(this.output_size), 3 => x.adaptive_avg_pool3d(this.output_size));

/// Maxima of equal parts of `[batch, channels, …]`, as [`AdaptiveMaxPool1d`], [`AdaptiveMaxPool2d`] and
/// [`AdaptiveMaxPool3d`].
///
/// ```
/// use vorpal_nn::{AdaptiveMaxPool1d, Device, Tensor};
/// let x = Tensor::from_slice(&[1.0f32, 3.0, 2.0], [1, 1, 3], &Device::cpu());
/// assert_eq!(AdaptiveMaxPool1d::new([1]).forward(&x).to_vec::<f32>()?, [3.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct AdaptiveMaxPool<const N: usize> {
    /// Number of parts of each axis.
    #[module(skip)]
    pub output_size: [usize; N],
}
/// Maxima of parts of signals, `[batch, channels, w]`.
pub type AdaptiveMaxPool1d = AdaptiveMaxPool<1>;
/// Maxima of parts of images, `[batch, channels, h, w]`.
pub type AdaptiveMaxPool2d = AdaptiveMaxPool<2>;
/// Maxima of parts of volumes, `[batch, channels, d, h, w]`.
pub type AdaptiveMaxPool3d = AdaptiveMaxPool<3>;

impl<const N: usize> AdaptiveMaxPool<N> {
    /// So many parts of each axis.
    pub fn new(output_size: [usize; N]) -> AdaptiveMaxPool<N> {
        AdaptiveMaxPool { output_size }
    }
}
pooled!(AdaptiveMaxPool, |this, x| 1 => x.adaptive_max_pool1d(this.output_size), 2 => x.adaptive_max_pool2d(this.output_size), 3 => x.adaptive_max_pool3d(this.output_size));
