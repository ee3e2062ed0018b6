//! Attention in time that grows with the length.

use vorpal_nn::{Device, Embedding, LayerNorm, Linear, Module, Tensor, init};

/// Sizes of a [`LinearTransformer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearTransformerOptions {
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
    /// Tokens whose scores are looked at together; divides the lengths that are asked for.
    pub chunk: usize,
}

/// φ: positive, and never flat.
#[track_caller]
fn feature(x: &Tensor) -> Tensor {
    x.elu(1.0) + 1.0
}

/// Causal linear attention: Σ φ(q)ᵀφ(k) v ∕ Σ φ(q)ᵀφ(k) over keys up to each query, with φ(x) = elu(x) + 1, of
/// `[…, length, columns]`. Within chunks of `chunk` rows, which must divide the length, by scores of all pairs; between
/// them by sums of φ(k) vᵀ, so that memory grows with length · (chunk + columns).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::linear_attention;
/// let x = Tensor::ones([2, 6, 4], DType::F32, &Device::cpu());
/// // The mean of ones.
/// assert!(linear_attention(&x, &x, &x, 3).to_vec::<f32>()?.iter().all(|v| (v - 1.0).abs() < 1e-6));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[track_caller]
pub fn linear_attention(queries: &Tensor, keys: &Tensor, values: &Tensor, chunk: usize) -> Tensor {
    let shape = values.shape();
    let &[.., length, columns] = shape.dims() else { return values.clone() };
    let inside = queries.shape().last().copied().unwrap_or(0);
    let rows: usize = shape[..shape.rank() - 2].iter().product();
    let cut = |x: &Tensor, columns: usize| x.reshape([rows, length / chunk.max(1), chunk, columns]);
    let (q, k) = (cut(&feature(queries), inside), cut(&feature(keys), inside));
    // A column of ones beside the values adds the weights up.
    let ones = values.narrow(-1, 0, 1).full_like(1.0);
    let v = cut(&Tensor::concat(&[values, &ones], -1), columns + 1);
    let own = q.matmul(&k.transpose(-1, -2)).tril(0).matmul(&v);
    let of_chunk = k.transpose(-1, -2).matmul(&v);
    let before = of_chunk.cumsum(1) - &of_chunk;
    let sums = own + q.matmul(&before);
    (sums.narrow(-1, 0, columns) / sums.narrow(-1, columns, 1)).reshape(shape)
}

/// One step of [`linear_attention`]: queries, keys and values `[…, columns]`, and the sums so far of φ(k) vᵀ,
/// `[…, columns, columns]`, and of φ(k), `[…, columns]`; none at first. The result, and the sums.
#[track_caller]
pub fn linear_attention_step(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    state: Option<&(Tensor, Tensor)>,
) -> (Tensor, (Tensor, Tensor)) {
    let (q, k) = (feature(query), feature(key));
    let product = k.unsqueeze(-1) * value.unsqueeze(-2);
    let (sums, weights) = match state {
        Some((sums, weights)) => (sums + product, weights + k),
        None => (product, k),
    };
    let seen = (q.unsqueeze(-1) * &sums).sum(-2) / (q * &weights).sum_keepdim(-1);
    (seen, (sums, weights))
}

/// A causal language model of linear attention (Katharopoulos, Vyas, Pappas, Fleuret 2020): a transformer with
/// normalisation in front of each block and learned positions, whose state is of one size however long the text. Tokens
/// `[batch, length]` to logits `[batch, length, vocabulary]`.
///
/// `vorpal train linear-attention` learns the bytes of the documentation and sources of Vorpal (136,960 parameters; goal: a
/// test loss of 2.4 nats a byte).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::{LinearTransformer, LinearTransformerOptions};
/// let device = Device::cpu();
/// let options = LinearTransformerOptions { vocabulary: 11, context: 4, width: 8, heads: 2, layers: 1, chunk: 2 };
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4], [1, 4], &device);
/// assert_eq!(LinearTransformer::new(options, &device).forward(&tokens).shape(), [1, 4, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct LinearTransformer {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Clone, Debug, Module)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    chunk: usize,
}

impl Block {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let &[batch, length, width] = x.shape().dims() else { return x.clone() };
        let rows = self.qkv.forward(&self.norm1.forward(x));
        let split = |part: usize| {
            let rows = rows.narrow(-1, part * width, width);
            rows.reshape([batch, length, self.heads, width / self.heads.max(1)]).transpose(1, 2)
        };
        let seen = linear_attention(&split(0), &split(1), &split(2), self.chunk);
        let x = x + self.proj.forward(&seen.transpose(1, 2).reshape([batch, length, width]));
        &x + self.fc2.forward(&self.fc1.forward(&self.norm2.forward(&x)).gelu_tanh())
    }
}

impl LinearTransformer {
    /// Random weights.
    pub fn new(options: LinearTransformerOptions, device: &Device) -> LinearTransformer {
        let LinearTransformerOptions { vocabulary, context, width, heads, layers, chunk } = options;
        let block = |_| Block {
            norm1: LayerNorm::new(width, device),
            qkv: Linear::new(width, 3 * width, device),
            proj: Linear::new(width, width, device),
            norm2: LayerNorm::new(width, device),
            fc1: Linear::new(width, 4 * width, device),
            fc2: Linear::new(4 * width, width, device),
            heads,
            chunk,
        };
        LinearTransformer {
            wte: Embedding::from_weight(init::normal([vocabulary, width], 0.1, device)),
            wpe: Embedding::from_weight(init::normal([context, width], 0.1, device)),
            blocks: (0..layers).map(block).collect(),
            norm: LayerNorm::new(width, device),
            head: Linear::without_bias(width, vocabulary, device),
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`; the length is one that
    /// chunks divide, no longer than the context.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.shape().last().copied().unwrap_or(0);
        let mut x = self.wte.forward(tokens) + self.wpe.weight.narrow(0, 0, length);
        for block in &self.blocks {
            x = block.forward(&x);
        }
        self.head.forward(&self.norm.forward(&x))
    }
}
