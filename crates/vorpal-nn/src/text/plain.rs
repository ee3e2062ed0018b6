//! Tokenizers that are what they look like.

use vorpal_autodiff::{Error, Result};

use super::Tokenizer;

/// The bytes of UTF-8: 256 numbers for every text there is.
///
/// ```
/// use vorpal_nn::text::{ByteTokenizer, Tokenizer};
/// let tokens = ByteTokenizer.encode("vorpal ☃")?;
/// assert_eq!(tokens.len(), 10);
/// assert_eq!(ByteTokenizer.decode(&tokens)?, "vorpal ☃");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteTokenizer;

impl Tokenizer for ByteTokenizer {
    fn vocabulary(&self) -> usize {
        256
    }

    fn encode(&self, text: &str) -> Result<Vec<i32>> {
        Ok(text.bytes().map(i32::from).collect())
    }

    /// What is no UTF-8, as a model may say it, becomes U+FFFD.
    fn decode(&self, tokens: &[i32]) -> Result<String> {
        let byte = |(k, &token): (usize, &i32)| {
            u8::try_from(token)
                .map_err(|_| Error::format("bytes", format!("token {k} is {token}, not below 256")))
        };
        let bytes = tokens.iter().enumerate().map(byte).collect::<Result<Vec<u8>>>()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The characters that occur in some text, in their order.
///
/// ```
/// use vorpal_nn::text::{CharTokenizer, Tokenizer};
/// let chars = CharTokenizer::of("callooh callay");
/// assert_eq!(chars.vocabulary(), 7);
/// assert_eq!(chars.encode("calla")?, [2, 1, 4, 4, 1]);
/// assert_eq!(chars.decode(&[2, 5, 5, 4])?, "cool");
/// let error = chars.encode("caller").unwrap_err().to_string();
/// assert_eq!(error, "characters: 'e' at byte 4 is none of the 7 known ones");
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharTokenizer {
    /// Sorted.
    chars: Vec<char>,
}

impl CharTokenizer {
    /// Of the characters of a text.
    pub fn of(text: &str) -> CharTokenizer {
        let mut chars: Vec<char> = text.chars().collect();
        chars.sort_unstable();
        chars.dedup();
        CharTokenizer { chars }
    }

    /// The characters, by their numbers.
    pub fn chars(&self) -> &[char] {
        &self.chars
    }
}

impl Tokenizer for CharTokenizer {
    fn vocabulary(&self) -> usize {
        self.chars.len()
    }

    fn encode(&self, text: &str) -> Result<Vec<i32>> {
        let number = |(at, c): (usize, char)| {
            self.chars.binary_search(&c).map(|k| k as i32).map_err(|_| {
                let message = format!("{c:?} at byte {at} is none of the {} known ones", self.chars.len());
                Error::format("characters", message)
            })
        };
        text.char_indices().map(number).collect()
    }

    fn decode(&self, tokens: &[i32]) -> Result<String> {
        let char = |(k, &token): (usize, &i32)| {
            let found = usize::try_from(token).ok().and_then(|token| self.chars.get(token));
            found.copied().ok_or_else(|| {
                let message = format!("token {k} is {token}, not below {}", self.chars.len());
                Error::format("characters", message)
            })
        };
        tokens.iter().enumerate().map(char).collect()
    }
}
