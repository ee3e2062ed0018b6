//! Linear regression.

use vorpal_autodiff::ops::Triangular;
use vorpal_nn::{DType, Device, Module, Tensor};

/// Linear regression by least squares (Legendre 1805, Gauss 1809): a weighted sum of the features and a constant, for
/// `[rows, features]` to `[rows]`; features + 1 parameters.
///
/// It is trained by gradient descent as any model, or solved in closed form: by [`lstsq`](LinearRegression::lstsq) or
/// [`ridge`](LinearRegression::ridge). `vorpal train least_squares` does all three on ten measurements of the patients of
/// [`Rows::diabetes`](crate::data::Rows::diabetes) (11 parameters; goal: what gradient descent expects is nowhere further from
/// what the closed form does than a thousandth of the deviation of what is wanted).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::linear::LinearRegression;
/// let device = Device::cpu();
/// let x = Tensor::from_slice(&[0.0f32, 1.0, 2.0, 3.0], [4, 1], &device);
/// let line = LinearRegression::lstsq(&x, &(2.0 * x.squeeze(1) + 1.0));
/// assert!((line.weight.item::<f32>()? - 2.0).abs() < 1e-5 && (line.bias.item::<f32>()? - 1.0).abs() < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct LinearRegression {
    /// Weights `[features]`.
    pub weight: Tensor,
    /// The constant, a scalar.
    pub bias: Tensor,
}

impl LinearRegression {
    /// Weights of 0.
    pub fn new(features: usize, device: &Device) -> LinearRegression {
        LinearRegression {
            weight: Tensor::zeros([features], DType::F32, device),
            bias: Tensor::scalar(0.0, DType::F32, device),
        }
    }

    /// The weights with the smallest squared errors of `y`, `[rows]`, from `x`, `[rows, features]` of full rank, by QR
    /// factors of what is left of the features without their means.
    #[track_caller]
    pub fn lstsq(x: &Tensor, y: &Tensor) -> LinearRegression {
        centred(x, y, |x, y| x.lstsq(y))
    }

    /// The same with `alpha` times the squares of the weights added to the sum of squared errors (ridge regression, Hoerl
    /// & Kennard 1970; the constant is free), by the normal equations and a Cholesky factor. An `alpha` of 0 gives least
    /// squares; rounding then counts with the square of the [`condition_number`].
    #[track_caller]
    pub fn ridge(x: &Tensor, y: &Tensor, alpha: f64) -> LinearRegression {
        centred(x, y, |x, y| {
            let gram = x.t().matmul(x);
            let factor = (&gram + gram.full_like(alpha).diagonal(0, 0, 1).diag_embed(0)).cholesky();
            let lower = Triangular::default();
            let half = factor.triangular_solve(&x.t().matmul(y), lower);
            factor.triangular_solve(&half, Triangular { transposed: true, ..lower })
        })
    }

    /// What is expected of rows `[rows, features]`: `[rows]`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.matmul(&self.weight.unsqueeze(-1)).squeeze(-1) + &self.bias
    }
}

/// Solves without means, then gives the constant what they need.
fn centred(x: &Tensor, y: &Tensor, solve: impl Fn(&Tensor, &Tensor) -> Tensor) -> LinearRegression {
    let (x_mean, y_mean) = (x.mean([0]), y.mean([0]));
    let weight = solve(&(x - &x_mean), &(y - &y_mean).unsqueeze(-1)).squeeze(-1);
    let bias = y_mean - (x_mean * &weight).sum([0]);
    LinearRegression { weight, bias }
}

/// How much errors of `b` may grow in the solution of `x w = b`: the ratio of the largest and the smallest singular value of
/// a matrix `[rows, columns]` of full rank, by power iteration of `xᵀx` and of its inverse. In f32 it can be told up to
/// about 1000.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::linear::condition_number;
/// let x = Tensor::from_slice(&[3.0f32, 0.0, 0.0, 0.5], [2, 2], &Device::cpu());
/// assert!((condition_number(&x).item::<f32>()? - 6.0).abs() < 1e-4);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[track_caller]
pub fn condition_number(x: &Tensor) -> Tensor {
    let gram = x.t().matmul(x);
    // With traces of 1, so that powers neither vanish nor grow.
    let gram = &gram / gram.trace();
    let inverse = gram.inv();
    let trace = inverse.trace();
    (largest(&gram) * largest(&(&inverse / &trace)) * trace).sqrt()
}

/// The largest eigenvalue of a positive definite matrix whose trace is 1.
fn largest(matrix: &Tensor) -> Tensor {
    let power = matrix.matrix_power(16);
    // The column sums of the power are far from orthogonal to what is looked for.
    let mut direction = power.sum_keepdim([0]);
    for _ in 0..16 {
        let next = direction.matmul(&power);
        direction = &next / next.norm_keepdim(2.0, [1]);
    }
    (direction.matmul(matrix) * direction).sum_all()
}
