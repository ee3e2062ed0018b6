//! Densities in the plane: what is learned is held to what is known.

use vorpal_nn::data::{Array, DataLoader, Dataset};
use vorpal_nn::plot::{Figure, heat_map};
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Trainer};
use vorpal_nn::{Adam, DType, Module, Result, Tensor};

use super::losses;
use crate::data::Mixture;
use crate::generative::{Ebm, FlowMatching, RealNvp};
use crate::recipe::Run;

/// Points to learn from, and points of the test.
const TRAIN: usize = 10_000;
const TEST: usize = 4_000;
/// Points of a side of a picture of a density, points drawn in a picture of samples, and pixels of a point.
const SIDE: usize = 64;
const DRAWN: usize = 400;
const SCALE: usize = 4;

fn ring() -> Mixture {
    Mixture::ring(8, 2.0, 0.3)
}

/// Trains a model by its losses on points of a density; gives it back, with points of the test.
fn train<M: Module>(
    run: &mut Run,
    truth: &Mixture,
    model: M,
    of: fn(&M, &Tensor) -> Tensor,
) -> Result<(M, Tensor)> {
    let device = run.device().clone();
    let draw = |n| Ok(Array::from_tensor(&truth.sample(n, &device))?.map(|point| (point, 0i32)));
    let (train, test) = (draw(TRAIN)?, draw(TEST)?);
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let points = truth.sample(TEST, &device);
    let mut test = DataLoader::builder(test).batch_size(TEST / 4).device(&device).build()?;
    let schedule = CosineAnnealing::new(run.rate(), run.steps(train.len()));
    let task = losses(move |model: &M, x: &Tensor, _: &Tensor| of(model, x));
    let trainer = Trainer::new(task, model, Adam::new(run.rate())).schedule(schedule, Every::Step);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    Ok((trainer.model, points))
}

/// Leaves the divergence of Kullback and Leibler from the truth to a model in nats, found at points of the truth.
fn divergence(run: &mut Run, truth: &Mixture, points: &Tensor, found: &Tensor) -> Result<()> {
    let apart = (truth.log_density(points) - found).mean_all().item::<f32>()?;
    run.result("test_divergence", f64::from(apart));
    run.result("entropy", f64::from((-truth.log_density(points)).mean_all().item::<f32>()?));
    Ok(())
}

/// Leaves a picture of a density on a square around the origin, and one of samples.
fn pictures(
    run: &mut Run,
    reach: f64,
    log_density: impl FnOnce(&Tensor) -> Result<Tensor>,
    samples: &Tensor,
) -> Result<()> {
    let along = Tensor::linspace(-reach, reach, SIDE, DType::F32, run.device());
    // The upper rows of a picture come first.
    let (down, across) = (along.flip(0).unsqueeze(1), along.unsqueeze(0));
    let square = [SIDE, SIDE];
    let grid = Tensor::stack(&[&across.broadcast_to(square), &down.broadcast_to(square)], -1);
    let density = log_density(&grid.reshape([SIDE * SIDE, 2]))?.exp().reshape(square);
    run.file("density.png", heat_map(&density, SCALE)?);
    let points = samples.narrow(0, 0, DRAWN).to_vec::<f32>()?;
    let points = points.chunks_exact(2).map(|p| (f64::from(p[0]), f64::from(p[1])));
    run.file("samples.svg", Figure::new("samples", "x").height(700.0).points("", points).svg());
    Ok(())
}

pub(super) fn real_nvp(run: &mut Run) -> Result<()> {
    let (truth, device) = (Mixture::moons(0.1), run.device().clone());
    let model = RealNvp::new(2, run.size("layers")?, run.size("width")?, &device);
    let (model, points) = train(run, &truth, model, RealNvp::losses)?;
    divergence(run, &truth, &points, &model.log_prob(&points))?;
    pictures(run, 2.0, |grid| Ok(model.log_prob(grid)), &model.sample(DRAWN, &device))
}

/// Steps of the differential equation.
const WAY: usize = 20;

pub(super) fn flow_matching(run: &mut Run) -> Result<()> {
    let (truth, device) = (ring(), run.device().clone());
    let model = FlowMatching::new(2, run.size("width")?, &device);
    let (model, points) = train(run, &truth, model, FlowMatching::losses)?;
    let found = model.log_prob(&points, WAY)?;
    divergence(run, &truth, &points, &found)?;
    let samples = model.sample(DRAWN, WAY, &device)?;
    pictures(run, 3.2, |grid| model.log_prob(grid, WAY), &samples)
}

/// Deviation of the noise that is added, steps of Langevin dynamics and their size.
const NOISE: f64 = 0.2;
const LANGEVIN: usize = 1000;
const SIZE: f64 = 0.02;

pub(super) fn ebm(run: &mut Run) -> Result<()> {
    let (truth, device) = (ring(), run.device().clone());
    let model = Ebm::new(run.size("width")?, NOISE, &device);
    let (model, points) = train(run, &truth, model, Ebm::losses)?;
    // What it learns is the density with the noise in it.
    let truth = truth.with_noise(NOISE);
    let points = points + Tensor::randn([TEST, 2], DType::F32, &device) * NOISE;
    let size = model.log_partition(&device);
    divergence(run, &truth, &points, &(-model.energy(&points) - &size))?;
    let samples = model.sample(DRAWN, LANGEVIN, SIZE, &device)?;
    pictures(run, 3.2, |grid| Ok(-model.energy(grid) - &size), &samples)
}
