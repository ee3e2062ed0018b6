//! Activations and other composites of pointwise functions: the compiler fuses them.
//!
//! Those whose derivative needs more than their argument compute it again: what is between is cheaper to make than to keep,
//! which takes a pass through memory for each value to write it and another to read it.

use vorpal_tensor::DType;

use super::{ADD, CLAMP_MAX, MUL};
use crate::Tensor;
use crate::checkpoint;

impl Tensor {
    /// x · sigmoid(x), also called swish (Elfwing et al. 2017).
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        checkpoint(self, |x| x * x.sigmoid())
    }

    /// x · Φ(x) with the normal distribution function Φ (Hendrycks & Gimpel 2016).
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        checkpoint(self, |x| {
            let erf = x.with_constant(&MUL, std::f64::consts::FRAC_1_SQRT_2).erf();
            x.with_constant(&MUL, 0.5) * erf.with_constant(&ADD, 1.0)
        })
    }

    /// The tanh approximation of [`gelu`](Tensor::gelu), as in GPT-2.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        checkpoint(self, |x| {
            let cubed = (x * x * x).with_constant(&MUL, 0.044_715);
            let inner = (x + cubed).with_constant(&MUL, (2.0 / std::f64::consts::PI).sqrt());
            x.with_constant(&MUL, 0.5) * inner.tanh().with_constant(&ADD, 1.0)
        })
    }

    /// log(sigmoid(x)), without overflow.
    #[track_caller]
    pub fn log_sigmoid(&self) -> Tensor {
        -((-self).softplus())
    }

    /// x ∕ (1 + |x|).
    #[track_caller]
    pub fn softsign(&self) -> Tensor {
        self / self.abs().with_constant(&ADD, 1.0)
    }

    /// x · tanh(softplus(x)) (Misra 2019).
    #[track_caller]
    pub fn mish(&self) -> Tensor {
        checkpoint(self, |x| x * x.softplus().tanh())
    }

    /// x above 0, `alpha` (eˣ − 1) below (Clevert, Unterthiner, Hochreiter 2016).
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        self.above_zero_or(|low| low.expm1().with_constant(&MUL, alpha))
    }

    /// x above 0, `alpha` (exp(x ∕ `alpha`) − 1) below (Barron 2017).
    #[track_caller]
    pub fn celu(&self, alpha: f64) -> Tensor {
        self.above_zero_or(|low| low.with_constant(&MUL, 1.0 / alpha).expm1().with_constant(&MUL, alpha))
    }

    /// The ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017).
    #[track_caller]
    pub fn selu(&self) -> Tensor {
        self.elu(1.673_263_242_354_377_2).with_constant(&MUL, 1.050_700_987_355_480_5)
    }

    /// x above 0, `slope` · x below.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        self.above_zero_or(|low| low.with_constant(&MUL, slope))
    }

    /// x above 0, else `f` of what is not above: numbers above never reach `f`, whose overflow would spoil the
    /// derivative.
    #[track_caller]
    fn above_zero_or(&self, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        let zero = self.full_like(0.0);
        let above = self.gt(&zero);
        above.select(self, f(&self.with_constant(&CLAMP_MAX, 0.0)))
    }

    /// Elements limited to `low..=high`, with derivative 0 from the limits on, as PyTorch's `hardtanh`.
    #[track_caller]
    pub fn hardtanh(&self, low: f64, high: f64) -> Tensor {
        let (low, high) = (self.full_like(low), self.full_like(high));
        self.le(&low).select(&low, self.ge(&high).select(&high, self))
    }

    /// min(max(x, 0), 6).
    #[track_caller]
    pub fn relu6(&self) -> Tensor {
        self.hardtanh(0.0, 6.0)
    }

    /// min(max(x + 3, 0), 6) ∕ 6, a sigmoid made of straight lines (Howard et al. 2019).
    #[track_caller]
    pub fn hardsigmoid(&self) -> Tensor {
        self.with_constant(&ADD, 3.0).relu6().with_constant(&MUL, 1.0 / 6.0)
    }

    /// x · hardsigmoid(x) (Howard et al. 2019).
    #[track_caller]
    pub fn hardswish(&self) -> Tensor {
        self * self.hardsigmoid()
    }

    /// x above `limit`, else `value`.
    #[track_caller]
    pub fn threshold(&self, limit: f64, value: f64) -> Tensor {
        self.gt(self.full_like(limit)).select(self, self.full_like(value))
    }

    /// `nan` in place of NaN, `highest` of ∞ and `lowest` of −∞; `None` is the largest finite number of the dtype, and
    /// its negative. Integers stay what they are.
    #[track_caller]
    pub fn nan_to_num(&self, nan: f64, highest: Option<f64>, lowest: Option<f64>) -> Tensor {
        let largest = match self.dtype() {
            DType::F64 => f64::MAX,
            DType::F32 => f64::from(f32::MAX),
            DType::F16 => f64::from(half::f16::MAX),
            DType::BF16 => f64::from(half::bf16::MAX),
            _ => return self.clone(),
        };
        let full = |value: f64| self.full_like(value);
        let end =
            self.gt(full(0.0)).select(full(highest.unwrap_or(largest)), full(lowest.unwrap_or(-largest)));
        self.is_nan().select(full(nan), self.is_inf().select(end, self))
    }
}
