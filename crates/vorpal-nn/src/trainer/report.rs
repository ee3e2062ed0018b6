//! A run as a page that needs nothing but itself.

use std::fmt::Write;

use vorpal_autodiff::{Device, Result, Tensor};

use super::curves::Curves;
use super::tensorboard::pixels;
use super::{Fitted, Reason, RunDir, Task, Trainer};
use crate::Summary;
use crate::plot::{base64, escaped, png};

/// Pictures that are shown.
const PICTURES: usize = 24;

const STYLE: &str = "
body { font: 14px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 32px auto; width: 900px; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 34px 0 4px; }
p { margin: 2px 0 10px; color: #666; } pre { background: #f6f6f6; padding: 10px 14px; overflow-x: auto; font-size: 12px; }
.figures { display: flex; gap: 12px; margin: 18px 0 6px; }
.figures div { flex: 1; border: 1px solid #ddd; border-radius: 6px; padding: 9px 12px; }
.figures b { display: block; font-size: 19px; } .figures span { color: #666; font-size: 12.5px; }
svg { display: block; width: 900px; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 8px; border-bottom: 1px solid #eee; } th { color: #666; font-weight: 600; }
.matrix td { text-align: center; min-width: 34px; border: 1px solid #fff; }
.pictures { display: flex; flex-wrap: wrap; gap: 12px 14px; } .pictures div { text-align: center; width: 60px; }
.pictures img { width: 56px; image-rendering: pixelated; border: 2px solid #ddd; }
.pictures .wrong img { border-color: #d62728; } .pictures .wrong { color: #d62728; }
";

/// What an evaluation saw.
#[derive(Default)]
pub(super) struct Seen {
    /// How often each class was taken for each.
    pub confusion: Option<Vec<Vec<u64>>>,
    /// What the model is made of.
    pub summary: Option<Summary>,
    /// The first pictures.
    pub pictures: Vec<Picture>,
}

/// A picture that a model has answered.
pub(super) struct Picture {
    /// Its PNG file.
    pub png: Vec<u8>,
    /// Channels, height and width.
    pub sizes: [usize; 3],
    /// The class it was taken for.
    found: i32,
    /// The class it is.
    wanted: i32,
}

impl Seen {
    /// Keeps the first pictures of a batch, if outputs are scores of classes.
    pub fn look(&mut self, pictures: Option<Tensor>, output: &Tensor, target: &Tensor) -> Result<()> {
        self.pictures.clear();
        let Some(pictures) = pictures.filter(|_| output.rank() == 2 && target.rank() == 1) else {
            return Ok(());
        };
        let [n, channels, height, width] = pictures.dims()?;
        let n = n.min(PICTURES);
        let found = output.narrow(0, 0, n).argmax(-1).cast(vorpal_autodiff::DType::I32).to_vec::<i32>()?;
        let wanted = target.narrow(0, 0, n).cast(vorpal_autodiff::DType::I32).to_vec::<i32>()?;
        let bytes = pixels(&pictures.narrow(0, 0, n).permute([0, 2, 3, 1]))?;
        let answers = found.into_iter().zip(wanted);
        for (picture, (found, wanted)) in bytes.chunks((channels * height * width).max(1)).zip(answers) {
            let (png, sizes) = (png(picture, width, height, channels)?, [channels, height, width]);
            self.pictures.push(Picture { png, sizes, found, wanted });
        }
        Ok(())
    }
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n{body}</body>\n</html>\n",
        escaped(title)
    )
}

/// The name of a run: its folder's.
fn name(run: &std::path::Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |n| n.to_string_lossy().into_owned())
}

impl<K: Task, O> Trainer<K, O> {
    /// The page of a run.
    pub(super) fn report(&self, run: &RunDir, fitted: &Fitted, device: &Device) -> Result<String> {
        let mut out = String::new();
        let reason = match fitted.reason {
            Reason::Done => "all steps were made",
            Reason::Early => "stopped early: nothing became better",
            Reason::Asked => "stopped on request",
        };
        let _ = write!(
            out,
            "<p>on {}; {reason}</p>\n<div class=\"figures\">",
            escaped(&device.info().to_string())
        );
        let (steps, seconds) = (self.progress.step, self.progress.seconds);
        let mut figures = vec![
            (steps.to_string(), "steps".to_string()),
            (format!("{seconds:.1} s"), "of training".to_string()),
            (format!("{:.1}/s", steps as f64 / seconds.max(1e-9)), "steps".to_string()),
            (
                format!("{:.1} MiB", device.stats().peak_bytes as f64 / 1048576.0),
                "at most in use".to_string(),
            ),
        ];
        figures
            .extend(fitted.test.iter().map(|(name, value)| (format!("{value:.4}"), name.replace('_', " "))));
        for (value, what) in figures {
            let _ = write!(out, "<div><b>{value}</b><span>{}</span></div>", escaped(&what));
        }
        out += "</div>\n<h2>Curves</h2>\n";
        let mut curves = Curves::default();
        curves.add("", &RunDir::metrics(run.path())?);
        out += &curves.svg();
        matrix(&mut out, self.seen.confusion.as_deref());
        pictures(&mut out, &self.seen.pictures);
        if let Some(summary) = &self.seen.summary {
            let _ = write!(out, "<h2>Model</h2>\n<pre>{}</pre>\n", escaped(&summary.to_string()));
        }
        let config = RunDir::config(run.path())?.unwrap_or_default();
        let _ = write!(out, "<h2>Configuration</h2>\n<pre>{}</pre>\n", escaped(&config));
        Ok(page(&name(run.path()), &out))
    }
}

fn matrix(out: &mut String, counts: Option<&[Vec<u64>]>) {
    let Some(counts) = counts.filter(|c| c.len() <= 100) else { return };
    *out += "<h2>Confusion</h2>\n<p>Rows: what is there. Columns: what it was taken for.</p>\n<table class=\"matrix\">\n<tr><th></th>";
    (0..counts.len()).for_each(|k| *out += &format!("<th>{k}</th>"));
    *out += "<th>right</th></tr>\n";
    for (k, row) in counts.iter().enumerate() {
        let all = row.iter().sum::<u64>().max(1);
        let _ = write!(out, "<tr><th>{k}</th>");
        for (j, &n) in row.iter().enumerate() {
            let share = n as f64 / all as f64;
            // Mistakes are rare: they are shown from the first one on.
            let (colour, strength) =
                if j == k { ("44,160,44", 0.55 * share) } else { ("214,39,40", (6.0 * share).min(0.8)) };
            let text = if n == 0 { String::new() } else { n.to_string() };
            let _ = write!(out, "<td style=\"background:rgba({colour},{strength:.3})\">{text}</td>");
        }
        let _ = writeln!(out, "<td>{:.1} %</td></tr>", 100.0 * row[k] as f64 / all as f64);
    }
    *out += "</table>\n";
}

fn pictures(out: &mut String, pictures: &[Picture]) {
    if pictures.is_empty() {
        return;
    }
    *out += "<h2>Samples</h2>\n<p>What each was taken for; in red where it is something else.</p>\n<div class=\"pictures\">\n";
    for Picture { png, found, wanted, .. } in pictures {
        let (class, text) = if found == wanted {
            ("", format!("{found}"))
        } else {
            (" class=\"wrong\"", format!("{found}, is {wanted}"))
        };
        let _ = writeln!(
            out,
            "<div{class}><img alt=\"sample\" src=\"data:image/png;base64,{}\"><br>{text}</div>",
            base64(png)
        );
    }
    *out += "</div>\n";
}

/// Several runs as one page: their last numbers in a table, their curves over one another.
///
/// # Errors
/// [`Error::Io`](vorpal_autodiff::Error::Io) for a folder that cannot be read.
pub fn compare(runs: &[std::path::PathBuf]) -> Result<String> {
    let (mut curves, mut rows) = (Curves::default(), String::new());
    for run in runs {
        let metrics = RunDir::metrics(run)?;
        curves.add(&name(run), &metrics);
        let mut own = Curves::default();
        own.add("", &metrics);
        let _ = write!(rows, "<tr><th>{}</th><td>", escaped(&name(run)));
        for (title, list) in own.plots() {
            if let Some((step, value)) = list.last().and_then(|(_, points)| points.last()) {
                let _ = write!(rows, "{} {value:.4} (step {step}) &nbsp; ", escaped(title));
            }
        }
        rows += "</td></tr>\n";
    }
    let body = format!("<table>\n{rows}</table>\n<h2>Curves</h2>\n{}", curves.svg());
    Ok(page("Runs", &body))
}
