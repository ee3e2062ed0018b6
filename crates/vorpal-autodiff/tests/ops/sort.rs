//! Sorting, searching, counting.

use vorpal_autodiff::{DType, Device, Tensor, grad, vmap};

use crate::common::devices;
use crate::harness::{Array, Case, Draw, Holds, NUMBERS, Role, Sample};

const POSITION: &str = "positions and counts are whole numbers";
const CORNERS: Holds = Err("the first derivative is constant where it exists");

/// A shape with an axis that is not empty, and that axis.
fn shape_with_axis(d: &mut Draw, least: usize) -> (Vec<usize>, usize) {
    let mut shape = d.shape(1, 3);
    let axis = d.whole(0, shape.len() - 1);
    shape[axis] = shape[axis].max(least);
    (shape, axis)
}

/// The line of `x` along an axis through a place.
fn line(x: &Array, axis: usize, at: &[usize]) -> Vec<f64> {
    let mut place = at.to_vec();
    (0..x.shape[axis])
        .map(|k| {
            place[axis] = k;
            x.at(&place)
        })
        .collect()
}

/// Positions of a line in order.
fn order(line: &[f64], descending: bool) -> Vec<usize> {
    let mut out: Vec<usize> = (0..line.len()).collect();
    out.sort_by(|&a, &b| {
        let by_value = line[a].total_cmp(&line[b]);
        if descending { by_value.reverse() } else { by_value }
    });
    out
}

/// `f` of the sorted line, its order and the place in it, at every place of a result that has `size` along the axis.
fn sorted(
    x: &Array,
    axis: usize,
    size: usize,
    descending: bool,
    f: impl Fn(&[f64], &[usize], usize) -> f64,
) -> Array {
    let mut shape = x.shape.clone();
    shape[axis] = size;
    Array::from_fn(&shape, |at| {
        let line = line(x, axis, at);
        f(&line, &order(&line, descending), at[axis])
    })
}

pub fn cases() -> Vec<Case> {
    orders().into_iter().chain(counts()).collect()
}

/// Sorting and what it gives.
fn orders() -> Vec<Case> {
    vec![
        Case {
            dtypes: NUMBERS,
            ..Case::flat("argsort", POSITION, |d| {
                let ((shape, axis), descending) = (shape_with_axis(d, 0), d.flip());
                // Equals are common.
                let x = d.array(&shape, 0.0, 4.0).map(f64::round);
                Sample::new(
                    vec![x],
                    move |x| x[0].argsort(axis as isize, descending),
                    move |x| {
                        let size = x[0].shape[axis];
                        sorted(&x[0], axis, size, descending, |_, order, k| order[k] as f64)
                    },
                )
            })
        },
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("sort", |d| {
                let ((shape, axis), descending) = (shape_with_axis(d, 0), d.flip());
                let x = d.array(&shape, 0.0, 9.0);
                Sample::new(
                    vec![x],
                    move |x| x[0].sort(axis as isize, descending).0,
                    move |x| {
                        let size = x[0].shape[axis];
                        sorted(&x[0], axis, size, descending, |line, order, k| line[order[k]])
                    },
                )
            })
        },
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("topk", |d| {
                let ((shape, axis), largest) = (shape_with_axis(d, 1), d.flip());
                let k = d.whole(0, shape[axis]);
                let x = d.array(&shape, 0.0, 9.0);
                Sample::new(
                    vec![x],
                    move |x| x[0].topk(k, axis as isize, largest).0,
                    move |x| sorted(&x[0], axis, k, largest, |line, order, k| line[order[k]]),
                )
            })
        },
        Case {
            dtypes: NUMBERS,
            second: CORNERS,
            ..Case::smooth("median", |d| {
                let (shape, axis) = shape_with_axis(d, 1);
                let x = d.array(&shape, 0.0, 9.0);
                Sample::new(
                    vec![x],
                    move |x| x[0].median(axis as isize),
                    move |x| {
                        let middle =
                            sorted(&x[0], axis, 1, false, |line, order, _| line[order[(line.len() - 1) / 2]]);
                        let mut shape = middle.shape.clone();
                        shape.remove(axis);
                        Array { shape, ..middle }
                    },
                )
            })
        },
    ]
}

/// Searching and counting.
fn counts() -> Vec<Case> {
    vec![
        Case {
            dtypes: NUMBERS,
            ..Case::flat("searchsorted", POSITION, |d| {
                let (rows, len, count, shared, right) = (d.axis(), d.axis(), d.axis(), d.flip(), d.flip());
                let of_edges = if shared { vec![len] } else { vec![rows, len] };
                let mut edges = d.array(&of_edges, 0.0, 6.0).map(f64::round);
                edges.data.chunks_mut(len.max(1)).for_each(|row| row.sort_by(f64::total_cmp));
                let x = d.array(&[rows, count], 0.0, 6.0).map(f64::round);
                Sample::new(
                    vec![edges, x],
                    move |x| x[0].searchsorted(&x[1], right),
                    move |x| {
                        Array::from_fn(&[rows, count], |at| {
                            let v = x[1].at(at);
                            let edge = |k| if shared { x[0].at(&[k]) } else { x[0].at(&[at[0], k]) };
                            (0..len).filter(|&k| if right { edge(k) <= v } else { edge(k) < v }).count()
                                as f64
                        })
                    },
                )
            })
        },
        Case {
            dtypes: &[DType::I32, DType::U32],
            ..Case::flat("bincount", POSITION, |d| {
                let (shape, size) = (d.shape(0, 2), d.full_axis());
                let x = d.numbers(&shape, size).with_role(Role::Value);
                Sample::new(
                    vec![x],
                    move |x| x[0].bincount(size),
                    move |x| {
                        Array::from_fn(&[size], |at| {
                            x[0].data.iter().filter(|&&v| v == at[0] as f64).count() as f64
                        })
                    },
                )
            })
        },
        Case::flat("histogram", POSITION, |d| {
            let (shape, bins) = (d.shape(0, 2), d.full_axis());
            // Multiples of 1/4, which every dtype holds, and with them the ends of intervals.
            let x = d.array(&shape, -4.0, 4.0 + bins as f64 * 4.0).map(f64::round).map(|v| v / 4.0);
            Sample::new(
                vec![x],
                move |x| x[0].histogram(bins, 0.0, bins as f64),
                move |x| {
                    Array::from_fn(&[bins], |at| {
                        let (low, last) = (at[0] as f64, at[0] + 1 == bins);
                        let inside = |&&v: &&f64| v >= low && (v < low + 1.0 || (last && v == low + 1.0));
                        x[0].data.iter().filter(inside).count() as f64
                    })
                },
            )
        }),
    ]
}

/// NaN and zeros of both signs; permutations.
pub fn edges() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, f32::NAN, -1.0, 0.0, -0.0, f32::INFINITY], [6], &device);
        assert_eq!(x.argsort(0, false).to_vec::<i32>().expect("an order"), [2, 3, 4, 0, 5, 1]);
        assert_eq!(x.argsort(0, true).to_vec::<i32>().expect("an order"), [1, 5, 0, 3, 4, 2]);
        assert!(x.median(0).item::<f32>().expect("a value").is_nan());
        let _keys = device.fork_rng(12);
        let p = Tensor::permutation(1000, &device).to_vec::<i32>().expect("numbers");
        assert_ne!(p, (0..1000).collect::<Vec<i32>>());
        let mut all = p.clone();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<i32>>());
        assert_ne!(Tensor::permutation(1000, &device).to_vec::<i32>().expect("numbers"), p);
    }
}

/// The few largest and smallest are the first of all in order, wherever elements lie, and so are derivatives.
pub fn few() {
    let count = 3 * 700;
    let raw: Vec<f32> = (0..count)
        .map(|k: usize| match k.wrapping_mul(2_654_435_761) % 1009 {
            0..3 => f32::NAN,
            3..6 => f32::NEG_INFINITY,
            6..9 => f32::INFINITY,
            9..40 => -0.0,
            v => (v / 4) as f32 - 100.0,
        })
        .collect();
    let bits =
        |x: &Tensor| x.to_vec::<f32>().expect("values").iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for device in devices() {
        let rows = Tensor::from_slice(&raw, [3, 700], &device);
        let columns = Tensor::from_slice(&raw, [700, 3], &device);
        for (x, axis) in [(&rows, 1), (&columns, 0), (&columns.t(), -1), (&rows.flip(1).narrow(1, 1, 600), 1)]
        {
            for (k, largest) in [(0, true), (1, false), (8, true), (8, false), (300, true), (600, false)] {
                let (values, places) = x.topk(k, axis, largest);
                let (all, order) = x.sort(axis, largest);
                let (all, order) = (all.narrow(axis, 0, k), order.narrow(axis, 0, k));
                assert_eq!(bits(&values), bits(&all), "{device}: {k} along {axis}");
                assert_eq!(places.to_vec::<i32>(), order.to_vec::<i32>(), "{device}: {k} along {axis}");
            }
        }
        let part = |x: &Tensor, all: bool| {
            if all { x.sort(-1, true).0.narrow(-1, 0, 5) } else { x.topk(5, -1, true).0 }
        };
        let weights = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0], [5], &device);
        let back =
            |all: bool| bits(&grad(&rows, |x| (part(x, all) * &weights).sum_all()).expect("a derivative"));
        assert_eq!(back(false), back(true), "{device}");
        let each = |all: bool| vmap(&rows, 0, |x| part(x, all)).expect("examples");
        assert_eq!(bits(&each(false)), bits(&each(true)), "{device}");
        // Rows with NaN have it in the middle, and the derivative goes to the last one.
        let x = Tensor::from_slice(&[3.0f32, 1.0, 2.0, f32::NAN, 0.0, f32::NAN], [2, 3], &device);
        assert_eq!(bits(&x.median(1)), [2.0, f32::NAN].map(f32::to_bits), "{device}");
        let back = grad(&x, |x| x.median(1).sum_all()).expect("a derivative").to_vec::<f32>();
        assert_eq!(back, Ok(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0]), "{device}");
        let edges = Tensor::from_slice(&[f32::NAN, 0.0, 1.0, 0.999, 1.001, -0.001, 0.5], [7], &device);
        assert_eq!(edges.histogram(2, 0.0, 1.0).to_vec::<i32>(), Ok(vec![1, 3]), "{device}");
        let numbers = Tensor::from_slice(&[0i32, 1, 1, 2, 2, 2], [2, 3], &device);
        let each = vmap(&numbers, 0, |x| x.bincount(3)).expect("examples").to_vec::<i32>();
        assert_eq!(each, Ok(vec![1, 2, 0, 0, 0, 3]), "{device}");
    }
}

/// What each misuse says.
pub fn misfits() {
    let x = Tensor::zeros([3, 2], DType::F32, &Device::cpu());
    let whole = Tensor::zeros([0], DType::I32, &Device::cpu());
    for (wrong, text) in [
        (x.argsort(2, false), "argsort: axis 2 of a tensor with 2 axes"),
        (x.sort(-3, false).0, "sort: axis -3 of a tensor with 2 axes"),
        (x.topk(3, 1, true).1, "topk: asked for 3 elements of 2"),
        (whole.median(0), "median: an empty axis has none"),
        (x.searchsorted(&x.t(), false), "searchsorted: boundaries must be a list"),
        (x.bincount(4), "bincount: numbers must be i32 or u32, found f32"),
        (whole.histogram(4, 0.0, 1.0), "histogram: needs floats, found i32"),
        (x.histogram(0, 0.0, 1.0), "histogram: cannot cut 0..1 into 0 intervals"),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("sort.rs:"), "{error}");
    }
}
