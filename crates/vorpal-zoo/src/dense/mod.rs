//! Fully connected models: networks of layers, mixers, splines, sets.

#[cfg(not(target_arch = "wasm32"))]
mod recipes;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
