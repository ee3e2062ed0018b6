//! Trainings of recurrent and long-range models.

mod language;
mod long_range;
mod sequences;

use super::{LruLayer, S4dLayer};
use crate::recipe::{Goal, Length, Recipe};

/// What the language models of this family learn from.
const TEXT: &str = "documentation and sources of Vorpal, or --text FILE";

/// What the models that look far back read.
const PIXELS: &str =
    "8,000 MNIST digits that ship, 14 × 14 pixels one after the other; 2,000 others for the test";

const CHAR_RNN: Recipe = Recipe {
    name: "char-rnn",
    family: "recurrent",
    about: "an LSTM that learns the bytes of a text",
    data: TEXT,
    length: Length::Steps(500),
    batch: 16,
    rate: 4e-3,
    sizes: &[("layers", 1), ("width", 64), ("hidden", 128), ("context", 64)],
    goal: Goal::AtMost("test_loss", 2.2),
    body: language::lstm,
};

pub(crate) const RECIPES: &[Recipe] = &[
    CHAR_RNN,
    Recipe {
        name: "gru",
        about: "gated recurrent units that learn the bytes of a text",
        goal: Goal::AtMost("test_loss", 2.0),
        body: language::gru,
        ..CHAR_RNN
    },
    Recipe {
        name: "rnn",
        about: "Elman's network, without gates, that learns the bytes of a text",
        goal: Goal::AtMost("test_loss", 2.1),
        body: language::rnn,
        ..CHAR_RNN
    },
    Recipe {
        name: "mamba",
        family: "recurrent",
        about: "Mamba: a selective state space that learns the bytes of a text",
        data: TEXT,
        length: Length::Steps(400),
        batch: 8,
        rate: 4e-3,
        sizes: &[("layers", 2), ("width", 64), ("states", 8), ("context", 64)],
        goal: Goal::AtMost("test_loss", 1.9),
        body: language::mamba,
    },
    Recipe {
        name: "rwkv",
        family: "recurrent",
        about: "RWKV-4: weights that fall with time alone learn the bytes of a text",
        data: TEXT,
        length: Length::Steps(500),
        batch: 8,
        rate: 4e-3,
        sizes: &[("layers", 2), ("width", 64), ("context", 64)],
        goal: Goal::AtMost("test_loss", 1.8),
        body: language::rwkv,
    },
    Recipe {
        name: "linear-attention",
        family: "recurrent",
        about: "a transformer of linear attention that learns the bytes of a text",
        data: TEXT,
        length: Length::Steps(500),
        batch: 8,
        rate: 3e-3,
        sizes: &[("layers", 2), ("width", 64), ("heads", 4), ("context", 64), ("chunk", 16)],
        goal: Goal::AtMost("test_loss", 2.4),
        body: language::linear_attention,
    },
    Recipe {
        name: "aft",
        family: "recurrent",
        about: "an attention free transformer that learns the bytes of a text",
        data: TEXT,
        length: Length::Steps(500),
        batch: 8,
        rate: 3e-3,
        sizes: &[("layers", 2), ("width", 64), ("heads", 8), ("window", 16), ("context", 64)],
        goal: Goal::AtMost("test_loss", 1.9),
        body: language::aft,
    },
    Recipe {
        name: "seq2seq",
        family: "recurrent",
        about: "a reader and a writer with attention turn dates as people write them into ISO 8601",
        data: "4,000 dates of 1930 to 2029 that are made up, in six ways of writing; 500 others for the test",
        length: Length::Epochs(12),
        batch: 50,
        rate: 5e-3,
        sizes: &[("width", 16), ("hidden", 64)],
        goal: Goal::AtLeast("test_exact", 0.98),
        body: sequences::seq2seq,
    },
    Recipe {
        name: "s4d",
        family: "recurrent",
        about: "S4D: a diagonal state space that reads handwritten digits pixel by pixel",
        data: PIXELS,
        length: Length::Epochs(6),
        batch: 50,
        rate: 8e-3,
        sizes: &[("layers", 2), ("width", 32), ("states", 16)],
        goal: Goal::AtLeast("test_accuracy", 0.93),
        body: long_range::read_digits::<S4dLayer>,
    },
    Recipe {
        name: "lru",
        family: "recurrent",
        about: "linear recurrent units that read handwritten digits pixel by pixel",
        data: PIXELS,
        length: Length::Epochs(8),
        batch: 50,
        rate: 6e-3,
        sizes: &[("layers", 2), ("width", 32), ("states", 32)],
        goal: Goal::AtLeast("test_accuracy", 0.93),
        body: long_range::read_digits::<LruLayer>,
    },
    Recipe {
        name: "mamba-copying",
        family: "recurrent",
        about: "Mamba: a selective state space keeps a few of many tokens and repeats them",
        data: "selective copying, made up: 6 of 8 symbols among 32 tokens; 500 others for the test",
        length: Length::Epochs(9),
        batch: 32,
        rate: 5e-3,
        sizes: &[("layers", 2), ("width", 32), ("states", 8), ("steps", 32), ("kept", 6), ("symbols", 8)],
        goal: Goal::AtLeast("test_accuracy", 0.95),
        body: long_range::copying,
    },
    Recipe {
        name: "hyena",
        family: "recurrent",
        about: "Hyena: long convolutions and gates recall the values of keys",
        data: "associative recall, made up: 4 pairs of 8 keys and 8 values; 500 others for the test",
        length: Length::Epochs(16),
        batch: 50,
        rate: 4e-3,
        sizes: &[("layers", 2), ("width", 96), ("filter", 16), ("pairs", 4), ("symbols", 8)],
        goal: Goal::AtLeast("test_accuracy", 0.9),
        body: long_range::hyena,
    },
];
