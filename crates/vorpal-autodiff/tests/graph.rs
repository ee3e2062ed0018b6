//! The graph as a whole: long sums, plans, evaluation, randomness.

#![allow(clippy::expect_used)]

mod common;

use common::devices;
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{DType, Device, Tensor, eval, grad, plan, profile, vjp};

fn counting(shape: &[usize], device: &Device) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_slice(&(0..n).map(|k| k as f32).collect::<Vec<_>>(), shape, device)
}

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec::<f32>().expect("values")
}

#[test]
fn long_sums_are_right_on_every_device() {
    let n = 1usize << 24;
    for device in devices() {
        let ones = Tensor::iota([n], 0, DType::I32, &device).cast(DType::F32).full_like(1.0);
        // The sum of 2²⁴ ones is a power of two: exact in f32 when no element is lost or counted twice.
        let materialised = ones.contiguous();
        materialised.eval().expect("64 MiB");
        assert_eq!(materialised.sum_all().item::<f32>(), Ok(n as f32), "{device}");
        let odd = Tensor::full([1_000_003], 1.0, DType::F32, &device).contiguous();
        assert_eq!(odd.sum_all().item::<f32>(), Ok(1_000_003.0), "{device}");
        let wide = Tensor::full([40_000, 3], 1.0, DType::F32, &device).contiguous();
        assert_eq!(values(&wide.sum(0)), [40_000.0; 3], "{device}");
    }
}

#[test]
fn evaluating_inside_a_derivative_changes_nothing() {
    let x = counting(&[3], &Device::cpu());
    let g = grad(&x, |x| {
        let square = x * x;
        assert_eq!(values(&square), [0.0, 1.0, 4.0]);
        (square * x).sum_all()
    });
    assert_eq!(values(&g.expect("a derivative")), [0.0, 3.0, 12.0]);
}

#[test]
fn old_values_stay_what_they_were() {
    for device in devices() {
        let old = counting(&[4], &device);
        let view = old.slice(0, 1..3);
        let new = &old + 1.0;
        eval(&new).expect("room");
        assert_eq!(values(&old), [0.0, 1.0, 2.0, 3.0], "{device}");
        drop(old);
        let newer = &new * 2.0;
        drop(new);
        assert_eq!(values(&newer), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(values(&view), [1.0, 2.0]);
    }
}

#[test]
fn a_vector_jacobian_product_takes_any_cotangent() {
    let x = counting(&[3], &Device::cpu());
    let (y, back) = vjp(&x, |x| x * x).expect("a graph");
    assert_eq!(values(&y), [0.0, 1.0, 4.0]);
    let cotangent = Tensor::from_slice(&[1.0f32, 10.0, 100.0], [3], &Device::cpu());
    assert_eq!(values(&back(&cotangent).expect("it fits")), [0.0, 20.0, 400.0]);
    assert!(back(&counting(&[2], &Device::cpu())).is_err());
    assert!(grad(&x, |x| x * x).is_err(), "not a scalar");
}

#[test]
fn randomness_follows_the_seed_and_is_the_same_everywhere() {
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for device in devices() {
        let _keys = device.fork_rng(5);
        let (a, b) = (Tensor::rand([1000], DType::F32, &device), Tensor::rand([1000], DType::F32, &device));
        let normal = Tensor::randn([20_000], DType::F32, &device);
        let (a, b) = (values(&a), values(&b));
        assert_ne!(a, b);
        assert!(a.iter().all(|v| (0.0..1.0).contains(v)));
        let n = values(&normal);
        let mean = n.iter().map(|&v| f64::from(v)).sum::<f64>() / 2e4;
        let var = n.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 2e4;
        // Four standard errors.
        assert!(
            mean.abs() < 4.0 / 2e4f64.sqrt() && (var - 1.0).abs() < 4.0 * (2.0 / 2e4f64).sqrt(),
            "{mean} {var}"
        );
        let kept = Tensor::ones([10_000], DType::F32, &device).dropout(0.25);
        let kept = values(&kept);
        assert!(kept.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
        let share = kept.iter().filter(|&&v| v != 0.0).count();
        assert!((7300..7700).contains(&share), "{share}");
        seen.push(a);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_profile_is_an_evaluation_that_tells_its_time() {
    for device in devices() {
        let x = counting(&[64, 64], &device);
        eval(&x).expect("room");
        let step = |x: &Tensor| (x.matmul(x).softmax(-1), x.sum_all());
        let timed = step(&x);
        let found = profile(&timed).expect("a profile");
        let names: Vec<&str> = found.launches.iter().map(|l| l.kernel).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(found.launches.iter().all(|l| l.cost.bytes > 0 && l.time.as_secs() < 60), "{found}");
        assert_eq!(found.to_string().lines().count(), 4);
        assert_eq!(values(&timed.1), values(&step(&x).1));
        assert!(profile(&timed).expect("nothing to do").launches.is_empty());
    }
}

#[test]
fn a_plan_tells_what_it_moves() {
    let x = counting(&[64, 32], &Device::cpu());
    let y = x.softmax(-1);
    let cost = plan(&y, Target::NATIVE).expect("a plan").cost();
    // One launch that reads and writes everything once.
    assert_eq!((cost.bytes, cost.bytes_least), (2 * 64 * 32 * 4, 2 * 64 * 32 * 4));
    assert!(cost.flops >= 3 * 64 * 32);
    // The product goes through memory once in between.
    let cost = plan(&y.t().matmul(&x), Target::NATIVE).expect("a plan").cost();
    assert_eq!(cost.bytes_least, (64 * 32 + 32 * 32) * 4);
    assert_eq!(cost.bytes, (2 * 64 * 32 + 2 * 64 * 32 + 32 * 32) * 4);
}

#[test]
fn deep_graphs_neither_overflow_nor_slow_down() {
    let mut x = Tensor::zeros([1], DType::F32, &Device::cpu());
    for _ in 0..20_000 {
        x = x.stop_gradient();
    }
    assert_eq!(values(&(&x + 1.0)), [1.0]);
    drop(x);
}

#[test]
fn values_show_themselves() {
    let x = counting(&[2, 2], &Device::cpu());
    let text = x.to_string();
    assert!(text.starts_with("[[0.0000, 1.0000],\n [2.0000, 3.0000]]\nf32[2, 2] on "), "{text}");
    assert!(x.reshape([3]).to_string().starts_with("error: reshape: 4 elements do not fill shape [3]"));
}
