//! Time and memory against size, a line of JSON for each point. `benches/growth.py` draws them.
//!
//! `cargo run --release --bin growth -- --device software`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use vorpal::autodiff::compile::ir::Target;
use vorpal::autodiff::plan;
use vorpal::nn::AttentionOptions;
use vorpal::prelude::*;

/// Measure how time and memory grow with size.
#[derive(Debug, Parser)]
struct Options {
    /// What runs it: `cpu`, `software`, `gpu` or a part of an adapter's name.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Sizes of which one evaluation takes longer are the last ones, in seconds.
    #[arg(long, default_value_t = 1.0)]
    longest: f64,
    /// Names of what to grow; everything without any.
    names: Vec<String>,
}

/// Builds the graph of what is computed, anew each time.
type Build = Box<dyn Fn() -> Tensor>;

/// One thing that can be made larger.
struct Family {
    name: &'static str,
    /// What the size counts.
    unit: &'static str,
    sizes: &'static [usize],
    /// What is computed, on operands that are there.
    make: fn(usize, &Device) -> Result<Build>,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "matmul",
        unit: "rows and columns",
        sizes: &[32, 64, 128, 256, 512, 1024, 2048, 4096],
        make: |n, device| {
            let [a, b] = [(); 2].map(|()| Tensor::randn([n, n], DType::F32, device));
            eval(&(&a, &b))?;
            Ok(Box::new(move || a.matmul(&b)))
        },
    },
    Family {
        name: "attention",
        unit: "rows of each of 8 causal heads of 64",
        sizes: &[64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384],
        make: |n, device| {
            let [q, k, v] = [(); 3].map(|()| Tensor::randn([1, 8, n, 64], DType::F32, device));
            eval(&(&q, &k, &v))?;
            let causal = AttentionOptions::default().causal();
            Ok(Box::new(move || q.scaled_dot_product_attention(&k, &v, causal.clone())))
        },
    },
    Family {
        name: "scan",
        unit: "elements of a running sum",
        sizes: &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24],
        make: |n, device| {
            let x = Tensor::randn([n], DType::F32, device);
            x.eval()?;
            Ok(Box::new(move || x.cumsum(0)))
        },
    },
    Family {
        name: "sort",
        unit: "elements",
        sizes: &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20],
        make: |n, device| {
            let x = Tensor::randn([n], DType::F32, device);
            x.eval()?;
            Ok(Box::new(move || x.sort(0, false).0))
        },
    },
];

/// Nodes of one layer of `graph`.
const LAYER_NODES: usize = 5;
/// Nodes of graphs that are planned.
const NODES: [usize; 7] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let device = Device::named(&options.device)?;
    let target = Target::of(device.info());
    let asked = |name: &str| options.names.is_empty() || options.names.iter().any(|n| n == name);
    for family in FAMILIES.iter().filter(|family| asked(family.name)) {
        for &size in family.sizes {
            let make = (family.make)(size, &device)?;
            let memory = plan(&make(), target)?.peak_bytes();
            let step = || {
                make().eval()?;
                device.synchronize()
            };
            step()?;
            let time = median(options.longest, step)?;
            tell(family.name, family.unit, &options.device, size, time, memory);
            if time.as_secs_f64() > options.longest {
                break;
            }
        }
    }
    if asked("planning") {
        for nodes in NODES {
            let (root, unit) = (graph(nodes, &device), "nodes of a graph");
            let mut memory = 0;
            let step = || {
                memory = plan(&root, target)?.peak_bytes();
                Ok(())
            };
            let time = median(options.longest, step)?;
            tell("planning", unit, &options.device, nodes, time, memory);
            if time.as_secs_f64() > 10.0 * options.longest {
                break;
            }
        }
    }
    Ok(())
}

/// The median of some runs, of fewer where they are long.
fn median(longest: f64, mut f: impl FnMut() -> Result<()>) -> Result<Duration> {
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || (times.len() < 15 && start.elapsed().as_secs_f64() < longest) {
        let from = Instant::now();
        f()?;
        times.push(from.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Layers of a product, a bias, a function and a normalisation of rows, as models have them: nothing fuses from one
/// end to the other.
fn graph(nodes: usize, device: &Device) -> Tensor {
    let draw = |shape: [usize; 2]| Tensor::randn(shape, DType::F32, device);
    let (mut x, weight, bias) = (draw([4, 8]), draw([8, 8]), draw([1, 8]));
    for _ in 0..nodes.div_ceil(LAYER_NODES) {
        x = (x.matmul(&weight) + &bias).tanh();
        x = &x - x.mean_keepdim(-1);
    }
    x
}

fn tell(name: &str, unit: &str, device: &str, size: usize, time: Duration, bytes: usize) {
    let ms = time.as_secs_f64() * 1e3;
    println!(
        "{{\"name\":\"{name}\",\"unit\":\"{unit}\",\"device\":\"{device}\",\"size\":{size},\"ms\":{ms:.4},\"bytes\":{bytes}}}"
    );
}
