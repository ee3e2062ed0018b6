//! Transformers: language, images, sound, and two of them together.
//!
//! | model | what it is |
//! |---|---|
//! | [`Gpt`] | a small causal language model |
//! | [`Gpt2`], [`Llama`], [`Moe`] | causal language models that keep keys and values: see [`generate`], [`beam_search`] |
//! | [`Bert`], [`BertMaskedLm`] | a text read from both sides |
//! | [`T5`] | a text that answers a text |
//! | [`Whisper`] | a text that answers a sound, heard by [`Mel`] |
//! | [`Vit`], [`Mae`] | images as patches: named, completed |
//! | [`Clip`] | images and texts in one space |

mod bert;
mod clip;
#[cfg(not(target_arch = "wasm32"))]
mod generation;
mod gpt;
mod gpt2;
mod language_model;
mod llama;
mod mae;
mod mel;
mod moe;
mod parts;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod t5;
mod vit;
mod whisper;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::{RECIPES, batches};

pub use bert::{Bert, BertMaskedLm, BertOptions, hide};
pub use clip::{Clip, ClipOptions};
#[cfg(not(target_arch = "wasm32"))]
pub use generation::{Sampling, beam_search, generate};
pub use gpt::{Gpt, GptBlock, GptOptions};
pub use gpt2::Gpt2;
pub use language_model::LanguageModel;
pub use llama::{Llama, LlamaOptions};
pub use mae::{Mae, MaeOptions};
pub use mel::Mel;
pub use moe::Moe;
#[cfg(not(target_arch = "wasm32"))]
pub use recipes::gpt_options;
pub use t5::{T5, T5Options};
pub use vit::{Vit, VitOptions};
pub use whisper::{Whisper, WhisperOptions};
