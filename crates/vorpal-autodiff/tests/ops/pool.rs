//! Pooling.

use std::ops::Range;

use vorpal_autodiff::Tensor;
use vorpal_autodiff::ops::PoolOptions;

use crate::conv::{Along, places};
use crate::harness::{Array, Case, Draw, Sample, WIDE};

/// The elements of a window along an axis: its pixels and how many elements count for an average.
#[derive(Clone, Debug)]
struct Window {
    pixels: Vec<usize>,
    counted: usize,
}

/// Windows of every axis of images, in order.
type Windows = Vec<Vec<Window>>;

/// Folds the pixels of every window: `f(place, its pixels (number in the plane, value), counted elements)`.
fn fold(x: &Array, windows: &Windows, f: impl Fn(&[(usize, f64)], usize) -> f64) -> Array {
    let sizes = &x.shape[2..];
    let shape: Vec<usize> = x.shape[..2].iter().copied().chain(windows.iter().map(Vec::len)).collect();
    Array::from_fn(&shape, |at| {
        let here: Vec<&Window> = windows.iter().zip(&at[2..]).map(|(axis, &o)| &axis[o]).collect();
        let counts: Vec<usize> = here.iter().map(|w| w.pixels.len()).collect();
        let pixels: Vec<(usize, f64)> = places(&counts)
            .iter()
            .map(|k| {
                let pixel: Vec<usize> = here.iter().zip(k).map(|(w, &k)| w.pixels[k]).collect();
                let number = pixel.iter().zip(sizes).fold(0, |sum, (&p, &size)| sum * size + p);
                (number, x.at(&at[..2].iter().chain(&pixel).copied().collect::<Vec<_>>()))
            })
            .collect();
        f(&pixels, here.iter().map(|w| w.counted).product())
    })
}

/// The first of the largest pixels.
fn top(pixels: &[(usize, f64)]) -> (usize, f64) {
    pixels.iter().copied().reduce(|best, next| if next.1 > best.1 { next } else { best }).expect("a pixel")
}

/// A pooling of random images in which every window sees a pixel.
fn drawn<const N: usize>(draw: &mut Draw, low: f64, high: f64) -> (Array, PoolOptions<N>, Windows) {
    loop {
        let mut options = PoolOptions::from([0; N].map(|_| draw.whole(1, 3)));
        options.stride = [0; N].map(|_| draw.whole(1, 3));
        options.dilation = [0; N].map(|_| draw.whole(1, 3).saturating_sub(1).max(1));
        (options.ceil_mode, options.count_include_pad) = (draw.flip(), draw.flip());
        let mut shape = vec![draw.axis().min(2), draw.axis().min(2)];
        let mut windows = Windows::new();
        for k in 0..N {
            let (window, dilation) = (options.window[k], options.dilation[k]);
            let (stride, reach) = (options.stride[k], (window - 1) * dilation + 1);
            let front = draw.whole(0, reach / 2);
            options.padding[k] = front;
            let more = draw.whole(0, draw.size.min(if N == 3 { 2 } else { 5 }));
            let size = reach.saturating_sub(2 * front).max(1) + more;
            let room = size + 2 * front - reach;
            let mut places = room / stride + 1;
            if options.ceil_mode {
                places = room.div_ceil(stride) + 1;
                if (places - 1) * stride >= size + front {
                    places -= 1;
                }
            }
            let along = Along { size, window, stride, front, dilation, places };
            let of = |o: usize| {
                let within = (0..window).filter(|k| o * stride + k * dilation < size + 2 * front).count();
                let pixels: Vec<usize> = (0..window).filter_map(|k| along.pixel(o, k)).collect();
                let counted = if options.count_include_pad { within } else { pixels.len() };
                Window { pixels, counted }
            };
            windows.push((0..places).map(of).collect());
            shape.push(size);
        }
        if windows.iter().flatten().all(|w| !w.pixels.is_empty()) {
            return (draw.array(&shape, low, high), options, windows);
        }
    }
}

/// One function for each number of axes.
type Of<const N: usize> = fn(&Tensor, PoolOptions<N>) -> Tensor;

fn max<const N: usize>(draw: &mut Draw, run: Of<N>) -> Sample {
    let (x, options, windows) = drawn::<N>(draw, -1.0, 1.0);
    Sample::new(vec![x], move |x| run(&x[0], options), move |x| fold(&x[0], &windows, |p, _| top(p).1))
}

fn max_places<const N: usize>(draw: &mut Draw, run: Of<N>) -> Sample {
    let (x, options, windows) = drawn::<N>(draw, -2.0, 2.0);
    // Whole numbers, many of them equal: the first of them counts.
    let x = x.map(f64::round);
    Sample::new(vec![x], move |x| run(&x[0], options), move |x| fold(&x[0], &windows, |p, _| top(p).0 as f64))
}

fn avg<const N: usize>(draw: &mut Draw, run: Of<N>) -> Sample {
    let (x, options, windows) = drawn::<N>(draw, -1.0, 1.0);
    let mean = |p: &[(usize, f64)], counted| p.iter().map(|p| p.1).sum::<f64>() / counted as f64;
    Sample::new(vec![x], move |x| run(&x[0], options), move |x| fold(&x[0], &windows, mean))
}

fn lp<const N: usize>(draw: &mut Draw, run: fn(&Tensor, f64, PoolOptions<N>) -> Tensor) -> Sample {
    let (x, mut options, windows) = drawn::<N>(draw, 0.5, 2.0);
    // As in PyTorch, where sums are averages times the elements of a whole window.
    options.count_include_pad = true;
    let p = [1.0, 2.0, 2.5, f64::INFINITY][draw.whole(0, 3)];
    let windows: Windows = windows
        .into_iter()
        .enumerate()
        .map(|(k, axis)| {
            let padded = options.padding[k] + options.padding[k] + x.shape[k + 2];
            let counted = |o: usize| {
                let element = |e: &usize| o * options.stride[k] + e * options.dilation[k] < padded;
                (0..options.window[k]).filter(element).count()
            };
            axis.into_iter().enumerate().map(|(o, w)| Window { counted: counted(o), ..w }).collect()
        })
        .collect();
    let whole = options.window.iter().product::<usize>() as f64;
    Sample::new(
        vec![x],
        move |x| run(&x[0], p, options),
        move |x| {
            fold(&x[0], &windows, |pixels, counted| {
                if p.is_infinite() {
                    return top(pixels).1;
                }
                let sum = pixels.iter().map(|x| x.1.powf(p)).sum::<f64>();
                (sum * whole / counted as f64).powf(1.0 / p)
            })
        },
    )
}

/// Images and a number of windows that share out all their pixels.
fn parts<const N: usize>(draw: &mut Draw) -> (Array, [usize; N], Windows) {
    let mut shape = vec![draw.axis().min(2), draw.axis().min(2)];
    let mut windows = Windows::new();
    let most = if N == 3 { 4 } else { 7 };
    let many = [0; N].map(|_| draw.whole(1, most));
    for parts in many {
        let size = draw.full_axis().min(most);
        shape.push(size);
        let part = |i: usize| -> Range<usize> { i * size / parts..((i + 1) * size).div_ceil(parts) };
        let of = |i: usize| Window { pixels: part(i).collect(), counted: part(i).len() };
        windows.push((0..parts).map(of).collect());
    }
    (draw.array(&shape, -1.0, 1.0), many, windows)
}

fn adaptive<const N: usize>(
    draw: &mut Draw,
    run: fn(&Tensor, [usize; N]) -> Tensor,
    f: fn(&[(usize, f64)], usize) -> f64,
) -> Sample {
    let (x, many, windows) = parts::<N>(draw);
    Sample::new(vec![x], move |x| run(&x[0], many), move |x| fold(&x[0], &windows, f))
}

fn global(draw: &mut Draw, run: fn(&Tensor) -> Tensor, f: fn(&[(usize, f64)], usize) -> f64) -> Sample {
    let mut shape = vec![draw.axis().min(2), draw.axis().min(2)];
    shape.extend((0..draw.whole(1, 3)).map(|_| draw.full_axis().min(4)));
    let whole = |&size: &usize| vec![Window { pixels: (0..size).collect(), counted: size }];
    let windows: Windows = shape[2..].iter().map(whole).collect();
    let x = draw.array(&shape, -1.0, 1.0);
    Sample::new(vec![x], move |x| run(&x[0]), move |x| fold(&x[0], &windows, f))
}

fn mean(pixels: &[(usize, f64)], counted: usize) -> f64 {
    pixels.iter().map(|p| p.1).sum::<f64>() / counted as f64
}

/// Numbers of pixels, without a derivative.
fn numbered(name: &'static str, draw: impl Fn(&mut Draw) -> Sample + 'static) -> Case {
    Case { dtypes: WIDE, ..Case::flat(name, "numbers of pixels are constant", draw) }
}

fn moving() -> Vec<Case> {
    vec![
        Case::smooth("max_pool1d", |d| max::<1>(d, |x, o| x.max_pool1d(o))),
        Case::smooth("max_pool2d", |d| max::<2>(d, |x, o| x.max_pool2d(o))),
        Case::smooth("max_pool3d", |d| max::<3>(d, |x, o| x.max_pool3d(o))),
        numbered("max_pool1d_with_indices", |d| max_places::<1>(d, |x, o| x.max_pool1d_with_indices(o).1)),
        numbered("max_pool2d_with_indices", |d| max_places::<2>(d, |x, o| x.max_pool2d_with_indices(o).1)),
        numbered("max_pool3d_with_indices", |d| max_places::<3>(d, |x, o| x.max_pool3d_with_indices(o).1)),
        Case::smooth("avg_pool1d", |d| avg::<1>(d, |x, o| x.avg_pool1d(o))),
        Case::smooth("avg_pool2d", |d| avg::<2>(d, |x, o| x.avg_pool2d(o))),
        Case::smooth("avg_pool3d", |d| avg::<3>(d, |x, o| x.avg_pool3d(o))),
        Case::smooth("lp_pool1d", |d| lp::<1>(d, |x, p, o| x.lp_pool1d(p, o))),
        Case::smooth("lp_pool2d", |d| lp::<2>(d, |x, p, o| x.lp_pool2d(p, o))),
        Case::smooth("lp_pool3d", |d| lp::<3>(d, |x, p, o| x.lp_pool3d(p, o))),
    ]
}

fn sharing_out() -> Vec<Case> {
    let top_value = |p: &[(usize, f64)], _| top(p).1;
    let top_place = |p: &[(usize, f64)], _| top(p).0 as f64;
    vec![
        Case::smooth("adaptive_avg_pool1d", |d| adaptive::<1>(d, |x, n| x.adaptive_avg_pool1d(n), mean)),
        Case::smooth("adaptive_avg_pool2d", |d| adaptive::<2>(d, |x, n| x.adaptive_avg_pool2d(n), mean)),
        Case::smooth("adaptive_avg_pool3d", |d| adaptive::<3>(d, |x, n| x.adaptive_avg_pool3d(n), mean)),
        Case::smooth("adaptive_max_pool1d", move |d| {
            adaptive::<1>(d, |x, n| x.adaptive_max_pool1d(n), top_value)
        }),
        Case::smooth("adaptive_max_pool2d", move |d| {
            adaptive::<2>(d, |x, n| x.adaptive_max_pool2d(n), top_value)
        }),
        Case::smooth("adaptive_max_pool3d", move |d| {
            adaptive::<3>(d, |x, n| x.adaptive_max_pool3d(n), top_value)
        }),
        numbered("adaptive_max_pool1d_with_indices", move |d| {
            adaptive::<1>(d, |x, n| x.adaptive_max_pool1d_with_indices(n).1, top_place)
        }),
        numbered("adaptive_max_pool2d_with_indices", move |d| {
            adaptive::<2>(d, |x, n| x.adaptive_max_pool2d_with_indices(n).1, top_place)
        }),
        numbered("adaptive_max_pool3d_with_indices", move |d| {
            adaptive::<3>(d, |x, n| x.adaptive_max_pool3d_with_indices(n).1, top_place)
        }),
        Case::smooth("global_avg_pool", |d| global(d, Tensor::global_avg_pool, mean)),
        Case::smooth("global_max_pool", move |d| global(d, Tensor::global_max_pool, top_value)),
    ]
}

pub fn cases() -> Vec<Case> {
    moving().into_iter().chain(sharing_out()).collect()
}
