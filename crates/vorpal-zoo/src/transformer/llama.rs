//! Llama, and the parts other models take from it.

use vorpal_nn::{
    DType, Device, Embedding, KvCache, Linear, Module, RmsNorm, Rotary, Tensor, init, split_heads,
};

use super::LanguageModel;
use super::parts::{causal, unbiased};

/// Sizes of a [`Llama`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LlamaOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Tokens the model sees at once, at most.
    pub context: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Numbers inside a block's network.
    pub hidden: usize,
    /// Heads of queries; divides the width.
    pub heads: usize,
    /// Heads of keys and values, which neighbouring heads of queries share; divides `heads`.
    pub kv_heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Base of the angles of positions: 10,000 in Llama 2, 500,000 in Llama 3.
    pub rope_theta: f64,
    /// Added to mean squares.
    pub rms_norm_eps: f64,
    /// Whether the head is the table of the tokens, as in the smaller models.
    pub tied: bool,
}

impl Default for LlamaOptions {
    /// A model of bytes with 0.2 million parameters.
    fn default() -> LlamaOptions {
        LlamaOptions {
            vocabulary: 256,
            context: 64,
            width: 96,
            hidden: 256,
            heads: 6,
            kv_heads: 2,
            layers: 2,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-5,
            tied: true,
        }
    }
}

/// Llama (Touvron et al. 2023): blocks normalised by root mean squares, rotary positions (Su et al. 2021), gated networks
/// with SiLU (Shazeer 2020) and heads that share keys and values (Ainslie et al. 2023). Parameters are named and laid out
/// as in `LlamaForCausalLM` of transformers, whose files load as they are.
///
/// Tokens are `[batch, length]`, `I32` or `U32`; logits `[batch, length, vocabulary]`. It goes on with a text by
/// [`generate`](super::generate), with keys and values kept.
///
/// `vorpal train llama` teaches one of two blocks of width 96 (227,808 parameters) the bytes of Vorpal's own text, to a loss of
/// at most 1.7 nats a byte.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::transformer::{Llama, LlamaOptions};
/// let device = Device::cpu();
/// let options = LlamaOptions { vocabulary: 11, width: 12, hidden: 16, heads: 2, kv_heads: 1, layers: 1, ..Default::default() };
/// let model = Llama::new(options, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(model.forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Llama {
    model: Trunk<Mlp>,
    lm_head: Option<Linear>,
    #[module(skip)]
    options: LlamaOptions,
}

/// Everything but the head, for blocks with a network `F`.
#[derive(Clone, Debug, Module)]
pub(super) struct Trunk<F: Module> {
    pub(super) embed_tokens: Embedding,
    pub(super) layers: Vec<Block<F>>,
    pub(super) norm: RmsNorm,
}

#[derive(Clone, Debug, Module)]
pub(super) struct Block<F: Module> {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: F,
}

#[derive(Clone, Debug, Module)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    heads: usize,
    kv_heads: usize,
    rotary: Rotary,
}

/// Two layers, the second behind the product with a gate.
#[derive(Clone, Debug, Module)]
pub(super) struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// Deviation of the weights at first.
const DEVIATION: f64 = 0.02;

impl Mlp {
    pub(super) fn new(width: usize, hidden: usize, device: &Device) -> Mlp {
        Mlp {
            gate_proj: unbiased(width, hidden, DEVIATION, device),
            up_proj: unbiased(width, hidden, DEVIATION, device),
            down_proj: unbiased(hidden, width, DEVIATION, device),
        }
    }
}

impl vorpal_nn::Layer for Mlp {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.down_proj.forward(&(self.gate_proj.forward(x).silu() * self.up_proj.forward(x)))
    }
}

impl Attention {
    fn new(options: &LlamaOptions, device: &Device) -> Attention {
        let LlamaOptions { width, heads, kv_heads, .. } = *options;
        let columns = width / heads.max(1);
        let project = |heads: usize| unbiased(width, heads * columns, DEVIATION, device);
        Attention {
            q_proj: project(heads),
            k_proj: project(kv_heads),
            v_proj: project(kv_heads),
            o_proj: unbiased(heads * columns, width, DEVIATION, device),
            heads,
            kv_heads,
            rotary: Rotary::new(columns, options.context).base(options.rope_theta),
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, cache: Option<&mut KvCache>) -> Tensor {
        let q = split_heads(&self.q_proj.forward(x), self.heads);
        let k = split_heads(&self.k_proj.forward(x), self.kv_heads);
        let v = split_heads(&self.v_proj.forward(x), self.kv_heads);
        let places = cache.as_ref().zip(x.device().ok()).map(|(cache, device)| {
            let rows = x.shape().get(1).copied().unwrap_or(0);
            Tensor::arange(rows, DType::I32, &device) + cache.position(x)
        });
        let [q, k] = [q, k].map(|x| match &places {
            Some(places) => self.rotary.apply_at(&x, places),
            None => self.rotary.apply(&x),
        });
        self.o_proj.forward(&causal(&q, &k, &v, cache))
    }
}

impl<F: Module> Trunk<F> {
    pub(super) fn new(options: &LlamaOptions, device: &Device, mut network: impl FnMut() -> F) -> Trunk<F> {
        let LlamaOptions { vocabulary, width, layers, rms_norm_eps, .. } = *options;
        let norm = || RmsNorm::new(width, device).eps(rms_norm_eps);
        let mut block = || Block {
            input_layernorm: norm(),
            self_attn: Attention::new(options, device),
            post_attention_layernorm: norm(),
            mlp: network(),
        };
        Trunk {
            embed_tokens: Embedding::from_weight(init::normal([vocabulary, width], DEVIATION, device)),
            layers: (0..layers).map(|_| block()).collect(),
            norm: norm(),
        }
    }

    /// What stands for each token behind the last block, with `network` as the second half of the blocks, and with a
    /// cache for each layer or none.
    #[track_caller]
    pub(super) fn forward(
        &self,
        tokens: &Tensor,
        caches: &mut [KvCache],
        mut network: impl FnMut(&F, &Tensor) -> Tensor,
    ) -> Tensor {
        let mut caches = caches.iter_mut();
        let mut x = self.embed_tokens.forward(tokens);
        for block in &self.layers {
            x = &x + block.self_attn.forward(&block.input_layernorm.forward(&x), caches.next());
            x = &x + network(&block.mlp, &block.post_attention_layernorm.forward(&x));
        }
        self.norm.forward(&x)
    }
}

impl Llama {
    /// Random weights, as Llama starts.
    pub fn new(options: LlamaOptions, device: &Device) -> Llama {
        let LlamaOptions { vocabulary, width, hidden, tied, .. } = options;
        Llama {
            model: Trunk::new(&options, device, || Mlp::new(width, hidden, device)),
            lm_head: (!tied).then(|| unbiased(width, vocabulary, DEVIATION, device)),
            options,
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`; no longer than the
    /// context.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        self.forward_cached(tokens, &mut [])
    }
}

impl LanguageModel for Llama {
    fn context(&self) -> usize {
        self.options.context
    }

    fn layers(&self) -> usize {
        self.options.layers
    }

    #[track_caller]
    fn forward_cached(&self, tokens: &Tensor, caches: &mut [KvCache]) -> Tensor {
        let x = self.model.forward(tokens, caches, vorpal_nn::Layer::forward);
        match &self.lm_head {
            Some(head) => head.forward(&x),
            None => x.matmul(&self.model.embed_tokens.weight.t()),
        }
    }
}
