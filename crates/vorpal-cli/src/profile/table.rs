//! The profile on a terminal.

use std::fmt::Write;

use super::Report;
use crate::units::{bytes, flops, seconds, shortened};

/// Launches in the table unless all are asked for.
const LAUNCHES_SHOWN: usize = 24;

pub fn text(report: &Report, all: bool) -> String {
    let mut out = String::new();
    let (total, ceilings) = (report.total(), report.ceilings);
    let _ = writeln!(
        out,
        "{}: {}\non {}\ncan do: {}/s elementwise, {}/s in a matrix product\nstep: {} (median), {} of it in {} launches \
         ({})\n",
        report.name,
        report.what,
        report.device,
        bytes(ceilings.bytes),
        flops(ceilings.flops),
        seconds(report.step),
        seconds(total),
        report.launches.len(),
        report.medians_of()
    );
    let _ = writeln!(
        out,
        "{:>5} {:>9} {:>6} {:>12} {:>5} {:>13} {:>5} {:>5}  kernel",
        "", "time", "share", "traffic/s", "%", "work/s", "%", "of"
    );
    let launches = report.by_time();
    let shown = if all { launches.len() } else { LAUNCHES_SHOWN.min(launches.len()) };
    for launch in &launches[..shown] {
        let (moved, worked) = (launch.bytes_per_second(), launch.flops_per_second());
        let _ = writeln!(
            out,
            "{:>5} {:>9} {:>6} {:>12} {:>5} {:>13} {:>5} {:>5}  {}",
            launch.number,
            seconds(launch.time),
            percent(report.share(launch)),
            bytes(moved),
            percent(moved / ceilings.bytes),
            flops(worked),
            percent(worked / ceilings.flops),
            percent(ceilings.reached(launch)),
            shortened(&launch.text, 70)
        );
    }
    let rest: f64 = launches[shown..].iter().map(|l| l.time).sum();
    if shown < launches.len() {
        let (more, share) = (launches.len() - shown, percent(rest / total.max(f64::MIN_POSITIVE)));
        let _ = writeln!(out, "{:>5} {:>9} {share:>6}  in {more} more launches (--all)", "", seconds(rest));
    }
    out.push_str(
        "\n% of what the device can do; `of`: of the time that traffic or work needs at the least\n\n",
    );
    for (kernel, count, time) in report.families() {
        let share = percent(time / total.max(f64::MIN_POSITIVE));
        let _ = writeln!(out, "{:>15} {share:>6}  {kernel}, {count} launches", seconds(time));
    }
    out
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value >= 9.95 || value == 0.0 { format!("{value:.0} %") } else { format!("{value:.1} %") }
}
