//! What is trained: a model, its examples and its loss.

use std::path::{Path, PathBuf};

use vorpal::nn::AdamOptions;
use vorpal::nn::data::{Dataset, Digits};
use vorpal::nn::trainer::{Task, supervised};
use vorpal::prelude::*;
use vorpal::zoo::{Gpt, GptOptions, MnistCnn};

use crate::Outcome;

/// Makes something on a device.
type Make<T> = Box<dyn Fn(&Device) -> T>;

/// One kind of training.
pub struct Kind<K: Task, D> {
    /// How the model answers, and how wrong that is.
    pub task: K,
    /// A model with random weights.
    pub model: Make<K::Model>,
    /// The optimiser, with a step size.
    pub optimizer: fn(f64) -> Adam,
    /// Factor of the step size from an epoch to the next. The last epoch need not be known, so that a run can be made
    /// longer.
    pub decay: f64,
    /// Norm to which gradients are clipped.
    pub clip: Option<f64>,
    /// Classes, where it is worth seeing which are taken for which.
    pub classes: Option<usize>,
    /// Examples to learn from.
    pub train: D,
    /// Examples to be tested with, and how many are looked at together.
    pub test: Option<(D, usize)>,
}

/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;

/// Handwritten digits: those in a folder, or those that ship with the program.
pub fn mnist(
    folder: Option<&Path>,
) -> Outcome<Kind<impl Task<Model = MnistCnn, Batch = (Tensor, Tensor)> + use<>, Digits>> {
    let (train, test) = match folder {
        Some(folder) => Digits::load(folder)?,
        None => Digits::embedded()?,
    };
    Ok(Kind {
        task: supervised(MnistCnn::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y)),
        model: Box::new(MnistCnn::new),
        optimizer: Adam::adamw,
        decay: 0.8,
        clip: None,
        classes: Some(10),
        train,
        test: (!test.is_empty()).then_some((test, TEST_BATCH)),
    })
}

/// Windows of the bytes of a text, each with the bytes one further.
pub struct Windows {
    bytes: Vec<u8>,
    context: usize,
    count: usize,
}

impl Windows {
    fn new(bytes: &[u8], context: usize) -> Windows {
        Windows { bytes: bytes.to_vec(), context, count: bytes.len().saturating_sub(1) / context }
    }
}

impl Dataset for Windows {
    type Item = (Vec<i32>, Vec<i32>);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        let cut = |from: usize| {
            let bytes =
                self.bytes.get(index * self.context + from..).and_then(|rest| rest.get(..self.context));
            bytes.map(|bytes| bytes.iter().map(|&b| i32::from(b)).collect())
        };
        let pair = cut(0).zip(cut(1));
        pair.ok_or_else(|| Error::format("the text", format!("asked for window {index} of {}", self.count)))
    }
}

/// Values of a byte.
pub const VOCABULARY: usize = 256;
/// Windows of the end of the text that are looked at in a test, and how many together.
const TEST_WINDOWS: usize = 64;
const TEST_TOGETHER: usize = 8;

macro_rules! own_text {
    ($($file:literal),* $(,)?) => {
        concat!($(include_str!(concat!("../../../", $file)), "\n"),*)
    };
}

/// Documentation and sources of Vorpal.
const OWN_TEXT: &str = own_text![
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "crates/vorpal-tensor/src/layout.rs",
    "crates/vorpal-tensor/src/device.rs",
    "crates/vorpal-tensor/src/gpu.rs",
    "crates/vorpal-kernels/src/program.rs",
    "crates/vorpal-kernels/src/emit.rs",
    "crates/vorpal-kernels/src/interp.rs",
    "crates/vorpal-kernels/src/row/native.rs",
    "crates/vorpal-kernels/src/matmul/mod.rs",
    "crates/vorpal-kernels/src/pool.rs",
    "crates/vorpal-autodiff/src/compile/fuse.rs",
    "crates/vorpal-autodiff/src/compile/ir.rs",
    "crates/vorpal-autodiff/src/exec/mod.rs",
    "crates/vorpal-autodiff/src/ops/movement.rs",
    "crates/vorpal-autodiff/src/ops/conv.rs",
    "crates/vorpal-autodiff/src/ops/pointwise/mod.rs",
    "crates/vorpal-nn/src/module.rs",
    "crates/vorpal-nn/src/optim/mod.rs",
    "crates/vorpal-nn/src/optim/adam.rs",
];

/// The bytes of the text of a file, or Vorpal's own. Its last tenth is kept for the test.
pub fn text(
    file: Option<&Path>,
    options: GptOptions,
) -> Outcome<Kind<impl Task<Model = Gpt, Batch = (Tensor, Tensor)> + use<>, Windows>> {
    let (what, all) = match file {
        Some(file) => {
            let bytes = std::fs::read(file).map_err(|e| Error::io(file, &e))?;
            (file.display().to_string(), bytes)
        }
        None => ("the text".to_string(), OWN_TEXT.as_bytes().to_vec()),
    };
    if all.is_empty() {
        return Err(format!("{what} is empty: there is nothing to learn").into());
    }
    let (length, context) = (all.len(), options.context);
    if length <= context {
        let message = format!("{what} has {length} bytes: a context of {context} needs one more at least");
        return Err(message.into());
    }
    let kept = if length / 10 > context { length - length / 10 } else { length };
    let (train, test) = all.split_at(kept);
    let mut test = Windows::new(test, context);
    // Batches of one size are one plan.
    let together = if test.count < TEST_TOGETHER { 1 } else { TEST_TOGETHER };
    test.count = test.count.min(TEST_WINDOWS) / together * together;
    Ok(Kind {
        task: supervised(Gpt::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y)),
        model: Box::new(move |device| Gpt::new(options, device)),
        optimizer: |rate| {
            let options = AdamOptions {
                betas: (0.9, 0.95),
                weight_decay: 0.1,
                decoupled: true,
                ..AdamOptions::default()
            };
            Adam::with_options(rate, options)
        },
        decay: 1.0,
        clip: Some(1.0),
        classes: None,
        train: Windows::new(train, context),
        test: (test.count > 0).then_some((test, together)),
    })
}

/// Where a text is.
pub fn text_file(text: Option<&PathBuf>, folder: Option<&PathBuf>) -> Option<PathBuf> {
    let text = text?;
    Some(folder.map_or(text.clone(), |folder| folder.join(text)))
}
