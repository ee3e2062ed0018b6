//! Fully connected models: networks of layers, mixers, splines, sets.

mod deep_sets;
mod kan;
mod layers;
mod mixer;
mod mlp;
mod monte_carlo;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;

pub use deep_sets::{DeepSets, DeepSetsOptions, Pool};
pub use kan::Kan;
pub(crate) use layers::answer;
pub use mixer::{MixerOptions, MlpMixer};
pub use mlp::{Mlp, MlpOptions};
pub use monte_carlo::{Predictive, monte_carlo};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;
