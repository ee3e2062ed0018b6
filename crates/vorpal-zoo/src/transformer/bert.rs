//! BERT: a text read from both sides.

use vorpal_nn::{
    AttentionOptions, DType, Device, Embedding, LayerNorm, Linear, Module, Tensor, init, multi_head_attention,
};

use super::parts::{deviation, linear};

/// Sizes of a [`Bert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BertOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Tokens the model sees at once, at most.
    pub context: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Numbers inside a block's network.
    pub hidden: usize,
    /// Heads of each attention; divides the width.
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
}

/// BERT without a head (Devlin et al. 2019): blocks that see the text on both sides, normalised behind what is added,
/// with GELU and learned positions. Parameters are named and laid out as in `BertModel` of transformers, whose files load
/// as they are (the pooler is not needed); all-MiniLM-L6-v2 has a vocabulary of 30522, a context of 512, a width of 384, a
/// hidden width of 1536, 12 heads and 6 layers: 22.6 million parameters.
///
/// Tokens are `[batch, length]`, `I32` or `U32`, and a mask of the same shape is true where there is one.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::transformer::{Bert, BertOptions};
/// let device = Device::cpu();
/// let options = BertOptions { vocabulary: 11, context: 8, width: 12, hidden: 16, heads: 2, layers: 1 };
/// let model = Bert::new(options, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 0], [2, 3], &device);
/// let mask = tokens.ne(0);
/// assert_eq!(model.forward(&tokens, Some(&mask)).shape(), [2, 3, 12].into());
/// assert_eq!(model.sentences(&tokens, &mask).shape(), [2, 12].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Bert {
    embeddings: Embeddings,
    encoder: Encoder,
}

#[derive(Clone, Debug, Module)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    #[module(name = "LayerNorm")]
    norm: LayerNorm,
}

#[derive(Clone, Debug, Module)]
struct Encoder {
    layer: Vec<Block>,
}

#[derive(Clone, Debug, Module)]
struct Block {
    attention: Attention,
    intermediate: Dense,
    output: Added,
}

#[derive(Clone, Debug, Module)]
struct Attention {
    #[module(name = "self")]
    own: Projections,
    output: Added,
    heads: usize,
}

#[derive(Clone, Debug, Module)]
struct Projections {
    query: Linear,
    key: Linear,
    value: Linear,
}

#[derive(Clone, Debug, Module)]
struct Dense {
    dense: Linear,
}

/// A layer whose results are added to what came in, and normalised.
#[derive(Clone, Debug, Module)]
struct Added {
    dense: Linear,
    #[module(name = "LayerNorm")]
    norm: LayerNorm,
}

const EPS: f64 = 1e-12;

impl Added {
    fn new(inputs: usize, width: usize, device: &Device) -> Added {
        Added {
            dense: linear(inputs, width, deviation(width), device),
            norm: LayerNorm::new(width, device).eps(EPS),
        }
    }

    #[track_caller]
    fn forward(&self, inner: &Tensor, x: &Tensor) -> Tensor {
        self.norm.forward(&(x + self.dense.forward(inner)))
    }
}

impl Block {
    fn new(options: &BertOptions, device: &Device) -> Block {
        let BertOptions { width, hidden, heads, .. } = *options;
        let project = || linear(width, width, deviation(width), device);
        Block {
            attention: Attention {
                own: Projections { query: project(), key: project(), value: project() },
                output: Added::new(width, width, device),
                heads,
            },
            intermediate: Dense { dense: linear(width, hidden, deviation(width), device) },
            output: Added::new(hidden, width, device),
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, options: &AttentionOptions) -> Tensor {
        let Projections { query, key, value } = &self.attention.own;
        let [q, k, v] = [query, key, value].map(|layer| layer.forward(x));
        let seen = multi_head_attention(&q, &k, &v, self.attention.heads, options.clone());
        let x = self.attention.output.forward(&seen, x);
        self.output.forward(&self.intermediate.dense.forward(&x).gelu(), &x)
    }
}

impl Bert {
    /// Random weights, as BERT starts: normal with deviation 0.02 for a width of 768, more for smaller ones.
    pub fn new(options: BertOptions, device: &Device) -> Bert {
        let BertOptions { vocabulary, context, width, layers, .. } = options;
        let table =
            |entries: usize| Embedding::from_weight(init::normal([entries, width], deviation(width), device));
        Bert {
            embeddings: Embeddings {
                word_embeddings: table(vocabulary),
                position_embeddings: table(context),
                token_type_embeddings: table(2),
                norm: LayerNorm::new(width, device).eps(EPS),
            },
            encoder: Encoder { layer: (0..layers).map(|_| Block::new(&options, device)).collect() },
        }
    }

    /// What stands for each token, `[batch, length, width]`. Tokens where `mask`, `[batch, length]` of truth values, does
    /// not hold are not seen by others.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let length = tokens.shape().last().copied().unwrap_or(0);
        let Embeddings { word_embeddings, position_embeddings, token_type_embeddings, norm } =
            &self.embeddings;
        // All tokens are of the first text.
        let first = token_type_embeddings.weight.narrow(0, 0, 1);
        let places = position_embeddings.weight.narrow(0, 0, length);
        let mut x = norm.forward(&(word_embeddings.forward(tokens) + first + places));
        let mut options = AttentionOptions::default();
        if let Some(mask) = mask {
            options = options.mask(mask.unsqueeze(1).unsqueeze(1));
        }
        for block in &self.encoder.layer {
            x = block.forward(&x, &options);
        }
        x
    }

    /// A vector of length 1 for each text, `[batch, width]`: the mean over its tokens, those where `mask` holds, as
    /// sentence-transformers make it of MiniLM (Reimers, Gurevych 2019). The product of two is their likeness.
    #[track_caller]
    pub fn sentences(&self, tokens: &Tensor, mask: &Tensor) -> Tensor {
        let x = self.forward(tokens, Some(mask));
        let counts = mask.cast(x.dtype()).unsqueeze(-1);
        let mean = (x * &counts).sum(1) / counts.sum(1).clamp_min(1e-9);
        mean.normalize_l2(-1, 1e-12)
    }
}

/// A [`Bert`] that says what stands at each place of a text, where some of the tokens are hidden: the masked language model
/// that BERT is trained as. Parameters are named as in `BertForMaskedLM` of transformers. Tokens `[batch, length]` to logits
/// `[batch, length, vocabulary]`.
///
/// `vorpal train bert` hides bytes of Vorpal's own text from one of three blocks of width 96 (373,409 parameters), which is to
/// find at least 53 % of them: more than who sees both neighbours of each and says the byte that stands most often between
/// them, 52.7 %.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::transformer::{BertMaskedLm, BertOptions};
/// let device = Device::cpu();
/// let options = BertOptions { vocabulary: 11, context: 8, width: 12, hidden: 16, heads: 2, layers: 1 };
/// let model = BertMaskedLm::new(options, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 0], [2, 3], &device);
/// assert_eq!(model.forward(&tokens, None).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct BertMaskedLm {
    bert: Bert,
    cls: Head,
}

#[derive(Clone, Debug, Module)]
struct Head {
    predictions: Predictions,
}

#[derive(Clone, Debug, Module)]
struct Predictions {
    bias: Tensor,
    transform: Transform,
}

#[derive(Clone, Debug, Module)]
struct Transform {
    dense: Linear,
    #[module(name = "LayerNorm")]
    norm: LayerNorm,
}

impl BertMaskedLm {
    /// Random weights, as BERT starts: normal with deviation 0.02 for a width of 768, more for smaller ones.
    pub fn new(options: BertOptions, device: &Device) -> BertMaskedLm {
        let BertOptions { vocabulary, width, .. } = options;
        let transform = Transform {
            dense: linear(width, width, deviation(width), device),
            norm: LayerNorm::new(width, device).eps(EPS),
        };
        let bias = init::constant([vocabulary], 0.0, device);
        BertMaskedLm {
            bert: Bert::new(options, device),
            cls: Head { predictions: Predictions { bias, transform } },
        }
    }

    /// Logits `[batch, length, vocabulary]` of what stands at each place of `tokens`, `[batch, length]`. `mask` as for
    /// [`Bert::forward`].
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let Predictions { bias, transform } = &self.cls.predictions;
        let x = self.bert.forward(tokens, mask);
        let x = transform.norm.forward(&transform.dense.forward(&x).gelu());
        x.matmul(&self.bert.embeddings.word_embeddings.weight.t()) + bias
    }
}

/// Hides tokens `[batch, length]` as BERT does: a `share` of them counts (0.15 in the paper), of which 80 % become `hidden`
/// and 10 % any of the first `vocabulary` tokens. Gives what the model sees, and what counts: the tokens, or −100 where they
/// do not count, which [`CrossEntropyLoss`](vorpal_nn::loss::CrossEntropyLoss) leaves out. The dice are the device's.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::transformer::hide;
/// let tokens = Tensor::zeros([4, 50], DType::I32, &Device::cpu());
/// let (seen, counts) = hide(&tokens, 10, 10, 0.15);
/// assert_eq!((seen.shape(), counts.shape()), (tokens.shape(), tokens.shape()));
/// ```
#[track_caller]
pub fn hide(tokens: &Tensor, hidden: i32, vocabulary: i32, share: f64) -> (Tensor, Tensor) {
    let Ok(device) = tokens.device() else { return (tokens.clone(), tokens.clone()) };
    let tokens = tokens.cast(DType::I32);
    let dice = Tensor::rand(tokens.shape(), DType::F32, &device);
    let other = Tensor::randint(tokens.shape(), 0, vocabulary, DType::I32, &device);
    let below = |part: f64| dice.lt(dice.full_like(share * part));
    let seen = below(0.9).select(&other, &tokens);
    let seen = below(0.8).select(tokens.full_like(f64::from(hidden)), seen);
    (seen, below(1.0).select(&tokens, tokens.full_like(-100.0)))
}
