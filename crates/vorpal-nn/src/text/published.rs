//! The tokenizers of published models.

use std::path::Path;

use vorpal_autodiff::{Error, Result};

use super::Tokenizer;

/// A `tokenizer.json` as published beside a model, by the crate `tokenizers` (feature `tokenizers`).
///
/// ```no_run
/// use vorpal_nn::text::{PublishedTokenizer, Tokenizer};
/// let tokenizer = PublishedTokenizer::load("tokenizer.json")?;
/// println!("{:?}", tokenizer.encode("Callooh! Callay!")?);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PublishedTokenizer {
    inner: tokenizers::Tokenizer,
    what: String,
    special: bool,
}

impl PublishedTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`parse`](PublishedTokenizer::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<PublishedTokenizer> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        PublishedTokenizer::parse(&bytes, &path.display().to_string())
    }

    /// The tokenizer of the bytes of such a file; `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::Format`] with what is wrong and where.
    pub fn parse(bytes: &[u8], what: &str) -> Result<PublishedTokenizer> {
        let inner =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| Error::format(what, e.to_string()))?;
        Ok(PublishedTokenizer { inner, what: what.to_string(), special: true })
    }

    /// Whether the marks of beginning and end that the file asks for are added, and left out again: on at first.
    #[must_use]
    pub fn special_tokens(mut self, on: bool) -> PublishedTokenizer {
        self.special = on;
        self
    }

    /// The number of a token, such as `[PAD]`.
    pub fn token(&self, name: &str) -> Option<i32> {
        self.inner.token_to_id(name).map(|id| id as i32)
    }
}

impl Tokenizer for PublishedTokenizer {
    fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn encode(&self, text: &str) -> Result<Vec<i32>> {
        let encoding =
            self.inner.encode(text, self.special).map_err(|e| Error::format(&self.what, e.to_string()))?;
        Ok(encoding.get_ids().iter().map(|&id| id as i32).collect())
    }

    fn decode(&self, tokens: &[i32]) -> Result<String> {
        if let Some((k, token)) =
            tokens.iter().enumerate().find(|(_, t)| self.inner.id_to_token(**t as u32).is_none())
        {
            return Err(Error::format(&self.what, format!("token {k} is {token}, which stands for nothing")));
        }
        let ids: Vec<u32> = tokens.iter().map(|&id| id as u32).collect();
        self.inner.decode(&ids, self.special).map_err(|e| Error::format(&self.what, e.to_string()))
    }
}
