//! Batches in random order.

use vorpal_autodiff::{Device, Error, Result, Tensor};

/// Numbers of the examples of an epoch, shuffled and cut into batches of one size; what is left over waits for the
/// next epoch's shuffle. The order depends on seed and epoch alone, so that training can go on from any step.
///
/// ```
/// use vorpal_nn::data::Batches;
/// let batches = Batches::new(10, 4, 7)?;
/// assert_eq!(batches.per_epoch(), 2);
/// let first: Vec<usize> = batches.epoch(0).flatten().collect();
/// assert_eq!(first, batches.epoch(0).flatten().collect::<Vec<_>>());
/// assert_ne!(first, batches.epoch(1).flatten().collect::<Vec<_>>());
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    len: usize,
    size: usize,
    seed: u64,
}

impl Batches {
    /// Batches of `size` of `len` examples.
    ///
    /// # Errors
    /// [`Error::Format`] when there are not enough examples for one batch, or `size` is 0.
    pub fn new(len: usize, size: usize, seed: u64) -> Result<Batches> {
        if size == 0 || size > len {
            return Err(Error::format("batches", format!("{len} examples do not fill a batch of {size}")));
        }
        Ok(Batches { len, size, seed })
    }

    /// Batches of an epoch.
    pub fn per_epoch(&self) -> usize {
        self.len / self.size
    }

    /// Numbers of the examples of every batch of epoch `epoch`.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = Vec<usize>> {
        let mut order: Vec<usize> = (0..self.len).collect();
        // The highest bit keeps these words apart from those of random tensors.
        let (key, counter) = (halves(self.seed), halves(epoch | 1 << 63));
        let mut words = (0u32..).map(|k| vorpal_autodiff::philox_word(k, key, counter));
        // Fisher & Yates: every order is as likely as any other, but for 2⁻³² of a bias.
        for k in (1..self.len).rev() {
            let word = u64::from(words.next().unwrap_or(0));
            order.swap(k, ((word * (k as u64 + 1)) >> 32) as usize);
        }
        let size = self.size;
        let whole = self.per_epoch() * size;
        order.truncate(whole);
        (0..whole / size).map(move |k| order[k * size..(k + 1) * size].to_vec())
    }
}

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// Rows of `examples` (each `row` numbers long) picked by number, converted, side by side.
pub(crate) fn pick<T: Copy, U>(
    examples: &[T],
    row: usize,
    numbers: &[usize],
    f: impl Fn(T) -> U,
) -> Option<Vec<U>> {
    let mut out = Vec::with_capacity(numbers.len() * row);
    for &n in numbers {
        out.extend(examples.get(n * row..(n + 1) * row)?.iter().map(|&x| f(x)));
    }
    Some(out)
}

impl super::Digits {
    /// The digits of the given numbers: images `[n, 1, 28, 28]` from 0 to 1, and their names, `I32`, `[n]`.
    ///
    /// # Errors
    /// [`Error::Format`] for a number out of range, or what the room on the device gives.
    pub fn batch(&self, numbers: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        let n = numbers.len();
        let range = || Error::format("digits", format!("a number is not below {}", self.len()));
        let images = pick(&self.images, 784, numbers, |p| f32::from(p) / 255.0).ok_or_else(range)?;
        let labels = pick(&self.labels, 1, numbers, i32::from).ok_or_else(range)?;
        let x = Tensor::from_slice(&images, [n, 1, 28, 28], device);
        let y = Tensor::from_slice(&labels, [n], device);
        x.check()?;
        y.check()?;
        Ok((x, y))
    }
}
