//! Selective state spaces.

use vorpal_nn::{
    Conv1d, Conv1dOptions, DType, Device, Embedding, Linear, Module, Padding, RmsNorm, Tensor, init,
};

/// Sizes of a [`Mamba`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MambaOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Numbers that stand for a token; inside of a block there are twice as many channels.
    pub width: usize,
    /// States of each channel.
    pub states: usize,
    /// Blocks.
    pub layers: usize,
}

/// Tokens that the convolution of a block sees.
const WINDOW: usize = 4;

/// The inside of a Mamba block: a gate beside a short causal convolution of each channel and a state space whose step
/// Δ, inputs B and outputs C depend on the token, so that it can choose what to keep. Parameters are named as those of
/// `transformers`.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::MambaMixer;
/// let device = Device::cpu();
/// let x = Tensor::ones([2, 5, 4], DType::F32, &device);
/// assert_eq!(MambaMixer::new(4, 3, &device).forward(&x).shape(), [2, 5, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct MambaMixer {
    #[module(name = "A_log")]
    a_log: Tensor,
    #[module(name = "D")]
    d: Tensor,
    conv1d: Conv1d,
    in_proj: Linear,
    x_proj: Linear,
    dt_proj: Linear,
    out_proj: Linear,
}

impl MambaMixer {
    /// For `width` columns, with `states` states of each of twice as many channels.
    pub fn new(width: usize, states: usize, device: &Device) -> MambaMixer {
        let (inner, rank) = (2 * width, width.div_ceil(16));
        let causal = Conv1dOptions { padding: Padding::Causal, groups: inner, ..Conv1dOptions::default() };
        let mut dt_proj = Linear::new(rank, inner, device);
        // Steps begin between 0.001 and 0.1: the softplus of the bias.
        let (low, high) = (0.001f64.ln(), 0.1f64.ln());
        let step = (Tensor::rand([inner], DType::F32, device) * (high - low) + low).exp();
        dt_proj.bias = Some(step.expm1().log());
        MambaMixer {
            a_log: (Tensor::iota([inner, states], 1, DType::F32, device) + 1.0).log(),
            d: init::constant([inner], 1.0, device),
            conv1d: Conv1d::with_options(inner, inner, [WINDOW], causal, device),
            in_proj: Linear::without_bias(width, 2 * inner, device),
            x_proj: Linear::without_bias(inner, rank + 2 * states, device),
            dt_proj,
            out_proj: Linear::without_bias(inner, width, device),
        }
    }

    /// `[batch, length, width]` to the same; token t sees those up to t.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let &[inner, states] = self.a_log.shape().dims() else { return self.a_log.clone() };
        let both = self.in_proj.forward(x);
        let gate = both.narrow(-1, inner, inner).silu();
        let x = both.narrow(-1, 0, inner).transpose(1, 2);
        let x = self.conv1d.forward(&x).transpose(1, 2).silu();
        let chosen = self.x_proj.forward(&x);
        let rank = chosen.shape().last().copied().unwrap_or(0).saturating_sub(2 * states);
        let step = self.dt_proj.forward(&chosen.narrow(-1, 0, rank)).softplus().unsqueeze(-1);
        let [b, c] = [0, 1].map(|k| chosen.narrow(-1, rank + k * states, states).unsqueeze(2));
        // All of [batch, length, inner, states].
        let decay = (-self.a_log.exp() * &step).exp();
        let inputs = step * b * x.unsqueeze(-1);
        let state = Tensor::linear_scan(&decay, &inputs, None, 1, false);
        let y = (state * c).sum(-1) + x * &self.d;
        self.out_proj.forward(&(y * gate))
    }
}

/// A language model of selective state spaces (Gu & Dao 2023): [`MambaMixer`]s behind a root mean square norm, each added to
/// what came in, and a head that shares its weights with the embedding. Tokens `[batch, length]` to logits
/// `[batch, length, vocabulary]`.
///
/// `vorpal train mamba` learns the bytes of the documentation and sources of Vorpal (75,712 parameters; goal: a test loss of
/// 1.9 nats a byte); `vorpal train mamba-copying` keeps six of 32 tokens and repeats them (17,184 parameters; goal: a test
/// accuracy of 0.95), `examples/examples/recurrent.rs` four of 16.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::{Mamba, MambaOptions};
/// let device = Device::cpu();
/// let model = Mamba::new(MambaOptions { vocabulary: 11, width: 8, states: 4, layers: 2 }, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(model.forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Mamba {
    embeddings: Embedding,
    layers: Vec<Block>,
    norm_f: RmsNorm,
}

#[derive(Clone, Debug, Module)]
struct Block {
    norm: RmsNorm,
    mixer: MambaMixer,
}

impl Mamba {
    /// Random weights.
    pub fn new(options: MambaOptions, device: &Device) -> Mamba {
        let MambaOptions { vocabulary, width, states, layers } = options;
        let block = |_| Block {
            norm: RmsNorm::new(width, device).eps(1e-5),
            mixer: MambaMixer::new(width, states, device),
        };
        Mamba {
            // Small, because it is the head as well.
            embeddings: Embedding::from_weight(init::normal([vocabulary, width], 0.1, device)),
            layers: (0..layers).map(block).collect(),
            norm_f: RmsNorm::new(width, device).eps(1e-5),
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let mut x = self.embeddings.forward(tokens);
        for Block { norm, mixer } in &self.layers {
            x = &x + mixer.forward(&norm.forward(&x));
        }
        self.norm_f.forward(&x).matmul(&self.embeddings.weight.t())
    }
}
