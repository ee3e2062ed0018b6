//! Single steps of recurrent networks.

use vorpal_autodiff::{At, Device, Tensor, Tensors, Tree};

use super::{GruKind, LstmKind, RecurrentKind, RecurrentLayer, RnnKind, zero_state};
use crate::layers::wrong;
use crate::{Module, Role};

/// One step of a recurrent network, as [`RnnCell`], [`LstmCell`] and [`GruCell`]: for loops of one's own. Parameters are
/// named and laid out as those of PyTorch's cells.
///
/// ```
/// use vorpal_nn::{DType, Device, LstmCell, Tensor};
/// let cell = LstmCell::new(3, 5, &Device::cpu());
/// let x = Tensor::ones([4, 3], DType::F32, &Device::cpu());
/// let first = cell.forward(&x, None);
/// let (h, c) = cell.forward(&x, Some(&first));
/// assert_eq!((h.shape(), c.shape()), ([4, 5].into(), [4, 5].into()));
/// ```
#[derive(Clone, Debug)]
pub struct RecurrentCell<K> {
    /// The parameters.
    pub layer: RecurrentLayer,
    kind: K,
}

/// One step of an [`Rnn`](crate::Rnn).
pub type RnnCell = RecurrentCell<RnnKind>;
/// One step of an [`Lstm`](crate::Lstm).
pub type LstmCell = RecurrentCell<LstmKind>;
/// One step of a [`Gru`](crate::Gru).
pub type GruCell = RecurrentCell<GruKind>;

impl RnnCell {
    /// The same with a ReLU in the place of tanh.
    #[must_use]
    pub fn relu(self) -> RnnCell {
        RecurrentCell { kind: RnnKind { relu: true }, ..self }
    }
}

impl<K: RecurrentKind + Default> RecurrentCell<K> {
    /// Weights and biases uniform in ±1∕√hidden, PyTorch's default.
    pub fn new(inputs: usize, hidden: usize, device: &Device) -> RecurrentCell<K> {
        let kind = K::default();
        RecurrentCell { layer: RecurrentLayer::new(&kind, inputs, hidden, true, device), kind }
    }

    /// The same without biases.
    #[must_use]
    pub fn without_bias(mut self) -> RecurrentCell<K> {
        self.layer.bias_ih = None;
        self.layer.bias_hh = None;
        self
    }

    /// The state after a step with `x`, `[batch, inputs]`; before the first one it is zeros.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<&K::State>) -> K::State {
        let at = At::caller();
        let x = if x.rank() == 2 {
            x.unsqueeze(0)
        } else {
            wrong::shape(K::NAME, "a cell needs [batch, inputs]", &[x], at)
        };
        let start = state.cloned().unwrap_or_else(|| zero_state::<K>(&self.layer, &x));
        self.kind.run(&self.layer, &x, &start, None).1
    }
}

impl<K: RecurrentKind> Tensors for RecurrentCell<K> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.layer.visit(f);
    }
}
impl<K: RecurrentKind> Tree for RecurrentCell<K> {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> RecurrentCell<K> {
        RecurrentCell { layer: self.layer.map(f), kind: self.kind.clone() }
    }
}
impl<K: RecurrentKind> Module for RecurrentCell<K> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        self.layer.walk(path, f);
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        self.layer.walk_mut(path, f);
    }
    fn train(&self, _: bool) {}
}
