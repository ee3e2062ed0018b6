//! GPT-2 as it is published.

use vorpal_nn::{DType, Device, Embedding, KvCache, LayerNorm, Module, Tensor, init, split_heads};

use super::parts::{causal, deviation};
use super::{GptOptions, LanguageModel};

/// GPT-2 (Radford et al. 2019): blocks normalised in front, learned positions, tanh-GELU, and a head that is the table of
/// the tokens. Parameters are named and laid out as in `GPT2LMHeadModel` of transformers, whose `state_dict` loads as it
/// is; the smallest published one has a vocabulary of 50257, a context of 1024, a width of 768, 12 heads and 12 layers:
/// 124 million parameters.
///
/// Tokens are `[batch, length]`, `I32` or `U32`; logits `[batch, length, vocabulary]`. It goes on with a text by
/// [`generate`](super::generate), with keys and values kept.
///
/// `vorpal train gpt2` teaches 366,432 parameters the bytes of Vorpal's own text, to a loss of at most 1.8 nats a byte.
///
/// ```
/// use vorpal_nn::{Device, Module, Tensor};
/// use vorpal_zoo::GptOptions;
/// use vorpal_zoo::transformer::Gpt2;
/// let device = Device::cpu();
/// let model = Gpt2::new(GptOptions { vocabulary: 11, context: 8, width: 16, heads: 2, layers: 1 }, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(model.forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Gpt2 {
    transformer: Trunk,
    #[module(skip)]
    options: GptOptions,
}

#[derive(Clone, Debug, Module)]
struct Trunk {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

#[derive(Clone, Debug, Module)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

#[derive(Clone, Debug, Module)]
struct Attention {
    c_attn: Conv1D,
    c_proj: Conv1D,
    heads: usize,
}

#[derive(Clone, Debug, Module)]
struct Mlp {
    c_fc: Conv1D,
    c_proj: Conv1D,
}

/// `x W + b`: GPT-2 keeps its weights as `[inputs, outputs]`.
#[derive(Clone, Debug, Module)]
struct Conv1D {
    weight: Tensor,
    bias: Tensor,
}

impl Conv1D {
    fn new(inputs: usize, outputs: usize, deviation: f64, device: &Device) -> Conv1D {
        Conv1D {
            weight: init::normal([inputs, outputs], deviation, device),
            bias: init::constant([outputs], 0.0, device),
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.matmul(&self.weight) + &self.bias
    }
}

impl Block {
    fn new(options: &GptOptions, device: &Device) -> Block {
        let GptOptions { width, heads, layers, .. } = *options;
        // What is added to the sum of all blocks starts smaller, the more there are.
        let added = deviation(width) / ((2 * layers.max(1)) as f64).sqrt();
        Block {
            ln_1: LayerNorm::new(width, device),
            attn: Attention {
                c_attn: Conv1D::new(width, 3 * width, deviation(width), device),
                c_proj: Conv1D::new(width, width, added, device),
                heads,
            },
            ln_2: LayerNorm::new(width, device),
            mlp: Mlp {
                c_fc: Conv1D::new(width, 4 * width, deviation(width), device),
                c_proj: Conv1D::new(4 * width, width, added, device),
            },
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, cache: Option<&mut KvCache>) -> Tensor {
        let width = x.shape().last().copied().unwrap_or(0);
        let rows = self.attn.c_attn.forward(&self.ln_1.forward(x));
        let [q, k, v] =
            [0, 1, 2].map(|part| split_heads(&rows.narrow(-1, part * width, width), self.attn.heads));
        let x = x + self.attn.c_proj.forward(&causal(&q, &k, &v, cache));
        let inner = self.mlp.c_fc.forward(&self.ln_2.forward(&x)).gelu_tanh();
        &x + self.mlp.c_proj.forward(&inner)
    }
}

impl Gpt2 {
    /// Random weights, as GPT-2 starts: normal with deviation 0.02 for a width of 768, more for smaller ones.
    pub fn new(options: GptOptions, device: &Device) -> Gpt2 {
        let GptOptions { vocabulary, context, width, layers, .. } = options;
        let transformer = Trunk {
            wte: Embedding::from_weight(init::normal([vocabulary, width], deviation(width), device)),
            wpe: Embedding::from_weight(init::normal([context, width], 0.01, device)),
            h: (0..layers).map(|_| Block::new(&options, device)).collect(),
            ln_f: LayerNorm::new(width, device),
        };
        Gpt2 { transformer, options }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`; no longer than the
    /// context.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.shape().last().copied().unwrap_or(0);
        self.logits(tokens, &self.transformer.wpe.weight.narrow(0, 0, length), &mut [])
    }

    /// With a cache for each layer, or without.
    #[track_caller]
    fn logits(&self, tokens: &Tensor, positions: &Tensor, caches: &mut [KvCache]) -> Tensor {
        let mut caches = caches.iter_mut();
        let mut x = self.transformer.wte.forward(tokens) + positions;
        for block in &self.transformer.h {
            x = block.forward(&x, caches.next());
        }
        self.transformer.ln_f.forward(&x).matmul(&self.transformer.wte.weight.t())
    }
}

impl LanguageModel for Gpt2 {
    fn context(&self) -> usize {
        self.options.context
    }

    fn layers(&self) -> usize {
        self.options.layers
    }

    #[track_caller]
    fn forward_cached(&self, tokens: &Tensor, caches: &mut [KvCache]) -> Tensor {
        let (Ok(device), Some(cache)) = (tokens.device(), caches.first()) else {
            return self.forward(tokens);
        };
        let rows = tokens.shape().last().copied().unwrap_or(0);
        let places = Tensor::arange(rows, DType::I32, &device) + cache.position(tokens);
        let positions = self.transformer.wpe.forward(&places);
        self.logits(tokens, &positions, caches)
    }
}
