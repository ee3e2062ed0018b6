//! What a data set is, and data sets made of others.

use std::sync::{Arc, OnceLock};

use vorpal_autodiff::{Error, Result};

use super::sampler::{self, Stream};

/// Samples by number. A [`DataLoader`](super::DataLoader) asks for them from several threads at once.
///
/// The same number gives the same sample every time: the order comes from a [`Sampler`](super::Sampler), random
/// changes from [`augment`](super::augment), so that a run can be repeated and resumed.
///
/// ```
/// use vorpal_nn::Result;
/// use vorpal_nn::data::Dataset;
///
/// struct Squares;
/// impl Dataset for Squares {
///     type Item = (f32, f32);
///     fn len(&self) -> usize {
///         100
///     }
///     fn get(&self, index: usize) -> Result<(f32, f32)> {
///         let x = index as f32;
///         Ok((x, x * x))
///     }
/// }
///
/// let parts = Squares.map(|(x, y)| (x / 100.0, y)).split(&[0.8, 0.2], 7)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (80, 20));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[allow(clippy::len_without_is_empty)]
pub trait Dataset: Send + Sync + 'static {
    /// One sample.
    type Item: Send + 'static;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Sample number `index`, below [`len`](Dataset::len).
    ///
    /// # Errors
    /// Whatever keeps the sample from being made; the loader adds its number.
    fn get(&self, index: usize) -> Result<Self::Item>;

    /// Every sample changed by `f`.
    fn map<T: Send + 'static, F>(self, f: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item) -> T + Send + Sync + 'static,
    {
        Map { of: self, f }
    }

    /// Every sample changed by `f`, which may fail.
    fn try_map<T: Send + 'static, F>(self, f: F) -> TryMap<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item) -> Result<T> + Send + Sync + 'static,
    {
        TryMap { of: self, f }
    }

    /// The samples of the given numbers, in this order.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number that is not there.
    #[track_caller]
    fn subset(self, indices: Vec<usize>) -> Result<Subset<Self>>
    where
        Self: Sized,
    {
        if let Some(index) = indices.iter().find(|&&k| k >= self.len()) {
            let message = format!("sample {index} of a data set of {}", self.len());
            return Err(Error::argument("subset", message));
        }
        Ok(Subset { of: self, indices })
    }

    /// Parts of the samples by fractions, drawn at random by `seed`: what is left over when the fractions are
    /// rounded down goes to the first parts, one each, as in `torch.utils.data.random_split`.
    ///
    /// # Errors
    /// [`Error::Argument`] for fractions that are not positive or whose sum is more than 1.
    #[track_caller]
    fn split(self, fractions: &[f64], seed: u64) -> Result<Vec<Subset<Arc<Self>>>>
    where
        Self: Sized,
    {
        let sum: f64 = fractions.iter().sum();
        if fractions.iter().any(|f| f.is_nan() || *f < 0.0) || sum > 1.0 + 1e-6 {
            let message = format!("fractions must be positive with a sum of at most 1, found {fractions:?}");
            return Err(Error::argument("split", message));
        }
        let n = self.len();
        let mut sizes: Vec<usize> = fractions.iter().map(|f| (f * n as f64 + 1e-9) as usize).collect();
        // Fractions that add up to the whole leave nothing behind.
        if sum > 1.0 - 1e-6 {
            let rest = n.saturating_sub(sizes.iter().sum());
            sizes.iter_mut().take(rest).for_each(|size| *size += 1);
        }
        let order = sampler::shuffled(n, seed, 0, Stream::Split);
        let of = Arc::new(self);
        let mut rest = &order[..];
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let (part, after) = rest.split_at(size.min(rest.len()));
            parts.push(Subset { of: of.clone(), indices: part.to_vec() });
            rest = after;
        }
        Ok(parts)
    }

    /// These samples, then those of another data set.
    fn concat<D: Dataset<Item = Self::Item>>(self, other: D) -> Concat<Self, D>
    where
        Self: Sized,
    {
        Concat { first: self, second: other }
    }

    /// Pairs of samples of the same number.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are not as many of both.
    #[track_caller]
    fn zip<D: Dataset>(self, other: D) -> Result<Zip<Self, D>>
    where
        Self: Sized,
    {
        if self.len() != other.len() {
            let message = format!("{} samples beside {}", self.len(), other.len());
            return Err(Error::argument("zip", message));
        }
        Ok(Zip { first: self, second: other })
    }

    /// Every sample is made once and kept in memory.
    fn cached(self) -> Cached<Self>
    where
        Self: Sized,
        Self::Item: Clone + Sync,
    {
        let kept = (0..self.len()).map(|_| OnceLock::new()).collect();
        Cached { of: self, kept }
    }
}

/// Nothing, or the error of a number that is not there.
pub(crate) fn check(index: usize, len: usize) -> Result<()> {
    if index < len {
        return Ok(());
    }
    Err(Error::format("data set", format!("asked for sample {index} of {len}")))
}

/// Data sets that others share.
impl<D: Dataset> Dataset for Arc<D> {
    type Item = D::Item;
    fn len(&self) -> usize {
        D::len(self)
    }
    fn get(&self, index: usize) -> Result<D::Item> {
        D::get(self, index)
    }
}

/// Samples in a list.
///
/// ```
/// use vorpal_nn::data::{Dataset, Samples};
/// let words = Samples(vec!["frumious", "bandersnatch"]).map(str::len);
/// assert_eq!(words.get(1)?, 12);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples<T>(pub Vec<T>);

impl<T: Clone + Send + Sync + 'static> Dataset for Samples<T> {
    type Item = T;
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Result<T> {
        check(index, self.0.len())?;
        Ok(self.0[index].clone())
    }
}

/// See [`Dataset::map`].
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    of: D,
    f: F,
}

impl<D: Dataset, T: Send + 'static, F: Fn(D::Item) -> T + Send + Sync + 'static> Dataset for Map<D, F> {
    type Item = T;
    fn len(&self) -> usize {
        self.of.len()
    }
    fn get(&self, index: usize) -> Result<T> {
        Ok((self.f)(self.of.get(index)?))
    }
}

/// See [`Dataset::try_map`].
#[derive(Clone, Debug)]
pub struct TryMap<D, F> {
    of: D,
    f: F,
}

impl<D, T, F> Dataset for TryMap<D, F>
where
    D: Dataset,
    T: Send + 'static,
    F: Fn(D::Item) -> Result<T> + Send + Sync + 'static,
{
    type Item = T;
    fn len(&self) -> usize {
        self.of.len()
    }
    fn get(&self, index: usize) -> Result<T> {
        (self.f)(self.of.get(index)?)
    }
}

/// See [`Dataset::subset`] and [`Dataset::split`].
#[derive(Clone, Debug)]
pub struct Subset<D> {
    of: D,
    indices: Vec<usize>,
}

impl<D> Subset<D> {
    /// Numbers of the samples in the whole data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;
    fn len(&self) -> usize {
        self.indices.len()
    }
    fn get(&self, index: usize) -> Result<D::Item> {
        check(index, self.indices.len())?;
        self.of.get(self.indices[index])
    }
}

/// See [`Dataset::concat`].
#[derive(Clone, Debug)]
pub struct Concat<A, B> {
    first: A,
    second: B,
}

impl<A: Dataset, B: Dataset<Item = A::Item>> Dataset for Concat<A, B> {
    type Item = A::Item;
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }
    fn get(&self, index: usize) -> Result<A::Item> {
        match index.checked_sub(self.first.len()) {
            None => self.first.get(index),
            Some(index) => self.second.get(index),
        }
    }
}

/// See [`Dataset::zip`].
#[derive(Clone, Debug)]
pub struct Zip<A, B> {
    first: A,
    second: B,
}

impl<A: Dataset, B: Dataset> Dataset for Zip<A, B> {
    type Item = (A::Item, B::Item);
    fn len(&self) -> usize {
        self.first.len()
    }
    fn get(&self, index: usize) -> Result<(A::Item, B::Item)> {
        Ok((self.first.get(index)?, self.second.get(index)?))
    }
}

/// See [`Dataset::cached`].
#[derive(Debug)]
pub struct Cached<D: Dataset> {
    of: D,
    kept: Vec<OnceLock<D::Item>>,
}

impl<D: Dataset> Dataset for Cached<D>
where
    D::Item: Clone + Sync,
{
    type Item = D::Item;
    fn len(&self) -> usize {
        self.kept.len()
    }
    fn get(&self, index: usize) -> Result<D::Item> {
        check(index, self.kept.len())?;
        if let Some(item) = self.kept[index].get() {
            return Ok(item.clone());
        }
        let item = self.of.get(index)?;
        Ok(self.kept[index].get_or_init(|| item).clone())
    }
}
