//! `vorpal train`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use vorpal::nn::data::{DataLoader, Dataset, Stack};
use vorpal::nn::metrics::{Accuracy, ConfusionMatrix};
use vorpal::nn::schedule::Exponential;
use vorpal::nn::trainer::{Every, Flow, Reason, Task, Trainer};
use vorpal::prelude::*;
use vorpal::zoo;

use crate::config::{Config, GptSizes, free_folder};
use crate::options::{Common, GptOptions, What};
use crate::report::Report;
use crate::task::{Kind, VOCABULARY, mnist, text, text_file};
use crate::{Outcome, stop};

pub fn run(what: What) -> Outcome<()> {
    match what {
        What::Mnist(options) => {
            let asked = Asked { model: "mnist", data: options.data, text: None, gpt: None };
            let plan = Plan::new(options.common, asked)?;
            let kind = mnist(plan.config.data.as_deref())?;
            plan.train(kind)
        }
        What::Gpt(options) => {
            let GptOptions { common, text: file, data, layers, width, heads, context } = options;
            let sizes = [layers, width, heads, context];
            let file = text_file(file.as_ref(), data.as_ref());
            let plan = Plan::new(common, Asked { model: "gpt", data: None, text: file, gpt: Some(sizes) })?;
            let sizes = plan.config.gpt.ok_or("a run of gpt without sizes")?;
            let kind = text(plan.config.text.as_deref(), zoo_options(sizes)?)?;
            plan.train(kind)
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

    fn train<K, D>(self, kind: Kind<K, D>) -> Outcome<()>
    where
        K: Task<Batch = (Tensor, Tensor)>,
        D: Dataset,
        D::Item: Stack<Batch = (Tensor, Tensor)>,
    {
        let Plan { config, options, device, by_default } = self;
        let train = DataLoader::builder(kind.train).batch_size(config.batch).drop_last(true);
        let mut train = train.shuffle(config.seed).device(&device).build()?;
        let mut test = match kind.test {
            Some((data, size)) => Some(DataLoader::builder(data).batch_size(size).device(&device).build()?),
            None => None,
        };
        let per_epoch = train.len() as u64;
        let steps = match (config.steps, config.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => epochs.unwrap_or(1).saturating_mul(per_epoch),
        };
        device.seed(config.seed);
        let model = (kind.model)(&device);
        eval(&model)?;
        let mut trainer = Trainer::new(kind.task, model, (kind.optimizer)(config.lr))
            .steps(steps)
            .log_every(options.log_every)
            .save_every(options.save_every)
            .schedule(Exponential::new(config.lr, kind.decay), Every::Epoch);
        if let Some(norm) = kind.clip {
            trainer = trainer.clip_grad_norm(norm);
        }
        trainer = match kind.classes {
            Some(classes) => trainer.metric("accuracy", ConfusionMatrix::new(classes)),
            None => trainer.metric("accuracy", Accuracy::new()),
        };
        let text = serde_json::to_string_pretty(&config)?;
        let path = options.out.clone().or_else(|| options.resume.clone());
        let path = path.unwrap_or_else(|| free_folder(&config.model));
        trainer = match &options.resume {
            Some(from) => trainer.resume(from, options.out.clone(), &text)?,
            None => trainer.run_dir(&path, &text)?,
        };
        stop::listen();
        let report = Rc::new(RefCell::new(Report::new(options.json, trainer.progress().step, steps)));
        report.borrow().say(&format!("training {} on {}", config.model, device.info()));
        if by_default && device.is_cpu() {
            report.borrow().say("there is no graphics adapter: the native CPU does the work");
        }
        let shown = report.clone();
        let of = device.clone();
        let mut trainer = trainer.on(move |event| {
            shown.borrow_mut().show(event, of.stats());
            if stop::asked() { Flow::Stop } else { Flow::Continue }
        });
        let fitted = trainer.fit(&mut train, test.as_mut())?;
        report.borrow().end(&fitted, &device);
        let path = path.display();
        if fitted.reason == Reason::Asked {
            report.borrow().say(&format!("stopped and saved: go on with --resume {path}"));
        } else {
            report.borrow().say(&format!("report.html, curves and weights are in {path}"));
        }
        Ok(())
    }
}
