//! Images without convolution and attention.

use vorpal_nn::{Conv2d, Device, LayerNorm, Linear, Module, Tensor};

/// Sizes of a [`MlpMixer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixerOptions {
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Pixels of a side of a patch, which divides height and width.
    pub patch: usize,
    /// Numbers of a patch.
    pub width: usize,
    /// Hidden units of what mixes patches, and of what mixes the numbers of a patch.
    pub hidden: [usize; 2],
    /// Number of blocks.
    pub layers: usize,
    /// Number of classes.
    pub classes: usize,
}

/// MLP-Mixer (Tolstikhin et al. 2021): patches of an image become rows of numbers; every block mixes the patches, for each
/// number on its own, then the numbers, for each patch on its own, by two-layer perceptrons; the mean of all patches is
/// classified. Images `[batch, channels, height, width]` to logits `[batch, classes]`.
///
/// The paper's S/16 for images of 224 × 224 (width 512, hidden units 256 and 2048, 8 layers, 1000 classes) has 18.5 million
/// parameters; `vorpal train mixer` teaches one of patches of 7 × 7, width 64 and 3 layers (60,858 parameters) MNIST digits, of
/// which it is to name 96.5 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::dense::{MixerOptions, MlpMixer};
/// let device = Device::cpu();
/// let options =
///     MixerOptions { image: [1, 8, 8], patch: 4, width: 8, hidden: [4, 16], layers: 1, classes: 3 };
/// let model = MlpMixer::new(options, &device);
/// assert_eq!(model.forward(&Tensor::zeros([2, 1, 8, 8], DType::F32, &device)).shape(), [2, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MlpMixer {
    stem: Conv2d,
    blocks: Vec<MixerBlock>,
    norm: LayerNorm,
    head: Linear,
}

/// A block of an [`MlpMixer`], named as in timm.
#[derive(Clone, Debug, Module)]
struct MixerBlock {
    norm1: LayerNorm,
    mlp_tokens: Perceptron,
    norm2: LayerNorm,
    mlp_channels: Perceptron,
}

/// Two layers with GELU between.
#[derive(Clone, Debug, Module)]
struct Perceptron {
    fc1: Linear,
    fc2: Linear,
}

impl Perceptron {
    fn new(width: usize, hidden: usize, device: &Device) -> Perceptron {
        Perceptron { fc1: Linear::new(width, hidden, device), fc2: Linear::new(hidden, width, device) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.fc2.forward(&self.fc1.forward(x).gelu())
    }
}

impl MlpMixer {
    /// Random weights.
    pub fn new(options: MixerOptions, device: &Device) -> MlpMixer {
        let MixerOptions { image: [channels, height, width], patch, hidden: [tokens, numbers], .. } = options;
        let patches = (height / patch.max(1)) * (width / patch.max(1));
        let block = || MixerBlock {
            norm1: LayerNorm::new([options.width], device),
            mlp_tokens: Perceptron::new(patches, tokens, device),
            norm2: LayerNorm::new([options.width], device),
            mlp_channels: Perceptron::new(options.width, numbers, device),
        };
        MlpMixer {
            stem: Conv2d::new(channels, options.width, [patch; 2], device).stride([patch; 2]),
            blocks: (0..options.layers).map(|_| block()).collect(),
            norm: LayerNorm::new([options.width], device),
            head: Linear::new(options.width, options.classes, device),
        }
    }

    /// Logits `[batch, classes]` of images `[batch, channels, height, width]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let mut x = self.stem.forward(images).flatten(2, 3).transpose(1, 2);
        for block in &self.blocks {
            let across = block.mlp_tokens.forward(&block.norm1.forward(&x).transpose(1, 2));
            x = x + across.transpose(1, 2);
            x = &x + block.mlp_channels.forward(&block.norm2.forward(&x));
        }
        self.head.forward(&self.norm.forward(&x).mean([1]))
    }
}
