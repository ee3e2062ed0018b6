//! Functions of square matrices: trace, powers, the exponential.

use vorpal_tensor::At;

use super::{check_operand, unit_like};
use crate::Tensor;

/// Norm up to which the polynomial of the exponential is exact in f64: 0.7¹⁷ ∕ 17! is below its rounding.
const NORM_MAX: f64 = 0.7;
/// Halvings of the argument of the exponential; norms beyond 0.7 · 2¹² lose accuracy.
const HALVINGS: i32 = 12;

impl Tensor {
    /// The sums of the diagonals of square matrices in the last two axes.
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        let at = At::caller();
        match check_operand("trace", self, at) {
            Ok(()) => self.diagonal(0, -2, -1).sum(-1),
            Err(error) => Tensor::error(error),
        }
    }

    /// Powers of square matrices of f32 or f64 by repeated squaring (`torch.linalg.matrix_power`); a negative power is
    /// that of the inverse.
    #[track_caller]
    pub fn matrix_power(&self, power: i32) -> Tensor {
        let at = At::caller();
        if let Err(error) = check_operand("matrix_power", self, at) {
            return Tensor::error(error);
        }
        let mut square = if power < 0 { self.inv() } else { self.clone() };
        let (mut left, mut out) = (power.unsigned_abs(), None);
        while left > 0 {
            if left % 2 == 1 {
                out = Some(out.map_or_else(|| square.clone(), |so_far: Tensor| so_far.matmul(&square)));
            }
            left /= 2;
            if left > 0 {
                square = square.matmul(&square);
            }
        }
        out.unwrap_or_else(|| unit_like(self))
    }

    /// The exponentials of square matrices of f32 or f64 (`torch.linalg.matrix_exp`): Taylor's polynomial of degree 16
    /// (Paterson and Stockmeyer 1973) of A ∕ 2ˢ, squared s times, with s for each matrix the least that makes the norm
    /// small, 12 at most: matrices of norms beyond 2,800 lose accuracy. Accuracy is relative to the norm of the result.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let a = Tensor::from_slice(&[0.0f64, 1.0, 0.0, 0.0], [2, 2], &Device::cpu());
    /// assert_eq!(a.matrix_exp().to_vec::<f64>()?, [1.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn matrix_exp(&self) -> Tensor {
        let at = At::caller();
        if let Err(error) = check_operand("matrix_exp", self, at) {
            return Tensor::error(error);
        }
        if self.shape().numel() == 0 {
            return self.clone();
        }
        // The largest sum of a row is a norm. How often to halve is no smooth question.
        let norm = self.stop_gradient().abs().sum(-1).max(-1).unsqueeze(-1).unsqueeze(-1);
        let halve = |k: i32| norm.gt(norm.full_like(NORM_MAX * 2f64.powi(k)));
        let mut scale = norm.full_like(1.0);
        for k in 0..HALVINGS {
            scale = halve(k).select(scale.full_like(0.5f64.powi(k + 1)), scale);
        }
        let mut out = polynomial(&(self * scale));
        // Matrices that were halved s times are squared in the last s of these rounds.
        for k in (0..HALVINGS).rev() {
            let squared = out.matmul(&out);
            out = halve(k).select(squared, out);
        }
        out
    }
}

/// Σ xᵏ ∕ k! up to k = 16, as a polynomial in x⁴ of polynomials of degree 3.
fn polynomial(x: &Tensor) -> Tensor {
    let mut inverse = [1.0f64; 17];
    for k in 1..17 {
        inverse[k] = inverse[k - 1] / k as f64;
    }
    let unit = unit_like(x);
    let second = x.matmul(x);
    let third = second.matmul(x);
    let fourth = second.matmul(&second);
    let part = |k: usize| {
        &unit * inverse[k] + x * inverse[k + 1] + &second * inverse[k + 2] + &third * inverse[k + 3]
    };
    let mut out = part(12) + &fourth * inverse[16];
    for k in [8, 4, 0] {
        out = part(k) + fourth.matmul(&out);
    }
    out
}
