//! The profile as a page that needs nothing but itself.

use std::fmt::Write;

use super::table::percent;
use super::{Launch, Report};
use crate::units::{bytes, count, flops, seconds, shortened};

/// Launches among the bars.
const BARS: usize = 30;
/// Width of the pictures.
const WIDTH: f64 = 1040.0;

/// Colours of the families of kernels, the one that takes longest first; further ones share the last.
const COLOURS: [&str; 10] = [
    "#3b6fb6", "#d9822b", "#3f9c5a", "#b8434e", "#7b62a8", "#8a6a4f", "#c76aa5", "#5b7f8c", "#a8a031",
    "#8c8c8c",
];

const STYLE: &str = "
body { font: 14px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 32px auto; width: 1040px; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 17px; margin: 34px 0 4px; }
p { margin: 2px 0 10px; color: #666; }
.figures { display: flex; gap: 12px; margin: 18px 0 6px; }
.figures div { flex: 1; border: 1px solid #ddd; border-radius: 6px; padding: 9px 12px; }
.figures b { display: block; font-size: 19px; } .figures span { color: #666; font-size: 12.5px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
svg { display: block; } svg text { font: 12px system-ui, sans-serif; fill: #333; } svg .pale { fill: #777; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 8px; border-bottom: 1px solid #eee; white-space: nowrap; }
th { color: #666; font-weight: 600; } th:last-child, td:last-child { text-align: left; white-space: normal; }
";

pub fn html(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}: where time goes</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<p>{1}<br>on {2}</p>\n",
        escaped(report.name),
        escaped(report.what),
        escaped(&report.device)
    );
    figures(&mut out, report);
    out += "<h2>One step</h2>\n<p>Launches in their order, as wide as the time they take.</p>\n";
    strip(&mut out, report);
    legend(&mut out, report);
    out +=
        "<h2>Longest launches</h2>\n<p>Dark: the least time that traffic or work needs on this device.</p>\n";
    bars(&mut out, report);
    out += "<h2>Roofline</h2>\n<p>A dot is a launch, as large as its share of the time. The line is what the device \
            was measured to do: to the left traffic decides, to the right work.</p>\n";
    roofline(&mut out, report);
    out += "<h2>All launches</h2>\n";
    table(&mut out, report);
    out + "</body>\n</html>\n"
}

fn figures(out: &mut String, report: &Report) {
    let figures = [
        (seconds(report.step), "a step, median".to_string()),
        (seconds(report.total()), format!("in launches, {}", report.medians_of())),
        (report.launches.len().to_string(), "launches".to_string()),
        (format!("{}/s", bytes(report.ceilings.bytes)), "elementwise at best".to_string()),
        (format!("{}/s", flops(report.ceilings.flops)), "matrix product at best".to_string()),
    ];
    out.push_str("<div class=\"figures\">");
    for (value, what) in figures {
        let _ = write!(out, "<div><b>{value}</b><span>{what}</span></div>");
    }
    out.push_str("</div>\n");
}

fn colour(report: &Report, launch: &Launch) -> &'static str {
    let place = report.families().iter().position(|f| f.0 == launch.kernel).unwrap_or(COLOURS.len());
    COLOURS[place.min(COLOURS.len() - 1)]
}

/// What is shown when the pointer rests on a launch.
fn tip(report: &Report, launch: &Launch) -> String {
    let ceilings = report.ceilings;
    escaped(&format!(
        "{}: {}\n{}, {} of the time\n{}/s, {} of what the device can do\n{}/s, {}",
        launch.number,
        launch.text,
        seconds(launch.time),
        percent(report.share(launch)),
        bytes(launch.bytes_per_second()),
        percent(launch.bytes_per_second() / ceilings.bytes),
        flops(launch.flops_per_second()),
        percent(launch.flops_per_second() / ceilings.flops),
    ))
}

fn svg(out: &mut String, height: f64, draw: impl FnOnce(&mut String)) {
    let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">");
    draw(out);
    out.push_str("</svg>\n");
}

fn strip(out: &mut String, report: &Report) {
    svg(out, 56.0, |out| {
        let mut x = 0.0;
        for launch in &report.launches {
            let width = WIDTH * report.share(launch);
            // A hair of white between neighbours, where there is room for one.
            let drawn = if width > 3.0 { width - 0.8 } else { width };
            let _ = writeln!(
                out,
                "<rect x=\"{x:.2}\" y=\"4\" width=\"{drawn:.2}\" height=\"44\" fill=\"{}\"><title>{}</title></rect>",
                colour(report, launch),
                tip(report, launch)
            );
            x += width;
        }
    });
}

fn legend(out: &mut String, report: &Report) {
    out.push_str("<div class=\"legend\">");
    for (k, (kernel, launches, time)) in report.families().iter().enumerate() {
        let share = percent(time / report.total().max(f64::MIN_POSITIVE));
        let _ = write!(
            out,
            "<span><i style=\"background:{}\"></i>{} <b>{share}</b>, {launches} launches, {}</span>",
            COLOURS[k.min(COLOURS.len() - 1)],
            escaped(kernel),
            seconds(*time)
        );
    }
    out.push_str("</div>\n");
}

fn bars(out: &mut String, report: &Report) {
    const ROW: f64 = 21.0;
    const LEFT: f64 = 430.0;
    const RIGHT: f64 = 150.0;
    let launches = report.by_time();
    let shown = &launches[..BARS.min(launches.len())];
    let longest = shown.first().map_or(1.0, |l| l.time).max(f64::MIN_POSITIVE);
    svg(out, ROW * shown.len() as f64 + 6.0, |out| {
        for (k, launch) in shown.iter().enumerate() {
            let (y, width) = (ROW * k as f64 + 3.0, (WIDTH - LEFT - RIGHT) * launch.time / longest);
            let least =
                (WIDTH - LEFT - RIGHT) * report.ceilings.least(launch.cost).min(launch.time) / longest;
            let base = y + 12.0;
            let _ = writeln!(
                out,
                "<g><title>{}</title><text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{}\" y=\"{base}\" text-anchor=\"end\" class=\"pale\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.2}\" height=\"16\" fill=\"{colour}\" fill-opacity=\"0.55\"/>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{least:.2}\" height=\"16\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{base}\">{} <tspan class=\"pale\">{}</tspan></text></g>",
                tip(report, launch),
                LEFT - 8.0,
                escaped(&shortened(&launch.text, 58)),
                LEFT - 398.0,
                launch.number,
                LEFT + width + 7.0,
                seconds(launch.time),
                percent(report.share(launch)),
                colour = colour(report, launch),
            );
        }
    });
}

/// Logarithmic axes: the decades between which all points lie, and where a value stands.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value.log10()), high.max(value.log10()))
        });
        let (low, high) = if low <= high { (low.floor(), high.ceil()) } else { (0.0, 1.0) };
        Axis { low, high: if high > low { high } else { low + 1.0 }, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value.log10() - self.low) / (self.high - self.low)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|k| 10f64.powi(k))
    }
}

fn roofline(out: &mut String, report: &Report) {
    const HEIGHT: f64 = 420.0;
    let ceilings = report.ceilings;
    let knee = ceilings.flops / ceilings.bytes;
    let dots: Vec<&Launch> = report
        .by_time()
        .into_iter()
        .filter(|l| l.cost.flops > 0 && l.cost.bytes > 0 && l.time > 0.0)
        .collect();
    let intensity = |l: &Launch| l.cost.flops as f64 / l.cost.bytes as f64;
    let x = Axis::new(dots.iter().map(|l| intensity(l)).chain([knee, knee * 10.0]), 84.0, WIDTH - 20.0);
    let rates = dots.iter().map(|l| l.flops_per_second()).chain([ceilings.flops * 1.5]);
    let y = Axis::new(rates, HEIGHT - 44.0, 12.0);
    svg(out, HEIGHT, |out| {
        for value in x.decades() {
            let at = x.place(value);
            let _ = writeln!(
                out,
                "<path d=\"M{at:.1} {:.1}V{:.1}\" stroke=\"#eee\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"pale\">{}</text>",
                y.from,
                y.to,
                y.from + 17.0,
                if value < 1.0 { format!("{value}") } else { count(value) }
            );
        }
        for value in y.decades() {
            let at = y.place(value);
            let _ = writeln!(
                out,
                "<path d=\"M{:.1} {at:.1}H{:.1}\" stroke=\"#eee\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"pale\">{}/s</text>",
                x.from,
                x.to,
                x.from - 7.0,
                at + 4.0,
                flops(value)
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">operations a byte moved</text>",
            (x.from + x.to) / 2.0,
            y.from + 36.0
        );
        line(out, (&x, &y), knee, report);
        for launch in &dots {
            let radius = 3.0 + 26.0 * report.share(launch).sqrt();
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\"0.6\" \
                 stroke=\"white\"><title>{}</title></circle>",
                x.place(intensity(launch)),
                y.place(launch.flops_per_second()),
                colour(report, launch),
                tip(report, launch)
            );
        }
    });
}

/// What the device can do: a slope of traffic, a roof of work.
fn line(out: &mut String, (x, y): (&Axis, &Axis), knee: f64, report: &Report) {
    let (first, last) = (10f64.powf(x.low), 10f64.powf(x.high));
    let ceilings = report.ceilings;
    // The slope may leave the picture through its floor.
    let start = first.max(10f64.powf(y.low) / ceilings.bytes);
    let roof = y.place(ceilings.flops);
    let _ = writeln!(
        out,
        "<path d=\"M{:.1} {:.1}L{:.1} {roof:.1}H{:.1}\" fill=\"none\" stroke=\"#444\" stroke-width=\"1.6\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}/s, {}/s</text>",
        x.place(start),
        y.place(start * ceilings.bytes),
        x.place(knee),
        x.place(last),
        // Left of where dots crowd.
        x.place(knee) - 10.0,
        roof - 4.0,
        flops(ceilings.flops),
        bytes(ceilings.bytes)
    );
}

fn table(out: &mut String, report: &Report) {
    out.push_str(
        "<table>\n<tr><th></th><th>time</th><th>share</th><th>traffic/s</th><th>%</th><th>work/s</th><th>%</th>\
         <th>of possible</th><th>kernel</th></tr>\n",
    );
    for launch in &report.launches {
        let (moved, worked) = (launch.bytes_per_second(), launch.flops_per_second());
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>",
            launch.number,
            seconds(launch.time),
            percent(report.share(launch)),
            bytes(moved),
            percent(moved / report.ceilings.bytes),
            flops(worked),
            percent(worked / report.ceilings.flops),
            percent(report.ceilings.reached(launch)),
            escaped(&launch.text)
        );
    }
    out.push_str("</table>\n");
}

/// A text inside of a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
