//! Trainings of models of treatments.

use vorpal_nn::data::{Array, DataLoader, Samples};
use vorpal_nn::plot::Figure;
use vorpal_nn::trainer::{Task, Trainer};
use vorpal_nn::{Adam, AdamOptions, Module, Result, Tensor};

use crate::causal::{DragonNet, TarNet, TreatmentOptions};
use crate::data::Treatment;
use crate::recipe::{Goal, Length, Recipe, Run};

pub const TARNET: Recipe = Recipe {
    name: "tarnet",
    family: "causal",
    about: "TARNet: what a treatment does to whom",
    data: "1,566 smokers of the study NHEFS (causaldata), with a treatment and outcomes that are made up",
    length: Length::Epochs(60),
    batch: 64,
    rate: 2e-3,
    sizes: &[],
    goal: Goal::AtMost("relative_pehe", 0.6),
    body: |run| train(run, TarNet::new(OPTIONS, run.device()), TarNet::forward, TarNet::objective),
};

pub const DRAGONNET: Recipe = Recipe {
    name: "dragonnet",
    about: "DragonNet: effects of a treatment, and who gets it",
    body: |run| train(run, DragonNet::new(OPTIONS, run.device()), DragonNet::forward, DragonNet::objective),
    ..TARNET
};

const OPTIONS: TreatmentOptions = TreatmentOptions { covariates: 9, width: 48, layers: 2, head: 24 };
/// People to learn from; the others are the test.
const LEARNED: usize = 1066;

/// Covariates `[batch, 9]`, who was treated `[batch]`, and what came of it `[batch]`.
type People = (Tensor, Tensor, Tensor);

/// Learns outcomes from what happened.
struct Outcomes<M> {
    forward: fn(&M, &Tensor) -> Tensor,
    objective: fn(&Tensor, &Tensor, &Tensor) -> Tensor,
}

impl<M: Module + 'static> Task for Outcomes<M> {
    type Model = M;
    type Batch = People;

    fn forward(&self, model: &M, (x, _, _): &People) -> Tensor {
        (self.forward)(model, x)
    }

    fn loss(&self, output: &Tensor, (_, treated, happened): &People) -> Tensor {
        (self.objective)(output, treated, happened)
    }

    fn target(&self, (_, _, happened): &People) -> Tensor {
        happened.clone()
    }
}

/// Root of the mean squared error of effects, and the error of their mean.
fn errors(found: &[f64], truth: &[f64]) -> (f64, f64) {
    let n = truth.len().max(1) as f64;
    let (mut squares, mut off) = (0.0, 0.0);
    for (f, t) in found.iter().zip(truth) {
        (squares, off) = (squares + (f - t) * (f - t), off + f - t);
    }
    ((squares / n).sqrt(), (off / n).abs())
}

fn train<M: Module + 'static>(
    run: &mut Run,
    model: M,
    forward: fn(&M, &Tensor) -> Tensor,
    objective: fn(&Tensor, &Tensor, &Tensor) -> Tensor,
) -> Result<()> {
    let people = Treatment::smokers(1)?;
    let learned = &people.outcome[..LEARNED];
    let mean = learned.iter().sum::<f64>() / LEARNED as f64;
    let deviation = (learned.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / LEARNED as f64).sqrt();
    let person = |k: usize| {
        let x: Vec<f32> = people.covariates[k].iter().map(|&v| v as f32).collect();
        (x, people.treated[k] as f32, ((people.outcome[k] - mean) / deviation) as f32)
    };
    let device = run.device().clone();
    let train = Samples((0..LEARNED).map(person).collect::<Vec<_>>());
    let test = Samples((LEARNED..people.outcome.len()).map(person).collect::<Vec<_>>());
    let together = people.outcome.len() - LEARNED;
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true).shuffle(run.seed());
    let mut train = train.device(&device).build()?;
    let mut test = DataLoader::builder(test).batch_size(together).device(&device).build()?;
    let options = AdamOptions { weight_decay: 1e-2, decoupled: true, ..AdamOptions::default() };
    let adam = Adam::with_options(run.rate(), options);
    let trainer =
        run.fit(Trainer::new(Outcomes { forward, objective }, model, adam), &mut train, Some(&mut test))?;
    trainer.model.train(false);
    let all: Vec<f32> = people.covariates[LEARNED..].iter().flatten().map(|&v| v as f32).collect();
    let x = Array::new(&all, [together, 9])?.to_tensor(&device);
    let outcomes = forward(&trainer.model, &x);
    let effect = (outcomes.narrow(1, 1, 1) - outcomes.narrow(1, 0, 1)).to_vec::<f32>()?;
    let effect: Vec<f64> = effect.iter().map(|v| f64::from(*v) * deviation).collect();
    let truth = &people.effect[LEARNED..];
    let lines = &people.by_lines(LEARNED)?[LEARNED..];
    let ((pehe, ate), (pehe_lines, ate_lines)) = (errors(&effect, truth), errors(lines, truth));
    for (name, value) in
        [("pehe", pehe), ("ate_error", ate), ("pehe_lines", pehe_lines), ("ate_error_lines", ate_lines)]
    {
        run.result(name, value);
    }
    run.result("relative_pehe", pehe / pehe_lines);
    let points = |found: &[f64]| truth.iter().copied().zip(found.iter().copied()).collect::<Vec<_>>();
    let figure = Figure::new("effects of the treatment: found, by truth", "truth");
    let figure = figure.points("two lines", points(lines)).points("network", points(&effect));
    run.file("effects.svg", figure.svg());
    Ok(())
}
