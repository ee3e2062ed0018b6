//! Reductions.

use vorpal_autodiff::{Axes, Tensor};

use crate::harness::{Array, Case, Draw, NUMBERS, Sample};

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

pub fn cases() -> Vec<Case> {
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
    ]
}
