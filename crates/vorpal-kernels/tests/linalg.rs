//! Factorisations: shaders for every target, native bodies against what defines them, the adapter against those, in one
//! launch and in several.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, adapter, assert_close, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{Cholesky, Kernel, Lu, MatrixShape, QrFactor, QrForm, TriangularSolve};
use vorpal_tensor::{DType, Device, Fault};

/// Launches one after the other, each on the result of the one before, which goes in as the last operand.
fn run<K: Kernel>(launches: &[K], operands: &[&[f32]], device: Option<&Device>) -> Vec<f32> {
    let mut state = operands[operands.len() - 1].to_vec();
    for kernel in launches {
        check_shader(&kernel.shader().expect("a shader"));
        let args = kernel.args();
        let mut buffers: Vec<Vec<u8>> = operands[..operands.len() - 1].iter().map(|x| bytes_of(x)).collect();
        buffers.push(bytes_of(&state));
        let len = args[args.len() - 1].len;
        buffers.push(vec![0; 4 * len]);
        match device {
            None => run_native(kernel, &mut buffers, &[]).expect("it runs"),
            Some(device) => run_on(device, kernel, &mut buffers, &[], None).expect("it runs"),
        }
        state = floats(&buffers[buffers.len() - 1]);
    }
    state
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// Row-major m × k times k × n.
fn product(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            (0..n).for_each(|j| out[i * n + j] += a[i * k + l] * b[l * n + j]);
        }
    }
    out
}

fn narrow(x: Vec<f64>) -> Vec<f32> {
    x.into_iter().map(|v| v as f32).collect()
}

fn transposed(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|e| a[e % m * n + e / m]).collect()
}

const SIZES: [usize; 6] = [1, 2, 5, 16, 67, 130];

#[test]
fn cholesky() {
    let mut random = Random(1);
    for n in SIZES {
        let batch = if n < 20 { 3 } else { 1 };
        let shape = MatrixShape { batch, rows: n, columns: n };
        let mut x = Vec::new();
        for _ in 0..batch {
            let half = wide(&random.units(n * n));
            let mut square = product(&half, &transposed(&half, n, n), [n, n, n]);
            (0..n).for_each(|i| square[i * n + i] += 0.2 * n as f64);
            x.extend(narrow(square));
        }
        let native = run(&Cholesky::launches(shape, DType::F32, 0, true), &[&x], None);
        for (l, x) in native.chunks(n * n).zip(x.chunks(n * n)) {
            let l = wide(l);
            assert_close(x, &product(&l, &transposed(&l, n, n), [n, n, n]), 2e-5, "L Lᵀ");
        }
        if let Some(device) = adapter() {
            let found = run(&Cholesky::launches(shape, DType::F32, 0, false), &[&x], Some(&device));
            assert_close(&found, &wide(&native), 2e-4, &format!("cholesky {n}"));
        }
    }
}

/// Matrices far from singular, with large entries off the diagonal.
fn regular(random: &mut Random, batch: usize, m: usize, n: usize) -> Vec<f32> {
    let mut x = random.units(batch * m * n);
    let large = m.min(n);
    for matrix in x.chunks_mut(m * n) {
        (0..large).for_each(|i| matrix[i * n + (i + 1) % large] += 2.0 + (large as f32).sqrt());
    }
    x
}

#[test]
fn lu() {
    let mut random = Random(2);
    for n in SIZES {
        let batch = if n < 20 { 3 } else { 1 };
        let shape = MatrixShape { batch, rows: n, columns: n };
        let x = regular(&mut random, batch, n, n);
        let native = run(&Lu::launches(shape, DType::F32, 0, true), &[&x], None);
        let whole = (n + Lu::ROWS_MORE) * n;
        for (packed, x) in native.chunks(whole).zip(x.chunks(n * n)) {
            let part = |keep: fn(usize, usize) -> f64| -> Vec<f64> {
                (0..n * n).map(|e| keep(e / n, e % n) * f64::from(packed[e])).collect()
            };
            let mut l = part(|i, j| f64::from(u8::from(j < i)));
            (0..n).for_each(|i| l[i * n + i] = 1.0);
            let u = part(|i, j| f64::from(u8::from(j >= i)));
            let rows = &packed[n * n..];
            let exchanged: Vec<f32> = (0..n).flat_map(|i| x[rows[i] as usize * n..][..n].to_vec()).collect();
            assert_close(&exchanged, &product(&l, &u, [n, n, n]), 2e-5, "P A");
            (0..n).for_each(|i| assert_eq!(rows[n + rows[i] as usize], i as f32));
            assert!(l.iter().all(|v| v.abs() <= 1.0), "pivots are the largest");
        }
        if let Some(device) = adapter() {
            let found = run(&Lu::launches(shape, DType::F32, 0, false), &[&x], Some(&device));
            assert_close(&found, &wide(&native), 2e-4, &format!("lu {n}"));
        }
    }
}

#[test]
fn qr() {
    let mut random = Random(3);
    for [m, n] in [[1, 1], [1, 4], [4, 1], [5, 3], [3, 5], [16, 16], [40, 67], [130, 128]] {
        let batch = if m < 20 { 3 } else { 1 };
        let shape = MatrixShape { batch, rows: m, columns: n };
        let x = regular(&mut random, batch, m, n);
        let packed = run(&QrFactor::launches(shape, DType::F32, 0, true), &[&x], None);
        for width in [m.min(n), m] {
            let q = run(&QrForm::launches(shape, width, DType::F32, 0, true), &[&packed, &[]], None);
            let each = q.chunks(m * width).zip(packed.chunks(QrFactor::result(shape))).zip(x.chunks(m * n));
            for ((q, packed), x) in each {
                let q = wide(q);
                let r: Vec<f64> =
                    (0..width * n).map(|e| if e % n >= e / n { f64::from(packed[e]) } else { 0.0 }).collect();
                assert_close(x, &product(&q, &r, [m, width, n]), 2e-5, "Q R");
                let square = product(&transposed(&q, m, width), &q, [width, m, width]);
                let unit: Vec<f64> =
                    (0..width * width).map(|e| f64::from(u8::from(e / width == e % width))).collect();
                assert_close(&narrow(square), &unit, 2e-5, "Qᵀ Q");
            }
            if let Some(device) = adapter() {
                let found = run(
                    &QrForm::launches(shape, width, DType::F32, 0, false),
                    &[&packed, &[0.0]],
                    Some(&device),
                );
                assert_close(&found, &wide(&q), 1e-4, &format!("qr_form {m}×{n}"));
            }
        }
        if let Some(device) = adapter() {
            let found = run(&QrFactor::launches(shape, DType::F32, 0, false), &[&x], Some(&device));
            assert_close(&found, &wide(&packed), 2e-4, &format!("qr_factor {m}×{n}"));
        }
    }
}

#[test]
fn triangular_solve() {
    let mut random = Random(4);
    for (n, columns) in [(1, 1), (2, 3), (5, 17), (33, 40), (130, 2), (600, 1)] {
        for kind in 0..8u8 {
            let [upper, turned, unit] = [0, 1, 2].map(|bit| kind >> bit & 1 == 1);
            if n > 200 && kind > 1 {
                continue;
            }
            let batch = if n < 20 { 3 } else { 1 };
            let shape = MatrixShape { batch, rows: n, columns };
            let mut a = random.units(batch * n * n);
            for (e, v) in a.iter_mut().enumerate() {
                *v = if e / n % n == e % n { 1.5 + v.abs() } else { *v / (n as f32).sqrt() };
            }
            let b = random.units(batch * n * columns);
            let kind = [upper, turned, unit];
            let native =
                run(&TriangularSolve::launches(shape, kind, DType::F32, [0; 2], true), &[&a, &b], None);
            for ((x, b), a) in native.chunks(n * columns).zip(b.chunks(n * columns)).zip(a.chunks(n * n)) {
                let entry = |i: usize, j: usize| match i.cmp(&j) {
                    std::cmp::Ordering::Equal if unit => 1.0,
                    std::cmp::Ordering::Less if !upper => 0.0,
                    std::cmp::Ordering::Greater if upper => 0.0,
                    _ => f64::from(a[i * n + j]),
                };
                let full: Vec<f64> = (0..n * n)
                    .map(|e| if turned { entry(e % n, e / n) } else { entry(e / n, e % n) })
                    .collect();
                assert_close(b, &product(&full, &wide(x), [n, n, columns]), 5e-5, "A X");
            }
            if let Some(device) = adapter() {
                let launches = TriangularSolve::launches(shape, kind, DType::F32, [0; 2], false);
                let found = run(&launches, &[&a, &b], Some(&device));
                assert_close(&found, &wide(&native), 2e-4, &format!("triangular_solve {n}"));
            }
        }
    }
}

#[test]
fn large_matrices_take_several_launches() {
    let shape = MatrixShape { batch: 1, rows: 600, columns: 600 };
    assert!(Cholesky::launches(shape, DType::F32, 0, false).len() > 1);
    assert!(QrForm::launches(shape, 600, DType::F32, 0, false).len() > 1);
    let Some(device) = adapter() else { return };
    let x = regular(&mut Random(5), 1, 600, 600);
    let launches = Lu::launches(shape, DType::F32, 0, false);
    assert!(launches.len() > 1);
    let native = run(&Lu::launches(shape, DType::F32, 0, true), &[&x], None);
    assert_close(&run(&launches, &[&x], Some(&device)), &wide(&native), 2e-3, "lu 600");
}

/// The launches of an adapter, natively, against all steps at once.
#[test]
fn native_bodies_go_on_where_the_one_before_stopped() {
    let n = 600;
    let shape = MatrixShape { batch: 1, rows: n, columns: n };
    let x = regular(&mut Random(6), 1, n, n);
    let mut square = product(&wide(&x), &transposed(&wide(&x), n, n), [n, n, n]);
    (0..n).for_each(|i| square[i * n + i] += n as f64);
    let square = narrow(square);
    fn check<K: Kernel>(parts: &[K], whole: &[K], operands: &[&[f32]]) -> Vec<f32> {
        assert!(parts.len() > 1 && whole.len() == 1);
        let whole = run(whole, operands, None);
        assert_close(&run(parts, operands, None), &wide(&whole), 5e-4, &parts[0].describe());
        whole
    }
    let lu = |native: bool| Lu::launches(shape, DType::F32, 0, native);
    check(&lu(false), &lu(true), &[&x]);
    let cholesky = |native: bool| Cholesky::launches(shape, DType::F32, 0, native);
    let l = check(&cholesky(false), &cholesky(true), &[&square]);
    let qr = |native: bool| QrFactor::launches(shape, DType::F32, 0, native);
    let packed = check(&qr(false), &qr(true), &[&x]);
    let form = |native: bool| QrForm::launches(shape, n, DType::F32, 0, native);
    check(&form(false), &form(true), &[&packed, &[]]);
    for kind in [[false, false, false], [false, true, false]] {
        let of_rows = MatrixShape { rows: 2000, columns: 20, ..shape };
        let solve = |native: bool| TriangularSolve::launches(of_rows, kind, DType::F32, [0; 2], native);
        let mut a = vec![0.0; 2000 * 2000];
        for i in 0..2000 {
            for j in 0..=i {
                a[i * 2000 + j] = l[i % n * n + j % n] / 300.0;
            }
            a[i * 2000 + i] = 2.0;
        }
        check(&solve(false), &solve(true), &[&a, &vec![1.0; 2000 * 20]]);
    }
}

#[test]
fn what_will_not_do_is_told() {
    let shape = MatrixShape { batch: 3, rows: 2, columns: 2 };
    let x = [1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 1.0, -1.0, 0.0, 0.0, 1.0];
    let kernel = &Cholesky::launches(shape, DType::F32, 0, true)[0];
    let mut buffers = vec![bytes_of(&x), vec![0; 48]];
    let error = run_native(kernel, &mut buffers, &[]).expect_err("it is not").to_string();
    assert!(error.contains("number 1"), "the first of two: {error}");
    let problem = "of the batch is not positive definite";
    assert_eq!(kernel.fault(), Some(Fault::Value { what: "matrix", problem }));
}
