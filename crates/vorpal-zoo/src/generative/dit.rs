//! Transformers for diffusion.

use vorpal_nn::{
    AttentionOptions, Device, Embedding, Frozen, LayerNorm, Linear, Module, Tensor, init,
    multi_head_attention,
};

use super::Denoiser;
use super::time::TimeEmbedding;

/// Sizes of a [`Dit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DitOptions {
    /// Pixels of a side.
    pub size: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Pixels of a side of what becomes one token; divides the size.
    pub patch: usize,
    /// Numbers that stand for a token; a multiple of 4.
    pub width: usize,
    /// Heads of each attention; divides the width.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Classes that can be asked for; 0 for none.
    pub classes: usize,
}

/// The diffusion transformer (Peebles & Xie 2023) with adaLN-Zero: patches of an image are tokens; what time and class it
/// is scales, moves and gates every block's normalised rows, and blocks start as the identity. Names are those of the
/// authors' program.
///
/// Images `[n, channels, size, size]`, times `[n]` from 0 to 1 and classes `[n]`, to the shape of the images. Digits of
/// 14 × 14 in patches of 2 with three blocks of width 64 take 241,924 parameters; `vorpal train dit` learns them by class:
/// a classifier takes 7 of 10 for what was asked for, or more.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::generative::{Dit, DitOptions};
/// let device = Device::cpu();
/// let options = DitOptions { size: 4, channels: 1, patch: 2, width: 8, heads: 2, layers: 1, classes: 10 };
/// let net = Dit::new(options, &device);
/// let (x, t) = (Tensor::zeros([2, 1, 4, 4], DType::F32, &device), Tensor::ones([2], DType::F32, &device));
/// let classes = Tensor::from_slice(&[3i32, 7], [2], &device);
/// assert_eq!(net.forward(&x, &t, Some(&classes)).shape(), [2, 1, 4, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dit {
    x_embedder: Linear,
    pos_embed: Frozen<Tensor>,
    t_embedder: TimeEmbedding,
    y_embedder: Option<Embedding>,
    blocks: Vec<Block>,
    final_layer: Final,
    #[module(skip)]
    options: DitOptions,
}

/// Attention, then two layers, each scaled, moved and gated by the condition.
#[derive(Clone, Debug, Module)]
struct Block {
    #[module(skip)]
    norm: LayerNorm,
    qkv: Linear,
    proj: Linear,
    fc1: Linear,
    fc2: Linear,
    #[module(name = "adaLN_modulation")]
    modulation: Linear,
    heads: usize,
}

/// Normalisation scaled and moved by the condition, and the way back to pixels.
#[derive(Clone, Debug, Module)]
struct Final {
    #[module(skip)]
    norm: LayerNorm,
    linear: Linear,
    #[module(name = "adaLN_modulation")]
    modulation: Linear,
}

/// Where each of `side` × `side` tokens is, `[1, side², width]`: sines and cosines of its row in the first half of the
/// columns, of its column in the second (Vaswani et al. 2017, for each axis).
fn places(side: usize, width: usize, device: &Device) -> Tensor {
    let quarter = (width / 4).max(1);
    let number = |row: usize, column: usize, k: usize| {
        let place = if k < 2 * quarter { row } else { column } as f32;
        let angle = place * 10_000f32.powf(-((k % quarter) as f32) / quarter as f32);
        if (k / quarter).is_multiple_of(2) { angle.sin() } else { angle.cos() }
    };
    let cells = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
    let table: Vec<f32> =
        cells.flat_map(|(row, column)| (0..width).map(move |k| number(row, column, k))).collect();
    Tensor::from_slice(&table, [1, side * side, width], device)
}

/// A layer that is 0 everywhere at first.
fn zero(inputs: usize, outputs: usize, device: &Device) -> Linear {
    Linear {
        weight: init::constant([outputs, inputs], 0.0, device),
        bias: Some(init::constant([outputs], 0.0, device)),
    }
}

/// The columns of a condition `[n, parts · width]` in `N` parts `[n, 1, width]`.
#[track_caller]
fn parts<const N: usize>(layer: &Linear, condition: &Tensor) -> [Tensor; N] {
    let all = layer.forward(&condition.silu());
    let width = all.shape().last().copied().unwrap_or(0) / N;
    std::array::from_fn(|k| all.narrow(-1, k * width, width).unsqueeze(1))
}

impl Block {
    fn new(width: usize, heads: usize, device: &Device) -> Block {
        Block {
            norm: LayerNorm::new([width], device).without_affine().eps(1e-6),
            qkv: Linear::new(width, 3 * width, device),
            proj: Linear::new(width, width, device),
            fc1: Linear::new(width, 4 * width, device),
            fc2: Linear::new(4 * width, width, device),
            modulation: zero(width, 6 * width, device),
            heads,
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, condition: &Tensor) -> Tensor {
        let width = x.shape().last().copied().unwrap_or(0);
        let [move1, scale1, gate1, move2, scale2, gate2] = parts(&self.modulation, condition);
        let rows = self.qkv.forward(&(self.norm.forward(x) * (scale1 + 1.0) + move1));
        let [q, k, v] = [0, 1, 2].map(|part| rows.narrow(-1, part * width, width));
        let seen = multi_head_attention(&q, &k, &v, self.heads, AttentionOptions::default());
        let x = x + gate1 * self.proj.forward(&seen);
        let inner = self.fc1.forward(&(self.norm.forward(&x) * (scale2 + 1.0) + move2)).gelu_tanh();
        x + gate2 * self.fc2.forward(&inner)
    }
}

impl Dit {
    /// Random weights, gates and the last layer 0.
    pub fn new(options: DitOptions, device: &Device) -> Dit {
        let DitOptions { size, channels, patch, width, heads, layers, classes } = options;
        let pixels = channels * patch * patch;
        Dit {
            x_embedder: Linear::new(pixels, width, device),
            pos_embed: Frozen(places(size / patch.max(1), width, device)),
            t_embedder: TimeEmbedding::new(width, width, device),
            y_embedder: (classes > 0)
                .then(|| Embedding::from_weight(init::normal([classes, width], 0.02, device))),
            blocks: (0..layers).map(|_| Block::new(width, heads, device)).collect(),
            final_layer: Final {
                norm: LayerNorm::new([width], device).without_affine().eps(1e-6),
                linear: zero(width, pixels, device),
                modulation: zero(width, 2 * width, device),
            },
            options,
        }
    }

    /// What the network makes of images at times `[n]`, of classes `[n]` if they are told.
    #[track_caller]
    pub fn forward(&self, images: &Tensor, times: &Tensor, classes: Option<&Tensor>) -> Tensor {
        let patch = self.options.patch;
        let pixels = images.pixel_unshuffle(patch);
        let mut x = self.x_embedder.forward(&pixels.flatten(2, -1).transpose(1, 2)) + &self.pos_embed.0;
        let mut condition = self.t_embedder.forward(times);
        if let (Some(embedding), Some(classes)) = (&self.y_embedder, classes) {
            condition = condition + embedding.forward(classes);
        }
        for block in &self.blocks {
            x = block.forward(&x, &condition);
        }
        let last = &self.final_layer;
        let [moved, scale] = parts(&last.modulation, &condition);
        let rows = last.linear.forward(&(last.norm.forward(&x) * (scale + 1.0) + moved));
        rows.transpose(1, 2).reshape(pixels.shape()).pixel_shuffle(patch)
    }
}

impl Denoiser for Dit {
    fn denoise(&self, x: &Tensor, times: &Tensor, labels: Option<&Tensor>) -> Tensor {
        self.forward(x, times, labels)
    }
}
