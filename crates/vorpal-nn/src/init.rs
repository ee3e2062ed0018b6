//! Initial values of parameters.

use vorpal_autodiff::ops::QrMode;
use vorpal_autodiff::{Device, Shape, Tensor};

use crate::module::PARAMETER;

/// `value` everywhere, in memory of its own: constants of the graph would share theirs, and could not be updated in
/// place.
pub fn constant(shape: impl Into<Shape>, value: f32, device: &Device) -> Tensor {
    let shape = shape.into();
    Tensor::from_slice(&vec![value; shape.numel()], shape, device)
}

/// Uniform in ±`bound`, from the device's stream of random keys.
pub fn uniform(shape: impl Into<Shape>, bound: f64, device: &Device) -> Tensor {
    let bound = bound as f32;
    (Tensor::rand(shape, PARAMETER, device) * (2.0 * bound)) - bound
}

/// Normal with mean 0 and the given standard deviation, from the device's stream of random keys.
pub fn normal(shape: impl Into<Shape>, deviation: f64, device: &Device) -> Tensor {
    Tensor::randn(shape, PARAMETER, device) * deviation
}

/// Uniform in ±√(6 ∕ (inputs + outputs)) (Glorot & Bengio 2010), for weights `[outputs, inputs, …]`.
pub fn xavier_uniform(shape: impl Into<Shape>, device: &Device) -> Tensor {
    let shape = shape.into();
    let (inputs, outputs) = fans(&shape);
    uniform(shape, (6.0 / (inputs + outputs).max(1.0)).sqrt(), device)
}

/// Normal with deviation √(2 ∕ inputs) (He et al. 2015), for weights `[outputs, inputs, …]` before a ReLU.
pub fn kaiming_normal(shape: impl Into<Shape>, device: &Device) -> Tensor {
    let shape = shape.into();
    let (inputs, _) = fans(&shape);
    normal(shape, (2.0 / inputs.max(1.0)).sqrt(), device)
}

/// Normal with deviation √(2 ∕ (inputs + outputs)) (Glorot & Bengio 2010), for weights `[outputs, inputs, …]`.
pub fn xavier_normal(shape: impl Into<Shape>, device: &Device) -> Tensor {
    let shape = shape.into();
    let (inputs, outputs) = fans(&shape);
    normal(shape, (2.0 / (inputs + outputs).max(1.0)).sqrt(), device)
}

/// Uniform in ±√(6 ∕ inputs) (He et al. 2015), for weights `[outputs, inputs, …]` before a ReLU.
pub fn kaiming_uniform(shape: impl Into<Shape>, device: &Device) -> Tensor {
    let shape = shape.into();
    let (inputs, _) = fans(&shape);
    uniform(shape, (6.0 / inputs.max(1.0)).sqrt(), device)
}

/// Normal with mean 0 and the given standard deviation, drawn again beyond two deviations, as ViT and BERT begin.
pub fn truncated_normal(shape: impl Into<Shape>, deviation: f64, device: &Device) -> Tensor {
    Tensor::truncated_normal(shape, -2.0, 2.0, PARAMETER, device) * deviation
}

/// A matrix of orthonormal rows or columns, whichever are fewer, times `gain` (Saxe et al. 2014); of weights
/// `[outputs, inputs, …]` all axes but the first are the columns.
///
/// ```
/// use vorpal_nn::{Device, init};
/// let weight = init::orthogonal([2, 5], 1.0, &Device::cpu());
/// let products = weight.matmul(&weight.t()).to_vec::<f32>()?;
/// assert!(products.iter().zip([1.0, 0.0, 0.0, 1.0]).all(|(p, e)| (p - e).abs() < 1e-5));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn orthogonal(shape: impl Into<Shape>, gain: f64, device: &Device) -> Tensor {
    let shape = shape.into();
    let rows = shape.first().copied().unwrap_or(1);
    let columns = shape.iter().skip(1).product::<usize>();
    let (long, short) = (rows.max(columns), rows.min(columns));
    let (q, r) = Tensor::randn([long, short], PARAMETER, device).qr(QrMode::Reduced);
    // With the signs of the diagonal the distribution is uniform (Mezzadri 2007).
    let q = q * r.diagonal(0, 0, 1).sign();
    (if rows < columns { q.t() } else { q }).reshape(shape) * gain
}

/// Inputs and outputs of one unit of weights `[outputs, inputs, …]`.
fn fans(shape: &Shape) -> (f64, f64) {
    let field: usize = shape.iter().skip(2).product();
    let axis = |k: usize| shape.get(k).copied().unwrap_or(1) as f64 * field as f64;
    (axis(1), axis(0))
}
