//! Losses of distances between vectors.

use vorpal_autodiff::{At, DType, Tensor};

use super::{Reduction, failed, misfit, of_elements};

/// x where y is 1, max(0, margin − x) where it is −1, PyTorch's `HingeEmbeddingLoss`, for distances x.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::HingeEmbeddingLoss};
/// let x = Tensor::from_slice(&[0.25f32, 0.25], [2], &Device::cpu());
/// let y = Tensor::from_slice(&[1.0f32, -1.0], [2], &Device::cpu());
/// assert_eq!(HingeEmbeddingLoss::default().forward(&x, &y).item::<f32>()?, 0.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HingeEmbeddingLoss {
    /// The distance asked for.
    pub margin: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for HingeEmbeddingLoss {
    fn default() -> HingeEmbeddingLoss {
        HingeEmbeddingLoss { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl HingeEmbeddingLoss {
    /// The loss of distances and targets of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("hinge_embedding_loss", &[input, target], self.reduction, || {
            let close = target.gt(target.full_like(0.0));
            close.select(input, (self.margin - input).relu())
        })
    }
}

/// 1 − cos where y is 1, max(0, cos − margin) where it is −1, PyTorch's `CosineEmbeddingLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::CosineEmbeddingLoss};
/// let x = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 2.0], [2, 2], &Device::cpu());
/// let y = Tensor::from_slice(&[1.0f32, -1.0], [2], &Device::cpu());
/// assert_eq!(CosineEmbeddingLoss::default().forward(&x, &x, &y).item::<f32>()?, 0.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CosineEmbeddingLoss {
    /// The similarity that is let pass.
    pub margin: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl CosineEmbeddingLoss {
    /// The loss of vectors `[…, n]` and targets `[…]`.
    #[track_caller]
    pub fn forward(&self, first: &Tensor, second: &Tensor, target: &Tensor) -> Tensor {
        let none = Reduction::None;
        let cosine = of_elements("cosine_embedding_loss", &[first, second], none, || {
            // Added to the squares as PyTorch does here.
            let square = |x: &Tensor| x.square().sum(-1) + 1e-12;
            (first * second).sum(-1) / (square(first) * square(second)).sqrt()
        });
        of_elements("cosine_embedding_loss", &[&cosine, target], self.reduction, || {
            let close = target.gt(target.full_like(0.0));
            close.select(1.0 - &cosine, (&cosine - self.margin).relu())
        })
    }
}

/// max(0, d(anchor, positive) − d(anchor, negative) + margin) (Balntas et al. 2016), PyTorch's `TripletMarginLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::TripletMarginLoss};
/// let x = Tensor::from_slice(&[1.0f32, 0.0], [1, 2], &Device::cpu());
/// let loss = TripletMarginLoss::default().forward(&x, &x, &x);
/// assert!((loss.item::<f32>()? - 1.0).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TripletMarginLoss {
    /// The difference of distances asked for.
    pub margin: f64,
    /// Distances are p-norms.
    pub p: f64,
    /// Added to the differences of vectors.
    pub eps: f64,
    /// Whether the distance of positive and negative counts where it is smaller.
    pub swap: bool,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for TripletMarginLoss {
    fn default() -> TripletMarginLoss {
        TripletMarginLoss { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

impl TripletMarginLoss {
    /// The loss of vectors `[…, n]` of one shape.
    #[track_caller]
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        of_elements("triplet_margin_loss", &[anchor, positive, negative], self.reduction, || {
            let distance = |a: &Tensor, b: &Tensor| a.pairwise_distance(b, self.p, self.eps);
            let mut far = distance(anchor, negative);
            if self.swap {
                far = far.minimum(distance(positive, negative));
            }
            (distance(anchor, positive) - far + self.margin).relu()
        })
    }
}

/// d² ∕ 2 where y is 1, max(0, margin − d)² ∕ 2 where it is 0, for the distance d of two vectors (Hadsell, Chopra, LeCun
/// 2006).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::ContrastiveLoss};
/// let x = Tensor::from_slice(&[3.0f32, 4.0], [1, 2], &Device::cpu());
/// let y = Tensor::from_slice(&[1.0f32], [1], &Device::cpu());
/// assert_eq!(ContrastiveLoss::default().forward(&x, &x.full_like(0.0), &y).item::<f32>()?, 12.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContrastiveLoss {
    /// The distance asked for.
    pub margin: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for ContrastiveLoss {
    fn default() -> ContrastiveLoss {
        ContrastiveLoss { margin: 1.0, reduction: Reduction::Mean }
    }
}

impl ContrastiveLoss {
    /// The loss of vectors `[…, n]` and targets `[…]`.
    #[track_caller]
    pub fn forward(&self, first: &Tensor, second: &Tensor, target: &Tensor) -> Tensor {
        let none = Reduction::None;
        let distance = of_elements("contrastive_loss", &[first, second], none, || {
            first.pairwise_distance(second, 2.0, 0.0)
        });
        of_elements("contrastive_loss", &[&distance, target], self.reduction, || {
            let apart = (self.margin - &distance).relu().square();
            (target * distance.square() + (1.0 - target) * apart) * 0.5
        })
    }
}

/// Cross-entropy of finding the key of a query among all keys of a batch by their cosines (van den Oord, Li, Vinyals
/// 2018).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::InfoNceLoss};
/// let x = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0], [2, 2], &Device::cpu());
/// assert!(InfoNceLoss::default().forward(&x, &x, None).item::<f32>()? < 1e-3);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InfoNceLoss {
    /// Cosines are divided by this.
    pub temperature: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for InfoNceLoss {
    fn default() -> InfoNceLoss {
        InfoNceLoss { temperature: 0.1, reduction: Reduction::Mean }
    }
}

/// Vectors of length 1.
fn directions(x: &Tensor) -> Tensor {
    x.normalize_l2(-1, 1e-12)
}

impl InfoNceLoss {
    /// The loss of queries `[batch, n]` and their keys `[batch, n]`. Negatives are the keys of other queries, or
    /// `negatives` `[many, n]` where given.
    #[track_caller]
    pub fn forward(&self, query: &Tensor, key: &Tensor, negatives: Option<&Tensor>) -> Tensor {
        let at = At::caller();
        if let Some(error) = failed(&[query, key]) {
            return error;
        }
        if query.rank() != 2 || query.shape() != key.shape() {
            let message = "queries and keys must be [batch, n] both";
            return misfit("info_nce_loss", message, &[query, key], at);
        }
        let Ok(device) = query.device() else { return query.clone() };
        let (query, key, batch) = (directions(query), directions(key), query.shape()[0]);
        let (cosines, right) = match negatives {
            None => (query.matmul(&key.t()), Tensor::arange(batch, DType::I32, &device)),
            Some(negatives) => {
                let own = (&query * &key).sum_keepdim(-1);
                let others = query.matmul(&directions(negatives).t());
                (Tensor::concat(&[&own, &others], 1), Tensor::zeros([batch], DType::I32, &device))
            }
        };
        self.reduction.apply(&(cosines * (1.0 / self.temperature)).cross_entropy_rows(&right))
    }
}

/// Cross-entropy of finding the other view of an example among all views of a batch by their cosines (Chen et al. 2020,
/// SimCLR).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::NtXentLoss};
/// let x = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0], [2, 2], &Device::cpu());
/// let loss = NtXentLoss { temperature: 0.1, ..NtXentLoss::default() };
/// assert!(loss.forward(&x, &x).item::<f32>()? < 1e-3);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NtXentLoss {
    /// Cosines are divided by this.
    pub temperature: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for NtXentLoss {
    fn default() -> NtXentLoss {
        NtXentLoss { temperature: 0.5, reduction: Reduction::Mean }
    }
}

impl NtXentLoss {
    /// The loss of two views `[batch, n]` of the same examples.
    #[track_caller]
    pub fn forward(&self, first: &Tensor, second: &Tensor) -> Tensor {
        let at = At::caller();
        if let Some(error) = failed(&[first, second]) {
            return error;
        }
        if first.rank() != 2 || first.shape() != second.shape() {
            return misfit("nt_xent_loss", "views must be [batch, n] both", &[first, second], at);
        }
        let Ok(device) = first.device() else { return first.clone() };
        let (batch, all) = (first.shape()[0], directions(&Tensor::concat(&[first, second], 0)));
        let scores = all.matmul(&all.t()) * (1.0 / self.temperature);
        // Nothing is its own other view. Every 16-bit float can hold the number.
        let own = Tensor::eye(2 * batch, DType::I32, &device).cast(DType::Bool);
        let scores = own.select(scores.full_like(-6e4), &scores);
        let other = Tensor::arange(2 * batch, DType::I32, &device).roll(batch as isize, 0);
        self.reduction.apply(&scores.cross_entropy_rows(&other))
    }
}
