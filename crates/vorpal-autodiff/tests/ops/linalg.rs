//! Linear algebra. The matrices are random with one large entry in every row and column, not on the diagonal, so that
//! they are well-conditioned and pivots are looked for.

use vorpal_autodiff::ops::{QrMode, Triangular};
use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, Sample, WIDE};

/// A stack of m × n matrices that are far from singular.
fn stack(d: &mut Draw, batch: &[usize], m: usize, n: usize) -> Array {
    let shift = d.whole(0, 6);
    let mut x = d.array(&[batch, &[m, n]].concat(), -1.0, 1.0);
    let large = m.min(n);
    if large > 0 {
        for matrix in x.data.chunks_mut(m * n) {
            (0..large).for_each(|i| matrix[i * n + (i + shift) % large] += 1.0 + large as f64);
        }
    }
    x
}

fn batch(d: &mut Draw) -> Vec<usize> {
    let axes = d.whole(0, 2);
    (0..axes).map(|_| d.axis().min(3)).collect()
}

/// Applies a function to every matrix of stacks that have equal axes in front.
fn each(x: &[Array], f: impl Fn(&[Array]) -> Array) -> Array {
    let batch = x[0].shape[..x[0].shape.len() - 2].to_vec();
    let count: usize = batch.iter().product();
    let matrix = |x: &Array, k: usize| {
        let shape = x.shape[batch.len()..].to_vec();
        let size: usize = shape.iter().product();
        Array { data: x.data[k * size..(k + 1) * size].to_vec(), shape, role: x.role }
    };
    let one = |k: usize| f(&x.iter().map(|x| matrix(x, k)).collect::<Vec<_>>());
    // Without any matrix, unit matrices tell the shape of the result.
    let units = || x.iter().map(|x| unit(&x.shape[batch.len()..])).collect::<Vec<_>>();
    let shape = if count > 0 { one(0).shape } else { f(&units()).shape };
    let data = (0..count).flat_map(|k| one(k).data).collect();
    Array { shape: [batch, shape].concat(), data, role: x[0].role }
}

/// Ones on the diagonal, zeros elsewhere.
fn unit(shape: &[usize]) -> Array {
    Array::from_fn(shape, |at| f64::from(u8::from(at[0] == at[1])))
}

fn product(a: &Array, b: &Array) -> Array {
    let [m, k, n] = [a.shape[0], a.shape[1], b.shape[1]];
    Array::from_fn(&[m, n], |at| (0..k).map(|k| a.at(&[at[0], k]) * b.at(&[k, at[1]])).sum())
}

fn turned(a: &Array) -> Array {
    Array::from_fn(&[a.shape[1], a.shape[0]], |at| a.at(&[at[1], at[0]]))
}

/// A⁻¹ B and the determinant of A by Gauss and Jordan's elimination with full columns.
fn eliminated(a: &Array, b: &Array) -> (Array, f64) {
    let (n, k) = (a.shape[0], b.shape[1]);
    let (mut a, mut b, mut det) = (a.clone(), b.clone(), 1.0);
    for c in 0..n {
        let size = |i: usize| a.at(&[i, c]).abs();
        let p = (c..n).fold(c, |best, i| if size(i) > size(best) { i } else { best });
        (0..n).for_each(|j| a.data.swap(c * n + j, p * n + j));
        (0..k).for_each(|j| b.data.swap(c * k + j, p * k + j));
        let pivot = a.at(&[c, c]);
        det *= if p == c { pivot } else { -pivot };
        for i in (0..n).filter(|&i| i != c) {
            let factor = a.at(&[i, c]) / pivot;
            (0..n).for_each(|j| a.data[i * n + j] -= factor * a.data[c * n + j]);
            (0..k).for_each(|j| b.data[i * k + j] -= factor * b.data[c * k + j]);
        }
    }
    let data = b.data.iter().enumerate().map(|(e, v)| v / a.at(&[e / k, e / k])).collect();
    (Array { data, ..b }, det)
}

/// Cholesky's factor column by column.
fn cholesky(a: &Array) -> Array {
    let n = a.shape[0];
    let mut l = a.map(|_| 0.0);
    for j in 0..n {
        for i in j..n {
            let sum: f64 = (0..j).map(|k| l.at(&[i, k]) * l.at(&[j, k])).sum();
            let rest = a.at(&[i, j]) - sum;
            l.data[i * n + j] = if i == j { rest.sqrt() } else { rest / l.at(&[j, j]) };
        }
    }
    l
}

/// Q (m × m) and R by multiplying full reflections, with the signs of LAPACK.
fn reflected(a: &Array) -> (Array, Array) {
    let [m, n] = [a.shape[0], a.shape[1]];
    let mut q = unit(&[m, m]);
    let mut r = a.clone();
    for k in 0..m.min(n) {
        let mut v: Vec<f64> = (0..m).map(|i| if i < k { 0.0 } else { r.at(&[i, k]) }).collect();
        if v[k + 1..].iter().all(|&v| v == 0.0) {
            continue;
        }
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v[k] += if v[k] >= 0.0 { norm } else { -norm };
        let square: f64 = v.iter().map(|v| v * v).sum();
        let h = Array::from_fn(&[m, m], |at| {
            f64::from(u8::from(at[0] == at[1])) - 2.0 * v[at[0]] * v[at[1]] / square
        });
        (q, r) = (product(&q, &h), product(&h, &r));
    }
    (q, r)
}

/// The first rows and columns.
fn cut(x: &Array, rows: usize, columns: usize) -> Array {
    Array::from_fn(&[rows, columns], |at| x.at(at))
}

fn case(name: &'static str, draw: impl Fn(&mut Draw) -> Sample + 'static) -> Case {
    Case { dtypes: WIDE, ..Case::smooth(name, draw) }
}

fn triangular(name: &'static str, kind: Triangular) -> Case {
    case(name, move |d| {
        let (batch, n, k) = (batch(d), d.axis(), d.axis());
        let mut a = d.array(&[&batch[..], &[n, n]].concat(), -1.0, 1.0);
        for (e, v) in a.data.iter_mut().enumerate() {
            let (i, j) = (e / n % n, e % n);
            // What must not be read is not zero.
            *v = if i == j { v.signum() * (1.5 + v.abs()) } else { 0.6 * *v };
        }
        let b = d.array(&[&batch[..], &[n, k]].concat(), -2.0, 2.0);
        let reference = move |x: &[Array]| {
            each(x, |x| {
                let picked = Array::from_fn(&x[0].shape, |at| match at[0].cmp(&at[1]) {
                    std::cmp::Ordering::Equal if kind.unit => 1.0,
                    std::cmp::Ordering::Equal => x[0].at(at),
                    order => {
                        let is_upper = order == std::cmp::Ordering::Less;
                        if is_upper == kind.upper { x[0].at(at) } else { 0.0 }
                    }
                });
                let picked = if kind.transposed { turned(&picked) } else { picked };
                eliminated(&picked, &x[1]).0
            })
        };
        Sample::new(vec![a, b], move |x| x[0].triangular_solve(&x[1], kind), reference)
    })
}

fn qr(name: &'static str, mode: QrMode, r: bool) -> Case {
    let of = move |x: &Array| {
        let [m, n] = [x.shape[0], x.shape[1]];
        let width = if mode == QrMode::Complete { m } else { m.min(n) };
        let (q, upper) = reflected(x);
        if r { cut(&upper, width, n) } else { cut(&q, m, width) }
    };
    case(name, move |d| {
        let (batch, m, n) = (batch(d), d.axis(), d.axis());
        // The complete factors of more rows than columns have no derivative.
        let n = if mode == QrMode::Complete && d.least == 1 { n.max(m) } else { n };
        let run = move |x: &[Tensor]| if r { x[0].qr(mode).1 } else { x[0].qr(mode).0 };
        Sample::new(vec![stack(d, &batch, m, n)], run, move |x| each(x, |x| of(&x[0])))
    })
}

/// Sum of a function of square matrices over the powers that `terms` gives.
fn powers(a: &Array, terms: impl Fn(usize) -> f64, count: usize) -> Array {
    let mut power = unit(&a.shape);
    let mut out = power.map(|v| v * terms(0));
    for k in 1..count {
        power = product(&power, a);
        out.data.iter_mut().zip(&power.data).for_each(|(o, p)| *o += p * terms(k));
    }
    out
}

fn scalar(x: f64) -> Array {
    Array { shape: Vec::new(), data: vec![x], role: crate::harness::Role::Value }
}

fn solutions() -> Vec<Case> {
    vec![
        case("solve", |d| {
            let (batch, n, k) = (batch(d), d.axis(), d.axis());
            let b = d.array(&[&batch[..], &[n, k]].concat(), -2.0, 2.0);
            let inputs = vec![stack(d, &batch, n, n), b];
            Sample::new(inputs, |x| x[0].solve(&x[1]), |x| each(x, |x| eliminated(&x[0], &x[1]).0))
        }),
        case("inv", |d| {
            let (batch, n) = (batch(d), d.axis());
            let reference = |x: &[Array]| each(x, |x| eliminated(&x[0], &unit(&x[0].shape)).0);
            Sample::new(vec![stack(d, &batch, n, n)], |x| x[0].inv(), reference)
        }),
        case("det", |d| {
            let (batch, n) = (batch(d), d.axis().min(4));
            // Divided by its size, so that tolerances mean something.
            let scale = (1.0 + n as f64).powi(-(n as i32));
            let reference =
                move |x: &[Array]| each(x, |x| scalar(scale * eliminated(&x[0], &unit(&x[0].shape)).1));
            Sample::new(vec![stack(d, &batch, n, n)], move |x| x[0].det() * scale, reference)
        }),
        case("slogdet", |d| {
            let (batch, n) = (batch(d), d.axis());
            let run = |x: &[Tensor]| {
                let (sign, log) = x[0].slogdet();
                sign * log
            };
            Sample::new(vec![stack(d, &batch, n, n)], run, |x| {
                each(x, |x| {
                    let det = eliminated(&x[0], &unit(&x[0].shape)).1;
                    scalar(det.signum() * det.abs().ln())
                })
            })
        }),
        case("lstsq", |d| {
            let (batch, m, n, k) = (batch(d), d.axis(), d.axis(), d.axis());
            let b = d.array(&[&batch[..], &[m, k]].concat(), -2.0, 2.0);
            Sample::new(
                vec![stack(d, &batch, m, n), b],
                |x| x[0].lstsq(&x[1]),
                |x| {
                    each(x, |x| {
                        let (a, t) = (&x[0], turned(&x[0]));
                        if a.shape[0] >= a.shape[1] {
                            eliminated(&product(&t, a), &product(&t, &x[1])).0
                        } else {
                            product(&t, &eliminated(&product(a, &t), &x[1]).0)
                        }
                    })
                },
            )
        }),
    ]
}

fn functions() -> Vec<Case> {
    vec![
        case("matrix_exp", |d| {
            let (batch, n) = (batch(d), d.axis());
            let x = d.array(&[&batch[..], &[n, n]].concat(), -0.5, 0.5);
            let factorial = |k: usize| (1..=k).map(|k| 1.0 / k as f64).product::<f64>();
            Sample::new(vec![x], |x| x[0].matrix_exp(), move |x| each(x, |x| powers(&x[0], factorial, 40)))
        }),
        case("trace", |d| {
            let (batch, n) = (batch(d), d.axis());
            let reference =
                |x: &[Array]| each(x, |x| scalar((0..x[0].shape[0]).map(|i| x[0].at(&[i, i])).sum()));
            Sample::new(vec![stack(d, &batch, n, n)], |x| x[0].trace(), reference)
        }),
        case("matrix_power", |d| {
            let (batch, n, power) = (batch(d), d.axis(), d.whole(0, 6) as i32 - 2);
            let size = (1.0 + n as f64).recip();
            let x = stack(d, &batch, n, n).map(|v| v * size);
            Sample::new(
                vec![x],
                move |x| x[0].matrix_power(power),
                move |x| {
                    each(x, |x| {
                        let base =
                            if power < 0 { eliminated(&x[0], &unit(&x[0].shape)).0 } else { x[0].clone() };
                        let exponent = power.unsigned_abs() as usize;
                        powers(&base, |k| f64::from(u8::from(k == exponent)), exponent + 1)
                    })
                },
            )
        }),
    ]
}

pub fn cases() -> Vec<Case> {
    let lower = Triangular::default();
    let mut out = vec![
        case("cholesky", |d| {
            let (batch, n) = (batch(d), d.axis());
            let run = |x: &[Tensor]| x[0].matmul(&x[0].t()).cholesky();
            Sample::new(vec![stack(d, &batch, n, n)], run, |x| {
                each(x, |x| cholesky(&product(&x[0], &turned(&x[0]))))
            })
        }),
        triangular("triangular_solve", lower),
        triangular("triangular_solve upper", Triangular { upper: true, ..lower }),
        triangular("triangular_solve transposed", Triangular { transposed: true, ..lower }),
        triangular(
            "triangular_solve upper transposed",
            Triangular { upper: true, transposed: true, unit: false },
        ),
        triangular("triangular_solve unit", Triangular { unit: true, ..lower }),
        triangular("triangular_solve unit upper", Triangular { unit: true, upper: true, transposed: false }),
        qr("qr Q", QrMode::Reduced, false),
        qr("qr R", QrMode::Reduced, true),
        Case {
            first: Err("not determined for more rows than columns"),
            second: Err("no first"),
            ..qr("qr Q complete", QrMode::Complete, false)
        },
        Case {
            first: Err("not determined for more rows than columns"),
            second: Err("no first"),
            ..qr("qr R complete", QrMode::Complete, true)
        },
    ];
    out.extend(solutions());
    out.extend(functions());
    out
}

/// What each misuse says.
pub fn misfits() {
    let x = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::cpu());
    for (wrong, text) in [
        (x(&[2, 3]).cholesky(), "cholesky: a matrix of 2×3 is not square (operands f32[2, 3])"),
        (x(&[3]).inv(), "inv: needs matrices in the last two axes (operands f32[3])"),
        (x(&[3]).qr(QrMode::Reduced).1, "qr: needs matrices in the last two axes (operands f32[3])"),
        (x(&[4, 3, 2]).det(), "det: a matrix of 3×2 is not square"),
        (x(&[3, 2]).slogdet().0, "slogdet: a matrix of 3×2 is not square"),
        (x(&[3, 2]).trace(), "trace: a matrix of 3×2 is not square"),
        (x(&[3, 2]).matrix_exp(), "matrix_exp: a matrix of 3×2 is not square"),
        (x(&[3, 2]).matrix_power(2), "matrix_power: a matrix of 3×2 is not square"),
        (
            x(&[3, 3]).solve(&x(&[4, 1])),
            "solve: right-hand sides need 3 rows (operands f32[3, 3], f32[4, 1])",
        ),
        (
            x(&[2, 3, 3]).triangular_solve(&x(&[4, 3, 1]), Triangular::default()),
            "triangular_solve: batch axes do not broadcast (operands f32[2, 3, 3], f32[4, 3, 1])",
        ),
        (x(&[3, 3]).solve(&x(&[3]).cast(DType::F64)), "solve: dtypes f32 and f64 differ; cast one of them"),
        (x(&[3, 2]).lstsq(&x(&[2, 1])), "lstsq: needs matrices […, m, n] and right-hand sides […, m, k]"),
        (
            x(&[2, 2]).cast(DType::F16).cholesky(),
            "cholesky: needs f32 or f64, found f16 (operands f16[2, 2])",
        ),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("linalg.rs:"), "{error}");
    }
}
