//! Layers that move elements: flattening, shuffling, padding, resizing.

use vorpal_autodiff::ops::{Interpolation, PadMode};
use vorpal_autodiff::{At, Shape, Tensor};

use super::{Layer, wrong};
use crate::Module;

/// Axes `start` to `end` as one, by default all but the first.
///
/// ```
/// use vorpal_nn::{DType, Device, Flatten, Tensor};
/// let x = Tensor::ones([2, 3, 4], DType::F32, &Device::cpu());
/// assert_eq!(Flatten::default().forward(&x).shape(), [2, 12].into());
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct Flatten {
    /// First axis, 1 by default.
    #[module(skip)]
    pub start: isize,
    /// Last axis, the last of all by default.
    #[module(skip)]
    pub end: isize,
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten { start: 1, end: -1 }
    }
}

impl Flatten {
    /// The layer applied to a tensor.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.flatten(self.start, self.end)
    }
}

/// An axis as several.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor, Unflatten};
/// let x = Tensor::ones([2, 12], DType::F32, &Device::cpu());
/// assert_eq!(Unflatten::new(1, [3, 4]).forward(&x).shape(), [2, 3, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Unflatten {
    /// The axis.
    #[module(skip)]
    pub dim: isize,
    /// The sizes it becomes.
    #[module(skip)]
    pub sizes: Shape,
}

impl Unflatten {
    /// Axis `dim` as axes of `sizes`.
    pub fn new(dim: isize, sizes: impl Into<Shape>) -> Unflatten {
        Unflatten { dim, sizes: sizes.into() }
    }

    /// The layer applied to a tensor.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (at, shape) = (At::caller(), x.shape());
        let dim = if self.dim < 0 { self.dim + shape.rank() as isize } else { self.dim };
        let axis = usize::try_from(dim).ok().filter(|&axis| shape.get(axis) == Some(&self.sizes.numel()));
        match axis {
            Some(axis) => {
                let (front, back) = (shape[..axis].iter(), shape[axis + 1..].iter());
                x.reshape(front.chain(self.sizes.iter()).chain(back).copied().collect::<Shape>())
            }
            None => {
                let message = format!("axis {} does not become {}", self.dim, self.sizes);
                wrong::shape("unflatten", message, &[x], at)
            }
        }
    }
}

/// Channels become pixels: `[batch, channels · r², h, w]` to `[batch, channels, h · r, w · r]` (Shi et al. 2016).
///
/// ```
/// use vorpal_nn::{DType, Device, PixelShuffle, PixelUnshuffle, Tensor};
/// let x = Tensor::ones([1, 8, 3, 3], DType::F32, &Device::cpu());
/// let y = PixelShuffle { factor: 2 }.forward(&x);
/// assert_eq!(y.shape(), [1, 2, 6, 6].into());
/// assert_eq!(PixelUnshuffle { factor: 2 }.forward(&y).shape(), x.shape());
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct PixelShuffle {
    /// The factor r.
    pub factor: usize,
}

impl PixelShuffle {
    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.pixel_shuffle(self.factor)
    }
}

/// Pixels become channels: the inverse of [`PixelShuffle`].
#[derive(Clone, Copy, Debug, Module)]
pub struct PixelUnshuffle {
    /// The factor r.
    pub factor: usize,
}

impl PixelUnshuffle {
    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.pixel_unshuffle(self.factor)
    }
}

/// Channels of `[batch, channels, …]` dealt out, so that each group has some of every group (Zhang et al. 2018).
///
/// ```
/// use vorpal_nn::{ChannelShuffle, Device, Tensor};
/// let x = Tensor::from_slice(&[1i32, 2, 3, 4], [1, 4], &Device::cpu());
/// assert_eq!(ChannelShuffle { groups: 2 }.forward(&x).to_vec::<i32>()?, [1, 3, 2, 4]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct ChannelShuffle {
    /// Number of groups, which divides the channels.
    pub groups: usize,
}

impl ChannelShuffle {
    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (at, shape, groups) = (At::caller(), x.shape(), self.groups);
        if shape.rank() < 2 || groups == 0 || !shape[1].is_multiple_of(groups) {
            let message = format!("needs [batch, channels, …] in {groups} groups");
            return wrong::shape("channel_shuffle", message, &[x], at);
        }
        let parted: Shape =
            [shape[0], groups, shape[1] / groups].into_iter().chain(shape[2..].iter().copied()).collect();
        x.reshape(parted).transpose(1, 2).reshape(shape)
    }
}

/// `[batch, channels, …]` with axes of other sizes: see [`Tensor::interpolate`].
///
/// ```
/// use vorpal_nn::{DType, Device, Interpolation, Tensor, Upsample};
/// let x = Tensor::ones([1, 2, 3, 4], DType::F32, &Device::cpu());
/// assert_eq!(Upsample::scale([2.0, 2.0]).forward(&x).shape(), [1, 2, 6, 8].into());
/// let smooth = Upsample::size([5, 5]).mode(Interpolation::Linear).align_corners();
/// assert_eq!(smooth.forward(&x).shape(), [1, 2, 5, 5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Upsample {
    #[module(skip)]
    to: To,
    #[module(skip)]
    mode: Interpolation,
    align_corners: bool,
}

/// What an [`Upsample`] aims at.
#[derive(Clone, Debug)]
enum To {
    Size(Vec<usize>),
    Scale(Vec<f64>),
}

impl Upsample {
    /// To these sizes of the axes behind the channels, by the nearest element.
    pub fn size(size: impl Into<Vec<usize>>) -> Upsample {
        Upsample { to: To::Size(size.into()), mode: Interpolation::Nearest, align_corners: false }
    }

    /// To so many times the size of each axis, rounded down, by the nearest element. Where that is no whole number,
    /// elements lie as PyTorch's `recompute_scale_factor` puts them.
    pub fn scale(factors: impl Into<Vec<f64>>) -> Upsample {
        Upsample { to: To::Scale(factors.into()), mode: Interpolation::Nearest, align_corners: false }
    }

    /// The same with another way to find values between elements.
    #[must_use]
    pub fn mode(self, mode: Interpolation) -> Upsample {
        Upsample { mode, ..self }
    }

    /// The same where the first and last elements keep their places.
    #[must_use]
    pub fn align_corners(self) -> Upsample {
        Upsample { align_corners: true, ..self }
    }

    /// The layer applied to a batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (at, shape) = (At::caller(), x.shape());
        let size = match &self.to {
            To::Size(size) => size.clone(),
            To::Scale(factors) if factors.len() + 2 == shape.rank() => {
                let scaled = shape[2..].iter().zip(factors).map(|(&n, f)| (n as f64 * f).floor() as usize);
                scaled.collect()
            }
            To::Scale(factors) => {
                let message = format!("{} factors need [batch, channels] and as many axes", factors.len());
                return wrong::shape("upsample", message, &[x], at);
            }
        };
        x.interpolate(&size, self.mode, self.align_corners)
    }
}

/// Elements before and after each of the last `N` axes, from the outermost to the innermost: a number for all sides, one
/// for both sides of each axis, or a pair for each axis.
///
/// ```
/// use vorpal_nn::Around;
/// assert_eq!(Around::<2>::from(1), Around([[1, 1], [1, 1]]));
/// assert_eq!(Around::<2>::from([1, 2]), Around([[1, 1], [2, 2]]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around<const N: usize>(
    /// `[before, after]` of each axis.
    pub [[usize; 2]; N],
);

impl<const N: usize> From<usize> for Around<N> {
    fn from(all: usize) -> Around<N> {
        Around([[all; 2]; N])
    }
}
impl<const N: usize> From<[usize; N]> for Around<N> {
    fn from(sides: [usize; N]) -> Around<N> {
        Around(sides.map(|side| [side; 2]))
    }
}
impl<const N: usize> From<[[usize; 2]; N]> for Around<N> {
    fn from(pairs: [[usize; 2]; N]) -> Around<N> {
        Around(pairs)
    }
}

/// What stands around a tensor.
enum Beyond {
    Constant(f64),
    Itself(PadMode),
}

/// `x` with its last `N` axes padded.
#[track_caller]
fn padded<const N: usize>(op: &'static str, x: &Tensor, around: &Around<N>, beyond: Beyond) -> Tensor {
    let at = At::caller();
    if x.rank() < N {
        return wrong::shape(op, format!("needs {N} axes or more"), &[x], at);
    }
    let mut x = x.clone();
    for (axis, [before, after]) in (-(N as isize)..0).zip(around.0) {
        x = match beyond {
            _ if [before, after] == [0, 0] => x,
            Beyond::Constant(value) => x.pad(axis, before, after, value),
            Beyond::Itself(mode) => x.pad_with(axis, before, after, mode),
        };
    }
    x
}

/// A constant around the last `N` axes, as [`ConstantPad1d`], [`ConstantPad2d`] and [`ConstantPad3d`]; with 0,
/// PyTorch's `ZeroPad2d` and its like.
///
/// ```
/// use vorpal_nn::{ConstantPad1d, Device, Tensor};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [1, 1, 2], &Device::cpu());
/// let y = ConstantPad1d::new([[1, 2]], 0.5).forward(&x);
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 1.0, 2.0, 0.5, 0.5]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Module)]
pub struct ConstantPad<const N: usize> {
    /// Elements on each side.
    #[module(skip)]
    pub padding: Around<N>,
    /// What they are.
    pub value: f64,
}
/// A constant around signals.
pub type ConstantPad1d = ConstantPad<1>;
/// A constant around images.
pub type ConstantPad2d = ConstantPad<2>;
/// A constant around volumes.
pub type ConstantPad3d = ConstantPad<3>;

impl<const N: usize> ConstantPad<N> {
    /// So many elements on each side, and what they are.
    pub fn new(padding: impl Into<Around<N>>, value: f64) -> ConstantPad<N> {
        ConstantPad { padding: padding.into(), value }
    }

    /// Zeros.
    pub fn zero(padding: impl Into<Around<N>>) -> ConstantPad<N> {
        ConstantPad::new(padding, 0.0)
    }

    /// The layer applied to a tensor.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        padded("constant_pad", x, &self.padding, Beyond::Constant(self.value))
    }
}

macro_rules! pads {
    ($($(#[$doc:meta])* $name:ident $one:ident $two:ident $three:ident $op:literal $mode:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Module)]
        pub struct $name<const N: usize> {
            /// Elements on each side.
            #[module(skip)]
            pub padding: Around<N>,
        }
        #[doc = concat!("[`", stringify!($name), "`] of signals.")]
        pub type $one = $name<1>;
        #[doc = concat!("[`", stringify!($name), "`] of images.")]
        pub type $two = $name<2>;
        #[doc = concat!("[`", stringify!($name), "`] of volumes.")]
        pub type $three = $name<3>;

        impl<const N: usize> $name<N> {
            /// So many elements on each side.
            pub fn new(padding: impl Into<Around<N>>) -> $name<N> {
                $name { padding: padding.into() }
            }

            /// The layer applied to a tensor.
            #[track_caller]
            pub fn forward(&self, x: &Tensor) -> Tensor {
                padded($op, x, &self.padding, Beyond::Itself(PadMode::$mode))
            }
        }
        layers!(<N> $name);
    )*};
}

pads! {
    /// The last `N` axes mirrored at their ends, which are not repeated.
    ReflectionPad ReflectionPad1d ReflectionPad2d ReflectionPad3d "reflection_pad" Reflect;
    /// The ends of the last `N` axes, repeated.
    ReplicationPad ReplicationPad1d ReplicationPad2d ReplicationPad3d "replication_pad" Replicate;
    /// The last `N` axes as rings.
    CircularPad CircularPad1d CircularPad2d CircularPad3d "circular_pad" Circular;
}

layers!(Flatten, Unflatten, PixelShuffle, PixelUnshuffle, ChannelShuffle, Upsample);
layers!(<N> ConstantPad);
