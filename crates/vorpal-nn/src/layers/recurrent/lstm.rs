//! Long short-term memory.

use vorpal_autodiff::{Device, Result, Tensor, custom_vjp, vjp};

use super::{Lstm, Recurrent, RecurrentKind, RecurrentLayer, RecurrentOptions, unroll};

/// The cell of an [`Lstm`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LstmKind {
    projection: Option<usize>,
}

/// Hidden and cell state, `[batch, hidden]` each; a projected hidden state has fewer columns.
pub type LstmState = (Tensor, Tensor);

impl Lstm {
    /// An LSTM whose hidden states are brought to `projected` columns (Sak et al. 2014): PyTorch's `proj_size`.
    ///
    /// ```
    /// use vorpal_nn::{DType, Device, Lstm, RecurrentOptions, Tensor};
    /// let lstm = Lstm::projected(3, 5, 2, RecurrentOptions::default(), &Device::cpu());
    /// let x = Tensor::ones([7, 4, 3], DType::F32, &Device::cpu());
    /// let (outputs, last) = lstm.forward(&x, None);
    /// assert_eq!(outputs.shape(), [7, 4, 2].into());
    /// assert_eq!((last[0].0.shape(), last[0].1.shape()), ([4, 2].into(), [4, 5].into()));
    /// ```
    pub fn projected(
        inputs: usize,
        hidden: usize,
        projected: usize,
        options: RecurrentOptions,
        device: &Device,
    ) -> Lstm {
        Recurrent::of_kind(LstmKind { projection: Some(projected) }, inputs, hidden, options, device)
    }
}

impl RecurrentKind for LstmKind {
    const GATES: usize = 4;
    const NAME: &'static str = "lstm";
    type State = LstmState;

    fn projection(&self) -> Option<usize> {
        self.projection
    }

    fn start(layer: &RecurrentLayer, zeros: &dyn Fn(usize) -> Tensor) -> LstmState {
        let [rows, columns] =
            [0, 1].map(|axis: usize| layer.weight_hh.shape().get(axis).copied().unwrap_or(0));
        (zeros(columns), zeros(rows / 4))
    }

    #[track_caller]
    fn run(
        &self,
        layer: &RecurrentLayer,
        x: &Tensor,
        (h, c): &LstmState,
        mask: Option<&Tensor>,
    ) -> (Tensor, LstmState) {
        let from_inputs = layer.of_inputs(x, layer.bias());
        if let Some(projection) = &layer.weight_hr {
            return match steps(&from_inputs, &layer.weight_hh, Some(projection), (h, c), mask) {
                Ok((last, outputs)) => (outputs, last),
                Err(error) => {
                    let wrong = Tensor::error(error);
                    (wrong.clone(), (wrong.clone(), wrong))
                }
            };
        }
        let mut operands = vec![&from_inputs, &layer.weight_hh, h, c];
        operands.extend(mask);
        let states = custom_vjp(
            &operands,
            |inputs| match inputs {
                [from_inputs, weight, h, c, mask @ ..] => states(from_inputs, weight, h, c, mask.first()),
                _ => x.clone(),
            },
            |inputs, states, grad| match inputs {
                [from_inputs, weight, h, c, mask @ ..] => {
                    let mut all = cotangents(from_inputs, weight, h, c, mask.first(), states, grad);
                    all.resize(inputs.len(), None);
                    all
                }
                _ => Vec::new(),
            },
        );
        let steps = x.shape().first().copied().unwrap_or(0);
        let state = |k: usize| states.narrow(0, k, 1).squeeze(0);
        (states.narrow(0, 1, steps), (state(steps), state(steps + 1)))
    }
}

/// The last state, and the hidden states after every step.
///
/// # Errors
/// Those of the loop.
#[track_caller]
fn steps(
    from_inputs: &Tensor,
    weight: &Tensor,
    projection: Option<&Tensor>,
    (h, c): (&Tensor, &Tensor),
    mask: Option<&Tensor>,
) -> Result<(LstmState, Tensor)> {
    let hidden = weight.shape().first().copied().unwrap_or(0) / 4;
    let (weight, projection) = (weight.t(), projection.map(Tensor::t));
    let step = |(h, c): &LstmState, from_inputs: &Tensor| {
        let all = from_inputs + h.matmul(&weight);
        let gate = |k: usize| all.narrow(-1, k * hidden, hidden);
        let c = gate(1).sigmoid() * c + gate(0).sigmoid() * gate(2).tanh();
        let h = gate(3).sigmoid() * c.tanh();
        match &projection {
            Some(projection) => (h.matmul(projection), c),
            None => (h, c),
        }
    };
    unroll(&(h.clone(), c.clone()), from_inputs, mask, step, |(h, _)| h.clone())
}

/// Hidden states before the first and after every step, and the last cell state: `[steps + 2, batch, hidden]`.
#[track_caller]
fn states(from_inputs: &Tensor, weight: &Tensor, h: &Tensor, c: &Tensor, mask: Option<&Tensor>) -> Tensor {
    match steps(from_inputs, weight, None, (h, c), mask) {
        Ok(((_, last), outputs)) => Tensor::concat(&[&h.unsqueeze(0), &outputs, &last.unsqueeze(0)], 0),
        Err(error) => Tensor::error(error),
    }
}

/// Cotangents of what `states` is made from. Steps add their shares of the weights' cotangent, a small product each: as
/// the products of the inputs are added to those of the states, their cotangents are the same, and one product of all
/// steps is the sum.
fn cotangents(
    from_inputs: &Tensor,
    weight: &Tensor,
    h: &Tensor,
    c: &Tensor,
    mask: Option<&Tensor>,
    states_after: &Tensor,
    grad: &Tensor,
) -> Vec<Option<Tensor>> {
    let rest = (from_inputs.clone(), h.clone(), c.clone());
    let rest = vjp(&rest, |(from_inputs, h, c)| states(from_inputs, weight, h, c, mask))
        .and_then(|(_, back)| back(grad));
    match rest {
        Ok((from_inputs, h, c)) => {
            let steps = from_inputs.shape().first().copied().unwrap_or(0);
            let before = states_after.narrow(0, 0, steps).flatten(0, 1);
            let weight = from_inputs.flatten(0, 1).t().matmul(&before);
            vec![Some(from_inputs), Some(weight), Some(h), Some(c)]
        }
        Err(error) => vec![Some(Tensor::error(error)); 4],
    }
}
