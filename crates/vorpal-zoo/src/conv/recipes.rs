//! Trainings of convolutional models.

use vorpal_nn::data::{DataLoader, Digits};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::schedule::Exponential;
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Adam, Result, Tensor};

use super::MnistCnn;
use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) const RECIPES: &[Recipe] = &[Recipe {
    name: "mnist",
    family: "conv",
    about: "a small convolutional network that names handwritten digits",
    data: "10,000 MNIST digits that ship with the program, or --data FOLDER with the four files",
    length: Length::Epochs(10),
    batch: 64,
    rate: 1e-3,
    sizes: &[],
    goal: Goal::AtLeast("test_accuracy", 0.975),
    body: mnist,
}];

/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;

fn mnist(run: &mut Run) -> Result<()> {
    let (train, test) = match &run.settings().data {
        Some(folder) => Digits::load(folder)?,
        None => Digits::embedded()?,
    };
    let device = run.device().clone();
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = if test.is_empty() {
        None
    } else {
        Some(DataLoader::builder(test).batch_size(TEST_BATCH).device(&device).build()?)
    };
    let task = supervised(MnistCnn::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let rate = run.rate();
    let trainer = Trainer::new(task, MnistCnn::new(&device), Adam::adamw(rate))
        // The last epoch need not be known, so that a run can be made longer.
        .schedule(Exponential::new(rate, 0.8), Every::Epoch)
        .metric("accuracy", ConfusionMatrix::new(10));
    run.fit(trainer, &mut train, test.as_mut())?;
    Ok(())
}
