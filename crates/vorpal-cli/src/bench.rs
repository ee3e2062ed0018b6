//! `vorpal bench`.

use std::time::Duration;

use vorpal_benches::measure;

use crate::Outcome;
use crate::options::BenchOptions;
use crate::units::{bytes, flops, seconds};
use crate::workload::{chosen, print};

pub fn run(options: &BenchOptions) -> Outcome<()> {
    let device = crate::device(options.device.as_deref())?;
    print(&format!("on {}\n", device.info()))?;
    print(&format!(
        "{:22} {:>9} {:>9} {:>9} {:>9} {:>14} {:>12}\n",
        "", "first", "median", "least", "most", "work/s", "traffic/s"
    ))?;
    for workload in chosen(&options.workloads)? {
        let found = measure(&workload, &device, Duration::from_secs_f64(options.seconds))?;
        let time = |time: Duration| seconds(time.as_secs_f64());
        let rate = |count: f64, text: fn(f64) -> String| {
            if count > 0.0 { text(count / found.median.as_secs_f64()) } else { String::new() }
        };
        print(&format!(
            "{:22} {:>9} {:>9} {:>9} {:>9} {:>14} {:>12}\n",
            workload.name,
            time(found.first),
            time(found.median),
            time(found.min),
            time(found.max),
            rate(workload.flops, flops),
            rate(workload.bytes, bytes)
        ))?;
    }
    Ok(())
}
