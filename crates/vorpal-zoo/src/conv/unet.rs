//! Every pixel classified.

use vorpal_nn::{BatchNorm2d, Conv2d, ConvTranspose2d, Device, Module, Tensor};

/// Sizes of a [`UNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UNetOptions {
    /// Channels of an image.
    pub channels: usize,
    /// Filters at full resolution; there are twice as many at half of it, and so on.
    pub width: usize,
    /// How many times the resolution is halved.
    pub depth: usize,
    /// Classes of a pixel.
    pub classes: usize,
}

/// U-Net (Ronneberger, Fischer & Brox 2015): pairs of convolutions go down to half the resolution step by step, and up
/// again beside what the way down saw there. Convolutions are padded and normalised, as is usual today, so that images keep
/// their size: `[batch, channels, height, width]` to `[batch, classes, height, width]`.
///
/// For one channel, width 8, depth 2 and two classes there are 29,490 parameters; `vorpal train unet` finds the strokes of
/// digits under noise and lines: strokes that are there and strokes that are found are to share 0.7 of what they cover
/// together.
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::conv::{UNet, UNetOptions};
/// let device = Device::cpu();
/// let net = UNet::new(UNetOptions { channels: 1, width: 4, depth: 1, classes: 2 }, &device);
/// assert_eq!(net.forward(&Tensor::zeros([2, 1, 8, 8], DType::F32, &device)).shape(), [2, 2, 8, 8].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct UNet {
    first: DoubleConv,
    downs: Vec<DoubleConv>,
    ups: Vec<Up>,
    outc: Conv2d,
}

/// Two convolutions of 3 × 3, each with batch normalisation and ReLU.
#[derive(Clone, Debug, Module)]
struct DoubleConv {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
}

impl DoubleConv {
    fn new(channels: usize, filters: usize, device: &Device) -> DoubleConv {
        let conv = |from| Conv2d::new(from, filters, [3, 3], device).padding([1, 1]).without_bias();
        DoubleConv {
            conv1: conv(channels),
            bn1: BatchNorm2d::new(filters, device),
            conv2: conv(filters),
            bn2: BatchNorm2d::new(filters, device),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.bn1.forward(&self.conv1.forward(x)).relu();
        self.bn2.forward(&self.conv2.forward(&x)).relu()
    }
}

/// Twice the resolution, and what was seen there on the way down.
#[derive(Clone, Debug, Module)]
struct Up {
    up: ConvTranspose2d,
    conv: DoubleConv,
}

impl UNet {
    /// Random weights.
    pub fn new(options: UNetOptions, device: &Device) -> UNet {
        let UNetOptions { channels, width, depth, classes } = options;
        let up = |k: usize| Up {
            up: ConvTranspose2d::new(width << (k + 1), width << k, [2, 2], device).stride([2, 2]),
            conv: DoubleConv::new(width << (k + 1), width << k, device),
        };
        UNet {
            first: DoubleConv::new(channels, width, device),
            downs: (0..depth).map(|k| DoubleConv::new(width << k, width << (k + 1), device)).collect(),
            ups: (0..depth).rev().map(up).collect(),
            outc: Conv2d::new(width, classes, [1, 1], device),
        }
    }

    /// Logits `[batch, classes, height, width]` of images `[batch, channels, height, width]`, whose height and width can be
    /// halved `depth` times.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let mut x = self.first.forward(images);
        let mut seen = Vec::new();
        for down in &self.downs {
            seen.push(x.clone());
            x = down.forward(&x.max_pool2d(2));
        }
        for (up, beside) in self.ups.iter().zip(seen.iter().rev()) {
            x = up.conv.forward(&Tensor::concat(&[beside, &up.up.forward(&x)], 1));
        }
        self.outc.forward(&x)
    }
}
