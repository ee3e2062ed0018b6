//! What the user sees of a training: JSON lines, or a live progress bar.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use vorpal::nn::trainer::{Event, Fitted, Reason};
use vorpal::prelude::*;
use vorpal::tensor::Stats;

use crate::units::bytes;

/// The last line of JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename = "end")]
struct End {
    steps: u64,
    device: String,
    seconds: f64,
    test_accuracy: Option<f64>,
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

/// Where a training tells how it goes.
pub struct Report {
    /// JSON lines without one.
    bar: Option<ProgressBar>,
    /// Counters of the steps after the first, which compiles.
    steady: Counters,
    /// Counters after the last step, or after what stood between two steps.
    last: Option<Stats>,
}

/// Steps between two lines where there is no terminal for a bar.
const QUIET: u64 = 50;

impl Report {
    /// For a training that stands at `step` of `steps`.
    pub fn new(json: bool, step: u64, steps: u64) -> Report {
        let template = "{prefix} {wide_bar} {pos}/{len} {msg} {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
        let bar = (!json).then(|| ProgressBar::new(steps).with_style(style).with_position(step));
        Report { bar, steady: Counters::default(), last: None }
    }

    /// A line for people.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.suspend(|| line(text));
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
        match (&self.bar, event) {
            (None, Event::Step { .. } | Event::Epoch { .. }) => json(event),
            (Some(bar), Event::Step { step, epoch, loss, rate, examples_per_second, .. }) => {
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
            (Some(_), Event::Epoch { epoch, train_loss, test, .. }) => {
                let accuracy = share(test.get("test_accuracy").copied());
                self.say(&format!("epoch {epoch}: loss {train_loss:.4}{accuracy}"));
            }
            _ => {}
        }
    }

    /// Shows how it went.
    pub fn end(&self, fitted: &Fitted, device: &Device) {
        let accuracy = fitted.test.get("test_accuracy").copied();
        let (steps, seconds) = (fitted.steps, fitted.seconds);
        let Some(bar) = &self.bar else {
            return json(&End {
                steps,
                device: device.info().to_string(),
                seconds,
                test_accuracy: accuracy,
                stats: device.stats().into(),
                steady: self.steady,
                interrupted: fitted.reason == Reason::Asked,
            });
        };
        bar.finish_and_clear();
        line(&format!("{steps} steps in {seconds:.1} s{}", share(accuracy)));
    }
}

/// A line of JSON.
fn json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => line(&format!("{{\"event\":\"error\",\"message\":\"{error}\"}}")),
    }
}

fn share(accuracy: Option<f64>) -> String {
    accuracy.map_or(String::new(), |a| format!(", {:.2} % of the test right", 100.0 * a))
}

/// A line on the standard output. Where nobody reads any more, the training saves and ends.
fn line(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        crate::stop::ask();
    }
}
