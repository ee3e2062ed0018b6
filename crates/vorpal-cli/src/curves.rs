//! Curves of a training as a picture.

use std::fmt::Write;

/// Points of the curves.
#[derive(Debug, Default, PartialEq)]
pub struct Curves {
    /// Step and loss.
    loss: Vec<(f64, f64)>,
    /// Step and share of the test.
    accuracy: Vec<(f64, f64)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 34.0;
const GAP: f64 = 66.0;
/// Points of a curve that are drawn; more would not be seen.
const POINTS: usize = 1500;

impl Curves {
    /// From the lines of a file of metrics.
    pub fn read(metrics: &str) -> Curves {
        let (mut curves, mut step) = (Curves::default(), 0.0);
        for line in metrics.lines() {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            step = event["step"].as_f64().unwrap_or(step);
            if let Some(loss) = event["loss"].as_f64() {
                curves.loss.push((step, loss));
            }
            if let Some(accuracy) = event["test_accuracy"].as_f64() {
                curves.accuracy.push((step, 100.0 * accuracy));
            }
        }
        curves
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let plots = [("training loss", &self.loss, "#1f77b4"), ("test, % right", &self.accuracy, "#d62728")];
        let last = plots.iter().flat_map(|(_, points, _)| points.iter()).map(|p| p.0).fold(1.0, f64::max);
        let drawn = plots.iter().filter(|(_, points, _)| !points.is_empty()).count().max(1);
        let (width, height) = (LEFT + WIDTH + 30.0, TOP + drawn as f64 * (HEIGHT + GAP));
        let mut out = String::new();
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        );
        let mut top = TOP;
        for (title, points, colour) in plots.iter().filter(|(_, points, _)| !points.is_empty()) {
            plot(&mut out, title, points, colour, (last, top));
            top += HEIGHT + GAP;
        }
        out.push_str("</svg>\n");
        out
    }
}

/// Draws one curve; `place` is the last step and the upper edge.
fn plot(out: &mut String, title: &str, points: &[(f64, f64)], colour: &str, place: (f64, f64)) {
    let (last, top) = place;
    let bottom = top + HEIGHT;
    let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.1), h.max(p.1)));
    let ticks = ticks(low, high);
    let (low, high) = (ticks[0].min(low), ticks[ticks.len() - 1].max(high));
    let x = |step: f64| LEFT + WIDTH * step / last;
    let y = |value: f64| bottom - HEIGHT * (value - low) / (high - low).max(f64::MIN_POSITIVE);
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
    // Neighbours share a point, their mean.
    let share = points.len().div_ceil(POINTS);
    let mut path = String::new();
    for group in points.chunks(share) {
        let n = group.len() as f64;
        let (step, value) = group.iter().fold((0.0, 0.0), |(s, v), p| (s + p.0 / n, v + p.1 / n));
        let letter = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", x(step), y(value));
        if points.len() <= 40 {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(step),
                y(value)
            );
        }
    }
    let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
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
    fn a_picture_has_both_curves() {
        let lines = "{\"event\":\"step\",\"step\":1,\"loss\":2.5}\n{\"event\":\"step\",\"step\":2,\"loss\":1.5}\n\
                     {\"event\":\"epoch\",\"epoch\":1,\"test_accuracy\":0.97}\nbroken";
        let curves = Curves::read(lines);
        assert_eq!(curves.loss, [(1.0, 2.5), (2.0, 1.5)]);
        assert_eq!(curves.accuracy, [(2.0, 97.0)]);
        let svg = curves.svg();
        assert!(svg.starts_with("<svg") && svg.contains("training loss") && svg.contains("test, % right"));
        assert!(Curves::default().svg().ends_with("</svg>\n"));
    }
}
