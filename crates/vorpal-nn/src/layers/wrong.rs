//! Tensors that carry the errors of layers.

use vorpal_autodiff::{At, Error, Tensor};

/// An [`Error::Shape`] over `operands`, or the error one of them carries.
pub(super) fn shape(op: &'static str, message: impl Into<String>, operands: &[&Tensor], at: At) -> Tensor {
    if let Some(broken) = operands.iter().find(|x| x.check().is_err()) {
        return (*broken).clone();
    }
    let operands: Vec<String> = operands.iter().map(|x| x.shape().describe(x.dtype())).collect();
    Tensor::error(Error::Shape { op, message: message.into(), operands: operands.join(", "), at })
}

/// An [`Error::Argument`].
pub(super) fn argument(op: &'static str, message: impl Into<String>, at: At) -> Tensor {
    Tensor::error(Error::Argument { op, message: message.into(), at })
}
