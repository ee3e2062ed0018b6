//! Training with everything around it: epochs, evaluation, early stopping, checkpoints, reports.
//!
//! The loop itself is short and can be written out (`docs/training.md`); [`Trainer`] is that loop with what one adds to
//! it sooner or later, and [`RunDir`], [`TensorBoard`], [`Curves`] and the metrics serve a loop of one's own as well.

mod board;
mod curves;
mod evaluate;
mod event;
mod fit;
mod hparams;
mod report;
mod run_dir;
mod skipped;
mod step;
mod task;
mod tensorboard;
mod watch;

use std::path::{Path, PathBuf};

use vorpal_autodiff::{Device, Error, Precision, Result};

use crate::metrics::{Metric, MetricSet};
use crate::schedule::Schedule;
use crate::{Averaged, GradScaler, Module, Optimizer, load};

pub use curves::{Curve, Curves};
pub use event::{Event, Fitted, Flow, Reason};
pub use report::compare;
pub use run_dir::{Progress, RunDir};
pub use task::{Supervised, Task, supervised};
pub use tensorboard::TensorBoard;

/// What a schedule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Steps of the optimiser.
    Step,
    /// Epochs.
    Epoch,
}

/// Which number of the evaluation says what is better, and how long to wait for it.
///
/// ```
/// use vorpal_nn::trainer::Monitor;
/// let monitor = Monitor::largest("test_accuracy").patience(3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    name: String,
    largest: bool,
    patience: Option<u64>,
    min_delta: f64,
}

impl Monitor {
    /// The smaller the better: `test_loss`, for example.
    pub fn smallest(name: impl Into<String>) -> Monitor {
        Monitor { name: name.into(), largest: false, patience: None, min_delta: 0.0 }
    }

    /// The larger the better: `test_accuracy`, for example.
    pub fn largest(name: impl Into<String>) -> Monitor {
        Monitor { largest: true, ..Monitor::smallest(name) }
    }

    /// The training stops early after so many evaluations that were not better than the best one.
    #[must_use]
    pub fn patience(mut self, evaluations: u64) -> Monitor {
        self.patience = Some(evaluations);
        self
    }

    /// Less of a change is none.
    #[must_use]
    pub fn min_delta(mut self, change: f64) -> Monitor {
        self.min_delta = change;
        self
    }

    fn is_better(&self, new: f64, best: f64) -> bool {
        if self.largest { new > best + self.min_delta } else { new < best - self.min_delta }
    }
}

type Callback = Box<dyn FnMut(&Event) -> Flow>;

/// Changes a batch before it is trained on.
type Prepare<B> = Box<dyn Fn(B) -> B>;

/// A training: a task, a model, an optimiser, and what is done around their steps. Model and optimiser are fields, to
/// be looked at before, between and after calls of [`fit`](Trainer::fit).
///
/// Each step is one plan and one submit: forward, backward, clipping, update, sums of losses. A step whose loss is not
/// finite changes nothing; when it is read, the training saves and ends with [`Error::NonFinite`], which names the first
/// op that went wrong.
///
/// ```
/// use std::sync::Arc;
///
/// use vorpal_nn::data::{Array, DataLoader, Dataset};
/// use vorpal_nn::metrics::Regression;
/// use vorpal_nn::trainer::{Trainer, supervised};
/// use vorpal_nn::{Adam, Device, Linear, Tensor};
///
/// let device = Device::cpu();
/// device.seed(1);
/// let x: Vec<f32> = (0..64).map(|k| k as f32 / 64.0).collect();
/// let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 1.0).collect();
/// let data = Arc::new(Array::new(&x, [64, 1])?.zip(Array::new(&y, [64, 1])?)?);
/// let mut train = DataLoader::builder(data.clone()).batch_size(16).shuffle(7).build()?;
/// let mut test = DataLoader::builder(data).batch_size(64).build()?;
///
/// let task = supervised(|m: &Linear, x: &Tensor| m.forward(x), |out, y| out.mse(y));
/// let mut trainer = Trainer::new(task, Linear::new(1, 1, &device), Adam::new(0.1))
///     .epochs(30)
///     .metric("mae", Regression::mae());
/// let fitted = trainer.fit(&mut train, Some(&mut test))?;
/// assert_eq!(fitted.steps, 120);
/// assert!(fitted.test["test_mae"] < 0.1);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub struct Trainer<K: Task, O> {
    /// How the model answers, and how wrong that is.
    pub task: K,
    /// The model.
    pub model: K::Model,
    /// The optimiser.
    pub optimizer: O,
    /// Averages of the model's parameters, if they are [kept](Trainer::average).
    pub average: Option<Averaged>,
    scaler: Option<GradScaler>,
    metrics: MetricSet,
    /// Metrics of what is trained on.
    measured: Option<MetricSet>,
    board: Option<TensorBoard>,
    schedule: Option<(Box<dyn Schedule>, Every)>,
    callbacks: Vec<Callback>,
    prepare: Option<Prepare<K::Batch>>,
    epochs: u64,
    steps: Option<u64>,
    accumulate: usize,
    clip: Option<f64>,
    precision: Option<Precision>,
    monitor: Option<Monitor>,
    log_every: u64,
    save_every: Option<u64>,
    run: Option<RunDir>,
    progress: Progress,
    /// What the last evaluation saw, for the report.
    seen: report::Seen,
}

impl<K: Task, O: Optimizer> Trainer<K, O> {
    /// A training of one epoch with nothing around it.
    pub fn new(task: K, model: K::Model, optimizer: O) -> Trainer<K, O> {
        Trainer {
            task,
            model,
            optimizer,
            average: None,
            scaler: None,
            metrics: MetricSet::new(),
            measured: None,
            board: None,
            schedule: None,
            callbacks: Vec::new(),
            prepare: None,
            epochs: 1,
            steps: None,
            accumulate: 1,
            clip: None,
            precision: None,
            monitor: None,
            log_every: 1,
            save_every: None,
            run: None,
            progress: Progress::default(),
            seen: report::Seen::default(),
        }
    }

    /// Passes over the data, those of earlier sittings included.
    #[must_use]
    pub fn epochs(mut self, epochs: u64) -> Self {
        (self.epochs, self.steps) = (epochs, None);
        self
    }

    /// Steps in place of epochs, those of earlier sittings included.
    #[must_use]
    pub fn steps(mut self, steps: u64) -> Self {
        self.steps = Some(steps);
        self
    }

    /// A metric of the evaluation: it is told as `test_` and its name.
    #[must_use]
    pub fn metric(mut self, name: &str, metric: impl Metric + 'static) -> Self {
        self.metrics = self.metrics.with(name, metric);
        self
    }

    /// A metric of the batches that are trained on, as the model answers them while it trains: it is told after every
    /// epoch as `train_` and its name. Evaluated with the step; a training that goes on in the middle of an epoch
    /// begins to count there.
    #[must_use]
    pub fn train_metric(mut self, name: &str, metric: impl Metric + 'static) -> Self {
        self.measured = Some(self.measured.take().unwrap_or_default().with(name, metric));
        self
    }

    /// Averages the parameters over the steps. Evaluations and `best.safetensors` have the averages in place of the
    /// parameters, and checkpoints have both: `averaged.safetensors` is the model with them.
    ///
    /// ```
    /// # use vorpal_nn::trainer::{Trainer, supervised};
    /// # use vorpal_nn::{Adam, Averaged, Device, Linear, Tensor};
    /// # let task = supervised(|m: &Linear, x: &Tensor| m.forward(x), |out: &Tensor, y: &Tensor| out.mse(y));
    /// let model = Linear::new(3, 1, &Device::cpu());
    /// let average = Averaged::exponential(&model, 0.999)?;
    /// let trainer = Trainer::new(task, model, Adam::new(1e-3)).average(average);
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    #[must_use]
    pub fn average(mut self, average: Averaged) -> Self {
        self.average = Some(average);
        self
    }

    /// Scales losses, for [precisions](Trainer::precision) with `F16`. A step whose gradients are not finite is called
    /// off and lowers the scale; it is an error only once no scale is small enough.
    #[must_use]
    pub fn scale_losses(mut self, scaler: GradScaler) -> Self {
        self.scaler = Some(scaler);
        self
    }

    /// Keeps the curves of steps and epochs, the first pictures of each evaluation, the model and the configuration of
    /// the run in a new event file in `folder`, for TensorBoard.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn tensorboard(mut self, folder: impl AsRef<Path>) -> Result<Self> {
        self.board = Some(TensorBoard::create(folder)?);
        Ok(self)
    }

    /// The step size by steps or by epochs, in place of the optimiser's.
    #[must_use]
    pub fn schedule(mut self, schedule: impl Schedule + 'static, every: Every) -> Self {
        self.schedule = Some((Box::new(schedule), every));
        self
    }

    /// Batches whose gradients make one step, their mean. The last step of an epoch may have fewer.
    #[must_use]
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches.max(1);
        self
    }

    /// Changes every batch that is trained on, and none that is evaluated: [augmentation](crate::data::augment), for
    /// example. The change is part of the step's plan.
    #[must_use]
    pub fn prepare(mut self, f: impl Fn(K::Batch) -> K::Batch + 'static) -> Self {
        self.prepare = Some(Box::new(f));
        self
    }

    /// Norm to which gradients are clipped, all together.
    #[must_use]
    pub fn clip_grad_norm(mut self, norm: f64) -> Self {
        self.clip = Some(norm);
        self
    }

    /// Mixed precision: see [`Task::forward`].
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// What is best, for early stopping and for `best.safetensors`.
    #[must_use]
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = Some(monitor);
        self
    }

    /// Steps between two readings of the loss, 1 at first. Nothing waits for the device in between. Steps that are not
    /// finite are called off all the same, and the next reading tells of the first.
    #[must_use]
    pub fn log_every(mut self, steps: u64) -> Self {
        self.log_every = steps.max(1);
        self
    }

    /// Steps between checkpoints; one is written at the end of every epoch and of the training anyway.
    #[must_use]
    pub fn save_every(mut self, steps: u64) -> Self {
        self.save_every = Some(steps.max(1));
        self
    }

    /// Calls `f` with everything that happens; it may ask to stop.
    #[must_use]
    pub fn on(mut self, f: impl FnMut(&Event) -> Flow + 'static) -> Self {
        self.callbacks.push(Box::new(f));
        self
    }

    /// Keeps metrics, checkpoints, curves and a report in a new folder. `config` is kept beside them, a text of JSON.
    ///
    /// # Errors
    /// [`Error::Format`] when the folder holds a run already, [`Error::Io`].
    pub fn run_dir(mut self, path: impl AsRef<Path>, config: &str) -> Result<Self> {
        self.run = Some(RunDir::create(path, config)?);
        Ok(self)
    }

    /// Goes on with the run in `from`, in identical bits: model, optimiser, schedule, random numbers, and the place in
    /// the data are those of its last checkpoint. With another folder in `path`, the run in `from` stays as it is.
    /// A run without any checkpoint starts from its beginning.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] that names the file and what does not fit.
    pub fn resume(mut self, from: impl AsRef<Path>, path: Option<PathBuf>, config: &str) -> Result<Self> {
        let from = from.as_ref();
        let device = self.device()?;
        self.progress = RunDir::restore(from, &mut self.model, &mut self.optimizer, &device)?;
        if let Some(folder) = RunDir::last_checkpoint(from)? {
            if let Some((schedule, _)) = &mut self.schedule {
                let numbers: Vec<f64> =
                    self.progress.schedule.iter().map(|&bits| f64::from_bits(bits)).collect();
                schedule.set_state(&numbers)?;
            }
            resumed(&folder, run_dir::AVERAGED, self.average.as_mut(), "average")?;
            resumed(&folder, run_dir::SCALER, self.scaler.as_mut(), "scale_losses")?;
            self.average.iter_mut().for_each(|average| average.set_updates(self.progress.averaged));
        }
        let path = path.unwrap_or_else(|| from.to_path_buf());
        self.run = Some(RunDir::go_on(&path, from, config, &self.progress)?);
        Ok(self)
    }

    /// How far the training is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The device of the model.
    ///
    /// # Errors
    /// [`Error::Format`] for a model without tensors, or an error that its first one carries.
    pub fn device(&self) -> Result<Device> {
        let mut device = None;
        self.model.walk("", &mut |_, _, tensor| {
            device.get_or_insert_with(|| tensor.device());
        });
        device.unwrap_or_else(|| Err(Error::format("the model", "has no tensors to train")))
    }
}

/// Puts what a trainer keeps beside model and optimiser where a checkpoint has it. `method` is what asks for it.
fn resumed<M: Module>(folder: &Path, file: &str, kept: Option<&mut M>, method: &str) -> Result<()> {
    let path = folder.join(file);
    match kept {
        Some(kept) if path.exists() => load(kept, path),
        None if !path.exists() => Ok(()),
        Some(_) => {
            let message = format!("has no {file}: the run was trained without Trainer::{method}");
            Err(Error::format(folder.display().to_string(), message))
        }
        None => {
            let message = format!("has {file}: the run was trained with Trainer::{method}");
            Err(Error::format(folder.display().to_string(), message))
        }
    }
}

impl<K: Task, O> std::fmt::Debug for Trainer<K, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trainer(step {}, epochs {}, {:?})", self.progress.step, self.epochs, self.metrics)
    }
}
