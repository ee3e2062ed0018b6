//! What the tests of the trainer share.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vorpal_nn::data::{Array, DataLoader, Dataset};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::schedule::{Plateau, PlateauOptions};
use vorpal_nn::trainer::{Every, Monitor, RunDir, Task, Trainer, supervised};
use vorpal_nn::{Adam, BatchNorm2d, Conv2d, Device, Dropout, Linear, Module, Tensor};

pub type Pair = (Tensor, Tensor);

/// Trainings share the random numbers of the device: one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 96 points of a line, in batches.
pub fn line(batch: usize, shuffled: bool) -> DataLoader<Pair> {
    let x: Vec<f32> = (0..96).map(|k| (k as f32 - 48.0) / 32.0).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 1.0).collect();
    let data = Array::new(&x, [96, 1]).expect("x").zip(Array::new(&y, [96, 1]).expect("y")).expect("pairs");
    let loader = DataLoader::builder(data).batch_size(batch);
    (if shuffled { loader.shuffle(3) } else { loader }).build().expect("a loader")
}

pub fn linear() -> Linear {
    let device = Device::cpu();
    device.seed(5);
    let model = Linear::new(1, 1, &device);
    vorpal_nn::eval(&model).expect("weights");
    model
}

pub fn regression() -> impl Task<Model = Linear, Batch = Pair> {
    supervised(|m: &Linear, x: &Tensor| m.forward(x), |out: &Tensor, y: &Tensor| out.mse(y))
}

/// Something of everything that has a state.
#[derive(Module)]
pub struct Net {
    pub conv: Conv2d,
    pub norm: BatchNorm2d,
    pub drop: Dropout,
    pub out: Linear,
}

pub fn net(device: &Device) -> Net {
    let model = Net {
        conv: Conv2d::new(1, 4, [3, 3], device),
        norm: BatchNorm2d::new(4, device),
        drop: Dropout::new(0.3),
        out: Linear::new(4 * 3 * 3, 2, device),
    };
    vorpal_nn::eval(&model).expect("weights");
    model
}

pub fn classes() -> impl Task<Model = Net, Batch = Pair> {
    let forward = |m: &Net, x: &Tensor| {
        let x = m.norm.forward(&m.conv.forward(x)).relu().max_pool2d(2);
        m.out.forward(&m.drop.forward(&x.flatten(1, -1)))
    };
    supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y))
}

/// Pictures of 8 × 8: bright above (class 0) or below.
pub fn pictures(shuffled: bool) -> DataLoader<Pair> {
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

pub fn trainer(steps: u64) -> Trainer<impl Task<Model = Net, Batch = Pair>, Adam> {
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

pub fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("a file")
}

/// Metrics without times.
pub fn metrics(folder: &Path) -> Vec<serde_json::Value> {
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
