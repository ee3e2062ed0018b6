//! Weights made from other parameters.

use vorpal_autodiff::{DType, Device, Tensor, Tensors, Tree};

use super::{Bilinear, Conv, ConvTranspose, Embedding, Layer, Linear};
use crate::init::normal;
use crate::{Module, Role, State, Training, join};

/// A layer with a parameter `weight` that can be replaced: what [`weight_norm`] and [`spectral_norm`] take.
pub trait Weighted: Module + Clone {
    /// Axis of the weight that counts the outputs.
    const OUTPUTS: usize = 0;

    /// The weight.
    fn weight(&self) -> &Tensor;

    /// The same layer with another weight.
    #[must_use]
    fn with_weight(&self, weight: Tensor) -> Self;
}

macro_rules! weighted {
    ($([$($generics:tt)*] $name:ty, $outputs:literal;)*) => {$(
        impl<$($generics)*> Weighted for $name {
            const OUTPUTS: usize = $outputs;
            fn weight(&self) -> &Tensor {
                &self.weight
            }
            fn with_weight(&self, weight: Tensor) -> Self {
                Self { weight, ..self.clone() }
            }
        }
    )*};
}
weighted! {
    [] Linear, 0;
    [] Bilinear, 0;
    [] Embedding, 0;
    [const N: usize] Conv<N>, 0;
    [const N: usize] ConvTranspose<N>, 1;
}

/// What stands in a layer whose weight is made anew each time: nothing.
fn placeholder(weight: &Tensor) -> Tensor {
    match weight.device() {
        Ok(device) => Tensor::zeros([0], DType::F32, &device),
        Err(_) => weight.clone(),
    }
}

/// Calls `f` with what a layer has beside its weight.
fn walk_rest<L: Weighted>(layer: &L, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
    let weight = join(path, "weight");
    layer.walk(path, &mut |name, role, tensor| {
        if name != weight {
            f(name, role, tensor);
        }
    });
}

/// As [`walk_rest`], with tensors that may be replaced.
fn walk_rest_mut<L: Weighted>(layer: &mut L, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
    let weight = join(path, "weight");
    layer.walk_mut(path, &mut |name, role, tensor| {
        if name != weight {
            f(name, role, tensor);
        }
    });
}

/// A layer whose weight is g · v ∕ ‖v‖, with length and direction trained apart (Salimans, Kingma 2016). Named as
/// `torch.nn.utils.parametrizations.weight_norm`: g is `parametrizations.weight.original0`, v `original1`.
///
/// ```
/// use vorpal_nn::{Device, Layer, Linear, Tensor, weight_norm};
/// let plain = Linear::new(3, 2, &Device::cpu());
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 3], &Device::cpu());
/// let before = plain.forward(&x);
/// let layer = weight_norm(plain, 0);
/// assert!((layer.forward(&x) - before).abs().max([0, 1]).item::<f32>()? < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightNorm<L> {
    /// Lengths, of the shape of the weight with 1 in all axes but one.
    pub g: Tensor,
    /// Directions, of the shape of the weight.
    pub v: Tensor,
    dim: usize,
    rest: L,
}

/// A layer with length and direction of its weight apart, a length for each place of axis `dim` (PyTorch's default: 0).
pub fn weight_norm<L: Weighted>(layer: L, dim: usize) -> WeightNorm<L> {
    let v = layer.weight().clone();
    let g = lengths(&v, dim);
    WeightNorm { g, v, dim, rest: layer.with_weight(placeholder(layer.weight())) }
}

/// Lengths over all axes but `dim`.
#[track_caller]
fn lengths(v: &Tensor, dim: usize) -> Tensor {
    let axes: Vec<isize> = (0..v.rank() as isize).filter(|&axis| axis != dim as isize).collect();
    v.square().sum_keepdim(&axes[..]).sqrt()
}

impl<L: Weighted> WeightNorm<L> {
    /// The layer with the weight made from length and direction.
    #[track_caller]
    pub fn layer(&self) -> L {
        self.rest.with_weight(&self.v * (&self.g / lengths(&self.v, self.dim)))
    }
}

impl<L: Weighted> Tensors for WeightNorm<L> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        (&self.g, &self.v, &self.rest).visit(f);
    }
}
impl<L: Weighted> Tree for WeightNorm<L> {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> WeightNorm<L> {
        WeightNorm { g: f(&self.g), v: f(&self.v), dim: self.dim, rest: self.rest.map(f) }
    }
}
impl<L: Weighted> Module for WeightNorm<L> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        walk_rest(&self.rest, path, f);
        self.g.walk(&join(path, "parametrizations.weight.original0"), f);
        self.v.walk(&join(path, "parametrizations.weight.original1"), f);
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        walk_rest_mut(&mut self.rest, path, f);
        self.g.walk_mut(&join(path, "parametrizations.weight.original0"), f);
        self.v.walk_mut(&join(path, "parametrizations.weight.original1"), f);
    }
    fn train(&self, on: bool) {
        self.rest.train(on);
    }
}
impl<L: Weighted + Layer> Layer for WeightNorm<L> {
    fn forward(&self, x: &Tensor) -> Tensor {
        Layer::forward(&self.layer(), x)
    }
}

/// A layer whose weight is divided by its largest singular value (Miyato et al. 2018), found by one step of the power
/// iteration in each forward pass while training. Named as `torch.nn.utils.parametrizations.spectral_norm`.
///
/// ```
/// use vorpal_nn::{Device, Layer, Linear, Tensor, spectral_norm};
/// let layer = spectral_norm(Linear::without_bias(2, 2, &Device::cpu()));
/// let x = Tensor::from_slice(&[0.6f32, 0.8], [1, 2], &Device::cpu());
/// assert!(layer.forward(&x).norm(2.0, [0, 1]).item::<f32>()? <= 1.01);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralNorm<L> {
    /// The weight before it is divided.
    pub weight: Tensor,
    /// Left singular vector, `[outputs]`.
    pub u: State,
    /// Right singular vector, of the size of the other axes.
    pub v: State,
    training: Training,
    rest: L,
}

/// Steps of the power iteration before the first forward pass, PyTorch's number.
const FIRST_STEPS: usize = 15;

/// A layer whose weight has the largest singular value 1, as a matrix of its outputs.
pub fn spectral_norm<L: Weighted>(layer: L) -> SpectralNorm<L> {
    let weight = layer.weight().clone();
    let matrix = as_matrix::<L>(&weight);
    let sizes = matrix.shape();
    let device = weight.device().unwrap_or_else(|_| Device::cpu());
    let draw = |axis: usize| unit(&normal([sizes.get(axis).copied().unwrap_or(1)], 1.0, &device));
    let (mut u, mut v) = (draw(0), draw(1));
    for _ in 0..FIRST_STEPS {
        (u, v) = step(&matrix, &v);
    }
    let rest = layer.with_weight(placeholder(&weight));
    SpectralNorm { weight, u: State::new(u), v: State::new(v), training: Training::default(), rest }
}

/// A weight as a matrix, `[outputs, all else]`.
#[track_caller]
fn as_matrix<L: Weighted>(weight: &Tensor) -> Tensor {
    weight.movedim(L::OUTPUTS as isize, 0).flatten(1, -1)
}

#[track_caller]
fn unit(x: &Tensor) -> Tensor {
    x.normalize_l2(0, 1e-12)
}

/// The next pair of singular vectors.
#[track_caller]
fn step(matrix: &Tensor, v: &Tensor) -> (Tensor, Tensor) {
    let u = unit(&matrix.matmul(v));
    let v = unit(&matrix.t().matmul(&u));
    (u, v)
}

impl<L: Weighted> SpectralNorm<L> {
    /// The layer with the divided weight. While training, singular vectors take a step first.
    #[track_caller]
    pub fn layer(&self) -> L {
        let matrix = as_matrix::<L>(&self.weight);
        if self.training.is_on() && matrix.check().is_ok() {
            let (u, v) = step(&matrix.stop_gradient(), &self.v.get());
            self.u.set(u);
            self.v.set(v);
        }
        let (u, v) = (self.u.get().stop_gradient(), self.v.get().stop_gradient());
        self.rest.with_weight(&self.weight / (u * matrix.matmul(&v)).sum_all())
    }
}

impl<L: Weighted> Tensors for SpectralNorm<L> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        (&self.weight, &self.u, &self.v, &self.rest).visit(f);
    }
}
impl<L: Weighted> Tree for SpectralNorm<L> {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> SpectralNorm<L> {
        SpectralNorm {
            weight: f(&self.weight),
            u: self.u.map(f),
            v: self.v.map(f),
            training: self.training.map(f),
            rest: self.rest.map(f),
        }
    }
}
impl<L: Weighted> Module for SpectralNorm<L> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        walk_rest(&self.rest, path, f);
        self.weight.walk(&join(path, "parametrizations.weight.original"), f);
        self.u.walk(&join(path, "parametrizations.weight.0._u"), f);
        self.v.walk(&join(path, "parametrizations.weight.0._v"), f);
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        walk_rest_mut(&mut self.rest, path, f);
        self.weight.walk_mut(&join(path, "parametrizations.weight.original"), f);
        self.u.walk_mut(&join(path, "parametrizations.weight.0._u"), f);
        self.v.walk_mut(&join(path, "parametrizations.weight.0._v"), f);
    }
    fn train(&self, on: bool) {
        self.training.train(on);
        self.rest.train(on);
    }
}
impl<L: Weighted + Layer> Layer for SpectralNorm<L> {
    fn forward(&self, x: &Tensor) -> Tensor {
        Layer::forward(&self.layer(), x)
    }
}
