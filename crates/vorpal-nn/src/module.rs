//! Modules: structures of parameters with names.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vorpal_autodiff::{DType, Device, Result, Shape, Tensor, Tensors, Tree};

/// What a tensor is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Trained.
    Parameter,
    /// Kept and saved, but not trained: running statistics.
    Buffer,
}

/// A structure of named parameters and buffers. Derive it for a struct whose fields are modules; tensors are
/// parameters.
///
/// ```
/// use vorpal_nn::{Device, Linear, Module, Tensor};
///
/// #[derive(Module)]
/// struct Mlp {
///     hidden: Linear,
///     out: Linear,
/// }
///
/// let device = Device::cpu();
/// let mlp = Mlp { hidden: Linear::new(4, 8, &device), out: Linear::new(8, 2, &device) };
/// assert_eq!(mlp.parameter_count(), 4 * 8 + 8 + 8 * 2 + 2);
/// let mut names = Vec::new();
/// mlp.walk("", &mut |name, _, _| names.push(name.to_string()));
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]);
/// ```
pub trait Module: Tree {
    /// Calls `f` with name, role and value of every tensor. Names are joined by dots behind `path`.
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor));

    /// As [`walk`](Module::walk), with tensors that may be replaced.
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor));

    /// Switches between training and evaluation.
    fn train(&self, on: bool);

    /// Numbers that are trained.
    fn parameter_count(&self) -> usize {
        let mut count = 0;
        self.walk("", &mut |_, role, tensor| {
            if role == Role::Parameter {
                count += tensor.shape().numel();
            }
        });
        count
    }

    /// Moves every tensor to a device.
    ///
    /// # Errors
    /// What reading the values back or the room on the device gives.
    #[cfg(not(target_arch = "wasm32"))]
    fn to_device(&mut self, device: &Device) -> Result<()> {
        let mut result = Ok(());
        self.walk_mut("", &mut |_, _, tensor| {
            let moved = Tensor::to_device(tensor, device);
            match moved.check() {
                Ok(()) => *tensor = moved,
                Err(error) => result = Err(error),
            }
        });
        result
    }
}

/// A name behind a path.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

impl Module for Tensor {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        f(path, Role::Parameter, self);
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(path, Role::Parameter, self);
    }
    fn train(&self, _: bool) {}
}

impl<M: Module> Module for Vec<M> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.iter().enumerate().for_each(|(k, m)| m.walk(&join(path, &k.to_string()), f));
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.iter_mut().enumerate().for_each(|(k, m)| m.walk_mut(&join(path, &k.to_string()), f));
    }
    fn train(&self, on: bool) {
        self.iter().for_each(|m| m.train(on));
    }
}

impl<M: Module> Module for Option<M> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.iter().for_each(|m| m.walk(path, f));
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.iter_mut().for_each(|m| m.walk_mut(path, f));
    }
    fn train(&self, on: bool) {
        self.iter().for_each(|m| m.train(on));
    }
}

macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl Module for $ty {
            fn walk(&self, _: &str, _: &mut dyn FnMut(&str, Role, &Tensor)) {}
            fn walk_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, Role, &mut Tensor)) {}
            fn train(&self, _: bool) {}
        }
    )*};
}
plain!(bool, usize, u32, i32, f32, f64);

/// A tensor that a module keeps but does not train. Copies of the module share it, so that what a forward pass
/// notes while derivatives are taken is not lost.
#[derive(Clone, Debug)]
pub struct State(Arc<Mutex<Tensor>>);

impl State {
    /// A state with a first value.
    pub fn new(value: Tensor) -> State {
        State(Arc::new(Mutex::new(value)))
    }

    /// The present value.
    pub fn get(&self) -> Tensor {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the value.
    pub fn set(&self, value: Tensor) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl Tensors for State {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        // The lock is held meanwhile: a copy of the value would look like another holder.
        f(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
impl Tree for State {
    fn map(&self, _: &mut dyn FnMut(&Tensor) -> Tensor) -> State {
        self.clone()
    }
}
impl Module for State {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        f(path, Role::Buffer, &self.get());
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        f(path, Role::Buffer, &mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
    fn train(&self, _: bool) {}
}

/// Whether a module trains or is evaluated; shared by its copies. On at first.
#[derive(Clone, Debug)]
pub struct Training(Arc<AtomicBool>);

impl Default for Training {
    fn default() -> Training {
        Training(Arc::new(AtomicBool::new(true)))
    }
}

impl Training {
    /// Whether it trains.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tensors for Training {
    fn visit(&self, _: &mut dyn FnMut(&Tensor)) {}
}
impl Tree for Training {
    fn map(&self, _: &mut dyn FnMut(&Tensor) -> Tensor) -> Training {
        self.clone()
    }
}
impl Module for Training {
    fn walk(&self, _: &str, _: &mut dyn FnMut(&str, Role, &Tensor)) {}
    fn walk_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, Role, &mut Tensor)) {}
    fn train(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

/// Equal numbers in memory of their own, so that they may be updated in place.
pub(crate) fn filled(shape: &Shape, value: f64, dtype: DType, device: &Device) -> Result<Tensor> {
    let (count, shape) = (shape.numel(), shape.clone());
    let tensor = if value == 0.0 {
        Tensor::from_bytes(&vec![0u8; count * dtype.size()], shape, dtype, device)
    } else if dtype == DType::F64 {
        Tensor::from_slice(&vec![value; count], shape, device)
    } else {
        Tensor::from_slice(&vec![value as f32; count], shape, device).cast(dtype)
    };
    tensor.check()?;
    Ok(tensor)
}

/// Zeros in memory of their own.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn zeros_like(x: &Tensor) -> Result<Tensor> {
    filled(&x.shape(), 0.0, x.dtype(), &x.device()?)
}

/// The dtype modules are made in.
pub(crate) const PARAMETER: DType = DType::F32;
