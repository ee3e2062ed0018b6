//! Scatter and segments.

use vorpal_autodiff::ops::ScatterReduce;
use vorpal_autodiff::{DType, Device, Tensor};

use crate::common::devices;
use crate::harness::{Array, Case, Draw, Holds, NUMBERS, Sample};

const CORNERS: Holds = Err("the first derivative is constant where it exists");

/// Values `[n, …]`, numbers below `segments`, sorted or not.
struct Segments {
    inputs: Vec<Array>,
    segments: usize,
    sorted: bool,
}

fn segments(d: &mut Draw, low: f64, high: f64) -> Segments {
    let mut shape = d.shape(0, 2);
    shape.insert(0, d.axis());
    let (segments, sorted) = (d.full_axis(), d.flip());
    let mut ids = d.numbers(&shape[..1], segments);
    if sorted {
        ids.data.sort_by(f64::total_cmp);
    }
    Segments { inputs: vec![d.array(&shape, low, high), ids], segments, sorted }
}

/// The elements of every segment at one place of the other axes, combined.
fn combined(x: &[Array], segments: usize, f: impl Fn(&[f64]) -> f64) -> Array {
    let mut shape = x[0].shape.clone();
    let n = shape[0];
    shape[0] = segments;
    Array::from_fn(&shape, |at| {
        let mut place = at.to_vec();
        let mut list = Vec::new();
        for k in (0..n).filter(|&k| x[1].data[k] == at[0] as f64) {
            place[0] = k;
            list.push(x[0].at(&place));
        }
        f(&list)
    })
}

/// Sorted numbers are the same in every example: the harness would turn them.
fn steady(sorted: bool) -> &'static [usize] {
    if sorted { &[1] } else { &[] }
}

type SegmentOp = fn(&Tensor, &Tensor, usize, bool) -> Tensor;

fn segment_op(d: &mut Draw, run: SegmentOp, f: fn(&[f64]) -> f64) -> Sample {
    let Segments { inputs, segments, sorted } = segments(d, 0.0, 9.0);
    Sample::new(inputs, move |x| run(&x[0], &x[1], segments, sorted), move |x| combined(x, segments, f))
        .with_steady(steady(sorted))
}

fn mean(list: &[f64]) -> f64 {
    list.iter().sum::<f64>() / list.len().max(1) as f64
}

/// A tensor, numbers for an axis, and a source.
fn scattered(d: &mut Draw, low: f64, high: f64) -> (Vec<Array>, usize) {
    let mut shape = d.shape(1, 3);
    let axis = d.whole(0, shape.len() - 1);
    shape[axis] = shape[axis].max(1);
    let mut of_index = shape.clone();
    of_index[axis] = d.axis();
    let numbers = d.numbers(&of_index, shape[axis]);
    (vec![d.array(&shape, low, high), numbers, d.array(&of_index, low, high)], axis)
}

/// `f` of the own element and those of the source with its number, at every place.
fn gathered(x: &[Array], axis: usize, f: impl Fn(f64, &[f64]) -> f64) -> Array {
    Array::from_fn(&x[0].shape, |at| {
        let mut place = at.to_vec();
        let mut list = Vec::new();
        for k in 0..x[1].shape[axis] {
            place[axis] = k;
            if x[1].at(&place) == at[axis] as f64 {
                list.push(x[2].at(&place));
            }
        }
        f(x[0].at(at), &list)
    })
}

fn scatter_reduce(d: &mut Draw, reduce: ScatterReduce, f: fn(&[f64]) -> f64) -> Sample {
    let ((inputs, axis), include_self) = (scattered(d, 0.0, 9.0), d.flip());
    let run = move |x: &[Tensor]| x[0].scatter_reduce(axis as isize, &x[1], &x[2], reduce, include_self);
    Sample::new(inputs, run, move |x| {
        gathered(x, axis, |own, list| match (include_self, list.is_empty()) {
            (_, true) => own,
            (false, _) => f(list),
            (true, _) => f(&[&[own], list].concat()),
        })
    })
}

fn largest(list: &[f64]) -> f64 {
    list.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn smallest(list: &[f64]) -> f64 {
    list.iter().copied().fold(f64::INFINITY, f64::min)
}

fn sum(list: &[f64]) -> f64 {
    list.iter().sum()
}

/// Extremes in which every number has an element: central differences of infinities are none.
fn extreme(d: &mut Draw, run: SegmentOp, f: fn(&[f64]) -> f64) -> Sample {
    let Segments { mut inputs, segments, sorted } = segments(d, 0.0, 9.0);
    let n = segments.max(inputs[0].shape[0]);
    let ids = &mut inputs[1];
    ids.data.resize(n, 0.0);
    ids.shape = vec![n];
    (0..segments).for_each(|k| ids.data[k] = k as f64);
    if sorted {
        ids.data.sort_by(f64::total_cmp);
    }
    let mut shape = inputs[0].shape.clone();
    shape[0] = n;
    inputs[0] = d.array(&shape, 0.0, 9.0);
    Sample::new(inputs, move |x| run(&x[0], &x[1], segments, sorted), move |x| combined(x, segments, f))
        .with_steady(steady(sorted))
}

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("segment_sum", |d| {
                segment_op(d, |x, ids, n, sorted| x.segment_sum(ids, n, sorted), sum)
            })
        },
        Case::smooth("segment_mean", |d| {
            segment_op(d, |x, ids, n, sorted| x.segment_mean(ids, n, sorted), mean)
        }),
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("segment_max", |d| {
                extreme(d, |x, ids, n, sorted| x.segment_max(ids, n, sorted), largest)
            })
        },
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("segment_min", |d| {
                extreme(d, |x, ids, n, sorted| x.segment_min(ids, n, sorted), smallest)
            })
        },
        Case::smooth("segment_softmax", |d| {
            let Segments { inputs, segments, sorted } = segments(d, -3.0, 3.0);
            let run = move |x: &[Tensor]| x[0].segment_softmax(&x[1], segments, sorted);
            let kept = steady(sorted);
            Sample::new(inputs, run, move |x| {
                let sums = combined(x, segments, |list| list.iter().map(|v| v.exp()).sum());
                Array::from_fn(&x[0].shape, |at| {
                    let mut of_sum = at.to_vec();
                    of_sum[0] = x[1].data[at[0]] as usize;
                    x[0].at(at).exp() / sums.at(&of_sum)
                })
            })
            .with_steady(kept)
        }),
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("scatter", |d| {
                let (inputs, axis) = scattered(d, 0.0, 9.0);
                let run = move |x: &[Tensor]| x[0].scatter(axis as isize, &x[1], &x[2]);
                Sample::new(inputs, run, move |x| {
                    gathered(x, axis, |own, list| list.last().copied().unwrap_or(own))
                })
            })
        },
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("scatter_reduce sum", |d| scatter_reduce(d, ScatterReduce::Sum, sum))
        },
        Case::smooth("scatter_reduce mean", |d| scatter_reduce(d, ScatterReduce::Mean, mean)),
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("scatter_reduce max", |d| scatter_reduce(d, ScatterReduce::Max, largest))
        },
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("scatter_reduce min", |d| scatter_reduce(d, ScatterReduce::Min, smallest))
        },
    ]
}

/// Numbers without elements, shares of equals.
pub fn edges() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, 2.0, 2.0], [3], &device);
        let list = |ids: &[i32]| Tensor::from_slice(ids, [ids.len()], &device);
        let top = x.segment_max(&list(&[0, 2, 2]), 3, true).to_vec::<f32>().expect("values");
        assert_eq!(top, [1.0, f32::NEG_INFINITY, 2.0]);
        let shares = vorpal_autodiff::grad(&x, |x| {
            x.segment_max(&list(&[0, 2, 2]), 3, true).narrow(0, 2, 1).sum_all()
        });
        assert_eq!(shares.expect("a derivative").to_vec::<f32>().expect("values"), [0.0, 0.5, 0.5]);
    }
}

/// What each misuse says.
pub fn misfits() {
    let x = Tensor::zeros([3, 2], DType::F32, &Device::cpu());
    let (whole, list) = (x.cast(DType::I32), Tensor::zeros([3], DType::I32, &Device::cpu()));
    for (wrong, text) in [
        (
            x.segment_sum(&whole, 3, false),
            "segment_sum: needs a list of one number for each element of axis 0",
        ),
        (
            x.segment_max(&list.cast(DType::F32), 3, false),
            "segment_max: numbers must be i32 or u32, found f32",
        ),
        (whole.segment_mean(&list, 3, false), "segment_mean: needs floats, found i32"),
        (whole.segment_softmax(&list, 3, false), "segment_softmax: needs floats, found i32"),
        (x.scatter(2, &whole, &x), "scatter: axis 2 of a tensor with 2 axes"),
        (x.scatter(0, &whole, &x.t()), "scatter: index and source must have one shape"),
        (x.scatter(0, &x, &x), "scatter: needs numbers i32 or u32"),
        (
            whole.scatter_reduce(0, &whole, &whole, ScatterReduce::Mean, true),
            "scatter_reduce: needs floats, found i32",
        ),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("segment.rs:"), "{error}");
    }
}
