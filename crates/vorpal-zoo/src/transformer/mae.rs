//! Images learned by completing them.

use vorpal_nn::{AttentionOptions, DType, Device, LayerNorm, Linear, Module, Tensor, init};

use super::VitOptions;
use super::parts::{Block, xavier};
use super::vit::{PatchEmbed, behind};

/// Sizes of a [`Mae`] besides those of its encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaeOptions {
    /// The encoder; its classes do not count.
    pub encoder: VitOptions,
    /// Numbers that stand for a patch in the decoder.
    pub width: usize,
    /// Heads of the decoder; divides its width.
    pub heads: usize,
    /// Blocks of the decoder.
    pub layers: usize,
    /// Patches of an image that the encoder sees.
    pub seen: usize,
}

impl Default for MaeOptions {
    /// For handwritten digits: 12 of 49 patches of 4 × 4 are seen; 0.2 million parameters.
    fn default() -> MaeOptions {
        let encoder = VitOptions { patch: 4, layers: 3, ..VitOptions::default() };
        MaeOptions { encoder, width: 32, heads: 4, layers: 2, seen: 12 }
    }
}

/// The masked autoencoder (He et al. 2022): an encoder sees a quarter of the patches of an image, and a small decoder draws
/// the others. Parameters are named as in the authors' code, which has timm's names; positions are sines and cosines.
///
/// Images are `[batch, channels, image, image]` with a noise `[batch, patches]`, whose smallest numbers tell which patches
/// are seen.
///
/// `vorpal train mae` (179,344 parameters) completes MNIST digits of which it sees 12 of 49 patches, to a mean squared error of
/// at most 0.045 a hidden pixel; the mean of all digits has 0.067.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::transformer::{Mae, MaeOptions};
/// let device = Device::cpu();
/// let options = MaeOptions { width: 8, layers: 1, ..MaeOptions::default() };
/// let model = Mae::new(options, &device);
/// let images = Tensor::zeros([2, 1, 28, 28], DType::F32, &device);
/// let noise = Tensor::rand([2, 49], DType::F32, &device);
/// let (patches, hidden) = model.forward(&images, &noise);
/// assert_eq!((patches.shape(), hidden.shape()), ([2, 49, 16].into(), [2, 49].into()));
/// ```
#[derive(Clone, Debug, Module)]
pub struct Mae {
    cls_token: Tensor,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    decoder_embed: Linear,
    mask_token: Tensor,
    decoder_blocks: Vec<Block>,
    decoder_norm: LayerNorm,
    decoder_pred: Linear,
    #[module(skip)]
    options: MaeOptions,
}

/// Sines and cosines of row and column of each patch, `[patches, width]`: half of the numbers for each.
fn positions(side: usize, width: usize, device: &Device) -> Tensor {
    let number = |place: usize, k: usize| {
        let half = width / 4;
        let angle = place as f64 / 10_000f64.powf((k % half.max(1)) as f64 / half.max(1) as f64);
        if k < half { angle.sin() } else { angle.cos() }
    };
    let all = (0..side * side).flat_map(|patch| {
        let (row, column) = (patch / side, patch % side);
        (0..width).map(move |k| if k < width / 2 { (column, k) } else { (row, k - width / 2) })
    });
    let numbers: Vec<f32> = all.map(|(place, k)| number(place, k) as f32).collect();
    Tensor::from_slice(&numbers, [side * side, width], device)
}

/// Rows `[batch, rows, width]` picked by `places`, `[batch, count]`.
#[track_caller]
fn picked(rows: &Tensor, places: &Tensor) -> Tensor {
    let width = rows.shape().last().copied().unwrap_or(0);
    let count = places.shape().dims().to_vec();
    let shape: Vec<usize> = count.into_iter().chain([width]).collect();
    rows.gather(1, &places.unsqueeze(-1).broadcast_to(shape))
}

impl Mae {
    /// Random weights, as the authors start.
    pub fn new(options: MaeOptions, device: &Device) -> Mae {
        let VitOptions { patch, channels, width, heads, layers, .. } = options.encoder;
        Mae {
            cls_token: init::normal([1, 1, width], 0.02, device),
            patch_embed: PatchEmbed::new(&options.encoder, device),
            blocks: (0..layers).map(|_| Block::new(width, heads, device)).collect(),
            norm: LayerNorm::new(width, device).eps(1e-6),
            decoder_embed: xavier(width, options.width, device),
            mask_token: init::normal([1, 1, options.width], 0.02, device),
            decoder_blocks: (0..options.layers)
                .map(|_| Block::new(options.width, options.heads, device))
                .collect(),
            decoder_norm: LayerNorm::new(options.width, device).eps(1e-6),
            decoder_pred: xavier(options.width, channels * patch * patch, device),
            options,
        }
    }

    /// All patches as the decoder draws them, `[batch, patches, pixels of a patch]`, and 1 for those that were hidden, 0
    /// for those that were seen, `[batch, patches]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor, noise: &Tensor) -> (Tensor, Tensor) {
        let Ok(device) = images.device() else { return (images.clone(), images.clone()) };
        let MaeOptions { encoder, width, seen, .. } = self.options;
        let (side, batch) =
            (encoder.image / encoder.patch.max(1), noise.shape().first().copied().unwrap_or(0));
        let patches = encoder.patches();
        let order = noise.argsort(-1, false);
        let place = order.argsort(-1, false);
        let x = self.patch_embed.forward(images) + positions(side, encoder.width, &device);
        let x = behind(&self.cls_token, &picked(&x, &order.narrow(1, 0, seen)));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(&x, AttentionOptions::default()));
        let x = self.decoder_embed.forward(&self.norm.forward(&x));
        let (summary, drawn) = (x.narrow(1, 0, 1), x.narrow(1, 1, seen));
        let missing = self.mask_token.broadcast_to([batch, patches.saturating_sub(seen), width]);
        let rows = Tensor::concat(&[&drawn, &missing], 1);
        let x = picked(&rows, &place) + positions(side, width, &device);
        let x = Tensor::concat(&[&summary, &x], 1);
        let x = self.decoder_blocks.iter().fold(x, |x, block| block.forward(&x, AttentionOptions::default()));
        let x = self.decoder_pred.forward(&self.decoder_norm.forward(&x)).narrow(1, 1, patches);
        (x, place.ge(place.full_like(seen as f64)).cast(DType::F32))
    }

    /// Mean squared error of the hidden pixels of every image, `[batch]`.
    #[track_caller]
    pub fn errors(&self, images: &Tensor, noise: &Tensor) -> Tensor {
        let (drawn, hidden) = self.forward(images, noise);
        let apart = (drawn - self.patches(images)).square().mean(-1);
        (apart * &hidden).sum(-1) / hidden.sum(-1)
    }

    /// Images as patches, `[batch, patches, pixels of a patch]`, channels innermost.
    #[track_caller]
    pub fn patches(&self, images: &Tensor) -> Tensor {
        let VitOptions { image, patch, channels, .. } = self.options.encoder;
        let (batch, side) = (images.shape().first().copied().unwrap_or(0), image / patch.max(1));
        let apart = images.reshape([batch, channels, side, patch, side, patch]).permute([0, 2, 4, 3, 5, 1]);
        apart.reshape([batch, side * side, patch * patch * channels])
    }

    /// Patches as images: what [`patches`](Mae::patches) took apart.
    #[track_caller]
    pub fn images(&self, patches: &Tensor) -> Tensor {
        let VitOptions { image, patch, channels, .. } = self.options.encoder;
        let (batch, side) = (patches.shape().first().copied().unwrap_or(0), image / patch.max(1));
        let apart = patches.reshape([batch, side, side, patch, patch, channels]).permute([0, 5, 1, 3, 2, 4]);
        apart.reshape([batch, channels, image, image])
    }
}
