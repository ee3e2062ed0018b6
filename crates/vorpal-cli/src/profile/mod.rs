//! `vorpal profile`.

mod page;
mod table;
mod trace;

use std::time::{Duration, Instant};

use vorpal::autodiff::{Profile, profile};
use vorpal::kernels::Cost;
use vorpal::prelude::*;

use crate::Outcome;
use crate::options::ProfileOptions;
use crate::workload::{find, print};

/// Steps before anything counts: the first one compiles, the second one finds memory.
const WARM_UP: usize = 2;
/// Runs of a ceiling, of which the best counts, and the time after which two are enough.
const CEILING_RUNS: usize = 5;
const CEILING_TIME: Duration = Duration::from_millis(400);
/// A ceiling is measured on more if it takes less, or a launch itself would be what is measured.
const CEILING_TIME_MIN: f64 = 2e-3;

/// What was measured of a workload.
pub struct Report {
    pub name: &'static str,
    pub what: &'static str,
    pub device: String,
    pub launches: Vec<Launch>,
    /// Median seconds of a whole step without any clock inside.
    pub step: f64,
    /// Steps that were measured launch by launch.
    pub runs: usize,
    pub ceilings: Ceilings,
}

/// A launch of the workload.
pub struct Launch {
    /// Position in the step.
    pub number: usize,
    /// Family of the kernel.
    pub kernel: &'static str,
    /// Shapes and what is fused into it.
    pub text: String,
    pub cost: Cost,
    /// Median seconds.
    pub time: f64,
}

/// What the device can do at best, measured.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes a second that an elementwise kernel reads and writes.
    pub bytes: f64,
    /// Operations a second of a large matrix product.
    pub flops: f64,
}

impl Report {
    /// Seconds of all launches together.
    pub fn total(&self) -> f64 {
        self.launches.iter().map(|l| l.time).sum()
    }

    /// Share of the time in launches that one of them takes.
    pub fn share(&self, launch: &Launch) -> f64 {
        launch.time / self.total().max(f64::MIN_POSITIVE)
    }

    /// How many runs the times are medians of.
    pub fn medians_of(&self) -> String {
        if self.runs == 1 { "one run".into() } else { format!("medians of {} runs", self.runs) }
    }

    /// The launches, the longest first.
    pub fn by_time(&self) -> Vec<&Launch> {
        let mut launches: Vec<&Launch> = self.launches.iter().collect();
        launches.sort_by(|a, b| b.time.total_cmp(&a.time));
        launches
    }

    /// Families of kernels with their launches and seconds, the longest first.
    pub fn families(&self) -> Vec<(&'static str, usize, f64)> {
        let mut families: Vec<(&'static str, usize, f64)> = Vec::new();
        for launch in &self.launches {
            match families.iter_mut().find(|f| f.0 == launch.kernel) {
                Some(family) => (family.1, family.2) = (family.1 + 1, family.2 + launch.time),
                None => families.push((launch.kernel, 1, launch.time)),
            }
        }
        families.sort_by(|a, b| b.2.total_cmp(&a.2));
        families
    }
}

impl Launch {
    pub fn bytes_per_second(&self) -> f64 {
        self.cost.bytes as f64 / self.time.max(f64::MIN_POSITIVE)
    }

    pub fn flops_per_second(&self) -> f64 {
        self.cost.flops as f64 / self.time.max(f64::MIN_POSITIVE)
    }
}

impl Ceilings {
    /// The least seconds that traffic and work of a launch can take.
    pub fn least(&self, cost: Cost) -> f64 {
        (cost.bytes as f64 / self.bytes).max(cost.flops as f64 / self.flops)
    }

    /// How near a launch comes to the ceilings: 1 is there.
    pub fn reached(&self, launch: &Launch) -> f64 {
        self.least(launch.cost) / launch.time.max(f64::MIN_POSITIVE)
    }
}

pub fn run(options: &ProfileOptions) -> Outcome<()> {
    let workload = find(&options.workload)?;
    let device = crate::device(options.device.as_deref())?;
    let ceilings = ceilings(&device)?;
    let mut graph = workload.graph(&device)?;
    for _ in 0..WARM_UP {
        eval(&graph()?)?;
        device.synchronize()?;
    }
    let limit = Duration::from_secs_f64(options.seconds);
    let (mut steps, start) = (Vec::new(), Instant::now());
    while steps.is_empty() || (steps.len() < options.runs && start.elapsed() < limit / 2) {
        let from = Instant::now();
        eval(&graph()?)?;
        device.synchronize()?;
        steps.push(from.elapsed().as_secs_f64());
    }
    let (mut profiles, start) = (Vec::new(), Instant::now());
    while profiles.is_empty() || (profiles.len() < options.runs && start.elapsed() < limit / 2) {
        profiles.push(profile(&graph()?)?);
    }
    let report = Report {
        name: workload.name,
        what: workload.what,
        device: device.info().to_string(),
        launches: medians(&profiles),
        step: median(&mut steps),
        runs: profiles.len(),
        ceilings,
    };
    if let Some(file) = &options.trace {
        crate::workload::write(file, &trace::json(&report))?;
    }
    if let Some(file) = &options.html {
        crate::workload::write(file, &page::html(&report))?;
    }
    print(&table::text(&report, options.all))
}

/// The launches of a step with the median time of each over several steps.
fn medians(profiles: &[Profile]) -> Vec<Launch> {
    let Some(last) = profiles.last() else { return Vec::new() };
    // A step whose plan was another one cannot be compared launch by launch.
    let alike = |p: &&Profile| p.launches.len() == last.launches.len();
    let launches = last.launches.iter().enumerate().map(|(number, launch)| {
        let mut times: Vec<f64> =
            profiles.iter().filter(alike).map(|p| p.launches[number].time.as_secs_f64()).collect();
        Launch {
            number,
            kernel: launch.kernel,
            text: launch.description.clone(),
            cost: launch.cost,
            time: median(&mut times),
        }
    });
    launches.collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Measures what the device can do, by the way every workload is measured.
fn ceilings(device: &Device) -> Result<Ceilings> {
    // Large enough for no cache to hold it, unless that would take long.
    let copy = |n: usize| best(&Tensor::zeros([n], DType::F32, device), |x| x + 1.0);
    let product = |n: usize| best(&Tensor::full([n, n], 0.5, DType::F32, device), |x| x.matmul(x));
    let rate = |(cost, time): (Cost, f64)| cost.flops as f64 / time;
    let mut moved = copy(1 << 22)?;
    if moved.1 < CEILING_TIME_MIN {
        moved = copy(1 << 26)?;
    }
    // Which size suits a device best differs.
    let (small, large) = (product(512)?, product(1024)?);
    let mut flops = rate(small).max(rate(large));
    if large.1 < CEILING_TIME_MIN {
        flops = flops.max(rate(product(4096)?));
    }
    Ok(Ceilings { bytes: moved.0.bytes as f64 / moved.1, flops })
}

/// Cost and shortest seconds of what is made of an operand.
fn best(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Result<(Cost, f64)> {
    eval(x)?;
    let (mut cost, mut shortest, start) = (Cost::default(), f64::INFINITY, Instant::now());
    for run in 0..CEILING_RUNS {
        if run >= 2 && start.elapsed() > CEILING_TIME {
            break;
        }
        let found = profile(&f(x))?;
        cost = Cost {
            flops: found.launches.iter().map(|l| l.cost.flops).sum(),
            bytes: found.launches.iter().map(|l| l.cost.bytes).sum(),
        };
        shortest = shortest.min(found.total().as_secs_f64());
    }
    Ok((cost, shortest.max(1e-9)))
}
