//! How samples become a batch.

use vorpal_autodiff::{DType, Device, Element, Error, Result, Shape, Tensor};

use super::Array;

/// Samples whose batch is plain: numbers become a tensor `[n]`, lists and arrays are stacked along a new first axis,
/// the parts of tuples each on their own, texts stay a list.
pub trait Stack: Send + Sized + 'static {
    /// The batch.
    type Batch: Send + 'static;

    /// The batch of some samples, on a device.
    ///
    /// # Errors
    /// [`Error::Sample`] with the place in the batch of a sample that does not fit the first; what the room on the
    /// device gives.
    fn stack(items: Vec<Self>, device: &Device) -> Result<Self::Batch>;
}

/// A way to make a batch of samples: [`Stacked`], [`Padded`](struct@Padded), or a function.
///
/// An [`Error::Sample`] holds the place of the sample in the batch; the loader puts its number in the data set there.
pub trait Collate<T>: Send + Sync + 'static {
    /// The batch.
    type Batch: Send + 'static;

    /// The batch of some samples, on a device.
    ///
    /// # Errors
    /// What keeps them from being one batch.
    fn collate(&self, items: Vec<T>, device: &Device) -> Result<Self::Batch>;
}

impl<T, B: Send + 'static, F> Collate<T> for F
where
    F: Fn(Vec<T>, &Device) -> Result<B> + Send + Sync + 'static,
{
    type Batch = B;
    fn collate(&self, items: Vec<T>, device: &Device) -> Result<B> {
        self(items, device)
    }
}

/// Stacks the samples: see [`Stack`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Stacked;

impl<T: Stack> Collate<T> for Stacked {
    type Batch = T::Batch;
    fn collate(&self, items: Vec<T>, device: &Device) -> Result<T::Batch> {
        T::stack(items, device)
    }
}

fn checked(tensor: Tensor) -> Result<Tensor> {
    tensor.check()?;
    Ok(tensor)
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Stack for $ty {
            type Batch = Tensor;
            fn stack(items: Vec<$ty>, device: &Device) -> Result<Tensor> {
                checked(Tensor::from_slice(&items, [items.len()], device))
            }
        }
    )*};
}
numbers!(f64, f32, i64, i32, u32, i8, u8, bool);

impl<T: Element> Stack for Vec<T> {
    type Batch = Tensor;
    fn stack(items: Vec<Vec<T>>, device: &Device) -> Result<Tensor> {
        let len = items.first().map_or(0, Vec::len);
        if let Some(k) = items.iter().position(|item| item.len() != len) {
            let message = format!(
                "{} numbers beside {len}; the padding collate takes lists of any length",
                items[k].len()
            );
            return Err(Error::sample(k, Error::format("stack", message)));
        }
        checked(Tensor::from_slice(&items.concat(), [items.len(), len], device))
    }
}

impl<T: Element, const N: usize> Stack for [T; N] {
    type Batch = Tensor;
    fn stack(items: Vec<[T; N]>, device: &Device) -> Result<Tensor> {
        checked(Tensor::from_slice(items.as_flattened(), [items.len(), N], device))
    }
}

impl Stack for Array {
    type Batch = Tensor;
    fn stack(items: Vec<Array>, device: &Device) -> Result<Tensor> {
        let (shape, dtype) =
            items.first().map_or((Shape::from([0]), DType::F32), |a| (a.shape().clone(), a.dtype()));
        if let Some(k) = items.iter().position(|a| a.shape() != &shape || a.dtype() != dtype) {
            let found = items[k].shape().describe(items[k].dtype());
            let message = format!("{found} beside {}", shape.describe(dtype));
            return Err(Error::sample(k, Error::format("stack", message)));
        }
        let mut bytes = Vec::with_capacity(items.iter().map(|a| a.bytes().len()).sum());
        items.iter().for_each(|a| bytes.extend_from_slice(a.bytes()));
        let all: Shape = std::iter::once(items.len()).chain(shape.iter().copied()).collect();
        checked(Tensor::from_bytes(&bytes, all, dtype, device))
    }
}

impl Stack for String {
    type Batch = Vec<String>;
    fn stack(items: Vec<String>, _: &Device) -> Result<Vec<String>> {
        Ok(items)
    }
}

macro_rules! tuples {
    ($(($($part:ident $list:ident),*)),*) => {$(
        impl<$($part: Stack),*> Stack for ($($part,)*) {
            type Batch = ($($part::Batch,)*);
            fn stack(items: Vec<Self>, device: &Device) -> Result<Self::Batch> {
                $(let mut $list = Vec::with_capacity(items.len());)*
                #[allow(non_snake_case)]
                for ($($part,)*) in items {
                    $($list.push($part);)*
                }
                Ok(($($part::stack($list, device)?,)*))
            }
        }
    )*};
}
tuples!((A a), (A a, B b), (A a, B b, C c), (A a, B b, C c, D d));

/// Lists of any length, filled up to the longest.
#[derive(Clone, Debug)]
pub struct PaddedBatch {
    /// The lists, `[n, longest]`.
    pub values: Tensor,
    /// How long each one is, `I32`, `[n]`.
    pub lengths: Tensor,
    /// Where values are and not filling, `Bool`, `[n, longest]`.
    pub mask: Tensor,
}

/// Fills lists up to the longest of the batch, or to a multiple of some size, so that batches have few shapes and few
/// plans are made. Samples are lists, or pairs of a list and something that is stacked.
///
/// ```
/// use vorpal_nn::data::{DataLoader, Padded, Samples};
/// let texts = Samples(vec![(vec![5i32, 6, 7], 0i32), (vec![8], 1)]);
/// let mut loader = DataLoader::builder(texts).batch_size(2).collate(Padded::new(0i32)).build()?;
/// for batch in &mut loader {
///     let (x, y) = batch?;
///     assert_eq!(x.values.to_vec::<i32>()?, [5, 6, 7, 8, 0, 0]);
///     assert_eq!(x.lengths.to_vec::<i32>()?, [3, 1]);
///     assert_eq!(x.mask.to_vec::<bool>()?, [true, true, true, true, false, false]);
///     assert_eq!(y.to_vec::<i32>()?, [0, 1]);
/// }
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Padded<T> {
    fill: T,
    multiple: usize,
}

impl<T: Element> Padded<T> {
    /// Fills with `fill`.
    pub fn new(fill: T) -> Padded<T> {
        Padded { fill, multiple: 1 }
    }

    /// Up to a multiple of `size`, at least 1.
    #[must_use]
    pub fn to_multiple_of(mut self, size: usize) -> Padded<T> {
        self.multiple = size.max(1);
        self
    }

    fn pad(&self, lists: &[Vec<T>], device: &Device) -> Result<PaddedBatch> {
        let (n, longest) = (lists.len(), lists.iter().map(Vec::len).max().unwrap_or(0));
        let longest = longest.next_multiple_of(self.multiple);
        let (mut values, mut mask) = (Vec::with_capacity(n * longest), Vec::with_capacity(n * longest));
        for (k, list) in lists.iter().enumerate() {
            let end = (k + 1) * longest;
            values.extend_from_slice(list);
            values.resize(end, self.fill);
            mask.resize(end - longest + list.len(), true);
            mask.resize(end, false);
        }
        let lengths: Vec<i32> = lists.iter().map(|list| list.len() as i32).collect();
        Ok(PaddedBatch {
            values: checked(Tensor::from_slice(&values, [n, longest], device))?,
            lengths: checked(Tensor::from_slice(&lengths, [n], device))?,
            mask: checked(Tensor::from_slice(&mask, [n, longest], device))?,
        })
    }
}

impl<T: Element> Collate<Vec<T>> for Padded<T> {
    type Batch = PaddedBatch;
    fn collate(&self, items: Vec<Vec<T>>, device: &Device) -> Result<PaddedBatch> {
        self.pad(&items, device)
    }
}

impl<T: Element, L: Stack> Collate<(Vec<T>, L)> for Padded<T> {
    type Batch = (PaddedBatch, L::Batch);
    fn collate(&self, items: Vec<(Vec<T>, L)>, device: &Device) -> Result<Self::Batch> {
        let (lists, rest): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        Ok((self.pad(&lists, device)?, L::stack(rest, device)?))
    }
}
