//! Reductions.

use vorpal_autodiff::{Axes, DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, NUMBERS, Role, Sample};
use crate::movement::ANY;

/// Reduces the axes that `reduced` flags; they disappear.
fn fold(x: &Array, reduced: &[bool], start: f64, f: impl Fn(f64, f64) -> f64) -> Array {
    let kept = |at: &[usize]| -> Vec<usize> {
        at.iter().zip(reduced).filter(|&(_, &r)| !r).map(|(&k, _)| k).collect()
    };
    let mut out = Array::from_fn(&kept(&x.shape), |_| start);
    let shape = out.shape.clone();
    Array::from_fn(&x.shape, |at| {
        let index = kept(at).iter().zip(&shape).fold(0, |sum, (&k, &size)| sum * size + k);
        out.data[index] = f(out.data[index], x.at(at));
        0.0
    });
    out
}

fn reduction(
    draw: &mut Draw,
    full: bool,
    run: fn(&Tensor, Axes) -> Tensor,
    start: f64,
    f: fn(f64, f64) -> f64,
) -> Sample {
    let mut shape = draw.shape(1, 4);
    if full {
        shape.iter_mut().for_each(|d| *d = (*d).max(1));
    }
    let reduced: Vec<bool> = shape.iter().map(|_| draw.flip()).collect();
    let axes: Vec<isize> = (0..shape.len()).filter(|&k| reduced[k]).map(|k| k as isize).collect();
    let x = draw.array(&shape, 0.0, 9.0);
    Sample::new(vec![x], move |x| run(&x[0], Axes::from(&axes[..])), move |x| fold(&x[0], &reduced, start, f))
}

/// All elements of each row that is reduced, in order, given to `f`.
fn gathered(
    draw: &mut Draw,
    full: bool,
    low: f64,
    run: fn(&Tensor, Axes) -> Tensor,
    f: fn(&[f64]) -> f64,
) -> Sample {
    let mut shape = draw.shape(1, 4);
    if full {
        shape.iter_mut().for_each(|d| *d = (*d).max(1));
    }
    let reduced: Vec<bool> = shape.iter().map(|_| draw.flip()).collect();
    let axes: Vec<isize> = (0..shape.len()).filter(|&k| reduced[k]).map(|k| k as isize).collect();
    let x = draw.array(&shape, low, 2.0);
    let reference = move |x: &[Array]| {
        let kept = |at: &[usize]| -> Vec<usize> {
            at.iter().zip(&reduced).filter(|&(_, &r)| !r).map(|(&k, _)| k).collect()
        };
        let out = kept(&x[0].shape);
        let mut rows = vec![Vec::new(); out.iter().product()];
        Array::from_fn(&x[0].shape, |at| {
            let index = kept(at).iter().zip(&out).fold(0, |sum, (&k, &size)| sum * size + k);
            rows[index].push(x[0].at(at));
            0.0
        });
        let mut rows = rows.iter();
        Array::from_fn(&out, |_| rows.next().map_or(0.0, |row| f(row)))
    };
    Sample::new(vec![x], move |x| run(&x[0], Axes::from(&axes[..])), reference)
}

/// A product of few numbers, which no dtype overflows at.
fn few(d: &mut Draw) -> Sample {
    let shape = [d.axis().min(4), d.axis().min(3)];
    let x = d.array(&shape, 0.6, 2.4);
    let all = d.flip();
    let run = move |x: &[Tensor]| if all { x[0].prod([0, 1]) } else { x[0].prod(1) };
    Sample::new(vec![x], run, move |x| {
        let rows = if all { [1, shape[0] * shape[1]] } else { shape };
        let product = |k: usize| x[0].data[k * rows[1]..][..rows[1]].iter().product();
        let data = (0..rows[0]).map(product).collect();
        Array { shape: if all { vec![] } else { vec![shape[0]] }, data, role: Role::Value }
    })
}

/// A measure of the first and last of three axes, of numbers that are far from equal.
fn spread(d: &mut Draw, run: fn(&Tensor) -> Tensor, f: fn(&[f64]) -> f64) -> Sample {
    let shape = [1 + d.full_axis(), d.axis(), 1 + d.full_axis()];
    let noise = d.array(&shape, -0.3, 0.3);
    let x = Array::from_fn(&shape, |at| noise.at(at) + at[0] as f64 - 0.5 * at[2] as f64);
    Sample::new(
        vec![x],
        move |x| run(&x[0]),
        move |x| {
            let places = || (0..shape[0]).flat_map(|i| (0..shape[2]).map(move |k| (i, k)));
            Array::from_fn(&[shape[1]], |at| {
                f(&places().map(|(i, k)| x[0].at(&[i, at[0], k])).collect::<Vec<_>>())
            })
        },
    )
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn variance(x: &[f64]) -> f64 {
    let middle = mean(x);
    x.iter().map(|v| (v - middle).powi(2)).sum::<f64>() / x.len() as f64
}

/// Position of an extreme along the last axis.
fn position(draw: &mut Draw, run: fn(&Tensor, isize) -> Tensor, better: fn(f64, f64) -> bool) -> Sample {
    let mut shape = draw.shape(1, 3);
    let last = shape.len() - 1;
    shape[last] = draw.full_axis();
    // Few values, so that some are equal.
    let x = draw.array(&shape, 0.0, 3.0).map(f64::round);
    Sample::new(
        vec![x],
        move |x| run(&x[0], -1),
        move |x| {
            let size = x[0].shape[last];
            let mut rows = x[0].data.chunks(size);
            Array::from_fn(&x[0].shape[..last], |_| {
                let row = rows.next().unwrap_or(&[]);
                (0..row.len()).fold(0, |best, k| if better(row[k], row[best]) { k } else { best }) as f64
            })
        },
    )
}

/// Reductions of bytes do not wrap around at 8 bits.
pub fn bytes_are_multiplied_in_32_bits() {
    let x = Tensor::from_slice(&[100i32, 3, -2], [3], &Device::cpu());
    assert_eq!(x.cast(DType::I8).prod(0).to_vec::<i32>(), Ok(vec![-600]));
    let x = x.narrow(0, 0, 2).cast(DType::U8);
    assert_eq!(x.prod(0).to_vec::<u32>(), Ok(vec![300]));
}

pub fn misfits() {
    let x = Tensor::zeros([2, 3], DType::F32, &Device::cpu());
    let truth = x.cast(DType::Bool);
    let wrong = [
        (x.sum(2), "sum: axis 2 of a tensor with 2 axes"),
        (x.max([0, 0]), "max: axis 0 is named twice"),
        (truth.sum(0), "sum: needs numbers, found bool; cast it first"),
        (truth.prod(0), "prod: needs numbers, found bool; cast it first"),
        (x.prod(-3), "prod: axis -3"),
        (x.cast(DType::I32).mean(0), "mean: needs floats, found i32"),
        (x.any(2), "axis 2"),
        (x.logsumexp(2), "axis 2"),
        (x.argmax(2), "axis 2"),
    ];
    for (tensor, text) in wrong {
        let error = tensor.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("reduce.rs:"), "{error}");
    }
}

/// Derivatives of products with one, two and no zeros, against the rule written out.
pub fn products_with_zeros() {
    for zeros in 0..3 {
        let data: Vec<f64> = (0..5).map(|k| if k < zeros { 0.0 } else { k as f64 - 0.5 }).collect();
        let x = Tensor::from_slice(&data, [5], &Device::cpu());
        let slope = vorpal_autodiff::grad(&x, |x| x.prod(0)).expect("a derivative").to_vec::<f64>();
        let others = |k: usize| (0..5).filter(|&j| j != k).map(|j| data[j]).product::<f64>();
        assert_eq!(slope, Ok((0..5).map(others).collect::<Vec<_>>()), "{zeros} zeros");
        let twice = vorpal_autodiff::grad(&x, |x| {
            let inner = vorpal_autodiff::grad(x, |x| x.prod(0)).expect("a derivative");
            inner.narrow(0, 0, 1).sum_all()
        });
        let pairs = |k: usize| {
            if k == 0 { 0.0 } else { (1..5).filter(|&j| j != k).map(|j| data[j]).product::<f64>() }
        };
        let twice = twice.expect("a derivative").to_vec::<f64>();
        assert_eq!(twice, Ok((0..5).map(pairs).collect::<Vec<_>>()), "{zeros} zeros");
    }
}

pub fn cases() -> Vec<Case> {
    let (truth, place) = ("truth values have no derivative", "a position has no derivative");
    vec![
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("sum", |d| reduction(d, false, |x, axes| x.sum(axes), 0.0, |a, b| a + b))
        },
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("max", |d| reduction(d, true, |x, axes| x.max(axes), f64::NEG_INFINITY, f64::max))
        },
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("min", |d| reduction(d, true, |x, axes| x.min(axes), f64::INFINITY, f64::min))
        },
        Case::smooth("mean", |d| gathered(d, true, -2.0, |x, axes| x.mean(axes), mean)),
        Case::smooth("var, correction 0", |d| gathered(d, true, -2.0, |x, axes| x.var(axes, 0), variance)),
        Case::smooth("var, correction 1", |d| {
            spread(d, |x| x.var([0, 2], 1), |row| variance(row) * row.len() as f64 / (row.len() - 1) as f64)
        }),
        Case::smooth("std", |d| spread(d, |x| x.std([0, 2], 0), |row| variance(row).sqrt())),
        Case::smooth("logsumexp", |d| {
            gathered(
                d,
                true,
                -2.0,
                |x, axes| x.logsumexp(axes),
                |row| row.iter().map(|v| v.exp()).sum::<f64>().ln(),
            )
        }),
        Case { dtypes: NUMBERS, ..Case::smooth("prod", few) },
        Case {
            dtypes: ANY,
            ..Case::flat("any", truth, |d| {
                gathered(
                    d,
                    false,
                    -0.1,
                    |x, axes| x.any(axes),
                    |row| f64::from(u8::from(row.iter().any(|&v| v != 0.0))),
                )
            })
        },
        Case {
            dtypes: ANY,
            ..Case::flat("all", truth, |d| {
                gathered(
                    d,
                    false,
                    -0.1,
                    |x, axes| x.all(axes),
                    |row| f64::from(u8::from(row.iter().all(|&v| v != 0.0))),
                )
            })
        },
        Case {
            dtypes: ANY,
            ..Case::flat("count_nonzero", "a number of elements is whole", |d| {
                gathered(
                    d,
                    false,
                    -0.1,
                    |x, axes| x.count_nonzero(axes),
                    |row| row.iter().filter(|v| **v != 0.0).count() as f64,
                )
            })
        },
        Case {
            dtypes: NUMBERS,
            ..Case::flat("argmax", place, |d| position(d, |x, a| x.argmax(a), |a, b| a > b))
        },
        Case {
            dtypes: NUMBERS,
            ..Case::flat("argmin", place, |d| position(d, |x, a| x.argmin(a), |a, b| a < b))
        },
    ]
}
