//! Linear algebra in a process of its own: matrices that will not do are told to whoever reads next. And sizes that take
//! several launches on an adapter.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Random, devices};
use vorpal_autodiff::ops::{QrMode, Triangular};
use vorpal_autodiff::{Device, Error, Tensor, grad, vmap};

#[test]
fn everything_in_turn() {
    // Adapters report faults to whoever reads next: one test, one thread.
    for device in devices() {
        what_will_not_do_is_an_error(&device);
        singular_matrices_have_a_determinant(&device);
        large_matrices(&device);
    }
    solutions_of_a_batch_share_a_matrix();
}

/// The error of a value, which names the number of the matrix, the op and this file.
fn told(x: &Tensor, op: &str, text: &str) {
    let error = x.eval().and_then(|()| x.to_bytes()).expect_err(op);
    assert!(matches!(error, Error::Value { .. }), "{error}");
    let error = error.to_string();
    assert!(error.starts_with(&format!("{op}: {text} at ")) && error.contains("linalg.rs:"), "{error}");
    assert!(x.full_like(1.0).to_bytes().is_ok(), "a fault is told once");
}

fn what_will_not_do_is_an_error(device: &Device) {
    let good = [2.0f32, 1.0, 1.0, 2.0];
    let of = |bad: [f32; 4]| {
        let all: Vec<f32> = [good, good, bad, good].concat();
        Tensor::from_slice(&all, [2, 2, 2, 2], device)
    };
    let indefinite = of([1.0, 2.0, 2.0, 1.0]);
    told(&indefinite.cholesky(), "cholesky", "matrix 2 of the batch is not positive definite");
    told(&of([f32::NAN; 4]).cholesky(), "cholesky", "matrix 2 of the batch is not positive definite");
    let singular = of([1.0, 2.0, 2.0, 4.0]);
    let text = "matrix 2 of the batch is singular";
    told(&singular.inv(), "inv", text);
    told(&singular.solve(&singular.full_like(1.0)), "solve", text);
    told(&singular.matrix_power(-3), "inv", text);
    let zero = of([0.0, 1.0, 1.0, 2.0]);
    told(&zero.triangular_solve(&zero, Triangular::default()), "triangular_solve", text);
    told(
        &zero.triangular_solve(&zero, Triangular { upper: true, ..Triangular::default() }),
        "triangular_solve",
        text,
    );
    let unit = Triangular { unit: true, ..Triangular::default() };
    assert!(zero.triangular_solve(&zero, unit).to_vec::<f32>().is_ok());
    told(&of([0.0, 0.0, 0.0, 0.0]).lstsq(&singular), "lstsq", text);
    let to_singular = grad(&singular, |x| x.det().sum_all()).expect("a graph");
    told(&to_singular, "det", text);
    let (q, r) = of([0.0; 4]).qr(QrMode::Reduced);
    assert!(q.matmul(&r).to_vec::<f32>().is_ok(), "factors exist all the same");
    let to_factors = grad(&of([0.0; 4]), |x| x.qr(QrMode::Reduced).0.sum_all()).expect("a graph");
    told(&to_factors, "qr", text);
    let tall = Tensor::ones([3, 2], vorpal_autodiff::DType::F32, device);
    let error = grad(&tall, |x| x.qr(QrMode::Complete).0.sum_all()).expect_err("none").to_string();
    assert!(
        error.contains("qr: the complete factorisation of 3×2 has no derivative")
            && error.contains("linalg.rs:"),
        "{error}"
    );
}

fn singular_matrices_have_a_determinant(device: &Device) {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 2.0, 4.0], [2, 2], device);
    assert_eq!(x.det().item::<f32>(), Ok(0.0));
    let (sign, log) = x.slogdet();
    assert_eq!((sign.item::<f32>(), log.item::<f32>()), (Ok(0.0), Ok(f32::NEG_INFINITY)));
}

/// Largest element of a tensor of f32.
fn largest(x: &Tensor) -> f32 {
    x.to_vec::<f32>().expect("values").into_iter().map(f32::abs).fold(0.0, f32::max)
}

fn large_matrices(device: &Device) {
    let mut random = Random::new(5);
    for n in [128, 260] {
        let values: Vec<f32> = random.values(n * n, -1.0, 1.0).iter().map(|&v| v as f32).collect();
        let x = Tensor::from_slice(&values, [n, n], device);
        let eye = x.matrix_power(0);
        let square = x.matmul(&x.t()) + &eye * n as f64;
        let l = square.cholesky();
        let off = |name: &str, found: f32, limit: f32| {
            println!("{name} {n} on {}: {found:.2e}", device.name());
            assert!(found <= limit, "{name} of {n} on {}: {found}", device.name());
        };
        off("cholesky", largest(&(l.matmul(&l.t()) - &square)) / n as f32, 2e-6);
        let b = x.slice(-1, ..3);
        off("solve", largest(&(square.matmul(&square.solve(&b)) - &b)), 2e-5);
        off("inv", largest(&(square.matmul(&square.inv()) - &eye)), 2e-5);
        let (q, r) = x.qr(QrMode::Reduced);
        off("qr", largest(&(q.matmul(&r) - &x)), 2e-5);
        off("orthogonality", largest(&(q.t().matmul(&q) - &eye)), 2e-5);
        let (sign, log) = square.slogdet();
        assert_eq!(sign.item::<f32>(), Ok(1.0));
        let diagonal: f32 = l.to_vec::<f32>().expect("values").iter().step_by(n + 1).map(|v| v.ln()).sum();
        let log = log.item::<f32>().expect("a value");
        off("slogdet", (log - 2.0 * diagonal).abs() / log.abs(), 2e-6);
    }
}

fn solutions_of_a_batch_share_a_matrix() {
    let mut random = Random::new(6);
    let (a, b) = (random.tensor(&[3, 3], 1.0, 2.0), random.tensor(&[5, 2, 3], -1.0, 1.0));
    let eye = a.matrix_power(0);
    let a = a + eye * 4.0;
    let found =
        vmap(&vec![a.clone(), b.clone()], &[None, Some(0)][..], |x| x[0].solve(&x[1].t())).expect("a batch");
    let expected = a.solve(&b.transpose(1, 2));
    assert_eq!(found.shape(), expected.shape());
    let off = (found - expected).abs().max([0, 1, 2]).item::<f64>().expect("a value");
    assert!(off < 1e-13, "{off}");
}
