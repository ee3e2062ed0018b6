//! Which dtypes a computation uses where.

use vorpal_tensor::DType;

use crate::{Tensor, Tree};

/// A policy of mixed precision (Micikevicius et al. 2018): parameters are kept in one dtype, computed with in a
/// shorter one, and results are widened before the loss.
///
/// The casts are part of the graph. Derivatives go back through them: gradients come in the dtype that the parameters
/// are kept in. Sums, softmax, norms and matrix products accumulate in f32 whatever the dtype of their operands.
/// Gradients of `F16` that would be smaller than 6e-8 vanish: multiply the loss by a constant and divide the gradients
/// by it, or take `BF16`, whose range is that of f32.
///
/// ```
/// # use vorpal_autodiff::{DType, Device, Precision, Tensor, value_and_grad};
/// let policy = Precision::mixed(DType::BF16);
/// let weight = Tensor::from_slice(&[0.5f32, -0.25], [2, 1], &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [1, 2], &Device::cpu());
/// let (loss, grad) = value_and_grad(&weight, |w| {
///     let (w, x) = (policy.cast(w), policy.cast(&x));
///     policy.widen(&x.matmul(&w)).square().sum_all()
/// })?;
/// assert_eq!((loss.dtype(), grad.dtype()), (DType::F32, DType::F32));
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// What parameters and their gradients are kept in.
    pub params: DType,
    /// What layers compute in: their parameters, inputs and activations.
    pub compute: DType,
    /// What losses and other reductions take and give.
    pub reductions: DType,
}

impl Precision {
    /// Everything in f32.
    pub const FULL: Precision = Precision::mixed(DType::F32);

    /// Parameters and reductions in f32, the rest in `compute`: `F16`, `BF16` or `F32`.
    pub const fn mixed(compute: DType) -> Precision {
        Precision { params: DType::F32, compute, reductions: DType::F32 }
    }

    /// Floats of a structure (a model, a batch) in the dtype to compute in; integers and truth values as they are.
    #[must_use]
    pub fn cast<T: Tree>(&self, tree: &T) -> T {
        floats_in(tree, self.compute)
    }

    /// Floats of a structure (logits, activations) in the dtype of reductions.
    #[must_use]
    pub fn widen<T: Tree>(&self, tree: &T) -> T {
        floats_in(tree, self.reductions)
    }

    /// Floats of a structure in the dtype that parameters are kept in.
    #[must_use]
    pub fn store<T: Tree>(&self, tree: &T) -> T {
        floats_in(tree, self.params)
    }
}

fn floats_in<T: Tree>(tree: &T, dtype: DType) -> T {
    let cast = |x: &Tensor| if x.dtype().is_float() { x.cast(dtype) } else { x.clone() };
    tree.map(&mut |x| cast(x))
}
