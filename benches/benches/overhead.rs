//! What a step costs beyond its kernels: building and fingerprinting its graph, replaying its plan, planning it, and binding
//! windows on a data set.
//!
//! The step is a chain of products of 4×4 matrices, which cannot fuse: its kernels take next to no time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use vorpal::autodiff::compile::ir::Target;
use vorpal::autodiff::{plan, profile};
use vorpal::prelude::*;
use vorpal_benches::workload;

/// Launches of the step.
const LAUNCHES: usize = 1000;

/// A matrix that keeps its size under products with itself.
fn start(device: &Device) -> Tensor {
    let rotation = [0.0f32, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    let x = Tensor::from_slice(&rotation, [4, 4], device);
    eval(&x).unwrap_or_else(|e| eprintln!("{e}"));
    x
}

fn products(x: &Tensor, n: usize) -> Tensor {
    (0..n).fold(x.clone(), |y, _| y.matmul(x))
}

/// The native CPU and, where there is one, the software adapter.
fn devices() -> Vec<(&'static str, Device)> {
    let adapter = Device::software().ok().map(|device| ("adapter", device));
    std::iter::once(("cpu", Device::cpu())).chain(adapter).collect()
}

fn graph(c: &mut Criterion) {
    let x = start(&Device::cpu());
    c.bench_function("build 1,000 ops", |b| b.iter_with_large_drop(|| products(&x, LAUNCHES)));
    c.bench_function("drop 1,000 ops", |b| {
        b.iter_batched(|| products(&x, LAUNCHES), drop, BatchSize::SmallInput);
    });
}

/// What building a step of a training takes: forward, derivative and the optimiser's update.
fn building(c: &mut Criterion) {
    let mut group = c.benchmark_group("build");
    group.sample_size(10);
    for name in ["mlp_step", "gpt_step", "resnet18_step", "lstm_step"] {
        let Some(Ok(mut graph)) = workload(name).map(|w| w.graph(&Device::cpu())) else { continue };
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let mut total = Duration::ZERO;
                for _ in 0..n {
                    let begin = Instant::now();
                    let step = graph();
                    total += begin.elapsed();
                    step.and_then(|step| eval(&step)).unwrap_or_else(|e| eprintln!("{e}"));
                }
                total
            });
        });
    }
    group.finish();
}

/// Time of the host for one evaluation: to find the plan, to run it or hand it over.
fn replay(c: &mut Criterion) {
    for (name, device) in devices() {
        let x = start(&device);
        let step = || {
            let y = products(&x, LAUNCHES);
            let begin = Instant::now();
            black_box(eval(&y)).unwrap_or_else(|e| eprintln!("{e}"));
            (begin.elapsed(), y)
        };
        c.bench_function(&format!("replay 1,000 launches, {name}"), |b| {
            b.iter_custom(|n| {
                let mut total = Duration::ZERO;
                for _ in 0..n {
                    total += step().0;
                    device.synchronize().unwrap_or_else(|e| eprintln!("{e}"));
                }
                total
            });
        });
        // On the CPU what the kernels take themselves is part of it.
        if let Ok(kernels) = profile(&products(&x, LAUNCHES)) {
            println!("kernels of 1,000 launches, {name}: {:?}", kernels.total());
        }
    }
}

/// Forward and backward of a deep net of products and activations.
fn deep(x: &Tensor, layers: usize) -> Result<Tensor> {
    grad(x, |x| (0..layers).fold(x.clone(), |y, _| y.matmul(x).tanh()).sum_all())
}

/// Many independent expressions, summed up.
fn wide(x: &Tensor, n: usize) -> Tensor {
    let mut terms: Vec<Tensor> = (0..n).map(|k| (x + k as f64).exp()).collect();
    while terms.len() > 1 {
        let pairs = terms.chunks(2);
        terms = pairs.map(|p| if let [a, b] = p { a + b } else { p[0].clone() }).collect();
    }
    terms.pop().unwrap_or_else(|| x.clone())
}

fn planning(c: &mut Criterion) {
    let x = start(&Device::cpu());
    let mut group = c.benchmark_group("plan");
    group.sample_size(10);
    for n in [100, 1000, 10_000, 100_000] {
        let made = [
            ("chain of products", products(&x, n)),
            ("wide sum", wide(&x, n / 3)),
            ("deep net and its derivative", Tensor::from(deep(&x, n / 10))),
        ];
        for (name, graph) in made {
            group.bench_with_input(BenchmarkId::new(name, n), &graph, |b, graph| {
                b.iter(|| black_box(plan(graph, Target::CARD)).map(|p| p.launches.len()));
            });
        }
    }
    group.finish();
}

/// Batches cut out of a data set, the same one over and over and all of them in turn: one plan serves both.
fn batches(c: &mut Criterion) {
    const ROWS: usize = 64;
    const BATCHES: usize = 300;
    for (name, device) in devices() {
        let all = Tensor::rand([ROWS * BATCHES, 256], DType::F32, &device);
        let weight = Tensor::rand([256, 64], DType::F32, &device);
        eval(&(&all, &weight)).unwrap_or_else(|e| eprintln!("{e}"));
        for (which, step) in [("the same batch", 0), ("batches in turn", 1)] {
            let mut batch = 0;
            c.bench_function(&format!("{which}, {name}"), |b| {
                b.iter(|| {
                    batch = (batch + step) % BATCHES;
                    let x = all.narrow(0, batch * ROWS, ROWS);
                    eval(&x.matmul(&weight).relu()).unwrap_or_else(|e| eprintln!("{e}"));
                    device.synchronize().unwrap_or_else(|e| eprintln!("{e}"));
                });
            });
        }
    }
}

criterion_group!(benches, graph, building, replay, planning, batches);
criterion_main!(benches);
