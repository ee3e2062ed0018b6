//! Recurrent layers: one stack of layers and directions over the kinds of cells.

mod cell;
mod gru;
mod lstm;
mod plain;

use vorpal_autodiff::{At, DType, Device, Result, Tensor, Tensors, Tree, scan};

pub use self::cell::{GruCell, LstmCell, RecurrentCell, RnnCell};
pub use self::gru::GruKind;
pub use self::lstm::{LstmKind, LstmState};
pub use self::plain::RnnKind;
use super::wrong;
use crate::init::uniform;
use crate::{Module, Role, Training, join};

/// Parameters of one layer and direction of a recurrent network.
#[derive(Clone, Debug, Module)]
pub struct RecurrentLayer {
    /// Weights of the inputs, `[gates · hidden, inputs]`.
    pub weight_ih: Tensor,
    /// Weights of the hidden states, `[gates · hidden, hidden]`.
    pub weight_hh: Tensor,
    /// Added to the products of the inputs, `[gates · hidden]`.
    pub bias_ih: Option<Tensor>,
    /// Added to the products of the hidden states, `[gates · hidden]`.
    pub bias_hh: Option<Tensor>,
    /// Brings hidden states of an LSTM to fewer columns, `[projected, hidden]`.
    pub weight_hr: Option<Tensor>,
}

impl RecurrentLayer {
    /// Uniform in ±1∕√hidden, PyTorch's default.
    fn new<K: RecurrentKind>(
        kind: &K,
        inputs: usize,
        hidden: usize,
        bias: bool,
        d: &Device,
    ) -> RecurrentLayer {
        let bound = 1.0 / (hidden.max(1) as f64).sqrt();
        let draw = |shape: &[usize]| uniform(shape, bound, d);
        let rows = K::GATES * hidden;
        RecurrentLayer {
            weight_ih: draw(&[rows, inputs]),
            weight_hh: draw(&[rows, kind.width(hidden)]),
            bias_ih: bias.then(|| draw(&[rows])),
            bias_hh: bias.then(|| draw(&[rows])),
            weight_hr: kind.projection().map(|projected| draw(&[projected, hidden])),
        }
    }

    /// Products of the inputs of all steps, which do not wait for the states, with `bias` added.
    #[track_caller]
    fn of_inputs(&self, x: &Tensor, bias: Option<Tensor>) -> Tensor {
        let product = x.matmul(&self.weight_ih.t());
        match bias {
            Some(bias) => product + bias,
            None => product,
        }
    }

    /// The sum of both biases.
    fn bias(&self) -> Option<Tensor> {
        match (&self.bias_ih, &self.bias_hh) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
        }
    }
}

/// A kind of recurrent network: what becomes of a state in a step. See [`Rnn`], [`Lstm`] and [`Gru`].
pub trait RecurrentKind: Clone + std::fmt::Debug {
    /// Blocks of rows of the weights.
    const GATES: usize;
    /// Name in errors.
    const NAME: &'static str;
    /// What is handed from step to step.
    type State: Tree + Clone;

    /// Columns of hidden states to which others are projected.
    fn projection(&self) -> Option<usize> {
        None
    }

    /// Columns of the results.
    fn width(&self, hidden: usize) -> usize {
        self.projection().unwrap_or(hidden)
    }

    /// The state before the first step of a `batch`, made of `zeros` of so many columns.
    fn start(layer: &RecurrentLayer, zeros: &dyn Fn(usize) -> Tensor) -> Self::State;

    /// Results `[steps, batch, columns]` for `x`, `[steps, batch, inputs]`, and the last state. Where `mask`,
    /// `[steps, batch, 1]`, does not hold, a state stays what it is.
    fn run(
        &self,
        layer: &RecurrentLayer,
        x: &Tensor,
        start: &Self::State,
        mask: Option<&Tensor>,
    ) -> (Tensor, Self::State);
}

/// The loop of all kinds: states by `step` from the rows of `xs`, `output` of each, and the last state. Where `mask`
/// does not hold a state stays what it is.
///
/// # Errors
/// Those of [`scan`].
#[track_caller]
fn unroll<S: Tree + Clone, X: Tree + Clone>(
    start: &S,
    xs: &X,
    mask: Option<&Tensor>,
    step: impl Fn(&S, &X) -> S,
    output: impl Fn(&S) -> Tensor,
) -> Result<(S, Tensor)> {
    scan(start, &(xs.clone(), mask.cloned()), |state, (x, mask)| {
        let mut state_after = step(state, x);
        if let Some(mask) = mask {
            let mut before = Vec::new();
            state.visit(&mut |tensor| before.push(tensor.clone()));
            let mut before = before.into_iter();
            state_after = state_after.map(&mut |new| match before.next() {
                Some(old) => mask.select(new, old),
                None => new.clone(),
            });
        }
        let out = output(&state_after);
        (state_after, out)
    })
}

/// What a recurrent network is made of. The default is that of PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentOptions {
    /// Layers above one another, 1 by default.
    pub layers: usize,
    /// Whether there are biases, as by default.
    pub bias: bool,
    /// Whether operands are `[batch, steps, …]` instead of `[steps, batch, …]`.
    pub batch_first: bool,
    /// Dropout of what goes from layer to layer while training.
    pub dropout: f64,
    /// Whether each layer runs through the steps from both ends.
    pub bidirectional: bool,
}

impl Default for RecurrentOptions {
    fn default() -> RecurrentOptions {
        RecurrentOptions { layers: 1, bias: true, batch_first: false, dropout: 0.0, bidirectional: false }
    }
}

/// A recurrent network, as [`Rnn`], [`Lstm`] and [`Gru`]: layers above one another, each in one direction or both.
/// `[steps, batch, inputs]` to `[steps, batch, hidden]`, twice as many columns in two directions. Parameters are named and
/// laid out as those of PyTorch.
///
/// The products of the inputs with their weights do not wait for the states: each layer takes them for all steps at
/// once.
///
/// ```
/// use vorpal_nn::{DType, Device, Gru, RecurrentOptions, Tensor};
/// let options = RecurrentOptions { layers: 2, bidirectional: true, ..RecurrentOptions::default() };
/// let gru = Gru::with_options(3, 5, options, &Device::cpu());
/// let x = Tensor::ones([7, 4, 3], DType::F32, &Device::cpu());
/// // Sequences of their own lengths, as PyTorch's packed ones.
/// let lengths = Tensor::from_slice(&[7i32, 2, 5, 7], [4], &Device::cpu());
/// let (outputs, last) = gru.forward_packed(&x, &lengths, None);
/// assert_eq!(outputs.shape(), [7, 4, 10].into());
/// // A state of each layer in each direction.
/// assert_eq!((last.len(), last[0].shape()), (4, [4, 5].into()));
/// ```
#[derive(Clone, Debug)]
pub struct Recurrent<K> {
    /// The layers, the first one next to the input; of each the one backwards after the one forwards.
    pub layers: Vec<RecurrentLayer>,
    kind: K,
    options: RecurrentOptions,
    training: Training,
}

/// Elman's network (1990): h ← tanh(W x + b + V h + c), or with a ReLU by [`relu`](Recurrent::relu). The state is
/// `[batch, hidden]`.
pub type Rnn = Recurrent<RnnKind>;
/// Long short-term memory (Hochreiter & Schmidhuber 1997). The gates stand in the order input, forget, cell, output; the
/// state is a hidden and a cell state, `[batch, hidden]` each.
pub type Lstm = Recurrent<LstmKind>;
/// Gated recurrent units (Cho et al. 2014), in the form of PyTorch and cuDNN. The gates stand in the order reset, update,
/// new; the state is `[batch, hidden]`.
pub type Gru = Recurrent<GruKind>;

impl<K: RecurrentKind + Default> Recurrent<K> {
    /// Layers above one another, with PyTorch's defaults. Weights and biases are uniform in ±1∕√hidden.
    pub fn new(inputs: usize, hidden: usize, layers: usize, device: &Device) -> Recurrent<K> {
        let options = RecurrentOptions { layers, ..RecurrentOptions::default() };
        Recurrent::with_options(inputs, hidden, options, device)
    }

    /// The same with options.
    pub fn with_options(
        inputs: usize,
        hidden: usize,
        options: RecurrentOptions,
        device: &Device,
    ) -> Recurrent<K> {
        Recurrent::of_kind(K::default(), inputs, hidden, options, device)
    }
}

impl<K: RecurrentKind> Recurrent<K> {
    fn of_kind(
        kind: K,
        inputs: usize,
        hidden: usize,
        options: RecurrentOptions,
        device: &Device,
    ) -> Recurrent<K> {
        let directions = 1 + usize::from(options.bidirectional);
        let layer = |k: usize| {
            let inputs = if k < directions { inputs } else { directions * kind.width(hidden) };
            RecurrentLayer::new(&kind, inputs, hidden, options.bias, device)
        };
        let layers = (0..options.layers * directions).map(layer).collect();
        Recurrent { layers, kind, options, training: Training::default() }
    }

    /// What it was made of.
    pub fn options(&self) -> &RecurrentOptions {
        &self.options
    }

    /// Hidden states of the last layer after every step, and the states after the last step: of each layer the one
    /// forwards and, in two directions, the one backwards. The states before the first step are zeros where none are
    /// given; there must be as many.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, start: Option<&[K::State]>) -> (Tensor, Vec<K::State>) {
        self.run(x, None, start, At::caller())
    }

    /// [`forward`](Recurrent::forward) for sequences of their own lengths, `[batch]` of integers, as PyTorch's packed
    /// sequences: results behind the end are 0, last states are those at the end of each sequence, where the direction
    /// backwards begins. A sequence of length 0 keeps its first state.
    #[track_caller]
    pub fn forward_packed(
        &self,
        x: &Tensor,
        lengths: &Tensor,
        start: Option<&[K::State]>,
    ) -> (Tensor, Vec<K::State>) {
        self.run(x, Some(lengths), start, At::caller())
    }

    fn run(
        &self,
        x: &Tensor,
        lengths: Option<&Tensor>,
        start: Option<&[K::State]>,
        at: At,
    ) -> (Tensor, Vec<K::State>) {
        let directions = 1 + usize::from(self.options.bidirectional);
        let mut last = Vec::with_capacity(self.layers.len());
        if let Some(start) = start.filter(|start| start.len() != self.layers.len()) {
            let (layers, given) = (self.layers.len(), start.len());
            let message = format!("{layers} layers and directions need a state each, {given} are given");
            return (wrong::argument(K::NAME, message, at), last);
        }
        let mut x = if self.options.batch_first { x.transpose(0, 1) } else { x.clone() };
        if x.rank() != 3 {
            return (wrong::shape(K::NAME, "needs steps, a batch and inputs", &[&x], at), last);
        }
        let mask = match self.mask(&x, lengths, at) {
            Ok(mask) => mask,
            Err(wrong) => return (wrong, last),
        };
        for (k, pair) in self.layers.chunks(directions).enumerate() {
            if k > 0 && self.training.is_on() && self.options.dropout != 0.0 {
                x = x.dropout(self.options.dropout);
            }
            let mut outputs = Vec::with_capacity(directions);
            for (direction, layer) in pair.iter().enumerate() {
                let start = start.map(|start| start[k * directions + direction].clone());
                let (output, state) = self.one(layer, &x, start, mask.as_ref(), direction == 1);
                outputs.push(output);
                last.push(state);
            }
            x = match &outputs[..] {
                [one] => one.clone(),
                both => Tensor::concat(&both.iter().collect::<Vec<_>>(), -1),
            };
        }
        (if self.options.batch_first { x.transpose(0, 1) } else { x }, last)
    }

    /// Where there are steps, `[steps, batch, 1]`.
    fn mask(&self, x: &Tensor, lengths: Option<&Tensor>, at: At) -> Result<Option<Tensor>, Tensor> {
        let Some(lengths) = lengths else { return Ok(None) };
        let (steps, batch) = (x.shape()[0], x.shape()[1]);
        if *lengths.shape().dims() != [batch] {
            let message = format!("needs a length for each of {batch} sequences");
            return Err(wrong::shape(K::NAME, message, &[x, lengths], at));
        }
        let mask = lengths.sequence_mask(steps);
        if mask.check().is_err() { Err(mask) } else { Ok(Some(mask.t().unsqueeze(-1))) }
    }

    /// One layer in one direction.
    fn one(
        &self,
        layer: &RecurrentLayer,
        x: &Tensor,
        start: Option<K::State>,
        mask: Option<&Tensor>,
        backwards: bool,
    ) -> (Tensor, K::State) {
        let turn = |x: &Tensor| if backwards { x.flip(0) } else { x.clone() };
        let (turned, mask) = (turn(x), mask.map(turn));
        let start = start.unwrap_or_else(|| zero_state::<K>(layer, x));
        let (outputs, state) = self.kind.run(layer, &turned, &start, mask.as_ref());
        let outputs = match &mask {
            Some(mask) => mask.select(&outputs, outputs.full_like(0.0)),
            None => outputs,
        };
        (turn(&outputs), state)
    }
}

/// The state before the first step of `x`, `[steps, batch, inputs]`.
fn zero_state<K: RecurrentKind>(layer: &RecurrentLayer, x: &Tensor) -> K::State {
    let batch = x.shape().get(1).copied().unwrap_or(0);
    let dtype: DType = x.dtype();
    K::start(layer, &|columns| match x.device() {
        Ok(device) => Tensor::zeros([batch, columns], dtype, &device),
        Err(_) => x.clone(),
    })
}

impl<K: RecurrentKind> Tensors for Recurrent<K> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.layers.visit(f);
    }
}

impl<K: RecurrentKind> Tree for Recurrent<K> {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Recurrent<K> {
        Recurrent {
            layers: self.layers.map(f),
            kind: self.kind.clone(),
            options: self.options.clone(),
            training: self.training.clone(),
        }
    }
}

/// Parameters of layer `k` end in `_l{k}`, those backwards in `_l{k}_reverse`, as PyTorch's.
impl<K: RecurrentKind> Module for Recurrent<K> {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        for (k, layer) in self.layers.iter().enumerate() {
            let end = self.end(k);
            layer.walk("", &mut |name, role, tensor| f(&join(path, &format!("{name}{end}")), role, tensor));
        }
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        let ends: Vec<String> = (0..self.layers.len()).map(|k| self.end(k)).collect();
        for (layer, end) in self.layers.iter_mut().zip(ends) {
            layer.walk_mut("", &mut |name, role, tensor| {
                f(&join(path, &format!("{name}{end}")), role, tensor)
            });
        }
    }
    fn train(&self, on: bool) {
        self.training.train(on);
    }
}

impl<K> Recurrent<K> {
    /// What the names of parameters of `layers[k]` end in.
    fn end(&self, k: usize) -> String {
        match self.options.bidirectional {
            true => format!("_l{}{}", k / 2, ["", "_reverse"][k % 2]),
            false => format!("_l{k}"),
        }
    }
}
