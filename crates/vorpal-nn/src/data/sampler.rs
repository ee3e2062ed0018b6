//! The order in which samples are visited: a function of seed and epoch alone, so that a run can be repeated and
//! resumed from anywhere.

use std::sync::Arc;

use vorpal_autodiff::{Error, Result};

/// Numbers of samples, epoch after epoch.
///
/// ```
/// use vorpal_nn::data::{Distributed, Sampler, Shuffled};
/// let ranks = [0, 1].map(|rank| Distributed::new(Shuffled::new(10, 7), rank, 2));
/// let [mut first, second] = ranks.map(|r| r.map(|s| s.epoch(3)).unwrap_or_default());
/// first.extend(second);
/// first.sort();
/// assert_eq!(first, (0..10).collect::<Vec<_>>());
/// ```
#[allow(clippy::len_without_is_empty)]
pub trait Sampler: Send + Sync + 'static {
    /// Numbers an epoch gives.
    fn len(&self) -> usize;

    /// The numbers of an epoch, always the same for the same epoch.
    fn epoch(&self, epoch: u64) -> Vec<usize>;
}

impl Sampler for Arc<dyn Sampler> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn epoch(&self, epoch: u64) -> Vec<usize> {
        (**self).epoch(epoch)
    }
}

/// What random words are for: each use has words of its own, all apart from those of random tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Shuffle = 0b100,
    Draw = 0b101,
    Split = 0b110,
    Batches = 0b111,
}

/// Random words of a seed, a use and an epoch.
pub(crate) fn words(seed: u64, epoch: u64, stream: Stream) -> impl Iterator<Item = u32> {
    let halves = |word: u64| [word as u32, (word >> 32) as u32];
    let (key, counter) = (halves(seed), halves(epoch | (stream as u64) << 61));
    (0u32..).map(move |k| vorpal_autodiff::philox_word(k, key, counter))
}

/// `0..n` in random order.
pub(crate) fn shuffled(n: usize, seed: u64, epoch: u64, stream: Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut order, seed, epoch, stream);
    order
}

/// Fisher & Yates: every order is as likely as any other, but for 2⁻³² of a bias.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64, epoch: u64, stream: Stream) {
    let mut words = words(seed, epoch, stream);
    for k in (1..items.len()).rev() {
        let word = u64::from(words.next().unwrap_or(0));
        items.swap(k, ((word * (k as u64 + 1)) >> 32) as usize);
    }
}

/// `0, 1, …` in every epoch.
#[derive(Clone, Debug)]
pub struct Sequential(pub usize);

impl Sampler for Sequential {
    fn len(&self) -> usize {
        self.0
    }
    fn epoch(&self, _: u64) -> Vec<usize> {
        (0..self.0).collect()
    }
}

/// Every sample once, in an order drawn anew for every epoch.
#[derive(Clone, Debug)]
pub struct Shuffled {
    len: usize,
    seed: u64,
}

impl Shuffled {
    /// Of `len` samples.
    pub fn new(len: usize, seed: u64) -> Shuffled {
        Shuffled { len, seed }
    }
}

impl Sampler for Shuffled {
    fn len(&self) -> usize {
        self.len
    }
    fn epoch(&self, epoch: u64) -> Vec<usize> {
        shuffled(self.len, self.seed, epoch, Stream::Shuffle)
    }
}

/// Draws that do not know of one another.
#[derive(Clone, Debug)]
pub struct WithReplacement {
    len: usize,
    count: usize,
    seed: u64,
}

impl WithReplacement {
    /// `count` draws an epoch of `len` samples.
    pub fn new(len: usize, count: usize, seed: u64) -> WithReplacement {
        WithReplacement { len, count, seed }
    }
}

impl Sampler for WithReplacement {
    fn len(&self) -> usize {
        if self.len == 0 { 0 } else { self.count }
    }
    fn epoch(&self, epoch: u64) -> Vec<usize> {
        let word = |w: u32| ((u64::from(w) * self.len as u64) >> 32) as usize;
        words(self.seed, epoch, Stream::Draw).take(Sampler::len(self)).map(word).collect()
    }
}

/// Draws with given weights: `torch.utils.data.WeightedRandomSampler`.
#[derive(Clone, Debug)]
pub struct Weighted {
    weights: Vec<f64>,
    count: usize,
    replacement: bool,
    seed: u64,
}

impl Weighted {
    /// `count` draws an epoch; a sample is drawn in proportion to its weight, which need not add up to anything.
    ///
    /// # Errors
    /// [`Error::Argument`] for weights that are negative, not finite or all zero.
    #[track_caller]
    pub fn new(weights: &[f64], count: usize, seed: u64) -> Result<Weighted> {
        let bad = weights.iter().position(|w| !w.is_finite() || *w < 0.0);
        if let Some(k) = bad {
            return Err(Error::argument("Weighted", format!("weight {k} is {}", weights[k])));
        }
        if !weights.iter().any(|&w| w > 0.0) {
            return Err(Error::argument("Weighted", format!("none of {} weights is above 0", weights.len())));
        }
        Ok(Weighted { weights: weights.to_vec(), count, replacement: true, seed })
    }

    /// No sample twice in an epoch.
    ///
    /// # Errors
    /// [`Error::Argument`] when more draws are asked for than samples have a weight above 0.
    #[track_caller]
    pub fn without_replacement(mut self) -> Result<Weighted> {
        let some = self.weights.iter().filter(|&&w| w > 0.0).count();
        if self.count > some {
            let message = format!("{} draws without replacement of {some} samples", self.count);
            return Err(Error::argument("Weighted", message));
        }
        self.replacement = false;
        Ok(self)
    }
}

impl Sampler for Weighted {
    fn len(&self) -> usize {
        self.count
    }
    fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut words = words(self.seed, epoch, Stream::Draw);
        // Between 0 and 1, both excluded.
        let mut uniform = || (f64::from(words.next().unwrap_or(0)) + 0.5) / 4_294_967_296.0;
        if self.replacement {
            let mut sum = 0.0;
            let sums: Vec<f64> = self
                .weights
                .iter()
                .map(|w| {
                    sum += w;
                    sum
                })
                .collect();
            let draw = |_| {
                let at = uniform() * sum;
                sums.partition_point(|&s| s <= at).min(sums.len() - 1)
            };
            return (0..self.count).map(draw).collect();
        }
        // Efraimidis & Spirakis: the first `count` of exponential times with the weights as rates.
        let times = self.weights.iter().map(|w| -uniform().ln() / w);
        let mut order: Vec<(f64, usize)> = times.zip(0..).filter(|(t, _)| t.is_finite()).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order.into_iter().take(self.count).map(|(_, k)| k).collect()
    }
}

/// The given samples, in the given order or shuffled: `torch.utils.data.SubsetRandomSampler`.
#[derive(Clone, Debug)]
pub struct SubsetSampler {
    indices: Vec<usize>,
    seed: Option<u64>,
}

impl SubsetSampler {
    /// In an order drawn anew for every epoch with a seed, as given without.
    pub fn new(indices: Vec<usize>, seed: Option<u64>) -> SubsetSampler {
        SubsetSampler { indices, seed }
    }
}

impl Sampler for SubsetSampler {
    fn len(&self) -> usize {
        self.indices.len()
    }
    fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut order = self.indices.clone();
        if let Some(seed) = self.seed {
            shuffle(&mut order, seed, epoch, Stream::Shuffle);
        }
        order
    }
}

/// One rank's share of another order, which must be the same on all ranks: every `world`th sample. All ranks get as
/// many: the first samples come again at the end, as in `torch.utils.data.DistributedSampler`.
#[derive(Clone, Debug)]
pub struct Distributed<S> {
    of: S,
    rank: usize,
    world: usize,
    drop_last: bool,
}

impl<S: Sampler> Distributed<S> {
    /// The share of rank `rank` of `world`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `rank` is below `world`.
    #[track_caller]
    pub fn new(of: S, rank: usize, world: usize) -> Result<Distributed<S>> {
        if rank >= world {
            return Err(Error::argument("Distributed", format!("rank {rank} of {world}")));
        }
        Ok(Distributed { of, rank, world, drop_last: false })
    }

    /// Leaves the last samples out in place of giving the first ones again.
    #[must_use]
    pub fn drop_last(mut self, on: bool) -> Distributed<S> {
        self.drop_last = on;
        self
    }
}

impl<S: Sampler> Sampler for Distributed<S> {
    fn len(&self) -> usize {
        let n = self.of.len();
        if self.drop_last { n / self.world } else { n.div_ceil(self.world) }
    }
    fn epoch(&self, epoch: u64) -> Vec<usize> {
        let order = self.of.epoch(epoch);
        order.iter().cycle().skip(self.rank).step_by(self.world).take(Sampler::len(self)).copied().collect()
    }
}
