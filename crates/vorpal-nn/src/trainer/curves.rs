//! Curves of trainings as a picture.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Colours of the curves of a plot.
const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf"];

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 34.0;
const GAP: f64 = 66.0;
/// Points of a curve that are drawn; more would not be seen.
const POINTS: usize = 1500;

/// One curve: its name, and pairs of a step and a value.
pub type Curve = (String, Vec<(f64, f64)>);

/// Plots with the curves of one run or of several.
///
/// ```
/// use vorpal_nn::trainer::Curves;
/// let metrics = "{\"event\":\"step\",\"step\":1,\"loss\":2.5}\n{\"event\":\"step\",\"step\":2,\"loss\":1.5}\n";
/// let mut curves = Curves::default();
/// curves.add("", metrics);
/// assert!(curves.svg().starts_with("<svg"));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Title and curves of every plot, in the order in which they are drawn.
    plots: Vec<(String, Vec<Curve>)>,
    runs: usize,
}

impl Curves {
    /// Adds the curves of a run from the lines of its file of metrics. `name` tells it from other runs.
    pub fn add(&mut self, name: &str, metrics: &str) {
        let (mut found, mut step): (BTreeMap<String, Vec<(f64, f64)>>, _) = (BTreeMap::new(), 0.0);
        for line in metrics.lines() {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            step = event["step"].as_f64().unwrap_or(step);
            for (key, value) in event.as_object().into_iter().flatten() {
                let title = match key.as_str() {
                    "loss" => "training loss".to_string(),
                    "rate" => "step size".to_string(),
                    "grad_norm" => "norm of the gradient".to_string(),
                    key if key.starts_with("test_") => key.replacen('_', " ", 1),
                    _ => continue,
                };
                if let Some(value) = value.as_f64().filter(|v| v.is_finite()) {
                    found.entry(title).or_default().push((step, value));
                }
            }
        }
        let colour = self.runs;
        self.runs += 1;
        // What is asked for first stands first.
        let rank = |title: &str| match title {
            "training loss" => 0,
            "step size" => 3,
            "norm of the gradient" => 2,
            _ => 1,
        };
        for (title, points) in found {
            let place = self.plots.iter().position(|(known, _)| *known == title).unwrap_or_else(|| {
                self.plots.push((title, Vec::new()));
                self.plots.len() - 1
            });
            let curves = &mut self.plots[place].1;
            // A run without this curve leaves its colour to nobody.
            curves.resize(colour, (String::new(), Vec::new()));
            curves.push((name.to_string(), points));
        }
        self.plots.sort_by(|a, b| rank(&a.0).cmp(&rank(&b.0)).then_with(|| a.0.cmp(&b.0)));
    }

    /// Title, and name and points of every curve, of all plots.
    pub fn plots(&self) -> impl Iterator<Item = (&str, &[Curve])> {
        self.plots.iter().map(|(title, curves)| (title.as_str(), curves.as_slice()))
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let points = || self.plots.iter().flat_map(|(_, curves)| curves).flat_map(|(_, points)| points);
        let last = points().map(|p| p.0).fold(1.0, f64::max);
        let drawn = self.plots.len().max(1);
        let (width, height) = (LEFT + WIDTH + 30.0, TOP + drawn as f64 * (HEIGHT + GAP));
        let mut out = String::new();
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        );
        let mut top = TOP;
        for (title, curves) in &self.plots {
            plot(&mut out, title, curves, (last, top));
            top += HEIGHT + GAP;
        }
        out.push_str("</svg>\n");
        out
    }
}

/// Draws one plot; `place` is the last step and the upper edge.
fn plot(out: &mut String, title: &str, curves: &[Curve], place: (f64, f64)) {
    let (last, top) = place;
    let bottom = top + HEIGHT;
    let values = curves.iter().flat_map(|(_, points)| points);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.1), h.max(p.1)));
    let ticks = ticks(low, high);
    let (low, high) = (ticks[0].min(low), ticks[ticks.len() - 1].max(high));
    let x = |step: f64| LEFT + WIDTH * step / last;
    let y = |value: f64| bottom - HEIGHT * (value - low) / (high - low).max(f64::MIN_POSITIVE);
    let title = escaped(title);
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top - 10.0);
    for tick in &ticks {
        let (at, text) = (y(*tick), *tick as f32);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{text}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for tick in self::ticks(0.0, last).iter().filter(|t| **t <= last) {
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {bottom}v5\" stroke=\"black\"/><text x=\"{0:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{tick}</text>",
            x(*tick),
            bottom + 19.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text><path d=\"M{LEFT} {top}V{bottom}h{WIDTH}\" \
         fill=\"none\" stroke=\"black\"/>",
        LEFT + WIDTH / 2.0,
        bottom + 36.0
    );
    let mut names = String::new();
    for (k, (name, points)) in curves.iter().enumerate().filter(|(_, (_, points))| !points.is_empty()) {
        let colour = COLOURS[k % COLOURS.len()];
        draw(out, points, colour, x, y);
        if !name.is_empty() {
            let _ = write!(names, "<tspan dx=\"12\" fill=\"{colour}\">{}</tspan>", escaped(name));
        }
    }
    if !names.is_empty() {
        let (right, at) = (LEFT + WIDTH, top - 10.0);
        let _ = writeln!(out, "<text x=\"{right}\" y=\"{at}\" text-anchor=\"end\">{names}</text>");
    }
}

fn draw(
    out: &mut String,
    points: &[(f64, f64)],
    colour: &str,
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) {
    // Neighbours share a point, their mean.
    let share = points.len().div_ceil(POINTS);
    let mut path = String::new();
    for group in points.chunks(share) {
        let n = group.len() as f64;
        let (step, value) = group.iter().fold((0.0, 0.0), |(s, v), p| (s + p.0 / n, v + p.1 / n));
        let letter = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", x(step), y(value));
        if points.len() <= 40 {
            let (cx, cy) = (x(step), y(value));
            let _ = writeln!(out, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
    let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
}

/// A text inside of a page or picture.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Round numbers around a range, four to eleven of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let range = if high > low { high - low } else { high.abs().max(1.0) };
    let power = 10f64.powf((range / 5.0).log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|f| f * power).into_iter().find(|s| range / s <= 7.0).unwrap_or(range);
    let (from, to) = ((low / step).floor() as i64, ((low + range) / step).ceil() as i64);
    (from..=to).map(|k| k as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_surround_the_range() {
        for (low, high) in [(0.0, 1.0), (97.1, 97.6), (0.003, 2.4), (5.0, 5.0), (0.0, 1250.0), (-3.0, 8.0)] {
            let ticks = ticks(low, high);
            assert!(ticks[0] <= low && ticks[ticks.len() - 1] >= high, "{low} {high} {ticks:?}");
            assert!((3..=11).contains(&ticks.len()), "{low} {high} {ticks:?}");
        }
    }

    #[test]
    fn a_picture_has_all_curves() {
        let lines = "{\"event\":\"step\",\"step\":1,\"loss\":2.5}\n{\"event\":\"step\",\"step\":2,\"loss\":1.5}\n\
                     {\"event\":\"epoch\",\"epoch\":1,\"test_accuracy\":0.97}\nbroken";
        let mut curves = Curves::default();
        curves.add("one", lines);
        curves.add("two", &lines.replace("1.5", "1.25"));
        let plots: Vec<_> = curves.plots().collect();
        assert_eq!(
            (plots[0].0, &plots[0].1[1]),
            ("training loss", &("two".into(), vec![(1.0, 2.5), (2.0, 1.25)]))
        );
        assert_eq!((plots[1].0, &plots[1].1[0].1), ("test accuracy", &vec![(2.0, 0.97)]));
        let svg = curves.svg();
        assert!(svg.starts_with("<svg") && svg.contains("training loss") && svg.contains("test accuracy"));
        assert!(Curves::default().svg().ends_with("</svg>\n"));
    }
}
