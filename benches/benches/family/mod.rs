//! What the benchmarks of a family of kernels have in common.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use vorpal::{Device, Error};
use vorpal_benches::workload;

/// Times workloads on the native CPU and, where there is one, on the software adapter.
///
/// # Errors
/// What the device gives.
pub fn run(family: &str, names: &[&str]) -> Result<(), Error> {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let software = Device::software().inspect_err(|error| println!("no software adapter: {error}")).ok();
    for device in [Some(Device::cpu()), software].into_iter().flatten() {
        let mut group = criterion.benchmark_group(format!("{family}/{}", device.info().selector));
        for name in names {
            let Some(workload) = workload(name) else { continue };
            let mut step = workload.prepare(&device)?;
            // Counted as elements: operations a second.
            let count = if workload.flops > 0.0 { workload.flops } else { workload.bytes };
            group.throughput(Throughput::Elements(count as u64));
            let mut outcome = Ok(());
            group.bench_function(*name, |b| {
                b.iter(|| {
                    if outcome.is_ok() {
                        outcome = step();
                    }
                });
            });
            outcome?;
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
