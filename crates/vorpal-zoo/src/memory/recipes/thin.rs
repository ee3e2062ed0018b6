//! What is left out.

use vorpal_nn::data::{DataLoader, Digits};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::trainer::{Task, Trainer, supervised};
use vorpal_nn::{Adam, Device, Module, Result, Tensor, Tree, eval};

use super::super::{MovingThin, Pruned, Thin};
use crate::recipe::Run;

type Loader = DataLoader<(Tensor, Tensor)>;

/// Digits to learn from and to be tested by.
fn digits(run: &Run) -> Result<(Loader, Loader)> {
    let (train, test) = Digits::embedded()?;
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true).shuffle(run.seed());
    let test = DataLoader::builder(test).batch_size(250).device(run.device()).build()?;
    Ok((train.device(run.device()).build()?, test))
}

fn network(device: &Device) -> Thin {
    Thin::new(&[784, 300, 100, 10], device)
}

fn loss(out: &Tensor, names: &Tensor) -> Tensor {
    out.cross_entropy(names)
}

fn task() -> impl Task<Model = Pruned<Thin>, Batch = (Tensor, Tensor)> {
    supervised(|m: &Pruned<Thin>, x: &Tensor| m.masked().forward(x), loss)
}

/// A training of some epochs that is not the main one; the model, and the share of the test that it names right.
fn aside<M, K>(run: &mut Run, task: K, model: M, epochs: u64, data: &mut (Loader, Loader)) -> Result<(M, f64)>
where
    M: Module,
    K: Task<Model = M, Batch = (Tensor, Tensor)>,
{
    let trainer = Trainer::new(task, model, Adam::new(run.rate())).epochs(epochs).log_every(10);
    let trainer = trainer.metric("accuracy", ConfusionMatrix::new(10));
    let (trainer, found) = run.fit_aside(trainer, &mut data.0, Some(&mut data.1))?;
    Ok((trainer.model, found.get("test_accuracy").copied().unwrap_or(0.0)))
}

/// The main training, of what is left.
fn last(run: &mut Run, model: Pruned<Thin>, data: &mut (Loader, Loader)) -> Result<f64> {
    let trainer = Trainer::new(task(), model, Adam::new(run.rate()));
    let trainer = trainer.metric("accuracy", ConfusionMatrix::new(10));
    let trainer = run.fit(trainer, &mut data.0, Some(&mut data.1))?;
    run.result("density", trainer.model.density()?);
    Ok(run.found("test_accuracy").unwrap_or(0.0))
}

pub(super) fn magnitude(run: &mut Run) -> Result<()> {
    let mut data = digits(run)?;
    let (mut model, whole) = aside(run, task(), Pruned::new(network(run.device())), 5, &mut data)?;
    run.result("whole", whole);
    for kept in [0.5, 0.25, 0.15] {
        model.prune(kept);
        eval(&model)?;
        model = aside(run, task(), model, 1, &mut data)?.0;
    }
    model.prune(0.1);
    eval(&model)?;
    let thin = last(run, model, &mut data)?;
    run.result("cost", whole - thin);
    Ok(())
}

/// Share of the weights of a lottery ticket, and of those before it.
const TICKETS: [f64; 3] = [0.4, 0.2, 0.1];

pub(super) fn lottery(run: &mut Run) -> Result<()> {
    let mut data = digits(run)?;
    let start = network(run.device());
    eval(&start)?;
    let own = |model: &Thin| model.map(&mut |tensor| tensor + 0.0);
    let (mut model, whole) = aside(run, task(), Pruned::new(own(&start)), 5, &mut data)?;
    run.result("whole", whole);
    for (k, kept) in TICKETS.into_iter().enumerate() {
        model.prune(kept);
        eval(&model)?;
        model.rewind(&start);
        eval(&model)?;
        if k + 1 < TICKETS.len() {
            model = aside(run, task(), model, 5, &mut data)?.0;
        }
    }
    // The same places, other weights.
    let mut other = model.clone();
    other.rewind(&network(run.device()));
    eval(&other)?;
    let (_, other) = aside(run, task(), other, 5, &mut data)?;
    run.result("other_weights", other);
    let ticket = last(run, model, &mut data)?;
    run.result("cost", whole - ticket);
    Ok(())
}

pub(super) fn movement(run: &mut Run) -> Result<()> {
    let (device, mut data) = (run.device().clone(), digits(run)?);
    let upright = supervised(Thin::forward, loss);
    let (base, found) = aside(run, upright, network(&device), 3, &mut data)?;
    run.result("upright_accuracy", found);

    let turned = |x: &Tensor| x.transpose(2, 3).flip([3]);
    let task = || supervised(move |m: &MovingThin, x: &Tensor| m.forward(&turned(x)), loss);
    let mut model = base.moving(1.0, &device);
    for kept in [0.5, 0.25, 0.12] {
        model.layers.iter_mut().for_each(|layer| layer.keep(kept));
        model = aside(run, task(), model, 1, &mut data)?.0;
    }
    model.layers.iter_mut().for_each(|layer| layer.keep(0.05));
    let trainer = Trainer::new(task(), model, Adam::new(run.rate()));
    let trainer = trainer.metric("accuracy", ConfusionMatrix::new(10));
    run.fit(trainer, &mut data.0, Some(&mut data.1))?;
    Ok(())
}
