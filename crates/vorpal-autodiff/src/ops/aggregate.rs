//! Reductions made of others: products, truth over axes, deviations, norms of vectors.

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Error, Shape};

use super::pointwise::{MAXIMUM, POW};
use super::{Axes, dtype_error};
use crate::Tensor;

impl Tensor {
    /// Product over axes, which disappear. 1 of nothing. Derivatives are right where elements are zero, too.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// assert_eq!(x.prod(0).to_vec::<f32>()?, [3.0, 8.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn prod(&self, axes: impl Into<Axes>) -> Tensor {
        let at = At::caller();
        let axes = match axes.into().resolve(self, "prod", at) {
            Ok(axes) => axes,
            Err(error) => return Tensor::error(error),
        };
        if self.dtype() == DType::Bool {
            let message = "needs numbers, found bool; cast it first";
            return Tensor::error(dtype_error("prod", message, &[self], at));
        }
        let shape = self.shape();
        let kept: SmallVec<[usize; 6]> = (0..shape.rank()).filter(|k| !axes.contains(k)).collect();
        let order: SmallVec<[isize; 6]> = kept.iter().chain(&axes).map(|&k| k as isize).collect();
        let out: Shape = kept.iter().map(|&k| shape[k]).collect();
        let mut len = axes.iter().map(|&k| shape[k]).product::<usize>();
        let rows: Shape = out.iter().copied().chain([len]).collect();
        // 16-bit floats are multiplied in f32 and rounded once; bytes, as in sums, in 32 bits.
        let dtype = match self.dtype() {
            DType::I8 => DType::I32,
            DType::U8 => DType::U32,
            other => other,
        };
        let mut x = self.cast(dtype.compute()).permute(&order[..]).reshape(rows);
        if len == 0 {
            return match self.device() {
                Ok(device) => Tensor::full(out, 1.0, dtype, &device),
                Err(error) => Tensor::error(error),
            };
        }
        // Halves multiplied until one is left: no division, so zeros need no care, in any derivative.
        while len > 1 {
            let half = len.div_ceil(2);
            let rest = x.narrow(-1, half, len - half).pad(-1, 0, 2 * half - len, 1.0);
            x = x.narrow(-1, 0, half) * rest;
            len = half;
        }
        x.reshape(out).cast(dtype)
    }

    /// Whether any element over axes, which disappear, is true or not 0. False of nothing.
    #[track_caller]
    pub fn any(&self, axes: impl Into<Axes>) -> Tensor {
        self.cast(DType::Bool).cast(DType::U32).max(axes).cast(DType::Bool)
    }

    /// Whether all elements over axes, which disappear, are true or not 0. True of nothing.
    #[track_caller]
    pub fn all(&self, axes: impl Into<Axes>) -> Tensor {
        self.cast(DType::Bool).cast(DType::U32).min(axes).cast(DType::Bool)
    }

    /// Number (`I32`) of elements over axes, which disappear, that are true or not 0.
    #[track_caller]
    pub fn count_nonzero(&self, axes: impl Into<Axes>) -> Tensor {
        self.cast(DType::Bool).cast(DType::I32).sum(axes)
    }

    /// Standard deviation over axes, which disappear: the root of [`var`](Tensor::var).
    #[track_caller]
    pub fn std(&self, axes: impl Into<Axes>, correction: usize) -> Tensor {
        self.var(axes, correction).sqrt()
    }

    /// The p-norm (Σ |x|ᵖ)^(1 ∕ p) over axes, which disappear, as `torch.linalg.vector_norm`. With `p` = ∞ the largest
    /// and −∞ the smallest magnitude, with 0 the number of elements that are not 0. Derivatives at 0 are 0.
    ///
    /// Carries [`Error::DType`] unless elements are floats, [`Error::Argument`] when `p` is NaN.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, -4.0], [2], &Device::cpu());
    /// assert_eq!(x.norm(2.0, 0).item::<f32>()?, 5.0);
    /// assert_eq!(x.norm(f64::INFINITY, 0).item::<f32>()?, 4.0);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn norm(&self, p: f64, axes: impl Into<Axes>) -> Tensor {
        let (axes, at) = (axes.into(), At::caller());
        let kept = self.norm_keepdim(p, axes.clone());
        match axes.resolve(self, "norm", at) {
            Ok(axes) => {
                let shape = self.shape();
                let out: Shape = (0..shape.rank()).filter(|k| !axes.contains(k)).map(|k| shape[k]).collect();
                kept.reshape(out)
            }
            Err(error) => Tensor::error(error),
        }
    }

    /// As [`norm`](Tensor::norm); axes keep size 1.
    #[track_caller]
    pub fn norm_keepdim(&self, p: f64, axes: impl Into<Axes>) -> Tensor {
        let (axes, at) = (axes.into(), At::caller());
        if let Err(error) = axes.resolve(self, "norm", at) {
            return Tensor::error(error);
        }
        if !self.dtype().is_float() {
            let message = format!("needs floats, found {}", self.dtype());
            return Tensor::error(dtype_error("norm", message, &[self], at));
        }
        if p.is_nan() {
            return Tensor::error(Error::Argument { op: "norm", message: "p is NaN".into(), at });
        }
        if p == 0.0 {
            return self.cast(DType::Bool).cast(self.dtype()).sum_keepdim(axes);
        }
        let magnitude = self.abs();
        if p.is_infinite() {
            return if p > 0.0 { magnitude.max_keepdim(axes) } else { -(-magnitude).max_keepdim(axes) };
        }
        if p == 1.0 {
            return magnitude.sum_keepdim(axes);
        }
        // Powers and roots have no derivative at 0: they see 1 there, and the result is 0.
        if p == 2.0 {
            return away_from_zero(&self.square().sum_keepdim(axes), |x| x.sqrt());
        }
        if p < 0.0 {
            return magnitude.with_constant(&POW, p).sum_keepdim(axes).with_constant(&POW, 1.0 / p);
        }
        let powers = away_from_zero(&magnitude, |x| x.with_constant(&POW, p));
        away_from_zero(&powers.sum_keepdim(axes), |x| x.with_constant(&POW, 1.0 / p))
    }

    /// Vectors along axes divided by their Euclidean norm or by `eps`, whichever is larger, as
    /// `torch.nn.functional.normalize`.
    #[track_caller]
    pub fn normalize_l2(&self, axes: impl Into<Axes>, eps: f64) -> Tensor {
        let norm = self.norm_keepdim(2.0, axes);
        self / norm.with_constant(&MAXIMUM, eps)
    }

    /// e⁻ˣ ∕ Σ e⁻ˣ along an axis.
    #[track_caller]
    pub fn softmin(&self, axis: isize) -> Tensor {
        (-self).softmax(axis)
    }
}

/// `f` of every element but zeros, which stay zero with derivative zero.
#[track_caller]
pub(super) fn away_from_zero(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let zero = x.eq(x.full_like(0.0));
    zero.select(x.full_like(0.0), f(&zero.select(x.full_like(1.0), x)))
}
