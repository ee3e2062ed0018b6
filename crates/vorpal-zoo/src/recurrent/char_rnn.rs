//! A language model of a recurrent network.

use vorpal_nn::{Device, Embedding, Gru, Linear, Lstm, Module, RecurrentOptions, Rnn, Tensor};

/// What hands a state from byte to byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Elman's network (1990).
    Rnn,
    /// Gated recurrent units (Cho et al. 2014).
    Gru,
    /// Long short-term memory (Hochreiter & Schmidhuber 1997).
    Lstm,
}

/// Sizes of a [`CharRnn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CharRnnOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Numbers of a state.
    pub hidden: usize,
    /// Layers above one another.
    pub layers: usize,
    /// What hands the state on.
    pub cell: Cell,
}

/// A language model of a recurrent network (Mikolov et al. 2010; Graves 2013; Karpathy 2015): an embedding, layers of one
/// kind of cell, one linear layer. Parameters are named as those of PyTorch's example of word language models. Tokens
/// `[batch, length]` to logits `[batch, length, vocabulary]`.
///
/// `vorpal train char-rnn` learns the bytes of the documentation and sources of Vorpal with an LSTM (148,736 parameters;
/// goal: a test loss of 2.2 nats a byte), `gru` with gated recurrent units (123,904; 2.0), `rnn` with Elman's network
/// (74,240; 2.1).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::recurrent::{Cell, CharRnn, CharRnnOptions};
/// let device = Device::cpu();
/// let options = CharRnnOptions { vocabulary: 11, width: 4, hidden: 8, layers: 1, cell: Cell::Gru };
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// assert_eq!(CharRnn::new(options, &device).forward(&tokens).shape(), [2, 3, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct CharRnn {
    encoder: Embedding,
    #[module(name = "rnn")]
    elman: Option<Rnn>,
    #[module(name = "rnn")]
    gru: Option<Gru>,
    #[module(name = "rnn")]
    lstm: Option<Lstm>,
    decoder: Linear,
}

impl CharRnn {
    /// Random weights, as PyTorch starts.
    pub fn new(options: CharRnnOptions, device: &Device) -> CharRnn {
        let CharRnnOptions { vocabulary, width, hidden, layers, cell } = options;
        let stack = || RecurrentOptions { layers, batch_first: true, ..RecurrentOptions::default() };
        CharRnn {
            encoder: Embedding::new(vocabulary, width, device),
            elman: (cell == Cell::Rnn).then(|| Rnn::with_options(width, hidden, stack(), device)),
            gru: (cell == Cell::Gru).then(|| Gru::with_options(width, hidden, stack(), device)),
            lstm: (cell == Cell::Lstm).then(|| Lstm::with_options(width, hidden, stack(), device)),
            decoder: Linear::new(hidden, vocabulary, device),
        }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`, from a state of zeros.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let x = self.encoder.forward(tokens);
        let states = match (&self.elman, &self.gru, &self.lstm) {
            (Some(rnn), ..) => rnn.forward(&x, None).0,
            (_, Some(gru), _) => gru.forward(&x, None).0,
            (.., Some(lstm)) => lstm.forward(&x, None).0,
            _ => x,
        };
        self.decoder.forward(&states)
    }
}
