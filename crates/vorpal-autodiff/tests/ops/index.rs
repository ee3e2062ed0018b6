//! Picking and adding by number.

use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, NUMBERS, Sample};

/// A shape with an axis that is not empty, and that axis.
fn shape_with_axis(d: &mut Draw) -> (Vec<usize>, usize) {
    let mut shape = d.shape(1, 3);
    let axis = d.whole(0, shape.len() - 1);
    shape[axis] = shape[axis].max(1);
    (shape, axis)
}

fn with_axis(shape: &[usize], axis: usize, size: usize) -> Vec<usize> {
    let mut out = shape.to_vec();
    out[axis] = size;
    out
}

/// `x` with elements picked along an axis by a function of their coordinates.
fn picked(x: &Array, shape: &[usize], axis: usize, number: impl Fn(&[usize]) -> f64) -> Array {
    Array::from_fn(shape, |at| {
        let mut from = at.to_vec();
        from[axis] = number(at) as usize;
        x.at(&from)
    })
}

/// `x` with elements of `source` added along an axis where a function of their coordinates says.
fn added(x: &Array, source: &Array, axis: usize, number: impl Fn(&[usize]) -> f64) -> Array {
    let mut out = x.clone();
    let shape = x.shape.clone();
    Array::from_fn(&source.shape, |at| {
        let mut to = at.to_vec();
        to[axis] = number(at) as usize;
        let place = to.iter().zip(&shape).fold(0, |sum, (&k, &size)| sum * size + k);
        out.data[place] += source.at(at);
        0.0
    });
    out
}

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("gather", |d| {
                let (shape, axis) = shape_with_axis(d);
                let of_index = with_axis(&shape, axis, d.axis());
                let inputs = vec![d.array(&shape, 0.0, 9.0), d.numbers(&of_index, shape[axis])];
                let run = move |x: &[Tensor]| x[0].gather(axis as isize, &x[1]);
                Sample::new(inputs, run, move |x| picked(&x[0], &x[1].shape, axis, |at| x[1].at(at)))
            })
        },
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("index_select", |d| {
                let (shape, axis) = shape_with_axis(d);
                let len = d.axis();
                let inputs = vec![d.array(&shape, 0.0, 9.0), d.numbers(&[len], shape[axis])];
                let run = move |x: &[Tensor]| x[0].index_select(axis as isize, &x[1]);
                let out = with_axis(&shape, axis, len);
                Sample::new(inputs, run, move |x| {
                    picked(&x[0], &out, axis, |at| x[1].at(&at[axis..axis + 1]))
                })
            })
        },
        Case {
            dtypes: NUMBERS,
            ..Case::smooth("embedding", |d| {
                let (entries, features) = (d.full_axis(), d.axis());
                let of_index = d.shape(0, 3);
                let inputs = vec![d.array(&[entries, features], 0.0, 9.0), d.numbers(&of_index, entries)];
                let run = |x: &[Tensor]| x[0].embedding(&x[1]);
                Sample::new(inputs, run, move |x| {
                    let out: Vec<usize> = of_index.iter().copied().chain([features]).collect();
                    let last = of_index.len();
                    Array::from_fn(&out, |at| x[0].at(&[x[1].at(&at[..last]) as usize, at[last]]))
                })
            })
        },
        Case::smooth("scatter_add", |d| {
            let (shape, axis) = shape_with_axis(d);
            let of_index = with_axis(&shape, axis, d.axis());
            let numbers = d.numbers(&of_index, shape[axis]);
            let inputs = vec![d.array(&shape, -1.0, 1.0), numbers, d.array(&of_index, -1.0, 1.0)];
            let run = move |x: &[Tensor]| x[0].scatter_add(axis as isize, &x[1], &x[2]);
            Sample::new(inputs, run, move |x| added(&x[0], &x[2], axis, |at| x[1].at(at)))
        }),
        Case::smooth("index_add", |d| {
            let (shape, axis) = shape_with_axis(d);
            let len = d.axis();
            let of_source = with_axis(&shape, axis, len);
            let numbers = d.numbers(&[len], shape[axis]);
            let inputs = vec![d.array(&shape, -1.0, 1.0), numbers, d.array(&of_source, -1.0, 1.0)];
            let run = move |x: &[Tensor]| x[0].index_add(axis as isize, &x[1], &x[2]);
            Sample::new(inputs, run, move |x| added(&x[0], &x[2], axis, |at| x[1].at(&at[axis..axis + 1])))
        }),
    ]
}

/// What each misuse says.
pub fn misfits() {
    let x = Tensor::zeros([3, 2], DType::F32, &Device::cpu());
    let index = Tensor::zeros([3, 3], DType::I32, &Device::cpu());
    let list = Tensor::zeros([3], DType::I32, &Device::cpu());
    for (wrong, text) in [
        (x.gather(0, &index), "gather: numbers must agree with the tensor beyond axis 0"),
        (x.gather(0, &x), "gather: numbers must be"),
        (x.gather(2, &index), "gather: axis 2 of a tensor with 2 axes"),
        (x.index_select(0, &index), "index_select: numbers must be a list"),
        (x.scatter_add(1, &index, &x), "scatter_add: the source must have shape [3, 3]"),
        (x.index_add(0, &list, &x.t()), "index_add: the source must have shape [3, 2]"),
        (x.index_add(-3, &list, &x), "index_add: axis -3 of a tensor with 2 axes"),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("index.rs:"), "{error}");
    }
}
