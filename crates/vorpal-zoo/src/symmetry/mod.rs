//! Models that keep a symmetry of their inputs.

#[cfg(not(target_arch = "wasm32"))]
mod recipes;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
