//! Differential equations.

use vorpal_nn::data::{DataLoader, Dataset};
use vorpal_nn::plot::Figure;
use vorpal_nn::trainer::{Trainer, supervised};
use vorpal_nn::{Adam, DType, Optimizer, Result, Tensor, eval, value_and_grad};

use super::super::{NeuralOde, Pinn};
use crate::recipe::Run;

/// Time between two points of the spiral.
const INTERVAL: f64 = 0.05;
/// Points of the whole path.
const POINTS: usize = 200;
/// Points of a piece that is learned from.
const PIECE: usize = 10;

/// How often an epoch visits each piece.
const OFTEN: usize = 20;

/// Points of the path of y′ = A y³ from (2, 0).
fn spiral() -> Vec<[f64; 2]> {
    let slope = |[x, y]: [f64; 2]| {
        let (x, y) = (x.powi(3), y.powi(3));
        [-0.1 * x + 2.0 * y, -2.0 * x - 0.1 * y]
    };
    let ahead = |p: [f64; 2], k: [f64; 2], h: f64| [p[0] + h * k[0], p[1] + h * k[1]];
    let (mut point, mut points) = ([2.0, 0.0], vec![[2.0, 0.0]]);
    const FINE: usize = 50;
    let h = INTERVAL / FINE as f64;
    for k in 1..=POINTS * FINE {
        // The midpoint method, in steps far finer than what is learned.
        point = ahead(point, slope(ahead(point, slope(point), h / 2.0)), h);
        if k % FINE == 0 {
            points.push(point);
        }
    }
    points
}

/// Pieces of a path: the first point, and those after it.
struct Pieces(Vec<[f64; 2]>);

impl Dataset for Pieces {
    type Item = (Vec<f32>, vorpal_nn::data::Array);

    fn len(&self) -> usize {
        OFTEN * self.0.len().saturating_sub(PIECE)
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let index = index % self.0.len().saturating_sub(PIECE).max(1);
        let numbers =
            |points: &[[f64; 2]]| points.as_flattened().iter().map(|&v| v as f32).collect::<Vec<_>>();
        let rest = vorpal_nn::data::Array::new(&numbers(&self.0[index + 1..=index + PIECE]), [PIECE, 2])?;
        Ok((numbers(&self.0[index..=index]), rest))
    }
}

pub(super) fn neural_ode(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let points = spiral();
    let train = DataLoader::builder(Pieces(points.clone())).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let task = supervised(
        |m: &NeuralOde, y: &Tensor| m.path(y, INTERVAL, PIECE),
        |path: &Tensor, seen: &Tensor| (path - seen).abs().mean_all(),
    );
    let rate = run.rate();
    let schedule = vorpal_nn::schedule::CosineAnnealing::new(rate, run.steps(train.len()).max(1));
    let trainer = Trainer::new(task, NeuralOde::new(2, 50, &device), Adam::new(rate))
        .schedule(schedule, vorpal_nn::trainer::Every::Step);
    let trainer = run.fit(trainer, &mut train, None)?;

    let mut y = Tensor::from_slice(&[2.0f32, 0.0], [1, 2], &device);
    let (mut path, mut error) = (vec![(2.0, 0.0)], 0.0);
    for wanted in &points[1..] {
        y = trainer.model.path(&y, INTERVAL, 1).squeeze(1);
        eval(&y)?;
        let found = y.to_vec::<f32>()?;
        path.push((f64::from(found[0]), f64::from(found[1])));
        error += (f64::from(found[0]) - wanted[0]).abs() + (f64::from(found[1]) - wanted[1]).abs();
    }
    run.result("path_error", error / (2 * POINTS) as f64);
    let figure = Figure::new("a spiral, and the path of the learned equation", "y₁").height(500.0);
    let figure = figure.points("seen", points.iter().map(|p| (p[0], p[1]))).line("learned", path);
    run.file("spiral.svg", figure.svg());
    Ok(())
}

/// ν of Burgers' equation.
const VISCOSITY: f64 = 0.05;

pub(super) fn pinn(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let mut model = Pinn::new(32, VISCOSITY, &device);
    let mut optimizer = Adam::new(run.rate());
    eval(&model)?;
    let (batch, rate, steps) = (run.batch(), run.rate(), run.steps(1));
    run.repeat(1, |step| {
        // Small at the end: what is left of the error is what the last steps rock to and fro.
        let rest = 1.0 - step as f64 / steps as f64;
        optimizer.set_learning_rate(rate * (0.02 + 0.98 * rest * rest));
        let x = Tensor::uniform([batch, 1], -1.0, 1.0, DType::F32, &device);
        let t = Tensor::rand([batch, 1], DType::F32, &device);
        let places = Tensor::concat(&[&x, &t], 1);
        let (loss, grads) = value_and_grad(&model, |m| m.loss(&places))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        loss.item::<f32>()
    })?;
    run.keep(&model)?;

    let lines = [0.0, 0.5, 1.0];
    let mut figure = Figure::new("Burgers' equation: a wave at three times", "x");
    let (mut missed, mut size) = (0.0, 0.0);
    for t in lines {
        let xs: Vec<f32> = (0..=200).map(|k| k as f32 / 100.0 - 1.0).collect();
        let places: Vec<f32> = xs.iter().flat_map(|&x| [x, t as f32]).collect();
        let places = Tensor::from_slice(&places, [xs.len(), 2], &device);
        let (found, wave) = (model.forward(&places), model.wave(&places));
        eval(&(&found, &wave))?;
        let (found, wave) = (found.to_vec::<f32>()?, wave.to_vec::<f32>()?);
        for (a, b) in found.iter().zip(&wave) {
            missed += f64::from(a - b).powi(2);
            size += f64::from(*b).powi(2);
        }
        let pairs = |values: &[f32]| -> Vec<(f64, f64)> {
            xs.iter().zip(values).map(|(&x, &v)| (f64::from(x), f64::from(v))).collect()
        };
        let some: Vec<_> = pairs(&wave).into_iter().step_by(10).collect();
        figure =
            figure.line(&format!("network, t = {t}"), pairs(&found)).points(&format!("wave, t = {t}"), some);
    }
    run.result("relative_error", (missed / size).sqrt());
    run.file("burgers.svg", figure.svg());
    Ok(())
}
