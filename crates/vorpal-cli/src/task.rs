//! What is trained: a model, its examples and its loss.

use std::path::{Path, PathBuf};

use vorpal::nn::data::Digits;
use vorpal::prelude::*;
use vorpal::zoo::{Gpt, GptOptions, MnistCnn};

use crate::Outcome;

/// One kind of training.
pub trait Task {
    type Model: Module;

    /// A model with random weights.
    fn model(&self, device: &Device) -> Self::Model;

    /// The optimiser, with a step size.
    fn optimizer(&self, rate: f64) -> Adam;

    /// Factor of the step size in an epoch, counted from 0.
    fn decay(&self, epoch: u64) -> f64;

    /// Norm to which gradients are clipped.
    fn clip(&self) -> Option<f64>;

    /// Examples to learn from.
    fn examples(&self) -> usize;

    /// Examples by number, and what is wanted of them.
    fn batch(&self, numbers: &[usize], device: &Device) -> Result<(Tensor, Tensor)>;

    /// Mean loss.
    fn loss(&self, model: &Self::Model, x: &Tensor, y: &Tensor) -> Tensor;

    /// Share of the test examples the model is right about; `None` without test examples.
    fn accuracy(&self, model: &Self::Model, device: &Device) -> Result<Option<f64>>;
}

/// How many of the largest logits `[…, classes]` are those of `classes`.
fn hits(logits: &Tensor, classes: &Tensor) -> Result<u64> {
    let right = logits.argmax(-1).cast(DType::I32).eq(classes).cast(DType::I32).sum_all();
    Ok(u64::from(right.item::<i32>()?.unsigned_abs()))
}

/// Handwritten digits.
pub struct Mnist {
    train: Digits,
    test: Digits,
}

/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;

impl Mnist {
    /// The digits in a folder, or those that ship with the program.
    pub fn new(folder: Option<&Path>) -> Outcome<Mnist> {
        let (train, test) = match folder {
            Some(folder) => Digits::load(folder)?,
            None => Digits::embedded()?,
        };
        Ok(Mnist { train, test })
    }
}

impl Task for Mnist {
    type Model = MnistCnn;

    fn model(&self, device: &Device) -> MnistCnn {
        MnistCnn::new(device)
    }

    fn optimizer(&self, rate: f64) -> Adam {
        Adam::adamw(rate)
    }

    fn decay(&self, epoch: u64) -> f64 {
        // Known without knowing how many epochs there will be, so that a run can be made longer.
        0.8f64.powf(epoch as f64)
    }

    fn clip(&self) -> Option<f64> {
        None
    }

    fn examples(&self) -> usize {
        self.train.len()
    }

    fn batch(&self, numbers: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        self.train.batch(numbers, device)
    }

    fn loss(&self, model: &MnistCnn, x: &Tensor, y: &Tensor) -> Tensor {
        model.forward(x).cross_entropy(y)
    }

    fn accuracy(&self, model: &MnistCnn, device: &Device) -> Result<Option<f64>> {
        let numbers: Vec<usize> = (0..self.test.len()).collect();
        let mut right = 0;
        for part in numbers.chunks(TEST_BATCH) {
            let (x, y) = self.test.batch(part, device)?;
            right += hits(&model.forward(&x), &y)?;
        }
        Ok((!numbers.is_empty()).then(|| right as f64 / numbers.len() as f64))
    }
}

/// The bytes of a text.
pub struct Text {
    options: GptOptions,
    train: Vec<u8>,
    test: Vec<u8>,
}

/// Values of a byte.
pub const VOCABULARY: usize = 256;
/// Windows of the end of the text that are looked at in a test.
const TEST_WINDOWS: usize = 64;

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

impl Text {
    /// The text of a file, or Vorpal's own. Its last tenth is kept for the test.
    pub fn new(file: Option<&Path>, options: GptOptions) -> Outcome<Text> {
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
            let message =
                format!("{what} has {length} bytes: a context of {context} needs one more at least");
            return Err(message.into());
        }
        let kept = if length / 10 > context { length - length / 10 } else { length };
        let (train, test) = all.split_at(kept);
        Ok(Text { options, train: train.to_vec(), test: test.to_vec() })
    }

    /// The bytes of some windows and the bytes after each.
    fn windows(&self, text: &[u8], numbers: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        let context = self.options.context;
        let cut = |from: usize| {
            let bytes = numbers.iter().flat_map(|n| &text[n * context + from..][..context]);
            let tokens: Vec<i32> = bytes.map(|&b| i32::from(b)).collect();
            Tensor::from_slice(&tokens, [numbers.len(), context], device)
        };
        let (x, y) = (cut(0), cut(1));
        x.check()?;
        y.check()?;
        Ok((x, y))
    }
}

impl Task for Text {
    type Model = Gpt;

    fn model(&self, device: &Device) -> Gpt {
        Gpt::new(self.options, device)
    }

    fn optimizer(&self, rate: f64) -> Adam {
        let mut optimizer = Adam::adamw(rate);
        (optimizer.options.betas, optimizer.options.weight_decay) = ((0.9, 0.95), 0.1);
        optimizer
    }

    fn decay(&self, _: u64) -> f64 {
        1.0
    }

    fn clip(&self) -> Option<f64> {
        Some(1.0)
    }

    fn examples(&self) -> usize {
        (self.train.len() - 1) / self.options.context
    }

    fn batch(&self, numbers: &[usize], device: &Device) -> Result<(Tensor, Tensor)> {
        self.windows(&self.train, numbers, device)
    }

    fn loss(&self, model: &Gpt, x: &Tensor, y: &Tensor) -> Tensor {
        model.loss(x, y)
    }

    fn accuracy(&self, model: &Gpt, device: &Device) -> Result<Option<f64>> {
        let context = self.options.context;
        let windows = (self.test.len().saturating_sub(1) / context).min(TEST_WINDOWS);
        let mut right = 0;
        for window in 0..windows {
            let (x, y) = self.windows(&self.test, &[window], device)?;
            right += hits(&model.forward(&x), &y)?;
        }
        Ok((windows > 0).then(|| right as f64 / (windows * context) as f64))
    }
}

/// Where a text is.
pub fn text_file(text: Option<&PathBuf>, folder: Option<&PathBuf>) -> Option<PathBuf> {
    let text = text?;
    Some(folder.map_or(text.clone(), |folder| folder.join(text)))
}
