//! Model zoo of Vorpal: each model is one file.

mod gpt;
mod mnist_cnn;
mod resnet;

pub use gpt::{Gpt, GptBlock, GptOptions};
pub use mnist_cnn::MnistCnn;
pub use resnet::{BasicBlock, ResNet18};
