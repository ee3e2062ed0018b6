//! What every launch of an evaluation takes.

use std::time::Duration;

use vorpal_kernels::Cost;
use vorpal_tensor::Result;

use super::job::Job;
use crate::Tensors;

/// The launches of an evaluation in order, with the time each took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// One entry a launch.
    pub launches: Vec<LaunchTime>,
}

/// One launch of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchTime {
    /// Name of the kernel, that of its shader.
    pub kernel: &'static str,
    /// Shapes, variant and fused expression in one line.
    pub description: String,
    /// Work and traffic.
    pub cost: Cost,
    /// From its start to its end: on an adapter by the adapter's own clock where it has one.
    pub time: Duration,
}

impl Profile {
    /// Time of all launches together.
    pub fn total(&self) -> Duration {
        self.launches.iter().map(|launch| launch.time).sum()
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for launch in &self.launches {
            let seconds = launch.time.as_secs_f64();
            let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds * 1e-9 } else { 0.0 };
            let (flops, bytes) = (per_second(launch.cost.flops), per_second(launch.cost.bytes));
            let (ms, text) = (seconds * 1e3, &launch.description);
            writeln!(f, "{ms:9.3} ms {flops:8.2} GFLOP/s {bytes:8.2} GB/s  {text}")?;
        }
        write!(f, "{:9.3} ms in {} launches", self.total().as_secs_f64() * 1e3, self.launches.len())
    }
}

/// Evaluates as [`eval`](crate::eval) does, by the same plans, and tells what every launch took.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, profile};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 3], &Device::cpu());
/// let found = profile(&x.softmax(-1))?;
/// assert_eq!(found.launches.len(), 1);
/// println!("{found}");
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// As [`eval`](crate::eval).
pub fn profile<T: Tensors + ?Sized>(what: &T) -> Result<Profile> {
    let mut profile = Profile::default();
    for (device, roots) in super::by_device(what)? {
        let mut times = Vec::new();
        let prepared = Job::collect(&roots).run(&device, Some(&mut times))?;
        let launches = prepared.plan.launches.iter().zip(times).map(|(launch, time)| LaunchTime {
            kernel: launch.kernel.name(),
            description: launch.kernel.describe(),
            cost: launch.kernel.cost(),
            time,
        });
        profile.launches.extend(launches);
    }
    Ok(profile)
}
