//! T5: a text that answers a text.

use vorpal_nn::{
    AttentionOptions, DType, Device, Embedding, Linear, Module, Result, RmsNorm, Tensor, init,
    multi_head_attention,
};

use super::parts::{probabilities, unbiased};

/// Sizes of a [`T5`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct T5Options {
    /// Different tokens; token 0 fills up and starts an answer.
    pub vocabulary: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Numbers of a head.
    pub head_width: usize,
    /// Numbers inside a block's network.
    pub hidden: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Blocks of the encoder, and of the decoder.
    pub layers: usize,
}

impl Default for T5Options {
    /// For lines of 16 letters: 0.2 million parameters.
    fn default() -> T5Options {
        T5Options { vocabulary: 17, width: 64, head_width: 16, hidden: 128, heads: 4, layers: 2 }
    }
}

/// T5 (Raffel et al. 2020): an encoder that reads a text and a decoder that writes another, blocks normalised in front by
/// root mean squares, no biases, and positions by a trained bias for each range of distances, which all blocks share.
/// Parameters are named and laid out as in `T5ForConditionalGeneration` of transformers with ReLU and the tied head of the
/// first version; t5-small has a vocabulary of 32128, a width of 512, heads of 64, a hidden width of 2048, 8 heads and 6
/// layers: 60.5 million parameters.
///
/// Sources and targets are `[batch, length]`, `I32` or `U32`, of any lengths, logits `[batch, length, vocabulary]`.
/// `vorpal train t5` teaches one of the default sizes (165,952 parameters) to sort ten letters, which it must do without a
/// mistake in 95 % of the cases.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::transformer::{T5, T5Options};
/// let device = Device::cpu();
/// let model = T5::new(T5Options { width: 8, head_width: 4, hidden: 8, heads: 2, layers: 1, ..T5Options::default() }, &device);
/// let source = Tensor::from_slice(&[3i32, 1, 2], [1, 3], &device);
/// let target = Tensor::from_slice(&[1i32, 2], [1, 2], &device);
/// assert_eq!(model.forward(&source, &target).shape(), [1, 2, 17].into());
/// assert_eq!(model.answer(&source, 4)?[0].len(), 4);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct T5 {
    shared: Embedding,
    encoder: Stack,
    decoder: Stack,
    #[module(skip)]
    options: T5Options,
}

#[derive(Clone, Debug, Module)]
struct Stack {
    block: Vec<Block>,
    final_layer_norm: RmsNorm,
}

/// Attention to oneself, in the decoder to the source as well, and a network.
#[derive(Clone, Debug, Module)]
struct Block {
    layer: Vec<Part>,
}

#[derive(Clone, Debug, Module)]
struct Part {
    #[module(name = "SelfAttention")]
    own: Option<Attention>,
    #[module(name = "EncDecAttention")]
    cross: Option<Attention>,
    #[module(name = "DenseReluDense")]
    dense: Option<Dense>,
    layer_norm: RmsNorm,
}

#[derive(Clone, Debug, Module)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    relative_attention_bias: Option<Embedding>,
    heads: usize,
}

#[derive(Clone, Debug, Module)]
struct Dense {
    wi: Linear,
    wo: Linear,
}

/// Ranges of distances, and the distance from which on all are one.
const RANGES: usize = 32;
const FARTHEST: usize = 128;

/// The range of a distance from a query to a key: half of them hold one distance each, the others ever more. With `both`
/// directions each has half of the ranges; without, what comes later is as near as the query itself.
fn range_of(distance: isize, both: bool) -> i32 {
    let count = if both { RANGES / 2 } else { RANGES };
    let later = if both && distance > 0 { count } else { 0 };
    let far = if both { distance.unsigned_abs() } else { (-distance).max(0) as usize };
    let exact = count / 2;
    if far < exact {
        return (later + far) as i32;
    }
    let share = (far as f64 / exact as f64).ln() / (FARTHEST as f64 / exact as f64).ln();
    (later + (exact + (share * (count - exact) as f64) as usize).min(count - 1)) as i32
}

impl Attention {
    fn new(options: &T5Options, first: bool, device: &Device) -> Attention {
        let T5Options { width, head_width, heads, .. } = *options;
        let (inner, whole) = (heads * head_width, width as f64);
        // Products are not divided by the width of a head: weights of queries make up for it.
        let deviation = |n: f64| n.sqrt().recip();
        Attention {
            q: unbiased(width, inner, deviation(whole * head_width as f64), device),
            k: unbiased(width, inner, deviation(whole), device),
            v: unbiased(width, inner, deviation(whole), device),
            o: unbiased(inner, width, deviation(inner as f64), device),
            relative_attention_bias: first
                .then(|| Embedding::from_weight(init::normal([RANGES, heads], deviation(whole), device))),
            heads,
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, memory: &Tensor, options: AttentionOptions) -> Tensor {
        let (q, k, v) = (self.q.forward(x), self.k.forward(memory), self.v.forward(memory));
        self.o.forward(&multi_head_attention(&q, &k, &v, self.heads, options.scale(1.0)))
    }

    /// The bias of the scores of `rows` that see themselves, `[1, heads, rows, rows]`.
    #[track_caller]
    fn bias(&self, rows: usize, both: bool, device: &Device) -> Option<Tensor> {
        let table = self.relative_attention_bias.as_ref()?;
        let all = (0..rows).flat_map(|query| (0..rows).map(move |key| key as isize - query as isize));
        let ranges: Vec<i32> = all.map(|distance| range_of(distance, both)).collect();
        let ranges = Tensor::from_slice(&ranges, [rows, rows], device);
        Some(table.forward(&ranges).permute([2, 0, 1]).unsqueeze(0))
    }
}

impl Part {
    fn new(options: &T5Options, device: &Device) -> Part {
        let layer_norm = RmsNorm::new(options.width, device).eps(1e-6);
        Part { own: None, cross: None, dense: None, layer_norm }
    }
}

impl Block {
    fn new(options: &T5Options, decodes: bool, first: bool, device: &Device) -> Block {
        let T5Options { width, hidden, .. } = *options;
        let part = || Part::new(options, device);
        let dense = Dense {
            wi: unbiased(width, hidden, (width as f64).sqrt().recip(), device),
            wo: unbiased(hidden, width, (hidden as f64).sqrt().recip(), device),
        };
        let mut layer = vec![Part { own: Some(Attention::new(options, first, device)), ..part() }];
        if decodes {
            layer.push(Part { cross: Some(Attention::new(options, false, device)), ..part() });
        }
        layer.push(Part { dense: Some(dense), ..part() });
        Block { layer }
    }
}

/// What attention sees in a pass through a [`Stack`].
struct Seen<'a> {
    own: AttentionOptions,
    memory: Option<&'a Tensor>,
    cross: AttentionOptions,
}

impl Stack {
    fn new(options: &T5Options, decodes: bool, device: &Device) -> Stack {
        let block = |k: usize| Block::new(options, decodes, k == 0, device);
        Stack {
            block: (0..options.layers).map(block).collect(),
            final_layer_norm: RmsNorm::new(options.width, device).eps(1e-6),
        }
    }

    /// The bias that all blocks share.
    #[track_caller]
    fn options(&self, x: &Tensor, both: bool) -> AttentionOptions {
        let own = self.block.first().and_then(|block| block.layer.first()).and_then(|part| part.own.as_ref());
        let rows = x.shape().get(1).copied().unwrap_or(0);
        let bias = own.zip(x.device().ok()).and_then(|(own, device)| own.bias(rows, both, &device));
        AttentionOptions { causal: !both, bias, ..AttentionOptions::default() }
    }

    /// The sum behind the last block; `look` is called with each attention to the memory and what it is given.
    #[track_caller]
    fn forward(&self, x: &Tensor, seen: &Seen, mut look: impl FnMut(&Attention, &Tensor)) -> Tensor {
        let mut x = x.clone();
        for part in self.block.iter().flat_map(|block| &block.layer) {
            let inner = part.layer_norm.forward(&x);
            if let Some(own) = &part.own {
                x = &x + own.forward(&inner, &inner, seen.own.clone());
            }
            if let (Some(cross), Some(memory)) = (&part.cross, seen.memory) {
                look(cross, &inner);
                x = &x + cross.forward(&inner, memory, seen.cross.clone());
            }
            if let Some(dense) = &part.dense {
                x = &x + dense.wo.forward(&dense.wi.forward(&inner).relu());
            }
        }
        self.final_layer_norm.forward(&x)
    }
}

impl T5 {
    /// Random weights, as T5 starts.
    pub fn new(options: T5Options, device: &Device) -> T5 {
        let T5Options { vocabulary, width, .. } = options;
        T5 {
            shared: Embedding::from_weight(init::normal([vocabulary, width], 1.0, device)),
            encoder: Stack::new(&options, false, device),
            decoder: Stack::new(&options, true, device),
            options,
        }
    }

    /// What stands for each token of `source`, `[batch, length, width]`. Tokens where `mask`, `[batch, length]` of truth
    /// values, does not hold are not seen.
    #[track_caller]
    pub fn encode(&self, source: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let x = self.shared.forward(source);
        let own = AttentionOptions { mask: seen(mask), ..self.encoder.options(&x, true) };
        self.encoder.forward(&x, &Seen { own, memory: None, cross: AttentionOptions::default() }, |_, _| {})
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, of an answer to an encoded source, and
    /// where the last block looks at the source, `[batch, heads, length, length of the source]`.
    #[track_caller]
    pub fn decode(&self, tokens: &Tensor, memory: &Tensor, mask: Option<&Tensor>) -> (Tensor, Tensor) {
        let x = self.shared.forward(tokens);
        let cross = AttentionOptions { mask: seen(mask), ..AttentionOptions::default() };
        let mut looks = memory.clone();
        let seen = Seen { own: self.decoder.options(&x, false), memory: Some(memory), cross };
        let x = self.decoder.forward(&x, &seen, |cross, x| {
            looks = probabilities(&cross.q.forward(x), &cross.k.forward(memory), cross.heads, 1.0, None);
        });
        let x = x * (self.options.width as f64).sqrt().recip();
        (x.matmul(&self.shared.weight.t()), looks)
    }

    /// Logits `[batch, length, vocabulary]` of each token of `target`, given `source` and the tokens before it; token 0
    /// stands in front of the first.
    #[track_caller]
    pub fn forward(&self, source: &Tensor, target: &Tensor) -> Tensor {
        let length = target.shape().last().copied().unwrap_or(0);
        let given = target.narrow(-1, 0, length.saturating_sub(1)).pad(-1, 1, 0, 0.0);
        self.decode(&given, &self.encode(source, None), None).0
    }

    /// The likeliest `count` tokens one after the other as an answer to each of `source`, `[batch, length]`.
    ///
    /// # Errors
    /// What evaluation gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn answer(&self, source: &Tensor, count: usize) -> Result<Vec<Vec<i32>>> {
        let (device, batch) = (source.device()?, source.shape().first().copied().unwrap_or(0));
        let memory = self.encode(source, None);
        vorpal_nn::eval(&memory)?;
        super::generation::greedy(batch, count, 0, &device, |tokens| self.decode(tokens, &memory, None).0)
    }
}

/// A mask of keys, `[batch, keys]`, as one of scores.
#[track_caller]
fn seen(mask: Option<&Tensor>) -> Option<Tensor> {
    mask.map(|mask| mask.cast(DType::Bool).unsqueeze(1).unsqueeze(1))
}

#[cfg(test)]
mod tests {
    use super::range_of;

    #[test]
    fn ranges_grow_with_the_distance() {
        let both: Vec<i32> = [-200, -127, -8, -7, 0, 1, 7, 8, 16, 500].map(|d| range_of(d, true)).to_vec();
        assert_eq!(both, [15, 15, 8, 7, 0, 17, 23, 24, 26, 31]);
        let past: Vec<i32> = [5, 0, -15, -16, -20, -500].map(|d| range_of(d, false)).to_vec();
        assert_eq!(past, [0, 0, 15, 16, 17, 31]);
    }
}
