//! Linear algebra of the last two axes; axes in front are batches of matrices.

mod factor;
mod function;
mod solve;

use vorpal_kernels::MatrixShape;
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::shape_error;
use crate::compile::ir::{Builder, NodeId};
use crate::{Misfit, Spec, Tensor};

pub use factor::QrMode;
pub use solve::Triangular;

/// Largest rows and columns on an adapter, where one workgroup works on a matrix.
const ADAPTER_SIZE_MAX: usize = 2048;

/// Sizes of the matrices in the last two axes.
fn matrices(shape: &Shape) -> MatrixShape {
    let rank = shape.rank();
    MatrixShape { batch: shape[..rank - 2].iter().product(), rows: shape[rank - 2], columns: shape[rank - 1] }
}

/// `shape` with other last two sizes.
fn with_matrix(shape: &Shape, rows: usize, columns: usize) -> Shape {
    let rank = shape.rank();
    shape[..rank - 2].iter().copied().chain([rows, columns]).collect()
}

/// Fails unless operands are matrices of one wide float type.
fn check_matrices(inputs: &[Spec]) -> std::result::Result<(), Misfit> {
    super::same_dtype(inputs)?;
    if !matches!(inputs[0].dtype, DType::F32 | DType::F64) {
        return Misfit::dtype(format!("needs f32 or f64, found {}", inputs[0].dtype));
    }
    if inputs.iter().any(|i| i.shape.rank() < 2) {
        return Misfit::shape("needs matrices in the last two axes");
    }
    Ok(())
}

/// Fails unless the matrices are square.
fn check_square(input: &Spec) -> std::result::Result<(), Misfit> {
    let MatrixShape { rows, columns, .. } = matrices(&input.shape);
    if rows == columns {
        Ok(())
    } else {
        Misfit::shape(format!("a matrix of {rows}×{columns} is not square"))
    }
}

/// Fails when matrices are larger than an adapter's workgroup can take.
fn check_size(op: &'static str, x: &Tensor, at: At) -> Result<()> {
    let largest = x.shape().iter().rev().take(2).copied().max().unwrap_or(0);
    if x.device()?.is_cpu() || largest <= ADAPTER_SIZE_MAX {
        return Ok(());
    }
    let message = format!("adapters take up to {ADAPTER_SIZE_MAX} rows and columns, found {largest}");
    Err(Error::Argument { op, message, at })
}

/// Fails unless `x` is a batch of square matrices of floats.
fn check_operand(op: &'static str, x: &Tensor, at: At) -> Result<()> {
    let spec = x.ready()?.spec.clone();
    let misfit = check_matrices(std::slice::from_ref(&spec)).and_then(|()| check_square(&spec));
    match misfit {
        Ok(()) => check_size(op, x, at),
        Err(Misfit::Shape(message)) => Err(shape_error(op, message, &[x], at)),
        Err(Misfit::DType(message)) => Err(super::dtype_error(op, message, &[x], at)),
    }
}

/// The unit matrix, once for each matrix of `x`.
fn unit_like(x: &Tensor) -> Tensor {
    let Ok(device) = x.device() else { return x.clone() };
    let shape = x.shape();
    let rank = shape.rank();
    let rows = Tensor::iota(shape.clone(), rank - 2, DType::I32, &device);
    let columns = Tensor::iota(shape, rank - 1, DType::I32, &device);
    rows.eq(columns).select(x.full_like(1.0), x.full_like(0.0))
}

/// Whether kernels run natively.
fn is_native(cx: &Builder) -> bool {
    cx.target().is_native()
}

/// Launches one after the other, each on the result of the one before.
fn chain<K: vorpal_kernels::Kernel>(
    cx: &mut Builder,
    launches: Vec<K>,
    first: NodeId,
    result: &Spec,
    operands: impl Fn(NodeId) -> Vec<NodeId>,
) -> NodeId {
    launches.into_iter().fold(first, |state, kernel| {
        let inputs = operands(state);
        cx.kernel(std::sync::Arc::new(kernel), &inputs, result.shape.clone(), result.dtype)
    })
}
