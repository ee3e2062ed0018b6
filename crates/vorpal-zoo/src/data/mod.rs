//! Data the zoo learns from: what ships with it, readers of what does not, and tasks that are made up.
//!
//! Source and licence of every file stand in `crates/vorpal-zoo/data/README.md`.

mod dice;
mod letters;
mod mixture;
mod small_digits;
mod text;
mod tones;

pub use dice::uniform;
pub use letters::SortedLetters;
pub use mixture::Mixture;
pub use small_digits::small_digits;
pub use text::{OWN_TEXT, Windows};
pub use tones::Tones;
