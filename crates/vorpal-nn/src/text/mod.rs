//! Texts as numbers: bytes, characters, and with the feature `tokenizers` the tokenizers of published models.

#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
mod hub;
mod plain;
#[cfg(feature = "tokenizers")]
mod published;

#[cfg(all(feature = "hub", not(target_arch = "wasm32")))]
pub use hub::hub_file;
pub use plain::{ByteTokenizer, CharTokenizer};
#[cfg(feature = "tokenizers")]
pub use published::PublishedTokenizer;

use vorpal_autodiff::Result;

/// Texts as lists of numbers and back.
pub trait Tokenizer: Send + Sync {
    /// How many different numbers there are.
    fn vocabulary(&self) -> usize;

    /// A text as numbers below [`vocabulary`](Tokenizer::vocabulary).
    ///
    /// # Errors
    /// [`Error::Format`](vorpal_autodiff::Error::Format) for what has no number.
    fn encode(&self, text: &str) -> Result<Vec<i32>>;

    /// The text of some numbers.
    ///
    /// # Errors
    /// [`Error::Format`](vorpal_autodiff::Error::Format) for a number that stands for nothing.
    fn decode(&self, tokens: &[i32]) -> Result<String>;
}
