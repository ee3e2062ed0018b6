//! Diagonal state space models.

use std::f64::consts::PI;

use vorpal_autodiff::ops::ConvolveMode;
use vorpal_nn::{DType, Device, Module, Tensor, init};

use super::complex::{Pair, both, exp, times};
use super::{StateSpace, TimeLayer};

/// One layer of an [`S4d`]: every channel runs through a linear system x' = A x + B u, y = Re(C x) + D u of `states` complex
/// numbers that do not touch one another, B = 1, held still for a step of time Δ of its own.
///
/// It begins as S4D-Lin: A = −½ + iπn, Δ from 0.001 to 0.1. [`forward`](S4dLayer::forward) is a convolution with the
/// answer to one pulse, [`step`](S4dLayer::step) the same thing step by step.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::S4dLayer;
/// let device = Device::cpu();
/// let x = Tensor::ones([2, 3, 10], DType::F32, &device);
/// assert_eq!(S4dLayer::new(3, 4, &device).forward(&x).shape(), [2, 3, 10].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct S4dLayer {
    log_dt: Tensor,
    log_a_real: Tensor,
    a_imag: Tensor,
    c_real: Tensor,
    c_imag: Tensor,
    d: Tensor,
}

impl S4dLayer {
    /// For `channels` channels, each with so many `states`.
    pub fn new(channels: usize, states: usize, device: &Device) -> S4dLayer {
        let (low, high) = (0.001f64.ln(), 0.1f64.ln());
        let frequencies = Tensor::iota([channels, states], 1, DType::F32, device) * PI;
        S4dLayer {
            log_dt: Tensor::rand([channels], DType::F32, device) * (high - low) + low,
            log_a_real: init::constant([channels, states], 0.5f32.ln(), device),
            a_imag: frequencies,
            c_real: init::normal([channels, states], 0.5f64.sqrt(), device),
            c_imag: init::normal([channels, states], 0.5f64.sqrt(), device),
            d: init::normal([channels], 1.0, device),
        }
    }

    /// ΔA, and 2 C B̄ of the system in steps: `[channels, states]` each.
    #[track_caller]
    fn system(&self) -> (Pair, Pair) {
        let a = [-self.log_a_real.exp(), self.a_imag.clone()];
        let step = self.log_dt.exp().unsqueeze(-1);
        let da = both(&a, |part| part * &step);
        // B̄ = (e^ΔA − 1) ∕ A.
        let [re, im] = exp(&da);
        let size = a[0].square() + a[1].square();
        let over = times(&[re - 1.0, im], &[a[0].clone(), -&a[1]]);
        let held = both(&over, |part| part / &size);
        let c = [self.c_real.clone(), self.c_imag.clone()];
        (da, both(&times(&c, &held), |part| part * 2.0))
    }

    /// Answers `[channels, length]` to one pulse.
    #[track_caller]
    pub fn kernel(&self, length: usize) -> Tensor {
        let (da, c) = self.system();
        let Ok(device) = self.d.device() else { return self.d.clone() };
        let time = Tensor::arange(length, DType::F32, &device);
        let [re, im] = exp(&both(&da, |part| part.unsqueeze(-1) * &time));
        (c[0].unsqueeze(-1) * re - c[1].unsqueeze(-1) * im).sum(1)
    }

    /// `[batch, channels, length]` to the same, as a [convolution](Tensor::convolve).
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let length = x.shape().last().copied().unwrap_or(0);
        x.convolve(&self.kernel(length), ConvolveMode::Causal) + x * self.d.unsqueeze(-1)
    }

    /// One step: `[batch, channels]` to the same, and the state, real and imaginary parts `[batch, channels, states]`, from
    /// that before, or from zeros.
    #[track_caller]
    pub fn step(&self, x: &Tensor, state: Option<&[Tensor; 2]>) -> (Tensor, [Tensor; 2]) {
        let (da, c) = self.system();
        let inputs = x.unsqueeze(-1);
        let state = match state {
            Some(state) => {
                let [re, im] = times(state, &exp(&da));
                [re + inputs, im]
            }
            None => [&inputs + da[0].full_like(0.0), &inputs * da[1].full_like(0.0)],
        };
        let y = (&state[0] * &c[0] - &state[1] * &c[1]).sum(-1) + x * &self.d;
        (y, state)
    }
}

impl TimeLayer for S4dLayer {
    fn build(width: usize, states: usize, device: &Device) -> S4dLayer {
        S4dLayer::new(width, states, device)
    }

    fn along(&self, x: &Tensor) -> Tensor {
        self.forward(&x.transpose(1, 2)).transpose(1, 2)
    }
}

/// A diagonal state space model (Gu, Gupta, Goel, Ré 2022): a [`StateSpace`] of [`S4dLayer`]s, parallel in time by convolutions
/// as long as the sequence.
///
/// `vorpal train s4d` reads handwritten digits of 14 × 14 pixels, one pixel after the other (8,970 parameters; goal: a test
/// accuracy of 0.93).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::{S4d, StateSpaceOptions};
/// let device = Device::cpu();
/// let options = StateSpaceOptions { inputs: 1, width: 8, states: 4, layers: 2, outputs: 10 };
/// let x = Tensor::ones([2, 12, 1], DType::F32, &device);
/// assert_eq!(S4d::new(options, &device).forward(&x).shape(), [2, 10].into());
/// ```
pub type S4d = StateSpace<S4dLayer>;
