//! What several transformers are made of.

use vorpal_nn::{
    AttentionOptions, Device, KvCache, LayerNorm, Linear, Module, Tensor, init, merge_heads,
    multi_head_attention, split_heads,
};

/// Deviation of weights at first: 0.02 for a width of 768, as BERT and GPT-2 have it, more where there are fewer numbers to
/// add up.
pub(super) fn deviation(width: usize) -> f64 {
    0.02 * (768.0 / width.max(1) as f64).sqrt()
}

/// A layer with normal weights and a bias of zeros.
pub(super) fn linear(inputs: usize, outputs: usize, deviation: f64, device: &Device) -> Linear {
    Linear {
        weight: init::normal([outputs, inputs], deviation, device),
        bias: Some(init::constant([outputs], 0.0, device)),
    }
}

/// The same without a bias.
pub(super) fn unbiased(inputs: usize, outputs: usize, deviation: f64, device: &Device) -> Linear {
    Linear { weight: init::normal([outputs, inputs], deviation, device), bias: None }
}

/// Attention to oneself and what came before, `[batch, heads, rows, columns]`, as rows side by side; with a cache the
/// rows follow those in it.
#[track_caller]
pub(super) fn causal(q: &Tensor, k: &Tensor, v: &Tensor, cache: Option<&mut KvCache>) -> Tensor {
    let options = AttentionOptions::default().causal();
    merge_heads(&match cache {
        None => q.scaled_dot_product_attention(k, v, options),
        Some(cache) => {
            let (keys, values, count) = cache.append(k, v);
            q.scaled_dot_product_attention(&keys, &values, options.lengths(None, count))
        }
    })
}

/// The probabilities of attention, `[batch, heads, queries, keys]`, of `[batch, rows, width]`; `bias` is added to the
/// products, which are multiplied by `scale` before.
#[track_caller]
pub(super) fn probabilities(
    q: &Tensor,
    k: &Tensor,
    heads: usize,
    scale: f64,
    bias: Option<&Tensor>,
) -> Tensor {
    let scores = split_heads(q, heads).matmul(&split_heads(k, heads).t()) * scale;
    bias.map_or(scores.clone(), |bias| scores + bias).softmax(-1)
}

/// A block of transformers of images, normalised in front (Dosovitskiy et al. 2021), under timm's names.
#[derive(Clone, Debug, Module)]
pub(super) struct Block {
    norm1: LayerNorm,
    attn: QkvAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

#[derive(Clone, Debug, Module)]
struct QkvAttention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

#[derive(Clone, Debug, Module)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

/// A layer as transformers of images start: uniform weights by both widths, a bias of zeros.
pub(super) fn xavier(inputs: usize, outputs: usize, device: &Device) -> Linear {
    Linear {
        weight: init::xavier_uniform([outputs, inputs], device),
        bias: Some(init::constant([outputs], 0.0, device)),
    }
}

impl Block {
    pub(super) fn new(width: usize, heads: usize, device: &Device) -> Block {
        Block {
            norm1: LayerNorm::new(width, device).eps(1e-6),
            attn: QkvAttention {
                qkv: xavier(width, 3 * width, device),
                proj: xavier(width, width, device),
                heads,
            },
            norm2: LayerNorm::new(width, device).eps(1e-6),
            mlp: Mlp { fc1: xavier(width, 4 * width, device), fc2: xavier(4 * width, width, device) },
        }
    }

    /// The block applied to `[batch, rows, width]`.
    #[track_caller]
    pub(super) fn forward(&self, x: &Tensor, options: AttentionOptions) -> Tensor {
        let [q, k, v] = self.projected(x);
        let seen = multi_head_attention(&q, &k, &v, self.attn.heads, options);
        let x = x + self.attn.proj.forward(&seen);
        let inner = self.mlp.fc1.forward(&self.norm2.forward(&x)).gelu();
        &x + self.mlp.fc2.forward(&inner)
    }

    /// Where the block looks, `[batch, heads, rows, rows]`.
    #[track_caller]
    pub(super) fn attention(&self, x: &Tensor) -> Tensor {
        let [q, k, _] = self.projected(x);
        let columns = (q.shape().last().copied().unwrap_or(0) / self.attn.heads.max(1)).max(1);
        probabilities(&q, &k, self.attn.heads, 1.0 / (columns as f64).sqrt(), None)
    }

    fn projected(&self, x: &Tensor) -> [Tensor; 3] {
        let width = x.shape().last().copied().unwrap_or(0);
        let rows = self.attn.qkv.forward(&self.norm1.forward(x));
        [0, 1, 2].map(|part| rows.narrow(-1, part * width, width))
    }
}
