//! Recurrent layers.

use vorpal_autodiff::{At, Device, Error, Tensor, Tensors, Tree, custom_vjp, scan};

use crate::init::uniform;
use crate::{Module, Role, join};

/// Long short-term memory (Hochreiter & Schmidhuber 1997) in layers above one another, `[steps, batch, inputs]` to
/// `[steps, batch, hidden]`. Parameters are named and laid out as those of PyTorch's `LSTM`, the gates in the order
/// input, forget, cell, output.
///
/// The products of the inputs with their weights do not wait for the states: each layer takes them for all steps at
/// once.
///
/// ```
/// use vorpal_nn::{DType, Device, Lstm, Tensor};
/// let lstm = Lstm::new(3, 5, 2, &Device::cpu());
/// let x = Tensor::ones([7, 4, 3], DType::F32, &Device::cpu());
/// let (outputs, last) = lstm.forward(&x, None);
/// assert_eq!(outputs.shape(), [7, 4, 5].into());
/// // Hidden and cell state of each layer.
/// assert_eq!((last.len(), last[0].0.shape()), (2, [4, 5].into()));
/// ```
#[derive(Clone, Debug)]
pub struct Lstm {
    /// The layers, the first one next to the input.
    pub layers: Vec<LstmLayer>,
}

/// Parameters of one layer of an [`Lstm`].
#[derive(Clone, Debug, Module)]
pub struct LstmLayer {
    /// Weights of the inputs, `[4 hidden, inputs]`.
    pub weight_ih: Tensor,
    /// Weights of the hidden states, `[4 hidden, hidden]`.
    pub weight_hh: Tensor,
    /// Added to the products of the inputs, `[4 hidden]`.
    pub bias_ih: Tensor,
    /// Added to the products of the hidden states, `[4 hidden]`.
    pub bias_hh: Tensor,
}

/// Hidden and cell state, `[batch, hidden]` each.
pub type LstmState = (Tensor, Tensor);

impl Lstm {
    /// Weights and biases uniform in ±1∕√hidden, PyTorch's default.
    pub fn new(inputs: usize, hidden: usize, layers: usize, device: &Device) -> Lstm {
        let inputs = std::iter::once(inputs).chain(std::iter::repeat(hidden)).take(layers);
        Lstm { layers: inputs.map(|inputs| LstmLayer::new(inputs, hidden, device)).collect() }
    }

    /// Hidden states of the last layer after every step, and the states of every layer after the last step. The states
    /// before the first step are zeros where none are given; there must be one for each layer.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, start: Option<&[LstmState]>) -> (Tensor, Vec<LstmState>) {
        let mut x = x.clone();
        let mut last = Vec::with_capacity(self.layers.len());
        if let Some(start) = start.filter(|start| start.len() != self.layers.len()) {
            let message =
                format!("{} layers need a state each, {} are given", self.layers.len(), start.len());
            let wrong = Tensor::error(Error::Argument { op: "lstm", message, at: At::caller() });
            return (wrong, last);
        }
        for (k, layer) in self.layers.iter().enumerate() {
            let (outputs, state) = layer.forward(&x, start.map(|start| &start[k]));
            x = outputs;
            last.push(state);
        }
        (x, last)
    }
}

impl LstmLayer {
    fn new(inputs: usize, hidden: usize, device: &Device) -> LstmLayer {
        let bound = 1.0 / (hidden.max(1) as f64).sqrt();
        let draw = |shape: &[usize]| uniform(shape, bound, device);
        LstmLayer {
            weight_ih: draw(&[4 * hidden, inputs]),
            weight_hh: draw(&[4 * hidden, hidden]),
            bias_ih: draw(&[4 * hidden]),
            bias_hh: draw(&[4 * hidden]),
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, start: Option<&LstmState>) -> (Tensor, LstmState) {
        let from_inputs = x.matmul(&self.weight_ih.t()) + (&self.bias_ih + &self.bias_hh);
        let zeros = || {
            let batch = x.shape().get(1).copied().unwrap_or(0);
            let hidden = self.weight_hh.shape().last().copied().unwrap_or(0);
            let zeros = x.device().map(|device| Tensor::zeros([batch, hidden], x.dtype(), &device));
            zeros.unwrap_or_else(|_| x.clone())
        };
        let (h, c) = start.cloned().unwrap_or_else(|| (zeros(), zeros()));
        let states = custom_vjp(
            &[&from_inputs, &self.weight_hh, &h, &c],
            |inputs| match inputs {
                [from_inputs, weight, h, c] => states(from_inputs, weight, h, c),
                _ => x.clone(),
            },
            |inputs, states, grad| match inputs {
                [from_inputs, weight, h, c] => cotangents(from_inputs, weight, h, c, states, grad),
                _ => Vec::new(),
            },
        );
        let steps = x.shape().first().copied().unwrap_or(0);
        let state = |k: usize| states.narrow(0, k, 1).squeeze(0);
        (states.narrow(0, 1, steps), (state(steps), state(steps + 1)))
    }
}

/// Hidden states before the first and after every step, and the last cell state: `[steps + 2, batch, hidden]`.
#[track_caller]
fn states(from_inputs: &Tensor, weight: &Tensor, h: &Tensor, c: &Tensor) -> Tensor {
    let outputs = run(from_inputs, weight, h, c, |_| ());
    outputs.map_or_else(Tensor::error, |(outputs, last)| {
        Tensor::concat(&[&h.unsqueeze(0), &outputs, &last.unsqueeze(0)], 0)
    })
}

/// What a step is made from, and the cell state it makes.
struct Step {
    input: Tensor,
    forget: Tensor,
    cell: Tensor,
    output: Tensor,
    c_before: Tensor,
    c: Tensor,
}

/// All steps, each of which is shown to `see`: the hidden states and the last cell state.
#[track_caller]
fn run(
    from_inputs: &Tensor,
    weight: &Tensor,
    h: &Tensor,
    c: &Tensor,
    mut see: impl FnMut(Step),
) -> Result<(Tensor, Tensor), Error> {
    let hidden = weight.shape().last().copied().unwrap_or(0);
    let weight = weight.t();
    let step = |(h, c_before): &LstmState, from_inputs: &Tensor| {
        let all = from_inputs + h.matmul(&weight);
        let gate = |k: usize| all.narrow(-1, k * hidden, hidden);
        let (input, forget, cell, output) =
            (gate(0).sigmoid(), gate(1).sigmoid(), gate(2).tanh(), gate(3).sigmoid());
        let c = &forget * c_before + &input * &cell;
        let h = &output * c.tanh();
        see(Step { input, forget, cell, output, c_before: c_before.clone(), c: c.clone() });
        ((h.clone(), c), h)
    };
    scan(&(h.clone(), c.clone()), from_inputs, step).map(|((_, last), outputs)| (outputs, last))
}

/// Cotangents of what `states` is made from.
///
/// Each step back gives those of its four gates as one tensor, which one product takes to the step before. As the
/// products of the inputs are added to those of the states, their cotangents are the same, and one product of all steps
/// is the cotangent of the weights.
fn cotangents(
    from_inputs: &Tensor,
    weight: &Tensor,
    h: &Tensor,
    c: &Tensor,
    states_after: &Tensor,
    grad: &Tensor,
) -> Vec<Option<Tensor>> {
    let mut steps: Vec<Step> = Vec::new();
    if let Err(error) = run(from_inputs, weight, h, c, |step| steps.push(step)) {
        return vec![Some(Tensor::error(error)); 4];
    }
    let of = |k: usize| grad.narrow(0, k, 1).squeeze(0);
    let (mut to_c, mut to_gates) = (of(steps.len() + 1), Vec::with_capacity(steps.len()));
    let from_gates = |k: usize, gates: Option<&Tensor>| match gates {
        Some(gates) => gates.matmul(weight) + of(k),
        None => of(k),
    };
    for (k, step) in steps.iter().enumerate().rev() {
        let to_h = from_gates(k + 1, to_gates.last());
        let shown = step.c.tanh();
        let through = &to_h * &step.output;
        to_c = &to_c + (&through - &through * (&shown * &shown));
        let slope = |gate: &Tensor| gate - gate * gate;
        to_gates.push(Tensor::concat(
            &[
                &(&to_c * &step.cell * slope(&step.input)),
                &(&to_c * &step.c_before * slope(&step.forget)),
                &(&to_c * &step.input * (1.0 - &step.cell * &step.cell)),
                &(&to_h * &shown * slope(&step.output)),
            ],
            -1,
        ));
        to_c = &to_c * &step.forget;
    }
    let to_h = from_gates(0, to_gates.last());
    to_gates.reverse();
    let to_inputs = match &to_gates[..] {
        [] => from_inputs.clone(),
        gates => Tensor::stack(&gates.iter().collect::<Vec<_>>(), 0),
    };
    let before = states_after.narrow(0, 0, steps.len()).flatten(0, 1);
    let to_weight = to_inputs.flatten(0, 1).t().matmul(&before);
    vec![Some(to_inputs), Some(to_weight), Some(to_h), Some(to_c)]
}

impl Tensors for Lstm {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.layers.visit(f);
    }
}

impl Tree for Lstm {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Lstm {
        Lstm { layers: self.layers.map(f) }
    }
}

/// Parameters of layer `k` end in `_l{k}`, as PyTorch's.
impl Module for Lstm {
    fn walk(&self, path: &str, f: &mut dyn FnMut(&str, Role, &Tensor)) {
        for (k, layer) in self.layers.iter().enumerate() {
            layer.walk("", &mut |name, role, tensor| f(&join(path, &format!("{name}_l{k}")), role, tensor));
        }
    }
    fn walk_mut(&mut self, path: &str, f: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (k, layer) in self.layers.iter_mut().enumerate() {
            layer.walk_mut("", &mut |name, role, tensor| {
                f(&join(path, &format!("{name}_l{k}")), role, tensor)
            });
        }
    }
    fn train(&self, _: bool) {}
}
