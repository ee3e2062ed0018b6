//! Interpolation against PyTorch's formulas, position by position.

use vorpal_autodiff::ops::Interpolation;
use vorpal_autodiff::{DType, Device, Tensor, grad};

use crate::common::devices;
use crate::harness::{Array, Case, Draw, Sample};
use crate::movement::ANY;

/// Elements of one axis and their weights that make element `i` of the result.
fn taps(i: usize, from: usize, to: usize, mode: Interpolation, aligned: bool) -> Vec<(usize, f64)> {
    let last = from as isize - 1;
    let place = match (aligned, to) {
        (true, 1) => 0.0,
        (true, _) => i as f64 * last as f64 / (to - 1) as f64,
        (false, _) => (i as f64 + 0.5) * from as f64 / to as f64 - 0.5,
    };
    let clip = |k: isize| k.clamp(0, last) as usize;
    match mode {
        Interpolation::Nearest => vec![(i * from / to, 1.0)],
        Interpolation::Linear => {
            let place = place.max(0.0);
            let (low, t) = (place.floor() as isize, place - place.floor());
            vec![(clip(low), 1.0 - t), (clip(low + 1), t)]
        }
        Interpolation::Cubic => {
            let (low, t) = (place.floor() as isize, place - place.floor());
            let kernel = |x: f64| {
                let (a, x) = (-0.75, x.abs());
                match x {
                    _ if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
                    _ if x < 2.0 => a * (x.powi(3) - 5.0 * x.powi(2) + 8.0 * x - 4.0),
                    _ => 0.0,
                }
            };
            (-1..3).map(|k| (clip(low + k), kernel(t - k as f64))).collect()
        }
    }
}

fn image(d: &mut Draw, mode: Interpolation, spatial: usize) -> Sample {
    let sizes = |d: &mut Draw| -> Vec<usize> { (0..spatial).map(|_| d.full_axis().min(5)).collect() };
    let (from, to) = (sizes(d), sizes(d));
    let aligned = mode != Interpolation::Nearest && d.flip();
    let shape = [&[d.axis().min(2), d.axis().min(2)], &from[..]].concat();
    let out = [&shape[..2], &to[..]].concat();
    let x = d.array(&shape, -2.0, 2.0);
    let size = to.clone();
    let run = move |x: &[Tensor]| x[0].interpolate(&size, mode, aligned);
    Sample::new(vec![x], run, move |x| {
        let mut x = x[0].clone();
        for axis in 0..spatial {
            let mut shape = x.shape.clone();
            shape[axis + 2] = to[axis];
            x = Array::from_fn(&shape, |at| {
                let mut place = at.to_vec();
                let mut sum = 0.0;
                for (k, weight) in taps(at[axis + 2], from[axis], to[axis], mode, aligned) {
                    place[axis + 2] = k;
                    sum += weight * x.at(&place);
                }
                sum
            });
        }
        assert_eq!(x.shape, out);
        x
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        Case { dtypes: ANY, ..Case::smooth("interpolate, nearest", |d| image(d, Interpolation::Nearest, 2)) },
        Case::smooth("interpolate, linear", |d| image(d, Interpolation::Linear, 1)),
        Case::smooth("interpolate, bilinear", |d| image(d, Interpolation::Linear, 2)),
        Case::smooth("interpolate, trilinear", |d| image(d, Interpolation::Linear, 3)),
        Case::smooth("interpolate, bicubic", |d| image(d, Interpolation::Cubic, 2)),
    ]
}

/// Values of PyTorch's documentation of `torch.nn.Upsample`.
pub fn published() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &device);
        let nearest = x.interpolate(&[4, 4], Interpolation::Nearest, false).to_vec::<f32>();
        let rows = [[1.0f32, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]];
        assert_eq!(nearest, Ok([rows[0], rows[0], rows[1], rows[1]].concat()));
        let found = x.interpolate(&[4, 4], Interpolation::Linear, false).to_vec::<f32>();
        let expected = [
            [1.0f32, 1.25, 1.75, 2.0],
            [1.5, 1.75, 2.25, 2.5],
            [2.5, 2.75, 3.25, 3.5],
            [3.0, 3.25, 3.75, 4.0],
        ];
        assert_eq!(found, Ok(expected.concat()), "{device}");
        let found = x.interpolate(&[4, 4], Interpolation::Linear, true).to_vec::<f32>().expect("values");
        let first = [1.0f32, 1.3333, 1.6667, 2.0];
        assert!(found.iter().zip(first).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
    }
}

/// A constant stays what it is at sizes far apart, and its derivative is shared out without loss.
pub fn weights_add_up_to_one() {
    for device in devices() {
        for (from, to) in [(3, 20_000), (20_000, 7), (1000, 999)] {
            for mode in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
                let x = Tensor::full([1, 1, from], 3.0, DType::F32, &device);
                let out = x.interpolate(&[to], mode, false).to_vec::<f32>().expect("values");
                let far = out.iter().map(|v| (v - 3.0).abs()).fold(0.0, f32::max);
                assert!(out.len() == to && far < 2e-6, "{mode:?} from {from} to {to} on {device}: {far}");
                let slope = grad(&x, |x| x.interpolate(&[to], mode, false).sum_all()).expect("a derivative");
                let sum = slope.sum_all().item::<f32>().expect("a value");
                let error = (sum / to as f32 - 1.0).abs();
                assert!(error < 1e-5, "{mode:?} from {from} to {to} on {device}: {error}");
            }
        }
    }
}

pub fn misfits() {
    let x = Tensor::zeros([1, 1, 2, 3], DType::F32, &Device::cpu());
    let linear = Interpolation::Linear;
    let wrong = [
        (x.interpolate(&[4], linear, false), "interpolate: 1 sizes for 2 axes behind the channels"),
        (x.interpolate(&[4, 0], linear, false), "an empty axis cannot be brought to [4, 0] elements"),
        (
            x.cast(DType::I32).interpolate(&[4, 4], linear, false),
            "interpolate: Linear needs floats, found i32",
        ),
        (x.interpolate(&[4, 4], Interpolation::Nearest, true), "interpolate: Nearest does not align corners"),
        (x.interpolate(&[4, 1 << 30], linear, false), "from 3 to 1073741824 elements do not fit 32 bits"),
    ];
    for (tensor, text) in wrong {
        let error = tensor.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("interpolate.rs:"), "{error}");
    }
}
