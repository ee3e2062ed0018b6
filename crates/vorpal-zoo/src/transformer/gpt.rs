//! A language model of transformer blocks.

use vorpal_nn::{
    AttentionOptions, Device, Embedding, LayerNorm, Linear, Module, Result, Tensor, init,
    multi_head_attention,
};

use super::parts::linear;

/// Sizes of a [`Gpt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GptOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Tokens the model sees at once, at most.
    pub context: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Heads of each attention; divides the width.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
}

/// A causal language model with normalisation in front of each block, learned positions and tanh-GELU, as GPT-2 (Radford
/// et al. 2019), with a head of its own. Tokens `[batch, length]`, `I32` or `U32`, to logits `[batch, length, vocabulary]`.
///
/// `vorpal train gpt` teaches one of four blocks of width 128 with a context of 128 (875,264 parameters) the bytes of Vorpal's
/// own text, to a loss of at most 2.1 nats a byte.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::{Gpt, GptOptions};
/// let device = Device::cpu();
/// let model = Gpt::new(GptOptions { vocabulary: 11, context: 8, width: 16, heads: 2, layers: 2 }, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(model.forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gpt {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<GptBlock>,
    ln_f: LayerNorm,
    lm_head: Linear,
    #[module(skip)]
    options: GptOptions,
}

/// One block of a [`Gpt`]: attention, then a network of two layers, each added to what came in.
#[derive(Clone, Debug, Module)]
pub struct GptBlock {
    ln_1: LayerNorm,
    attn_qkv: Linear,
    attn_proj: Linear,
    ln_2: LayerNorm,
    mlp_fc: Linear,
    mlp_proj: Linear,
    heads: usize,
}

impl GptBlock {
    fn new(options: &GptOptions, device: &Device) -> GptBlock {
        let GptOptions { width, heads, layers, .. } = *options;
        // What is added to the sum of all blocks starts smaller, the more there are.
        let added = 0.02 / ((2 * layers.max(1)) as f64).sqrt();
        GptBlock {
            ln_1: LayerNorm::new(width, device),
            attn_qkv: linear(width, 3 * width, 0.02, device),
            attn_proj: linear(width, width, added, device),
            ln_2: LayerNorm::new(width, device),
            mlp_fc: linear(width, 4 * width, 0.02, device),
            mlp_proj: linear(4 * width, width, added, device),
            heads,
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let width = x.shape().last().copied().unwrap_or(0);
        let rows = self.attn_qkv.forward(&self.ln_1.forward(x));
        let [q, k, v] = [0, 1, 2].map(|part| rows.narrow(-1, part * width, width));
        let causal = AttentionOptions::default().causal();
        let x = x + self.attn_proj.forward(&multi_head_attention(&q, &k, &v, self.heads, causal));
        let inner = self.mlp_fc.forward(&self.ln_2.forward(&x)).gelu_tanh();
        &x + self.mlp_proj.forward(&inner)
    }
}

impl Gpt {
    /// Random weights, as GPT-2 starts.
    pub fn new(options: GptOptions, device: &Device) -> Gpt {
        let GptOptions { vocabulary, context, width, layers, .. } = options;
        Gpt {
            wte: Embedding::from_weight(init::normal([vocabulary, width], 0.02, device)),
            wpe: Embedding::from_weight(init::normal([context, width], 0.02, device)),
            h: (0..layers).map(|_| GptBlock::new(&options, device)).collect(),
            ln_f: LayerNorm::new(width, device),
            lm_head: Linear { weight: init::normal([vocabulary, width], 0.02, device), bias: None },
            options,
        }
    }

    /// The sizes it was made with.
    pub fn options(&self) -> &GptOptions {
        &self.options
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`, `I32` or `U32`; no
    /// longer than the context.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.shape().last().copied().unwrap_or(0);
        let positions = self.wpe.weight.narrow(0, 0, length);
        let mut x = self.wte.forward(tokens) + positions;
        for block in &self.h {
            x = block.forward(&x);
        }
        self.lm_head.forward(&self.ln_f.forward(&x))
    }

    /// Mean cross-entropy of `targets`, the tokens after `tokens`: both `[batch, length]`.
    #[track_caller]
    pub fn loss(&self, tokens: &Tensor, targets: &Tensor) -> Tensor {
        self.forward(tokens).cross_entropy(targets)
    }

    /// Goes on from `tokens`, which must be at least one, by `count` tokens. `pick` chooses a token by the logits of
    /// all.
    ///
    /// # Errors
    /// What evaluation gives, or [`Error::Index`](vorpal_nn::Error::Index) for a token out of the vocabulary.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn generate(
        &self,
        tokens: &[u32],
        count: usize,
        device: &Device,
        mut pick: impl FnMut(&[f32]) -> u32,
    ) -> Result<Vec<u32>> {
        let GptOptions { context, vocabulary, .. } = self.options;
        let mut all = tokens.to_vec();
        for _ in 0..count {
            let from = all.len().saturating_sub(context);
            // One length for all steps, so that one plan serves them all: what stands behind is not seen.
            let mut window = all[from..].to_vec();
            let last = window.len().saturating_sub(1);
            window.resize(context, 0);
            let window = Tensor::from_slice(&window, [1, context], device);
            let logits = self.forward(&window).reshape([context, vocabulary]);
            let place = Tensor::from_slice(&[last as u32], [1], device);
            all.push(pick(&logits.index_select(0, &place).to_vec::<f32>()?));
        }
        Ok(all)
    }
}
