//! Elman's network.

use vorpal_autodiff::Tensor;

use super::{Recurrent, RecurrentKind, RecurrentLayer, Rnn, unroll};

/// The cell of an [`Rnn`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RnnKind {
    /// Whether a ReLU stands in the place of tanh: PyTorch's `nonlinearity="relu"`.
    pub(super) relu: bool,
}

impl Rnn {
    /// The same with a ReLU in the place of tanh.
    #[must_use]
    pub fn relu(self) -> Rnn {
        Recurrent { kind: RnnKind { relu: true }, ..self }
    }
}

impl RecurrentKind for RnnKind {
    const GATES: usize = 1;
    const NAME: &'static str = "rnn";
    type State = Tensor;

    fn start(layer: &RecurrentLayer, zeros: &dyn Fn(usize) -> Tensor) -> Tensor {
        zeros(layer.weight_hh.shape().last().copied().unwrap_or(0))
    }

    #[track_caller]
    fn run(
        &self,
        layer: &RecurrentLayer,
        x: &Tensor,
        start: &Tensor,
        mask: Option<&Tensor>,
    ) -> (Tensor, Tensor) {
        let weight = layer.weight_hh.t();
        let step = |h: &Tensor, from_inputs: &Tensor| {
            let sum = from_inputs + h.matmul(&weight);
            if self.relu { sum.relu() } else { sum.tanh() }
        };
        match unroll(start, &layer.of_inputs(x, layer.bias()), mask, step, Tensor::clone) {
            Ok((last, outputs)) => (outputs, last),
            Err(error) => (Tensor::error(error.clone()), Tensor::error(error)),
        }
    }
}
