//! Long convolutions and gates in the place of attention.

use std::f64::consts::PI;

use vorpal_autodiff::ops::ConvolveMode;
use vorpal_nn::{
    Conv1d, Conv1dOptions, DType, Device, Embedding, LayerNorm, Linear, Module, Padding, Tensor, init,
};

/// Sizes of a [`Hyena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HyenaOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Numbers of the hidden layers of the network that gives the filters.
    pub filter: usize,
    /// Blocks.
    pub layers: usize,
}

/// Waves that stand for a place in time.
const WAVES: usize = 4;

/// The Hyena operator of order two: v times a gate, a convolution of each channel as long as the sequence, and times
/// another gate; all three a linear layer and a short convolution of the input. The long filter is
/// what a network with sine activations says of each moment, under a decay that differs from channel to channel.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::HyenaOperator;
/// let device = Device::cpu();
/// let x = Tensor::ones([2, 5, 4], DType::F32, &device);
/// assert_eq!(HyenaOperator::new(4, 8, &device).forward(&x).shape(), [2, 5, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct HyenaOperator {
    in_proj: Linear,
    short: Conv1d,
    filter1: Linear,
    filter2: Linear,
    filter3: Linear,
    frequency: Tensor,
    bias: Tensor,
    out_proj: Linear,
}

impl HyenaOperator {
    /// For `width` channels, with `filter` numbers in the hidden layers of the filters' network.
    pub fn new(width: usize, filter: usize, device: &Device) -> HyenaOperator {
        let causal =
            Conv1dOptions { padding: Padding::Causal, groups: 3 * width, ..Conv1dOptions::default() };
        HyenaOperator {
            in_proj: Linear::new(width, 3 * width, device),
            short: Conv1d::with_options(3 * width, 3 * width, [3], causal, device),
            filter1: Linear::new(1 + 2 * WAVES, filter, device),
            filter2: Linear::new(filter, filter, device),
            filter3: Linear::without_bias(filter, width, device),
            frequency: init::constant([filter], 10.0, device),
            bias: init::normal([width], 1.0, device),
            out_proj: Linear::new(width, width, device),
        }
    }

    /// Filters `[width, length]`.
    #[track_caller]
    pub fn filters(&self, length: usize) -> Tensor {
        let width = self.bias.shape().numel();
        let Ok(device) = self.bias.device() else { return self.bias.clone() };
        let time = Tensor::arange(length, DType::F32, &device) / length.max(2).saturating_sub(1) as f64;
        let waves = (0..WAVES).flat_map(|k| {
            let angle = &time * (2.0 * PI * (k + 1) as f64);
            [angle.sin(), angle.cos()]
        });
        let places: Vec<Tensor> = std::iter::once(time.clone()).chain(waves).collect();
        let places = Tensor::stack(&places.iter().collect::<Vec<_>>(), 1);
        let hidden = (self.filter1.forward(&places) * &self.frequency).sin();
        let hidden = (self.filter2.forward(&hidden) * &self.frequency).sin();
        // From a filter that has fallen to a hundredth after a third of the sequence to one after three times as long.
        let speed = Tensor::linspace(0.01f64.ln() / 0.3, 0.01f64.ln() / 3.0, width, DType::F32, &device);
        self.filter3.forward(&hidden).t() * (speed.unsqueeze(-1) * time).exp()
    }

    /// `[batch, length, width]` to the same; token t sees those up to t.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let &[_, length, width] = x.shape().dims() else { return x.clone() };
        let all = self.short.forward(&self.in_proj.forward(x).transpose(1, 2));
        let [first, second, v] = [0, 1, 2].map(|part| all.narrow(1, part * width, width));
        let v = v * second;
        let long = v.convolve(&self.filters(length), ConvolveMode::Causal);
        let y = (long + v * self.bias.unsqueeze(-1)) * first;
        self.out_proj.forward(&y.transpose(1, 2))
    }
}

/// A language model of Hyena operators (Poli et al. 2023): each behind a norm and added to what came in, as is a network of
/// two layers. Tokens `[batch, length]` to logits `[batch, length, vocabulary]`.
///
/// `vorpal train hyena` is told four pairs of a key and a value, then each key, and says its value (159,312 parameters; goal: a
/// test accuracy of 0.9).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::{Hyena, HyenaOptions};
/// let device = Device::cpu();
/// let model = Hyena::new(HyenaOptions { vocabulary: 11, width: 8, filter: 8, layers: 2 }, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(model.forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Hyena {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Clone, Debug, Module)]
struct Block {
    norm1: LayerNorm,
    operator: HyenaOperator,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Hyena {
    /// Random weights.
    pub fn new(options: HyenaOptions, device: &Device) -> Hyena {
        let HyenaOptions { vocabulary, width, filter, layers } = options;
        let block = |_| Block {
            norm1: LayerNorm::new(width, device),
            operator: HyenaOperator::new(width, filter, device),
            norm2: LayerNorm::new(width, device),
            fc1: Linear::new(width, 2 * width, device),
            fc2: Linear::new(2 * width, width, device),
        };
        Hyena {
            embedding: Embedding::new(vocabulary, width, device),
            blocks: (0..layers).map(block).collect(),
            norm: LayerNorm::new(width, device),
            head: Linear::new(width, vocabulary, device),
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let mut x = self.embedding.forward(tokens);
        for Block { norm1, operator, norm2, fc1, fc2 } in &self.blocks {
            x = &x + operator.forward(&norm1.forward(&x));
            x = &x + fc2.forward(&fc1.forward(&norm2.forward(&x)).gelu_tanh());
        }
        self.head.forward(&self.norm.forward(&x))
    }
}
