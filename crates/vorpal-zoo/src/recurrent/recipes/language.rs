//! Language models of the bytes of a text.

use vorpal_nn::metrics::Accuracy;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Adam, Device, Error, Module, Result, Tensor};

use crate::recipe::Run;
use crate::recurrent::{
    Aft, AftOptions, Cell, CharRnn, CharRnnOptions, LinearTransformer, LinearTransformerOptions, Mamba,
    MambaOptions, Rwkv, RwkvOptions,
};
use crate::transformer::batches;

/// Values of a byte.
const VOCABULARY: usize = 256;

/// Trains a model that answers windows of `context` bytes, on all but the last tenth of the text.
fn learn<M: Module + Clone>(
    run: &mut Run,
    model: impl Fn(&Device) -> M,
    forward: fn(&M, &Tensor) -> Tensor,
) -> Result<()> {
    let context = run.size("context")?;
    let (mut train, mut test) = batches(run, context)?;
    let task =
        supervised(move |m: &M, x: &Tensor| forward(m, x), |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let steps = run.steps(train.len());
    let trainer = Trainer::new(task, model(run.device()), Adam::adamw(run.rate()))
        .schedule(CosineAnnealing::new(run.rate(), steps), Every::Step)
        .clip_grad_norm(1.0)
        .metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, test.as_mut())?;
    Ok(())
}

fn char_rnn(run: &mut Run, cell: Cell) -> Result<()> {
    let (width, hidden, layers) = (run.size("width")?, run.size("hidden")?, run.size("layers")?);
    let options = CharRnnOptions { vocabulary: VOCABULARY, width, hidden, layers, cell };
    learn(run, |device| CharRnn::new(options, device), CharRnn::forward)
}

pub fn rnn(run: &mut Run) -> Result<()> {
    char_rnn(run, Cell::Rnn)
}

pub fn gru(run: &mut Run) -> Result<()> {
    char_rnn(run, Cell::Gru)
}

pub fn lstm(run: &mut Run) -> Result<()> {
    char_rnn(run, Cell::Lstm)
}

pub fn mamba(run: &mut Run) -> Result<()> {
    let (width, states, layers) = (run.size("width")?, run.size("states")?, run.size("layers")?);
    let options = MambaOptions { vocabulary: VOCABULARY, width, states, layers };
    learn(run, |device| Mamba::new(options, device), Mamba::forward)
}

pub fn rwkv(run: &mut Run) -> Result<()> {
    let (width, layers) = (run.size("width")?, run.size("layers")?);
    let options = RwkvOptions { vocabulary: VOCABULARY, width, layers };
    learn(run, |device| Rwkv::new(options, device), Rwkv::forward)
}

/// Whether `b` divides `a`.
fn whole(a: usize, b: usize) -> bool {
    b > 0 && a > 0 && a.is_multiple_of(b)
}

pub fn linear_attention(run: &mut Run) -> Result<()> {
    let size = |name: &str| run.size(name);
    let options = LinearTransformerOptions {
        vocabulary: VOCABULARY,
        context: size("context")?,
        width: size("width")?,
        heads: size("heads")?,
        layers: size("layers")?,
        chunk: size("chunk")?,
    };
    if !whole(options.context, options.chunk) || !whole(options.width, options.heads) {
        let message = "heads must divide the width, and chunks the context";
        return Err(Error::format("sizes", message));
    }
    learn(run, |device| LinearTransformer::new(options, device), LinearTransformer::forward)
}

pub fn aft(run: &mut Run) -> Result<()> {
    let size = |name: &str| run.size(name);
    let options = AftOptions {
        vocabulary: VOCABULARY,
        width: size("width")?,
        heads: size("heads")?,
        window: size("window")?,
        layers: size("layers")?,
    };
    if !whole(options.width, options.heads) || options.window == 0 {
        let message = "heads must divide the width, and a window holds at least the present token";
        return Err(Error::format("sizes", message));
    }
    learn(run, |device| Aft::new(options, device), Aft::forward)
}
