//! Learning without labels.

use vorpal_nn::data::augment::{Augment, Compose, RandomAffine, RandomErasing};
use vorpal_nn::data::{DataLoader, Digits, PIXELS};
use vorpal_nn::trainer::{Task, Trainer};
use vorpal_nn::{Adam, DType, Device, Linear, Optimizer, Result, Tensor, eval, value_and_grad};

use super::super::{Byol, Encoder, SimClr};
use crate::recipe::Run;

/// Digits with names that the encoders are judged by.
const NAMED: usize = 300;
/// Numbers of the encoders, and those that views are compared by.
const WIDTH: usize = 64;
const COMPARED: usize = 32;

/// Two views of every picture: all first ones, then all second ones.
fn views(images: &Tensor) -> Tensor {
    let change = Compose::new()
        .then(RandomAffine::new().degrees(15.0).translate(0.1, 0.1).scale(0.8, 1.15).shear(15.0))
        .then(RandomErasing::new(0.2).scale(0.02, 0.08));
    change.apply(&Tensor::concat(&[images, images], 0))
}

/// Some digits as one batch.
fn some(digits: &Digits, count: usize, device: &Device) -> (Tensor, Tensor) {
    let count = count.min(digits.len());
    let pixels: Vec<f32> = digits.images[..count * PIXELS].iter().map(|&p| f32::from(p) / 255.0).collect();
    let labels: Vec<i32> = digits.labels[..count].iter().map(|&l| i32::from(l)).collect();
    (Tensor::from_slice(&pixels, [count, 1, 28, 28], device), Tensor::from_slice(&labels, [count], device))
}

/// Share of the test digits that a linear layer names right, which has learned from what the encoder makes of a few.
fn probe(encode: impl Fn(&Tensor) -> Tensor, train: &Digits, test: &Digits, device: &Device) -> Result<f64> {
    let features = |digits: &Digits, count: usize| -> Result<(Tensor, Tensor)> {
        let (images, labels) = some(digits, count, device);
        let x = encode(&images);
        // Of one size in every direction, so that one step size fits all.
        let x = &x / (x.std([0], 0).mean_all() + 1e-6);
        eval(&x)?;
        Ok((x, labels))
    };
    let (x, labels) = features(train, NAMED)?;
    let width = x.shape().last().copied().unwrap_or(0);
    let mut layer = Linear::new(width, 10, device);
    let mut optimizer = Adam::adamw(0.02);
    for _ in 0..300 {
        let (loss, grads) = value_and_grad(&layer, |l| l.forward(&x).cross_entropy(&labels))?;
        optimizer.step(&mut layer, grads)?;
        eval(&(&loss, &layer, &optimizer))?;
    }
    let (x, labels) = features(test, test.len())?;
    let right = layer.forward(&x).argmax(1).cast(DType::I32).eq(&labels).cast(DType::F32).mean_all();
    Ok(f64::from(right.item::<f32>()?))
}

/// How unlike two views are.
struct Alike;

impl Task for Alike {
    type Model = SimClr;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &SimClr, (views, _): &Self::Batch) -> Tensor {
        model.forward(views)
    }
    fn loss(&self, output: &Tensor, _: &Self::Batch) -> Tensor {
        SimClr::loss(output, 0.2)
    }
    fn target(&self, (_, labels): &Self::Batch) -> Tensor {
        labels.clone()
    }
}

pub(super) fn simclr(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let loader = DataLoader::builder(train.clone()).batch_size(run.batch()).drop_last(true);
    let mut loader = loader.shuffle(run.seed()).device(&device).build()?;
    let model = SimClr::new(WIDTH, COMPARED, &device);
    eval(&model)?;
    let judge = |encoder: &Encoder| probe(|x| encoder.forward(x), &train, &test, &device);
    run.result("random_encoder", judge(&model.encoder)?);
    run.result("pixels", probe(|x| x.flatten(1, -1), &train, &test, &device)?);
    let trainer = Trainer::new(Alike, model, Adam::new(run.rate()))
        .prepare(|(images, labels)| (views(&images), labels));
    let trainer = run.fit(trainer, &mut loader, None)?;
    run.result("probe_accuracy", judge(&trainer.model.encoder)?);
    let (images, _) = some(&test, 8, &device);
    run.file("views.png", vorpal_nn::plot::image_grid(&views(&images), 8, 2)?);
    Ok(())
}

pub(super) fn byol(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let loader = DataLoader::builder(train.clone()).batch_size(run.batch()).drop_last(true);
    let mut loader = loader.shuffle(run.seed()).device(&device).build()?;
    let mut model = Byol::new(WIDTH, COMPARED, &device);
    eval(&model)?;
    let judge = |encoder: &Encoder| probe(|x| encoder.forward(x), &train, &test, &device);
    run.result("random_encoder", judge(model.encoder())?);
    run.result("pixels", probe(|x| x.flatten(1, -1), &train, &test, &device)?);
    let mut optimizer = Adam::new(run.rate());
    let per_epoch = loader.len();
    run.repeat(per_epoch, |_| {
        let batch = match loader.epoch().next() {
            Some(batch) => batch,
            // The epoch is over; the next one begins.
            None => loader.epoch().next().unwrap_or_else(|| Err(vorpal_nn::Error::format("digits", "none"))),
        };
        let views = views(&batch?.0);
        let (loss, grads) = value_and_grad(&model, |m| m.loss(&views))?;
        optimizer.step(&mut model, grads)?;
        model.follow(0.01);
        eval(&(&loss, &model, &optimizer))?;
        loss.item::<f32>()
    })?;
    run.keep(&model)?;
    run.result("probe_accuracy", judge(model.encoder())?);
    Ok(())
}
