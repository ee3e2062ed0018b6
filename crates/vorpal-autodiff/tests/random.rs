//! Random families: moments and Kolmogorov-Smirnov distances of 100,000 draws, on every device.

#![allow(clippy::expect_used)]

mod common;

use common::devices;
use vorpal_autodiff::{DType, Device, Tensor};

const DRAWS: usize = 100_000;

/// Kolmogorov-Smirnov distance that 100,000 draws exceed once in 1,000 times (Kolmogorov 1933): 1.95 ∕ √n.
const DISTANCE_MAX: f64 = 1.95 / 316.227_766;

fn numbers(x: &Tensor) -> Vec<f64> {
    x.cast(DType::F32).to_vec::<f32>().expect("values").into_iter().map(f64::from).collect()
}

/// Fails unless draws follow a distribution function and have its mean and variance within 4 standard errors.
fn check(what: &str, device: &Device, x: &Tensor, cdf: impl Fn(f64) -> f64, mean: f64, variance: f64) {
    let mut drawn = numbers(x);
    let n = drawn.len() as f64;
    let found = drawn.iter().sum::<f64>() / n;
    let squares: Vec<f64> = drawn.iter().map(|v| (v - mean).powi(2)).collect();
    let spread = squares.iter().sum::<f64>() / n;
    // The error of the variance follows from the fourth moment.
    let fourth = squares.iter().map(|v| (v - spread).powi(2)).sum::<f64>() / n;
    assert!(
        (found - mean).abs() < 4.0 * (variance / n).sqrt(),
        "{what} on {device}: mean {found}, not {mean}"
    );
    assert!(
        (spread - variance).abs() < 4.0 * (fourth / n).sqrt(),
        "{what} on {device}: variance {spread}, not {variance}"
    );
    drawn.sort_unstable_by(f64::total_cmp);
    let mut distance = 0.0f64;
    for (k, &v) in drawn.iter().enumerate() {
        let p = cdf(v);
        distance = distance.max((p - k as f64 / n).abs()).max((p - (k + 1) as f64 / n).abs());
    }
    println!("{what} on {device}: mean {found:.4}, variance {spread:.4}, distance {distance:.5}");
    assert!(distance < DISTANCE_MAX, "{what} on {device}: distance {distance}");
}

fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// The regularised lower incomplete gamma function by its series.
fn gamma_cdf(shape: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let (mut term, mut sum, mut k) = (1.0 / shape, 1.0 / shape, shape);
    while term > sum * 1e-14 {
        k += 1.0;
        term *= x / k;
        sum += term;
    }
    (sum.ln() + shape * x.ln() - x - libm::lgamma(shape)).exp().min(1.0)
}

/// The regularised incomplete beta function by its continued fraction (Lentz).
fn beta_cdf(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_cdf(b, a, 1.0 - x);
    }
    let front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    let keep = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / keep(1.0 - (a + b) * x / (a + 1.0)));
    let mut out = d;
    for k in 1..300 {
        let m = f64::from(k);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        out *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        out *= d * c;
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front.exp() * out / a
}

#[test]
fn families_follow_their_distributions() {
    for device in devices() {
        let _keys = device.fork_rng(11);
        simple(&device);
        gammas(&device);
        discrete(&device);
    }
}

fn simple(device: &Device) {
    let (n, f32) = ([DRAWS], DType::F32);
    let x = Tensor::uniform(n, -1.0, 3.0, f32, device);
    check("uniform", device, &x, |v| (v + 1.0) / 4.0, 1.0, 16.0 / 12.0);
    check("normal", device, &Tensor::normal(n, 2.0, 0.5, f32, device), |v| phi((v - 2.0) / 0.5), 2.0, 0.25);
    let x = Tensor::exponential(n, 2.0, f32, device);
    check("exponential", device, &x, |v| 1.0 - (-2.0 * v).exp(), 0.5, 0.25);
    let euler = 0.577_215_664_9;
    let variance = std::f64::consts::PI.powi(2) / 6.0;
    check("gumbel", device, &Tensor::gumbel(n, f32, device), |v| (-(-v).exp()).exp(), euler, variance);
    for (low, high) in [(-2.0, 2.0), (-0.5, 3.0), (1.0, 1.5), (-5.0, 5.0), (2.0, 4.0)] {
        let x = Tensor::truncated_normal(n, low, high, f32, device);
        let mass = phi(high) - phi(low);
        let density = |v: f64| (-v * v / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let mean = (density(low) - density(high)) / mass;
        let variance = 1.0 + (low * density(low) - high * density(high)) / mass - mean * mean;
        let what = format!("truncated_normal in {low}..{high}");
        check(&what, device, &x, |v| (phi(v) - phi(low)) / mass, mean, variance);
        assert!(numbers(&x).iter().all(|v| (low..=high).contains(v)), "{what}");
    }
}

fn gammas(device: &Device) {
    let full = |v: f64| Tensor::full([DRAWS], v, DType::F32, device);
    for shape in [0.2, 0.9, 1.0, 3.5, 40.0] {
        let what = format!("gamma of {shape}");
        check(&what, device, &full(shape).gamma(), |v| gamma_cdf(shape, v), shape, shape);
    }
    for (a, b) in [(0.5, 0.5), (2.0, 5.0), (0.1, 0.3)] {
        let (mean, sum) = (a / (a + b), a + b);
        let variance = mean * (1.0 - mean) / (sum + 1.0);
        let x = full(a).beta(&full(b));
        check(&format!("beta of {a}, {b}"), device, &x, |v| beta_cdf(a, b, v), mean, variance);
    }
    let shapes = Tensor::from_slice(&[0.5f32, 1.0, 2.5], [3], device).broadcast_to([DRAWS, 3]);
    let x = shapes.dirichlet();
    let sums = numbers(&x.sum(-1));
    assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-5));
    for (k, a) in [0.5, 1.0, 2.5].into_iter().enumerate() {
        let mean = a / 4.0;
        let part = x.narrow(1, k, 1).reshape([DRAWS]);
        let variance = mean * (1.0 - mean) / 5.0;
        check(&format!("dirichlet, part {k}"), device, &part, |v| beta_cdf(a, 4.0 - a, v), mean, variance);
    }
    let none = Tensor::from_slice(&[-1.0f32, 0.0], [2], device).gamma().to_vec::<f32>().expect("values");
    assert!(none.iter().all(|v| v.is_nan()), "{none:?}");
}

/// Pearson's statistic of counts against probabilities, compared with what it exceeds once in 1,000 times for some
/// degrees of freedom.
fn pearson(what: &str, counts: &[usize], probabilities: &[f64], most: f64) {
    let n: usize = counts.iter().sum();
    let parts = counts.iter().zip(probabilities).filter(|(_, p)| **p > 0.0);
    let statistic: f64 = parts.map(|(&c, p)| (c as f64 - p * n as f64).powi(2) / (p * n as f64)).sum();
    println!("{what}: chi² {statistic:.2}");
    assert!(statistic < most, "{what}: {counts:?}");
    assert!(counts.iter().zip(probabilities).all(|(&c, &p)| p > 0.0 || c == 0), "{what}: {counts:?}");
}

fn counts(x: &Tensor, low: i32, classes: usize) -> Vec<usize> {
    let mut out = vec![0; classes];
    for v in x.to_vec::<i32>().expect("values") {
        out[(v - low) as usize] += 1;
    }
    out
}

fn discrete(device: &Device) {
    let n = [DRAWS];
    let probabilities = [0.1, 0.25, 0.0, 0.6, 0.05];
    let logits: Vec<f32> = probabilities.iter().map(|&p: &f64| p.ln().max(-1e30) as f32).collect();
    let logits = Tensor::from_slice(&logits, [5], device);
    pearson("categorical", &counts(&logits.categorical(DRAWS), 0, 5), &probabilities, 16.27);
    let rows = logits.broadcast_to([4, 2, 5]).categorical(3);
    assert_eq!(rows.shape().dims(), &[4, 2, 3]);
    assert_eq!(rows.dtype(), DType::I32);
    pearson(
        "randint",
        &counts(&Tensor::randint(n, -3, 4, DType::I32, device), -3, 7),
        &[1.0 / 7.0; 7],
        22.46,
    );
    let kept = Tensor::full(n, 0.3, DType::F32, device).bernoulli();
    pearson("bernoulli", &counts(&kept.cast(DType::I32), 0, 2), &[0.7, 0.3], 10.83);
    let sure = Tensor::from_slice(&[0.0f32, 1.0], [2], device).broadcast_to([DRAWS, 2]).bernoulli();
    assert_eq!(sure.sum(0).to_vec::<f32>(), Ok(vec![0.0, DRAWS as f32]));
}

#[test]
fn what_only_scales_and_compares_is_the_same_everywhere() {
    let mut seen = Vec::new();
    for device in devices() {
        let _keys = device.fork_rng(3);
        let drawn: Vec<Tensor> = vec![
            Tensor::uniform([1000], -0.7, 0.1, DType::F32, &device),
            Tensor::randint([1000], 0, 1000, DType::F32, &device),
            Tensor::full([1000], 0.37, DType::F32, &device).bernoulli(),
        ];
        seen.push(drawn.iter().map(|x| x.to_vec::<f32>().expect("values")).collect::<Vec<_>>());
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn misfits_say_so() {
    let device = Device::cpu();
    let whole = Tensor::zeros([2], DType::I32, &device);
    let x = Tensor::ones([2], DType::F32, &device);
    let f32 = DType::F32;
    let wrong = [
        (Tensor::uniform([2], 1.0, 0.0, f32, &device), "uniform: 1 is not below 0"),
        (Tensor::uniform([2], 0.0, 1.0, DType::I32, &device), "uniform: needs floats, asked for i32"),
        (Tensor::randint([2], 3, 3, DType::I32, &device), "randint: 3..3 does not hold"),
        (Tensor::randint([2], 0, 3, DType::Bool, &device), "randint: needs numbers, asked for bool"),
        (Tensor::normal([2], 0.0, -1.0, f32, &device), "normal: a standard deviation of -1"),
        (Tensor::truncated_normal([2], 1.0, 1.0, f32, &device), "truncated_normal: 1 is not below 1"),
        (Tensor::exponential([2], 0.0, f32, &device), "exponential: a rate of 0"),
        (Tensor::gumbel([2], DType::I32, &device), "gumbel: needs floats"),
        (whole.bernoulli(), "bernoulli: needs floats"),
        (whole.categorical(3), "categorical: logits must be floats, found i32"),
        (x.sum(0).categorical(3), "categorical: needs logits […, classes]"),
        (whole.gamma(), "gamma: needs floats"),
        (x.beta(&Tensor::ones([3], f32, &device)), "beta: shapes [2] and [3] do not broadcast"),
        (x.sum(0).dirichlet(), "dirichlet: needs an axis of concentrations"),
    ];
    for (tensor, text) in wrong {
        let error = tensor.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("random.rs:"), "{error}");
    }
}
