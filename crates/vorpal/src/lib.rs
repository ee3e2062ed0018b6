//! Vorpal: a GPU-first deep-learning framework on wgpu compute shaders.
//!
//! ```
//! use vorpal::prelude::*;
//!
//! #[derive(Module)]
//! struct Mlp {
//!     hidden: Linear,
//!     out: Linear,
//! }
//!
//! impl Mlp {
//!     fn forward(&self, x: &Tensor) -> Tensor {
//!         self.out.forward(&self.hidden.forward(x).relu())
//!     }
//! }
//!
//! let device = Device::cpu();
//! let mut model = Mlp { hidden: Linear::new(2, 16, &device), out: Linear::new(16, 2, &device) };
//! let mut optimizer = Adam::adamw(1e-2);
//! eval(&model)?;
//! let x = Tensor::from_slice(&[0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [4, 2], &device);
//! let y = Tensor::from_slice(&[0i32, 1, 1, 0], [4], &device);
//! let mut last = f32::INFINITY;
//! for _ in 0..100 {
//!     let (loss, grads) = value_and_grad(&model, |m| m.forward(&x).cross_entropy(&y))?;
//!     optimizer.step(&mut model, grads)?;
//!     eval(&(&loss, &model, &optimizer))?;
//!     last = loss.item::<f32>()?;
//! }
//! assert!(last < 0.1);
//! # Ok::<(), vorpal::Error>(())
//! ```

#[cfg(doctest)]
mod book;

pub use vorpal_autodiff as autodiff;
pub use vorpal_kernels as kernels;
pub use vorpal_nn as nn;
pub use vorpal_tensor as tensor;
pub use vorpal_zoo as zoo;

pub use vorpal_autodiff::{
    BatchAxes, CustomKernel, DType, Device, DeviceInfo, DeviceKind, Error, Policy, Precision, Result, Shape,
    Tensor, checkpoint, checkpoint_with, custom_jvp, custom_vjp, eval, grad, hessian, hvp, jacfwd, jacrev,
    jvp, linearize, scan, scan_checkpointed, value_and_grad, vjp, vmap,
};
#[cfg(not(target_arch = "wasm32"))]
pub use vorpal_autodiff::{FixedPointOptions, LaunchTime, Profile, fixed_point, profile};

/// What most programs need.
pub mod prelude {
    pub use vorpal_autodiff::{
        DType, Device, Error, Result, Shape, Tensor, eval, grad, value_and_grad, vjp, vmap,
    };
    pub use vorpal_nn::data::{DataLoader, Dataset};
    pub use vorpal_nn::{
        Adam, AdamOptions, AttentionMask, AttentionOptions, BatchNorm1d, BatchNorm2d, BoxedLayer, Conv1d,
        Conv2d, Conv2dOptions, ConvTranspose2d, Dropout, Embedding, Flatten, Gelu, GroupNorm, Gru, Layer,
        LayerNorm, Linear, Lstm, MaxPool2d, Module, MultiHeadAttention, MultiheadAttention, Optimizer,
        ParameterGroup, Pool2dOptions, Relu, Residual, RmsNorm, Rnn, Role, Sequential, Sgd, SgdOptions,
        Sigmoid, Silu, Softmax, State, Tanh, Training, TransformerEncoder, TransformerEncoderLayer,
        TransformerOptions, clip_grad_norm, schedule::Schedule,
    };
}
