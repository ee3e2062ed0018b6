//! Trainings on sequences with a known answer.

use vorpal_nn::data::{DataLoader, Digits, Samples, Stack};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::plot;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{Adam, Error, Module, Result, Tensor};

use crate::data::{DATE_LENGTH, DATE_TOKENS, date_text, dates, recall, selective_copying};
use crate::recipe::Run;
use crate::recurrent::{Hyena, HyenaOptions, Lru, Mamba, MambaOptions, S4d, Seq2Seq, StateSpaceOptions};

/// Sequences made up to learn from, and for the test.
const TRAIN: usize = 4000;
const TEST: usize = 500;
/// Numbers of the two generators.
const SEEDS: [u64; 2] = [1, 2];
/// Pixels of a small digit.
const PIXELS: usize = 14 * 14;

/// Both loaders: of samples in an order of the run's seed, and of the test in batches of `together`.
fn loaders<T: Stack + Clone + Sync>(
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
fn trainer<K: Task>(run: &Run, task: K, model: K::Model, per_epoch: usize) -> Trainer<K, Adam> {
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

fn state_space(run: &Run, inputs: usize, outputs: usize) -> Result<StateSpaceOptions> {
    let (width, states, layers) = (run.size("width")?, run.size("states")?, run.size("layers")?);
    Ok(StateSpaceOptions { inputs, width, states, layers, outputs })
}

/// Trains a model that answers digits of 14 × 14 pixels, given as `[batch, steps, pixels of a step]`.
fn read_digits<M: Module + Clone>(
    run: &mut Run,
    model: M,
    steps: usize,
    forward: fn(&M, &Tensor) -> Tensor,
) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = DataLoader::builder(test).batch_size(250).device(&device).build()?;
    let task = supervised(
        move |m: &M, images: &Tensor| {
            let batch = images.shape().first().copied().unwrap_or(0);
            let small = images.avg_pool2d(2).reshape([batch, steps, PIXELS / steps]);
            // About mean 0 and deviation 1.
            forward(m, &((small - 0.13) * 3.5))
        },
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let trainer = trainer(run, task, model, train.len()).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

pub fn s4d(run: &mut Run) -> Result<()> {
    let model = S4d::new(state_space(run, 1, 10)?, run.device());
    read_digits(run, model, PIXELS, S4d::forward)
}

pub fn lru(run: &mut Run) -> Result<()> {
    let model = Lru::new(state_space(run, 14, 10)?, run.device());
    read_digits(run, model, 14, Lru::forward)
}

/// The last `count` rows of results `[batch, length, …]`.
fn last(out: &Tensor, count: usize) -> Tensor {
    out.slice(1, -(count as isize)..)
}

pub fn copying(run: &mut Run) -> Result<()> {
    let (steps, kept, symbols) = (run.size("steps")?, run.size("kept")?, run.size("symbols")?);
    if kept == 0 || kept > steps || symbols == 0 {
        return Err(Error::format(
            "sizes",
            format!("{kept} of {symbols} symbols do not stand in {steps} steps"),
        ));
    }
    // More than the other tasks have: each sequence is cheap.
    let samples = [2 * TRAIN, TEST];
    let samples = [0, 1].map(|k| selective_copying(samples[k], steps, kept, symbols, SEEDS[k]));
    let [mut train, mut test] = loaders(run, samples, TEST / 2)?;
    let task = supervised(
        move |m: &Mamba, x: &Tensor| last(&m.forward(x), kept),
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let (width, states, layers) = (run.size("width")?, run.size("states")?, run.size("layers")?);
    let model = Mamba::new(MambaOptions { vocabulary: symbols + 2, width, states, layers }, run.device());
    let trainer = trainer(run, task, model, train.len()).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

pub fn hyena(run: &mut Run) -> Result<()> {
    let (pairs, symbols) = (run.size("pairs")?, run.size("symbols")?);
    if pairs == 0 || pairs > symbols {
        return Err(Error::format("sizes", format!("{symbols} symbols do not make {pairs} keys")));
    }
    let samples = [2 * TRAIN, TEST];
    let samples = [0, 1].map(|k| recall(samples[k], pairs, symbols, SEEDS[k]));
    let [mut train, mut test] = loaders(run, samples, TEST)?;
    let task = supervised(
        |m: &Hyena, x: &Tensor| last(&m.forward(x), 1).squeeze(1),
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let (width, filter, layers) = (run.size("width")?, run.size("filter")?, run.size("layers")?);
    let model = Hyena::new(HyenaOptions { vocabulary: 2 * symbols, width, filter, layers }, run.device());
    let trainer = trainer(run, task, model, train.len()).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}
