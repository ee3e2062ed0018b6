//! Trainings of this family.

mod equations;
mod labels;
mod play;
mod teach;

use crate::recipe::{Goal, Length, Recipe};

/// What all trainings on digits say about them.
const DIGITS: &str = "10,000 MNIST digits that ship with the program";

/// A training with the name of the family filled in.
const BASE: Recipe = Recipe::base("beyond", DIGITS);

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "neural_ode",
        about: "a neural differential equation, derived by the adjoint method, that continues a spiral",
        data: "pieces of one path of y′ = A y³, computed",
        length: Length::Steps(1500),
        batch: 32,
        rate: 1e-2,
        goal: Goal::AtMost("path_error", 0.12),
        body: equations::neural_ode,
        ..BASE
    },
    Recipe {
        name: "pinn",
        about: "a physics-informed network that solves Burgers' equation",
        data: "places drawn at random; the solution is known",
        length: Length::Steps(3000),
        batch: 256,
        rate: 3e-3,
        goal: Goal::AtMost("relative_error", 0.01),
        body: equations::pinn,
        ..BASE
    },
    Recipe {
        name: "dqn",
        about: "a deep Q-network that keeps a pole upright",
        data: "what it meets in the environment of the cart and the pole",
        length: Length::Steps(20_000),
        batch: 64,
        rate: 1e-3,
        goal: Goal::AtLeast("pushes", 195.0),
        body: play::dqn,
        ..BASE
    },
    Recipe {
        name: "maml",
        about: "a network that learns a new task in one step: a gradient through a gradient",
        data: "sine waves of random amplitude and phase",
        length: Length::Epochs(1),
        batch: 25,
        rate: 1e-3,
        goal: Goal::AtMost("test_loss", 1.0),
        body: teach::maml,
        ..BASE
    },
    Recipe {
        name: "distill",
        about: "a student that learns digits, threes among them it never saw, from a teacher",
        length: Length::Epochs(12),
        goal: Goal::AtLeast("threes", 0.6),
        body: teach::distill,
        ..BASE
    },
    Recipe {
        name: "lora",
        about: "a network fitted to turned digits by 3 % of its numbers",
        length: Length::Epochs(12),
        rate: 3e-3,
        goal: Goal::AtLeast("test_accuracy", 0.9),
        body: teach::lora,
        ..BASE
    },
    Recipe {
        name: "simclr",
        about: "an encoder that learns from two views of each picture, without labels",
        length: Length::Epochs(8),
        batch: 128,
        rate: 2e-3,
        goal: Goal::AtLeast("probe_accuracy", 0.9),
        body: labels::simclr,
        ..BASE
    },
    Recipe {
        name: "byol",
        about: "an encoder that predicts a slow copy of itself, without labels",
        length: Length::Epochs(16),
        batch: 128,
        rate: 2e-3,
        goal: Goal::AtLeast("probe_accuracy", 0.87),
        body: labels::byol,
        ..BASE
    },
];
