//! Causal models: what would be if.

#[cfg(not(target_arch = "wasm32"))]
mod recipes;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
