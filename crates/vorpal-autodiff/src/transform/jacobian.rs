//! Whole matrices of derivatives, and products with them.

use vorpal_tensor::{At, DType, Result, Shape};

use super::forward::Linear;
use super::reverse::value_and_grad_from;
use super::{jvp, leaves, vjp, vmap};
use crate::ops::dtype_error;
use crate::{Tensor, Tree};

/// The second derivative of a scalar function at `at` times `direction`, without the matrix: forward over reverse
/// (Pearlmutter 1994). Costs a few gradients.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, hvp};
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// let v = Tensor::from_slice(&[1.0f32, 1.0], [2], &Device::cpu());
/// let product = hvp(&x, &v, |x| (x * x * x).sum_all())?;
/// assert_eq!(product.to_vec::<f32>()?, [6.0, 12.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// As [`grad`](crate::grad) and [`jvp`].
#[track_caller]
pub fn hvp<T: Tree, R: Into<Tensor>>(at: &T, direction: &T, f: impl FnOnce(&T) -> R) -> Result<T> {
    let place = At::caller();
    let gradient = |x: &T| value_and_grad_from(place, x, f).map(|(_, gradient)| gradient);
    jvp(at, direction, gradient).map(|(_, product)| product)
}

/// The derivatives of every element of a function's result, `[result…, input…]` in place of each tensor of `at`, by one
/// reverse pass for all elements at once: `jax.jacrev`. For results smaller than the inputs.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, jacrev};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu());
/// let j = jacrev(&x, |x| Tensor::stack(&[&x.sum_all(), &(x * x).sum_all()], 0))?;
/// assert_eq!(j.to_vec::<f32>()?, [1.0, 1.0, 1.0, 2.0, 4.0, 6.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that the function's result carries; [`Error::DType`](crate::Error::DType) when it is no float.
#[track_caller]
pub fn jacrev<T: Tree, R: Into<Tensor>>(at: &T, f: impl FnOnce(&T) -> R) -> Result<T> {
    let place = At::caller();
    let (value, back) = vjp(at, f)?;
    only_floats("jacrev", &value, place)?;
    let of = value.shape();
    let rows: T = vmap(&basis(&value)?, 0, |u| back(u))?;
    Ok(rows.map(&mut |row| row.reshape(joined(&of, &row.shape()[1..]))))
}

/// As [`jacrev`], by one forward pass for all elements of `at` at once: `jax.jacfwd`. For results larger than the
/// inputs.
///
/// # Errors
/// As [`jacrev`].
#[track_caller]
pub fn jacfwd<T: Tree, R: Into<Tensor>>(at: &T, f: impl FnOnce(&T) -> R) -> Result<T> {
    let place = At::caller();
    let inputs = leaves(at);
    let linear = Linear::new(at, |x| -> Tensor { f(x).into() })?;
    only_floats("jacfwd", &linear.value, place)?;
    let of = linear.value.shape();
    let mut blocks = Vec::with_capacity(inputs.len());
    for (k, input) in inputs.iter().enumerate() {
        let block = if input.dtype().is_float() {
            let columns = vmap(&basis(input)?, 0, |t| {
                linear.push((0..inputs.len()).map(|i| (i == k).then(|| t.clone())).collect())
            })?;
            let last: Vec<isize> = (1..columns.rank() as isize).chain([0]).collect();
            columns.permute(&last[..])
        } else {
            Tensor::zeros(joined(&of, &[input.shape().numel()]), linear.value.dtype(), &input.device()?)
        };
        blocks.push(block.reshape(joined(&of, &input.shape())));
    }
    let mut next = blocks.into_iter();
    Ok(at.map(&mut |t| next.next().unwrap_or_else(|| t.clone())))
}

/// The matrix of second derivatives of a scalar function, `[input…, input…]`, forward over reverse: `jax.hessian`.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, hessian};
/// let x = Tensor::from_slice(&[2.0f32, 3.0], [2], &Device::cpu());
/// let h = hessian(&x, |x| (x * x * x.flip(0)).sum_all())?;
/// assert_eq!(h.to_vec::<f32>()?, [6.0, 10.0, 10.0, 4.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// As [`grad`](crate::grad).
#[track_caller]
pub fn hessian<R: Into<Tensor>>(at: &Tensor, f: impl FnOnce(&Tensor) -> R) -> Result<Tensor> {
    let place = At::caller();
    jacfwd(at, |x| Tensor::from(value_and_grad_from(place, x, f).map(|(_, gradient)| gradient)))
}

fn only_floats(op: &'static str, value: &Tensor, at: At) -> Result<()> {
    if value.dtype().is_float() {
        return Ok(());
    }
    Err(dtype_error(op, format!("needs a function of floats, found {}", value.dtype()), &[value], at))
}

fn joined(front: &[usize], back: &[usize]) -> Shape {
    front.iter().chain(back).copied().collect()
}

/// Every tensor like `x` that is 1 at one place and 0 elsewhere, along a new axis 0.
fn basis(x: &Tensor) -> Result<Tensor> {
    let (n, device) = (x.shape().numel(), x.device()?);
    let number = |axis| Tensor::iota([n, n], axis, DType::I32, &device);
    Ok(number(0).eq(number(1)).cast(x.dtype()).reshape(joined(&[n], &x.shape())))
}
