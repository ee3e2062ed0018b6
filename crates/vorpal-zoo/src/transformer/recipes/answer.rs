//! Trainings of transformers that answer a source.

use vorpal_nn::data::{DataLoader, Dataset};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::trainer::{Every, Task, Trainer};
use vorpal_nn::{Module, Result, Tensor, plot};

use super::super::{Mel, T5, T5Options, Whisper, WhisperOptions};
use super::{adam, cosine};
use crate::data::{SortedLetters, Tones};
use crate::recipe::Run;

/// Examples there are to learn from, and of the test.
const EXAMPLES: usize = 8192;
const TEST: usize = 256;
/// Examples looked at together in a test.
const TEST_BATCH: usize = 64;

/// Batches in any order to learn from, and batches of the test.
fn loaders<A, B>(run: &Run, train: A, test: A) -> Result<(DataLoader<B>, DataLoader<B>)>
where
    A: Dataset,
    A::Item: vorpal_nn::data::Stack<Batch = B>,
    B: Send + 'static,
{
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(run.device()).build()?;
    Ok((train, DataLoader::builder(test).batch_size(TEST_BATCH).device(run.device()).build()?))
}

/// Share of the rows that are right from first to last.
fn exact(found: &[Vec<i32>], wanted: &[i32]) -> usize {
    let length = found.first().map_or(1, Vec::len).max(1);
    found.iter().zip(wanted.chunks(length)).filter(|(found, wanted)| found.as_slice() == *wanted).count()
}

/// The task of a [`T5`].
struct Sorts;

impl Task for Sorts {
    type Model = T5;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &T5, (source, target): &(Tensor, Tensor)) -> Tensor {
        model.forward(source, target)
    }

    fn loss(&self, output: &Tensor, (_, target): &(Tensor, Tensor)) -> Tensor {
        output.cross_entropy(target)
    }

    fn target(&self, (_, target): &(Tensor, Tensor)) -> Tensor {
        target.clone()
    }
}

pub(super) fn t5(run: &mut Run) -> Result<()> {
    let options = T5Options::default();
    let letters = |first: usize, count: usize| SortedLetters { first, count, length: 10, letters: 16 };
    let (mut train, mut test) = loaders(run, letters(0, EXAMPLES), letters(EXAMPLES, TEST))?;
    let trainer = Trainer::new(Sorts, T5::new(options, run.device()), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .metric("accuracy", Accuracy::new())
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    let model = trainer.model;
    model.train(false);
    let (mut right, mut looks) = (0, None);
    for batch in test.epoch() {
        let (source, target) = batch?;
        right += exact(&model.answer(&source, 10)?, &target.to_vec::<i32>()?);
        looks.get_or_insert_with(|| {
            let given = target.narrow(0, 0, 1).narrow(1, 0, 9).pad(-1, 1, 0, 0.0);
            model.decode(&given, &model.encode(&source.narrow(0, 0, 1), None), None).1
        });
    }
    run.result("exact_match", right as f64 / TEST as f64);
    if let Some(looks) = looks {
        run.file("attention.png", plot::heat_map(&looks.mean(1).squeeze(0), 16)?);
    }
    Ok(())
}

/// The task of a [`Whisper`]: sounds, tokens that are given, tokens that are wanted.
struct Hears {
    mel: Mel,
}

impl Task for Hears {
    type Model = Whisper;
    type Batch = (Tensor, Tensor, Tensor);

    fn forward(&self, model: &Whisper, (sounds, given, _): &Self::Batch) -> Tensor {
        model.forward(&self.mel.forward(sounds), given)
    }

    fn loss(&self, output: &Tensor, (_, _, wanted): &Self::Batch) -> Tensor {
        output.cross_entropy(wanted)
    }

    fn target(&self, (_, _, wanted): &Self::Batch) -> Tensor {
        wanted.clone()
    }
}

pub(super) fn whisper(run: &mut Run) -> Result<()> {
    let options = WhisperOptions::default();
    let mel = Mel { rate: Tones::RATE, window: 256, step: 160, bands: options.bands };
    let tones = |first: usize, count: usize| Tones { first, count };
    let (mut train, mut test) = loaders(run, tones(0, EXAMPLES), tones(EXAMPLES, TEST))?;
    let trainer = Trainer::new(Hears { mel }, Whisper::new(options, run.device()), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .metric("accuracy", Accuracy::new())
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    let model = trainer.model;
    model.train(false);
    let (mut right, mut shown) = (0, None);
    for batch in test.epoch() {
        let (sounds, given, wanted) = batch?;
        let sounds = mel.forward(&sounds);
        let found = model.answer(&sounds, Tones::START, Tones::DIGITS)?;
        right += exact(&found, &wanted.to_vec::<i32>()?);
        shown.get_or_insert_with(|| {
            let sound = sounds.narrow(0, 0, 1);
            let looks = model.decode(&given.narrow(0, 0, 1), &model.encode(&sound)).1;
            (sound.squeeze(0).flip([0]), looks.mean(1).squeeze(0))
        });
    }
    run.result("exact_match", right as f64 / TEST as f64);
    if let Some((sound, looks)) = shown {
        run.file("sound.png", plot::heat_map(&sound, 8)?);
        run.file("attention.png", plot::heat_map(&looks, 16)?);
    }
    Ok(())
}
