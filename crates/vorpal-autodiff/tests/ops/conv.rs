//! Convolutions.

use vorpal_autodiff::ops::{ConvOptions, ConvTransposeOptions, Padding};

use crate::harness::{Array, Case, Draw, Sample};

/// How a window moves along an axis of images, in plain numbers.
#[derive(Clone, Copy, Debug)]
pub struct Along {
    pub size: usize,
    pub window: usize,
    pub stride: usize,
    pub front: usize,
    pub dilation: usize,
    pub places: usize,
}

impl Along {
    /// The pixel under element `k` of the window at place `o`.
    pub fn pixel(&self, o: usize, k: usize) -> Option<usize> {
        let at = (o * self.stride + k * self.dilation) as isize - self.front as isize;
        (0..self.size as isize).contains(&at).then_some(at as usize)
    }
}

/// All places below some sizes, in order.
pub fn places(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut out = Vec::new();
    Array::from_fn(sizes, |at| {
        out.push(at.to_vec());
        0.0
    });
    out
}

/// The pixel under an element of the window on every axis.
fn pixel(along: &[Along], o: &[usize], k: &[usize]) -> Option<Vec<usize>> {
    along.iter().zip(o.iter().zip(k)).map(|(a, (&o, &k))| a.pixel(o, k)).collect()
}

fn joined(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().chain(b).copied().collect()
}

/// Adds every product of images `[n, groups · channels, …]`, filters `[groups · filters, channels, …]` and results
/// `[n, groups · filters, …]` through `f(image, filter, result)`.
fn products(
    along: &[Along],
    [batch, groups, channels, filters]: [usize; 4],
    mut f: impl FnMut(&[usize], &[usize], &[usize]),
) {
    let (outs, elements) = (
        places(&along.iter().map(|a| a.places).collect::<Vec<_>>()),
        places(&along.iter().map(|a| a.window).collect::<Vec<_>>()),
    );
    for at in places(&[batch, groups, channels, filters]) {
        let (n, channel, filter) = (at[0], at[1] * channels + at[2], at[1] * filters + at[3]);
        for o in &outs {
            for k in &elements {
                if let Some(i) = pixel(along, o, k) {
                    f(&joined(&[n, channel], &i), &joined(&[filter, at[2]], k), &joined(&[n, filter], o));
                }
            }
        }
    }
}

/// Index of a place.
fn index(shape: &[usize], at: &[usize]) -> usize {
    at.iter().zip(shape).fold(0, |sum, (&k, &size)| sum * size + k)
}

/// The bias, spread over channels.
fn spread(shape: &[usize], bias: Option<&Array>) -> Array {
    Array::from_fn(shape, |at| bias.map_or(0.0, |b| b.at(&at[1..2])))
}

/// Batch, groups, channels and filters.
fn counts(draw: &mut Draw, depthwise: bool) -> [usize; 4] {
    let batch = draw.axis().min(2);
    if depthwise {
        return [batch, draw.whole(2, 3), 1, draw.whole(1, 2)];
    }
    [batch, draw.whole(1, 2), draw.whole(1, 2), draw.whole(1, 2 + draw.size / 3)]
}

fn convolution<const N: usize>(draw: &mut Draw, depthwise: bool) -> Sample {
    let [batch, groups, channels, filters] = counts(draw, depthwise);
    let mut options = ConvOptions::<N> { groups, ..ConvOptions::default() };
    let (stride, dilation) = ([0; N].map(|_| draw.whole(1, 3)), [0; N].map(|_| draw.whole(1, 2)));
    (options.stride, options.dilation) = (stride, dilation);
    let window = [0; N].map(|_| draw.whole(1, if N == 3 { 2 } else { 3 }));
    let zeros = [0; N].map(|_| draw.whole(0, 2));
    options.padding = match draw.whole(0, 5) {
        0 => Padding::Same,
        1 => Padding::Causal,
        2 => Padding::Valid,
        _ => zeros.into(),
    };
    let along: Vec<Along> = (0..N)
        .map(|k| {
            let (s, d) = (stride[k], dilation[k]);
            let reach = (window[k] - 1) * d + 1;
            let least = match options.padding {
                Padding::Zeros(zeros) => reach.saturating_sub(2 * zeros[k]).max(1),
                Padding::Valid => reach,
                _ => 1,
            };
            let size = least + draw.whole(0, draw.size.min(if N == 3 { 2 } else { 5 }));
            let (front, places) = match options.padding {
                Padding::Zeros(zeros) => (zeros[k], (size + 2 * zeros[k] - reach) / s + 1),
                Padding::Valid => (0, (size - reach) / s + 1),
                Padding::Causal => (reach - 1, (size - 1) / s + 1),
                Padding::Same => {
                    let places = size.div_ceil(s);
                    (((places - 1) * s + reach).saturating_sub(size) / 2, places)
                }
            };
            Along { size, window: window[k], stride: s, front, dilation: d, places }
        })
        .collect();
    let list = |f: fn(&Along) -> usize| along.iter().map(f).collect::<Vec<_>>();
    let x = draw.array(&joined(&[batch, groups * channels], &list(|a| a.size)), -1.0, 1.0);
    let w = draw.array(&joined(&[groups * filters, channels], &list(|a| a.window)), -0.5, 0.5);
    let result = joined(&[batch, groups * filters], &list(|a| a.places));
    let mut inputs = vec![x, w];
    if draw.flip() {
        inputs.push(draw.array(&[groups * filters], -0.5, 0.5));
    }
    Sample::new(
        inputs,
        move |x| x[0].conv(&x[1], x.get(2), options),
        move |x| {
            let mut out = spread(&result, x.get(2));
            products(&along, [batch, groups, channels, filters], |i, f, o| {
                out.data[index(&result, o)] += x[0].at(i) * x[1].at(f);
            });
            out
        },
    )
}

fn transposed<const N: usize>(draw: &mut Draw) -> Sample {
    // Counted as by the convolution of which it is the transpose: its images are the results here.
    let [batch, groups, channels, filters] = counts(draw, false);
    let mut options = ConvTransposeOptions::<N> { groups, ..ConvTransposeOptions::default() };
    let mut along = Vec::new();
    for k in 0..N {
        let (stride, dilation) = (draw.whole(1, 3), draw.whole(1, 2));
        let window = draw.whole(1, if N == 3 { 2 } else { 3 });
        let more = draw.whole(0, stride.max(dilation) - 1);
        let places = 1 + draw.whole(0, draw.size.min(if N == 3 { 1 } else { 4 }));
        let full = (places - 1) * stride + (window - 1) * dilation + 1 + more;
        let front = draw.whole(0, ((full - 1) / 2).min(2));
        (options.stride[k], options.dilation[k]) = (stride, dilation);
        (options.padding[k], options.output_padding[k]) = (front, more);
        along.push(Along { size: full - 2 * front, window, stride, front, dilation, places });
    }
    let list = |f: fn(&Along) -> usize| along.iter().map(f).collect::<Vec<_>>();
    let x = draw.array(&joined(&[batch, groups * filters], &list(|a| a.places)), -1.0, 1.0);
    let w = draw.array(&joined(&[groups * filters, channels], &list(|a| a.window)), -0.5, 0.5);
    let result = joined(&[batch, groups * channels], &list(|a| a.size));
    let mut inputs = vec![x, w];
    if draw.flip() {
        inputs.push(draw.array(&[groups * channels], -0.5, 0.5));
    }
    Sample::new(
        inputs,
        move |x| x[0].conv_transpose(&x[1], x.get(2), options),
        move |x| {
            let mut out = spread(&result, x.get(2));
            products(&along, [batch, groups, channels, filters], |i, f, o| {
                out.data[index(&result, i)] += x[0].at(o) * x[1].at(f);
            });
            out
        },
    )
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::smooth("conv1d", |d| convolution::<1>(d, false)),
        Case::smooth("conv2d", |d| convolution::<2>(d, false)),
        Case::smooth("conv2d, depthwise", |d| convolution::<2>(d, true)),
        Case::smooth("conv3d", |d| convolution::<3>(d, false)),
        Case::smooth("conv_transpose1d", transposed::<1>),
        Case::smooth("conv_transpose2d", transposed::<2>),
        Case::smooth("conv_transpose3d", transposed::<3>),
    ]
}
