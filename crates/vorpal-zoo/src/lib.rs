//! Model zoo of Vorpal: each model is one file, each training a [`Recipe`].
//!
//! | module | holds |
//! |---|---|
//! | [`linear`] | least squares, logistic and softmax regression, calibration |
//! | [`dense`] | networks of layers, mixers, splines, sets |
//! | [`conv`] | images, sequences, volumes |
//! | [`transformer`] | language, images, sound |
//! | [`graph`] | nodes, edges, whole graphs |
//! | [`recurrent`] | recurrent and long-range models |
//! | [`generative`] | what data could be |
//! | [`forecast`] | what comes next |
//! | [`causal`] | what would be if |
//! | [`symmetry`] | models that keep a symmetry |
//! | [`memory`] | memory and sparsity |
//! | [`beyond`] | equations, environments, learning to learn |

pub mod beyond;
pub mod causal;
pub mod conv;
pub mod data;
pub mod dense;
pub mod forecast;
pub mod generative;
pub mod graph;
pub mod linear;
pub mod memory;
#[cfg(not(target_arch = "wasm32"))]
pub mod recipe;
pub mod recurrent;
pub mod symmetry;
pub mod transformer;

pub use conv::{MnistCnn, ResNet, ResNetBlock, ResNetOptions};
#[cfg(not(target_arch = "wasm32"))]
pub use recipe::{Goal, Length, Recipe, Run, recipe, recipes};
pub use transformer::{Gpt, GptBlock, GptOptions};
