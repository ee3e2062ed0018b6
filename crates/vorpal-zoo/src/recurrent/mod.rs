//! Recurrent and long-range models: states that are carried along.

#[cfg(not(target_arch = "wasm32"))]
mod recipes;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
