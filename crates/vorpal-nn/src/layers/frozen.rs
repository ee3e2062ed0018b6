//! Modules that are not trained.

use std::ops::Deref;

use vorpal_autodiff::{Tensor, Tensors, Tree};

use super::Layer;
use crate::{Module, Role};

/// A module that is kept and saved, but not trained: its parameters are buffers, and constant to derivatives.
///
/// ```
/// use vorpal_nn::{Device, Frozen, Linear, Module, Role};
/// let layer = Frozen(Linear::new(3, 2, &Device::cpu()));
/// assert_eq!(layer.parameter_count(), 0);
/// layer.walk("", &mut |_, role, _| assert_eq!(role, Role::Buffer));
/// assert_eq!(layer.weight.shape(), [2, 3].into());
/// ```
#[derive(Clone, Debug)]
pub struct Frozen<M>(
    /// The module.
    pub M,
);

impl<M> Deref for Frozen<M> {
    type Target = M;
    fn deref(&self) -> &M {
        &self.0
    }
}
impl<M: Module> Tensors for Frozen<M> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.0.visit(f);
    }
}
impl<M: Module> Tree for Frozen<M> {
    fn map(&self, _: &mut dyn FnMut(&Tensor) -> Tensor) -> Frozen<M> {
        Frozen(self.0.map(&mut Tensor::clone))
    }
}
impl<M: Module> Module for Frozen<M> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.0.walk(path, &mut |name, _, tensor| f(name, Role::Buffer, tensor));
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.0.walk_mut(path, &mut |name, _, tensor| f(name, Role::Buffer, tensor));
    }
    fn train(&self, on: bool) {
        self.0.train(on);
    }
}
impl<L: Layer> Layer for Frozen<L> {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.0.forward(x)
    }
}
