//! Losses: those of PyTorch with its names, defaults and reductions, and some that it lacks.
//!
//! A loss is its options: fields to be set, `forward` to be called. The plain cross-entropy of logits and class numbers
//! and the mean squared error are methods of [`Tensor`] as well.
//!
//! ```
//! use vorpal_nn::loss::{CrossEntropyLoss, Reduction};
//! use vorpal_nn::{Device, Tensor};
//!
//! let logits = Tensor::from_slice(&[2.0f32, 0.0, 0.0, 0.0, 3.0, 0.0], [2, 3], &Device::cpu());
//! let classes = Tensor::from_slice(&[0i32, -100], [2], &Device::cpu());
//! let smooth = CrossEntropyLoss { label_smoothing: 0.1, ..CrossEntropyLoss::default() };
//! assert!(smooth.forward(&logits, &classes).item::<f32>()? > 0.2);
//! let each = CrossEntropyLoss { reduction: Reduction::None, ..smooth };
//! assert_eq!(each.forward(&logits, &classes).to_vec::<f32>()?[1], 0.0);
//! # Ok::<(), vorpal_nn::Error>(())
//! ```

mod binary;
mod class;
mod ctc;
mod embedding;
mod margin;
mod region;
mod regression;

use vorpal_autodiff::{At, DType, Error, Tensor};

pub use binary::{BceLoss, BceWithLogitsLoss, MultiLabelSoftMarginLoss, SigmoidFocalLoss, SoftMarginLoss};
pub use class::{CrossEntropyLoss, NllLoss};
pub use ctc::CtcLoss;
pub use embedding::{
    ContrastiveLoss, CosineEmbeddingLoss, HingeEmbeddingLoss, InfoNceLoss, NtXentLoss, TripletMarginLoss,
};
pub use margin::{MarginRankingLoss, MultiLabelMarginLoss, MultiMarginLoss};
pub use region::{DiceLoss, IouLoss, TverskyLoss};
pub use regression::{
    GaussianNllLoss, HuberLoss, KlDivLoss, L1Loss, MseLoss, NegativeBinomialNllLoss, PoissonNllLoss,
    QuantileLoss, SmoothL1Loss,
};

/// What becomes of the losses of single elements or examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay.
    None,
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the size of their first axis, PyTorch's `batchmean`.
    BatchMean,
}

impl Reduction {
    /// Applies the reduction.
    pub fn apply(self, losses: &Tensor) -> Tensor {
        match self {
            Reduction::None => losses.clone(),
            Reduction::Mean => losses.mean_all(),
            Reduction::Sum => losses.sum_all(),
            Reduction::BatchMean => {
                let batch = losses.shape().first().copied().unwrap_or(1);
                losses.sum_all() * (1.0 / batch as f64)
            }
        }
    }
}

/// An error of shapes, with what the operands are.
fn misfit(op: &'static str, message: impl Into<String>, operands: &[&Tensor], at: At) -> Tensor {
    let operands = operands.iter().map(|x| format!("{}{}", x.dtype(), x.shape()));
    let operands = operands.collect::<Vec<_>>().join(", ");
    Tensor::error(Error::Shape { op, message: message.into(), operands, at })
}

/// The first of tensors that carries an error.
fn failed(operands: &[&Tensor]) -> Option<Tensor> {
    operands.iter().find(|x| x.check().is_err()).map(|&x| x.clone())
}

/// Losses of elements: `f` of operands that have one shape, reduced.
#[track_caller]
fn of_elements(
    op: &'static str,
    operands: &[&Tensor],
    reduction: Reduction,
    f: impl FnOnce() -> Tensor,
) -> Tensor {
    let at = At::caller();
    if let Some(error) = failed(operands) {
        return error;
    }
    if operands.windows(2).any(|pair| pair[0].shape() != pair[1].shape()) {
        return misfit(op, "operands must have one shape", operands, at);
    }
    reduction.apply(&f())
}

/// Integers of any length in 32 bits. Short ones would wrap around numbers that stand for no class.
fn class_numbers(target: &Tensor) -> Tensor {
    match target.dtype() {
        DType::I64 => target.clamp(i32::MIN, i32::MAX).cast(DType::I32),
        DType::I8 | DType::U8 => target.cast(DType::I32),
        _ => target.clone(),
    }
}

/// Times weights, if there are any.
fn weighted(losses: Tensor, weight: Option<&Tensor>) -> Tensor {
    match weight {
        Some(weight) => losses * weight,
        None => losses,
    }
}
