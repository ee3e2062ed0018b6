//! Few parameters beside many that are not trained.

use vorpal_autodiff::{Device, Tensor};

use super::{BoxedLayer, Dropout, Frozen, Layer, Relu};
use crate::init::constant;
use crate::{Linear, Module};

/// A linear layer that is not trained, and a product of two small matrices that is, added to it (LoRA, Hu et al. 2021).
/// Named as in PEFT: `base_layer`, `lora_A`, `lora_B`.
///
/// ```
/// use vorpal_nn::{Device, Linear, Lora, Module, Tensor};
/// let mut layer = Lora::new(Linear::new(64, 64, &Device::cpu()), 4, 8.0, &Device::cpu());
/// assert_eq!(layer.parameter_count(), 2 * 4 * 64);
/// let x = Tensor::from_slice(&[1.0f32; 64], [1, 64], &Device::cpu());
/// // Into the weights for inference, and out of them again.
/// layer.merge();
/// assert_eq!(layer.forward(&x).shape(), [1, 64].into());
/// layer.unmerge();
/// ```
#[derive(Clone, Debug, Module)]
pub struct Lora {
    base_layer: Frozen<Linear>,
    #[module(name = "lora_A")]
    down: Linear,
    #[module(name = "lora_B")]
    up: Linear,
    /// Factor of the product.
    scaling: f64,
    dropout: Dropout,
    merged: bool,
}

impl Lora {
    /// Matrices of `rank` beside a layer, their product times `alpha` ∕ `rank`. It changes nothing at first: the second
    /// matrix is zeros.
    pub fn new(base: Linear, rank: usize, alpha: f64, device: &Device) -> Lora {
        let [outputs, inputs] = [0, 1].map(|axis: usize| base.weight.shape().get(axis).copied().unwrap_or(0));
        let up = Linear { weight: constant([outputs, rank], 0.0, device), bias: None };
        Lora {
            base_layer: Frozen(base),
            down: Linear::without_bias(inputs, rank, device),
            up,
            scaling: alpha / rank.max(1) as f64,
            dropout: Dropout::new(0.0),
            merged: false,
        }
    }

    /// The same with dropout in front of the first matrix while training.
    #[must_use]
    pub fn dropout(self, p: f64) -> Lora {
        Lora { dropout: Dropout::new(p), ..self }
    }

    /// The layer applied to the last axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let base = self.base_layer.forward(x);
        if self.merged {
            return base;
        }
        base + self.up.forward(&self.down.forward(&self.dropout.forward(x))) * self.scaling
    }

    /// Adds the product to the weights of the layer, so that it costs nothing. Derivatives of a merged layer are zero.
    pub fn merge(&mut self) {
        self.set_merged(true);
    }

    /// Takes the product out of the weights of the layer.
    pub fn unmerge(&mut self) {
        self.set_merged(false);
    }

    /// The layer with the product in its weights.
    pub fn into_linear(mut self) -> Linear {
        self.merge();
        self.base_layer.0
    }

    fn set_merged(&mut self, merged: bool) {
        if merged != self.merged {
            let sign = if merged { 1.0 } else { -1.0 };
            let product = self.up.weight.matmul(&self.down.weight) * (sign * self.scaling);
            self.base_layer.0.weight = &self.base_layer.0.weight + product;
            self.merged = merged;
        }
    }
}

/// A bottleneck added to what comes in (Houlsby et al. 2019): x + up(activation(down(x))), to stand between layers that
/// are not trained.
///
/// ```
/// use vorpal_nn::{Adapter, Device, Tensor};
/// let adapter = Adapter::new(8, 2, &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32; 8], [1, 8], &Device::cpu());
/// assert_eq!(adapter.forward(&x).to_vec::<f32>()?, [1.0; 8], "nothing changes at first");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Adapter {
    /// To the bottleneck.
    pub down: Linear,
    /// Back; zeros at first.
    pub up: Linear,
    activation: BoxedLayer,
}

impl Adapter {
    /// For a last axis of `width` and a bottleneck of `inner`, with a ReLU.
    pub fn new(width: usize, inner: usize, device: &Device) -> Adapter {
        let zeros = |shape: &[usize]| constant(shape, 0.0, device);
        Adapter {
            down: Linear::new(width, inner, device),
            up: Linear { weight: zeros(&[width, inner]), bias: Some(zeros(&[width])) },
            activation: BoxedLayer::new(Relu),
        }
    }

    /// The same with another activation.
    #[must_use]
    pub fn activation(self, activation: impl Layer + Send + Sync + 'static) -> Adapter {
        Adapter { activation: BoxedLayer::new(activation), ..self }
    }

    /// The layer applied to the last axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x + self.up.forward(&self.activation.forward(&self.down.forward(x)))
    }
}

layers!(Lora, Adapter);
