//! Causal models: what would be if.
//!
//! | model | what |
//! |---|---|
//! | [`TarNet`], [`DragonNet`] | what a treatment does to whom |
//! | [`Notears`] | which of many things depend on which |
//! | [`Irm`] | what holds wherever one looks |

mod irm;
mod notears;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;
mod treatment;

pub use irm::Irm;
pub use notears::Notears;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
pub use treatment::{DragonNet, TarNet, TreatmentOptions};
