//! `vorpal tune`.

use std::fmt::Write;
use std::time::{Duration, Instant};

use vorpal::autodiff::{Finding, Outcome as Tried, Trial, forget_tuning, tune};

use crate::Outcome;
use crate::options::TuneOptions;
use crate::units::{seconds, shortened};
use crate::workload::{chosen, print};

pub fn run(options: &TuneOptions) -> Outcome<()> {
    let device = crate::device(options.device.as_deref())?;
    if device.is_cpu() {
        return Err("the native CPU has one way for every kernel: name an adapter with --device".into());
    }
    let workloads = chosen(&options.workloads)?;
    if options.again {
        forget_tuning(&device)?;
    }
    print(&format!("on {}\n", device.info()))?;
    let (start, limit) = (Instant::now(), Duration::from_secs_f64(options.seconds));
    let (mut measured, mut left) = (0, 0);
    for workload in workloads {
        let mut graph = workload.graph(&device)?;
        let what = graph()?;
        let findings = tune(&what, limit.saturating_sub(start.elapsed()))?;
        measured += findings.iter().filter(|f| f.trial.is_some() && f.choice.is_some()).count();
        left += findings.iter().filter(|f| f.choice.is_none()).count();
        print(&text(workload.name, &findings))?;
    }
    let place = vorpal::tensor::cache_folder();
    let place = place.map_or("this process alone".into(), |folder| folder.display().to_string());
    let unfinished = if left > 0 { format!(", no time for {left} (--seconds)") } else { String::new() };
    print(&format!(
        "\n{measured} kernels measured in {}{unfinished}; remembered in {place}\n",
        seconds(start.elapsed().as_secs_f64())
    ))
}

fn text(name: &str, findings: &[Finding]) -> String {
    let mut out = format!("\n{name}: {} kernels can be done in several ways\n", findings.len());
    for finding in findings {
        let launches = match finding.launches {
            1 => String::new(),
            n => format!(" ({n} launches)"),
        };
        let _ = writeln!(out, "  {}{launches}", shortened(&finding.kernel, 90));
        match (&finding.trial, &finding.choice) {
            (Some(trial), _) => candidates(&mut out, trial),
            (None, Some(choice)) => {
                let [default, chosen] = choice.times_us.map(|us| seconds(us * 1e-6));
                let _ = writeln!(
                    out,
                    "    known: {} {chosen}, the default {default}",
                    shortened(&choice.name, 60)
                );
            }
            (None, None) => out.push_str("    no time for it\n"),
        }
    }
    out
}

fn candidates(out: &mut String, trial: &Trial) {
    for (k, candidate) in trial.candidates.iter().enumerate() {
        let mark = if k == trial.chosen { '*' } else { ' ' };
        let outcome = match &candidate.outcome {
            Tried::Took(time) => seconds(time.as_secs_f64()),
            Tried::Wrong(message) => format!("wrong: {message}"),
            Tried::Failed(message) => format!("failed: {}", shortened(message, 60)),
            Tried::Untried => "no time for it".to_string(),
        };
        let _ = writeln!(out, "  {mark} {outcome:>12}  {}", shortened(&candidate.kernel, 80));
    }
}
