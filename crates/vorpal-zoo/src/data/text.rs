//! Texts as windows of bytes.

use vorpal_nn::data::{Dataset, unzipped};
use vorpal_nn::{Error, Result};

/// Windows of the bytes of a text that do not overlap, each with the bytes one further: what a language model of bytes
/// learns from.
///
/// ```
/// use vorpal_nn::data::Dataset;
/// use vorpal_zoo::data::Windows;
/// let windows = Windows::new(b"abcdefg", 3);
/// assert_eq!((windows.len(), windows.get(1)?), (2, (vec![100, 101, 102], vec![101, 102, 103])));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Windows {
    bytes: Vec<u8>,
    context: usize,
    count: usize,
}

impl Windows {
    /// Windows of `context` bytes.
    pub fn new(bytes: &[u8], context: usize) -> Windows {
        let context = context.max(1);
        Windows { bytes: bytes.to_vec(), context, count: bytes.len().saturating_sub(1) / context }
    }

    /// No more than the first `count` windows.
    #[must_use]
    pub fn truncate(mut self, count: usize) -> Windows {
        self.count = self.count.min(count);
        self
    }
}

impl Dataset for Windows {
    type Item = (Vec<i32>, Vec<i32>);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        let cut = |from: usize| {
            let bytes =
                self.bytes.get(index * self.context + from..).and_then(|rest| rest.get(..self.context));
            bytes.map(|bytes| bytes.iter().map(|&b| i32::from(b)).collect())
        };
        let pair = cut(0).zip(cut(1));
        pair.ok_or_else(|| Error::format("the text", format!("asked for window {index} of {}", self.count)))
    }
}

/// Documentation and sources of Vorpal as they were one day, 320 kB. They are kept, so that what models learn of
/// them can be compared whatever becomes of Vorpal.
///
/// # Errors
/// None for the text that ships.
pub fn own_text() -> Result<Vec<u8>> {
    let text = include_bytes!("../../data/text/vorpal.txt.gz");
    Ok(unzipped(text, "vorpal.txt.gz")?.into_owned())
}
