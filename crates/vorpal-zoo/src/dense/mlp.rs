//! Multilayer perceptrons.

use vorpal_nn::{Device, Dropout, Linear, Module, Tensor};

/// Sizes of a [`Mlp`].
#[derive(Clone, Debug)]
pub struct MlpOptions {
    /// Features, units of every hidden layer, outputs.
    pub sizes: Vec<usize>,
    /// What stands between layers, ReLU by default.
    pub activation: fn(&Tensor) -> Tensor,
    /// Probability with which a hidden unit is left out of a step of training (Srivastava et al. 2014), 0 by default.
    pub dropout: f64,
}

impl Default for MlpOptions {
    fn default() -> MlpOptions {
        MlpOptions { sizes: vec![784, 128, 10], activation: Tensor::relu, dropout: 0.0 }
    }
}

/// A multilayer perceptron (Rumelhart, Hinton & Williams 1986): fully connected layers with an activation and dropout
/// between them, `[…, features]` to `[…, outputs]`; for sizes 784, 256, 128 and 10 there are 235,146 parameters, named as
/// those of a PyTorch `ModuleList` called `layers`.
///
/// `vorpal train mlp` teaches the one of these sizes MNIST digits, of which it is to name 96.5 %.
///
/// ```
/// use vorpal_nn::{DType, Device, Module, Tensor};
/// use vorpal_zoo::dense::{Mlp, MlpOptions};
/// let device = Device::cpu();
/// let options = MlpOptions { sizes: vec![4, 16, 2], activation: Tensor::tanh, dropout: 0.1 };
/// let mlp = Mlp::new(options, &device);
/// assert_eq!(mlp.parameter_count(), 114);
/// assert_eq!(mlp.forward(&Tensor::zeros([3, 4], DType::F32, &device)).shape(), [3, 2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Mlp {
    layers: Vec<Linear>,
    dropout: Dropout,
    #[module(skip)]
    activation: fn(&Tensor) -> Tensor,
}

impl Mlp {
    /// Random weights.
    pub fn new(options: MlpOptions, device: &Device) -> Mlp {
        Mlp {
            layers: options.sizes.windows(2).map(|pair| Linear::new(pair[0], pair[1], device)).collect(),
            dropout: Dropout::new(options.dropout),
            activation: options.activation,
        }
    }

    /// Outputs `[…, outputs]` of features `[…, features]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for (k, layer) in self.layers.iter().enumerate() {
            if k > 0 {
                x = self.dropout.forward(&(self.activation)(&x));
            }
            x = layer.forward(&x);
        }
        x
    }
}
