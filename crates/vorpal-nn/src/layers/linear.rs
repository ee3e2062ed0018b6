//! Products with weights.

use vorpal_autodiff::{At, Device, Tensor};

use super::{Layer, wrong};
use crate::Module;
use crate::init::uniform;

/// `x Wᵀ + b`: `[…, inputs]` to `[…, outputs]`. Named and laid out as in PyTorch: `weight` is
/// `[outputs, inputs]`.
///
/// ```
/// use vorpal_nn::{Device, Linear, Tensor};
/// let layer = Linear::new(3, 2, &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32; 12], [2, 2, 3], &Device::cpu());
/// assert_eq!(layer.forward(&x).shape(), [2, 2, 2].into());
/// ```
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

/// `xᵀ Aₒ y + bₒ` for each output o: `[…, left]` and `[…, right]` to `[…, outputs]`. Named and laid out as in PyTorch:
/// `weight` is `[outputs, left, right]`.
///
/// ```
/// use vorpal_nn::{Bilinear, Device, Tensor};
/// let layer = Bilinear::new(3, 2, 5, &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32; 12], [4, 3], &Device::cpu());
/// let y = Tensor::from_slice(&[1.0f32; 8], [4, 2], &Device::cpu());
/// assert_eq!(layer.forward(&x, &y).shape(), [4, 5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Bilinear {
    /// `[outputs, left, right]`.
    pub weight: Tensor,
    /// `[outputs]`.
    pub bias: Option<Tensor>,
}

impl Bilinear {
    /// Weights and bias uniform in ±1∕√left, PyTorch's default.
    pub fn new(left: usize, right: usize, outputs: usize, device: &Device) -> Bilinear {
        let bound = 1.0 / (left.max(1) as f64).sqrt();
        Bilinear {
            weight: uniform([outputs, left, right], bound, device),
            bias: Some(uniform([outputs], bound, device)),
        }
    }

    /// The same without a bias.
    pub fn without_bias(left: usize, right: usize, outputs: usize, device: &Device) -> Bilinear {
        Bilinear { bias: None, ..Bilinear::new(left, right, outputs, device) }
    }

    /// The layer applied to the last axes of two tensors that agree in the others.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let (at, shape) = (At::caller(), self.weight.shape());
        let [outputs, left, right] = match *shape.dims() {
            [outputs, left, right] => [outputs, left, right],
            _ => return wrong::shape("bilinear", "weights are [outputs, left, right]", &[&self.weight], at),
        };
        let (of_x, of_y) = (x.shape(), y.shape());
        let fits = of_x.last() == Some(&left)
            && of_y.last() == Some(&right)
            && of_x.dims()[..of_x.rank() - 1] == of_y.dims()[..of_y.rank() - 1];
        if !fits {
            let message = format!("needs […, {left}] and […, {right}]");
            return wrong::shape("bilinear", message, &[x, y], at);
        }
        // Aₒᵀ x for all outputs in one product: [rows, outputs · right].
        let rows = of_x.numel() / left.max(1);
        let weight = self.weight.transpose(0, 1).reshape([left, outputs * right]);
        let product = x.reshape([rows, left]).matmul(&weight).reshape([rows, outputs, right]);
        let whole = of_x.with_axis(of_x.rank() - 1, outputs);
        let out = (product * y.reshape([rows, 1, right])).sum(-1).reshape(whole);
        match &self.bias {
            Some(bias) => out + bias,
            None => out,
        }
    }
}

/// What comes in, as it is.
///
/// ```
/// use vorpal_nn::{Device, Identity, Tensor};
/// let x = Tensor::from_slice(&[1.0f32], [1], &Device::cpu());
/// assert_eq!(Identity.forward(&x).to_vec::<f32>()?, [1.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct Identity;

impl Identity {
    /// `x`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.clone()
    }
}

layers!(Linear, Identity);
