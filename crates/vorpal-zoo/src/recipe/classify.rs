//! What trainings of classifiers share.

use vorpal_nn::data::augment::{Augment, RandomAffine};
use vorpal_nn::data::{Array, DataLoader, Dataset};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Adam, Module, Result, Tensor};

use super::Run;

/// Samples of a test that are looked at together.
const TEST_BATCH: usize = 500;

/// Small turns, moves, changes of size and slants of digits.
pub(crate) fn moved() -> RandomAffine {
    RandomAffine::new().degrees(8.0).translate(0.06, 0.06).scale(0.92, 1.08).shear(4.0)
}

/// Trains a classifier, `forward` of `model`, on the first of two data sets and tests it on the second, with AdamW and a
/// step size that falls to 0 along half a wave. Images to learn from are changed by `change`, differently in every step.
/// Leaves `test_accuracy`.
pub(crate) fn classify<M: Module, D: Dataset<Item = (Array, i32)>>(
    run: &mut Run,
    model: M,
    forward: fn(&M, &Tensor) -> Tensor,
    (train, test): (D, D),
    classes: usize,
    change: Option<RandomAffine>,
) -> Result<M> {
    let device = run.device().clone();
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = DataLoader::builder(test).batch_size(TEST_BATCH).device(&device).build()?;
    let task = supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let (rate, steps) = (run.rate(), run.steps(train.len()));
    let trainer = Trainer::new(task, model, Adam::adamw(rate))
        .schedule(CosineAnnealing::new(rate, steps), Every::Step)
        .prepare(move |(x, y): (Tensor, Tensor)| match &change {
            Some(change) => (change.apply(&x), y),
            None => (x, y),
        })
        .metric("accuracy", ConfusionMatrix::new(classes));
    Ok(run.fit(trainer, &mut train, Some(&mut test))?.model)
}
