//! Convolutional models: images, sequences, volumes.

mod mnist_cnn;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod resnet;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;

pub use mnist_cnn::MnistCnn;
pub use resnet::{BasicBlock, ResNet18};
