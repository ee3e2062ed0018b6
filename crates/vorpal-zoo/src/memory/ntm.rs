//! A controller with a memory of its own.

use vorpal_nn::{Device, Linear, LstmCell, Module, Tensor, init};

/// Sizes of a [`NeuralTuringMachine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NtmOptions {
    /// Numbers that come in at each step.
    pub inputs: usize,
    /// Numbers that go out.
    pub outputs: usize,
    /// Units of the controller.
    pub hidden: usize,
    /// Places of the memory.
    pub places: usize,
    /// Numbers at each place.
    pub width: usize,
}

/// A neural Turing machine (Graves et al. 2014): an LSTM that reads from and writes to a memory of `places` rows, with a
/// head for each. A head finds places by what stands there, goes on from where it was, shifts by one place or none, and
/// sharpens; all of it is differentiable. Inputs `[batch, steps, inputs]` to `[batch, steps, outputs]`; with 9 inputs, 8 outputs,
/// 64 units and 40 places of 10 numbers, as it is trained, it has 26,150 parameters.
///
/// `vorpal train ntm` learns to copy sequences of 1 to 8 bytes; it is tested on sequences of 16, which it has never seen,
/// and gets at least 95 % of their bits right. An LSTM alone cannot do that: it has no way to go on.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::memory::{NeuralTuringMachine, NtmOptions};
/// let device = Device::cpu();
/// let options = NtmOptions { inputs: 3, outputs: 2, hidden: 8, places: 5, width: 4 };
/// let model = NeuralTuringMachine::new(options, &device);
/// let (answers, _) = model.forward(&Tensor::rand([2, 6, 3], DType::F32, &device));
/// assert_eq!(answers.shape(), [2, 6, 2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct NeuralTuringMachine {
    controller: LstmCell,
    read: Head,
    write: Head,
    erase: Linear,
    add: Linear,
    out: Linear,
    /// The memory before anything is written, `[places, width]`.
    start: Tensor,
    /// What was read before anything was, `[width]`.
    first: Tensor,
}

/// What finds places.
#[derive(Clone, Debug, Module)]
struct Head {
    key: Linear,
    strength: Linear,
    gate: Linear,
    shift: Linear,
    sharpness: Linear,
}

impl Head {
    fn new(hidden: usize, width: usize, device: &Device) -> Head {
        let layer = |outputs| Linear::new(hidden, outputs, device);
        Head { key: layer(width), strength: layer(1), gate: layer(1), shift: layer(3), sharpness: layer(1) }
    }

    /// Weights `[batch, places]` from the controller's state `[batch, hidden]`, the memory `[batch, places, width]` and
    /// the weights of the step before.
    fn find(&self, state: &Tensor, memory: &Tensor, before: &Tensor) -> Tensor {
        let key = self.key.forward(state).tanh().unsqueeze(1);
        let alike = key.cosine_similarity(memory, -1, 1e-6);
        let content = (self.strength.forward(state).softplus() * alike).softmax(-1);
        let gate = self.gate.forward(state).sigmoid();
        let gated = &gate * content + (1.0 - &gate) * before;
        let shift = self.shift.forward(state).softmax(-1);
        let by = |k: usize| shift.narrow(1, k, 1);
        let moved = by(0) * gated.roll(-1, 1) + by(1) * &gated + by(2) * gated.roll(1, 1);
        // Powers of numbers that may be 0 have no finite derivative there.
        let sharp = (moved + 1e-8).pow(1.0 + self.sharpness.forward(state).softplus());
        &sharp / sharp.sum_keepdim([1])
    }
}

impl NeuralTuringMachine {
    /// Random weights.
    pub fn new(options: NtmOptions, device: &Device) -> NeuralTuringMachine {
        let NtmOptions { inputs, outputs, hidden, places, width } = options;
        NeuralTuringMachine {
            controller: LstmCell::new(inputs + width, hidden, device),
            read: Head::new(hidden, width, device),
            write: Head::new(hidden, width, device),
            erase: Linear::new(hidden, width, device),
            add: Linear::new(hidden, width, device),
            out: Linear::new(hidden + width, outputs, device),
            // Alike everywhere: what is found at first depends on what is written.
            start: init::constant([places, width], 1e-3, device),
            first: init::normal([width], 0.1, device),
        }
    }

    /// Logits `[batch, steps, outputs]` of `inputs` `[batch, steps, inputs]`, and where was read, `[batch, steps, places]`.
    #[track_caller]
    pub fn forward(&self, inputs: &Tensor) -> (Tensor, Tensor) {
        let [batch, steps] = [0, 1].map(|k: usize| inputs.shape().get(k).copied().unwrap_or(0));
        let [places, width] = [0, 1].map(|k: usize| self.start.shape().get(k).copied().unwrap_or(1));
        let mut memory = self.start.broadcast_to([batch, places, width]);
        let mut seen = self.first.tanh().broadcast_to([batch, width]);
        // Both heads begin at the first place.
        let first = self.start.full_like(0.0).narrow(1, 0, 1).squeeze(1).narrow(0, 1, places - 1);
        let first = first.pad(0, 1, 0, 1.0).broadcast_to([batch, places]);
        let (mut read, mut write, mut state) = (first.clone(), first, None);
        let (mut answers, mut places_read) = (Vec::new(), Vec::new());
        for step in 0..steps {
            let x = Tensor::concat(&[&inputs.narrow(1, step, 1).squeeze(1), &seen], 1);
            let next = self.controller.forward(&x, state.as_ref());
            let hidden = next.0.clone();
            state = Some(next);
            write = self.write.find(&hidden, &memory, &write);
            let at = write.unsqueeze(2);
            let erased = &at * self.erase.forward(&hidden).sigmoid().unsqueeze(1);
            let added = &at * self.add.forward(&hidden).tanh().unsqueeze(1);
            memory = memory * (1.0 - erased) + added;
            read = self.read.find(&hidden, &memory, &read);
            seen = read.unsqueeze(1).matmul(&memory).squeeze(1);
            answers.push(self.out.forward(&Tensor::concat(&[&hidden, &seen], 1)));
            places_read.push(read.clone());
        }
        let stack = |all: &[Tensor]| Tensor::stack(&all.iter().collect::<Vec<_>>(), 1);
        (stack(&answers), stack(&places_read))
    }
}
