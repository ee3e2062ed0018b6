//! Loops that carry a state: `lax.scan`.

use vorpal_tensor::{At, Error, Result, Shape};

use super::{checkpoint, leaves};
use crate::ops::shape_error;
use crate::{Tensor, Tree};

/// Calls `f` on a state and slice t of the leading axis of `xs`, for one t after the other: the last state, and what
/// `f` gives beside the states, stacked along a new axis 0. `jax.lax.scan`.
///
/// The loop is written out into the graph, so that steps are fused and differentiated like anything else. For long
/// loops see [`scan_checkpointed`].
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, scan};
/// let xs = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu());
/// let zero = Tensor::from_item(0.0f32, &Device::cpu());
/// let (sum, sums) = scan(&zero, &xs, |sum, x| (sum + x, sum + x))?;
/// assert_eq!(sum.item::<f32>()?, 6.0);
/// assert_eq!(sums.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] when `xs` holds no tensor, [`Error::Shape`] when its tensors do not have one leading axis in
/// common or `f` changes shape or dtype of the state, and errors that the tensors carry.
#[track_caller]
pub fn scan<C: Tree, X: Tree, Y: Tree>(init: &C, xs: &X, f: impl FnMut(&C, &X) -> (C, Y)) -> Result<(C, Y)> {
    let at = At::caller();
    let steps = length(xs, at)?;
    Scan { f, at, like: None, failed: None }.run(init, xs, steps, steps)
}

/// As [`scan`], but for derivatives only about √T of T states are kept: the steps between two of them are computed
/// again (see [`checkpoint`]). Gradients of a loop of T steps then take memory for 2 √T steps instead of T.
///
/// # Errors
/// As [`scan`].
#[track_caller]
pub fn scan_checkpointed<C: Tree, X: Tree, Y: Tree>(
    init: &C,
    xs: &X,
    f: impl FnMut(&C, &X) -> (C, Y),
) -> Result<(C, Y)> {
    let at = At::caller();
    let steps = length(xs, at)?;
    let segment = (steps as f64).sqrt().ceil() as usize;
    Scan { f, at, like: None, failed: None }.run(init, xs, steps, segment)
}

/// Number of steps.
fn length<X: Tree>(xs: &X, at: At) -> Result<usize> {
    let xs = leaves(xs);
    let mut found: Option<(usize, usize)> = None;
    for (k, x) in xs.iter().enumerate() {
        x.check()?;
        let Some(&here) = x.shape().first() else {
            return Err(shape_error("scan", format!("tensor {k} has no axis to scan"), &[x], at));
        };
        let (of, steps) = *found.get_or_insert((k, here));
        if steps != here {
            let message = format!("tensor {of} has {steps} steps, tensor {k} has {here}");
            return Err(shape_error("scan", message, &[&xs[of], x], at));
        }
    }
    let none = || Error::Argument { op: "scan", message: "there is no tensor to scan".to_string(), at };
    found.map(|(_, steps)| steps).ok_or_else(none)
}

struct Scan<F, Y> {
    f: F,
    at: At,
    /// The structure of what a step gives.
    like: Option<Y>,
    failed: Option<Error>,
}

impl<F, Y: Tree> Scan<F, Y> {
    /// All steps, `segment` of them at a time; a segment that is not everything is a checkpoint.
    fn run<C: Tree, X: Tree>(mut self, init: &C, xs: &X, steps: usize, segment: usize) -> Result<(C, Y)>
    where
        F: FnMut(&C, &X) -> (C, Y),
    {
        if steps == 0 {
            return Ok(self.nothing(init, xs));
        }
        let whole: Vec<Tensor> = leaves(xs);
        let starts: Vec<usize> = (0..steps).step_by(segment).collect();
        let sizes: Vec<usize> = starts.iter().map(|&s| segment.min(steps - s)).collect();
        let pieces: Vec<Vec<Tensor>> = whole.iter().map(|x| cut(x, &sizes)).collect();
        let mut carry = init.map(&mut Tensor::clone);
        let mut given: Vec<Vec<Tensor>> = Vec::new();
        for k in 0..sizes.len() {
            let parts: Vec<Tensor> = pieces.iter().map(|p| p[k].clone()).collect();
            let (next, ys) = if sizes.len() == 1 {
                self.segment(&carry, xs, &parts, sizes[k])
            } else {
                checkpoint(&carry, |carry| self.segment(carry, xs, &parts, sizes[k]))
            };
            if let Some(error) = self.failed {
                return Err(error);
            }
            carry = next;
            given.resize_with(ys.len(), Vec::new);
            given.iter_mut().zip(ys).for_each(|(all, y)| all.push(y));
        }
        let joined: Vec<Tensor> = given.into_iter().map(|parts| joined(&parts)).collect();
        let none = || Error::internal("scan", "no step was made");
        let like = self.like.ok_or_else(none)?;
        Ok((carry, filled(&like, joined)))
    }

    /// Some steps: the state behind them, and what they give in stacks.
    fn segment<C: Tree, X: Tree>(
        &mut self,
        carry: &C,
        like: &X,
        parts: &[Tensor],
        n: usize,
    ) -> (C, Vec<Tensor>)
    where
        F: FnMut(&C, &X) -> (C, Y),
    {
        let slices: Vec<Vec<Tensor>> = parts.iter().map(|x| cut(x, &vec![1; n])).collect();
        let mut carry = carry.map(&mut Tensor::clone);
        let mut given: Vec<Vec<Tensor>> = Vec::new();
        for t in 0..n {
            let one = |x: &Tensor| x.reshape(Shape::from(&x.shape()[1..]));
            let x = filled(like, slices.iter().map(|s| one(&s[t])).collect());
            let (next, y) = (self.f)(&carry, &x);
            if let Err(error) = self.alike(&leaves(&carry), &leaves(&next)) {
                self.failed.get_or_insert(error);
            }
            carry = next;
            let ys = leaves(&y);
            given.resize_with(ys.len(), Vec::new);
            given.iter_mut().zip(ys).for_each(|(all, y)| all.push(y.unsqueeze(0)));
            self.like.get_or_insert(y);
        }
        (carry, given.into_iter().map(|parts| joined(&parts)).collect())
    }

    /// Fails if a step changes the kind of the state.
    fn alike(&self, before: &[Tensor], after: &[Tensor]) -> Result<()> {
        if before.len() != after.len() {
            let message = format!("a step made a state of {} tensors from {}", after.len(), before.len());
            return Err(Error::Argument { op: "scan", message, at: self.at });
        }
        for (old, new) in before.iter().zip(after) {
            if old.ready()?.spec != new.ready()?.spec {
                let message = "a step must keep shape and dtype of the state";
                return Err(shape_error("scan", message, &[old, new], self.at));
            }
        }
        Ok(())
    }

    /// No steps: the structure of what they would give is found on zeros.
    fn nothing<C: Tree, X: Tree>(&mut self, init: &C, xs: &X) -> (C, Y)
    where
        F: FnMut(&C, &X) -> (C, Y),
    {
        let zeros = |t: &Tensor, shape: Shape| match t.ready() {
            Ok(node) => Tensor::zeros(shape, node.spec.dtype, &node.device),
            Err(_) => t.clone(),
        };
        let (_, y) = (self.f)(init, &xs.map(&mut |x| zeros(x, Shape::from(&x.shape()[1..]))));
        let none = |t: &Tensor| zeros(t, std::iter::once(0).chain(t.shape().iter().copied()).collect());
        (init.map(&mut Tensor::clone), y.map(&mut |t| none(t)))
    }
}

/// A structure with other tensors in it.
fn filled<T: Tree>(like: &T, tensors: Vec<Tensor>) -> T {
    let mut next = tensors.into_iter();
    like.map(&mut |t| next.next().unwrap_or_else(|| t.clone()))
}

/// Pieces of axis 0.
fn cut(x: &Tensor, sizes: &[usize]) -> Vec<Tensor> {
    let mut start = 0;
    let piece = |&size: &usize| {
        start += size;
        x.narrow(0, start - size, size)
    };
    sizes.iter().map(piece).collect()
}

/// Parts one after the other along axis 0.
fn joined(parts: &[Tensor]) -> Tensor {
    Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)
}
