//! A training in the terminal: live curves, figures, and what was said last.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use console::Term;
use vorpal::nn::trainer::Event;
use vorpal::tensor::Stats;

use crate::Outcome;
use crate::canvas::{Area, Canvas, Colour};
use crate::report::numbers;
use crate::units::{bytes, seconds, shortened};

/// Time between two pictures.
const PAUSE: Duration = Duration::from_millis(100);
/// Points of a curve that are kept; neighbours become one where there are more.
const POINTS: usize = 8192;
/// Curves of evaluations, one above the other.
const TESTS: usize = 2;
/// Lines of what was said.
const LINES: usize = 5;
/// Another screen without a cursor, and back to the one there was.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const RELEASE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back, if it is ours: at the end, and before the program is left in between.
pub fn release() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        write(RELEASE);
    }
}

/// A training goes on without its picture.
fn write(codes: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(codes.as_bytes()).and_then(|()| out.flush());
}

/// What is shown.
#[derive(Debug, Default)]
pub struct State {
    steps: u64,
    step: u64,
    epoch: u64,
    loss: f64,
    rate: f64,
    seconds: f64,
    /// Seconds of this sitting, and its steps.
    sitting: (f64, u64),
    examples_per_second: f64,
    memory: f64,
    losses: Vec<(f64, f64)>,
    /// What evaluations found, by name.
    tests: BTreeMap<String, Vec<(f64, f64)>>,
    said: Vec<String>,
}

/// The terminal while a training has it. Keys are left alone: Ctrl-C is the signal it always is.
pub struct Dashboard {
    terminal: Term,
    state: State,
    began: Instant,
    drawn: Option<Instant>,
    size: (u16, u16),
}

impl Dashboard {
    /// Takes the terminal.
    pub fn new() -> Outcome<Dashboard> {
        if !std::io::stdout().is_terminal() {
            return Err("--dashboard needs a terminal to draw on".into());
        }
        TAKEN.store(true, Ordering::SeqCst);
        write(TAKE);
        let (terminal, began) = (Term::stdout(), Instant::now());
        let size = terminal.size();
        Ok(Dashboard { terminal, state: State::default(), began, drawn: None, size })
    }

    /// A line for people.
    pub fn say(&mut self, text: &str) {
        self.state.say(text.to_string());
        self.draw(true);
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event, stats: Stats) {
        if let Event::Start { .. } = event {
            self.began = Instant::now();
        }
        self.state.note(event, stats);
        self.state.sitting.0 = self.began.elapsed().as_secs_f64();
        self.draw(!matches!(event, Event::Step { .. }));
    }

    fn draw(&mut self, now: bool) {
        if now || self.drawn.is_none_or(|at| at.elapsed() >= PAUSE) {
            let size = self.terminal.size();
            // What a screen of another size showed is no longer where it was.
            let clear = if size == self.size { "" } else { "\x1b[2J" };
            let picture = picture(&self.state, usize::from(size.1), usize::from(size.0));
            write(&format!("{clear}{}", picture.codes()));
            (self.size, self.drawn) = (size, Some(Instant::now()));
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        release();
    }
}

impl State {
    fn note(&mut self, event: &Event, stats: Stats) {
        self.memory = stats.peak_bytes as f64;
        match event {
            Event::Start { step, steps } => {
                (self.step, self.steps, self.sitting) = (*step, *steps, (0.0, *step));
            }
            Event::Step { step, epoch, loss, rate, seconds, examples_per_second, .. } => {
                (self.step, self.epoch, self.rate) = (*step, *epoch, *rate);
                (self.loss, self.seconds) = (f64::from(*loss), *seconds);
                self.examples_per_second = *examples_per_second;
                self.losses.push((*step as f64, self.loss));
                if self.losses.len() >= POINTS {
                    let mean = |p: &[(f64, f64)]| ((p[0].0 + p[1].0) / 2.0, (p[0].1 + p[1].1) / 2.0);
                    self.losses = self.losses.chunks_exact(2).map(mean).collect();
                }
            }
            Event::Epoch { epoch, step, train_loss, test, .. } => {
                for (name, &value) in test {
                    self.tests.entry(name.replacen('_', " ", 1)).or_default().push((*step as f64, value));
                }
                self.say(format!("epoch {epoch}: loss {train_loss:.4}{}", numbers(test)));
            }
            Event::Checkpoint { step, best } => {
                let best = if *best { ", the best so far" } else { "" };
                self.say(format!("checkpoint at step {step}{best}"));
            }
            _ => {}
        }
    }

    fn say(&mut self, text: String) {
        self.said.push(text);
        if self.said.len() > LINES {
            self.said.remove(0);
        }
    }

    /// Seconds that are left, by the speed of this sitting.
    fn left(&self) -> f64 {
        let (time, first) = self.sitting;
        let made = self.step.saturating_sub(first).max(1) as f64;
        time / made * self.steps.saturating_sub(self.step) as f64
    }
}

/// What a terminal of this size shows.
fn picture(state: &State, width: usize, height: usize) -> Canvas {
    let mut canvas = Canvas::new(width, height);
    let area = |x, y, width, height| Area { x, y, width, height };
    let inside = canvas.frame(area(0, 0, width, 3), "training");
    let done = state.step as f64 / state.steps.max(1) as f64;
    let left =
        if state.step < state.steps { format!(", {} left", seconds(state.left())) } else { String::new() };
    let label = format!("step {} of {}, epoch {}{left}", state.step, state.steps, state.epoch);
    let bar = inside.width.saturating_sub(label.chars().count() + 3);
    canvas.bar(inside.x + 1, inside.y, bar, done, Colour::Blue);
    canvas.text(inside.x + bar + 2, inside.y, inside.width, &label, Colour::Plain);

    let bottom = LINES + 2;
    let middle = height.saturating_sub(3 + bottom);
    let tests: Vec<_> = state.tests.iter().take(TESTS).collect();
    let wide = if tests.is_empty() { width } else { width * 3 / 5 };
    let inside = canvas.frame(area(0, 3, wide, middle), "loss");
    canvas.curve(inside, &state.losses, Colour::Cyan);
    for (k, (name, points)) in tests.iter().enumerate() {
        let (from, to) = (middle * k / tests.len(), middle * (k + 1) / tests.len());
        let inside = canvas.frame(area(wide, 3 + from, width - wide, to - from), name);
        canvas.curve(inside, points, Colour::Green);
    }

    let narrow = 34.min(width);
    let inside = canvas.frame(area(0, 3 + middle, narrow, bottom), "now");
    let figures = [
        format!("loss        {:.4}", state.loss),
        format!("step size   {:.3e}", state.rate),
        format!("examples/s  {:.0}", state.examples_per_second),
        format!("memory      {}", bytes(state.memory)),
        format!("time        {}", seconds(state.seconds)),
    ];
    for (k, figure) in figures.iter().enumerate() {
        canvas.text(inside.x + 1, inside.y + k, inside.width.saturating_sub(1), figure, Colour::Plain);
    }
    let inside =
        canvas.frame(area(narrow, 3 + middle, width - narrow, bottom), "log: Ctrl-C saves and stops");
    for (k, said) in state.said.iter().enumerate() {
        let room = inside.width.saturating_sub(1);
        canvas.text(inside.x + 1, inside.y + k, room, &shortened(said, room), Colour::Plain);
    }
    canvas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use super::*;

    /// What a terminal of 80 × 24 shows after two epochs. `UPDATE_PICTURES=1` writes it anew.
    #[test]
    fn a_training_is_seen() {
        let mut state = State::default();
        state.note(&Event::Start { step: 0, steps: 200 }, Stats::default());
        state.sitting.0 = 12.0;
        for step in 1..=100u64 {
            let loss = 2.3 / (1.0 + step as f32 / 10.0);
            let (seconds, examples_per_second) = (step as f64 * 0.12, 530.0);
            let (epoch, rate, grad_norm) = ((step - 1) / 50 + 1, 1e-3, None);
            let event = Event::Step { step, epoch, loss, rate, grad_norm, seconds, examples_per_second };
            state.note(&event, Stats::default());
            if step % 50 == 0 {
                let accuracy = ("test_accuracy".to_string(), 0.9 + step as f64 / 2000.0);
                let test = BTreeMap::from([accuracy, ("test_loss".to_string(), f64::from(loss) / 2.0)]);
                let epoch = Event::Epoch { epoch, step, train_loss: loss, train: BTreeMap::new(), test };
                state.note(&epoch, Stats::default());
                state.note(&Event::Checkpoint { step, best: true }, Stats::default());
            }
        }
        let found = picture(&state, 80, 24).to_string();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dashboard.txt");
        if std::env::var_os("UPDATE_PICTURES").is_some() {
            std::fs::write(file, &found).expect("a file");
        }
        // A window may be made as small as one likes.
        for size in 0..40 {
            assert_eq!(picture(&state, size, size / 2).to_string().lines().count(), size / 2);
        }
        assert_eq!(found, std::fs::read_to_string(file).expect("the picture"));
    }
}
