//! `vorpal train`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use vorpal::nn::data::{BatchSampler, Batches};
use vorpal::prelude::*;
use vorpal::zoo;

use crate::options::{Common, GptOptions, What};
use crate::report::{Counters, Event, Report};
use crate::run_dir::{Config, GptSizes, Progress, RunDir, free_folder, restore};
use crate::task::{Mnist, Task, Text, VOCABULARY, text_file};
use crate::{Outcome, stop};

pub fn run(what: What) -> Outcome<()> {
    match what {
        What::Mnist(options) => {
            let asked = Asked { model: "mnist", data: options.data, text: None, gpt: None };
            let plan = Plan::new(options.common, asked)?;
            let task = Mnist::new(plan.config.data.as_deref())?;
            plan.train(&task)
        }
        What::Gpt(options) => {
            let GptOptions { common, text, data, layers, width, heads, context } = options;
            let sizes = [layers, width, heads, context];
            let text = text_file(text.as_ref(), data.as_ref());
            let plan = Plan::new(common, Asked { model: "gpt", data: None, text, gpt: Some(sizes) })?;
            let sizes = plan.config.gpt.ok_or("a run of gpt without sizes")?;
            let task = Text::new(plan.config.text.as_deref(), zoo_options(sizes)?)?;
            plan.train(&task)
        }
    }
}

/// Sizes of the model, if they make sense.
pub fn zoo_options(sizes: GptSizes) -> Outcome<zoo::GptOptions> {
    let GptSizes { layers, width, heads, context } = sizes;
    if width == 0 || context == 0 || heads == 0 || width % heads != 0 {
        let message =
            format!("a width of {width} does not split into {heads} heads, or the context of {context} is 0");
        return Err(message.into());
    }
    Ok(zoo::GptOptions { vocabulary: VOCABULARY, context, width, heads, layers })
}

/// What was asked for beside the common options. Sizes: layers, width, heads, context.
struct Asked {
    model: &'static str,
    data: Option<PathBuf>,
    text: Option<PathBuf>,
    gpt: Option<[Option<usize>; 4]>,
}

/// A training that is about to begin or to go on.
struct Plan {
    config: Config,
    options: Common,
    device: Device,
    /// Whether the device was not chosen by the user.
    by_default: bool,
}

/// The value of an option: that of the run that goes on, which nobody may contradict.
fn settle<T: PartialEq + Clone>(
    name: &str,
    asked: Option<T>,
    known: Option<T>,
    default: T,
    show: impl Fn(&T) -> String,
) -> Outcome<T> {
    match (asked, known) {
        (Some(asked), Some(known)) if asked != known => {
            Err(format!("--{name} {} differs from {} of the run to resume", show(&asked), show(&known))
                .into())
        }
        (asked, known) => Ok(known.or(asked).unwrap_or(default)),
    }
}

/// The full path of a file, so that a run can go on from any folder.
fn full(path: Option<PathBuf>) -> Outcome<Option<PathBuf>> {
    path.map(|p| std::fs::canonicalize(&p).map_err(|e| Error::io(&p, &e).into())).transpose()
}

impl Plan {
    fn new(options: Common, asked: Asked) -> Outcome<Plan> {
        let known = match &options.resume {
            Some(folder) => Config::read(folder)?,
            None => None,
        };
        if let Some(known) = known.as_ref().filter(|k| k.model != asked.model) {
            return Err(format!("the run to resume trains {}, not {}", known.model, asked.model).into());
        }
        let name = options.device.clone().or_else(|| known.as_ref().map(|k| k.device.clone()));
        let device = crate::device(name.as_deref())?;
        let known = known.as_ref();
        let path = |p: &Option<PathBuf>| p.as_ref().map_or("none".into(), |p| p.display().to_string());
        let (data, text) = (full(asked.data)?, full(asked.text)?);
        let is_gpt = asked.gpt.is_some();
        let gpt = match asked.gpt {
            None => None,
            Some(sizes) => {
                let known = known.and_then(|k| k.gpt).map(|g| [g.layers, g.width, g.heads, g.context]);
                let names = ["layers", "width", "heads", "context"];
                let mut settled = [4, 128, 4, 128];
                for k in 0..4 {
                    settled[k] =
                        settle(names[k], sizes[k], known.map(|g| g[k]), settled[k], usize::to_string)?;
                }
                let [layers, width, heads, context] = settled;
                Some(GptSizes { layers, width, heads, context })
            }
        };
        let (mut epochs, mut steps) = (options.epochs, options.steps);
        if epochs.is_none() && steps.is_none() {
            (epochs, steps) = match known {
                Some(known) => (known.epochs, known.steps),
                None if is_gpt => (None, Some(1000)),
                None => (Some(10), None),
            };
        }
        let config = Config {
            model: asked.model.to_string(),
            device: device.info().selector.clone(),
            epochs,
            steps,
            batch: settle(
                "batch",
                options.batch,
                known.map(|k| k.batch),
                if is_gpt { 8 } else { 64 },
                usize::to_string,
            )?,
            lr: settle("lr", options.lr, known.map(|k| k.lr), 1e-3, f64::to_string)?,
            seed: settle("seed", options.seed, known.map(|k| k.seed), 0, u64::to_string)?,
            data: settle("data", data.map(Some), known.map(|k| k.data.clone()), None, path)?,
            text: settle("text", text.map(Some), known.map(|k| k.text.clone()), None, path)?,
            gpt,
        };
        let by_default = name.is_none() && std::env::var_os("VORPAL_DEVICE").is_none();
        Ok(Plan { config, options, device, by_default })
    }

    fn train<T: Task>(self, task: &T) -> Outcome<()> {
        let Plan { config, options, device, by_default } = &self;
        let batches = Batches::new(task.examples(), config.batch, config.seed)?;
        let per_epoch = batches.per_epoch() as u64;
        let steps = match (config.steps, config.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => epochs.unwrap_or(1).saturating_mul(per_epoch),
        };
        device.seed(config.seed);
        let mut model = task.model(device);
        eval(&model)?;
        let mut optimizer = task.optimizer(config.lr);
        let mut progress = Progress::default();
        let run = match &options.resume {
            Some(from) => {
                progress = restore(from, &mut model, &mut optimizer, device)?;
                let path: &Path = options.out.as_deref().unwrap_or(from);
                RunDir::go_on(path, from, config, &progress, per_epoch)?
            }
            None => {
                let path = options.out.clone().unwrap_or_else(|| free_folder(&config.model));
                RunDir::create(&path, config)?
            }
        };
        stop::listen();
        let report = Report::new(options.json, progress.step, steps);
        report.say(&format!("training {} on {}", config.model, device.info()));
        if *by_default && device.is_cpu() {
            report.say("there is no graphics adapter: the native CPU does the work");
        }
        let training = Training {
            task,
            device,
            batches,
            run,
            report,
            log_every: options.log_every,
            save_every: options.save_every,
            rate: config.lr,
            total: Tensor::from_slice(&[f32::from_bits(progress.total)], [], device),
            progress,
            model,
            optimizer,
            steady: None,
        };
        training.run(steps)
    }
}

/// A training under way.
struct Training<'a, T: Task> {
    task: &'a T,
    device: &'a Device,
    batches: Batches,
    run: RunDir,
    report: Report,
    log_every: u64,
    save_every: u64,
    /// Step size of the first epoch.
    rate: f64,
    model: T::Model,
    optimizer: Adam,
    progress: Progress,
    /// Sum of the losses of the present epoch.
    total: Tensor,
    /// Counters of the steps after the first, which compiles.
    steady: Option<Counters>,
}

impl<T: Task> Training<'_, T> {
    fn run(mut self, steps: u64) -> Outcome<()> {
        let per_epoch = self.batches.per_epoch() as u64;
        let (began, before) = (Instant::now(), self.progress.seconds);
        let mut order: Vec<Vec<usize>> = Vec::new();
        let (mut accuracy, mut saved) = (None, None);
        while self.progress.step < steps && !stop::asked() {
            let (epoch, k) = (self.progress.step / per_epoch, self.progress.step % per_epoch);
            if order.is_empty() || k == 0 {
                order = self.batches.epoch(epoch);
            }
            if k == 0 {
                self.total = Tensor::from_slice(&[0.0f32], [], self.device);
            }
            let numbers = order.get(k as usize).cloned().unwrap_or_default();
            self.step(&numbers, epoch + 1, began, before)?;
            accuracy = None;
            let ends = self.progress.step.is_multiple_of(per_epoch);
            if ends {
                accuracy = self.accuracy()?;
                let train_loss = self.total.item::<f32>()? / per_epoch as f32;
                self.tell(&Event::Epoch { epoch: epoch + 1, train_loss, test_accuracy: accuracy })?;
            }
            if ends || self.progress.step.is_multiple_of(self.save_every) {
                self.save()?;
                saved = Some(self.progress.step);
            }
        }
        if saved != Some(self.progress.step) {
            self.save()?;
        }
        let interrupted = self.progress.step < steps;
        if accuracy.is_none() && !interrupted {
            accuracy = self.accuracy()?;
        }
        let end = Event::End {
            steps: self.progress.step,
            device: self.device.info().to_string(),
            seconds: self.progress.seconds,
            test_accuracy: accuracy,
            stats: self.device.stats().into(),
            steady: self.steady.unwrap_or_default(),
            interrupted,
        };
        self.report.show(&end);
        let path = self.run.path().display();
        if interrupted {
            self.report.say(&format!("stopped and saved: go on with --resume {path}"));
        } else {
            self.report.say(&format!("curves and weights are in {path}"));
        }
        Ok(())
    }

    /// One step on the examples of the given numbers. Time goes on from `before` seconds at `began`.
    fn step(&mut self, numbers: &[usize], epoch: u64, began: Instant, before: f64) -> Outcome<()> {
        let (start, stats) = (Instant::now(), self.device.stats());
        let (x, y) = self.task.batch(numbers, self.device)?;
        let (loss, mut grads) = value_and_grad(&self.model, |m| self.task.loss(m, &x, &y))?;
        if let Some(max) = self.task.clip() {
            grads = clip_grad_norm(&grads, max).0;
        }
        self.optimizer.set_learning_rate(self.rate * self.task.decay(epoch - 1));
        self.optimizer.step(&mut self.model, grads)?;
        self.total = &self.total + &loss;
        eval(&(&loss, &self.total, &self.model, &self.optimizer))?;
        self.progress.step += 1;
        let step = self.progress.step;
        let read = step.is_multiple_of(self.log_every);
        let value = if read { loss.item::<f32>()? } else { 0.0 };
        let change = self.device.stats() - stats;
        match &mut self.steady {
            Some(steady) => steady.add(change),
            None => self.steady = Some(Counters::default()),
        }
        self.progress.seconds = before + began.elapsed().as_secs_f64();
        if !read {
            return Ok(());
        }
        if !value.is_finite() {
            let path = self.run.path().display();
            return Err(format!(
                "the loss became {value} at step {step}; the checkpoint before is in {path}"
            )
            .into());
        }
        let examples_per_second = numbers.len() as f64 / start.elapsed().as_secs_f64().max(1e-9);
        let seconds = self.progress.seconds;
        self.tell(&Event::Step { step, epoch, loss: value, seconds, examples_per_second })
    }

    fn tell(&mut self, event: &Event) -> Outcome<()> {
        self.run.note(event)?;
        self.report.show(event);
        Ok(())
    }

    fn accuracy(&self) -> Outcome<Option<f64>> {
        self.model.train(false);
        let accuracy = self.task.accuracy(&self.model, self.device);
        self.model.train(true);
        Ok(accuracy?)
    }

    fn save(&mut self) -> Outcome<()> {
        let rng = self.device.rng_state();
        self.progress.rng = (rng.seed, rng.counter);
        self.progress.total = self.total.item::<f32>()?.to_bits();
        self.run.checkpoint(&self.model, &self.optimizer, &self.progress)
    }
}
