//! What the user sees of a training: JSON lines, or a live progress bar.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use vorpal::tensor::Stats;

/// One line of JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Step {
        step: u64,
        epoch: u64,
        loss: f32,
        seconds: f64,
        examples_per_second: f64,
    },
    Epoch {
        epoch: u64,
        train_loss: f32,
        test_accuracy: Option<f64>,
    },
    End {
        steps: u64,
        device: String,
        seconds: f64,
        test_accuracy: Option<f64>,
        stats: Counters,
        steady: Counters,
        /// The training was asked to stop before its end.
        interrupted: bool,
    },
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
pub enum Report {
    Json,
    Bar(ProgressBar),
}

/// Steps between two lines where there is no terminal for a bar.
const QUIET: u64 = 50;

impl Report {
    /// For a training that stands at `step` of `steps`.
    pub fn new(json: bool, step: u64, steps: u64) -> Report {
        if json {
            return Report::Json;
        }
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta}")
            .unwrap_or(ProgressStyle::default_bar());
        Report::Bar(ProgressBar::new(steps).with_style(style).with_position(step))
    }

    /// A line for people.
    pub fn say(&self, text: &str) {
        if let Report::Bar(bar) = self {
            bar.suspend(|| line(text));
        }
    }

    /// Shows an event.
    pub fn show(&self, event: &Event) {
        let Report::Bar(bar) = self else {
            return match serde_json::to_string(event) {
                Ok(text) => line(&text),
                Err(error) => line(&format!("{{\"event\":\"error\",\"message\":\"{error}\"}}")),
            };
        };
        match event {
            Event::Step { step, epoch, loss, examples_per_second, .. } => {
                bar.set_position(*step);
                bar.set_prefix(format!("epoch {epoch}"));
                bar.set_message(format!("loss {loss:.4}, {examples_per_second:.0} examples/s"));
                if step.is_multiple_of(QUIET) && !std::io::stderr().is_terminal() {
                    line(&format!("step {step}: loss {loss:.4}, {examples_per_second:.0} examples/s"));
                }
            }
            Event::Epoch { epoch, train_loss, test_accuracy } => {
                self.say(&format!("epoch {epoch}: loss {train_loss:.4}{}", share(*test_accuracy)));
            }
            Event::End { steps, seconds, test_accuracy, .. } => {
                bar.finish_and_clear();
                line(&format!("{steps} steps in {seconds:.1} s{}", share(*test_accuracy)));
            }
        }
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
