//! Graph models: nodes, edges and whole graphs.

#[cfg(not(target_arch = "wasm32"))]
mod recipes;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
