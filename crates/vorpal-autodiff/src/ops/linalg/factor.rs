//! Factorisations: Cholesky, LU, QR.

use vorpal_kernels::{Cholesky as CholeskyKernel, Lu as LuKernel, MatrixShape, QrFactor, QrForm};
use vorpal_tensor::{At, Error, Result, Shape};

use super::solve::{Triangular, place_of, triangular};
use super::with_matrix;
use super::{chain, check_matrices, check_operand, check_size, check_square, is_native, matrices};
use crate::compile::ir::{Builder, NodeId};
use crate::ops::shape_error;
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

#[derive(Debug)]
struct Cholesky;

impl Op for Cholesky {
    fn name(&self) -> &'static str {
        "cholesky"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        check_matrices(inputs)?;
        check_square(&inputs[0])?;
        Ok(inputs[0].clone())
    }

    /// Murray 2016, "Differentiation of the Cholesky decomposition": L⁻ᵀ Φ(Lᵀ L̄) L⁻¹, made symmetric.
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let (l, grad) = (v.output, v.grad.tril(0));
        let product = l.t().matmul(&grad);
        let phi = (product.tril(0) + product.tril(-1)) * 0.5;
        let transposed = Triangular { transposed: true, ..Triangular::default() };
        let solve = |b: &Tensor| triangular("cholesky", l, b, transposed, place_of(l));
        let both = solve(&solve(&phi).t());
        vec![Some((&both + both.t()) * 0.5)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Cholesky)
    }

    fn attributes(&self, _: &mut Key) {}

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let result = Spec::new(cx.shape(x[0]).clone(), cx.dtype(x[0]));
        let (base, offset) = cx.dense(x[0]);
        let launches = CholeskyKernel::launches(matrices(&result.shape), result.dtype, offset, is_native(cx));
        Ok(chain(cx, launches, base, &result, |state| vec![state]))
    }
}

/// Both factors in one matrix, and the permutation of the rows (see [`LuKernel`]). What is made of it brings the
/// derivative along.
#[derive(Debug)]
struct Lu;

impl Op for Lu {
    fn name(&self) -> &'static str {
        "lu"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        check_matrices(inputs)?;
        check_square(&inputs[0])?;
        let n = matrices(&inputs[0].shape).rows;
        Ok(Spec::new(with_matrix(&inputs[0].shape, n + LuKernel::ROWS_MORE, n), inputs[0].dtype))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Lu)
    }

    fn attributes(&self, _: &mut Key) {}

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let shape = matrices(cx.shape(x[0]));
        let packed = with_matrix(cx.shape(x[0]), shape.rows + LuKernel::ROWS_MORE, shape.rows);
        let result = Spec::new(packed, cx.dtype(x[0]));
        let (base, offset) = cx.dense(x[0]);
        let launches = LuKernel::launches(shape, result.dtype, offset, is_native(cx));
        Ok(chain(cx, launches, base, &result, |state| vec![state]))
    }
}

/// The packed LU factors of square matrices, constant to derivatives.
pub(super) fn lu(a: &Tensor, at: At) -> Tensor {
    Tensor::apply(Lu, &[a], at)
}

/// The reflections of a QR factorisation (see [`QrFactor`]). What is made of them brings the derivative along.
#[derive(Debug)]
struct Reflections;

impl Op for Reflections {
    fn name(&self) -> &'static str {
        "qr"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        check_matrices(inputs)?;
        let (shape, one) = (&inputs[0].shape, matrices(&inputs[0].shape));
        let packed: Shape =
            shape[..shape.rank() - 2].iter().copied().chain([QrFactor::result(one)]).collect();
        Ok(Spec::new(packed, inputs[0].dtype))
    }

    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Reflections)
    }

    fn attributes(&self, _: &mut Key) {}

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let shape = cx.shape(x[0]).clone();
        let one = matrices(&shape);
        let packed: Shape =
            shape[..shape.rank() - 2].iter().copied().chain([QrFactor::result(one)]).collect();
        let result = Spec::new(packed, cx.dtype(x[0]));
        let (base, offset) = cx.dense(x[0]);
        let launches = QrFactor::launches(one, result.dtype, offset, is_native(cx));
        Ok(chain(cx, launches, base, &result, |state| vec![state]))
    }
}

/// Which columns of Q and rows of R a QR factorisation has, for matrices of m × n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QrMode {
    /// The first min(m, n).
    #[default]
    Reduced,
    /// All m.
    Complete,
}

impl QrMode {
    fn width(self, shape: MatrixShape) -> usize {
        match self {
            QrMode::Reduced => shape.reflections(),
            QrMode::Complete => shape.rows,
        }
    }
}

/// One of the factors. Operands: the matrices, their reflections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Factor {
    Q(QrMode),
    /// With other numbers left of the diagonal.
    R(QrMode),
}

impl Factor {
    fn mode(self) -> QrMode {
        let (Factor::Q(mode) | Factor::R(mode)) = self;
        mode
    }

    fn result(self, shape: &Shape) -> Shape {
        let one = matrices(shape);
        let width = self.mode().width(one);
        match self {
            Factor::Q(_) => with_matrix(shape, one.rows, width),
            Factor::R(_) => with_matrix(shape, width, one.columns),
        }
    }
}

impl Op for Factor {
    fn name(&self) -> &'static str {
        match self {
            Factor::Q(_) => "qr_q",
            Factor::R(_) => "qr_r",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(self.result(&inputs[0].shape), inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let at = place_of(v.output);
        let cotangent = match self {
            Factor::Q(mode) => pull_back(&v.inputs[0], &v.inputs[1], *mode, Some(v.grad), None, at),
            Factor::R(mode) => pull_back(&v.inputs[0], &v.inputs[1], *mode, None, Some(v.grad), at),
        };
        vec![Some(cotangent), None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(self.mode() as usize);
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let shape = cx.shape(x[0]).clone();
        let one = matrices(&shape);
        let result = Spec::new(self.result(&shape), cx.dtype(x[0]));
        match self {
            Factor::R(mode) => {
                let last = shape.rank() - 2;
                let len = mode.width(one) * one.columns;
                let rows = cx.view(x[1], |l| Some(l.slice(last, 0, len, 1)))?;
                cx.view(rows, |l| l.reshape(&result.shape))
            }
            Factor::Q(mode) => {
                let (packed, offset) = cx.dense(x[1]);
                let launches = QrForm::launches(one, mode.width(one), result.dtype, offset, is_native(cx));
                Ok(chain(cx, launches, packed, &result, |state| vec![packed, state]))
            }
        }
    }
}

/// Q and R from matrices and their reflections.
fn factors(a: &Tensor, reflections: &Tensor, mode: QrMode, at: At) -> (Tensor, Tensor) {
    let q = Tensor::apply(Factor::Q(mode), &[a, reflections], at);
    let r = Tensor::apply(Factor::R(mode), &[a, reflections], at);
    (q, r.triu(0))
}

/// The cotangent of A = Q R for those of Q and R: Walter and Lehmann 2010, "Algorithmic differentiation of linear algebra
/// functions", and for more columns than rows Roberts and Roberts 2020, "QR and LQ decomposition matrix
/// backpropagation algorithms".
fn pull_back(
    a: &Tensor,
    reflections: &Tensor,
    mode: QrMode,
    to_q: Option<&Tensor>,
    to_r: Option<&Tensor>,
    at: At,
) -> Tensor {
    let one = matrices(&a.shape());
    if mode == QrMode::Complete && one.rows > one.columns {
        let message = format!(
            "the complete factorisation of {}×{} has no derivative: its last columns are not determined",
            one.rows, one.columns
        );
        return Tensor::error(Error::Argument { op: "qr", message, at });
    }
    let (q, r) = factors(a, reflections, QrMode::Reduced, at);
    let to_r = to_r.map(|g| g.triu(0));
    if one.rows >= one.columns {
        return pull_back_tall(&q, &r, to_q, to_r.as_ref(), at);
    }
    // A = [X Y] and R = [U V] with X = Q U and V = Qᵀ Y.
    let m = one.rows as isize;
    let (y, u) = (a.slice(-1, m..), r.slice(-1, ..m));
    let to_u = to_r.as_ref().map(|g| g.slice(-1, ..m));
    let to_v = to_r.as_ref().map(|g| g.slice(-1, m..));
    let through_v = to_v.as_ref().map(|g| y.matmul(&g.t()));
    let to_q = match (to_q, through_v) {
        (Some(a), Some(b)) => Some(a + b),
        (Some(a), None) => Some(a.clone()),
        (None, b) => b,
    };
    let to_x = pull_back_tall(&q, &u, to_q.as_ref(), to_u.as_ref(), at);
    let to_y = to_v.map_or_else(|| y.full_like(0.0), |g| q.matmul(&g));
    Tensor::concat(&[&to_x, &to_y], -1)
}

/// (Q̄ + Q S) R⁻ᵀ with S the symmetric matrix that has the lower triangle of R R̄ᵀ − Q̄ᵀ Q.
fn pull_back_tall(q: &Tensor, r: &Tensor, to_q: Option<&Tensor>, to_r: Option<&Tensor>, at: At) -> Tensor {
    let from_r = to_r.map(|g| r.matmul(&g.t()));
    let from_q = to_q.map(|g| g.t().matmul(q));
    let inner = match (from_r, from_q) {
        (Some(a), Some(b)) => a - b,
        (Some(a), None) => a,
        (None, Some(b)) => -b,
        (None, None) => r.full_like(0.0),
    };
    let symmetric = inner.tril(0) + inner.tril(-1).t();
    let mut sum = q.matmul(&symmetric);
    if let Some(to_q) = to_q {
        sum = sum + to_q;
    }
    triangular("qr", r, &sum.t(), Triangular { upper: true, ..Triangular::default() }, at).t()
}

impl Tensor {
    /// The lower triangular L with L Lᵀ = `self`, for symmetric positive definite matrices in the last two axes
    /// (`torch.linalg.cholesky`). Only the lower triangle is read; the derivative is symmetric (Murray 2016). f32 or f64.
    ///
    /// A matrix that is not positive definite is an [`Error::Value`] with its number when the value is read.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let a = Tensor::from_slice(&[4.0f32, 2.0, 2.0, 5.0], [2, 2], &Device::cpu());
    /// assert_eq!(a.cholesky().to_vec::<f32>()?, [2.0, 0.0, 1.0, 2.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn cholesky(&self) -> Tensor {
        let at = At::caller();
        match check_operand("cholesky", self, at) {
            Ok(()) => Tensor::apply(Cholesky, &[self], at),
            Err(error) => Tensor::error(error),
        }
    }

    /// Q with orthonormal columns and upper triangular R with Q R = `self`, for matrices `[…, m, n]` of f32 or f64
    /// (`torch.linalg.qr`): Q `[…, m, k]` and R `[…, k, n]` with k = min(m, n), or with k = m in mode
    /// [`QrMode::Complete`]. Signs are those of LAPACK, as Householder's reflections give them. The derivative needs
    /// linearly independent columns, else it is an [`Error::Value`]; the complete factors of m > n have none.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::QrMode;
    /// let a = Tensor::from_slice(&[3.0f32, 1.0, 4.0, 2.0], [2, 2], &Device::cpu());
    /// let (q, r) = a.qr(QrMode::Reduced);
    /// let again = q.matmul(&r).to_vec::<f32>()?;
    /// assert!((again[0] - 3.0).abs() < 1e-6 && r.to_vec::<f32>()?[2] == 0.0);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn qr(&self, mode: QrMode) -> (Tensor, Tensor) {
        let at = At::caller();
        let checked = self.check().and_then(|()| {
            if self.rank() < 2 {
                return Err(shape_error("qr", "needs matrices in the last two axes", &[self], at));
            }
            check_size("qr", self, at)
        });
        match checked {
            Ok(()) => factors(self, &Tensor::apply(Reflections, &[self], at), mode, at),
            Err(error) => (Tensor::error(error.clone()), Tensor::error(error)),
        }
    }
}
