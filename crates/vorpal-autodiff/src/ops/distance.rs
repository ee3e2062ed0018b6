//! Similarities and distances of vectors.

use vorpal_tensor::{At, Shape};

use super::pointwise::ADD;
use super::shape_error;
use crate::Tensor;

impl Tensor {
    /// The cosine of the angle between vectors along an axis, which disappears; operands broadcast. Norms below `eps`
    /// count as `eps`. As `torch.nn.functional.cosine_similarity`.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 0.0], [2], &Device::cpu());
    /// let y = Tensor::from_slice(&[0.0f32, 2.0], [2], &Device::cpu());
    /// assert_eq!(x.cosine_similarity(&y, 0, 1e-8).item::<f32>()?, 0.0);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, axis: isize, eps: f64) -> Tensor {
        (self.normalize_l2(axis, eps) * other.normalize_l2(axis, eps)).sum(axis)
    }

    /// The p-norm of the difference of vectors along the last axis, which disappears; operands broadcast. `eps` is
    /// added to every difference, as `torch.nn.functional.pairwise_distance` does.
    #[track_caller]
    pub fn pairwise_distance(&self, other: &Tensor, p: f64, eps: f64) -> Tensor {
        (self - other).with_constant(&ADD, eps).norm(p, -1)
    }

    /// The p-norms of the differences of all rows of `self` `[…, n, d]` and `other` `[…, m, d]`: `[…, n, m]`, as
    /// `torch.cdist`. Batch axes broadcast. Exact for equal rows: derivatives there are 0.
    ///
    /// Carries [`Error::Shape`](crate::Error::Shape) unless both have rows of one length.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[0.0f32, 0.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.cdist(&x, 2.0).to_vec::<f32>()?, [0.0, 5.0, 5.0, 0.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Tensor {
        let (at, a, b) = (At::caller(), self.shape(), other.shape());
        for x in [self, other] {
            if x.check().is_err() {
                return x.clone();
            }
        }
        let length = |s: &Shape| s.last().copied();
        if a.rank() < 2 || b.rank() < 2 || length(&a) != length(&b) {
            let message = "needs rows of one length, […, n, d] and […, m, d]";
            return Tensor::error(shape_error("cdist", message, &[self, other], at));
        }
        // The differences live in the kernel that sums them alone; through a matrix product close rows would lose
        // all their digits.
        (self.unsqueeze(-2) - other.unsqueeze(-3)).norm(p, -1)
    }
}
