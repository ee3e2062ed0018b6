//! Fully connected models: networks of layers, mixers, splines, sets.

mod layers;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;

pub(crate) use layers::answer;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
