//! Causal convolutions over time.

use vorpal_nn::{Conv1d, Device, Embedding, Module, Padding, Tensor};

/// Sizes of a [`WaveNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaveNetOptions {
    /// Values of an element.
    pub vocabulary: usize,
    /// Numbers of an element inside.
    pub width: usize,
    /// Numbers that every layer gives to the answer.
    pub skip: usize,
    /// Layers, of which layer k looks back 2ᵏ elements.
    pub layers: usize,
}

impl WaveNetOptions {
    /// How many elements an answer depends on: 2 to the number of layers.
    pub fn reach(&self) -> usize {
        1 << self.layers
    }
}

/// WaveNet (van den Oord et al. 2016), unconditional: convolutions that see the present and one earlier element, twice as
/// far back in every layer, with gates tanh(a) · σ(b), residual and skip connections. A model of sequences that answers all
/// places at once: `[batch, time]` of whole numbers to logits `[batch, time, vocabulary]` of the element that comes next.
///
/// For 256 values, width 64, skip 128 and 6 layers there are 239,872 parameters. `vorpal train wavenet` learns Vorpal's own
/// documentation and sources byte by byte, to at most 2.5 bits a byte.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::conv::{WaveNet, WaveNetOptions};
/// let device = Device::cpu();
/// let options = WaveNetOptions { vocabulary: 5, width: 4, skip: 6, layers: 2 };
/// let model = WaveNet::new(options, &device);
/// assert_eq!(model.forward(&Tensor::zeros([2, 7], DType::I32, &device)).shape(), [2, 7, 5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct WaveNet {
    embedding: Embedding,
    layers: Vec<WaveNetLayer>,
    end1: Conv1d,
    end2: Conv1d,
}

#[derive(Clone, Debug, Module)]
struct WaveNetLayer {
    filter: Conv1d,
    gate: Conv1d,
    residual: Conv1d,
    skip: Conv1d,
}

impl WaveNet {
    /// Random weights.
    pub fn new(options: WaveNetOptions, device: &Device) -> WaveNet {
        let WaveNetOptions { vocabulary, width, skip, layers } = options;
        let mix = |from: usize, to: usize| Conv1d::new(from, to, [1], device);
        let layer = |k: usize| {
            let back = || Conv1d::new(width, width, [2], device).dilation([1 << k]).padding(Padding::Causal);
            WaveNetLayer { filter: back(), gate: back(), residual: mix(width, width), skip: mix(width, skip) }
        };
        WaveNet {
            embedding: Embedding::new(vocabulary, width, device),
            layers: (0..layers).map(layer).collect(),
            end1: mix(skip, skip),
            end2: mix(skip, vocabulary),
        }
    }

    /// Logits `[batch, time, vocabulary]` of what comes after every element of `[batch, time]`.
    #[track_caller]
    pub fn forward(&self, elements: &Tensor) -> Tensor {
        let mut x = self.embedding.forward(elements).transpose(1, 2);
        let mut skips: Option<Tensor> = None;
        for layer in &self.layers {
            let gated = layer.filter.forward(&x).tanh() * layer.gate.forward(&x).sigmoid();
            let skip = layer.skip.forward(&gated);
            skips = Some(skips.map_or(skip.clone(), |skips| skips + skip));
            x = x + layer.residual.forward(&gated);
        }
        let seen = skips.unwrap_or(x).relu();
        self.end2.forward(&self.end1.forward(&seen).relu()).transpose(1, 2)
    }
}
