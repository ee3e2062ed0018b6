//! Lines of letters and the same letters in order.

use vorpal_autodiff::philox_word;
use vorpal_nn::Result;
use vorpal_nn::data::Dataset;

/// Made-up lines of letters, numbers from 1 to `letters`, each with the same letters in order: lines `first` and the
/// `count` from there.
///
/// ```
/// use vorpal_nn::data::Dataset;
/// use vorpal_zoo::data::SortedLetters;
/// let (line, mut sorted) = SortedLetters { first: 0, count: 3, length: 5, letters: 16 }.get(2)?;
/// assert!(sorted.is_sorted() && line.iter().all(|letter| (1..=16).contains(letter)));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortedLetters {
    /// Number of the first line.
    pub first: usize,
    /// Lines.
    pub count: usize,
    /// Letters of a line.
    pub length: usize,
    /// Different letters.
    pub letters: u32,
}

impl Dataset for SortedLetters {
    type Item = (Vec<i32>, Vec<i32>);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        let number = (self.first + index) as u32;
        let letter =
            |k: usize| (philox_word(k as u32, [number, 17], [0, 0]) % self.letters.max(1)) as i32 + 1;
        let line: Vec<i32> = (0..self.length).map(letter).collect();
        let mut sorted = line.clone();
        sorted.sort_unstable();
        Ok((line, sorted))
    }
}
