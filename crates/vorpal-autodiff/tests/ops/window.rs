//! Windows, their adjoint, columns of images, pixels in channels.

use vorpal_autodiff::ops::Unfold2dOptions;
use vorpal_autodiff::{DType, Device, Tensor};

use crate::common::devices;
use crate::harness::{Array, Case, Draw, FLOATS, Sample};
use crate::movement::{ANY, moved};

/// Windows on an axis: its size, their number, size, step and dilation.
fn windows(d: &mut Draw) -> [usize; 5] {
    let (size, step, dilation) = (d.whole(1, 4), d.whole(1, 3), d.whole(1, 3));
    let (count, rest) = (d.full_axis(), d.whole(0, 2));
    let len = (count - 1) * step + (size - 1) * dilation + 1 + rest;
    [len, (len - (size - 1) * dilation - 1) / step + 1, size, step, dilation]
}

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            dtypes: ANY,
            ..Case::smooth("unfold", |d| {
                let [len, count, size, step, dilation] = windows(d);
                let (outer, inner) = (d.axis(), d.axis());
                let x = d.array(&[outer, len, inner], -2.0, 2.0);
                let from = move |at: &[usize]| Some(vec![at[0], at[1] * step + at[3] * dilation, at[2]]);
                let run = move |x: &[Tensor]| x[0].unfold(-2, size, step, dilation);
                Sample::new(vec![x], run, move |x| moved(&x[0], &[outer, count, inner, size], from))
            })
        },
        Case {
            dtypes: FLOATS,
            ..Case::smooth("overlap_add", |d| {
                let [len, count, size, step, dilation] = windows(d);
                let (outer, inner) = (d.axis(), d.axis());
                let x = d.array(&[outer, count, inner, size], -2.0, 2.0);
                let run = move |x: &[Tensor]| x[0].overlap_add(1, len, step, dilation);
                Sample::new(vec![x], run, move |x| {
                    let mut out = Array::from_fn(&[outer, len, inner], |_| 0.0);
                    Array::from_fn(&x[0].shape, |at| {
                        let place = (at[0] * len + at[1] * step + at[3] * dilation) * inner + at[2];
                        out.data[place] += x[0].at(at);
                        0.0
                    });
                    out
                })
            })
        },
        Case { dtypes: ANY, ..Case::smooth("unfold2d", |d| columns(d, false)) },
        Case::smooth("fold2d", |d| columns(d, true)),
        Case {
            dtypes: ANY,
            ..Case::smooth("pixel_shuffle, pixel_unshuffle", |d| {
                let (r, channels, height, width) = (d.whole(1, 3), d.axis(), d.axis(), d.axis());
                let up = d.flip();
                let front = d.shape(0, 2);
                let packed = [&front[..], &[channels * r * r, height, width]].concat();
                let flat = [&front[..], &[channels, height * r, width * r]].concat();
                let (from, to) = if up { (packed, flat) } else { (flat, packed) };
                let x = d.array(&from, -2.0, 2.0);
                let n = front.len();
                let run =
                    move |x: &[Tensor]| if up { x[0].pixel_shuffle(r) } else { x[0].pixel_unshuffle(r) };
                let place = move |at: &[usize]| {
                    let (c, i, j) = (at[n], at[n + 1], at[n + 2]);
                    let inner = match up {
                        true => [c * r * r + i % r * r + j % r, i / r, j / r],
                        false => [c / (r * r), i * r + c / r % r, j * r + c % r],
                    };
                    Some([&at[..n], &inner].concat())
                };
                Sample::new(vec![x], run, move |x| moved(&x[0], &to, place))
            })
        },
    ]
}

/// Columns of images, or images of columns.
fn columns(d: &mut Draw, back: bool) -> Sample {
    let (n, channels) = (d.whole(1, 2), d.whole(1, 2));
    let kernel = [d.whole(1, 3), d.whole(1, 2)];
    let options = Unfold2dOptions {
        stride: [d.whole(1, 2), d.whole(1, 2)],
        padding: [d.whole(0, 1), d.whole(0, 2)],
        dilation: [d.whole(1, 2), d.whole(1, 2)],
    };
    let reach: Vec<usize> = (0..2).map(|k| (kernel[k] - 1) * options.dilation[k] + 1).collect();
    let fitting = |k: usize, more: usize| (reach[k] + more).saturating_sub(2 * options.padding[k]).max(1);
    let size = [fitting(0, d.whole(0, 3)), fitting(1, d.whole(0, 3))];
    let counts: Vec<usize> =
        (0..2).map(|k| (size[k] + 2 * options.padding[k] - reach[k]) / options.stride[k] + 1).collect();
    let folded = [n, channels, size[0], size[1]];
    let unfolded = [n, channels * kernel[0] * kernel[1], counts[0] * counts[1]];
    // Pixel that a place of the columns holds, unless it is padding.
    let pixel = move |at: &[usize]| {
        let (c, i, j) = (at[1] / (kernel[0] * kernel[1]), at[1] / kernel[1] % kernel[0], at[1] % kernel[1]);
        let along = |k: usize, window: usize, inside: usize| {
            let place = window * options.stride[k] + inside * options.dilation[k];
            place.checked_sub(options.padding[k]).filter(|&p| p < size[k])
        };
        Some(vec![at[0], c, along(0, at[2] / counts[1], i)?, along(1, at[2] % counts[1], j)?])
    };
    if !back {
        let x = d.array(&folded, -2.0, 2.0);
        let run = move |x: &[Tensor]| x[0].unfold2d(kernel, options);
        return Sample::new(vec![x], run, move |x| moved(&x[0], &unfolded, &pixel));
    }
    let x = d.array(&unfolded, -2.0, 2.0);
    let run = move |x: &[Tensor]| x[0].fold2d(size, kernel, options);
    Sample::new(vec![x], run, move |x| {
        let mut out = Array::from_fn(&folded, |_| 0.0);
        Array::from_fn(&unfolded, |at| {
            if let Some(place) = pixel(at) {
                let index = place.iter().zip(&folded).fold(0, |sum, (&k, &n)| sum * n + k);
                out.data[index] += x[0].at(at);
            }
            0.0
        });
        out
    })
}

/// Windows as of a spectrogram: cut and added again, every element comes back as often as windows hold it.
pub fn long_signals() {
    let (len, size) = (200_001, 400);
    for device in devices() {
        for (step, dilation) in [(160, 1), (1, 500), (80, 3)] {
            let x = Tensor::iota([len], 0, DType::I32, &device).cast(DType::F32);
            let windows = x.full_like(1.0).unfold(0, size, step, dilation);
            let count = windows.shape()[0];
            let found = windows.overlap_add(0, len, step, dilation).to_vec::<f32>().expect("values");
            let mut held = vec![0.0f32; len];
            for (k, j) in (0..count).flat_map(|k| (0..size).map(move |j| (k, j))) {
                held[k * step + j * dilation] += 1.0;
            }
            assert!(found == held, "step {step}, dilation {dilation} on {device}");
            let last = x.unfold(0, size, step, dilation).narrow(0, count - 1, 1).max([0, 1]).item::<f32>();
            assert_eq!(last, Ok(((count - 1) * step + (size - 1) * dilation) as f32));
        }
    }
}

pub fn misfits() {
    let x = Tensor::zeros([2, 5], DType::F32, &Device::cpu());
    let options = Unfold2dOptions::default();
    let image = x.reshape([1, 1, 2, 5]);
    let wrong = [
        (
            x.unfold(1, 6, 1, 1),
            "unfold: windows of 6 elements (step 1, dilation 1) do not fit an axis of size 5",
        ),
        (x.unfold(1, 2, 0, 1), "unfold: windows of 2 elements with step 0 and dilation 1: none may be 0"),
        (x.unfold(2, 1, 1, 1), "unfold: axis 2"),
        (x.overlap_add(0, 9, 1, 1), "has 5 windows of 5 elements (step 1, dilation 1), found 2"),
        (x.overlap_add(1, 9, 1, 1), "the last axis holds the elements of windows"),
        (x.sum(0).overlap_add(0, 5, 1, 1), "overlap_add: needs an axis of windows"),
        (x.unfold2d([1, 1], options), "needs [examples, channels, height, width], found 2 axes"),
        (
            image.unfold2d([3, 1], options),
            "windows of 3 elements (step 1, dilation 1) do not fit an axis of size 2",
        ),
        (image.fold2d([2, 5], [1, 1], options), "fold2d: needs [examples, channels · 1, 2 · 5]"),
        (image.pixel_shuffle(2), "pixel_shuffle: needs […, channels, height, width]"),
        (image.pixel_unshuffle(2), "pixel_unshuffle: needs […, channels, height, width]"),
    ];
    for (tensor, text) in wrong {
        let error = tensor.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("window.rs:"), "{error}");
    }
}
