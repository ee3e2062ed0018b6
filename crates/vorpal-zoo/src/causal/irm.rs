//! Invariant risk minimisation.

use vorpal_autodiff::grad;
use vorpal_nn::{DType, Device, Linear, Module, Tensor};

/// Invariant risk minimisation (Arjovsky, Bottou, Gulrajani & Lopez-Paz 2019) of a network of two hidden layers: beside the mean
/// loss of all environments, the [`penalty`](Irm::penalty) asks that no environment by itself would like the answers scaled, which
/// holds of what causes an answer, and not of what goes along with it more in one environment than in another.
///
/// Inputs `[batch, …]` to logits `[batch]`. Trained by `vorpal train irm` (47,137 parameters) on digits whose colour tells the
/// answer better than their shape does in two environments, to an accuracy of at least 0.55 where the colour misleads (the mean
/// loss by itself: about 0.1; the shape known perfectly: 0.75).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::causal::Irm;
/// let model = Irm::new(8, 16, &Device::cpu());
/// let x = Tensor::zeros([5, 2, 2, 2], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&x).shape(), [5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Irm {
    first: Linear,
    second: Linear,
    out: Linear,
}

impl Irm {
    /// Random weights, for inputs of so many numbers.
    pub fn new(inputs: usize, width: usize, device: &Device) -> Irm {
        Irm {
            first: Linear::new(inputs, width, device),
            second: Linear::new(width, width, device),
            out: Linear::new(width, 1, device),
        }
    }

    /// Logits `[batch]` of inputs `[batch, …]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.first.forward(&x.flatten(1, -1)).relu();
        self.out.forward(&self.second.forward(&x).relu()).squeeze(-1)
    }

    /// The mean cross-entropy of logits `[batch]` and answers `[batch]`, 0 or 1.
    #[track_caller]
    pub fn risk(logits: &Tensor, answers: &Tensor) -> Tensor {
        (logits.softplus() - answers * logits).mean_all()
    }

    /// The squared derivative of the risk of one environment by a scale of its logits, at 1.
    #[track_caller]
    pub fn penalty(logits: &Tensor, answers: &Tensor) -> Tensor {
        let device = match logits.device() {
            Ok(device) => device,
            Err(error) => return Tensor::error(error),
        };
        let one = Tensor::ones([1], DType::F32, &device).cast(logits.dtype());
        match grad(&one, |scale| Irm::risk(&(logits * scale), answers)) {
            Ok(slope) => slope.square().sum_all(),
            Err(error) => Tensor::error(error),
        }
    }

    /// The mean risk of all environments, each logits and answers, and their mean penalty.
    #[track_caller]
    pub fn objective(&self, environments: &[(Tensor, Tensor)]) -> (Tensor, Tensor) {
        let each = environments.iter().map(|(x, answers)| {
            let logits = self.forward(x);
            (Irm::risk(&logits, answers), Irm::penalty(&logits, answers))
        });
        let none = || Tensor::error(vorpal_nn::Error::format("IRM", "there are no environments"));
        let (risk, penalty) =
            each.reduce(|(r, p), (risk, penalty)| (r + risk, p + penalty)).unwrap_or((none(), none()));
        let count = environments.len().max(1) as f64;
        (risk / count, penalty / count)
    }
}
