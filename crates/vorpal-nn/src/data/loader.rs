//! Batches made ahead of time by threads, in an order that depends on nothing but the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vorpal_autodiff::{Device, Error, Result};

use super::batches::{BatchSampler, Batches};
use super::collate::{Collate, Stacked};
use super::dataset::Dataset;
use super::sampler::{Sampler, Sequential, Shuffled};
#[cfg(not(target_arch = "wasm32"))]
use super::workers::Workers;

/// A place between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Batches of the epoch that have been handed out.
    pub batch: usize,
}

/// How a loader has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoaderStats {
    /// Batches handed out.
    pub batches: u64,
    /// Seconds for which they were waited for, in all.
    pub waited_s: f64,
}

/// Makes batch `numbers`, giving up when the flag is set.
pub(super) type Make<B> = Arc<dyn Fn(&[usize], &AtomicBool) -> Result<B> + Send + Sync>;

/// Batches of a data set on a device, epoch after epoch.
///
/// `for batch in &mut loader` gives what is left of the present epoch; the next such loop gives the next epoch. Threads
/// make batches ahead, onto the device and across the end of an epoch; they come in the order of the sampler, however
/// many threads there are. A sample that fails or panics is an error in the place of its batch, with the sample's
/// number; the batches after it still come. Dropping the loader ends its threads.
///
/// ```
/// use vorpal_nn::data::{DataLoader, Dataset, Digits};
/// let (train, _) = Digits::embedded()?;
/// let mut loader =
///     DataLoader::builder(train).batch_size(64).shuffle(7).workers(2).drop_last(true).build()?;
/// assert_eq!(loader.len(), 125);
/// for batch in (&mut loader).into_iter().take(3) {
///     let (images, labels) = batch?;
///     assert_eq!((images.shape().dims(), labels.shape().dims()), (&[64, 1, 28, 28][..], &[64][..]));
/// }
/// // A checkpoint notes the place; another loader goes on from there.
/// let place = loader.position();
/// assert_eq!((place.epoch, place.batch), (0, 3));
/// loader.seek(place)?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub struct DataLoader<B> {
    batches: Arc<dyn BatchSampler>,
    make: Make<B>,
    /// The order of the epoch being handed out.
    order: Order,
    position: Position,
    stats: LoaderStats,
    #[cfg(not(target_arch = "wasm32"))]
    workers: Workers<B>,
}

/// The batches of one epoch, worked out when they are first asked for.
#[derive(Default)]
pub(super) struct Order {
    of: Option<(u64, Vec<Vec<usize>>)>,
}

impl Order {
    /// The numbers of a batch.
    pub fn batch(&mut self, sampler: &dyn BatchSampler, at: Position) -> Result<Vec<usize>> {
        if self.of.as_ref().is_none_or(|(epoch, _)| *epoch != at.epoch) {
            self.of = Some((at.epoch, sampler.epoch(at.epoch)));
        }
        let batch = self.of.as_ref().and_then(|(_, batches)| batches.get(at.batch));
        batch.cloned().ok_or_else(|| {
            let message = format!("epoch {} has no batch {}, as per_epoch() says", at.epoch, at.batch);
            Error::format("batch sampler", message)
        })
    }
}

impl DataLoader<()> {
    /// A loader of a data set, to be described further: by itself one sample at a time, in order, on the CPU, without
    /// threads.
    pub fn builder<D: Dataset>(dataset: D) -> DataLoaderBuilder<D> {
        DataLoaderBuilder {
            dataset,
            collate: Stacked,
            size: 1,
            drop_last: false,
            order: None,
            batches: None,
            workers: 0,
            prefetch: None,
            device: Device::cpu(),
        }
    }
}

impl<B: Send + 'static> DataLoader<B> {
    /// Batches of an epoch.
    pub fn len(&self) -> usize {
        self.batches.per_epoch()
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is left of the present epoch.
    pub fn epoch(&mut self) -> Epoch<'_, B> {
        Epoch { loader: self, over: false }
    }

    /// Where the next batch will come from: what a checkpoint keeps.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes on from another place: [`position`](DataLoader::position) of this or another loader over the same data.
    ///
    /// # Errors
    /// [`Error::Format`] when an epoch has fewer batches: then the place is of another loader.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        if position.batch > self.len() {
            let message = format!("batch {} of an epoch of {}", position.batch, self.len());
            return Err(Error::format("position of a loader", message));
        }
        if position != self.position {
            self.position = position;
            #[cfg(not(target_arch = "wasm32"))]
            self.workers.stop();
        }
        Ok(())
    }

    /// Batches and the time they were waited for since the loader was made.
    pub fn stats(&self) -> LoaderStats {
        self.stats
    }

    fn next_batch(&mut self) -> Option<Result<B>> {
        if self.position.batch >= self.len() {
            self.position = Position { epoch: self.position.epoch + 1, batch: 0 };
            return None;
        }
        let start = web_time::Instant::now();
        let batch = self.take();
        self.stats.waited_s += start.elapsed().as_secs_f64();
        self.stats.batches += 1;
        self.position.batch += 1;
        Some(batch)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn take(&mut self) -> Result<B> {
        if self.workers.count() > 0 {
            return self.workers.take(&*self.batches, &mut self.order, &self.make, self.position);
        }
        self.take_inline()
    }

    #[cfg(target_arch = "wasm32")]
    fn take(&mut self) -> Result<B> {
        self.take_inline()
    }

    fn take_inline(&mut self) -> Result<B> {
        let numbers = self.order.batch(&*self.batches, self.position)?;
        (self.make)(&numbers, &AtomicBool::new(false))
    }
}

impl<B> std::fmt::Debug for DataLoader<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Position { epoch, batch } = self.position;
        write!(f, "DataLoader(epoch {epoch}, batch {batch} of {})", self.batches.per_epoch())
    }
}

/// The rest of an epoch: see [`DataLoader::epoch`].
#[derive(Debug)]
pub struct Epoch<'a, B> {
    loader: &'a mut DataLoader<B>,
    over: bool,
}

impl<B: Send + 'static> Iterator for Epoch<'_, B> {
    type Item = Result<B>;
    fn next(&mut self) -> Option<Result<B>> {
        if self.over {
            return None;
        }
        let batch = self.loader.next_batch();
        self.over = batch.is_none();
        batch
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.over { 0 } else { self.loader.len().saturating_sub(self.loader.position.batch) };
        (left, Some(left))
    }
}

impl<B: Send + 'static> ExactSizeIterator for Epoch<'_, B> {}
impl<B: Send + 'static> std::iter::FusedIterator for Epoch<'_, B> {}

impl<'a, B: Send + 'static> IntoIterator for &'a mut DataLoader<B> {
    type Item = Result<B>;
    type IntoIter = Epoch<'a, B>;
    fn into_iter(self) -> Epoch<'a, B> {
        self.epoch()
    }
}

/// Describes a [`DataLoader`].
#[must_use]
pub struct DataLoaderBuilder<D, C = Stacked> {
    dataset: D,
    collate: C,
    size: usize,
    drop_last: bool,
    order: Option<Arc<dyn Sampler>>,
    batches: Option<Arc<dyn BatchSampler>>,
    workers: usize,
    prefetch: Option<usize>,
    device: Device,
}

impl<D, C> std::fmt::Debug for DataLoaderBuilder<D, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataLoaderBuilder(batches of {}, {} workers)", self.size, self.workers)
    }
}

impl<D: Dataset, C> DataLoaderBuilder<D, C> {
    /// Samples of a batch.
    pub fn batch_size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Leaves out a last batch that is not full.
    pub fn drop_last(mut self, on: bool) -> Self {
        self.drop_last = on;
        self
    }

    /// Every sample once an epoch, in an order drawn by `seed`: see [`Shuffled`].
    pub fn shuffle(self, seed: u64) -> Self {
        let len = self.dataset.len();
        self.sampler(Shuffled::new(len, seed))
    }

    /// Another order.
    pub fn sampler(mut self, order: impl Sampler) -> Self {
        self.order = Some(Arc::new(order));
        self
    }

    /// Batches of one's own in place of size, order and `drop_last`: see [`Buckets`](super::Buckets).
    pub fn batch_sampler(mut self, batches: impl BatchSampler) -> Self {
        self.batches = Some(Arc::new(batches));
        self
    }

    /// Threads that make batches; with 0, and in a browser always, they are made when they are asked for.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Batches that are being made or wait ahead at any time, at least 1; two a thread by itself.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = Some(batches);
        self
    }

    /// Where the batches go; the threads do this too.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// Another way to make a batch of samples: a function, or [`Padded`](super::Padded).
    pub fn collate<F: Collate<D::Item>>(self, collate: F) -> DataLoaderBuilder<D, F> {
        let DataLoaderBuilder { dataset, size, drop_last, order, batches, workers, prefetch, device, .. } =
            self;
        DataLoaderBuilder { dataset, collate, size, drop_last, order, batches, workers, prefetch, device }
    }

    /// The loader.
    ///
    /// # Errors
    /// [`Error::Format`] when there are not enough samples for one batch.
    pub fn build(self) -> Result<DataLoader<C::Batch>>
    where
        C: Collate<D::Item>,
    {
        let len = self.dataset.len();
        let batches = match (self.batches, self.order) {
            (Some(batches), _) => batches,
            (None, Some(order)) => Arc::new(Batches::of(order, self.size, self.drop_last)?),
            (None, None) => Arc::new(Batches::of(Sequential(len), self.size, self.drop_last)?),
        };
        if batches.per_epoch() == 0 {
            return Err(Error::format("batches", "an epoch has none"));
        }
        #[cfg(not(target_arch = "wasm32"))]
        let workers = Workers::new(self.workers, self.prefetch.unwrap_or(2 * self.workers));
        Ok(DataLoader {
            batches,
            make: maker(self.dataset, self.collate, self.device),
            order: Order::default(),
            position: Position::default(),
            stats: LoaderStats::default(),
            #[cfg(not(target_arch = "wasm32"))]
            workers,
        })
    }
}

/// Samples, then their batch. Nothing a user's code does gets past here, not even what samples do when they are dropped: a
/// thread that died would leave its batch out for ever.
fn maker<D: Dataset, C: Collate<D::Item>>(dataset: D, collate: C, device: Device) -> Make<C::Batch> {
    Arc::new(move |numbers, stop| {
        guarded("the data set", || batch(&dataset, &collate, &device, numbers, stop))
    })
}

fn batch<D: Dataset, C: Collate<D::Item>>(
    dataset: &D,
    collate: &C,
    device: &Device,
    numbers: &[usize],
    stop: &AtomicBool,
) -> Result<C::Batch> {
    let mut items = Vec::with_capacity(numbers.len());
    for &number in numbers {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::internal("data loader", "stopped"));
        }
        let item = guarded("the data set", || dataset.get(number));
        items.push(item.map_err(|cause| Error::sample(number, cause))?);
    }
    guarded("the collate function", || collate.collate(items, device)).map_err(|error| match error {
        Error::Sample { index, cause } => {
            Error::Sample { index: numbers.get(index).copied().unwrap_or(index), cause }
        }
        other => other,
    })
}

/// What `f` gives, a panic as an error.
fn guarded<T>(place: &'static str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(Error::Panicked { place, message: message.unwrap_or_else(|| "without a text".to_string()) })
    })
}
