//! Data the zoo learns from: what ships with it, readers of what does not, and tasks that are made up.
//!
//! Source and licence of every file stand in `crates/vorpal-zoo/data/README.md`.

mod coloured;
mod dice;
mod graphs;
mod letters;
mod mixture;
mod particles;
mod scenes;
mod sequences;
mod series;
mod shapes;
mod small_digits;
mod tables;
mod text;
mod tones;
mod treatment;

pub use coloured::coloured_digits;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use dice::Dice;
pub use dice::{below, uniform};
pub use graphs::{Citations, Network};
pub use letters::SortedLetters;
pub use mixture::Mixture;
pub use particles::Particles;
pub use scenes::{MovingDigits, NoisyStrokes};
pub use sequences::{DATE_LENGTH, DATE_TOKENS, date_text, dates, recall, selective_copying};
pub use series::{Series, SeriesWindows};
pub use shapes::{PointDigits, TurnedDigits};
pub use small_digits::small_digits;
pub use tables::Rows;
pub use text::{Windows, own_text};
pub use tones::Tones;
pub use treatment::Treatment;
