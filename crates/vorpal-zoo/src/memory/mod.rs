//! Memory and sparsity: what is looked up, and what is left out.

mod block_attention;
mod hopfield;
mod ntm;
mod pruning;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;

pub use block_attention::{Recall, RecallOptions, block_attention};
pub use hopfield::{HopfieldPooling, energy, retrieve};
pub use ntm::{NeuralTuringMachine, NtmOptions};
pub use pruning::{MovementLinear, MovingThin, Pruned, Thin, largest};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
