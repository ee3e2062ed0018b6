//! Gradients kept in bounds.

use vorpal_autodiff::Tensor;

use super::as_list;
use crate::{Module, Role};

/// The root of the sum of squares of all gradients.
#[must_use]
pub fn global_norm<M: Module>(grads: &M) -> Option<Tensor> {
    global_norm_p(grads, 2.0)
}

/// The p-norm of all gradients together, `f64::INFINITY` for the largest.
#[must_use]
pub fn global_norm_p<M: Module>(grads: &M, p: f64) -> Option<Tensor> {
    let mut total: Option<Tensor> = None;
    grads.walk("", &mut |_, role, grad| {
        if role != Role::Parameter {
            return;
        }
        let size = grad.abs();
        let part = if p == f64::INFINITY {
            as_list(&size).max(0)
        } else if p == 2.0 {
            grad.square().sum_all()
        } else if p == 1.0 {
            size.sum_all()
        } else {
            size.pow(p).sum_all()
        };
        total = Some(match total.take() {
            Some(total) if p == f64::INFINITY => total.maximum(&part),
            Some(total) => total + part,
            None => part,
        });
    });
    total.map(|total| match p {
        2.0 => total.sqrt(),
        1.0 | f64::INFINITY => total,
        p => total.pow(1.0 / p),
    })
}

/// Gradients scaled down together where their norm exceeds `max` (Pascanu, Mikolov, Bengio 2013), as
/// `torch.nn.utils.clip_grad_norm_`, and the norm before.
#[must_use]
pub fn clip_grad_norm<M: Module>(grads: &M, max: f64) -> (M, Option<Tensor>) {
    clip_grad_norm_p(grads, max, 2.0)
}

/// As [`clip_grad_norm`] by the p-norm of the gradients.
///
/// ```
/// use vorpal_nn::{Device, Linear, clip_grad_norm_p, grad};
///
/// let model = Linear::new(3, 1, &Device::cpu());
/// let grads = grad(&model, |m| m.weight.sum_all() * 8.0)?;
/// let (clipped, norm) = clip_grad_norm_p(&grads, 2.0, f64::INFINITY);
/// assert_eq!(norm.map(|n| n.item::<f32>()), Some(Ok(8.0)));
/// assert!(clipped.weight.to_vec::<f32>()?.iter().all(|g| (g - 2.0).abs() < 1e-5));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[must_use]
pub fn clip_grad_norm_p<M: Module>(grads: &M, max: f64, p: f64) -> (M, Option<Tensor>) {
    let norm = global_norm_p(grads, p);
    let scale = norm.as_ref().map(|n| (n.full_like(max) / (n + 1e-6)).clamp(0.0, 1.0));
    let clipped = grads.map(&mut |g| match &scale {
        Some(scale) => g * scale,
        None => g.clone(),
    });
    (clipped, norm)
}

/// Every gradient limited to −`max` … `max`, as `torch.nn.utils.clip_grad_value_`.
///
/// ```
/// use vorpal_nn::{Device, Linear, clip_grad_value, grad};
///
/// let model = Linear::new(3, 1, &Device::cpu());
/// let grads = grad(&model, |m| m.weight.sum_all() * -8.0)?;
/// assert_eq!(clip_grad_value(&grads, 0.5).weight.to_vec::<f32>()?, [-0.5; 3]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[must_use]
pub fn clip_grad_value<M: Module>(grads: &M, max: f64) -> M {
    grads.map(&mut |g| g.clamp(-max, max))
}
