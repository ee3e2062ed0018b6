//! Transformers: language, images, sound, and two of them together.

mod gpt;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;

pub use gpt::{Gpt, GptBlock, GptOptions};
#[cfg(not(target_arch = "wasm32"))]
pub use recipes::gpt_options;
