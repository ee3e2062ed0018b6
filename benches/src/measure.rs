//! How a step is timed.

use std::time::{Duration, Instant};

use vorpal::{Device, Result};

use crate::Workload;

/// Steps are repeated at least so often, unless they take longer than `PATIENCE`.
const STEPS_MIN: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// Steps that are not counted: the first one compiles, the second one finds memory.
const WARM_UP: usize = 2;

/// What was measured of a workload.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// From before the operands are made to the end of the first step.
    pub first: Duration,
    /// From before the operands are made to the end of the tenth step, if there was one.
    pub tenth: Option<Duration>,
    /// Shortest step.
    pub min: Duration,
    /// Half of the steps were shorter.
    pub median: Duration,
    /// Longest step.
    pub max: Duration,
    /// Steps that were counted.
    pub steps: usize,
}

/// Prepares a workload and repeats it for about `time`.
///
/// # Errors
/// What the device gives.
pub fn measure(workload: &Workload, device: &Device, time: Duration) -> Result<Measurement> {
    let start = Instant::now();
    let mut step = workload.prepare(device)?;
    step()?;
    let first = start.elapsed();
    let (mut tenth, mut times, mut done) = (None, Vec::new(), 1);
    let more = |done: usize, spent: Duration| spent < time || (done < STEPS_MIN && spent < PATIENCE);
    while times.is_empty() || more(done, start.elapsed() - first) {
        let from = Instant::now();
        step()?;
        done += 1;
        if done > WARM_UP {
            times.push(from.elapsed());
        }
        if done == 10 {
            tenth = Some(start.elapsed());
        }
    }
    times.sort_unstable();
    let (min, median, max) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    Ok(Measurement { first, tenth, min, median, max, steps: times.len() })
}

/// Most memory this process ever had resident, where the system tells (`VmHWM` of Linux).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
