//! Second moments of matrices as products of rows and columns.

use vorpal_autodiff::{DType, Shape, Tensor};

use super::{Optim, Slot, Step, UpdateRule, decayed};

/// Options of [`Adafactor`].
#[derive(Clone, Debug)]
pub struct AdafactorOptions {
    /// The mean of squares of step t takes a share of t to this power of the new squares.
    pub beta2_decay: f64,
    /// The root of the least second moment (the precision of the dtype where there is none), and the least size that
    /// parameters count with.
    pub eps: (Option<f64>, f64),
    /// The largest root mean square of a step, before the step size.
    pub d: f64,
    /// Share of the parameters that is taken away.
    pub weight_decay: f64,
}

impl Default for AdafactorOptions {
    fn default() -> AdafactorOptions {
        AdafactorOptions { beta2_decay: -0.8, eps: (None, 1e-3), d: 1.0, weight_decay: 0.0 }
    }
}

/// Adam without a first moment, and with a second moment that takes n + m numbers for n × m parameters (Shazeer &
/// Stern 2018). PyTorch's `Adafactor`; its usual step size is 0.01.
///
/// ```
/// use vorpal_nn::{Adafactor, DType, Device, Optimizer, Shape, Tensor};
/// let (optimizer, weight) = (Adafactor::new(1e-2), Tensor::zeros([3, 5], DType::F32, &Device::cpu()));
/// let shapes: Vec<_> = optimizer.slots("weight", &weight).into_iter().map(|slot| slot.shape).collect();
/// assert_eq!(shapes, [Shape::from([3, 1]), Shape::from([1, 5])]);
/// ```
pub type Adafactor = Optim<AdafactorOptions>;

/// The distance from 1 to the next number.
fn precision(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 9.765_625e-4,
        DType::BF16 => 7.812_5e-3,
        _ => f64::from(f32::EPSILON),
    }
}

/// The shape with one of its two last axes, counted from the end, reduced to 1.
fn without(shape: &Shape, back: usize) -> Shape {
    let reduced = shape.rank() - back;
    shape.iter().enumerate().map(|(axis, &n)| if axis == reduced { 1 } else { n }).collect()
}

/// The root of the mean square of all elements.
fn root_mean_square(x: &Tensor) -> Tensor {
    x.square().mean_all().sqrt()
}

impl UpdateRule for AdafactorOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        let shape = parameter.shape();
        if shape.rank() < 2 {
            return vec![Slot::like("variance", parameter)];
        }
        let slot = |name, back| Slot::shaped(name, without(&shape, back), parameter);
        vec![slot("row_var", 1), slot("col_var", 2)]
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let least = self.eps.0.unwrap_or_else(|| precision(parameter.dtype()));
        let number = step.number as f64;
        let keep = 1.0 - number.powf(self.beta2_decay);
        let square = grad.square();
        let estimate = match state {
            [rows, columns] => {
                *rows = &*rows * keep + square.mean_keepdim(-1) * (1.0 - keep);
                *columns = &*columns * keep + square.mean_keepdim(-2) * (1.0 - keep);
                &*rows * &*columns / rows.mean_keepdim(-2).clamp_min(least)
            }
            [all] => {
                *all = &*all * keep + square * (1.0 - keep);
                all.clone()
            }
            _ => return parameter.clone(),
        };
        let direction = grad * estimate.clamp_min(least * least).rsqrt();
        let size = root_mean_square(parameter).clamp_min(self.eps.1);
        let rate = size * step.rate.min(1.0 / number.sqrt());
        let excess = (root_mean_square(&direction) * (1.0 / self.d)).clamp_min(1.0);
        decayed(parameter, step) - direction * (rate / excess)
    }
}
