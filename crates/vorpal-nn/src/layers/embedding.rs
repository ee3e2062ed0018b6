//! Tables of vectors.

use vorpal_autodiff::{At, DType, Device, Tensor};

use super::{Layer, wrong};
use crate::Module;
use crate::init::normal;

/// A table of vectors, picked by number: `[…]` of `I32` or `U32` to `[…, features]`.
///
/// ```
/// use vorpal_nn::{Device, Embedding, Tensor};
/// let table = Embedding::new(10, 4, &Device::cpu()).padding(0);
/// let numbers = Tensor::from_slice(&[3i32, 0], [2], &Device::cpu());
/// assert_eq!(table.forward(&numbers).to_vec::<f32>()?[4..], [0.0; 4]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[entries, features]`.
    pub weight: Tensor,
    /// A number whose vector has no derivative.
    pub padding_idx: Option<usize>,
}

impl Embedding {
    /// Standard normal vectors, PyTorch's default.
    pub fn new(entries: usize, features: usize, device: &Device) -> Embedding {
        Embedding::from_weight(normal([entries, features], 1.0, device))
    }

    /// A given table, `[entries, features]`.
    pub fn from_weight(weight: Tensor) -> Embedding {
        Embedding { weight, padding_idx: None }
    }

    /// The same with zeros for a number that fills up sequences, which are not trained: PyTorch's `padding_idx`.
    #[must_use]
    pub fn padding(self, number: usize) -> Embedding {
        let weight = without_row(&self.weight, number);
        Embedding { weight, padding_idx: Some(number) }
    }

    /// The vectors of the numbers. A number out of range is an error when the value is read.
    #[track_caller]
    pub fn forward(&self, numbers: &Tensor) -> Tensor {
        let rows = self.weight.embedding(numbers);
        match self.padding_idx {
            Some(padding) => is_number(numbers, padding).unsqueeze(-1).select(rows.stop_gradient(), rows),
            None => rows,
        }
    }
}

/// A table with zeros in a row.
fn without_row(weight: &Tensor, row: usize) -> Tensor {
    let Ok(device) = weight.device() else { return weight.clone() };
    let rows = Tensor::iota(weight.shape(), 0, DType::I32, &device);
    rows.eq(rows.full_like(row as f64)).select(weight.full_like(0.0), weight)
}

fn is_number(numbers: &Tensor, number: usize) -> Tensor {
    numbers.eq(numbers.full_like(number as f64))
}

/// What an [`EmbeddingBag`] makes of the vectors of a bag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean, PyTorch's default.
    #[default]
    Mean,
    /// The largest of each component.
    Max,
}

/// Sums, means or maxima of the vectors of bags of numbers, as `torch.nn.EmbeddingBag`.
///
/// ```
/// use vorpal_nn::{BagMode, Device, EmbeddingBag, Tensor};
/// let bags = EmbeddingBag::new(10, 4, BagMode::Sum, &Device::cpu());
/// let numbers = Tensor::from_slice(&[1i32, 2, 4, 5, 4, 3, 2, 9], [8], &Device::cpu());
/// let starts = Tensor::from_slice(&[0i32, 4], [2], &Device::cpu());
/// assert_eq!(bags.forward_offsets(&numbers, &starts).shape(), [2, 4].into());
/// assert_eq!(bags.forward(&numbers.reshape([2, 4])).shape(), [2, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct EmbeddingBag {
    /// `[entries, features]`.
    pub weight: Tensor,
    /// What is made of the vectors.
    #[module(skip)]
    pub mode: BagMode,
    /// A number that does not count: neither its vector nor in a mean.
    pub padding_idx: Option<usize>,
}

impl EmbeddingBag {
    /// Standard normal vectors, PyTorch's default.
    pub fn new(entries: usize, features: usize, mode: BagMode, device: &Device) -> EmbeddingBag {
        EmbeddingBag { weight: normal([entries, features], 1.0, device), mode, padding_idx: None }
    }

    /// The same with a number that fills up bags and does not count: PyTorch's `padding_idx`.
    #[must_use]
    pub fn padding(self, number: usize) -> EmbeddingBag {
        let weight = without_row(&self.weight, number);
        EmbeddingBag { weight, padding_idx: Some(number), ..self }
    }

    /// Bags of one size, `[bags, size]` of numbers, to `[bags, features]`.
    #[track_caller]
    pub fn forward(&self, numbers: &Tensor) -> Tensor {
        self.bags(numbers, None, At::caller())
    }

    /// Bags of one size with a factor for each number, `[bags, size]` as well; sums only, as in PyTorch.
    #[track_caller]
    pub fn forward_weighted(&self, numbers: &Tensor, weights: &Tensor) -> Tensor {
        let at = At::caller();
        if self.mode != BagMode::Sum {
            return wrong::argument("embedding_bag", format!("factors need sums, not {:?}", self.mode), at);
        }
        if weights.shape() != numbers.shape() {
            return wrong::shape("embedding_bag", "needs a factor for each number", &[numbers, weights], at);
        }
        self.bags(numbers, Some(weights), at)
    }

    /// Bags one behind the other, `[numbers]`, that begin at places `starts`, `[bags]` of integers, which begin with 0 and
    /// do not decrease: `[bags, features]`. An empty bag gives zeros.
    #[track_caller]
    pub fn forward_offsets(&self, numbers: &Tensor, starts: &Tensor) -> Tensor {
        let at = At::caller();
        if numbers.rank() != 1 || starts.rank() != 1 {
            return wrong::shape("embedding_bag", "needs [numbers] and [bags]", &[numbers, starts], at);
        }
        let (Ok(device), bags) = (numbers.device(), starts.shape().numel()) else { return numbers.clone() };
        let places = Tensor::arange(numbers.shape().numel(), starts.dtype(), &device);
        let ids = starts.searchsorted(&places, true) - 1;
        let rows = self.weight.embedding(numbers);
        let counts = self.counts(numbers, &rows).unsqueeze(-1);
        match self.mode {
            BagMode::Max => {
                let low = self.lowest(&rows);
                let most = counts.gt(counts.full_like(0.0)).select(&rows, &low).segment_max(&ids, bags, true);
                most.gt(most.full_like(LOWEST)).select(&most, most.full_like(0.0))
            }
            BagMode::Sum => (rows * &counts).segment_sum(&ids, bags, true),
            BagMode::Mean => {
                let sums = (rows * &counts).segment_sum(&ids, bags, true);
                sums / counts.segment_sum(&ids, bags, true).clamp_min(1.0)
            }
        }
    }

    /// Ones for numbers that count, zeros for padding.
    fn counts(&self, numbers: &Tensor, rows: &Tensor) -> Tensor {
        let ones = rows.narrow(-1, 0, 1).squeeze(-1).full_like(1.0);
        match self.padding_idx {
            Some(padding) => is_number(numbers, padding).select(ones.full_like(0.0), ones),
            None => ones,
        }
    }

    fn lowest(&self, rows: &Tensor) -> Tensor {
        rows.full_like(f64::NEG_INFINITY)
    }

    fn bags(&self, numbers: &Tensor, weights: Option<&Tensor>, at: At) -> Tensor {
        if numbers.rank() != 2 {
            return wrong::shape("embedding_bag", "needs [bags, size]", &[numbers], at);
        }
        let rows = self.weight.embedding(numbers);
        let counts = self.counts(numbers, &rows).unsqueeze(-1);
        match (self.mode, weights) {
            (BagMode::Max, _) => {
                let low = self.lowest(&rows);
                let most = counts.gt(counts.full_like(0.0)).select(&rows, &low).max(1);
                most.gt(most.full_like(LOWEST)).select(&most, most.full_like(0.0))
            }
            (BagMode::Sum, Some(weights)) => (rows * (counts * weights.unsqueeze(-1))).sum(1),
            (BagMode::Sum, None) => (rows * counts).sum(1),
            (BagMode::Mean, _) => (rows * &counts).sum(1) / counts.sum(1).clamp_min(1.0),
        }
    }
}

/// Maxima of empty bags are below.
const LOWEST: f64 = f64::NEG_INFINITY;

layers!(Embedding, EmbeddingBag);
