//! Trainings of this family.

mod lookup;
mod thin;

use crate::recipe::{Goal, Length, Recipe};

/// What trainings on digits say about them.
const DIGITS: &str = "10,000 MNIST digits that ship with the program";

/// A training with the name of the family filled in.
const BASE: Recipe = Recipe::base("memory", DIGITS);

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "ntm",
        about: "a neural Turing machine that copies sequences longer than any it has seen",
        data: "random sequences of bits",
        length: Length::Steps(3000),
        batch: 16,
        rate: 3e-3,
        goal: Goal::AtLeast("bits_at_16", 0.95),
        body: lookup::ntm,
        ..BASE
    },
    Recipe {
        name: "hopfield",
        about: "Hopfield pooling: is there a 9 among ten digits?",
        length: Length::Epochs(10),
        batch: 32,
        goal: Goal::AtLeast("test_accuracy", 0.9),
        body: lookup::hopfield,
        ..BASE
    },
    Recipe {
        name: "block_attention",
        about: "attention to the blocks that fit best: recall with an eighth of the scores",
        data: "random pairs of keys and values",
        length: Length::Steps(200),
        batch: 16,
        rate: 3e-3,
        goal: Goal::AtLeast("test_accuracy", 0.95),
        body: lookup::block_attention,
        ..BASE
    },
    Recipe {
        name: "magnitude",
        about: "magnitude pruning: a tenth of the weights",
        length: Length::Epochs(3),
        goal: Goal::AtMost("cost", 0.01),
        body: thin::magnitude,
        ..BASE
    },
    Recipe {
        name: "lottery",
        about: "lottery tickets: a tenth of the weights, trained anew from where they began",
        length: Length::Epochs(5),
        goal: Goal::AtMost("cost", 0.01),
        body: thin::lottery,
        ..BASE
    },
    Recipe {
        name: "movement",
        about: "movement pruning: fitted to turned digits with a twentieth of the weights",
        length: Length::Epochs(5),
        rate: 3e-3,
        goal: Goal::AtLeast("test_accuracy", 0.92),
        body: thin::movement,
        ..BASE
    },
];
