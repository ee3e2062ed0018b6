//! A network of layers that run along time.

use vorpal_nn::{Device, LayerNorm, Linear, Module, Tensor};

/// A layer that runs along time, of which a [`StateSpace`] stacks some.
pub trait TimeLayer: Module + Clone {
    /// Random weights, for `width` channels and so many `states`.
    fn build(width: usize, states: usize, device: &Device) -> Self;

    /// `[batch, length, width]` to the same.
    fn along(&self, x: &Tensor) -> Tensor;
}

/// Sizes of a [`StateSpace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateSpaceOptions {
    /// Columns of the inputs.
    pub inputs: usize,
    /// Channels.
    pub width: usize,
    /// Complex states: of each channel (S4D), of a layer (LRU).
    pub states: usize,
    /// Blocks.
    pub layers: usize,
    /// Columns of the results.
    pub outputs: usize,
}

/// A network that reads a sequence: a linear layer, blocks of a norm, a [`TimeLayer`], a GELU and a gated linear layer, each
/// added to what came in, the mean over time, and a linear layer. [`S4d`](super::S4d) and [`Lru`](super::Lru) are two such.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::{LruLayer, StateSpace, StateSpaceOptions};
/// let device = Device::cpu();
/// let options = StateSpaceOptions { inputs: 1, width: 4, states: 2, layers: 1, outputs: 3 };
/// let model: StateSpace<LruLayer> = StateSpace::new(options, &device);
/// assert_eq!(model.forward(&Tensor::ones([2, 6, 1], DType::F32, &device)).shape(), [2, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct StateSpace<L: TimeLayer> {
    encoder: Linear,
    blocks: Vec<Block<L>>,
    decoder: Linear,
}

#[derive(Clone, Debug, Module)]
struct Block<L: TimeLayer> {
    norm: LayerNorm,
    layer: L,
    gate: Linear,
}

impl<L: TimeLayer> StateSpace<L> {
    /// Random weights.
    pub fn new(options: StateSpaceOptions, device: &Device) -> StateSpace<L> {
        let StateSpaceOptions { inputs, width, states, layers, outputs } = options;
        let block = |_| Block {
            norm: LayerNorm::new(width, device),
            layer: L::build(width, states, device),
            gate: Linear::new(width, 2 * width, device),
        };
        StateSpace {
            encoder: Linear::new(inputs, width, device),
            blocks: (0..layers).map(block).collect(),
            decoder: Linear::new(width, outputs, device),
        }
    }

    /// `[batch, outputs]` of sequences `[batch, length, inputs]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = self.encoder.forward(x);
        let width = x.shape().last().copied().unwrap_or(0);
        for Block { norm, layer, gate } in &self.blocks {
            let both = gate.forward(&layer.along(&norm.forward(&x)).gelu_tanh());
            x = x + both.narrow(-1, 0, width) * both.narrow(-1, width, width).sigmoid();
        }
        self.decoder.forward(&x.mean(1))
    }
}
