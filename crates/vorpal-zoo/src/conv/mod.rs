//! Convolutional models: images, sequences, volumes.

mod conv3d_net;
mod convnext;
mod lenet;
mod mnist_cnn;
mod mobilenet;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod resnet;
mod unet;
mod wavenet;

pub use conv3d_net::Conv3dNet;
pub use convnext::{ConvNeXt, ConvNeXtOptions};
pub use lenet::LeNet5;
pub use mnist_cnn::MnistCnn;
pub use mobilenet::{MobileNetV2, MobileNetV2Options};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
pub use resnet::{ResNet, ResNetBlock, ResNetOptions};
pub use unet::{UNet, UNetOptions};
pub use wavenet::{WaveNet, WaveNetOptions};
