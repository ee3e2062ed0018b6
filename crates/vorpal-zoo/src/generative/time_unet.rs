//! A small U-Net that knows the time.

use vorpal_nn::{
    AttentionOptions, Conv2d, Device, GroupNorm, Interpolation, Linear, Module, Tensor, multi_head_attention,
};

use super::Denoiser;
use super::time::TimeEmbedding;

/// Heads of the attention, and groups of channels that are normalised together.
const HEADS: usize = 4;
const GROUPS: usize = 4;

/// The U-Net of denoising diffusion (Ho, Jain & Abbeel 2020) at two resolutions: residual blocks that are told the time,
/// attention at half the resolution, and a way across for what the fine one saw.
///
/// Images `[n, channels, height, width]` and times `[n]` from 0 to 1, to the same shape. Labels are not looked at. For
/// width 16, a multiple of 4, and one channel there are 101,569 parameters.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::TimeUNet;
/// let device = Device::cpu();
/// let net = TimeUNet::new(1, 8, &device);
/// let (x, t) = (Tensor::zeros([2, 1, 6, 6], DType::F32, &device), Tensor::ones([2], DType::F32, &device));
/// assert_eq!(net.forward(&x, &t).shape(), [2, 1, 6, 6].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TimeUNet {
    time: TimeEmbedding,
    conv_in: Conv2d,
    fine: TimeBlock,
    down: Conv2d,
    coarse: TimeBlock,
    attention: Attention,
    middle: TimeBlock,
    back: TimeBlock,
    up: Conv2d,
    joined: TimeBlock,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// A residual block that is told the time: normalisation, SiLU and a convolution of 3 × 3, twice, with an embedding of the
/// time added in between.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::TimeBlock;
/// let device = Device::cpu();
/// let block = TimeBlock::new(4, 8, 16, &device);
/// let (x, time) = (Tensor::ones([2, 4, 3, 3], DType::F32, &device), Tensor::ones([2, 16], DType::F32, &device));
/// assert_eq!(block.forward(&x, &time).shape(), [2, 8, 3, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TimeBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    skip: Option<Conv2d>,
}

/// Attention of all pixels to one another, added to what came in.
#[derive(Clone, Debug, Module)]
struct Attention {
    norm: GroupNorm,
    qkv: Linear,
    proj: Linear,
}

/// A convolution of 3 × 3 that keeps the size at stride 1.
fn conv3(channels: usize, filters: usize, device: &Device) -> Conv2d {
    Conv2d::new(channels, filters, [3, 3], device).padding([1, 1])
}

impl TimeBlock {
    /// From `channels` to `filters`, both multiples of 4, with times embedded in `embedded` numbers.
    pub fn new(channels: usize, filters: usize, embedded: usize, device: &Device) -> TimeBlock {
        let skip = (channels != filters).then(|| Conv2d::new(channels, filters, [1, 1], device));
        TimeBlock {
            norm1: GroupNorm::new(GROUPS, channels, device),
            conv1: conv3(channels, filters, device),
            time: Linear::new(embedded, filters, device),
            norm2: GroupNorm::new(GROUPS, filters, device),
            conv2: conv3(filters, filters, device),
            skip,
        }
    }

    /// The block applied to `[n, channels, height, width]` and embedded times `[n, embedded]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, time: &Tensor) -> Tensor {
        let inner = self.conv1.forward(&self.norm1.forward(x).silu());
        let inner = inner + self.time.forward(&time.silu()).unsqueeze(-1).unsqueeze(-1);
        let inner = self.conv2.forward(&self.norm2.forward(&inner).silu());
        self.skip.as_ref().map_or_else(|| x.clone(), |skip| skip.forward(x)) + inner
    }
}

impl Attention {
    fn new(channels: usize, device: &Device) -> Attention {
        Attention {
            norm: GroupNorm::new(GROUPS, channels, device),
            qkv: Linear::new(channels, 3 * channels, device),
            proj: Linear::new(channels, channels, device),
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let channels = x.shape().get(1).copied().unwrap_or(1);
        let rows = self.qkv.forward(&self.norm.forward(x).flatten(2, -1).transpose(1, 2));
        let [q, k, v] = [0, 1, 2].map(|part| rows.narrow(-1, part * channels, channels));
        let seen = multi_head_attention(&q, &k, &v, HEADS, AttentionOptions::default());
        x + self.proj.forward(&seen).transpose(1, 2).reshape(x.shape())
    }
}

impl TimeUNet {
    /// Random weights; `width`, a multiple of 4, channels at the fine resolution and twice as many at the coarse one. With a
    /// width of 4 every fine channel is normalised by itself, which takes away what the time adds to it: only the coarse
    /// blocks hear it.
    pub fn new(channels: usize, width: usize, device: &Device) -> TimeUNet {
        let (embedded, twice) = (4 * width, 2 * width);
        let block = |from, to| TimeBlock::new(from, to, embedded, device);
        TimeUNet {
            time: TimeEmbedding::new(twice, embedded, device),
            conv_in: conv3(channels, width, device),
            fine: block(width, width),
            down: conv3(width, width, device).stride([2, 2]),
            coarse: block(width, twice),
            attention: Attention::new(twice, device),
            middle: block(twice, twice),
            back: block(2 * twice, twice),
            up: conv3(twice, width, device),
            joined: block(twice, width),
            norm_out: GroupNorm::new(GROUPS, width, device),
            conv_out: conv3(width, channels, device),
        }
    }

    /// What the network makes of images `[n, channels, height, width]` at times `[n]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, times: &Tensor) -> Tensor {
        let time = self.time.forward(times);
        let fine = self.fine.forward(&self.conv_in.forward(x), &time);
        let coarse = self.coarse.forward(&self.down.forward(&fine), &time);
        let inner = self.middle.forward(&self.attention.forward(&coarse), &time);
        let inner = self.back.forward(&Tensor::concat(&[&inner, &coarse], 1), &time);
        let size: Vec<usize> = fine.shape().iter().skip(2).copied().collect();
        let inner = self.up.forward(&inner.interpolate(&size, Interpolation::Nearest, false));
        let inner = self.joined.forward(&Tensor::concat(&[&inner, &fine], 1), &time);
        self.conv_out.forward(&self.norm_out.forward(&inner).silu())
    }
}

impl Denoiser for TimeUNet {
    fn denoise(&self, x: &Tensor, times: &Tensor, _: Option<&Tensor>) -> Tensor {
        self.forward(x, times)
    }
}
