//! The vision transformer.

use vorpal_nn::{AttentionOptions, Conv2d, Device, LayerNorm, Linear, Module, Tensor, init};

use super::parts::{Block, xavier};

/// Sizes of a [`Vit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VitOptions {
    /// Pixels of an image's side.
    pub image: usize,
    /// Pixels of a patch's side; divides the image's.
    pub patch: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Numbers that stand for a patch.
    pub width: usize,
    /// Heads of each attention; divides the width.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Numbers that come out.
    pub classes: usize,
}

impl Default for VitOptions {
    /// For handwritten digits in patches of 7 × 7: 0.2 million parameters.
    fn default() -> VitOptions {
        VitOptions { image: 28, patch: 7, channels: 1, width: 64, heads: 4, layers: 4, classes: 10 }
    }
}

impl VitOptions {
    /// Patches of an image.
    pub fn patches(&self) -> usize {
        (self.image / self.patch.max(1)).pow(2)
    }
}

/// The vision transformer (Dosovitskiy et al. 2021): patches of an image as a sequence, a token for the class in front,
/// learned positions, blocks normalised in front. Parameters are named and laid out as in timm; ViT-B/16 is an image of
/// 224, patches of 16, 3 channels, a width of 768, 12 heads, 12 layers and 1000 classes: 86.6 million parameters.
///
/// Images are `[batch, channels, image, image]`, logits `[batch, classes]`. `vorpal train vit` teaches one of the default sizes
/// (205,066 parameters) MNIST digits, of which it is to name 96 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::transformer::{Vit, VitOptions};
/// let device = Device::cpu();
/// let model = Vit::new(VitOptions { width: 16, layers: 1, ..VitOptions::default() }, &device);
/// let images = Tensor::zeros([2, 1, 28, 28], DType::F32, &device);
/// assert_eq!(model.forward(&images).shape(), [2, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Vit {
    cls_token: Tensor,
    pos_embed: Tensor,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

/// Patches as rows.
#[derive(Clone, Debug, Module)]
pub(super) struct PatchEmbed {
    proj: Conv2d,
}

impl PatchEmbed {
    pub(super) fn new(options: &VitOptions, device: &Device) -> PatchEmbed {
        let VitOptions { patch, channels, width, .. } = *options;
        let flat = init::xavier_uniform([width, channels * patch * patch], device);
        let conv = Conv2d::new(channels, width, [patch; 2], device).stride([patch; 2]);
        let weight = flat.reshape([width, channels, patch, patch]);
        PatchEmbed { proj: Conv2d { weight, bias: Some(init::constant([width], 0.0, device)), ..conv } }
    }

    /// `[batch, channels, image, image]` as `[batch, patches, width]`.
    #[track_caller]
    pub(super) fn forward(&self, images: &Tensor) -> Tensor {
        self.proj.forward(images).flatten(2, 3).transpose(1, 2)
    }
}

/// Rows with `token`, `[1, 1, width]`, in front.
#[track_caller]
pub(super) fn behind(token: &Tensor, rows: &Tensor) -> Tensor {
    let (batch, width) =
        (rows.shape().first().copied().unwrap_or(0), rows.shape().last().copied().unwrap_or(0));
    Tensor::concat(&[&token.broadcast_to([batch, 1, width]), rows], 1)
}

impl Vit {
    /// Random weights, as timm starts.
    pub fn new(options: VitOptions, device: &Device) -> Vit {
        let VitOptions { width, heads, layers, classes, .. } = options;
        Vit {
            cls_token: init::normal([1, 1, width], 0.02, device),
            pos_embed: init::normal([1, options.patches() + 1, width], 0.02, device),
            patch_embed: PatchEmbed::new(&options, device),
            blocks: (0..layers).map(|_| Block::new(width, heads, device)).collect(),
            norm: LayerNorm::new(width, device).eps(1e-6),
            head: xavier(width, classes, device),
        }
    }

    /// Logits `[batch, classes]` of images `[batch, channels, image, image]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let rows = self
            .blocks
            .iter()
            .fold(self.embedded(images), |x, block| block.forward(&x, AttentionOptions::default()));
        self.head.forward(&self.norm.forward(&rows.narrow(1, 0, 1).squeeze(1)))
    }

    /// Where the token of the class looks in the last block, `[batch, heads, rows of patches, columns of patches]`.
    #[track_caller]
    pub fn attention(&self, images: &Tensor) -> Tensor {
        let Some((last, before)) = self.blocks.split_last() else { return images.clone() };
        let x = before
            .iter()
            .fold(self.embedded(images), |x, block| block.forward(&x, AttentionOptions::default()));
        let all = last.attention(&x);
        let patches = all.shape().last().copied().unwrap_or(1).saturating_sub(1);
        let side = patches.isqrt();
        let (batch, heads) =
            (all.shape().first().copied().unwrap_or(0), all.shape().get(1).copied().unwrap_or(0));
        all.narrow(2, 0, 1).narrow(3, 1, patches).reshape([batch, heads, side, side])
    }

    #[track_caller]
    fn embedded(&self, images: &Tensor) -> Tensor {
        behind(&self.cls_token, &self.patch_embed.forward(images)) + &self.pos_embed
    }
}
