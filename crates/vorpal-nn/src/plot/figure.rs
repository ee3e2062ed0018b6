//! Curves, bands and points over one pair of axes.

use std::fmt::Write;

/// Colours of what is drawn, in order.
const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf"];

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 34.0;
const GAP: f64 = 66.0;
/// Width of a letter, about.
const LETTER: f64 = 7.2;
/// Points of a curve that are drawn; more would not be seen.
const POINTS: usize = 1500;

/// How something is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Line,
    Points,
    /// First all lower edges, then all upper edges from the last to the first.
    Band,
}

#[derive(Clone, Debug, PartialEq)]
struct Mark {
    name: String,
    style: Style,
    colour: usize,
    points: Vec<(f64, f64)>,
}

/// A picture of lines, bands and points over one pair of axes.
///
/// ```
/// use vorpal_nn::plot::Figure;
/// let figure = Figure::new("a forecast", "day")
///     .band("9 of 10", [(3.0, 1.5, 4.5), (4.0, 1.0, 5.0)])
///     .line("forecast", [(3.0, 3.0), (4.0, 3.1)])
///     .points("seen", [(1.0, 2.0), (2.0, 2.5)]);
/// assert!(figure.svg().starts_with("<svg"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    title: String,
    across: String,
    height: f64,
    marks: Vec<Mark>,
    /// The colour of the next line or points.
    colour: usize,
    /// The range of the axis to the right always holds this.
    origin: Option<f64>,
}

impl Figure {
    /// An empty picture; `across` names the axis to the right.
    pub fn new(title: impl Into<String>, across: impl Into<String>) -> Figure {
        Figure {
            title: title.into(),
            across: across.into(),
            height: HEIGHT,
            marks: Vec::new(),
            colour: 0,
            origin: None,
        }
    }

    /// The height of the axes; they are 800 wide, and 220 high unless told.
    #[must_use]
    pub fn height(mut self, height: f64) -> Figure {
        self.height = height.max(1.0);
        self
    }

    /// The axis to the right begins at 0 or before it.
    #[must_use]
    pub(crate) fn with_zero(mut self) -> Figure {
        self.origin = Some(0.0);
        self
    }

    /// Leaves the next colour unused.
    pub(crate) fn skip_colour(&mut self) {
        self.colour += 1;
    }

    fn mark(mut self, name: &str, style: Style, points: Vec<(f64, f64)>) -> Figure {
        self.marks.push(Mark { name: name.to_string(), style, colour: self.colour, points });
        self.colour += usize::from(style != Style::Band);
        self
    }

    /// A line through points, in the next colour. Without a name it is not in the legend.
    #[must_use]
    pub fn line(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Figure {
        self.mark(name, Style::Line, points.into_iter().collect())
    }

    /// Points, in the next colour.
    #[must_use]
    pub fn points(self, name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Figure {
        self.mark(name, Style::Points, points.into_iter().collect())
    }

    /// An area between two edges, given by place, lower and upper edge, in the colour of what is drawn next.
    #[must_use]
    pub fn band(self, name: &str, edges: impl IntoIterator<Item = (f64, f64, f64)>) -> Figure {
        let edges: Vec<(f64, f64, f64)> = edges.into_iter().collect();
        let lower = edges.iter().map(|e| (e.0, e.1));
        let points = lower.chain(edges.iter().rev().map(|e| (e.0, e.2))).collect();
        self.mark(name, Style::Band, points)
    }

    /// The picture.
    pub fn svg(&self) -> String {
        Figure::stack(std::slice::from_ref(self))
    }

    /// Several pictures over one another.
    pub fn stack(figures: &[Figure]) -> String {
        let high: f64 = figures.iter().map(|f| f.height + GAP).sum::<f64>().max(HEIGHT + GAP);
        let (width, height) = (LEFT + WIDTH + 30.0, TOP + high);
        let mut out = String::new();
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        );
        let mut top = TOP;
        for figure in figures {
            figure.draw(&mut out, top);
            top += figure.height + GAP;
        }
        out.push_str("</svg>\n");
        out
    }

    fn draw(&self, out: &mut String, top: f64) {
        let bottom = top + self.height;
        let points =
            || self.marks.iter().flat_map(|m| &m.points).filter(|p| p.0.is_finite() && p.1.is_finite());
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
            if low > high { (0.0, 1.0) } else { (low, high) }
        };
        let (first, last) = range(&mut points().map(|p| p.0).chain(self.origin));
        let (low, high) = range(&mut points().map(|p| p.1));
        let rows = ticks(low, high);
        let (low, high) = (rows[0].min(low), rows[rows.len() - 1].max(high));
        let x = |at: f64| LEFT + WIDTH * (at - first) / (last - first).max(f64::MIN_POSITIVE);
        let y = |value: f64| bottom - self.height * (value - low) / (high - low).max(f64::MIN_POSITIVE);
        let title = escaped(&self.title);
        let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top - 10.0);
        for tick in &rows {
            let (at, text) = (y(*tick), *tick as f32);
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{text}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for tick in ticks(first, last).iter().filter(|t| (first..=last).contains(*t)) {
            let _ = writeln!(
                out,
                "<path d=\"M{:.1} {bottom}v5\" stroke=\"black\"/><text x=\"{0:.1}\" y=\"{}\" \
                 text-anchor=\"middle\">{}</text>",
                x(*tick),
                bottom + 19.0,
                *tick as f32
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><path d=\"M{LEFT} {top}V{bottom}h{WIDTH}\" \
             fill=\"none\" stroke=\"black\"/>",
            LEFT + WIDTH / 2.0,
            bottom + 36.0,
            escaped(&self.across)
        );
        // Names from the right to the left. No font can be asked: letters are taken to be of one width.
        let mut right = LEFT + WIDTH;
        for mark in self.marks.iter().rev().filter(|m| !m.points.is_empty()) {
            let colour = COLOURS[mark.colour % COLOURS.len()];
            if !mark.name.is_empty() {
                let name = escaped(&mark.name);
                let at = top - 10.0;
                let _ = writeln!(
                    out,
                    "<text x=\"{right:.0}\" y=\"{at}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>"
                );
                right -= LETTER * (mark.name.chars().count() + 2) as f64;
            }
        }
        for mark in self.marks.iter().filter(|m| !m.points.is_empty()) {
            mark.draw(out, COLOURS[mark.colour % COLOURS.len()], &x, &y);
        }
    }
}

impl Mark {
    fn draw(&self, out: &mut String, colour: &str, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) {
        if self.style == Style::Points {
            for &(at, value) in self.points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\" fill-opacity=\"0.7\"/>",
                    x(at),
                    y(value)
                );
            }
            return;
        }
        // Neighbours share a point, their mean.
        let share = if self.style == Style::Line { self.points.len().div_ceil(POINTS) } else { 1 };
        let mut path = String::new();
        for group in self.points.chunks(share.max(1)) {
            let n = group.len() as f64;
            let (at, value) = group.iter().fold((0.0, 0.0), |(s, v), p| (s + p.0 / n, v + p.1 / n));
            if !(at.is_finite() && value.is_finite()) {
                continue;
            }
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(at), y(value));
            if self.style == Style::Line && self.points.len() <= 40 {
                let (cx, cy) = (x(at), y(value));
                let _ = writeln!(out, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
        let _ = match self.style {
            Style::Band => writeln!(out, "<path d=\"{path}Z\" fill=\"{colour}\" fill-opacity=\"0.25\"/>"),
            _ => writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"),
        };
    }
}

/// A text inside of a page or picture.
pub(crate) fn escaped(text: &str) -> String {
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
    fn numbers_that_are_none_are_left_out() {
        let svg = Figure::new("a < b", "x").line("", [(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)]).svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN"), "{svg}");
        assert!(Figure::new("", "").svg().ends_with("</svg>\n"));
    }
}
