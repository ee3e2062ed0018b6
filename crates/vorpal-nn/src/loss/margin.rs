//! Losses that ask for a distance between scores.

use vorpal_autodiff::{At, DType, Error, Tensor};

use super::{Reduction, class_numbers, failed, misfit, of_elements};

/// max(0, −y (x₁ − x₂) + margin), PyTorch's `MarginRankingLoss`: y of 1 asks for a larger x₁, −1 for a smaller.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::MarginRankingLoss};
/// let x = Tensor::from_slice(&[2.0f32, 1.0], [2], &Device::cpu());
/// let loss = MarginRankingLoss::default().forward(&x, &x.full_like(0.0), &x.full_like(-1.0));
/// assert_eq!(loss.item::<f32>()?, 1.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MarginRankingLoss {
    /// The distance asked for.
    pub margin: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl MarginRankingLoss {
    /// The loss of two lists of scores and targets of one shape.
    #[track_caller]
    pub fn forward(&self, first: &Tensor, second: &Tensor, target: &Tensor) -> Tensor {
        of_elements("margin_ranking_loss", &[first, second, target], self.reduction, || {
            ((second - first) * target + self.margin).relu()
        })
    }
}

/// `Σ max(0, margin − x[y] + x[i])ᵖ` ∕ classes over all classes i but the right one, PyTorch's `MultiMarginLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::MultiMarginLoss};
/// let scores = Tensor::from_slice(&[0.5f32, 1.0], [1, 2], &Device::cpu());
/// let class = Tensor::from_slice(&[1i32], [1], &Device::cpu());
/// assert_eq!(MultiMarginLoss::default().forward(&scores, &class).item::<f32>()?, 0.25);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiMarginLoss {
    /// The power, 1 or 2.
    pub p: u32,
    /// The distance asked for.
    pub margin: f64,
    /// Weights of classes `[classes]`.
    pub weight: Option<Tensor>,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for MultiMarginLoss {
    fn default() -> MultiMarginLoss {
        MultiMarginLoss { p: 1, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

impl MultiMarginLoss {
    /// The loss of scores `[…, classes]` against class numbers `[…]`.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let at = At::caller();
        if let Some(error) = failed(&[input, target]) {
            return error;
        }
        if !(1..=2).contains(&self.p) {
            let message = format!("power {} is neither 1 nor 2", self.p);
            return Tensor::error(Error::Argument { op: "multi_margin_loss", message, at });
        }
        let target = &class_numbers(target);
        let Some(&classes) = input.shape().last() else {
            return misfit("multi_margin_loss", "scores need an axis of classes", &[input, target], at);
        };
        let right = -input.nll_rows(target).unsqueeze(-1);
        let mut excess = (input - right + self.margin).relu();
        if self.p == 2 {
            excess = excess.square();
        }
        let own = target.one_hot(classes, input.dtype());
        if let Some(weight) = &self.weight {
            excess = excess * (&own * weight).sum_keepdim(-1);
        }
        let other: Tensor = 1.0 - own;
        self.reduction.apply(&(other * excess).mean(-1))
    }
}

/// `Σ max(0, 1 − x[y] + x[i])` ∕ classes over all right classes y and all others i, PyTorch's `MultiLabelMarginLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::MultiLabelMarginLoss};
/// let scores = Tensor::from_slice(&[0.5f32, 1.0], [1, 2], &Device::cpu());
/// let classes = Tensor::from_slice(&[1i32, -1], [1, 2], &Device::cpu());
/// assert_eq!(MultiLabelMarginLoss::default().forward(&scores, &classes).item::<f32>()?, 0.25);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiLabelMarginLoss {
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl MultiLabelMarginLoss {
    /// The loss of scores `[…, classes]` against lists of class numbers of the same shape, each up to its first −1.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("multilabel_margin_loss", &[input, target], self.reduction, || {
            let (zero, target) = (input.full_like(0.0), &class_numbers(target));
            let ended = target.lt(0i32).cast(DType::I32).cumsum(-1);
            let listed = ended.eq(ended.full_like(0.0));
            let target = listed.select(target, target.full_like(0.0));
            let classes = input.shape().last().copied().unwrap_or(1);
            // Whether a class is in the list.
            let in_list = target.one_hot(classes, input.dtype());
            let listed = listed.select(zero.full_like(1.0), &zero);
            let right = (in_list * listed.unsqueeze(-1)).max(-2);
            // Listed classes by all classes.
            let scores = input.gather(-1, &target).unsqueeze(-1);
            let distance: Tensor = 1.0 - scores + input.unsqueeze(-2);
            let excess = distance.relu();
            let wrong: Tensor = 1.0 - right;
            let counted = excess * listed.unsqueeze(-1) * wrong.unsqueeze(-2);
            counted.sum(-1).mean(-1)
        })
    }
}
