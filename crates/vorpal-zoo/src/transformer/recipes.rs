//! Trainings of transformers.

use vorpal_nn::data::{DataLoader, Dataset};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::trainer::{Trainer, supervised};
use vorpal_nn::{Adam, AdamOptions, Error, Result, Tensor};

use super::{Gpt, GptOptions};
use crate::data::{OWN_TEXT, Windows};
use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) const RECIPES: &[Recipe] = &[Recipe {
    name: "gpt",
    family: "transformer",
    about: "GPT: a causal language model of the bytes of a text",
    data: "documentation and sources of Vorpal, or --text FILE",
    length: Length::Steps(1000),
    batch: 8,
    rate: 1e-3,
    sizes: &[("layers", 4), ("width", 128), ("heads", 4), ("context", 128)],
    goal: Goal::AtMost("test_loss", 2.0),
    body: gpt,
}];

/// Values of a byte.
const VOCABULARY: usize = 256;
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

/// The bytes of the text of a file, or Vorpal's own: what is learned from; the last tenth, which is kept for the test;
/// and how many windows of it are looked at together.
fn text(run: &Run, context: usize) -> Result<(Windows, Windows, usize)> {
    let (what, all) = match &run.settings().text {
        Some(file) => (file.display().to_string(), std::fs::read(file).map_err(|e| Error::io(file, &e))?),
        None => ("the text".to_string(), OWN_TEXT.as_bytes().to_vec()),
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
    let test = Windows::new(test, context).truncate(TEST_WINDOWS);
    // Batches of one size are one plan.
    let count = test.len();
    let together = TEST_TOGETHER.min(count);
    Ok((Windows::new(train, context), test.truncate(count / together.max(1) * together), together))
}

fn gpt(run: &mut Run) -> Result<()> {
    let options = gpt_options(|name| run.size(name))?;
    let (train, test, together) = text(run, options.context)?;
    let device = run.device().clone();
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = if together == 0 {
        None
    } else {
        Some(DataLoader::builder(test).batch_size(together).device(&device).build()?)
    };
    let adam =
        AdamOptions { betas: (0.9, 0.95), weight_decay: 0.1, decoupled: true, ..AdamOptions::default() };
    let task = supervised(Gpt::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let trainer = Trainer::new(task, Gpt::new(options, &device), Adam::with_options(run.rate(), adam))
        .metric("accuracy", Accuracy::new())
        .clip_grad_norm(1.0);
    run.fit(trainer, &mut train, test.as_mut())?;
    Ok(())
}
