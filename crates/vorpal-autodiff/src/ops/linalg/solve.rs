//! Systems of linear equations, inverses and determinants.

use vorpal_kernels::TriangularSolve as Kernel;
use vorpal_tensor::{At, DType, Result, Shape};

use super::factor::{QrMode, lu};
use super::{chain, check_matrices, check_operand, check_size, check_square, is_native, matrices};
use super::{unit_like, with_matrix};
use crate::compile::ir::{Builder, NodeId};
use crate::ops::shape_error;
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Options of [`Tensor::triangular_solve`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triangular {
    /// Whether the upper triangle is the matrix, not the lower one. The other is not read.
    pub upper: bool,
    /// Whether the system is that of the transposed matrix.
    pub transposed: bool,
    /// Whether the diagonal is 1, whatever stands there.
    pub unit: bool,
}

/// Operands: triangular matrices, right-hand sides.
#[derive(Clone, Copy, Debug)]
struct TriangularSolve {
    kind: Triangular,
    /// What the user called.
    name: &'static str,
}

impl Op for TriangularSolve {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        check_matrices(inputs)?;
        check_square(&inputs[0])?;
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        let rank = a.rank();
        if b.rank() != rank || a[..rank - 2] != b[..rank - 2] || a[rank - 1] != b[rank - 2] {
            return Misfit::shape(format!("{a} and {b} do not fit"));
        }
        Ok(inputs[1].clone())
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let at = place_of(v.output);
        let kind = Triangular { transposed: !self.kind.transposed, ..self.kind };
        let to_b = Tensor::apply(TriangularSolve { kind, ..*self }, &[&v.inputs[0], v.grad], at);
        let to_a = match self.kind.transposed {
            false => -to_b.matmul(&v.output.t()),
            true => -v.output.matmul(&to_b.t()),
        };
        let skipped = i32::from(self.kind.unit);
        let to_a = if self.kind.upper { to_a.triu(skipped) } else { to_a.tril(-skipped) };
        vec![Some(to_a), Some(to_b)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        if v.batched[0] {
            return v.apply(*self);
        }
        // One matrix for all examples: their right-hand sides are more columns of one.
        let (b, shape) = (v.example(1), v.inputs[1].shape());
        let rank = shape.rank() as isize;
        let order: Vec<isize> = (1..rank - 1).chain([0, rank - 1]).collect();
        let (n, columns) = (shape[shape.rank() - 2], shape[shape.rank() - 1]);
        let wide = with_matrix(&v.inputs[0].shape(), n, v.size * columns);
        let split: Shape = wide[..wide.rank() - 1].iter().copied().chain([v.size, columns]).collect();
        let back: Vec<isize> = [rank - 2].into_iter().chain(0..rank - 2).chain([rank - 1]).collect();
        let b = b.permute(&order[..]).reshape(wide);
        Tensor::apply(*self, &[&v.inputs[0], &b], v.at).reshape(split).permute(&back[..])
    }

    fn attributes(&self, key: &mut Key) {
        let Triangular { upper, transposed, unit } = self.kind;
        key.push(usize::from(upper) + 2 * usize::from(transposed) + 4 * usize::from(unit));
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let result = Spec::new(cx.shape(x[1]).clone(), cx.dtype(x[1]));
        let ((a, a_at), (b, b_at)) = (cx.dense(x[0]), cx.dense(x[1]));
        let kind = [self.kind.upper, self.kind.transposed, self.kind.unit];
        let shape = matrices(&result.shape);
        let launches = Kernel::launches(shape, kind, result.dtype, [a_at, b_at], is_native(cx));
        Ok(chain(cx, launches, b, &result, |state| vec![a, state]))
    }
}

/// The solution of triangular systems that `name` needs, which fit.
pub(super) fn triangular(name: &'static str, a: &Tensor, b: &Tensor, kind: Triangular, at: At) -> Tensor {
    Tensor::apply(TriangularSolve { kind, name }, &[a, b], at)
}

/// The place of the user's call that made a node.
pub(super) fn place_of(x: &Tensor) -> At {
    x.ready().map_or_else(|_| At::caller(), |node| node.at)
}

/// A value that was computed, with a derivative by `A` of its own.
///
/// Operands: the matrices A, their LU factors, right-hand sides B (none for determinants), the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// X with A X = B or Aᵀ X = B; the name is what the user called.
    Solution {
        transposed: bool,
        name: &'static str,
    },
    Determinant,
    /// Logarithm of the absolute value of the determinant.
    LogDeterminant,
}

impl Op for Known {
    fn name(&self) -> &'static str {
        match self {
            Known::Solution { name, .. } => name,
            Known::Determinant => "det",
            Known::LogDeterminant => "slogdet",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[inputs.len() - 1].clone())
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let at = place_of(v.output);
        let (a, factors) = (&v.inputs[0], &v.inputs[1]);
        match *self {
            Known::Solution { transposed, name } => {
                let to_b = solved(a, factors, v.grad, Known::Solution { transposed: !transposed, name }, at);
                let to_a = match transposed {
                    false => -to_b.matmul(&v.output.t()),
                    true => -v.output.matmul(&to_b.t()),
                };
                vec![Some(to_a), None, Some(to_b), None]
            }
            Known::Determinant | Known::LogDeterminant => {
                let inverse = Known::Solution { transposed: true, name: self.name() };
                let inverse = solved(a, factors, &unit_like(a), inverse, at);
                let scale = match self {
                    Known::Determinant => v.grad * v.output,
                    _ => v.grad.clone(),
                };
                vec![Some(inverse * scale.unsqueeze(-1).unsqueeze(-1)), None, None]
            }
        }
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(*self)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(usize::from(matches!(self, Known::Solution { transposed: true, .. })));
    }

    fn lower(&self, _: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(x[x.len() - 1])
    }
}

/// Right-hand sides with their rows in the order that a row of numbers behind the LU factors says.
fn exchanged(factors: &Tensor, numbers: isize, b: &Tensor) -> Tensor {
    let n = b.shape()[b.rank() - 2] as isize;
    let rows = factors.slice(-2, n + numbers..n + numbers + 1).cast(DType::I32);
    b.gather(-2, &rows.t().broadcast_to(b.shape()))
}

/// The solution that `known` names, by two triangular systems, with its derivative.
fn solved(a: &Tensor, factors: &Tensor, b: &Tensor, known: Known, at: At) -> Tensor {
    let Known::Solution { transposed, name } = known else { return b.clone() };
    let n = matrices(&a.shape()).rows as isize;
    let (lu, rhs) = (factors.slice(-2, ..n), b.stop_gradient());
    let half = |upper: bool, b: &Tensor| {
        let kind = Triangular { upper, transposed, unit: !upper };
        triangular(name, &lu, b, kind, at)
    };
    // A = Pᵀ L U, where P takes row i from row `numbers[i]`.
    let x = if transposed {
        exchanged(factors, 1, &half(false, &half(true, &rhs)))
    } else {
        half(true, &half(false, &exchanged(factors, 0, &rhs)))
    };
    Tensor::apply(known, &[a, factors, b, &x], at)
}

/// LU factors, their diagonal, and the sign of the permutation, all constant to derivatives.
fn pivots(a: &Tensor, at: At) -> (Tensor, Tensor, Tensor) {
    let factors = lu(a, at);
    let n = matrices(&a.shape()).rows as isize;
    let sign = factors.slice(-2, n + 2..n + 3).slice(-1, ..1).squeeze(-1).squeeze(-1);
    let on = factors.slice(-2, ..n).diagonal(0, -2, -1);
    (factors, on, sign)
}

impl Tensor {
    /// X with `self` X = `b` for triangular matrices `[…, n, n]` and right-hand sides `[…, n, k]` of f32 or f64
    /// (`torch.linalg.solve_triangular`, `jax.scipy.linalg.solve_triangular`); batch axes broadcast.
    ///
    /// A zero on the diagonal is a [`Value`](crate::Error::Value) error with the number of the matrix when the value is read.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::Triangular;
    /// let l = Tensor::from_slice(&[2.0f32, 0.0, 1.0, 4.0], [2, 2], &Device::cpu());
    /// let b = Tensor::from_slice(&[2.0f32, 9.0], [2, 1], &Device::cpu());
    /// assert_eq!(l.triangular_solve(&b, Triangular::default()).to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn triangular_solve(&self, b: &Tensor, kind: Triangular) -> Tensor {
        let at = At::caller();
        match paired("triangular_solve", self, b, at) {
            Ok((a, b)) => triangular("triangular_solve", &a, &b, kind, at),
            Err(error) => Tensor::error(error),
        }
    }

    /// X with `self` X = `b` for square matrices `[…, n, n]` of f32 or f64 by LU factors with partial pivoting
    /// (`torch.linalg.solve`); b is `[…, n, k]`, or vectors `[…, n]` where it has one axis, or just the axes of `self`
    /// without the last one. Batch axes of matrices broadcast.
    ///
    /// A singular matrix is a [`Value`](crate::Error::Value) error with its number when the value is read.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let a = Tensor::from_slice(&[0.0f32, 2.0, 4.0, 4.0], [2, 2], &Device::cpu());
    /// let b = Tensor::from_slice(&[2.0f32, 12.0], [2], &Device::cpu());
    /// assert_eq!(a.solve(&b).to_vec::<f32>()?, [2.0, 1.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn solve(&self, b: &Tensor) -> Tensor {
        let at = At::caller();
        if let Some(broken) = [self, b].into_iter().find(|t| t.check().is_err()) {
            return broken.clone();
        }
        let (of_a, of_b) = (self.shape(), b.shape());
        let vectors = of_b.rank() == 1 || (of_a.rank() > 0 && of_b[..] == of_a[..of_a.rank() - 1]);
        let columns = if vectors && of_b.rank() > 0 { b.unsqueeze(-1) } else { b.clone() };
        let x = match paired("solve", self, &columns, at) {
            Ok((a, b)) => {
                solved(&a, &lu(&a, at), &b, Known::Solution { transposed: false, name: "solve" }, at)
            }
            Err(error) => return Tensor::error(error),
        };
        if vectors { x.squeeze(-1) } else { x }
    }

    /// The inverses of square matrices of f32 or f64 (`torch.linalg.inv`). To multiply with an inverse,
    /// [`solve`](Tensor::solve) is faster and more accurate.
    ///
    /// A singular matrix is a [`Value`](crate::Error::Value) error with its number when the value is read.
    #[track_caller]
    pub fn inv(&self) -> Tensor {
        let at = At::caller();
        match check_operand("inv", self, at) {
            Ok(()) => {
                let known = Known::Solution { transposed: false, name: "inv" };
                solved(self, &lu(self, at), &unit_like(self), known, at)
            }
            Err(error) => Tensor::error(error),
        }
    }

    /// The determinants of square matrices of f32 or f64 (`torch.linalg.det`), 0 for singular ones, of which the derivative
    /// is a [`Value`](crate::Error::Value) error.
    #[track_caller]
    pub fn det(&self) -> Tensor {
        let at = At::caller();
        if let Err(error) = check_operand("det", self, at) {
            return Tensor::error(error);
        }
        if matrices(&self.shape()).rows == 0 {
            return self.sum([-2, -1]) + 1.0;
        }
        let (factors, on, sign) = pivots(self, at);
        Tensor::apply(Known::Determinant, &[self, &factors, &(on.prod(-1) * sign)], at)
    }

    /// Sign and logarithm of the absolute value of the determinants of square matrices of f32 or f64
    /// (`torch.linalg.slogdet`): 0 and −∞ for singular ones, of which the derivative is a [`Value`](crate::Error::Value) error.
    #[track_caller]
    pub fn slogdet(&self) -> (Tensor, Tensor) {
        let at = At::caller();
        if let Err(error) = check_operand("slogdet", self, at) {
            return (Tensor::error(error.clone()), Tensor::error(error));
        }
        if matrices(&self.shape()).rows == 0 {
            let zero = self.sum([-2, -1]);
            return (zero.full_like(1.0), zero);
        }
        let (factors, on, sign) = pivots(self, at);
        let ones = on.full_like(1.0);
        let signs = on.lt(on.full_like(0.0)).select(-&ones, &ones);
        let signs = on.eq(on.full_like(0.0)).select(on.full_like(0.0), signs);
        let log = on.abs().log().sum(-1);
        (signs.prod(-1) * sign, Tensor::apply(Known::LogDeterminant, &[self, &factors, &log], at))
    }

    /// X that makes the columns of `self` X − `b` shortest, for matrices `[…, m, n]` of full rank and right-hand sides
    /// `[…, m, k]` of f32 or f64 (the solution of `torch.linalg.lstsq`); for m < n the shortest X that solves exactly.
    /// Through QR factors, which its derivatives go through, too.
    ///
    /// A matrix without full rank is a [`Value`](crate::Error::Value) error with its number when the value is read, where rounding does not
    /// hide it.
    #[track_caller]
    pub fn lstsq(&self, b: &Tensor) -> Tensor {
        let at = At::caller();
        if let Some(broken) = [self, b].into_iter().find(|t| t.check().is_err()) {
            return broken.clone();
        }
        let (of_a, of_b) = (self.shape(), b.shape());
        let rank = of_a.rank();
        let fits = rank >= 2
            && of_b.rank() == rank
            && of_a[..rank - 2] == of_b[..rank - 2]
            && of_a[rank - 2] == of_b[rank - 2];
        if !fits {
            let message = "needs matrices […, m, n] and right-hand sides […, m, k]";
            return Tensor::error(shape_error("lstsq", message, &[self, b], at));
        }
        let tall = of_a[rank - 2] >= of_a[rank - 1];
        let (q, r) = if tall { self.qr(QrMode::Reduced) } else { self.t().qr(QrMode::Reduced) };
        let solve = |transposed: bool, b: &Tensor| {
            let kind = Triangular { upper: true, transposed, unit: false };
            triangular("lstsq", &r, b, kind, at)
        };
        if tall { solve(false, &q.t().matmul(b)) } else { q.matmul(&solve(true, b)) }
    }
}

/// Matrices and right-hand sides with equal batch axes.
fn paired(op: &'static str, a: &Tensor, b: &Tensor, at: At) -> Result<(Tensor, Tensor)> {
    check_operand(op, a, at)?;
    b.check()?;
    check_size(op, a, at)?;
    let (of_a, of_b) = (a.shape(), b.shape());
    let n = of_a[of_a.rank() - 1];
    if a.dtype() != b.dtype() {
        let message = format!("dtypes {} and {} differ; cast one of them", a.dtype(), b.dtype());
        return Err(crate::ops::dtype_error(op, message, &[a, b], at));
    }
    if of_b.rank() < 2 || of_b[of_b.rank() - 2] != n {
        let message = format!("right-hand sides need {n} rows");
        return Err(shape_error(op, message, &[a, b], at));
    }
    let batch = |s: &Shape| Shape::from(&s[..s.rank() - 2]);
    let Some(batch) = batch(&of_a).broadcast(&batch(&of_b)) else {
        return Err(shape_error(op, "batch axes do not broadcast", &[a, b], at));
    };
    let full =
        |rows: usize, columns: usize| -> Shape { batch.iter().copied().chain([rows, columns]).collect() };
    let columns = of_b[of_b.rank() - 1];
    Ok((a.broadcast_to(full(n, n)), b.broadcast_to(full(n, columns))))
}
