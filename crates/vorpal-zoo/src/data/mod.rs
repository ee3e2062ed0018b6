//! Data the zoo learns from: what ships with it, readers of what does not, and tasks that are made up.
//!
//! Source and licence of every file stand in `crates/vorpal-zoo/data/README.md`.

mod dice;
mod graphs;
mod letters;
mod mixture;
mod sequences;
mod small_digits;
mod text;
mod tones;

pub use dice::{below, uniform};
pub use graphs::{Citations, Network};
pub use letters::SortedLetters;
pub use mixture::Mixture;
pub use sequences::{DATE_LENGTH, DATE_TOKENS, date_text, dates, recall, selective_copying};
pub use small_digits::small_digits;
pub use text::{OWN_TEXT, Windows};
pub use tones::Tones;
