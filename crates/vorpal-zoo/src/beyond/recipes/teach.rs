//! Learning to learn, and learning from others.

use std::f64::consts::PI;

use vorpal_nn::data::augment::{Augment, RandomCrop};
use vorpal_nn::data::{Array, DataLoader, Dataset, Digits};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::schedule::Exponential;
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{Adam, Linear, Module, Result, Tensor, eval};

use super::super::{LoraMlp, Maml, Student};
use crate::conv::MnistCnn;
use crate::data::uniform;
use crate::dense::answer;
use crate::recipe::Run;

/// Points of a wave that are adapted to, and as many to be answered.
const POINTS: usize = 10;

/// Sine waves of random amplitude and phase.
struct Waves {
    first: u64,
    count: usize,
}

impl Dataset for Waves {
    /// Pairs of x and y to adapt to, x to be answered, and what is wanted.
    type Item = ((Array, Array), Array);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let mut dice = (self.first + index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let (amplitude, phase) = (0.1 + 4.9 * uniform(&mut dice), PI * uniform(&mut dice));
        let mut point = || {
            let x = 10.0 * uniform(&mut dice) - 5.0;
            [x as f32, (amplitude * (x - phase).sin()) as f32]
        };
        let support: Vec<[f32; 2]> = (0..POINTS).map(|_| point()).collect();
        let query: Vec<[f32; 2]> = (0..POINTS).map(|_| point()).collect();
        let column = |k: usize| Array::new(&query.iter().map(|p| p[k]).collect::<Vec<f32>>(), [POINTS, 1]);
        Ok(((Array::new(support.as_flattened(), [POINTS, 2])?, column(0)?), column(1)?))
    }
}

/// Answers of a [`Maml`] to tasks, and how wrong they are.
struct Adapted;

impl Task for Adapted {
    type Model = Maml;
    type Batch = ((Tensor, Tensor), Tensor);

    fn forward(&self, model: &Maml, ((support, query), _): &Self::Batch) -> Tensor {
        model.forward(support, query)
    }
    fn loss(&self, output: &Tensor, (_, wanted): &Self::Batch) -> Tensor {
        output.mse(wanted)
    }
    fn target(&self, (_, wanted): &Self::Batch) -> Tensor {
        wanted.clone()
    }
}

/// Tasks of an epoch.
const TASKS: usize = 25 * 6_000;

pub(super) fn maml(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let train = DataLoader::builder(Waves { first: 1_000_000, count: TASKS }).batch_size(run.batch());
    let mut train = train.drop_last(true).shuffle(run.seed()).device(&device).build()?;
    let test = Waves { first: 0, count: 500 };
    let mut test = DataLoader::builder(test).batch_size(100).device(&device).build()?;
    let model = Maml::new(40, 0.01, &device);
    let trainer = Trainer::new(Adapted, model, Adam::new(run.rate()));
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;

    let ((support, _), _) = Waves { first: 42, count: 1 }.get(0)?;
    let wave = support.to_vec::<f32>()?;
    let xs: Vec<f32> = (0..=100).map(|k| k as f32 / 10.0 - 5.0).collect();
    let query = Tensor::from_slice(&xs, [1, xs.len(), 1], &device);
    let adapted = trainer.model.forward(&support.to_tensor(&device).unsqueeze(0), &query);
    let before = trainer.model.unadapted(&query.squeeze(0));
    eval(&(&adapted, &before))?;
    let line = |values: Vec<f32>| -> Vec<(f64, f64)> {
        xs.iter().zip(values).map(|(&x, y)| (f64::from(x), f64::from(y))).collect()
    };
    let figure = vorpal_nn::plot::Figure::new("a new wave, before and after one step on ten points", "x")
        .line("before", line(before.to_vec::<f32>()?))
        .line("after", line(adapted.to_vec::<f32>()?))
        .points("the ten points", wave.chunks(2).map(|p| (f64::from(p[0]), f64::from(p[1]))));
    run.file("wave.svg", figure.svg());
    Ok(())
}

/// A student's answers, held to its teacher's.
struct Taught {
    teacher: MnistCnn,
    temperature: f64,
}

impl Task for Taught {
    type Model = Student;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &Student, (images, _): &Self::Batch) -> Tensor {
        model.forward(images)
    }
    fn loss(&self, output: &Tensor, (images, _): &Self::Batch) -> Tensor {
        Student::loss(output, &self.teacher.forward(images), self.temperature)
    }
    fn target(&self, (_, names): &Self::Batch) -> Tensor {
        names.clone()
    }
}

/// The numbers of all digits but those of a name.
fn without(digits: &Digits, name: u8) -> Vec<usize> {
    (0..digits.len()).filter(|&k| digits.labels[k] != name).collect()
}

pub(super) fn distill(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let loader =
        |digits: Digits| DataLoader::builder(digits).batch_size(64).drop_last(true).shuffle(run.seed());
    let mut all = loader(train.clone()).device(&device).build()?;
    let others = without(&train, 3);
    let mut seen = DataLoader::builder(train.subset(others)?).batch_size(run.batch()).drop_last(true);
    let mut seen = {
        seen = seen.shuffle(run.seed());
        seen.device(&device).build()?
    };
    let threes: Vec<usize> = (0..test.len()).filter(|&k| test.labels[k] == 3).collect();
    let count = threes.len();
    let mut threes =
        DataLoader::builder(test.clone().subset(threes)?).batch_size(count).device(&device).build()?;
    let mut test = DataLoader::builder(test).batch_size(250).device(&device).build()?;

    let task = supervised(MnistCnn::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let teacher = Trainer::new(task, MnistCnn::new(&device), Adam::adamw(1e-3)).epochs(3);
    let teacher = teacher.metric("accuracy", ConfusionMatrix::new(10)).log_every(10);
    let (teacher, found) = run.fit_aside(teacher, &mut all, Some(&mut test))?;
    run.result("teacher_accuracy", found.get("test_accuracy").copied().unwrap_or(0.0));
    teacher.model.train(false);

    let rate = run.rate();
    let task = Taught { teacher: teacher.model, temperature: 8.0 };
    let moved = RandomCrop::new([28, 28], 2);
    let student = Trainer::new(task, Student::new(100, &device), Adam::new(rate))
        // Moved a little: a teacher can be asked about any picture.
        .prepare(move |(images, names)| (moved.apply(&images), names))
        .schedule(Exponential::new(rate, 0.85), Every::Epoch)
        .metric("accuracy", ConfusionMatrix::new(10));
    let mut student = run.fit(student, &mut seen, Some(&mut test))?;
    let found = student.evaluate(&mut threes)?;
    run.result("threes", found.get("test_accuracy").copied().unwrap_or(0.0));
    Ok(())
}

/// The base of [`lora`]: three layers.
#[derive(Clone, Debug, Module)]
struct Base {
    layers: Vec<Linear>,
}

impl Base {
    fn forward(&self, images: &Tensor) -> Tensor {
        answer(&self.layers, images, Linear::forward)
    }
}

/// Images turned by a quarter.
fn turned(images: &Tensor) -> Tensor {
    images.transpose(2, 3).flip([3])
}

pub(super) fn lora(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true).shuffle(run.seed());
    let mut train = train.device(&device).build()?;
    let mut test = DataLoader::builder(test).batch_size(250).device(&device).build()?;

    let layer = |(from, to)| Linear::new(from, to, &device);
    let base = Base { layers: [(784, 256), (256, 256), (256, 10)].map(layer).to_vec() };
    let loss = |out: &Tensor, y: &Tensor| out.cross_entropy(y);
    let upright = Trainer::new(supervised(Base::forward, loss), base, Adam::adamw(1e-3)).epochs(5);
    let upright = upright.metric("accuracy", ConfusionMatrix::new(10)).log_every(10);
    let (upright, found) = run.fit_aside(upright, &mut train, Some(&mut test))?;
    run.result("upright_accuracy", found.get("test_accuracy").copied().unwrap_or(0.0));

    let model = LoraMlp::new(upright.model.layers, 4, &device);
    let rate = run.rate();
    let task = supervised(|m: &LoraMlp, x: &Tensor| m.forward(&turned(x)), loss);
    let mut trainer = Trainer::new(task, model, Adam::new(rate))
        .schedule(Exponential::new(rate, 0.85), Every::Epoch)
        .metric("accuracy", ConfusionMatrix::new(10));
    let before = trainer.evaluate(&mut test)?;
    run.result("before", before.get("test_accuracy").copied().unwrap_or(0.0));
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}
