//! Curves of trainings as a picture.

use std::collections::BTreeMap;

use crate::plot::Figure;

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
        let figures = self.plots.iter().map(|(title, curves)| {
            let mut figure = Figure::new(title, "step").with_zero();
            for (name, points) in curves {
                if points.is_empty() {
                    figure.skip_colour();
                } else {
                    figure = figure.line(name, points.iter().copied());
                }
            }
            figure
        });
        Figure::stack(&figures.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
