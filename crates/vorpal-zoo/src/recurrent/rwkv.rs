//! Attention whose weights fall with time alone.

use vorpal_nn::{DType, Device, Embedding, LayerNorm, Linear, Module, Tensor, init};

/// Sizes of an [`Rwkv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RwkvOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
}

/// Time mixing of RWKV-4: every channel takes the mean of all values so far, weighted by e^key and a decay e^(−w) a step, the
/// present one by e^(u + key), and a gate lets it through. Parameters are named as those of `transformers`.
///
/// [`forward`](RwkvAttention::forward) is two scans, parallel in time; [`step`](RwkvAttention::step) the same thing step by step.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::RwkvAttention;
/// let device = Device::cpu();
/// let x = Tensor::ones([2, 5, 4], DType::F32, &device);
/// assert_eq!(RwkvAttention::new(4, &device).forward(&x).shape(), [2, 5, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct RwkvAttention {
    time_decay: Tensor,
    time_first: Tensor,
    time_mix_key: Tensor,
    time_mix_value: Tensor,
    time_mix_receptance: Tensor,
    key: Linear,
    value: Linear,
    receptance: Linear,
    output: Linear,
}

/// What [`RwkvAttention::step`] hands on: the last input, and sums of values and of weights, over e to the power of the
/// fourth; `[batch, width]` each.
pub type RwkvState = [Tensor; 4];

/// `x` and what was before it, by shares of each channel.
#[track_caller]
fn mixed(x: &Tensor, before: &Tensor, share: &Tensor) -> Tensor {
    x * share + before * (1.0 - share)
}

/// Rows `[batch, length, width]` one step later, zeros first.
#[track_caller]
fn later(x: &Tensor) -> Tensor {
    let length = x.shape().get(1).copied().unwrap_or(0);
    x.pad(1, 1, 0, 0.0).narrow(1, 0, length)
}

impl RwkvAttention {
    /// For `width` channels: slow ones to fast ones, as the paper starts.
    pub fn new(width: usize, device: &Device) -> RwkvAttention {
        let place = Tensor::arange(width, DType::F32, device) / width.max(2).saturating_sub(1) as f64;
        let linear = || Linear::without_bias(width, width, device);
        RwkvAttention {
            time_decay: place.pow(1.3) * 8.0 - 5.0,
            time_first: init::constant([width], 0.3f32.ln(), device),
            time_mix_key: place.clone(),
            time_mix_value: &place + 0.1,
            time_mix_receptance: &place * 0.5,
            key: linear(),
            value: linear(),
            receptance: linear(),
            output: linear(),
        }
    }

    /// Keys, values and gates.
    #[track_caller]
    fn inputs(&self, x: &Tensor, before: &Tensor) -> [Tensor; 3] {
        [
            self.key.forward(&mixed(x, before, &self.time_mix_key)),
            self.value.forward(&mixed(x, before, &self.time_mix_value)),
            self.receptance.forward(&mixed(x, before, &self.time_mix_receptance)).sigmoid(),
        ]
    }

    /// `[batch, length, width]` to the same; token t sees those up to t.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let [key, value, gate] = self.inputs(x, &later(x));
        // The mean does not change when all keys of a channel are less by one number.
        let weight = (&key - key.max_keepdim(1).stop_gradient()).exp();
        let decay = (-self.time_decay.exp()).exp().broadcast_to(key.shape());
        let before = |x: &Tensor| later(&Tensor::linear_scan(&decay, x, None, 1, false));
        let now = self.time_first.exp() * &weight;
        let values = before(&(&weight * &value)) + &now * &value;
        let weights = before(&weight) + now + 1e-30;
        self.output.forward(&(gate * values / weights))
    }

    /// One step: `[batch, width]` to the same, and the state, from that before, or from none.
    #[track_caller]
    pub fn step(&self, x: &Tensor, state: Option<&RwkvState>) -> (Tensor, RwkvState) {
        let none = || {
            let zeros = x.full_like(0.0);
            [zeros.clone(), zeros.clone(), zeros, x.full_like(-1e30)]
        };
        let [last, values, weights, top] = state.cloned().unwrap_or_else(none);
        let [key, value, gate] = self.inputs(x, &last);
        // Sums and the present term over one power, whichever is larger.
        let add = |top: &Tensor, key: &Tensor| {
            let larger = top.maximum(key);
            let (old, new) = ((top - &larger).exp(), (key - &larger).exp());
            (&old * &values + &new * &value, &old * &weights + &new, larger)
        };
        let (seen, of, _) = add(&top, &(&self.time_first + &key));
        let (values, weights, top) = add(&(&top - self.time_decay.exp()), &key);
        (self.output.forward(&(gate * seen / of)), [x.clone(), values, weights, top])
    }
}

/// Channel mixing of RWKV: a gated network of two layers with a squared ReLU, of a token and the one before it.
#[derive(Clone, Debug, Module)]
struct FeedForward {
    time_mix_key: Tensor,
    time_mix_receptance: Tensor,
    key: Linear,
    receptance: Linear,
    value: Linear,
}

impl FeedForward {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let before = later(x);
        let key = self.key.forward(&mixed(x, &before, &self.time_mix_key)).relu().square();
        let gate = self.receptance.forward(&mixed(x, &before, &self.time_mix_receptance)).sigmoid();
        gate * self.value.forward(&key)
    }
}

/// A language model without attention between pairs of tokens (Peng et al. 2023), RWKV-4: blocks of [`RwkvAttention`] and a
/// gated network, each behind a norm and added to what came in. Tokens `[batch, length]` to logits `[batch, length, vocabulary]`.
///
/// `vorpal train rwkv` learns the bytes of the documentation and sources of Vorpal (140,928 parameters; goal: a test loss of
/// 1.8 nats a byte).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::{Rwkv, RwkvOptions};
/// let device = Device::cpu();
/// let model = Rwkv::new(RwkvOptions { vocabulary: 11, width: 8, layers: 2 }, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(model.forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Rwkv {
    embeddings: Embedding,
    pre_ln: LayerNorm,
    blocks: Vec<Block>,
    ln_out: LayerNorm,
    head: Linear,
}

#[derive(Clone, Debug, Module)]
struct Block {
    ln1: LayerNorm,
    attention: RwkvAttention,
    ln2: LayerNorm,
    feed_forward: FeedForward,
}

impl Rwkv {
    /// Random weights.
    pub fn new(options: RwkvOptions, device: &Device) -> Rwkv {
        let RwkvOptions { vocabulary, width, layers } = options;
        let place = Tensor::arange(width, DType::F32, device) / width.max(2).saturating_sub(1) as f64;
        let block = |_| Block {
            ln1: LayerNorm::new(width, device),
            attention: RwkvAttention::new(width, device),
            ln2: LayerNorm::new(width, device),
            feed_forward: FeedForward {
                time_mix_key: place.clone(),
                time_mix_receptance: place.clone(),
                key: Linear::without_bias(width, 4 * width, device),
                receptance: Linear::without_bias(width, width, device),
                value: Linear::without_bias(4 * width, width, device),
            },
        };
        Rwkv {
            // The norm behind it makes rows as large as any others.
            embeddings: Embedding::from_weight(init::uniform([vocabulary, width], 0.1, device)),
            pre_ln: LayerNorm::new(width, device),
            blocks: (0..layers).map(block).collect(),
            ln_out: LayerNorm::new(width, device),
            head: Linear::without_bias(width, vocabulary, device),
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let mut x = self.pre_ln.forward(&self.embeddings.forward(tokens));
        for block in &self.blocks {
            x = &x + block.attention.forward(&block.ln1.forward(&x));
            x = &x + block.feed_forward.forward(&block.ln2.forward(&x));
        }
        self.head.forward(&self.ln_out.forward(&x))
    }
}
