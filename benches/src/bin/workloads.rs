//! Runs workloads and says how long they took.
//!
//! `cargo run --release --bin workloads -- --device cpu mlp_step cnn_step`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use vorpal::{Device, Error};
use vorpal_benches::{
    Measurement, Workload, large_workloads, measure, peak_memory_bytes, workload, workloads,
};

/// Run workloads and say how long they took.
#[derive(Debug, Parser)]
struct Options {
    /// Names, or parts of them, of what to run; everything without any.
    names: Vec<String>,
    /// What runs it: `cpu`, `software`, `gpu` or a part of an adapter's name.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// How long each is repeated, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A line of JSON for each in place of a table.
    #[arg(long)]
    json: bool,
    /// Say what there is and stop.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        let all = workloads().into_iter().chain(large_workloads());
        all.for_each(|w| println!("{:22} {}", w.name, w.what));
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The workloads that are asked for, by name or by a part of it.
fn chosen(names: &[String]) -> Result<Vec<Workload>, String> {
    if names.is_empty() {
        return Ok(workloads());
    }
    let mut out = Vec::new();
    for name in names {
        let found: Vec<Workload> = match workload(name) {
            Some(found) => vec![found],
            None => workloads().into_iter().filter(|w| w.name.contains(name.as_str())).collect(),
        };
        if found.is_empty() {
            let all: Vec<&str> = workloads().iter().map(|w| w.name).collect();
            return Err(format!("there is no workload \"{name}\", but {}", all.join(", ")));
        }
        out.extend(found);
    }
    Ok(out)
}

fn run(options: &Options) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let chosen = chosen(&options.names)?;
    let time = Duration::try_from_secs_f64(options.seconds).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let device = Device::named(&options.device).map_err(text)?;
    let open = start.elapsed();
    if !options.json {
        println!("{device}");
        println!(
            "{:22} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9}",
            "", "first ms", "median ms", "min ms", "max ms", "GFLOP/s", "GB/s", "peak MiB"
        );
    }
    for workload in chosen {
        let mut found =
            measure(&workload, &device, time).map_err(|error| format!("{}: {error}", workload.name))?;
        // As if it ran alone in its process.
        found.first += open;
        found.tenth = found.tenth.map(|tenth| tenth + open);
        println!("{}", if options.json { json(&workload, options, &found) } else { row(&workload, &found) });
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Billions a second, if there are any.
fn rate(count: f64, found: &Measurement) -> Option<f64> {
    (count > 0.0).then(|| count / found.median.as_secs_f64() / 1e9)
}

fn row(workload: &Workload, found: &Measurement) -> String {
    let Measurement { first, median, min, max, .. } = *found;
    let number = |value: Option<f64>| value.map_or("–".to_string(), |v| format!("{v:.1}"));
    format!(
        "{:22} {:10.1} {:10.3} {:10.3} {:10.3} {:>9} {:>9} {:>9}",
        workload.name,
        ms(first),
        ms(median),
        ms(min),
        ms(max),
        number(rate(workload.flops, found)),
        number(rate(workload.bytes, found)),
        peak_memory_bytes().map_or("–".to_string(), |bytes| (bytes >> 20).to_string()),
    )
}

/// What every peer of `benches/compare` says of a workload.
fn json(workload: &Workload, options: &Options, found: &Measurement) -> String {
    let or_null = |value: Option<f64>| value.map_or("null".to_string(), |v| format!("{v:.3}"));
    let Measurement { first, tenth, median, min, max, steps } = *found;
    format!(
        "{{\"peer\":\"vorpal\",\"device\":{:?},\"workload\":\"{}\",\"first_ms\":{:.3},\
         \"tenth_ms\":{},\"median_ms\":{:.4},\"min_ms\":{:.4},\"max_ms\":{:.4},\"steps\":{steps},\"gflops\":{},\
         \"peak_mib\":{}}}",
        options.device,
        workload.name,
        ms(first),
        or_null(tenth.map(ms)),
        ms(median),
        ms(min),
        ms(max),
        or_null(rate(workload.flops, found)),
        or_null(peak_memory_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20))),
    )
}
