//! Trainings of transformers.

mod answer;
mod hidden;
mod image;
mod language;

use vorpal_nn::schedule::{CosineAnnealing, Schedule, warmup};
use vorpal_nn::{Adam, AdamOptions};

use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) use language::batches;
pub use language::gpt_options;

/// A training with the name of the family filled in.
const BASE: Recipe = Recipe::base("transformer", "documentation and sources of Vorpal, or --text FILE");
const DIGITS: &str = "10,000 MNIST digits that ship with the program, or --data FOLDER with the four files";

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "gpt",
        about: "GPT: a causal language model of the bytes of a text",
        length: Length::Steps(1000),
        batch: 8,
        rate: 1e-3,
        sizes: &[("layers", 4), ("width", 128), ("heads", 4), ("context", 128)],
        goal: Goal::AtMost("test_loss", 2.1),
        body: language::gpt,
        ..BASE
    },
    Recipe {
        name: "gpt2",
        about: "GPT-2 as it is published: tied tables, keys and values kept",
        length: Length::Steps(800),
        batch: 16,
        rate: 3e-3,
        sizes: &[("layers", 3), ("width", 96), ("heads", 4), ("context", 64)],
        goal: Goal::AtMost("test_loss", 1.8),
        body: language::gpt2,
        ..BASE
    },
    Recipe {
        name: "llama",
        about: "Llama: rotary positions, gated networks, shared keys and values",
        length: Length::Steps(600),
        batch: 16,
        rate: 4e-3,
        sizes: &[("layers", 2), ("width", 96), ("heads", 6), ("context", 64)],
        goal: Goal::AtMost("test_loss", 1.7),
        body: language::llama,
        ..BASE
    },
    Recipe {
        name: "moe",
        about: "a mixture of experts in the blocks of Llama, beside a dense one",
        length: Length::Steps(1400),
        batch: 16,
        rate: 4e-3,
        sizes: &[("layers", 2), ("width", 64), ("heads", 4), ("context", 64), ("experts", 8)],
        goal: Goal::AtMost("test_loss", 1.7),
        body: language::moe,
        ..BASE
    },
    Recipe {
        name: "bert",
        about: "BERT: says which bytes of a text are hidden",
        length: Length::Steps(1500),
        batch: 64,
        rate: 2e-3,
        sizes: &[("layers", 3), ("width", 96), ("heads", 4), ("context", 32), ("hidden", 15)],
        goal: Goal::AtLeast("test_accuracy", 0.53),
        body: hidden::bert,
        ..BASE
    },
    Recipe {
        name: "vit",
        about: "a vision transformer that names handwritten digits",
        data: DIGITS,
        length: Length::Epochs(14),
        rate: 2e-3,
        goal: Goal::AtLeast("test_accuracy", 0.96),
        body: image::vit,
        ..BASE
    },
    Recipe {
        name: "mae",
        about: "a masked autoencoder that completes handwritten digits",
        data: DIGITS,
        length: Length::Epochs(22),
        rate: 2e-3,
        sizes: &[("width", 64), ("layers", 3), ("decoder_width", 32), ("decoder_layers", 2), ("seen", 12)],
        goal: Goal::AtMost("test_loss", 0.045),
        body: image::mae,
        ..BASE
    },
    Recipe {
        name: "clip",
        about: "CLIP: names digits by their likeness to names",
        data: DIGITS,
        length: Length::Epochs(8),
        rate: 2e-3,
        goal: Goal::AtLeast("zero_shot_accuracy", 0.93),
        body: image::clip,
        ..BASE
    },
    Recipe {
        name: "t5",
        about: "T5: an encoder and a decoder that sort letters",
        data: "made up: lines of ten letters, the answer is the same letters in order",
        length: Length::Steps(600),
        rate: 2e-3,
        goal: Goal::AtLeast("exact_match", 0.95),
        body: answer::t5,
        ..BASE
    },
    Recipe {
        name: "whisper",
        about: "Whisper: digits out of the tones of a telephone",
        data: "made up: a second of five tones in noise, the answer is the digits dialled",
        length: Length::Steps(800),
        batch: 32,
        rate: 2e-3,
        goal: Goal::AtLeast("exact_match", 0.95),
        body: answer::whisper,
        ..BASE
    },
];

/// AdamW as transformers are trained.
fn adam(run: &Run) -> Adam {
    let options =
        AdamOptions { betas: (0.9, 0.95), weight_decay: 0.1, decoupled: true, ..AdamOptions::default() };
    Adam::with_options(run.rate(), options)
}

/// A rate that rises for a twentieth of the steps and falls along a cosine.
fn cosine(run: &Run, per_epoch: usize) -> impl Schedule + use<> {
    let steps = run.steps(per_epoch);
    warmup(steps / 20).then(CosineAnnealing::new(run.rate(), steps - steps / 20))
}
