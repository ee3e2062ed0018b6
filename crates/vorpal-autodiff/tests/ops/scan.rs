//! Prefixes along an axis.

use vorpal_autodiff::ops::associative_scan;
use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, FLOATS, Holds, NUMBERS, Sample, WIDE};

/// A shape and one of its axes.
fn shape_with_axis(d: &mut Draw) -> (Vec<usize>, usize) {
    let shape = d.shape(1, 3);
    let axis = d.whole(0, shape.len() - 1);
    (shape, axis)
}

/// Goes along an axis of `x`: `f` of every element's coordinates and what it gave for the one before.
fn along(x: &Array, axis: usize, reverse: bool, f: impl Fn(&[usize], Option<f64>) -> f64) -> Array {
    let shape = x.shape.clone();
    Array::from_fn(&shape, |at| {
        let places: Vec<usize> =
            if reverse { (at[axis]..shape[axis]).rev().collect() } else { (0..=at[axis]).collect() };
        let mut last = None;
        for k in places {
            let mut place = at.to_vec();
            place[axis] = k;
            last = Some(f(&place, last));
        }
        last.unwrap_or(0.0)
    })
}

fn cumulative(
    d: &mut Draw,
    run: fn(&Tensor, isize) -> Tensor,
    low: f64,
    high: f64,
    f: fn(f64, f64) -> f64,
) -> Sample {
    let (shape, axis) = shape_with_axis(d);
    let x = d.array(&shape, low, high);
    Sample::new(
        vec![x],
        move |x| run(&x[0], axis as isize),
        move |x| along(&x[0], axis, false, |at, last| last.map_or(x[0].at(at), |last| f(last, x[0].at(at)))),
    )
}

/// Positions of extremes: the last of equals.
fn positions(d: &mut Draw, run: fn(&Tensor, isize) -> Tensor, better: fn(f64, f64) -> bool) -> Sample {
    let (shape, axis) = shape_with_axis(d);
    // Equals are common.
    let x = d.array(&shape, 0.0, 3.0).map(f64::round);
    Sample::new(
        vec![x],
        move |x| run(&x[0], axis as isize),
        move |x| {
            along(&x[0], axis, false, |at, last| {
                let mut before = at.to_vec();
                before[axis] = last.unwrap_or(0.0) as usize;
                let here = last.is_none() || better(x[0].at(at), x[0].at(&before));
                if here { at[axis] as f64 } else { before[axis] as f64 }
            })
        },
    )
}

fn recurrence(d: &mut Draw) -> Sample {
    let (shape, axis) = shape_with_axis(d);
    let (reverse, with_start) = (d.flip(), d.flip());
    let mut of_start = shape.clone();
    of_start[axis] = 1;
    let mut inputs = vec![d.array(&shape, -1.0, 1.0), d.array(&shape, -1.0, 1.0)];
    if with_start {
        inputs.push(d.array(&of_start, -1.0, 1.0));
    }
    let run = move |x: &[Tensor]| Tensor::linear_scan(&x[0], &x[1], x.get(2), axis as isize, reverse);
    Sample::new(inputs, run, move |x| {
        along(&x[0], axis, reverse, |at, last| {
            let mut first = at.to_vec();
            first[axis] = 0;
            let start = x.get(2).map_or(0.0, |start| start.at(&first));
            x[0].at(at) * last.unwrap_or(start) + x[1].at(at)
        })
    })
}

/// The sum of products of a complex recurrence, real and imaginary parts side by side.
fn complex(d: &mut Draw) -> Sample {
    let (shape, reverse) = (vec![d.full_axis(), d.full_axis()], d.flip());
    let inputs: Vec<Array> = (0..4).map(|_| d.array(&shape, -1.0, 1.0)).collect();
    let run = move |x: &[Tensor]| {
        let [re, im] = Tensor::linear_scan_complex([&x[0], &x[1]], [&x[2], &x[3]], 0, reverse);
        Tensor::concat(&[&re, &im], 1)
    };
    Sample::new(inputs, run, move |x| {
        let (len, width) = (x[0].shape[0], x[0].shape[1]);
        let mut out = Array::from_fn(&[len, 2 * width], |_| 0.0);
        for i in 0..width {
            let (mut re, mut im) = (0.0, 0.0);
            for p in 0..len {
                let t = if reverse { len - 1 - p } else { p };
                let [ar, ai, br, bi] = [0, 1, 2, 3].map(|k| x[k].at(&[t, i]));
                (re, im) = (ar * re - ai * im + br, ar * im + ai * re + bi);
                out.data[t * 2 * width + i] = re;
                out.data[t * 2 * width + width + i] = im;
            }
        }
        out
    })
}

const POSITION: &str = "positions are whole numbers";
const CORNERS: Holds = Err("the first derivative is constant where it exists");

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("cumsum", |d| cumulative(d, |x, axis| x.cumsum(axis), 0.0, 9.0, |a, b| a + b))
        },
        Case {
            dtypes: FLOATS,
            // Some elements are 0.
            ..Case::smooth("cumprod", |d| {
                let sample = cumulative(d, |x, axis| x.cumprod(axis), -1.5, 1.5, |a, b| a * b);
                let inputs =
                    sample.inputs.iter().map(|x| x.map(|v| if v.abs() < 0.2 { 0.0 } else { v })).collect();
                Sample { inputs, ..sample }
            })
        },
        Case::smooth("logcumsumexp", |d| {
            cumulative(
                d,
                |x, axis| x.logcumsumexp(axis),
                -4.0,
                4.0,
                |a, b| a.max(b) + (-(a - b).abs()).exp().ln_1p(),
            )
        }),
        Case {
            second: CORNERS,
            ..Case::smooth("cummax", |d| cumulative(d, |x, axis| x.cummax(axis).0, -5.0, 5.0, f64::max))
        },
        Case {
            second: CORNERS,
            ..Case::smooth("cummin", |d| cumulative(d, |x, axis| x.cummin(axis).0, -5.0, 5.0, f64::min))
        },
        Case {
            dtypes: NUMBERS,
            ..Case::flat("cummax positions", POSITION, |d| positions(d, |x, a| x.cummax(a).1, |x, y| x >= y))
        },
        Case {
            dtypes: NUMBERS,
            ..Case::flat("cummin positions", POSITION, |d| positions(d, |x, a| x.cummin(a).1, |x, y| x <= y))
        },
        Case::smooth("linear_scan", recurrence),
        Case { dtypes: WIDE, ..Case::smooth("linear_scan_complex", complex) },
        Case {
            dtypes: WIDE,
            ..Case::smooth("associative_scan", |d| {
                let (shape, axis) = shape_with_axis(d);
                let reverse = d.flip();
                let x = d.array(&shape, 0.5, 1.5);
                let run = move |x: &[Tensor]| associative_scan(&x[0], axis as isize, reverse, |a, b| a * b);
                Sample::new(vec![x], run, move |x| {
                    along(&x[0], axis, reverse, |at, last| last.unwrap_or(1.0) * x[0].at(at))
                })
            })
        },
    ]
}

/// What each misuse says.
pub fn misfits() {
    let x = Tensor::zeros([3, 2], DType::F32, &Device::cpu());
    let other = Tensor::zeros([3, 1], DType::F32, &Device::cpu());
    let truths = Tensor::zeros([3, 2], DType::Bool, &Device::cpu());
    let whole = Tensor::zeros([3, 2], DType::I32, &Device::cpu());
    for (wrong, text) in [
        (x.cumsum(2), "cumsum: axis 2 of a tensor with 2 axes"),
        (truths.cumsum(0), "cumsum: needs numbers, found bool"),
        (x.cummax(-3).0, "cummax: axis -3 of a tensor with 2 axes"),
        (whole.logcumsumexp(0), "logcumsumexp: needs floats, found i32"),
        (Tensor::linear_scan(&x, &other, None, 0, false), "linear_scan: factors and summands"),
        (
            Tensor::linear_scan(&x, &x, Some(&other), 0, false),
            "linear_scan: the state to start from must be [1, 2]",
        ),
        (Tensor::linear_scan(&whole, &whole, None, 0, false), "linear_scan: needs floats, found i32"),
        (
            associative_scan(&vec![x.clone(), x.slice(0, 1..)], 0, false, |a: &Vec<Tensor>, _| a.clone())[0]
                .clone(),
            "associative_scan: all tensors must have one size along the axis",
        ),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("scan.rs:"), "{error}");
    }
}
