//! Attention without products of queries and keys.

use vorpal_nn::{Device, Embedding, LayerNorm, Linear, Module, Tensor, init};

/// Sizes of an [`Aft`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AftOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Groups of channels, each with biases of its own; divides the width.
    pub heads: usize,
    /// Tokens with a bias: the present one and those right before it.
    pub window: usize,
    /// Blocks.
    pub layers: usize,
}

/// A score whose weight is nothing beside any other.
const NONE: f64 = -1e30;

/// What the bias of the token that a head leans towards is at first: e⁴ is about as much as the other tokens of a context
/// of 64.
const LEANING: f32 = 4.0;

/// Rows of the axis before the last, `steps` later, behind rows of `first`.
#[track_caller]
fn later(x: &Tensor, steps: usize, first: f64) -> Tensor {
    let length = x.shape().iter().nth_back(1).copied().unwrap_or(0);
    x.pad(-2, steps, 0, first).narrow(-2, 0, length)
}

/// `[…, length, columns]` to `[…, length, columns, window]`: each row and those right before it, the row itself last; before
/// the first one `outside`.
#[track_caller]
fn windows(x: &Tensor, window: usize, outside: f64) -> Tensor {
    x.pad(-2, window.saturating_sub(1), 0, outside).unfold(-2, window, 1, 1)
}

/// Of all rows up to each: log Σ e^key, and the mean of the values with weights of e^key. The mean goes on by shares of the
/// sum, which lie between 0 and 1 however large or small keys are.
#[track_caller]
fn so_far(keys: &Tensor, values: &Tensor) -> [Tensor; 2] {
    let weight = keys.logcumsumexp(-2);
    let kept = (later(&weight, 1, NONE) - &weight).exp();
    let added = (keys - &weight).exp() * values;
    let mean = Tensor::linear_scan(&kept, &added, None, -2, false);
    [weight, mean]
}

/// Causal attention without products of queries and keys, channel by channel:
/// σ(qₜ) · Σ e^(kₛ + wₜₛ) vₛ ∕ Σ e^(kₛ + wₜₛ), over all rows s up to t.
///
/// Queries, keys and values are `[…, length, columns]` of one shape. `bias` holds wₜₛ of the present row and those right
/// before it, the present one last, and broadcasts to `[length, columns, window]`; rows further away have a bias of 0. With
/// biases `[length, 1, window]` it is AFT-local, with `[columns, window]` a causal AFT-conv, with zeros AFT-simple.
///
/// Rows of the window are looked at one by one, those before it by their sums, which a scan carries along: memory grows with
/// length · columns · window. Weights are taken by the largest of each sum, so that no key is too large or too small.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::aft;
/// let device = Device::cpu();
/// let [zeros, values] = [[0.0f32; 3], [1.0, 2.0, 3.0]].map(|v| Tensor::from_slice(&v, [3, 1], &device));
/// let seen = aft(&zeros, &zeros, &values, &Tensor::from_slice(&[0.0f32; 2], [1, 2], &device)).to_vec::<f32>()?;
/// // Means of all so far, halved by the gate.
/// assert!(seen.iter().zip([0.5, 0.75, 1.0]).all(|(a, b)| (a - b).abs() < 1e-6));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[track_caller]
pub fn aft(queries: &Tensor, keys: &Tensor, values: &Tensor, bias: &Tensor) -> Tensor {
    let window = bias.shape().last().copied().unwrap_or(0);
    let [weight, mean] = so_far(keys, values);
    let (near, far) = (windows(keys, window, NONE) + bias, later(&weight, window, NONE));
    let top = near.max(-1).maximum(&far).stop_gradient();
    let (near, far) = ((near - top.unsqueeze(-1)).exp(), (far - &top).exp());
    let sum = (&near * windows(values, window, 0.0)).sum(-1) + &far * later(&mean, window, 0.0);
    queries.sigmoid() * sum / (near.sum(-1) + far)
}

/// An attention free transformer (Zhai et al. 2021) as a language model: a causal AFT-conv, whose biases depend on how far
/// back a token lies, up to a window, and are shared by the channels of a head. Behind the window the keys alone tell. Blocks are
/// those of a transformer with normalisation in front, [`aft`] in the place of attention; as biases know the order, there are no
/// positions. Tokens `[batch, length]`, as long as one likes, to logits `[batch, length, vocabulary]`.
///
/// At first head h leans towards the token h steps back.
///
/// `vorpal train aft` learns the bytes of the documentation and sources of Vorpal (133,120 parameters; goal: a test loss of 1.9
/// nats a byte).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::{Aft, AftOptions};
/// let device = Device::cpu();
/// let options = AftOptions { vocabulary: 11, width: 8, heads: 2, window: 2, layers: 1 };
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4], [1, 4], &device);
/// assert_eq!(Aft::new(options, &device).forward(&tokens).shape(), [1, 4, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Aft {
    wte: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Clone, Debug, Module)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    /// `[heads, window]`, the present token last.
    position_bias: Tensor,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

/// Biases `[heads, window]` of 0, but for the token that each head leans towards.
fn leaning(heads: usize, window: usize, device: &Device) -> Tensor {
    let mut biases = vec![0.0f32; heads * window];
    for (head, row) in biases.chunks_mut(window.max(1)).enumerate() {
        row[window - 1 - head % window] = LEANING;
    }
    Tensor::from_slice(&biases, [heads, window], device)
}

impl Block {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let &[_, _, width] = x.shape().dims() else { return x.clone() };
        let rows = self.qkv.forward(&self.norm1.forward(x));
        let [q, k, v] = [0, 1, 2].map(|part| rows.narrow(-1, part * width, width));
        let heads = self.position_bias.shape().first().copied().unwrap_or(0);
        let bias = self.position_bias.repeat_interleave(width / heads.max(1), 0);
        let x = x + self.proj.forward(&aft(&q, &k, &v, &bias));
        &x + self.fc2.forward(&self.fc1.forward(&self.norm2.forward(&x)).gelu_tanh())
    }
}

impl Aft {
    /// Random weights.
    pub fn new(options: AftOptions, device: &Device) -> Aft {
        let AftOptions { vocabulary, width, heads, window, layers } = options;
        let block = |_| Block {
            norm1: LayerNorm::new(width, device),
            qkv: Linear::new(width, 3 * width, device),
            position_bias: leaning(heads, window, device),
            proj: Linear::new(width, width, device),
            norm2: LayerNorm::new(width, device),
            fc1: Linear::new(width, 4 * width, device),
            fc2: Linear::new(4 * width, width, device),
        };
        Aft {
            wte: Embedding::from_weight(init::normal([vocabulary, width], 0.1, device)),
            blocks: (0..layers).map(block).collect(),
            norm: LayerNorm::new(width, device),
            head: Linear::without_bias(width, vocabulary, device),
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let mut x = self.wte.forward(tokens);
        for block in &self.blocks {
            x = block.forward(&x);
        }
        self.head.forward(&self.norm.forward(&x))
    }
}
