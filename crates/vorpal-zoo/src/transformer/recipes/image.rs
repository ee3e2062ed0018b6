//! Trainings of transformers of images.

use vorpal_nn::data::augment::{Augment, RandomAffine};
use vorpal_nn::data::{DataLoader, Dataset, Digits};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Device, Result, Tensor, plot};

use super::super::{Vit, VitOptions};
use super::{adam, cosine};
use crate::recipe::Run;

/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;
/// Digits of a picture.
const SHOWN: usize = 8;

fn digits(run: &Run) -> Result<(Digits, Digits)> {
    match &run.settings().data {
        Some(folder) => Digits::load(folder),
        None => Digits::embedded(),
    }
}

/// Batches in any order to learn from, and batches of the test.
fn loaders<A, B>(run: &Run, train: A, test: A) -> Result<(DataLoader<B>, DataLoader<B>)>
where
    A: Dataset,
    A::Item: vorpal_nn::data::Stack<Batch = B>,
    B: Send + 'static,
{
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(run.device()).build()?;
    let test =
        DataLoader::builder(test).batch_size(TEST_BATCH).drop_last(true).device(run.device()).build()?;
    Ok((train, test))
}

/// The first images of a set, `[count, 1, 28, 28]`.
fn first(digits: &Digits, count: usize, device: &Device) -> Result<Tensor> {
    let pixels: Vec<f32> =
        digits.images.iter().take(count * 784).map(|&pixel| f32::from(pixel) / 255.0).collect();
    let images = Tensor::from_slice(&pixels, [pixels.len() / 784, 1, 28, 28], device);
    images.check()?;
    Ok(images)
}

/// Small turns, moves, changes of size and slants.
fn moved() -> RandomAffine {
    RandomAffine::new().degrees(8.0).translate(0.06, 0.06).scale(0.92, 1.08).shear(4.0)
}

pub(super) fn vit(run: &mut Run) -> Result<()> {
    let (train, test) = digits(run)?;
    let shown = first(&test, SHOWN, run.device())?;
    let (mut train, mut test) = loaders(run, train, test)?;
    let task = supervised(Vit::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let trainer = Trainer::new(task, Vit::new(VitOptions::default(), run.device()), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .prepare(|(x, y): (Tensor, Tensor)| (moved().apply(&x), y))
        .metric("accuracy", ConfusionMatrix::new(10))
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    // Above the digits, below where the token of the class looks: the mean over the heads, the most of it white.
    let looks = trainer.model.attention(&shown).mean(1).repeat_interleave(7, 1).repeat_interleave(7, 2);
    let looks = (&looks / looks.max_keepdim([1, 2])).unsqueeze(1);
    run.file("attention.png", plot::image_grid(&Tensor::concat(&[&shown, &looks], 0), SHOWN, 2)?);
    Ok(())
}
