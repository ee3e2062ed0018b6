//! Layers.

mod attention;
mod conv;
mod lstm;
mod norm;

use vorpal_autodiff::{Device, Tensor};

pub use self::attention::{MultiHeadAttention, multi_head_attention};
pub use self::conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use self::lstm::{Lstm, LstmLayer, LstmState};
pub use self::norm::{BatchNorm2d, GroupNorm, LayerNorm, RmsNorm};
use crate::init::{normal, uniform};
use crate::{Module, Training};

/// `x Wᵀ + b`: `[…, inputs]` to `[…, outputs]`. Named and laid out as in PyTorch: `weight` is
/// `[outputs, inputs]`.
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// `[outputs, inputs]`.
    pub weight: Tensor,
    /// `[outputs]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Weights and bias uniform in ±1∕√inputs, PyTorch's default.
    pub fn new(inputs: usize, outputs: usize, device: &Device) -> Linear {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        Linear {
            weight: uniform([outputs, inputs], bound, device),
            bias: Some(uniform([outputs], bound, device)),
        }
    }

    /// The same without a bias.
    pub fn without_bias(inputs: usize, outputs: usize, device: &Device) -> Linear {
        Linear { bias: None, ..Linear::new(inputs, outputs, device) }
    }

    /// The layer applied to the last axis.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let product = x.matmul(&self.weight.t());
        match &self.bias {
            Some(bias) => product + bias,
            None => product,
        }
    }
}

/// A table of vectors, picked by number: `[…]` of `I32` or `U32` to `[…, features]`.
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[entries, features]`.
    pub weight: Tensor,
}

impl Embedding {
    /// Standard normal vectors, PyTorch's default.
    pub fn new(entries: usize, features: usize, device: &Device) -> Embedding {
        Embedding { weight: normal([entries, features], 1.0, device) }
    }

    /// The vectors of the numbers. A number out of range is an error when the value is read.
    #[track_caller]
    pub fn forward(&self, numbers: &Tensor) -> Tensor {
        self.weight.embedding(numbers)
    }
}

/// Zeroes elements at random while training (Srivastava et al. 2014).
#[derive(Clone, Debug, Module)]
pub struct Dropout {
    /// Probability of a zero.
    pub p: f64,
    training: Training,
}

impl Dropout {
    /// Zeroes with probability `p`.
    pub fn new(p: f64) -> Dropout {
        Dropout { p, training: Training::default() }
    }

    /// The layer applied to every element; nothing happens outside of training.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        if self.training.is_on() { x.dropout(self.p) } else { x.clone() }
    }
}
