//! Trainings of fully connected models.

use vorpal_nn::data::augment::{RandomAffine, warp};
use vorpal_nn::data::{Array, DataLoader, Dataset, Digits, PIXELS, Samples, Stack};
use vorpal_nn::metrics::{Accuracy, Metric, Ranking, Regression};
use vorpal_nn::plot::Figure;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{Adam, DType, Error, Module, Result, SplineGrid, Tensor, eval};

use super::monte_carlo::entropy;
use super::{DeepSets, DeepSetsOptions, Kan, MixerOptions, Mlp, MlpMixer, MlpOptions, Pool, monte_carlo};
use crate::data::uniform;
use crate::recipe::{Goal, Length, Recipe, Run, classify, moved};

/// A training with the name of the family filled in.
const BASE: Recipe = Recipe::base("dense", "10,000 MNIST digits that ship with the program");

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "mlp",
        about: "a multilayer perceptron with dropout",
        length: Length::Steps(5000),
        sizes: &[("hidden", 256)],
        goal: Goal::AtLeast("test_accuracy", 0.965),
        body: mlp,
        ..BASE
    },
    Recipe {
        name: "mc-dropout",
        about: "Monte Carlo dropout: a network that notices when digits are turned",
        length: Length::Steps(2500),
        sizes: &[("hidden", 256), ("draws", 30)],
        goal: Goal::AtLeast("auroc", 0.9),
        body: mc_dropout,
        ..BASE
    },
    Recipe {
        name: "mixer",
        about: "MLP-Mixer: patches and numbers mixed in turn",
        length: Length::Steps(2000),
        rate: 2e-3,
        sizes: &[("width", 64), ("layers", 3), ("patch", 7)],
        goal: Goal::AtLeast("test_accuracy", 0.965),
        body: mixer,
        ..BASE
    },
    Recipe {
        name: "kan",
        about: "a Kolmogorov–Arnold network that finds exp(sin(πx) + y²)",
        data: "points of the function in the square from -1 to 1",
        length: Length::Steps(2000),
        batch: 100,
        rate: 2e-2,
        goal: Goal::AtMost("test_rmse", 0.02),
        body: kan,
        ..BASE
    },
    Recipe {
        name: "deep_sets",
        about: "Deep Sets: digits that are sets of points",
        data: "10,000 MNIST digits that ship with the program, as points of their ink",
        length: Length::Steps(1500),
        rate: 2e-3,
        sizes: &[("width", 128)],
        goal: Goal::AtLeast("test_accuracy", 0.85),
        body: deep_sets,
        ..BASE
    },
];

/// Digits of a test that are looked at together.
const TEST_BATCH: usize = 500;

/// The network of `mlp` with so much dropout, trained on digits.
fn trained(run: &mut Run, dropout: f64, change: Option<RandomAffine>) -> Result<Mlp> {
    let hidden = run.size("hidden")?;
    let options = MlpOptions { sizes: vec![PIXELS, hidden, hidden / 2, 10], dropout, ..Default::default() };
    let model = Mlp::new(options, run.device());
    classify(run, model, |m, x| m.forward(&x.flatten(1, -1)), Digits::embedded()?, 10, change)
}

fn mlp(run: &mut Run) -> Result<()> {
    trained(run, 0.2, Some(moved())).map(drop)
}

/// Images `[n, 1, 28, 28]` turned by an angle in degrees.
fn turned(images: &Tensor, degrees: f64) -> Tensor {
    let Ok(device) = images.device() else { return images.clone() };
    let (sin, cos) = (degrees.to_radians().sin() as f32, degrees.to_radians().cos() as f32);
    let matrix = Tensor::from_slice(&[cos, -sin, 0.0, sin, cos, 0.0], [1, 2, 3], &device);
    let n = images.shape().first().copied().unwrap_or(0);
    warp(images, &matrix.broadcast_to([n, 2, 3]))
}

/// How well a number tells turned digits from upright ones.
fn told_apart(upright: &Tensor, turned: &Tensor) -> Result<f64> {
    let mut metric = Ranking::auroc();
    metric.update(upright, &upright.full_like(0.0).cast(DType::I32));
    metric.update(turned, &turned.full_like(1.0).cast(DType::I32));
    metric.compute()
}

fn mc_dropout(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let draws = run.size("draws")?;
    let model = trained(run, 0.4, None)?;
    model.train(false);
    let (_, test) = Digits::embedded()?;
    let some = (0..TEST_BATCH.min(test.len())).map(|k| test.get(k)).collect::<Result<Vec<_>>>()?;
    let (images, names) = Stack::stack(some, &device)?;
    let mut seen = Vec::new();
    for angle in (0..=90).step_by(15) {
        let x = turned(&images, f64::from(angle)).flatten(1, -1);
        let many = monte_carlo(&model, draws, |m| m.forward(&x));
        let once = entropy(&model.forward(&x).softmax(-1));
        let right = many.probabilities.argmax(-1).eq(&names).cast(DType::F32).mean_all();
        eval(&(&many.entropy, &many.information, &once, &right))?;
        seen.push((f64::from(angle), many, once, f64::from(right.item::<f32>()?)));
    }
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    run.result("auroc", told_apart(&first.1.entropy, &last.1.entropy)?);
    run.result("auroc_of_information", told_apart(&first.1.information, &last.1.information)?);
    run.result("auroc_without_dropout", told_apart(&first.2, &last.2)?);
    let mean = |x: &Tensor| Ok::<f64, Error>(f64::from(x.mean_all().item::<f32>()?));
    let mut lines = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (angle, many, once, right) in &seen {
        let values = [mean(&many.entropy)?, mean(&many.information)?, mean(once)?, *right];
        lines.iter_mut().zip(values).for_each(|(line, value)| line.push((*angle, value)));
    }
    let [all, information, once, right] = lines;
    let figure = Figure::new("digits that are turned", "degrees")
        .height(320.0)
        .line("entropy in nats", all)
        .line("of it the model's ignorance", information)
        .line("entropy without dropout", once)
        .line("named rightly", right);
    run.file("turned.svg", figure.svg());
    Ok(())
}

fn mixer(run: &mut Run) -> Result<()> {
    let (width, layers, patch) = (run.size("width")?, run.size("layers")?, run.size("patch")?);
    if patch == 0 || !28usize.is_multiple_of(patch) {
        return Err(Error::format("sizes", format!("patches of {patch} pixels do not fill 28")));
    }
    let options =
        MixerOptions { image: [1, 28, 28], patch, width, hidden: [width, 2 * width], layers, classes: 10 };
    let model = MlpMixer::new(options, run.device());
    classify(run, model, MlpMixer::forward, Digits::embedded()?, 10, Some(moved())).map(drop)
}

/// The function that is looked for.
fn wanted(x: f64, y: f64) -> f64 {
    ((std::f64::consts::PI * x).sin() + y * y).exp()
}

/// Points of the square and the values there.
fn points(count: usize, mut stream: u64) -> Samples<(Vec<f32>, Vec<f32>)> {
    let mut draw = || 2.0 * uniform(&mut stream) - 1.0;
    let point = |_| {
        let (x, y) = (draw(), draw());
        (vec![x as f32, y as f32], vec![wanted(x, y) as f32])
    };
    Samples((0..count).map(point).collect())
}

fn kan(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let train = DataLoader::builder(points(2000, 1)).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = DataLoader::builder(points(1000, 2)).batch_size(TEST_BATCH).device(&device).build()?;
    // Wider than the square: the sums of functions in the middle leave it.
    let grid = SplineGrid { low: -2.0, high: 2.0, intervals: 16, degree: 3 };
    let task = supervised(Kan::forward, |out: &Tensor, y: &Tensor| out.mse(y));
    let (rate, steps) = (run.rate(), run.steps(train.len()));
    let trainer = Trainer::new(task, Kan::new(&[2, 5, 1], grid, &device), Adam::new(rate))
        .schedule(CosineAnnealing::new(rate, steps), Every::Step)
        .metric("rmse", Regression::rmse());
    let found = run.fit(trainer, &mut train, Some(&mut test))?.model;
    let place = |k: u32| f64::from(k) / 50.0 - 1.0;
    let mut figure = Figure::new("exp(sin(πx) + y²) at y = 0, ½, 1", "x").height(320.0);
    for y in [0.0, 0.5, 1.0] {
        let across: Vec<f32> = (0..=100).flat_map(|k| [place(k) as f32, y as f32]).collect();
        let values = found.forward(&Tensor::from_slice(&across, [101, 2], &device)).to_vec::<f32>()?;
        figure = figure
            .line(
                if y > 0.0 { "" } else { "network" },
                (0..=100).map(place).zip(values.iter().map(|&v| v.into())),
            )
            .points(
                if y > 0.0 { "" } else { "function" },
                (0..=100).step_by(5).map(|k| (place(k), wanted(place(k), y))),
            );
    }
    run.file("function.svg", figure.svg());
    Ok(())
}

/// Points of a digit.
const POINTS: usize = 100;

/// Digits as sets: places of pixels with ink, from -1 to 1, in the order they come; where there are more than a hundred,
/// some that are drawn by the digit's own dice.
struct Ink(Digits);

impl Dataset for Ink {
    /// Points `[100, 2]`, how many of them count, and the digit.
    type Item = (Array, i32, i32);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let (_, digit) = self.0.get(index)?;
        let image = &self.0.images[index * PIXELS..(index + 1) * PIXELS];
        let mut inked: Vec<usize> = (0..PIXELS).filter(|&p| image[p] >= 128).collect();
        let mut stream = index as u64;
        while inked.len() > POINTS {
            inked.swap_remove((uniform(&mut stream) * inked.len() as f64) as usize);
        }
        let mut points: Vec<f32> =
            inked.iter().flat_map(|p| [p % 28, p / 28]).map(|place| place as f32 / 13.5 - 1.0).collect();
        points.resize(2 * POINTS, 0.0);
        Ok((Array::new(&points, [POINTS, 2])?, inked.len() as i32, digit))
    }
}

/// Sets, their sizes and their names.
struct Sets;

impl Task for Sets {
    type Model = DeepSets;
    type Batch = (Tensor, Tensor, Tensor);

    fn forward(&self, model: &DeepSets, (sets, sizes, _): &Self::Batch) -> Tensor {
        model.forward(sets, Some(sizes))
    }

    fn loss(&self, output: &Tensor, (_, _, names): &Self::Batch) -> Tensor {
        output.cross_entropy(names)
    }

    fn target(&self, (_, _, names): &Self::Batch) -> Tensor {
        names.clone()
    }
}

/// Sets of points `[batch, elements, 2]`, each turned, slanted, stretched and moved a little.
fn shaken(sets: &Tensor) -> Tensor {
    let Ok(device) = sets.device() else { return sets.clone() };
    let batch = sets.shape().first().copied().unwrap_or(0);
    let noise = |rows: usize| Tensor::randn([batch, rows, 2], DType::F32, &device) * 0.08;
    sets.matmul(&(noise(2) + Tensor::eye(2, DType::F32, &device))) + noise(1)
}

fn deep_sets(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let train = DataLoader::builder(Ink(train)).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = DataLoader::builder(Ink(test)).batch_size(TEST_BATCH).device(&device).build()?;
    let options = DeepSetsOptions { features: 2, width: run.size("width")?, outputs: 10, pool: Pool::Max };
    let (rate, steps) = (run.rate(), run.steps(train.len()));
    let trainer = Trainer::new(Sets, DeepSets::new(options, &device), Adam::adamw(rate))
        .schedule(CosineAnnealing::new(rate, steps), Every::Step)
        .prepare(|(sets, sizes, names): (Tensor, Tensor, Tensor)| (shaken(&sets), sizes, names))
        .metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}
