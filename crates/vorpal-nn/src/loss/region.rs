//! Losses of the overlap of regions.

use vorpal_autodiff::Tensor;

use super::{Reduction, of_elements};

/// 1 − (hits + s) ∕ (hits + α false alarms + β misses + s) of every region.
fn apart(input: &Tensor, target: &Tensor, (alpha, beta): (f64, f64), smooth: f64) -> Tensor {
    // Pixels are all axes behind batch and class, or the last one where there are no more.
    let first = if input.rank() > 2 { 2 } else { input.rank() as isize - 1 };
    let sum = |x: Tensor| x.flatten(first, -1).sum(-1);
    let hits = sum(input * target);
    let (alarms, misses) = (sum(input * (1.0 - target)), sum((1.0 - input) * target));
    let all = &hits + alarms * alpha + misses * beta + smooth;
    1.0 - (hits + smooth) / all
}

/// What two regions do not share, with weights of their own for what is too much and what is missing (Salehi,
/// Erdogmus, Gholipour 2017).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::TverskyLoss};
/// let p = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 0.0], [1, 1, 4], &Device::cpu());
/// let loss = TverskyLoss { alpha: 0.5, ..TverskyLoss::default() }.forward(&p, &p.flip(2));
/// assert!((loss.item::<f32>()? - 1.0).abs() < 1e-4);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TverskyLoss {
    /// Weight of what is too much.
    pub alpha: f64,
    /// Weight of what is missing.
    pub beta: f64,
    /// Added above and below, so that regions without pixels are alike.
    pub smooth: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for TverskyLoss {
    fn default() -> TverskyLoss {
        TverskyLoss { alpha: 0.3, beta: 0.7, smooth: 1e-5, reduction: Reduction::Mean }
    }
}

impl TverskyLoss {
    /// The loss of probabilities and targets `[batch, classes, …]` (or `[batch, …]` of two axes): a number for each
    /// region.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("tversky_loss", &[input, target], self.reduction, || {
            apart(input, target, (self.alpha, self.beta), self.smooth)
        })
    }
}

/// 1 − 2 |A ∩ B| ∕ (|A| + |B|) (Milletari, Navab, Ahmadi 2016).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::DiceLoss};
/// let p = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 0.0], [1, 1, 4], &Device::cpu());
/// assert!(DiceLoss::default().forward(&p, &p).item::<f32>()?.abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DiceLoss {
    /// Added above and below, so that regions without pixels are alike.
    pub smooth: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for DiceLoss {
    fn default() -> DiceLoss {
        DiceLoss { smooth: 1e-5, reduction: Reduction::Mean }
    }
}

impl DiceLoss {
    /// The loss of probabilities and targets `[batch, classes, …]` (or `[batch, …]` of two axes): a number for each
    /// region.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("dice_loss", &[input, target], self.reduction, || {
            apart(input, target, (0.5, 0.5), 0.5 * self.smooth)
        })
    }
}

/// 1 − |A ∩ B| ∕ |A ∪ B|, the Jaccard distance (Rahman & Wang 2016).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::IouLoss};
/// let p = Tensor::from_slice(&[1.0f32, 1.0, 0.0, 0.0], [1, 1, 4], &Device::cpu());
/// assert!(IouLoss::default().forward(&p, &p).item::<f32>()?.abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct IouLoss {
    /// Added above and below, so that regions without pixels are alike.
    pub smooth: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for IouLoss {
    fn default() -> IouLoss {
        IouLoss { smooth: 1e-5, reduction: Reduction::Mean }
    }
}

impl IouLoss {
    /// The loss of probabilities and targets `[batch, classes, …]` (or `[batch, …]` of two axes): a number for each
    /// region.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("iou_loss", &[input, target], self.reduction, || {
            apart(input, target, (1.0, 1.0), self.smooth)
        })
    }
}
