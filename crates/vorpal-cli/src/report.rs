//! What the user sees of a training: JSON lines, or a live progress bar.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use vorpal::nn::trainer::{Event, Reason};
use vorpal::prelude::*;
use vorpal::tensor::Stats;
use vorpal::zoo::recipe::{Outcome, Recipe};

use crate::dashboard::Dashboard;
use crate::options::Train;
use crate::units::bytes;

/// The last line of JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename = "end")]
struct End {
    steps: u64,
    device: String,
    seconds: f64,
    #[serde(flatten)]
    results: BTreeMap<String, f64>,
    /// What the training is meant to reach, and whether it has; of a whole training only.
    goal: String,
    reached: Option<bool>,
    stats: Counters,
    steady: Counters,
    /// The training was asked to stop before its end.
    interrupted: bool,
}

/// The counters of a device.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counters {
    pub pipelines_created: u64,
    pub buffers_allocated: u64,
    pub submits: u64,
    pub plans_compiled: u64,
    pub peak_bytes: u64,
}

impl From<Stats> for Counters {
    fn from(stats: Stats) -> Counters {
        Counters {
            pipelines_created: stats.pipelines_created,
            buffers_allocated: stats.buffers_allocated,
            submits: stats.submits,
            plans_compiled: stats.plans_compiled,
            peak_bytes: stats.peak_bytes,
        }
    }
}

impl Counters {
    /// Adds what happened in between.
    pub fn add(&mut self, change: Stats) {
        self.pipelines_created += change.pipelines_created;
        self.buffers_allocated += change.buffers_allocated;
        self.submits += change.submits;
        self.plans_compiled += change.plans_compiled;
        self.peak_bytes = change.peak_bytes;
    }
}

/// How a training is shown.
enum View {
    Json,
    Bar(ProgressBar),
    Dashboard(Box<Dashboard>),
}

/// Where a training tells how it goes.
pub struct Report {
    view: View,
    /// Counters of the steps after the first, which compiles.
    steady: Counters,
    /// Counters after the last step, or after what stood between two steps.
    last: Option<Stats>,
}

/// Steps between two lines where there is no terminal for a bar.
const QUIET: u64 = 50;

impl Report {
    /// For a training that is about to begin.
    pub fn new(options: &Train) -> crate::Outcome<Report> {
        let view = if options.dashboard {
            View::Dashboard(Box::new(Dashboard::new()?))
        } else if options.json {
            View::Json
        } else {
            let template = "{prefix} {wide_bar} {pos}/{len} {msg} {eta}";
            let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
            View::Bar(ProgressBar::no_length().with_style(style))
        };
        Ok(Report { view, steady: Counters::default(), last: None })
    }

    /// A line for people.
    pub fn say(&mut self, text: &str) {
        match &mut self.view {
            View::Json => {}
            View::Bar(bar) => bar.suspend(|| line(text)),
            View::Dashboard(dashboard) => dashboard.say(text),
        }
    }

    /// Shows an event, after which the counters of the device are `stats`.
    pub fn show(&mut self, event: &Event, stats: Stats) {
        if let (Some(last), Event::Step { .. }) = (self.last, event) {
            self.steady.add(stats - last);
        }
        // What is counted begins behind the first step.
        if self.last.is_some() || matches!(event, Event::Step { .. }) {
            self.last = Some(stats);
        }
        match (&mut self.view, event) {
            (View::Dashboard(dashboard), event) => dashboard.show(event, stats),
            (View::Json, Event::Step { .. } | Event::Epoch { .. }) => json(event),
            (View::Bar(bar), Event::Start { step, steps }) => {
                bar.set_length(*steps);
                bar.set_position(*step);
                bar.reset_eta();
            }
            (View::Bar(bar), Event::Step { step, epoch, loss, rate, examples_per_second, .. }) => {
                bar.set_position(*step);
                bar.set_prefix(format!("epoch {epoch}"));
                let memory = bytes(stats.peak_bytes as f64);
                bar.set_message(format!(
                    "loss {loss:.4}, rate {rate:.2e}, {examples_per_second:.0} examples/s, {memory}"
                ));
                if step.is_multiple_of(QUIET) && !std::io::stderr().is_terminal() {
                    line(&format!("step {step}: loss {loss:.4}, {examples_per_second:.0} examples/s"));
                }
            }
            (View::Bar(_), Event::Epoch { epoch, train_loss, test, .. }) => {
                self.say(&format!("epoch {epoch}: loss {train_loss:.4}{}", numbers(test)));
            }
            _ => {}
        }
    }

    /// Shows how it went.
    pub fn end(&mut self, recipe: &Recipe, outcome: Outcome, device: &Device) {
        let Outcome { results, steps, seconds, reason, reached, .. } = outcome;
        let goal = recipe.goal.to_string();
        if let View::Json = self.view {
            return json(&End {
                steps,
                device: device.info().to_string(),
                seconds,
                results,
                goal,
                reached,
                stats: device.stats().into(),
                steady: self.steady,
                interrupted: reason == Reason::Asked,
            });
        }
        // The terminal is given back before the last lines.
        if let View::Bar(bar) = std::mem::replace(&mut self.view, View::Bar(ProgressBar::hidden())) {
            bar.finish_and_clear();
        }
        line(&format!("{steps} steps in {seconds:.1} s{}", numbers(&results)));
        match reached {
            Some(true) => line(&format!("reached: {goal}")),
            Some(false) => line(&format!("not reached: {goal}")),
            None => {}
        }
    }
}

/// A line of JSON.
fn json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => line(&format!("{{\"event\":\"error\",\"message\":\"{error}\"}}")),
    }
}

/// Numbers by name, behind what stands before them.
pub fn numbers(results: &BTreeMap<String, f64>) -> String {
    results.iter().map(|(name, value)| format!(", {name} {value:.4}")).collect()
}

/// A line on the standard output. Where nobody reads any more, the training saves and ends.
fn line(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        crate::stop::ask();
    }
}
