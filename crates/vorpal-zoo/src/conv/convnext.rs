//! Convolutions in the style of transformers.

use vorpal_nn::{
    Conv2d, Conv2dOptions, DType, Device, DropPath, Layer, LayerNorm, Linear, Module, Padding, Sequential,
    Tensor,
};

/// Sizes of a [`ConvNeXt`].
#[derive(Clone, Debug, PartialEq)]
pub struct ConvNeXtOptions {
    /// Channels of an image.
    pub channels: usize,
    /// Pixels of a side of the patches that images are cut into.
    pub patch: usize,
    /// Blocks and filters of every stage.
    pub stages: Vec<[usize; 2]>,
    /// Number of classes.
    pub classes: usize,
    /// Probability with which the last block is left out of a step of training; it grows from 0 with depth.
    pub drop_path: f64,
    /// What stands before the inside of every block at first. The paper has 1e-6, which dozens of blocks need; a network of
    /// few learns faster from 1.
    pub layer_scale: f64,
}

impl ConvNeXtOptions {
    /// ConvNeXt-T: 28.6 million parameters for 1000 classes.
    pub fn tiny(classes: usize) -> ConvNeXtOptions {
        let stages = vec![[3, 96], [3, 192], [9, 384], [3, 768]];
        ConvNeXtOptions { channels: 3, patch: 4, stages, classes, drop_path: 0.1, layer_scale: 1e-6 }
    }
}

/// ConvNeXt (Liu, Mao et al. 2022): patches instead of a stem; blocks that look around by a convolution of 7 × 7 which keeps
/// channels apart, then mix the channels of every pixel by two layers with GELU between; one normalisation a block, of the
/// channels of a pixel. Parameters are named as in the authors' code. Images `[batch, channels, height, width]` to
/// `[batch, classes]`.
///
/// `vorpal train convnext` teaches one of two blocks with 32 filters and two with 64 (102,378 parameters) MNIST digits of
/// 14 × 14 pixels, of which it is to name 96 %.
///
/// ```
/// use vorpal_nn::{Device, Module};
/// use vorpal_zoo::conv::{ConvNeXt, ConvNeXtOptions};
/// let model = ConvNeXt::new(&ConvNeXtOptions::tiny(1000), &Device::cpu());
/// assert_eq!(model.parameter_count(), 28_589_128);
/// ```
#[derive(Clone, Debug, Module)]
pub struct ConvNeXt {
    downsample_layers: Vec<Sequential>,
    stages: Vec<Vec<ConvNeXtBlock>>,
    norm: LayerNorm,
    head: Linear,
}

/// What is added to variances.
const EPS: f64 = 1e-6;

/// A layer normalisation of the channels of images.
#[derive(Clone, Debug, Module)]
struct ChannelNorm {
    weight: Tensor,
    bias: Tensor,
}

impl ChannelNorm {
    fn new(channels: usize, device: &Device) -> ChannelNorm {
        ChannelNorm {
            weight: Tensor::ones([channels], DType::F32, device),
            bias: Tensor::zeros([channels], DType::F32, device),
        }
    }
}

impl Layer for ChannelNorm {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.movedim(1, -1).layer_norm(Some(&self.weight), Some(&self.bias), EPS).movedim(-1, 1)
    }
}

#[derive(Clone, Debug, Module)]
struct ConvNeXtBlock {
    dwconv: Conv2d,
    norm: LayerNorm,
    pwconv1: Linear,
    pwconv2: Linear,
    gamma: Tensor,
    drop_path: DropPath,
}

impl ConvNeXtBlock {
    fn new(width: usize, drop_path: f64, scale: f64, device: &Device) -> ConvNeXtBlock {
        let apart =
            Conv2dOptions { padding: Padding::Zeros([3, 3]), groups: width, ..Conv2dOptions::default() };
        ConvNeXtBlock {
            dwconv: Conv2d::with_options(width, width, [7, 7], apart, device),
            norm: LayerNorm::new([width], device).eps(EPS),
            pwconv1: Linear::new(width, 4 * width, device),
            pwconv2: Linear::new(4 * width, width, device),
            gamma: Tensor::full([width], scale, DType::F32, device),
            drop_path: DropPath::new(drop_path),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let inner = self.norm.forward(&self.dwconv.forward(x).movedim(1, -1));
        let inner = self.pwconv2.forward(&self.pwconv1.forward(&inner).gelu()) * &self.gamma;
        x + self.drop_path.forward(&inner.movedim(-1, 1))
    }
}

impl ConvNeXt {
    /// Random weights.
    pub fn new(options: &ConvNeXtOptions, device: &Device) -> ConvNeXt {
        let conv =
            |from: usize, to: usize, size: usize| Conv2d::new(from, to, [size; 2], device).stride([size; 2]);
        let depth: usize = options.stages.iter().map(|stage| stage[0]).sum();
        let (mut from, mut block) = (options.channels, 0);
        let (mut downsample_layers, mut stages) = (Vec::new(), Vec::new());
        for (k, &[blocks, width]) in options.stages.iter().enumerate() {
            let smaller = Sequential::new();
            downsample_layers.push(if k == 0 {
                smaller.then(conv(from, width, options.patch)).then(ChannelNorm::new(width, device))
            } else {
                smaller.then(ChannelNorm::new(from, device)).then(conv(from, width, 2))
            });
            let stage = (block..block + blocks).map(|j| {
                let drop = options.drop_path * j as f64 / (depth.max(2) - 1) as f64;
                ConvNeXtBlock::new(width, drop, options.layer_scale, device)
            });
            stages.push(stage.collect());
            (from, block) = (width, block + blocks);
        }
        ConvNeXt {
            downsample_layers,
            stages,
            norm: LayerNorm::new([from], device).eps(EPS),
            head: Linear::new(from, options.classes, device),
        }
    }

    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let mut x = images.clone();
        for (smaller, stage) in self.downsample_layers.iter().zip(&self.stages) {
            x = stage.iter().fold(smaller.forward(&x), |x, block| block.forward(&x));
        }
        self.head.forward(&self.norm.forward(&x.mean([2, 3])))
    }
}
