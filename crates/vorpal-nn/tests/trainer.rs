//! The trainer: what it promises about bits, files, errors and ends.

#![allow(clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vorpal_autodiff::Precision;
use vorpal_nn::data::augment::{Augment, Compose, RandomAffine, RandomErasing};
use vorpal_nn::data::{Array, DataLoader, Dataset, Digits};
use vorpal_nn::metrics::{ConfusionMatrix, Regression};
use vorpal_nn::schedule::{CosineAnnealing, Exponential, Plateau, PlateauOptions, warmup};
use vorpal_nn::trainer::{
    Event, Every, Flow, Monitor, Reason, RunDir, Task, TensorBoard, Trainer, supervised,
};
use vorpal_nn::{
    Adam, BatchNorm2d, Conv2d, DType, Device, Dropout, Error, Linear, Module, Optimizer, Tensor, load,
    to_safetensors,
};

type Pair = (Tensor, Tensor);

/// Trainings share the random numbers of the device: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 96 points of a line, in batches.
fn line(batch: usize, shuffled: bool) -> DataLoader<Pair> {
    let x: Vec<f32> = (0..96).map(|k| (k as f32 - 48.0) / 32.0).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 1.0).collect();
    let data = Array::new(&x, [96, 1]).expect("x").zip(Array::new(&y, [96, 1]).expect("y")).expect("pairs");
    let loader = DataLoader::builder(data).batch_size(batch);
    (if shuffled { loader.shuffle(3) } else { loader }).build().expect("a loader")
}

fn linear() -> Linear {
    let device = Device::cpu();
    device.seed(5);
    let model = Linear::new(1, 1, &device);
    vorpal_nn::eval(&model).expect("weights");
    model
}

fn regression() -> impl Task<Model = Linear, Batch = Pair> {
    supervised(|m: &Linear, x: &Tensor| m.forward(x), |out: &Tensor, y: &Tensor| out.mse(y))
}

/// Something of everything that has a state.
#[derive(Module)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    drop: Dropout,
    out: Linear,
}

fn net(device: &Device) -> Net {
    let model = Net {
        conv: Conv2d::new(1, 4, [3, 3], device),
        norm: BatchNorm2d::new(4, device),
        drop: Dropout::new(0.3),
        out: Linear::new(4 * 3 * 3, 2, device),
    };
    vorpal_nn::eval(&model).expect("weights");
    model
}

fn classes() -> impl Task<Model = Net, Batch = Pair> {
    let forward = |m: &Net, x: &Tensor| {
        let x = m.norm.forward(&m.conv.forward(x)).relu().max_pool2d(2);
        m.out.forward(&m.drop.forward(&x.flatten(1, -1)))
    };
    supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y))
}

/// Pictures of 8 × 8: bright above (class 0) or below.
fn pictures(shuffled: bool) -> DataLoader<Pair> {
    let noise = |k: usize| ((k * 7919 + 13) % 101) as f32 / 101.0;
    let of = |n: usize, p: usize| {
        0.6 * noise(n * 64 + p) + if (p < 32) == n.is_multiple_of(2) { 0.4 } else { 0.0 }
    };
    let x: Vec<f32> = (0..40 * 64).map(|k| of(k / 64, k % 64)).collect();
    let y: Vec<i32> = (0..40).map(|n| n % 2).collect();
    let x = Array::new(&x, [40, 1, 8, 8]).expect("x");
    let data = x.zip(Array::new(&y, [40]).expect("y")).expect("pairs");
    let loader = DataLoader::builder(data).batch_size(8);
    (if shuffled { loader.shuffle(3) } else { loader }).build().expect("a loader")
}

fn trainer(steps: u64) -> Trainer<impl Task<Model = Net, Batch = Pair>, Adam> {
    let device = Device::cpu();
    device.seed(11);
    Trainer::new(classes(), net(&device), Adam::adamw(1e-2))
        .steps(steps)
        .metric("accuracy", ConfusionMatrix::new(2))
        .schedule(Plateau::new(1e-2, PlateauOptions::default()), Every::Epoch)
        .monitor(Monitor::smallest("test_loss"))
        .clip_grad_norm(1.0)
        .save_every(3)
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("a file")
}

/// Metrics without times.
fn metrics(folder: &Path) -> Vec<serde_json::Value> {
    let text = RunDir::metrics(folder).expect("metrics");
    let line = |line: &str| {
        let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for time in ["seconds", "examples_per_second"] {
            event.as_object_mut().expect("an object").remove(time);
        }
        event
    };
    text.lines().map(line).collect()
}

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

#[test]
fn a_loss_that_is_no_number_is_traced_to_its_op_and_costs_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    // The logarithm meets a negative number in the second epoch's data only.
    let task = supervised(
        |m: &Linear, x: &Tensor| m.forward(x),
        |out: &Tensor, y: &Tensor| (out - y).square().mean_all() + (y + 1.5).log().mean_all(),
    );
    let mut trainer =
        Trainer::new(task, linear(), Adam::new(0.05)).epochs(3).run_dir(&path, "{}").expect("a run");
    let x = Array::new(&[0.5f32; 8], [8, 1]).expect("x");
    let y = Array::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, -2.0, 6.0, 7.0], [8, 1]).expect("y");
    let mut data = DataLoader::builder(x.zip(y).expect("pairs")).batch_size(2).build().expect("a loader");
    let error = trainer.fit(&mut data, None).expect_err("a logarithm of -0.5");
    let text = error.to_string();
    assert!(matches!(error, Error::NonFinite { step: 3, .. }), "{text}");
    assert!(text.contains("log") && text.contains("tests/trainer.rs:") && text.contains("NaN"), "{text}");
    // Nothing of the bad step is in the model, and the checkpoint is the step before.
    assert_eq!(trainer.optimizer.state().steps, 2);
    assert_eq!(to_safetensors(&trainer.model), Ok(bytes(&path, "model.safetensors")));
    let weights = trainer.model.weight.to_vec::<f32>().expect("weights");
    assert!(weights[0].is_finite());

    let mut broken = Trainer::new(regression(), linear(), Adam::new(0.05));
    broken.model.bias = Some(Tensor::from_slice(&[f32::NAN], [1], &Device::cpu()));
    let text = broken.fit(&mut line(16, false), None).expect_err("a bias of NaN").to_string();
    assert!(text.contains("\"bias\" of the model"), "{text}");
}

#[test]
fn what_cannot_be_gone_on_with_is_told_and_left_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut first = trainer(4).run_dir(&path, "{}").expect("a run");
    first.fit(&mut pictures(true), None).expect("a training");
    let error = trainer(4).run_dir(&path, "{}").expect_err("it is there").to_string();
    assert!(error.contains("holds a run already"), "{error}");

    let resume = |model: Linear| {
        let other = Trainer::new(regression(), model, Adam::new(0.1));
        other.resume(&path, None, "{}").expect_err("another model")
    };
    let error = resume(linear());
    assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("weight"), "{error}");

    let checkpoint = path.join("checkpoint-00000004");
    let state = bytes(&checkpoint, "state.json");
    std::fs::write(checkpoint.join("state.json"), &state[..state.len() / 2]).expect("a file");
    let error = trainer(9).resume(&path, None, "{}").expect_err("half a file").to_string();
    assert!(error.contains("state.json"), "{error}");
    std::fs::write(checkpoint.join("state.json"), &state).expect("a file");
    let weights = bytes(&checkpoint, "model.safetensors");
    std::fs::write(checkpoint.join("model.safetensors"), &weights[..weights.len() - 5]).expect("a file");
    let error = trainer(9).resume(&path, None, "{}").expect_err("a truncated file").to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    let error = trainer(9).resume(folder.path().join("none"), None, "{}").expect_err("no folder");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let wrong = trainer(5)
        .monitor(Monitor::largest("test_acuracy"))
        .fit(&mut pictures(true), Some(&mut pictures(false)));
    let error = wrong.expect_err("a name nobody gives").to_string();
    assert!(error.contains("test_acuracy") && error.contains("test_accuracy"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_nothing_that_was_saved() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut first = trainer(5).run_dir(&path, "{}").expect("a run");
    first.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    let best = bytes(&path, "best.safetensors");
    // Whatever is written beside the best weights meets a full disk.
    std::os::unix::fs::symlink("/dev/full", path.join("best.safetensors.part")).expect("a link");
    let mut second = trainer(40).resume(&path, None, "{}").expect("it goes on");
    let error = second.fit(&mut pictures(true), Some(&mut pictures(false))).expect_err("a full disk");
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("best.safetensors")), "{error}");
    assert_eq!(bytes(&path, "best.safetensors"), best);
    std::fs::remove_file(path.join("best.safetensors.part")).expect("the link");
    let mut third = trainer(40).resume(&path, None, "{}").expect("it goes on");
    assert!(third.progress().step >= 5);
    third.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
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

/// Accuracy on `tested` digits after a training on `count` others with augmentation.
fn digits(filters: &[usize], count: usize, tested: usize, epochs: u64) -> f64 {
    let device = Device::cpu();
    device.seed(7);
    let (train, test) = Digits::embedded().expect("digits");
    let train = train.subset((0..count).collect()).expect("digits");
    let test = test.subset((0..tested).collect()).expect("digits");
    let mut train =
        DataLoader::builder(train).batch_size(50).shuffle(7).workers(1).build().expect("a loader");
    let mut test = DataLoader::builder(test).batch_size(100).build().expect("a loader");
    let forward = |m: &DigitNet, x: &Tensor| {
        let mut x = x.clone();
        for (k, (conv, norm)) in m.layers.iter().zip(&m.norms).enumerate() {
            x = norm.forward(&conv.forward(&x)).relu();
            x = if k < 2 { x.max_pool2d(2) } else { x };
        }
        m.out.forward(&m.drop.forward(&x.flatten(1, -1)))
    };
    let augment = Compose::new()
        .then(RandomAffine::new().degrees(12.0).translate(0.08, 0.08).scale(0.88, 1.12).shear(8.0))
        .then(RandomErasing::new(0.2).scale(0.02, 0.1));
    let steps = epochs * train.len() as u64;
    let schedule = warmup(steps / 10).then(CosineAnnealing::new(2e-3, steps - steps / 10));
    let task = supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let mut trainer = Trainer::new(task, digit_net(filters, &device), Adam::adamw(2e-3))
        .epochs(epochs)
        .metric("accuracy", ConfusionMatrix::new(10))
        .schedule(schedule, Every::Step)
        .prepare(move |(x, y)| (augment.apply(&x), y));
    trainer.fit(&mut train, Some(&mut test)).expect("a training").test["test_accuracy"]
}

#[test]
fn a_few_digits_are_learned_with_augmentation() {
    let _alone = alone();
    let accuracy = digits(&[8, 16], 1500, 500, 2);
    assert!(accuracy > 0.8, "{accuracy}");
}

#[test]
#[ignore = "takes minutes"]
fn digits_are_learned_to_98_and_a_half_percent() {
    let _alone = alone();
    let accuracy = digits(&[16, 32, 64], 8000, 2000, 15);
    assert!(accuracy >= 0.985, "{accuracy}");
}

#[test]
fn event_files_are_whole_records() {
    let folder = tempfile::tempdir().expect("a folder");
    // Kept where it is asked for, so that `golden/read_events.py` can read it.
    let path = std::env::var_os("VORPAL_EVENTS").map_or(folder.path().to_path_buf(), Into::into);
    let mut board = TensorBoard::create(&path).expect("a file");
    let device = Device::cpu();
    let ramp = Tensor::linspace(0.0, 1.0, 12, DType::F32, &device);
    board.scalar("loss", 300, 0.5).expect("a number");
    board.histogram("weights", 2, &ramp).expect("a histogram");
    board.image("picture", 3, &ramp.reshape([1, 3, 4])).expect("a picture");
    board.text("config", 0, "a **text**").expect("a text");
    let error = board.image("picture", 3, &ramp.reshape([2, 2, 3])).expect_err("two channels");
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    let bytes = std::fs::read(board.path()).expect("the file");
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
        records.push(&rest[12..12 + length]);
        rest = &rest[16 + length..];
    }
    assert_eq!(records.len(), 5);
    // Wall time, then the version; step 300, then the summary with tag and number.
    assert_eq!(records[0][9..], *b"\x1a\x0dbrain.Event:2");
    assert_eq!(records[1][9..], *b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f");
    assert!(records[3].windows(4).any(|w| w == b"\x89PNG"));
}
