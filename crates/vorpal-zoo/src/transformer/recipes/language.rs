//! Trainings of models of language.

use std::cell::RefCell;

use vorpal_nn::data::{DataLoader, Dataset, unzipped};
use vorpal_nn::metrics::{Accuracy, Mean};
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{Error, Module, Result, Tensor, eval};

use super::super::{Gpt, Gpt2, GptOptions, LanguageModel, Llama, LlamaOptions, Moe, Sampling, generate};
use super::{adam, cosine};
use crate::data::{Windows, own_text};
use crate::recipe::Run;

/// Values of a byte.
pub(super) const VOCABULARY: usize = 256;
/// Windows of the end of the text that are looked at in a test, and how many together.
const TEST_WINDOWS: usize = 64;
const TEST_TOGETHER: usize = 8;

/// Sizes of the language model of a run, if they make sense.
///
/// # Errors
/// [`Error::Format`] for sizes that do not fit together.
pub fn gpt_options(size: impl Fn(&str) -> Result<usize>) -> Result<GptOptions> {
    let (layers, width, heads, context) = (size("layers")?, size("width")?, size("heads")?, size("context")?);
    if width == 0 || context == 0 || heads == 0 || !width.is_multiple_of(heads) {
        let message =
            format!("a width of {width} does not split into {heads} heads, or the context of {context} is 0");
        return Err(Error::format("sizes", message));
    }
    Ok(GptOptions { vocabulary: VOCABULARY, context, width, heads, layers })
}

/// The bytes of the text of a file, gzipped or plain, or Vorpal's own: what is learned from; the last tenth, which is
/// kept for the test; no more than `count` windows; and how many of them are looked at together.
pub(super) fn text(run: &Run, context: usize, count: usize) -> Result<(Windows, Windows, usize)> {
    let (what, all) = match &run.settings().text {
        Some(file) => {
            let (what, bytes) =
                (file.display().to_string(), std::fs::read(file).map_err(|e| Error::io(file, &e))?);
            let plain = unzipped(&bytes, &what)?.into_owned();
            (what, plain)
        }
        None => ("the text".to_string(), own_text()?),
    };
    let length = all.len();
    if length == 0 {
        return Err(Error::format(what.clone(), format!("{what} is empty: there is nothing to learn")));
    }
    if length <= context {
        let message = format!("{what} has {length} bytes: a context of {context} needs one more at least");
        return Err(Error::format(what, message));
    }
    let kept = if length / 10 > context { length - length / 10 } else { length };
    let (train, test) = all.split_at(kept);
    let test = Windows::new(test, context).truncate(count);
    // Batches of one size are one plan.
    let count = test.len();
    let together = TEST_TOGETHER.min(count);
    Ok((Windows::new(train, context), test.truncate(count / together.max(1) * together), together))
}

/// Batches of pairs of tokens.
type Pairs = DataLoader<(Tensor, Tensor)>;

/// The text of a run in batches, in any order, and the end of it for the test, if it is long enough.
pub(crate) fn batches(run: &Run, context: usize) -> Result<(Pairs, Option<Pairs>)> {
    let (train, test, together) = text(run, context, TEST_WINDOWS)?;
    let device = run.device();
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(device).build()?;
    let test = match together {
        0 => None,
        _ => Some(DataLoader::builder(test).batch_size(together).device(device).build()?),
    };
    Ok((train, test))
}

/// Cross-entropy of logits `[batch, length, vocabulary]`.
fn cross_entropy(out: &Tensor, y: &Tensor) -> Tensor {
    out.cross_entropy(y)
}

pub(super) fn gpt(run: &mut Run) -> Result<()> {
    let options = gpt_options(|name| run.size(name))?;
    let (mut train, mut test) = batches(run, options.context)?;
    let task = supervised(Gpt::forward, cross_entropy);
    let trainer = Trainer::new(task, Gpt::new(options, run.device()), adam(run))
        .metric("accuracy", Accuracy::new())
        .clip_grad_norm(1.0);
    run.fit(trainer, &mut train, test.as_mut())?;
    Ok(())
}

/// Trains a language model and leaves a text that it goes on with.
fn language<M: Module + LanguageModel>(
    run: &mut Run,
    model: M,
    forward: impl Fn(&M, &Tensor) -> Tensor,
) -> Result<()> {
    let (mut train, mut test) = batches(run, model.context())?;
    let trainer = Trainer::new(supervised(forward, cross_entropy), model, adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .metric("accuracy", Accuracy::new())
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, test.as_mut())?;
    sample(run, &trainer.model)
}

/// Leaves a text that a model of bytes goes on with.
fn sample<M: Module + LanguageModel>(run: &mut Run, model: &M) -> Result<()> {
    const PROMPT: &[u8] = b"/// The ";
    model.train(false);
    let prompt: Vec<u32> = PROMPT.iter().map(|&byte| u32::from(byte)).collect();
    let count = model.context().saturating_sub(prompt.len());
    let sampling = Sampling { temperature: 0.7, top_p: Some(0.9), seed: run.seed(), ..Sampling::default() };
    let tokens = generate(model, &prompt, count, &sampling, &run.device().clone())?;
    let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
    run.file("sample.txt", String::from_utf8_lossy(&bytes).into_owned());
    Ok(())
}

pub(super) fn gpt2(run: &mut Run) -> Result<()> {
    let model = Gpt2::new(gpt_options(|name| run.size(name))?, run.device());
    language(run, model, Gpt2::forward)
}

/// Sizes of a model of Llama's kind by those of a run: half as many heads of keys and values, networks of 8 ∕ 3 of
/// the width.
fn llama_options(run: &Run) -> Result<LlamaOptions> {
    let GptOptions { vocabulary, context, width, heads, layers } = gpt_options(|name| run.size(name))?;
    if !heads.is_multiple_of(2) || !(width / heads).is_multiple_of(2) {
        let message = format!("{heads} heads of {} numbers: both must be even", width / heads);
        return Err(Error::format("sizes", message));
    }
    let (hidden, kv_heads) = (width * 8 / 3, heads / 2);
    Ok(LlamaOptions {
        vocabulary,
        context,
        width,
        hidden,
        heads,
        kv_heads,
        layers,
        ..LlamaOptions::default()
    })
}

pub(super) fn llama(run: &mut Run) -> Result<()> {
    let model = Llama::new(llama_options(run)?, run.device());
    language(run, model, Llama::forward)
}

/// The task of a [`Moe`]: its loss holds how unevenly it uses its experts.
#[derive(Default)]
struct Balanced {
    /// The load-balancing loss of the pass whose loss is asked for next: a task hands on logits only.
    last: RefCell<Option<Tensor>>,
}

/// Weight of the load-balancing loss.
const BALANCE: f64 = 0.01;

impl Task for Balanced {
    type Model = Moe;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &Moe, (x, _): &(Tensor, Tensor)) -> Tensor {
        let (logits, balance) = model.forward(x);
        self.last.replace(Some(balance));
        logits
    }

    fn loss(&self, output: &Tensor, (_, y): &(Tensor, Tensor)) -> Tensor {
        let loss = output.cross_entropy(y);
        match self.last.take() {
            // Nothing is added where all experts are used alike.
            Some(balance) => loss + (balance - 1.0) * BALANCE,
            None => loss,
        }
    }

    fn target(&self, (_, y): &(Tensor, Tensor)) -> Tensor {
        y.clone()
    }
}

/// Experts a token goes through.
const TOP: usize = 2;

pub(super) fn moe(run: &mut Run) -> Result<()> {
    let (all, experts) = (llama_options(run)?, run.size("experts")?);
    // The experts of a token are together as wide as the one network of a dense model.
    let options = LlamaOptions { hidden: all.hidden / TOP, ..all };
    let (mut train, mut test) = batches(run, options.context)?;
    let model = Moe::new(options, experts, TOP, run.device());
    let trainer = Trainer::new(Balanced::default(), model, adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .metric("accuracy", Accuracy::new())
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, test.as_mut())?;
    if run.stopped() {
        return Ok(());
    }
    let (mut train, mut test) = batches(run, options.context)?;
    if let Some(test) = &mut test {
        let mut shares = Mean::default();
        for batch in test.epoch() {
            shares.add(&trainer.model.shares(&batch?.0).max([0, 1]), 1);
            eval(&shares)?;
        }
        run.result("greatest_share", shares.compute()?);
    }
    let dense =
        Trainer::new(supervised(Llama::forward, cross_entropy), Llama::new(all, run.device()), adam(run))
            .steps(run.steps(train.len()))
            .schedule(cosine(run, train.len()), Every::Step)
            .clip_grad_norm(1.0);
    let (_, found) = run.fit_aside(dense, &mut train, test.as_mut())?;
    if let (Some(&dense), Some(sparse)) = (found.get("test_loss"), run.found("test_loss")) {
        run.result("dense_test_loss", dense);
        run.result("relative", sparse / dense);
    }
    sample(run, &trainer.model)
}
