//! A training while it runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use vorpal_nn::data::DataLoader;
use vorpal_nn::trainer::{Curves, Event, Flow, Reason, RunDir, Task, TensorBoard, Trainer};
use vorpal_nn::{Device, Error, Module, Optimizer, Result, save};

use super::{Length, Recipe, Settings};

/// Where a run is kept.
enum Folder {
    None,
    New(PathBuf),
    /// A run that goes on, in the same folder or in another.
    Resume(PathBuf, Option<PathBuf>),
}

type Listener = Rc<RefCell<dyn FnMut(&Event)>>;

/// A training while it runs: what a [`Recipe`] is given, and where it leaves its results.
///
/// A recipe asks for the device and the settings, trains by [`fit`](Run::fit) (or by [`repeat`](Run::repeat), a loop of
/// its own), and leaves numbers and pictures.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_nn::trainer::Event;
/// use vorpal_zoo::{Length, Run, recipe};
/// let mut settings = recipe("mnist").expect("a training of that name").settings();
/// settings.length = Length::Steps(3);
/// let mut run = Run::new(settings, &Device::cpu()).on(|event| {
///     if let Event::Step { step, loss, .. } = event {
///         println!("{step}: {loss}");
///     }
/// });
/// run.repeat(1, |step| Ok(1.0 / (1.0 + step as f32)))?;
/// run.result("last", 0.25);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub struct Run {
    device: Device,
    settings: Settings,
    folder: Folder,
    config: String,
    board: Option<PathBuf>,
    listener: Option<Listener>,
    stop: Rc<dyn Fn() -> bool>,
    began: Instant,
    /// The folder, once it is made.
    made: Option<PathBuf>,
    results: BTreeMap<String, f64>,
    files: Vec<(String, Vec<u8>)>,
    steps: u64,
    seconds: f64,
    reason: Reason,
}

/// How a training went.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Numbers by name: evaluations begin with `test_`.
    pub results: BTreeMap<String, f64>,
    /// Pictures and texts by the name of their file.
    pub files: Vec<(String, Vec<u8>)>,
    /// Steps taken.
    pub steps: u64,
    /// Seconds, earlier sittings included.
    pub seconds: f64,
    /// Why it is over.
    pub reason: Reason,
    /// Whether the goal is reached; `None` if the training has not come to its end.
    pub reached: Option<bool>,
}

impl Run {
    /// A training that keeps nothing and tells nobody.
    pub fn new(settings: Settings, device: &Device) -> Run {
        Run {
            device: device.clone(),
            settings,
            folder: Folder::None,
            config: "{}".to_string(),
            board: None,
            listener: None,
            stop: Rc::new(|| false),
            began: Instant::now(),
            made: None,
            results: BTreeMap::new(),
            files: Vec::new(),
            steps: 0,
            seconds: 0.0,
            reason: Reason::Done,
        }
    }

    /// Keeps metrics, checkpoints, results and pictures in a new folder, and `config` beside them, a text of JSON.
    #[must_use]
    pub fn folder(mut self, path: impl Into<PathBuf>, config: &str) -> Run {
        (self.folder, self.config) = (Folder::New(path.into()), config.to_string());
        self
    }

    /// Goes on with the run in `from`: see [`Trainer::resume`].
    #[must_use]
    pub fn resume(mut self, from: impl Into<PathBuf>, path: Option<PathBuf>, config: &str) -> Run {
        (self.folder, self.config) = (Folder::Resume(from.into(), path), config.to_string());
        self
    }

    /// Keeps curves, pictures and configuration in this folder, for TensorBoard.
    #[must_use]
    pub fn tensorboard(mut self, folder: impl Into<PathBuf>) -> Run {
        self.board = Some(folder.into());
        self
    }

    /// Calls `f` with everything that happens.
    #[must_use]
    pub fn on(mut self, f: impl FnMut(&Event) + 'static) -> Run {
        self.listener = Some(Rc::new(RefCell::new(f)));
        self
    }

    /// Asks `f` after every step whether to save and stop.
    #[must_use]
    pub fn stop_when(mut self, f: impl Fn() -> bool + 'static) -> Run {
        self.stop = Rc::new(f);
        self
    }

    /// The device to train on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Examples of a step.
    pub fn batch(&self) -> usize {
        self.settings.batch
    }

    /// Step size.
    pub fn rate(&self) -> f64 {
        self.settings.rate
    }

    /// Seed of the order of the data.
    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// A size by its name.
    ///
    /// # Errors
    /// [`Error::Format`] for a size the recipe does not have.
    pub fn size(&self, name: &str) -> Result<usize> {
        let missing = || Error::format("settings", format!("there is no size \"{name}\""));
        self.settings.sizes.get(name).copied().ok_or_else(missing)
    }

    /// All steps, when an epoch has `per_epoch`.
    pub fn steps(&self, per_epoch: usize) -> u64 {
        match self.settings.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs.saturating_mul(per_epoch as u64),
        }
    }

    /// Whether someone has asked to stop: what a recipe does afterwards can be left out.
    pub fn stopped(&self) -> bool {
        self.reason == Reason::Asked
    }

    /// Trains by a [`Trainer`]: for as long as the settings say, in the folder of the run, with its listener. The last
    /// evaluation becomes the results. At most once in a run.
    ///
    /// # Errors
    /// What the trainer gives.
    pub fn fit<K: Task, O: Optimizer>(
        &mut self,
        trainer: Trainer<K, O>,
        train: &mut DataLoader<K::Batch>,
        test: Option<&mut DataLoader<K::Batch>>,
    ) -> Result<Trainer<K, O>> {
        let mut trainer = match self.settings.length {
            Length::Epochs(epochs) => trainer.epochs(epochs),
            Length::Steps(steps) => trainer.steps(steps),
        };
        trainer = trainer.log_every(self.settings.log_every).save_every(self.settings.save_every);
        trainer = match &self.folder {
            Folder::None => trainer,
            Folder::New(path) => trainer.run_dir(path, &self.config)?,
            Folder::Resume(from, path) => trainer.resume(from, path.clone(), &self.config)?,
        };
        if let Some(board) = &self.board {
            trainer = trainer.tensorboard(board)?;
        }
        self.made = self.path().map(Path::to_path_buf);
        let (listener, stop) = (self.listener.clone(), self.stop.clone());
        trainer = trainer.on(move |event| {
            if let Some(listener) = &listener {
                (listener.borrow_mut())(event);
            }
            if stop() { Flow::Stop } else { Flow::Continue }
        });
        let fitted = trainer.fit(train, test)?;
        self.results.extend(fitted.test);
        (self.steps, self.seconds, self.reason) = (fitted.steps, fitted.seconds, fitted.reason);
        Ok(trainer)
    }

    /// Calls `step` with the number of each step, from 0, until all are made or someone asks to stop: a loop of a
    /// recipe's own, whose losses are told and kept as those of a trainer. `per_epoch` says how many steps an epoch has.
    ///
    /// # Errors
    /// What `step` gives; [`Error::Format`] when a run is to go on: a loop of one's own has no checkpoints.
    pub fn repeat(&mut self, per_epoch: usize, mut step: impl FnMut(u64) -> Result<f32>) -> Result<()> {
        let mut kept = match &self.folder {
            Folder::None => None,
            Folder::New(path) => Some(RunDir::create(path, &self.config)?),
            Folder::Resume(from, _) => {
                let message = "this training cannot go on where it was: it has no checkpoints";
                return Err(Error::format(from.display().to_string(), message));
            }
        };
        let mut board = self.board.as_ref().map(TensorBoard::create).transpose()?;
        self.made = self.path().map(Path::to_path_buf);
        let steps = self.steps(per_epoch);
        self.tell(&Event::Start { step: 0, steps });
        let started = Instant::now();
        for k in 0..steps {
            if self.stopped() {
                break;
            }
            let before = Instant::now();
            let loss = step(k)?;
            self.steps = k + 1;
            self.seconds = started.elapsed().as_secs_f64();
            if !self.steps.is_multiple_of(self.settings.log_every) {
                continue;
            }
            let event = Event::Step {
                step: self.steps,
                epoch: k / per_epoch.max(1) as u64 + 1,
                loss,
                rate: self.settings.rate,
                grad_norm: None,
                seconds: self.seconds,
                examples_per_second: self.settings.batch as f64 / before.elapsed().as_secs_f64().max(1e-9),
            };
            if let Some(kept) = &mut kept {
                kept.note(&event)?;
            }
            if let Some(board) = &mut board {
                board.scalar("train/loss", self.steps, f64::from(loss))?;
            }
            self.tell(&event);
        }
        if let Some(kept) = &kept {
            let mut curves = Curves::default();
            curves.add("", &RunDir::metrics(kept.path())?);
            kept.write("curves.svg", curves.svg().as_bytes())?;
        }
        self.tell(&Event::Stop { step: self.steps, reason: self.reason });
        Ok(())
    }

    /// Trains by a [`Trainer`] as it is, as a part of the training that is not its main one: a teacher, or a model
    /// that is pruned later. Its events are not told, but it stops when someone asks for it.
    ///
    /// # Errors
    /// What the trainer gives.
    pub fn fit_aside<K: Task, O: Optimizer>(
        &mut self,
        trainer: Trainer<K, O>,
        train: &mut DataLoader<K::Batch>,
        test: Option<&mut DataLoader<K::Batch>>,
    ) -> Result<(Trainer<K, O>, BTreeMap<String, f64>)> {
        let stop = self.stop.clone();
        let mut trainer = trainer.on(move |_| if stop() { Flow::Stop } else { Flow::Continue });
        let fitted = trainer.fit(train, test)?;
        if fitted.reason == Reason::Asked {
            self.reason = Reason::Asked;
        }
        Ok((trainer, fitted.test))
    }

    /// Leaves a number.
    pub fn result(&mut self, name: &str, value: f64) {
        self.results.insert(name.to_string(), value);
    }

    /// The number of a name that was left before.
    pub fn found(&self, name: &str) -> Option<f64> {
        self.results.get(name).copied()
    }

    /// Leaves a picture or a text by the name of its file.
    pub fn file(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.push((name.to_string(), bytes.into()));
    }

    /// Keeps the weights of a model that was trained by [`repeat`](Run::repeat) in `model.safetensors` of the folder, if
    /// there is one.
    ///
    /// # Errors
    /// [`Error::Io`], or what evaluation gives.
    pub fn keep<M: Module>(&self, model: &M) -> Result<()> {
        self.made.as_ref().map_or(Ok(()), |path| save(model, RunDir::weights(path)))
    }

    fn path(&self) -> Option<&Path> {
        match &self.folder {
            Folder::None => None,
            Folder::New(path) => Some(path),
            Folder::Resume(from, path) => Some(path.as_deref().unwrap_or(from)),
        }
    }

    fn tell(&mut self, event: &Event) {
        if let Some(listener) = &self.listener {
            (listener.borrow_mut())(event);
        }
        if (self.stop)() {
            self.reason = Reason::Asked;
        }
    }

    /// Writes what was left, and says how it went.
    pub(super) fn finish(&mut self, recipe: &Recipe) -> Result<Outcome> {
        if self.seconds == 0.0 {
            self.seconds = self.began.elapsed().as_secs_f64();
        }
        if let Some(path) = self.path() {
            // A training without steps has made no folder yet.
            if self.made.is_none() {
                drop(RunDir::create(path, &self.config)?);
            }
            for (name, bytes) in &self.files {
                vorpal_nn::write_whole(&path.join(name), bytes)?;
            }
            let text = serde_json::to_string_pretty(&self.results)
                .map_err(|e| Error::format("results.json", e.to_string()))?;
            vorpal_nn::write_whole(&path.join("results.json"), text.as_bytes())?;
        }
        let reached = recipe.goal.reached(&self.results).filter(|_| !self.stopped());
        Ok(Outcome {
            results: std::mem::take(&mut self.results),
            files: std::mem::take(&mut self.files),
            steps: self.steps,
            seconds: self.seconds,
            reason: self.reason,
            reached,
        })
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Run({:?} on {:?})", self.settings, self.device)
    }
}
