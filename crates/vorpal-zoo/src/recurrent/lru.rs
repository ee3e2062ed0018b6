//! Linear recurrent units.

use std::f64::consts::PI;

use vorpal_nn::{DType, Device, Module, Tensor, init};

use super::complex::{Pair, both, exp, times};
use super::{StateSpace, TimeLayer};

/// One linear recurrent unit: hₜ = λ hₜ₋₁ + γ B xₜ, yₜ = Re(C hₜ) + D xₜ, all but D complex, |λ| below 1 whatever is
/// learned: λ = exp(−e^ν + i e^θ). Magnitudes begin between 0.9 and 0.999.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::LruLayer;
/// let device = Device::cpu();
/// let x = Tensor::ones([2, 10, 3], DType::F32, &device);
/// assert_eq!(LruLayer::new(3, 4, &device).forward(&x).shape(), [2, 10, 3].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct LruLayer {
    nu_log: Tensor,
    theta_log: Tensor,
    gamma_log: Tensor,
    b_real: Tensor,
    b_imag: Tensor,
    c_real: Tensor,
    c_imag: Tensor,
    d: Tensor,
}

impl LruLayer {
    /// For `width` channels and so many `states`.
    pub fn new(width: usize, states: usize, device: &Device) -> LruLayer {
        let (low, high) = (0.9f64.powi(2), 0.999f64.powi(2));
        let draw = || Tensor::rand([states], DType::F32, device);
        let nu_log = ((draw() * (high - low) + low).log() * -0.5).log();
        // No phase is 0, whose logarithm there is not.
        let theta_log = (draw() * (PI / 10.0) + 1e-4).log();
        let size: Tensor = (-nu_log.exp()).exp();
        let normal =
            |shape: [usize; 2], of: usize| init::normal(shape, (0.5 / of.max(1) as f64).sqrt(), device);
        LruLayer {
            gamma_log: (-size.square()).log1p() * 0.5,
            nu_log,
            theta_log,
            b_real: normal([states, width], width),
            b_imag: normal([states, width], width),
            c_real: normal([width, states], states),
            c_imag: normal([width, states], states),
            d: init::normal([width], 1.0, device),
        }
    }

    /// λ, `[states]`.
    #[track_caller]
    fn lambda(&self) -> Pair {
        exp(&[-self.nu_log.exp(), self.theta_log.exp()])
    }

    /// γ B x, `[…, states]` of `[…, width]`.
    #[track_caller]
    fn inputs(&self, x: &Tensor) -> Pair {
        let gamma = self.gamma_log.exp();
        [&self.b_real, &self.b_imag].map(|part| x.matmul(&part.t()) * &gamma)
    }

    #[track_caller]
    fn outputs(&self, x: &Tensor, [re, im]: &Pair) -> Tensor {
        re.matmul(&self.c_real.t()) - im.matmul(&self.c_imag.t()) + x * &self.d
    }

    /// `[batch, length, width]` to the same, by scans that are parallel in time: seen from a frame that turns along with λ, all
    /// there is to a step is |λ|, so that real and imaginary parts go their own ways.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let &[_, length, _] = x.shape().dims() else { return x.clone() };
        let Ok(device) = x.device() else { return x.clone() };
        let time = Tensor::arange(length, DType::F32, &device).unsqueeze(-1);
        let angle = time * self.theta_log.exp();
        let (cos, sin) = (angle.cos(), angle.sin());
        let inputs = times(&self.inputs(x), &[cos.clone(), -&sin]);
        let size = (-self.nu_log.exp()).exp().broadcast_to(inputs[0].shape());
        let turned = both(&inputs, |part| Tensor::linear_scan(&size, part, None, 1, false));
        self.outputs(x, &times(&turned, &[cos, sin]))
    }

    /// One step: `[batch, width]` to the same, and the state, real and imaginary parts `[batch, states]`, from that before,
    /// or from zeros.
    #[track_caller]
    pub fn step(&self, x: &Tensor, state: Option<&[Tensor; 2]>) -> (Tensor, [Tensor; 2]) {
        let mut now = self.inputs(x);
        if let Some(state) = state {
            let [re, im] = times(state, &self.lambda());
            now = [re + &now[0], im + &now[1]];
        }
        (self.outputs(x, &now), now)
    }
}

impl TimeLayer for LruLayer {
    fn build(width: usize, states: usize, device: &Device) -> LruLayer {
        LruLayer::new(width, states, device)
    }

    fn along(&self, x: &Tensor) -> Tensor {
        self.forward(x)
    }
}

/// A network of linear recurrent units (Orvieto et al. 2023): a [`StateSpace`] of [`LruLayer`]s.
///
/// `vorpal train lru` reads handwritten digits of 14 × 14 pixels, one pixel after the other (13,194 parameters; goal: a test
/// accuracy of 0.93).
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::recurrent::{Lru, StateSpaceOptions};
/// let device = Device::cpu();
/// let options = StateSpaceOptions { inputs: 2, width: 8, states: 4, layers: 2, outputs: 1 };
/// let x = Tensor::ones([3, 12, 2], DType::F32, &device);
/// assert_eq!(Lru::new(options, &device).forward(&x).shape(), [3, 1].into());
/// ```
pub type Lru = StateSpace<LruLayer>;
