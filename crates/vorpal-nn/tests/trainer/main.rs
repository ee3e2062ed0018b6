//! The trainer: what it promises about bits, files, errors and ends.

#![allow(clippy::expect_used, clippy::panic)]

mod common;
mod mishaps;
mod options;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use vorpal_autodiff::Precision;
use vorpal_nn::data::augment::{Augment, Compose, RandomAffine, RandomErasing};
use vorpal_nn::data::{DataLoader, Dataset, Digits};
use vorpal_nn::metrics::{ConfusionMatrix, Regression};
use vorpal_nn::schedule::{CosineAnnealing, Exponential, warmup};
use vorpal_nn::trainer::{Event, Every, Flow, Monitor, Reason, Task, Trainer, supervised};
use vorpal_nn::{Adam, BatchNorm2d, Conv2d, DType, Device, Dropout, Linear, Module, Tensor, load};

use common::*;

#[test]
fn a_training_goes_on_in_identical_bits() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, part) = (folder.path().join("whole"), folder.path().join("part"));
    let (mut train, mut test) = (pictures(true), pictures(false));
    let fitted = trainer(13).run_dir(&whole, "{}").expect("a run").fit(&mut train, Some(&mut test));
    assert!(fitted.expect("a training").test["test_accuracy"] > 0.5);
    // Stopped in the middle of an epoch, with other loaders the second time.
    let mut first = trainer(8).run_dir(&part, "{}").expect("a run");
    first.fit(&mut pictures(true), Some(&mut test)).expect("a training");
    drop(first);
    let copy = folder.path().join("copy");
    let mut second = trainer(13).resume(&part, Some(copy.clone()), "{}").expect("it goes on");
    assert_eq!(second.progress().step, 8);
    second.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    for name in ["model.safetensors", "optimizer.safetensors", "best.safetensors"] {
        assert!(bytes(&whole, name) == bytes(&copy, name), "{name}");
    }
    assert_eq!(metrics(&whole), metrics(&copy));
    assert_eq!(metrics(&part).len(), 9, "the run it went on from is as it was");
    let page = String::from_utf8(bytes(&whole, "report.html")).expect("UTF-8");
    for part in ["<svg", "Confusion", "data:image/png;base64,", "conv", "Gflop", "test accuracy"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http://") || page.matches("http").count() == page.matches("www.w3.org").count());
}

#[test]
fn batches_can_be_accumulated() {
    let _alone = alone();
    let run = |batch: usize, accumulate: usize| {
        let mut trainer =
            Trainer::new(regression(), linear(), Adam::new(0.05)).epochs(2).accumulate(accumulate);
        let fitted = trainer.fit(&mut line(batch, true), None).expect("a training");
        assert_eq!(fitted.steps, 2 * 96 / (batch * accumulate) as u64);
        trainer.model.weight.to_vec::<f32>().expect("a weight")[0]
    };
    let (one, four) = (run(32, 1), run(8, 4));
    assert!((one - four).abs() < 1e-5, "{one} {four}");
}

#[test]
fn it_stops_early_keeps_the_best_and_listens() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let events = Rc::new(RefCell::new(Vec::new()));
    let heard = events.clone();
    // Ever larger steps: it becomes worse soon.
    let mut trainer = Trainer::new(regression(), linear(), Adam::new(0.1))
        .epochs(50)
        .metric("mae", Regression::mae())
        .schedule(Exponential::new(0.1, 1.6), Every::Epoch)
        .monitor(Monitor::smallest("test_mae").patience(2))
        .run_dir(&path, "{}")
        .expect("a run")
        .on(move |event| {
            heard.borrow_mut().push(event.clone());
            Flow::Continue
        });
    let fitted = trainer.fit(&mut line(16, true), Some(&mut line(96, false))).expect("a training");
    assert_eq!(fitted.reason, Reason::Early);
    let maes: Vec<f64> = fitted
        .epochs
        .iter()
        .map(|e| if let Event::Epoch { test, .. } = e { test["test_mae"] } else { panic!("{e:?}") })
        .collect();
    let (best, step) = fitted.best.expect("a best one");
    let place = maes.iter().position(|&m| m == best).expect("one of them");
    assert_eq!((place + 3, step as usize), (maes.len(), 6 * (place + 1)));
    assert!(maes.iter().all(|&m| m >= best));
    // The best weights are those of that epoch.
    load(&mut trainer.model, path.join("best.safetensors")).expect("the best");
    assert_eq!(trainer.evaluate(&mut line(96, false)).expect("numbers")["test_mae"], best);
    let events = events.borrow();
    assert!(matches!(events.last(), Some(Event::Stop { reason: Reason::Early, .. })));
    assert!(events.iter().any(|e| matches!(e, Event::Checkpoint { best: true, .. })));

    let mut asked = Trainer::new(regression(), linear(), Adam::new(0.1))
        .epochs(9)
        .on(|event| if matches!(event, Event::Step { step: 4, .. }) { Flow::Stop } else { Flow::Continue });
    let fitted = asked.fit(&mut line(16, true), None).expect("a training");
    assert_eq!((fitted.reason, fitted.steps), (Reason::Asked, 4));
}

#[test]
fn short_floats_train_as_well() {
    let _alone = alone();
    let run = |precision: Option<Precision>| {
        let device = Device::cpu();
        device.seed(11);
        let mut trainer = Trainer::new(classes(), net(&device), Adam::adamw(1e-2)).epochs(4);
        if let Some(precision) = precision {
            trainer = trainer.precision(precision);
        }
        let fitted = trainer.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
        assert_eq!(trainer.model.out.weight.dtype(), DType::F32);
        fitted.test["test_loss"]
    };
    let (full, mixed) = (run(None), run(Some(Precision::mixed(DType::BF16))));
    assert!(full < 0.4 && (full - mixed).abs() < 0.1 && full != mixed, "{full} {mixed}");
}

/// Two convolutions with batch normalisation, and a third for the long training.
#[derive(Module)]
struct DigitNet {
    layers: Vec<Conv2d>,
    norms: Vec<BatchNorm2d>,
    drop: Dropout,
    out: Linear,
}

fn digit_net(filters: &[usize], device: &Device) -> DigitNet {
    let inputs = std::iter::once(&1).chain(filters);
    let conv = |(i, o): (&usize, &usize)| Conv2d::new(*i, *o, [3, 3], device).padding([1, 1]);
    let last = filters.last().expect("a layer");
    let model = DigitNet {
        layers: inputs.zip(filters).map(conv).collect(),
        norms: filters.iter().map(|&o| BatchNorm2d::new(o, device)).collect(),
        drop: Dropout::new(0.3),
        out: Linear::new(last * 7 * 7, 10, device),
    };
    vorpal_nn::eval(&model).expect("weights");
    model
}

type Digitizer<T> = (Trainer<T, Adam>, DataLoader<Pair>, DataLoader<Pair>);

/// A training on `count` digits with augmentation, those and `tested` others.
fn digits(
    filters: &[usize],
    count: usize,
    tested: usize,
    epochs: u64,
) -> Digitizer<impl Task<Model = DigitNet, Batch = Pair>> {
    let device = Device::cpu();
    device.seed(7);
    let (train, test) = Digits::embedded().expect("digits");
    let train = train.subset((0..count).collect()).expect("digits");
    let test = test.subset((0..tested).collect()).expect("digits");
    let train = DataLoader::builder(train).batch_size(50).shuffle(7).workers(1).build().expect("a loader");
    let test = DataLoader::builder(test).batch_size(100).build().expect("a loader");
    let forward = |m: &DigitNet, x: &Tensor| {
        let mut x = x.clone();
        for (k, (conv, norm)) in m.layers.iter().zip(&m.norms).enumerate() {
            x = norm.forward(&conv.forward(&x)).relu();
            x = if k < 2 { x.max_pool2d(2) } else { x };
        }
        m.out.forward(&m.drop.forward(&x.flatten(1, -1)))
    };
    let augment = Compose::new()
        .then(RandomAffine::new().degrees(10.0).translate(0.08, 0.08).scale(0.9, 1.1).shear(5.0))
        .then(RandomErasing::new(0.1).scale(0.02, 0.1));
    let steps = epochs * train.len() as u64;
    let schedule = warmup(steps / 10).then(CosineAnnealing::new(2e-3, steps - steps / 10));
    let task = supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let trainer = Trainer::new(task, digit_net(filters, &device), Adam::adamw(2e-3))
        .epochs(epochs)
        .metric("accuracy", ConfusionMatrix::new(10))
        .schedule(schedule, Every::Step)
        .prepare(move |(x, y)| (augment.apply(&x), y));
    (trainer, train, test)
}

#[test]
fn a_few_digits_are_learned_with_augmentation_in_short_floats_too() {
    let _alone = alone();
    for precision in [None, Some(Precision::mixed(DType::BF16))] {
        let (mut trainer, mut train, mut test) = digits(&[8, 16], 1500, 500, 2);
        if let Some(precision) = precision {
            trainer = trainer.precision(precision);
        }
        let fitted = trainer.fit(&mut train, Some(&mut test)).expect("a training");
        let accuracy = fitted.test["test_accuracy"];
        assert!(accuracy > 0.8, "{accuracy}");
    }
}

#[test]
fn digits_go_on_after_a_sudden_end_in_identical_bits() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, part) = (folder.path().join("whole"), folder.path().join("part"));
    let fit = |path: &Path, ends: bool| {
        let (trainer, mut train, mut test) = digits(&[4, 8], 400, 100, 2);
        let trainer = trainer.save_every(5).run_dir(path, "{}").expect("a run");
        let mut trainer = trainer.on(move |event| match event {
            Event::Step { step: 12, .. } if ends => panic!("the lights go out"),
            _ => Flow::Continue,
        });
        trainer.fit(&mut train, Some(&mut test)).expect("a training");
    };
    fit(&whole, false);
    assert!(std::panic::catch_unwind(|| fit(&part, true)).is_err());
    let (trainer, mut train, mut test) = digits(&[4, 8], 400, 100, 2);
    let mut trainer = trainer.save_every(5).resume(&part, None, "{}").expect("it goes on");
    assert_eq!(trainer.progress().step, 10);
    trainer.fit(&mut train, Some(&mut test)).expect("a training");
    for name in ["model.safetensors", "optimizer.safetensors"] {
        assert!(bytes(&whole, name) == bytes(&part, name), "{name}");
    }
}

#[test]
fn digits_stop_early_with_the_best_weights() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let (trainer, mut train, mut test) = digits(&[4, 8], 300, 200, 40);
    let monitor = Monitor::largest("test_accuracy").patience(1);
    let mut trainer = trainer.monitor(monitor).run_dir(&path, "{}").expect("a run");
    let fitted = trainer.fit(&mut train, Some(&mut test)).expect("a training");
    let (best, step) = fitted.best.expect("a best one");
    assert_eq!((fitted.reason, fitted.steps), (Reason::Early, step + train.len() as u64));
    assert!(fitted.steps < 40 * train.len() as u64 && best > 0.5, "{best} at {step}");
    load(&mut trainer.model, path.join("best.safetensors")).expect("the best");
    assert_eq!(trainer.evaluate(&mut test).expect("numbers")["test_accuracy"], best);
}

#[test]
#[ignore = "takes minutes"]
fn digits_are_learned_to_98_and_a_half_percent() {
    let _alone = alone();
    let (mut trainer, mut train, mut test) = digits(&[24, 48, 96], 8000, 2000, 15);
    let accuracy = trainer.fit(&mut train, Some(&mut test)).expect("a training").test["test_accuracy"];
    assert!(accuracy >= 0.985, "{accuracy}");
}
