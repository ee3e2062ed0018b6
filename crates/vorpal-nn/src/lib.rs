//! Modules, initialisers, optimisers, checkpoints and data for Vorpal.

#[cfg(not(target_arch = "wasm32"))]
mod checkpoint;
pub mod data;
pub mod init;
mod layers;
mod module;
mod optim;

extern crate self as vorpal_nn;

#[cfg(not(target_arch = "wasm32"))]
pub use checkpoint::{from_safetensors, load, save, to_safetensors, write_whole};
pub use layers::{BatchNorm2d, Conv2d, Dropout, Embedding, LayerNorm, Linear};
pub use module::{Module, Role, State, Training, join};
pub use optim::{Adam, Optimizer, Sgd, clip_grad_norm, global_norm};
pub use vorpal_autodiff::{
    DType, Device, Error, Result, Shape, Tensor, Tensors, Tree, eval, grad, ops::Conv2dOptions,
    value_and_grad,
};
pub use vorpal_derive::Module;
