//! Long short-term memory.

use vorpal_autodiff::{Device, Tensor};

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
        start: &LstmState,
        mask: Option<&Tensor>,
    ) -> (Tensor, LstmState) {
        let hidden = layer.weight_hh.shape().first().copied().unwrap_or(0) / 4;
        let (weight, projection) = (layer.weight_hh.t(), layer.weight_hr.as_ref().map(Tensor::t));
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
        match unroll(start, &layer.of_inputs(x, layer.bias()), mask, step, |(h, _)| h.clone()) {
            Ok((last, outputs)) => (outputs, last),
            Err(error) => {
                let wrong = Tensor::error(error);
                (wrong.clone(), (wrong.clone(), wrong))
            }
        }
    }
}
