//! CLIP: images and texts in one space.

use vorpal_nn::{AttentionOptions, Device, Embedding, LayerNorm, Linear, Module, Tensor, init};

use super::parts::{Block, unbiased};
use super::{Vit, VitOptions};

/// Sizes of a [`Clip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClipOptions {
    /// The encoder of images; its classes are the numbers of the common space.
    pub images: VitOptions,
    /// Different tokens of texts.
    pub vocabulary: usize,
    /// Tokens of a text, all of them: shorter texts are filled up behind their end.
    pub context: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Heads of the encoder of texts; divides its width.
    pub heads: usize,
    /// Blocks of the encoder of texts.
    pub layers: usize,
}

impl Default for ClipOptions {
    /// For handwritten digits and short texts of bytes: 0.2 million parameters.
    fn default() -> ClipOptions {
        let images = VitOptions { layers: 3, classes: 32, ..VitOptions::default() };
        ClipOptions { images, vocabulary: 128, context: 16, width: 48, heads: 4, layers: 2 }
    }
}

/// CLIP (Radford et al. 2021): a vision transformer and a causal transformer of texts put images and their descriptions at
/// the same place of a sphere, and all others apart. Whatever can be described is recognised without an example.
///
/// `vorpal train clip` (221,601 parameters) describes MNIST digits ("a bold three"); at least 93 % of the digits of the test
/// must be most alike to their name.
///
/// Images are `[batch, channels, image, image]`, texts `[batch, context]` of tokens of which the last is read.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::transformer::{Clip, ClipOptions};
/// let device = Device::cpu();
/// let model = Clip::new(ClipOptions { layers: 1, ..ClipOptions::default() }, &device);
/// let images = model.images(&Tensor::zeros([2, 1, 28, 28], DType::F32, &device));
/// let texts = model.texts(&Tensor::zeros([3, 16], DType::I32, &device));
/// assert_eq!(model.likeness(&images, &texts).shape(), [2, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Clip {
    visual: Vit,
    token_embedding: Embedding,
    positional_embedding: Tensor,
    blocks: Vec<Block>,
    ln_final: LayerNorm,
    text_projection: Linear,
    /// Logarithm of the factor of likenesses.
    logit_scale: Tensor,
}

impl Clip {
    /// Random weights, as CLIP starts.
    pub fn new(options: ClipOptions, device: &Device) -> Clip {
        let ClipOptions { images, vocabulary, context, width, heads, layers } = options;
        let deviation = (width.max(1) as f64).sqrt().recip();
        Clip {
            visual: Vit::new(images, device),
            token_embedding: Embedding::from_weight(init::normal([vocabulary, width], 0.02, device)),
            positional_embedding: init::normal([context, width], 0.01, device),
            blocks: (0..layers).map(|_| Block::new(width, heads, device)).collect(),
            ln_final: LayerNorm::new(width, device),
            text_projection: unbiased(width, images.classes, deviation, device),
            logit_scale: init::constant([1], (1.0f32 / 0.07).ln(), device),
        }
    }

    /// Where images stand, `[batch, space]`, vectors of length 1.
    #[track_caller]
    pub fn images(&self, images: &Tensor) -> Tensor {
        self.visual.forward(images).normalize_l2(-1, 1e-12)
    }

    /// Where texts stand, `[batch, space]`, vectors of length 1.
    #[track_caller]
    pub fn texts(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.shape().last().copied().unwrap_or(0);
        let x = self.token_embedding.forward(tokens) + self.positional_embedding.narrow(0, 0, length);
        let x =
            self.blocks.iter().fold(x, |x, block| block.forward(&x, AttentionOptions::default().causal()));
        let last = x.narrow(1, length.saturating_sub(1), 1).squeeze(1);
        self.text_projection.forward(&self.ln_final.forward(&last)).normalize_l2(-1, 1e-12)
    }

    /// How well each image fits each text: products of their vectors by a trained factor, at most 100.
    #[track_caller]
    pub fn likeness(&self, images: &Tensor, texts: &Tensor) -> Tensor {
        images.matmul(&texts.t()) * self.logit_scale.exp().clamp_max(100.0)
    }

    /// The loss of a batch of images and their texts (InfoNCE both ways): cross-entropy of `likeness`, `[batch, batch]`,
    /// by rows and by columns. Where two texts are the same, which `same`, `[batch, batch]` of ones and zeros, says, an
    /// image fits both.
    #[track_caller]
    pub fn loss(likeness: &Tensor, same: &Tensor) -> Tensor {
        let fits = same / same.sum_keepdim(-1);
        let way = |scores: &Tensor| -(scores.log_softmax(-1) * &fits).sum(-1).mean_all();
        (way(likeness) + way(&likeness.t())) * 0.5
    }
}
