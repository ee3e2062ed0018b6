//! Trainings on sequences with a known answer.

use vorpal_nn::data::{DataLoader, Samples, Stack};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::plot;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Task, Trainer};
use vorpal_nn::{Adam, Module, Result, Tensor};

use crate::data::{DATE_LENGTH, DATE_TOKENS, date_text, dates};
use crate::recipe::Run;
use crate::recurrent::Seq2Seq;

/// Sequences made up to learn from, and for the test.
pub(super) const TRAIN: usize = 4000;
pub(super) const TEST: usize = 500;
/// Numbers of the two generators.
pub(super) const SEEDS: [u64; 2] = [1, 2];

/// Both loaders: of samples in an order of the run's seed, and of the test in batches of `together`.
pub(super) fn loaders<T: Stack + Clone + Sync>(
    run: &Run,
    [train, test]: [Vec<T>; 2],
    together: usize,
) -> Result<[DataLoader<T::Batch>; 2]> {
    let train = DataLoader::builder(Samples(train)).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(run.device()).build()?;
    let test = DataLoader::builder(Samples(test)).batch_size(together).device(run.device());
    Ok([train, test.build()?])
}

/// A trainer with a rate that falls along a cosine.
pub(super) fn trainer<K: Task>(run: &Run, task: K, model: K::Model, per_epoch: usize) -> Trainer<K, Adam> {
    Trainer::new(task, model, Adam::adamw(run.rate()))
        .schedule(CosineAnnealing::new(run.rate(), run.steps(per_epoch)), Every::Step)
        .clip_grad_norm(1.0)
}

/// The attention of one date.
fn looked_at(model: &Seq2Seq, asked: &[i32], run: &Run) -> Result<Vec<u8>> {
    let source = Tensor::from_slice(asked, [1, DATE_LENGTH], run.device());
    plot::heat_map(&model.decode(&source, 10).1.squeeze(0), 24)
}

/// Pairs of sources and targets.
struct Translate;

impl Task for Translate {
    type Model = Seq2Seq;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &Seq2Seq, (source, target): &(Tensor, Tensor)) -> Tensor {
        model.forward(source, target)
    }

    fn loss(&self, output: &Tensor, (_, target): &(Tensor, Tensor)) -> Tensor {
        output.cross_entropy(target)
    }

    fn target(&self, (_, target): &(Tensor, Tensor)) -> Tensor {
        target.clone()
    }
}

pub fn seq2seq(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let [train, test] = [dates(TRAIN, SEEDS[0]), dates(TEST, SEEDS[1])];
    let asked: Vec<i32> = test.iter().flat_map(|(asked, _)| asked.clone()).collect();
    let answers: Vec<Vec<i32>> = test.iter().map(|(_, answer)| answer.clone()).collect();
    let [mut train, mut test] = loaders(run, [train, test], TEST)?;
    let model = Seq2Seq::new(DATE_TOKENS, run.size("width")?, run.size("hidden")?, &device);
    let trainer = trainer(run, Translate, model, train.len()).metric("accuracy", Accuracy::new());
    let model = run.fit(trainer, &mut train, Some(&mut test))?.model;
    if run.stopped() {
        return Ok(());
    }
    model.train(false);
    let sources = Tensor::from_slice(&asked, [TEST, DATE_LENGTH], &device);
    let written = model.decode(&sources, 10).0.to_vec::<i32>()?;
    let right = written.chunks(10).zip(&answers).filter(|(found, wanted)| found == wanted).count();
    run.result("test_exact", right as f64 / TEST as f64);
    let pairs = asked.chunks(DATE_LENGTH).zip(written.chunks(10)).take(12);
    let lines: Vec<String> =
        pairs.map(|(asked, found)| format!("{:18} {}\n", date_text(asked), date_text(found))).collect();
    run.file("dates.txt", lines.concat());
    let picture = looked_at(&model, &asked[..DATE_LENGTH], run)?;
    run.file("attention.png", picture);
    Ok(())
}
