//! Gated recurrent units.

use vorpal_autodiff::Tensor;

use super::{RecurrentKind, RecurrentLayer, unroll};

/// The cell of a [`Gru`](crate::Gru).
#[derive(Clone, Copy, Debug, Default)]
pub struct GruKind;

impl RecurrentKind for GruKind {
    const GATES: usize = 3;
    const NAME: &'static str = "gru";
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
        let hidden = layer.weight_hh.shape().last().copied().unwrap_or(0);
        let weight = layer.weight_hh.t();
        let step = |h: &Tensor, from_inputs: &Tensor| {
            let product = h.matmul(&weight);
            let from_state = match &layer.bias_hh {
                Some(bias) => product + bias,
                None => product,
            };
            let gate = |all: &Tensor, k: usize| all.narrow(-1, k * hidden, hidden);
            let both = |k: usize| (gate(from_inputs, k) + gate(&from_state, k)).sigmoid();
            let (reset, update) = (both(0), both(1));
            let new = (gate(from_inputs, 2) + reset * gate(&from_state, 2)).tanh();
            &new + update * (h - &new)
        };
        match unroll(start, &layer.of_inputs(x, layer.bias_ih.clone()), mask, step, Tensor::clone) {
            Ok((last, outputs)) => (outputs, last),
            Err(error) => (Tensor::error(error.clone()), Tensor::error(error)),
        }
    }
}
