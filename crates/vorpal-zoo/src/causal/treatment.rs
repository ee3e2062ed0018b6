//! What a treatment does to whom: TARNet and DragonNet.

use vorpal_nn::{DType, Device, Linear, Module, Tensor};

/// Sizes of a [`TarNet`] or a [`DragonNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreatmentOptions {
    /// Numbers that are known of everyone.
    pub covariates: usize,
    /// Width of the shared layers.
    pub width: usize,
    /// Shared layers.
    pub layers: usize,
    /// Width of the layer of each outcome.
    pub head: usize,
}

/// Linear layers with an ELU behind each but the last.
#[derive(Clone, Debug, Module)]
struct Head {
    hidden: Linear,
    out: Linear,
}

impl Head {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(x).elu(1.0))
    }
}

/// TARNet (Shalit, Johansson & Sontag 2017): layers that all share, and behind them one head for the outcome without the
/// treatment and one for that with it. Everybody teaches the head of what happened to them; the difference of both is what the
/// treatment does.
///
/// Covariates `[batch, covariates]` to outcomes `[batch, 2]`. Trained by `vorpal train tarnet` (5,234 parameters) on smokers of
/// the study NHEFS with outcomes that are made up, to a PEHE (root of the mean squared error of the effects) of at most 0.6 of
/// that of two lines by least squares.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::causal::{TarNet, TreatmentOptions};
/// let options = TreatmentOptions { covariates: 9, width: 16, layers: 2, head: 8 };
/// let model = TarNet::new(options, &Device::cpu());
/// let people = Tensor::zeros([5, 9], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&people).shape(), [5, 2].into());
/// assert_eq!(model.effect(&people).shape(), [5].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct TarNet {
    shared: Vec<Linear>,
    untreated: Head,
    treated: Head,
}

impl TarNet {
    /// Random weights.
    pub fn new(options: TreatmentOptions, device: &Device) -> TarNet {
        let TreatmentOptions { covariates, width, layers, head } = options;
        let outcome = || Head { hidden: Linear::new(width, head, device), out: Linear::new(head, 1, device) };
        let layers = 0..layers.max(1);
        TarNet {
            shared: layers
                .map(|k| Linear::new(if k == 0 { covariates } else { width }, width, device))
                .collect(),
            untreated: outcome(),
            treated: outcome(),
        }
    }

    /// What all share, `[batch, width]`.
    #[track_caller]
    fn representation(&self, x: &Tensor) -> Tensor {
        self.shared.iter().fold(x.clone(), |x, layer| layer.forward(&x).elu(1.0))
    }

    /// Expected outcomes `[batch, 2]`, without and with the treatment, for covariates `[batch, covariates]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.representation(x);
        Tensor::concat(&[&self.untreated.forward(&x), &self.treated.forward(&x)], -1)
    }

    /// What the treatment does to each, `[batch]`.
    #[track_caller]
    pub fn effect(&self, x: &Tensor) -> Tensor {
        difference(&self.forward(x))
    }

    /// Mean squared error of `outcomes` `[batch, 2 or more]` where `treated` `[batch]` says which one happened, `happened`.
    #[track_caller]
    pub fn objective(outcomes: &Tensor, treated: &Tensor, happened: &Tensor) -> Tensor {
        factual(outcomes, treated).mse(happened)
    }
}

/// Column `k`.
#[track_caller]
fn column(x: &Tensor, k: usize) -> Tensor {
    x.narrow(-1, k, 1).squeeze(-1)
}

#[track_caller]
fn difference(outcomes: &Tensor) -> Tensor {
    column(outcomes, 1) - column(outcomes, 0)
}

/// The expected outcome of what happened.
#[track_caller]
fn factual(outcomes: &Tensor, treated: &Tensor) -> Tensor {
    column(outcomes, 0) + treated * difference(outcomes)
}

/// DragonNet (Shi, Blei & Veitch 2019): a [`TarNet`] whose shared layers must also tell who is treated, so that they keep what
/// choice and outcome have in common, and one more number that corrects the outcomes for the odds of a treatment (targeted
/// regularisation), which makes the mean effect robust.
///
/// Covariates `[batch, covariates]` to `[batch, 4]`. Trained by `vorpal train dragonnet` (5,284 parameters) on the same people as
/// [`TarNet`], to a PEHE of at most 0.6 of that of two lines.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::causal::{DragonNet, TreatmentOptions};
/// let options = TreatmentOptions { covariates: 9, width: 16, layers: 2, head: 8 };
/// let model = DragonNet::new(options, &Device::cpu());
/// let people = Tensor::zeros([5, 9], DType::F32, &Device::cpu());
/// assert_eq!(model.forward(&people).shape(), [5, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct DragonNet {
    outcomes: TarNet,
    propensity: Linear,
    epsilon: Tensor,
}

impl DragonNet {
    /// How much the odds of a treatment and the targeted regularisation weigh in the loss.
    const WEIGHTS: [f64; 2] = [1.0, 0.1];

    /// Random weights.
    pub fn new(options: TreatmentOptions, device: &Device) -> DragonNet {
        DragonNet {
            outcomes: TarNet::new(options, device),
            propensity: Linear::new(options.width, 1, device),
            epsilon: Tensor::zeros([1], DType::F32, device),
        }
    }

    /// `[batch, 4]` for covariates `[batch, covariates]`: expected outcomes without and with the treatment, the logit of being
    /// treated, and the weight of the correction, the same for all.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let shared = self.outcomes.representation(x);
        let logit = self.propensity.forward(&shared);
        let epsilon = &logit * 0.0 + &self.epsilon;
        let (without, with) =
            (self.outcomes.untreated.forward(&shared), self.outcomes.treated.forward(&shared));
        Tensor::concat(&[&without, &with, &logit, &epsilon], -1)
    }

    /// What the treatment does to each, `[batch]`.
    #[track_caller]
    pub fn effect(&self, x: &Tensor) -> Tensor {
        difference(&self.forward(x))
    }

    /// The loss of answers `[batch, 4]`: the squared error of what happened, the cross-entropy of who was treated, and the squared
    /// error after the correction.
    #[track_caller]
    pub fn objective(answers: &Tensor, treated: &Tensor, happened: &Tensor) -> Tensor {
        let (logit, epsilon) = (column(answers, 2), column(answers, 3));
        let expected = factual(answers, treated);
        let choice = (logit.softplus() - treated * &logit).mean_all();
        // Odds near 0 or 1 would weigh without bound.
        let odds = logit.sigmoid().clamp(0.01, 0.99);
        let lever = treated / &odds - (1.0 - treated) / (1.0 - odds);
        let corrected = (&expected + epsilon * lever).mse(happened);
        let [by_choice, by_correction] = DragonNet::WEIGHTS;
        expected.mse(happened) + choice * by_choice + corrected * by_correction
    }
}
