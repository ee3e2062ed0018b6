//! Batches of numbers of samples.

use std::sync::Arc;

use vorpal_autodiff::{Device, Error, Result, Tensor};

use super::sampler::{self, Sampler, Shuffled, Stream};

/// Batches of numbers of samples, epoch after epoch.
#[allow(clippy::len_without_is_empty)]
pub trait BatchSampler: Send + Sync + 'static {
    /// Batches of an epoch.
    fn per_epoch(&self) -> usize;

    /// The numbers of every batch of an epoch, always the same for the same epoch.
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>>;
}

/// An order cut into batches of one size.
///
/// ```
/// use vorpal_nn::data::{BatchSampler, Batches, Sequential};
/// let batches = Batches::new(10, 4, 7)?;
/// assert_eq!(batches.per_epoch(), 2);
/// assert_eq!(batches.epoch(0), batches.epoch(0));
/// assert_ne!(batches.epoch(0), batches.epoch(1));
/// assert_eq!(Batches::of(Sequential(5), 2, false)?.epoch(0), [vec![0, 1], vec![2, 3], vec![4]]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Batches {
    order: Arc<dyn Sampler>,
    size: usize,
    drop_last: bool,
}

impl Batches {
    /// Batches of `size` of `len` examples, shuffled anew in every epoch; what is left over waits for the next
    /// epoch's shuffle.
    ///
    /// # Errors
    /// As [`of`](Batches::of).
    pub fn new(len: usize, size: usize, seed: u64) -> Result<Batches> {
        Batches::of(Shuffled::new(len, seed), size, true)
    }

    /// Batches of `size` of any order. The last one is smaller, or left out with `drop_last`.
    ///
    /// # Errors
    /// [`Error::Format`] when there are not enough examples for one batch, or `size` is 0.
    pub fn of(order: impl Sampler, size: usize, drop_last: bool) -> Result<Batches> {
        let len = order.len();
        if size == 0 || len == 0 || (drop_last && size > len) {
            return Err(Error::format("batches", format!("{len} examples do not fill a batch of {size}")));
        }
        Ok(Batches { order: Arc::new(order), size, drop_last })
    }
}

impl BatchSampler for Batches {
    fn per_epoch(&self) -> usize {
        let len = self.order.len();
        if self.drop_last { len / self.size } else { len.div_ceil(self.size) }
    }
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let order = self.order.epoch(epoch);
        order.chunks(self.size).take(self.per_epoch()).map(<[usize]>::to_vec).collect()
    }
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batches({} of {})", self.per_epoch(), self.size)
    }
}

/// Batches of samples of about the same length, so that little of a padded batch is padding.
///
/// ```
/// use vorpal_nn::data::{BatchSampler, Buckets};
/// let lengths = [3, 90, 5, 88, 4, 91];
/// let buckets = Buckets::new(&lengths, &[10, 50], 3, 7)?;
/// let spread = |b: Vec<usize>| b.iter().map(|&k| lengths[k] / 50).sum::<usize>() % 3;
/// assert!(buckets.epoch(0).into_iter().all(|batch| spread(batch) == 0));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buckets {
    buckets: Vec<Vec<usize>>,
    size: usize,
    seed: u64,
    drop_last: bool,
}

impl Buckets {
    /// Batches of at most `size` samples of lengths `lengths`. The buckets lie between the ascending `bounds`: up
    /// to and with the first, …, above the last. Batches and what is in them are shuffled anew in every epoch.
    ///
    /// # Errors
    /// [`Error::Argument`] without samples, for a size of 0, or bounds that do not ascend.
    #[track_caller]
    pub fn new(lengths: &[usize], bounds: &[usize], size: usize, seed: u64) -> Result<Buckets> {
        if size == 0 || lengths.is_empty() {
            let message = format!("{} examples do not fill a batch of {size}", lengths.len());
            return Err(Error::argument("Buckets", message));
        }
        if !bounds.is_sorted_by(|a, b| a < b) {
            return Err(Error::argument("Buckets", format!("bounds must ascend, found {bounds:?}")));
        }
        let mut buckets = vec![Vec::new(); bounds.len() + 1];
        for (k, &length) in lengths.iter().enumerate() {
            buckets[bounds.partition_point(|&b| b < length)].push(k);
        }
        Ok(Buckets { buckets, size, seed, drop_last: false })
    }

    /// Leaves out batches that are not full.
    ///
    /// # Errors
    /// [`Error::Argument`] when no batch is.
    #[track_caller]
    pub fn drop_last(mut self, on: bool) -> Result<Buckets> {
        self.drop_last = on;
        if self.per_epoch() == 0 {
            return Err(Error::argument("Buckets", format!("no bucket fills a batch of {}", self.size)));
        }
        Ok(self)
    }

    fn cut(&self, len: usize) -> usize {
        if self.drop_last { len / self.size } else { len.div_ceil(self.size) }
    }
}

impl BatchSampler for Buckets {
    fn per_epoch(&self) -> usize {
        self.buckets.iter().map(|bucket| self.cut(bucket.len())).sum()
    }
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut batches = Vec::with_capacity(self.per_epoch());
        for (k, bucket) in self.buckets.iter().enumerate() {
            let mut bucket = bucket.clone();
            // Each bucket has a seed of its own: equal ones would be shuffled alike.
            let seed = self.seed.wrapping_add((k as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            sampler::shuffle(&mut bucket, seed, epoch, Stream::Shuffle);
            batches.extend(bucket.chunks(self.size).take(self.cut(bucket.len())).map(<[usize]>::to_vec));
        }
        sampler::shuffle(&mut batches, self.seed, epoch, Stream::Batches);
        batches
    }
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
