//! Model zoo of Vorpal: each model is one file.

mod gpt;
mod mnist_cnn;

pub use gpt::{Gpt, GptBlock, GptOptions};
pub use mnist_cnn::MnistCnn;
