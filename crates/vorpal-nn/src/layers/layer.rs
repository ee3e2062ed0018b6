//! What layers have in common, and layers made of layers.

use vorpal_autodiff::{Tensor, Tensors, Tree};

use crate::{Module, Role, join};

/// A module of one tensor to one tensor: what [`Sequential`] holds. Layers of this crate with one operand are such;
/// for one of your own the trait takes a line.
///
/// ```
/// use vorpal_nn::{Device, Layer, Linear, Module, Relu, Sequential, Tensor};
///
/// #[derive(Module)]
/// struct Twice(Linear);
/// impl Layer for Twice {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         self.0.forward(&self.0.forward(x))
///     }
/// }
///
/// let device = Device::cpu();
/// let net = Sequential::new().then(Twice(Linear::new(4, 4, &device))).then(Relu).then(Linear::new(4, 2, &device));
/// assert_eq!(net.forward(&Tensor::from_slice(&[1.0f32; 12], [3, 4], &device)).shape(), [3, 2].into());
/// ```
pub trait Layer: Module {
    /// The layer applied to `x`.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor;
}

/// A [`Layer`] without its type.
trait AnyLayer: Send + Sync {
    fn any_forward(&self, x: &Tensor) -> Tensor;
    fn any_visit(&self, f: &mut dyn FnMut(&Tensor));
    fn any_map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> BoxedLayer;
    fn any_walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor));
    fn any_walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor));
    fn any_train(&self, on: bool);
    fn kind(&self) -> &'static str;
}

impl<L: Layer + Send + Sync + 'static> AnyLayer for L {
    #[track_caller]
    fn any_forward(&self, x: &Tensor) -> Tensor {
        Layer::forward(self, x)
    }
    fn any_visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.visit(f);
    }
    fn any_map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> BoxedLayer {
        BoxedLayer::new(self.map(f))
    }
    fn any_walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.walk(path, f);
    }
    fn any_walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.walk_mut(path, f);
    }
    fn any_train(&self, on: bool) {
        self.train(on);
    }
    fn kind(&self) -> &'static str {
        let whole = std::any::type_name::<L>();
        let plain = whole.split('<').next().unwrap_or(whole);
        plain.rsplit("::").next().unwrap_or(plain)
    }
}

/// A layer of any kind.
///
/// ```
/// use vorpal_nn::{BoxedLayer, Device, Linear, Module, Tanh};
/// let layers = vec![BoxedLayer::new(Linear::new(2, 3, &Device::cpu())), BoxedLayer::new(Tanh)];
/// assert_eq!(layers.parameter_count(), 9);
/// assert_eq!(format!("{:?}", layers), "[Linear, Tanh]");
/// ```
pub struct BoxedLayer(Box<dyn AnyLayer>);

impl BoxedLayer {
    /// A layer without its type.
    pub fn new(layer: impl Layer + Send + Sync + 'static) -> BoxedLayer {
        BoxedLayer(Box::new(layer))
    }

    /// The layer applied to `x`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.0.any_forward(x)
    }

    /// Name of the type of the layer, without its path.
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }
}

impl Clone for BoxedLayer {
    fn clone(&self) -> BoxedLayer {
        self.0.any_map(&mut Tensor::clone)
    }
}
impl std::fmt::Debug for BoxedLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}
impl Tensors for BoxedLayer {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.0.any_visit(f);
    }
}
impl Tree for BoxedLayer {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> BoxedLayer {
        self.0.any_map(f)
    }
}
impl Module for BoxedLayer {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.0.any_walk(path, f);
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.0.any_walk_mut(path, f);
    }
    fn train(&self, on: bool) {
        self.0.any_train(on);
    }
}
impl Layer for BoxedLayer {
    fn forward(&self, x: &Tensor) -> Tensor {
        BoxedLayer::forward(self, x)
    }
}

/// Layers one after the other, as `torch.nn.Sequential`: their parameters stand behind `0`, `1`, … or behind names
/// given to them.
///
/// ```
/// use vorpal_nn::{Conv2d, Device, Flatten, Linear, MaxPool2d, Module, Relu, Sequential, Tensor};
/// let device = Device::cpu();
/// let net = Sequential::new()
///     .then(Conv2d::new(1, 4, [3, 3], &device).padding([1, 1]))
///     .then(Relu)
///     .then(MaxPool2d::new(2))
///     .then_fn(|x| x * 2.0)
///     .then(Flatten::default())
///     .then_named("head", Linear::new(4 * 3 * 3, 10, &device));
/// let x = Tensor::from_slice(&[0.5f32; 72], [2, 1, 6, 6], &device);
/// assert_eq!(net.forward(&x).shape(), [2, 10].into());
/// let mut names = Vec::new();
/// net.walk("", &mut |name, _, _| names.push(name.to_string()));
/// assert_eq!(names, ["0.weight", "0.bias", "head.weight", "head.bias"]);
/// ```
#[derive(Clone, Default)]
pub struct Sequential {
    layers: Vec<(String, BoxedLayer)>,
}

impl Sequential {
    /// No layers: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// The same with a layer behind, named by its number.
    #[must_use]
    pub fn then(self, layer: impl Layer + Send + Sync + 'static) -> Sequential {
        let name = self.layers.len().to_string();
        self.then_named(name, layer)
    }

    /// The same with a layer behind that has a name of its own.
    #[must_use]
    pub fn then_named(
        mut self,
        name: impl Into<String>,
        layer: impl Layer + Send + Sync + 'static,
    ) -> Sequential {
        self.layers.push((name.into(), BoxedLayer::new(layer)));
        self
    }

    /// The same with a function behind.
    #[must_use]
    pub fn then_fn(self, f: impl Fn(&Tensor) -> Tensor + Clone + Send + Sync + 'static) -> Sequential {
        self.then(Lambda(f))
    }

    /// The layers applied one after the other.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for (_, layer) in &self.layers {
            x = layer.forward(&x);
        }
        x
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BoxedLayer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), layer))
    }
}

impl std::fmt::Debug for Sequential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
impl FromIterator<BoxedLayer> for Sequential {
    fn from_iter<I: IntoIterator<Item = BoxedLayer>>(layers: I) -> Sequential {
        layers.into_iter().fold(Sequential::new(), Sequential::then)
    }
}
impl Tensors for Sequential {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.layers.iter().for_each(|(_, layer)| layer.visit(f));
    }
}
impl Tree for Sequential {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Sequential {
        Sequential { layers: self.layers.iter().map(|(name, layer)| (name.clone(), layer.map(f))).collect() }
    }
}
impl Module for Sequential {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.layers.iter().for_each(|(name, layer)| layer.walk(&join(path, name), f));
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.layers.iter_mut().for_each(|(name, layer)| layer.walk_mut(&join(path, name), f));
    }
    fn train(&self, on: bool) {
        self.layers.iter().for_each(|(_, layer)| layer.train(on));
    }
}
impl Layer for Sequential {
    fn forward(&self, x: &Tensor) -> Tensor {
        Sequential::forward(self, x)
    }
}

/// A function as a layer without parameters.
///
/// ```
/// use vorpal_nn::{Device, Lambda, Layer, Tensor};
/// let twice = Lambda(|x: &Tensor| x * 2.0);
/// let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
/// assert_eq!(twice.forward(&x).to_vec::<f32>()?, [2.0, 4.0]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Lambda<F>(
    /// The function.
    pub F,
);

impl<F> std::fmt::Debug for Lambda<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lambda")
    }
}
impl<F> Tensors for Lambda<F> {
    fn visit(&self, _: &mut dyn FnMut(&Tensor)) {}
}
impl<F: Clone> Tree for Lambda<F> {
    fn map(&self, _: &mut dyn FnMut(&Tensor) -> Tensor) -> Lambda<F> {
        self.clone()
    }
}
impl<F: Clone> Module for Lambda<F> {
    fn walk(&self, _: &str, _: &mut dyn FnMut(&str, Role, &Tensor)) {}
    fn walk_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, Role, &mut Tensor)) {}
    fn train(&self, _: bool) {}
}
impl<F: Fn(&Tensor) -> Tensor + Clone> Layer for Lambda<F> {
    fn forward(&self, x: &Tensor) -> Tensor {
        (self.0)(x)
    }
}

/// What a layer gives, added to what came in (He et al. 2016).
///
/// ```
/// use vorpal_nn::{Device, Linear, Residual, Tensor};
/// let block = Residual::new(Linear::new(4, 4, &Device::cpu()));
/// let x = Tensor::from_slice(&[1.0f32; 8], [2, 4], &Device::cpu());
/// assert_eq!(block.forward(&x).shape(), [2, 4].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Residual<L: Layer> {
    /// What is added.
    pub layer: L,
}

impl<L: Layer> Residual<L> {
    /// A layer whose result has the shape of its operand.
    pub fn new(layer: L) -> Residual<L> {
        Residual { layer }
    }

    /// `x` and what the layer makes of it, added.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x + self.layer.forward(x)
    }
}
impl<L: Layer> Layer for Residual<L> {
    fn forward(&self, x: &Tensor) -> Tensor {
        Residual::forward(self, x)
    }
}
