//! Beyond: equations, environments, learning to learn, learning from others.

mod cart_pole;
mod contrast;
mod distill;
mod dqn;
mod lora;
mod maml;
mod neural_ode;
mod pinn;
#[cfg(not(target_arch = "wasm32"))]
mod recipes;

use vorpal_nn::Module;

pub use cart_pole::{CartPole, Pushed};
pub use contrast::{Byol, Encoder, SimClr};
pub use distill::Student;
pub use dqn::{Dqn, Met};
pub use lora::LoraMlp;
pub use maml::{Maml, descend};
pub use neural_ode::{NeuralOde, VectorField, odeint, odeint_adjoint};
pub use pinn::Pinn;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use recipes::RECIPES;

/// Moves every tensor of `model` by `share` of the way to that of `other`.
fn follow<M: Module>(model: &mut M, other: &M, share: f64) {
    let mut new = Vec::new();
    other.walk("", &mut |_, _, tensor| new.push(tensor.clone()));
    let mut new = new.into_iter();
    model.walk_mut("", &mut |_, _, tensor| {
        if let Some(new) = new.next() {
            *tensor = tensor.lerp(&new, share);
        }
    });
}
