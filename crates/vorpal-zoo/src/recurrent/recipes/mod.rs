//! Trainings of recurrent and long-range models.

mod language;
mod sequences;

use crate::recipe::{Goal, Length, Recipe};

/// What the language models of this family learn from.
const TEXT: &str = "documentation and sources of Vorpal, or --text FILE";

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "char-rnn",
        family: "recurrent",
        about: "an LSTM that learns the bytes of a text",
        data: TEXT,
        length: Length::Steps(500),
        batch: 16,
        rate: 4e-3,
        sizes: &[("layers", 1), ("width", 64), ("hidden", 128), ("context", 64)],
        goal: Goal::AtMost("test_loss", 2.2),
        body: language::char_rnn,
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
];
