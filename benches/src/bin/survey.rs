//! Single ops of many kinds natively, a line each: name, milliseconds, milliseconds with the derivative. `benches/survey.py`
//! runs the same in PyTorch and writes a table of both.
//!
//! `cargo run --release --bin survey -- conv topk`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use vorpal::autodiff::ops::{
    AttentionOptions, Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvTranspose2dOptions, FftNorm,
    Interpolation, Padding, Pool2dOptions, QrMode, Unfold2dOptions,
};
use vorpal::prelude::*;

/// Measure ops one by one.
#[derive(Debug, Parser)]
struct Options {
    /// What runs them: `cpu`, `software`, `gpu` or a part of an adapter's name.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seconds for each.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Parts of names of ops; all of them without any.
    names: Vec<String>,
}

/// An op on operands that are there.
struct Case {
    name: &'static str,
    operands: Vec<Tensor>,
    /// By how many of the operands the derivative is taken.
    variables: usize,
    f: fn(&[Tensor]) -> Tensor,
}

fn case(name: &'static str, operands: Vec<Tensor>, variables: usize, f: fn(&[Tensor]) -> Tensor) -> Case {
    Case { name, operands, variables, f }
}

fn normal(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::randn(shape, DType::F32, device)
}

fn indices(device: &Device, shape: &[usize], below: i32) -> Tensor {
    Tensor::randint(shape, 0, below, DType::I32, device)
}

fn scans_and_orders(d: &Device) -> Vec<Case> {
    vec![
        case("cumsum_last", vec![normal(d, &[1024, 4096])], 1, |x| x[0].cumsum(-1)),
        case("cumsum_first", vec![normal(d, &[4096, 1024])], 1, |x| x[0].cumsum(0)),
        case("cumprod", vec![normal(d, &[1024, 1024])], 0, |x| x[0].cumprod(-1)),
        case("cummax", vec![normal(d, &[1024, 1024])], 0, |x| x[0].cummax(-1).0),
        case("sort_rows", vec![normal(d, &[1024, 1024])], 0, |x| x[0].sort(-1, false).0),
        case("sort_1m", vec![normal(d, &[1 << 20])], 0, |x| x[0].sort(-1, false).0),
        case("topk_8_of_50k", vec![normal(d, &[64, 50000])], 0, |x| x[0].topk(8, -1, true).0),
        case("topk_8_of_1k", vec![normal(d, &[4096, 1024])], 0, |x| x[0].topk(8, -1, true).0),
        case("median", vec![normal(d, &[1024, 1024])], 0, |x| x[0].median(-1)),
        case("bincount", vec![indices(d, &[1 << 20], 1000)], 0, |x| x[0].bincount(1000)),
        case(
            "searchsorted",
            vec![Tensor::linspace(-3.0, 3.0, 4096, DType::F32, d), normal(d, &[1 << 20])],
            0,
            |x| x[0].searchsorted(&x[1], false),
        ),
    ]
}

fn reductions(d: &Device) -> Vec<Case> {
    vec![
        case("argmax", vec![normal(d, &[4096, 1024])], 0, |x| x[0].argmax(-1)),
        case("argmax_first", vec![normal(d, &[1024, 4096])], 0, |x| x[0].argmax(0)),
        case("max_first", vec![normal(d, &[1024, 4096])], 0, |x| x[0].max(0)),
        case("sum_first", vec![normal(d, &[1024, 4096])], 0, |x| x[0].sum(0)),
        case("sum_middle", vec![normal(d, &[64, 256, 256])], 0, |x| x[0].sum(1)),
        case("mean_of_channels", vec![normal(d, &[16, 64, 56, 56])], 1, |x| x[0].mean([0, 2, 3])),
        case("sum_short", vec![normal(d, &[512, 512, 3, 4])], 0, |x| x[0].sum(2)),
        case("var", vec![normal(d, &[4096, 1024])], 1, |x| x[0].var(-1, 1)),
        case("norm", vec![normal(d, &[4096, 1024])], 1, |x| x[0].norm(2.0, -1)),
        case("logsumexp", vec![normal(d, &[4096, 1024])], 1, |x| x[0].logsumexp(-1)),
        case("log_softmax", vec![normal(d, &[512, 50257])], 1, |x| x[0].log_softmax(-1)),
        case("cross_entropy_50k", vec![normal(d, &[512, 50257]), indices(d, &[512], 50257)], 1, |x| {
            x[0].cross_entropy(&x[1])
        }),
        case("cross_entropy_128k", vec![normal(d, &[256, 128256]), indices(d, &[256], 128256)], 1, |x| {
            x[0].cross_entropy(&x[1])
        }),
        case("softmax_of_50k", vec![normal(d, &[1, 50257])], 0, |x| x[0].softmax(-1)),
    ]
}

fn arrangements(d: &Device) -> Vec<Case> {
    vec![
        case("transpose", vec![normal(d, &[2048, 2048])], 0, |x| x[0].transpose(0, 1).contiguous()),
        case("permute_0213", vec![normal(d, &[16, 128, 8, 64])], 0, |x| {
            x[0].permute([0, 2, 1, 3]).contiguous()
        }),
        case("permute_nchw_nhwc", vec![normal(d, &[16, 64, 56, 56])], 0, |x| {
            x[0].permute([0, 2, 3, 1]).contiguous()
        }),
        case("concat_last", vec![normal(d, &[2048, 512]), normal(d, &[2048, 512])], 0, |x| {
            Tensor::concat(&[&x[0], &x[1]], -1)
        }),
        case("pad", vec![normal(d, &[16, 64, 56, 56])], 0, |x| x[0].pad(2, 1, 1, 0.0).pad(3, 1, 1, 0.0)),
        case("roll", vec![normal(d, &[2048, 1024])], 0, |x| x[0].roll(7, -1)),
        case("repeat_interleave", vec![normal(d, &[1024, 1024])], 1, |x| x[0].repeat_interleave(4, 0)),
        case("tril", vec![normal(d, &[2048, 2048])], 0, |x| x[0].tril(0)),
        case("one_hot", vec![indices(d, &[8192], 1000)], 0, |x| x[0].one_hot(1000, DType::F32)),
        case("pixel_shuffle", vec![normal(d, &[8, 64, 64, 64])], 1, |x| x[0].pixel_shuffle(2)),
        case("unfold2d", vec![normal(d, &[8, 32, 56, 56])], 1, |x| {
            x[0].unfold2d([3, 3], Unfold2dOptions::default())
        }),
    ]
}

fn numbers(d: &Device) -> Vec<Case> {
    vec![
        case("index_select", vec![normal(d, &[50000, 256]), indices(d, &[8192], 50000)], 1, |x| {
            x[0].index_select(0, &x[1])
        }),
        case("embedding", vec![normal(d, &[50000, 256]), indices(d, &[32, 128], 50000)], 1, |x| {
            x[0].embedding(&x[1])
        }),
        case("gather_last", vec![normal(d, &[4096, 1024]), indices(d, &[4096, 256], 1024)], 1, |x| {
            x[0].gather(-1, &x[1])
        }),
        case("gather_first", vec![normal(d, &[4096, 1024]), indices(d, &[256, 1024], 4096)], 1, |x| {
            x[0].gather(0, &x[1])
        }),
        case(
            "scatter_add_first",
            vec![normal(d, &[4096, 256]), indices(d, &[16384, 256], 4096), normal(d, &[16384, 256])],
            0,
            |x| x[0].scatter_add(0, &x[1], &x[2]),
        ),
        case(
            "index_add",
            vec![normal(d, &[4096, 256]), indices(d, &[65536], 4096), normal(d, &[65536, 256])],
            0,
            |x| x[0].index_add(0, &x[1], &x[2]),
        ),
        case("segment_sum", vec![normal(d, &[65536, 64]), indices(d, &[65536], 4096)], 1, |x| {
            x[0].segment_sum(&x[1], 4096, false)
        }),
    ]
}

fn pointwise(d: &Device) -> Vec<Case> {
    vec![
        case("gelu", vec![normal(d, &[4096, 1024])], 1, |x| x[0].gelu()),
        case("silu", vec![normal(d, &[4096, 1024])], 1, |x| x[0].silu()),
        case("tanh", vec![normal(d, &[4096, 1024])], 1, |x| x[0].tanh()),
        case("sin", vec![normal(d, &[4096, 1024])], 1, |x| x[0].sin()),
        case("log", vec![normal(d, &[4096, 1024])], 0, |x| x[0].abs().log()),
        case("pow", vec![normal(d, &[4096, 1024])], 0, |x| x[0].abs().pow(1.7)),
        case("erf", vec![normal(d, &[4096, 1024])], 0, |x| x[0].erf()),
        case("sqrt", vec![normal(d, &[4096, 1024])], 0, |x| x[0].abs().sqrt()),
        case("add_row", vec![normal(d, &[4096, 1024]), normal(d, &[1024])], 2, |x| &x[0] + &x[1]),
        case("mul_column", vec![normal(d, &[4096, 1024]), normal(d, &[4096, 1])], 2, |x| &x[0] * &x[1]),
        case("where", vec![normal(d, &[4096, 1024])], 1, |x| x[0].gt(0.0).select(&x[0], 0.0)),
        case("to_f16", vec![normal(d, &[4096, 1024])], 0, |x| x[0].cast(DType::F16)),
        case("to_bf16", vec![normal(d, &[4096, 1024])], 0, |x| x[0].cast(DType::BF16)),
    ]
}

fn norms(d: &Device) -> Vec<Case> {
    vec![
        case("group_norm", vec![normal(d, &[8, 64, 56, 56]), normal(d, &[64]), normal(d, &[64])], 3, |x| {
            x[0].group_norm(8, Some(&x[1]), Some(&x[2]), 1e-5)
        }),
        case("instance_norm", vec![normal(d, &[8, 64, 224, 224])], 1, |x| {
            x[0].instance_norm(None, None, 1e-5)
        }),
        case("layer_norm_768", vec![normal(d, &[4096, 768]), normal(d, &[768]), normal(d, &[768])], 3, |x| {
            x[0].layer_norm(Some(&x[1]), Some(&x[2]), 1e-5)
        }),
        case("rms_norm", vec![normal(d, &[4096, 768]), normal(d, &[768])], 2, |x| {
            x[0].rms_norm(Some(&x[1]), 1e-5)
        }),
    ]
}

fn pools(d: &Device) -> Vec<Case> {
    vec![
        case("max_pool2d", vec![normal(d, &[16, 64, 112, 112])], 1, |x| x[0].max_pool2d(2)),
        case("max_pool_3_2", vec![normal(d, &[16, 64, 56, 56])], 1, |x| {
            x[0].max_pool2d(Pool2dOptions { stride: [2, 2], padding: [1, 1], ..[3, 3].into() })
        }),
        case("avg_pool2d", vec![normal(d, &[16, 64, 112, 112])], 1, |x| x[0].avg_pool2d(2)),
        case("adaptive_avg", vec![normal(d, &[16, 64, 56, 56])], 1, |x| x[0].adaptive_avg_pool2d([7, 7])),
        case("bilinear_up2", vec![normal(d, &[8, 32, 64, 64])], 1, |x| {
            x[0].interpolate(&[128, 128], Interpolation::Linear, false)
        }),
        case("nearest_up2", vec![normal(d, &[8, 32, 64, 64])], 1, |x| {
            x[0].interpolate(&[128, 128], Interpolation::Nearest, false)
        }),
    ]
}

fn convolutions(d: &Device) -> Vec<Case> {
    vec![
        case("conv1d", vec![normal(d, &[16, 64, 1024]), normal(d, &[64, 64, 5])], 2, |x| {
            x[0].conv1d(&x[1], None, Conv1dOptions { padding: Padding::Zeros([2]), ..Default::default() })
        }),
        case("conv_depthwise_3", vec![normal(d, &[8, 128, 56, 56]), normal(d, &[128, 1, 3, 3])], 2, |x| {
            x[0].conv2d(
                &x[1],
                None,
                Conv2dOptions { padding: Padding::Zeros([1, 1]), groups: 128, ..Default::default() },
            )
        }),
        case("conv_depthwise_7", vec![normal(d, &[8, 96, 56, 56]), normal(d, &[96, 1, 7, 7])], 2, |x| {
            x[0].conv2d(
                &x[1],
                None,
                Conv2dOptions { padding: Padding::Zeros([3, 3]), groups: 96, ..Default::default() },
            )
        }),
        case("conv1d_depthwise_4", vec![normal(d, &[8, 1024, 512]), normal(d, &[1024, 1, 4])], 2, |x| {
            x[0].conv1d(
                &x[1],
                None,
                Conv1dOptions { padding: Padding::Zeros([3]), groups: 1024, ..Default::default() },
            )
        }),
        case("conv_1x1", vec![normal(d, &[8, 256, 28, 28]), normal(d, &[256, 256, 1, 1])], 2, |x| {
            x[0].conv2d(&x[1], None, Conv2dOptions { ..Default::default() })
        }),
        case("conv_stride2", vec![normal(d, &[8, 64, 56, 56]), normal(d, &[128, 64, 3, 3])], 2, |x| {
            x[0].conv2d(
                &x[1],
                None,
                Conv2dOptions { padding: Padding::Zeros([1, 1]), stride: [2, 2], ..Default::default() },
            )
        }),
        case("conv_7_rgb", vec![normal(d, &[8, 3, 224, 224]), normal(d, &[64, 3, 7, 7])], 2, |x| {
            x[0].conv2d(
                &x[1],
                None,
                Conv2dOptions { padding: Padding::Zeros([3, 3]), stride: [2, 2], ..Default::default() },
            )
        }),
        case("conv_patch16", vec![normal(d, &[8, 3, 224, 224]), normal(d, &[384, 3, 16, 16])], 2, |x| {
            x[0].conv2d(&x[1], None, Conv2dOptions { stride: [16, 16], ..Default::default() })
        }),
        case("conv_dilated", vec![normal(d, &[8, 64, 56, 56]), normal(d, &[64, 64, 3, 3])], 2, |x| {
            x[0].conv2d(
                &x[1],
                None,
                Conv2dOptions { padding: Padding::Zeros([2, 2]), dilation: [2, 2], ..Default::default() },
            )
        }),
        case("conv_groups4", vec![normal(d, &[8, 128, 56, 56]), normal(d, &[128, 32, 3, 3])], 2, |x| {
            x[0].conv2d(
                &x[1],
                None,
                Conv2dOptions { padding: Padding::Zeros([1, 1]), groups: 4, ..Default::default() },
            )
        }),
        case("conv3d", vec![normal(d, &[2, 16, 16, 32, 32]), normal(d, &[32, 16, 3, 3, 3])], 2, |x| {
            x[0].conv3d(
                &x[1],
                None,
                Conv3dOptions { padding: Padding::Zeros([1, 1, 1]), ..Default::default() },
            )
        }),
        case("conv_transpose2d", vec![normal(d, &[8, 64, 28, 28]), normal(d, &[64, 32, 4, 4])], 2, |x| {
            x[0].conv_transpose2d(
                &x[1],
                None,
                ConvTranspose2dOptions { stride: [2, 2], padding: [1, 1], ..Default::default() },
            )
        }),
    ]
}

fn products(d: &Device) -> Vec<Case> {
    vec![
        case("einsum_bij", vec![normal(d, &[32, 128, 64]), normal(d, &[32, 256, 64])], 2, |x| {
            Tensor::einsum("bij,bkj->bik", &[&x[0], &x[1]])
        }),
        case("einsum_bhqk", vec![normal(d, &[8, 128, 8, 64]), normal(d, &[8, 128, 8, 64])], 2, |x| {
            Tensor::einsum("bqhd,bkhd->bhqk", &[&x[0], &x[1]])
        }),
        case("bmm_small", vec![normal(d, &[1024, 16, 16]), normal(d, &[1024, 16, 16])], 2, |x| {
            x[0].matmul(&x[1])
        }),
        case("matmul_8x1024", vec![normal(d, &[8, 1024]), normal(d, &[1024, 1024])], 2, |x| {
            x[0].matmul(&x[1])
        }),
        case("matmul_256", vec![normal(d, &[256, 256]), normal(d, &[256, 256])], 2, |x| x[0].matmul(&x[1])),
        case("matmul_64", vec![normal(d, &[64, 64]), normal(d, &[64, 64])], 0, |x| x[0].matmul(&x[1])),
        case(
            "attention_causal",
            vec![normal(d, &[4, 8, 256, 64]), normal(d, &[4, 8, 256, 64]), normal(d, &[4, 8, 256, 64])],
            3,
            |x| {
                x[0].scaled_dot_product_attention(
                    &x[1],
                    &x[2],
                    AttentionOptions { causal: true, ..AttentionOptions::default() },
                )
            },
        ),
        case(
            "attention_decode",
            vec![normal(d, &[1, 12, 1, 64]), normal(d, &[1, 12, 1024, 64]), normal(d, &[1, 12, 1024, 64])],
            0,
            |x| x[0].scaled_dot_product_attention(&x[1], &x[2], AttentionOptions::default()),
        ),
        case("cdist", vec![normal(d, &[1024, 64]), normal(d, &[1024, 64])], 1, |x| x[0].cdist(&x[1], 2.0)),
        case("cdist_l1", vec![normal(d, &[512, 64]), normal(d, &[512, 64])], 1, |x| x[0].cdist(&x[1], 1.0)),
    ]
}

fn transforms_and_solvers(d: &Device) -> Vec<Case> {
    vec![
        case("fft_1024", vec![normal(d, &[1024, 1024])], 0, |x| x[0].rfft(-1, FftNorm::Backward).real()),
        case("fft_64k", vec![normal(d, &[16, 65536])], 0, |x| x[0].rfft(-1, FftNorm::Backward).real()),
        case("solve_256", vec![normal(d, &[256, 256]), normal(d, &[256, 16])], 1, |x| x[0].solve(&x[1])),
        case("inv_64x32", vec![normal(d, &[64, 32, 32])], 1, |x| x[0].inv()),
        case("qr_256", vec![normal(d, &[256, 64])], 0, |x| x[0].qr(QrMode::Reduced).1),
    ]
}

/// The median of the milliseconds that `run` takes.
fn median(seconds: f64, run: impl Fn() -> Result<()>) -> Result<f64> {
    const WARM: usize = 3;
    const LEAST: usize = 5;
    let begin = Instant::now();
    for _ in 0..WARM {
        run()?;
    }
    let mut times: Vec<Duration> = Vec::new();
    while times.len() < LEAST || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e3)
}

fn measure(case: &Case, seconds: f64) -> Result<()> {
    let Case { name, operands, variables, f } = case;
    eval(operands)?;
    let forward = median(seconds, || eval(&f(operands)))?;
    let mut both = 0.0;
    if *variables > 0 {
        let like = f(operands);
        let cotangent = Tensor::randn(like.shape(), DType::F32, &like.device()?);
        eval(&cotangent)?;
        let (at, rest) = operands.split_at(*variables);
        both = median(seconds, || {
            let loss = |at: &Vec<Tensor>| (f(&[at, rest].concat()) * &cotangent).sum_all();
            eval(&value_and_grad(&at.to_vec(), loss)?)
        })?;
    }
    println!("{name} {forward:.4} {both:.4}");
    Ok(())
}

fn run() -> Result<()> {
    let options = Options::parse();
    let device = Device::named(&options.device)?;
    let families = [
        scans_and_orders,
        reductions,
        arrangements,
        numbers,
        pointwise,
        norms,
        pools,
        convolutions,
        products,
        transforms_and_solvers,
    ];
    for case in families.into_iter().flat_map(|family| family(&device)) {
        if options.names.is_empty() || options.names.iter().any(|part| case.name.contains(part.as_str())) {
            measure(&case, options.seconds)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
