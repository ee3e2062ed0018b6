//! Fourier transforms against plain sums.

use vorpal_autodiff::ops::{ConvolveMode, FftNorm};
use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, FLOATS, Sample, WIDE};

/// The sum that defines a transform, along axis `axis` of complex numbers.
fn transform(x: &Array, axis: usize, inverse: bool, scale: f64) -> Array {
    let n = x.shape[axis];
    let last = x.shape.len() - 1;
    Array::from_fn(&x.shape, |at| {
        let mut sum = 0.0;
        let mut from = at.to_vec();
        for j in 0..n {
            let turn = (at[axis] * j % n) as f64 / n as f64 * std::f64::consts::TAU;
            let (s, c) = (if inverse { turn } else { -turn }).sin_cos();
            from[axis] = j;
            from[last] = 0;
            let re = x.at(&from);
            from[last] = 1;
            let im = x.at(&from);
            sum += if at[last] == 0 { c * re - s * im } else { s * re + c * im };
        }
        scale * sum
    })
}

fn scale(norm: FftNorm, n: usize, inverse: bool) -> f64 {
    match norm {
        FftNorm::Ortho => (n as f64).sqrt().recip(),
        FftNorm::Backward if inverse => (n as f64).recip(),
        FftNorm::Forward if !inverse => (n as f64).recip(),
        _ => 1.0,
    }
}

fn norm(d: &mut Draw) -> FftNorm {
    [FftNorm::Backward, FftNorm::Ortho, FftNorm::Forward][d.whole(0, 2)]
}

/// A shape, one of its axes, and the same axis perhaps counted from the back.
fn axis(d: &mut Draw) -> (Vec<usize>, usize, isize) {
    let mut shape = d.shape(1, 3);
    let axis = d.whole(0, shape.len() - 1);
    shape[axis] = d.full_axis() + if d.flip() { d.size } else { 0 };
    let named = if d.flip() { axis as isize } else { axis as isize - shape.len() as isize };
    (shape, axis, named)
}

fn case(name: &'static str, draw: impl Fn(&mut Draw) -> Sample + 'static) -> Case {
    Case { dtypes: WIDE, ..Case::smooth(name, draw) }
}

/// Rows `[shared, …, n]` and kernels `[…, k]`, convolved.
fn convolution(
    d: &mut Draw,
    shared: &'static [usize],
    run: fn(&Tensor, &Tensor, ConvolveMode) -> Tensor,
) -> Sample {
    let (batch, n, k) = (d.shape(0, 2), d.full_axis(), d.full_axis());
    let mode = if d.flip() { ConvolveMode::Full } else { ConvolveMode::Causal };
    let x = d.array(&[shared, &batch[..], &[n]].concat(), -1.0, 1.0);
    // The kernel is the same for some of the axes in front.
    let own: Vec<usize> = batch.iter().map(|&b| if d.flip() { b } else { 1 }).collect();
    let kernel = d.array(&[&own[..], &[k]].concat(), -1.0, 1.0);
    let len = if mode == ConvolveMode::Full { n + k - 1 } else { n };
    Sample::new(
        vec![x, kernel],
        move |x| run(&x[0], &x[1], mode),
        move |x| {
            Array::from_fn(&[shared, &batch[..], &[len]].concat(), |at| {
                let (&t, front) = at.split_last().expect("time");
                let of_kernel: Vec<usize> =
                    front[shared.len()..].iter().zip(&own).map(|(&i, &o)| i.min(o - 1)).collect();
                let term = |j: usize| {
                    x[1].at(&[&of_kernel[..], &[j]].concat()) * x[0].at(&[front, &[t - j]].concat())
                };
                (0..k).filter(|&j| t >= j && t - j < n).map(term).sum()
            })
        },
    )
}

fn complex(name: &'static str, inverse: bool) -> Case {
    case(name, move |d| {
        let ((shape, axis, named), norm) = (axis(d), norm(d));
        let x = d.array(&[&shape[..], &[2]].concat(), -1.0, 1.0);
        let run = move |x: &[Tensor]| if inverse { x[0].ifft(named, norm) } else { x[0].fft(named, norm) };
        let scale = scale(norm, shape[axis], inverse);
        Sample::new(vec![x], run, move |x| transform(&x[0], axis, inverse, scale))
    })
}

fn planes(name: &'static str, inverse: bool) -> Case {
    case(name, move |d| {
        let (mut shape, norm) = (d.shape(0, 1), norm(d));
        shape.extend([d.full_axis(), d.full_axis(), 2]);
        let x = d.array(&shape, -1.0, 1.0);
        let axis = shape.len() - 3;
        let run = move |x: &[Tensor]| if inverse { x[0].ifft2(norm) } else { x[0].fft2(norm) };
        Sample::new(vec![x], run, move |x| {
            let of =
                |x: &Array, axis: usize| transform(x, axis, inverse, scale(norm, x.shape[axis], inverse));
            of(&of(&x[0], axis + 1), axis)
        })
    })
}

/// Elements `0..len` of an axis.
fn front(x: &Array, axis: usize, len: usize) -> Array {
    let mut shape = x.shape.clone();
    shape[axis] = len;
    Array::from_fn(&shape, |at| x.at(at))
}

fn real_cases() -> Vec<Case> {
    vec![
        case("rfft", |d| {
            let ((shape, axis, named), norm) = (axis(d), norm(d));
            let n = shape[axis];
            Sample::new(
                vec![d.array(&shape, -1.0, 1.0)],
                move |x| x[0].rfft(named, norm),
                move |x| {
                    let pairs = Array::from_fn(&[&x[0].shape[..], &[2]].concat(), |at| {
                        let (last, at) = at.split_last().expect("pairs");
                        if *last == 0 { x[0].at(at) } else { 0.0 }
                    });
                    front(&transform(&pairs, axis, false, scale(norm, n, false)), axis, n / 2 + 1)
                },
            )
        }),
        case("irfft", |d| {
            let ((mut shape, axis, named), norm) = (axis(d), norm(d));
            let n = shape[axis];
            shape[axis] = n / 2 + 1;
            let x = d.array(&[&shape[..], &[2]].concat(), -1.0, 1.0);
            Sample::new(
                vec![x],
                move |x| x[0].irfft(n, named, norm),
                move |x| {
                    let mut whole = x[0].shape.clone();
                    whole[axis] = n;
                    let mirrored = Array::from_fn(&whole, |at| {
                        let (mut from, last) = (at.to_vec(), at.len() - 1);
                        let k = at[axis];
                        let flipped = k > n / 2;
                        from[axis] = if flipped { n - k } else { k };
                        let real = at[last] == 1 && (k == 0 || 2 * k == n);
                        let value = x[0].at(&from);
                        if real {
                            0.0
                        } else if flipped && at[last] == 1 {
                            -value
                        } else {
                            value
                        }
                    });
                    let pairs = transform(&mirrored, axis, true, scale(norm, n, true));
                    let out = whole[..whole.len() - 1].to_vec();
                    Array::from_fn(&out, |at| pairs.at(&[at, &[0]].concat()))
                },
            )
        }),
        case("fft_convolve", |d| convolution(d, &[], Tensor::fft_convolve)),
        // Eight rows share a kernel, which makes it a product.
        case("convolve", |d| convolution(d, &[2, 4], Tensor::convolve)),
    ]
}

fn shift(name: &'static str, inverse: bool) -> Case {
    Case::smooth(name, move |d| {
        let shape = d.shape(1, 3);
        let axes: Vec<usize> = (0..shape.len()).filter(|_| d.flip()).collect();
        let named: Vec<isize> = axes.iter().map(|&a| a as isize).collect();
        let run =
            move |x: &[Tensor]| if inverse { x[0].ifftshift(&named[..]) } else { x[0].fftshift(&named[..]) };
        Sample::new(vec![d.array(&shape, -1.0, 1.0)], run, move |x| {
            Array::from_fn(&x[0].shape, |at| {
                let mut from = at.to_vec();
                for &axis in &axes {
                    let n = x[0].shape[axis];
                    from[axis] = (at[axis] + if inverse { n / 2 } else { n.div_ceil(2) }) % n;
                }
                x[0].at(&from)
            })
        })
    })
}

/// The parts of complex numbers in the last axis.
fn paired(x: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let shape = x.shape[..x.shape.len() - 1].to_vec();
    Array::from_fn(&shape, |at| f(x.at(&[at, &[0]].concat()), x.at(&[at, &[1]].concat())))
}

fn numbers() -> Vec<Case> {
    let pairs = |d: &mut Draw| {
        let shape = d.shape(0, 3);
        d.array(&[&shape[..], &[2]].concat(), 0.2, 1.0)
    };
    vec![
        Case::smooth("complex", |d| {
            let shape = d.shape(0, 3);
            let inputs = vec![d.array(&shape, -1.0, 1.0), d.array(&shape, -1.0, 1.0)];
            Sample::new(
                inputs,
                |x| Tensor::complex(&x[0], &x[1]),
                |x| {
                    Array::from_fn(&[&x[0].shape[..], &[2]].concat(), |at| {
                        let (last, at) = at.split_last().expect("pairs");
                        x[*last].at(at)
                    })
                },
            )
        }),
        Case::smooth("real", move |d| {
            Sample::new(vec![pairs(d)], |x| x[0].real(), |x| paired(&x[0], |a, _| a))
        }),
        Case::smooth("imag", move |d| {
            Sample::new(vec![pairs(d)], |x| x[0].imag(), |x| paired(&x[0], |_, b| b))
        }),
        Case::smooth("complex_abs", move |d| {
            Sample::new(vec![pairs(d)], |x| x[0].complex_abs(), |x| paired(&x[0], f64::hypot))
        }),
        Case::smooth("conj", move |d| {
            Sample::new(
                vec![pairs(d)],
                |x| x[0].conj(),
                |x| {
                    Array::from_fn(&x[0].shape, |at| {
                        if at.last() == Some(&1) { -x[0].at(at) } else { x[0].at(at) }
                    })
                },
            )
        }),
        Case {
            dtypes: FLOATS,
            ..Case::smooth("complex_mul", move |d| {
                let a = pairs(d);
                let b = d.array(&a.shape, -1.0, 1.0);
                Sample::new(
                    vec![a, b],
                    |x| x[0].complex_mul(&x[1]),
                    |x| {
                        Array::from_fn(&x[0].shape, |at| {
                            let (last, at) = at.split_last().expect("pairs");
                            let of = |k: usize, part: usize| x[k].at(&[at, &[part]].concat());
                            match last {
                                0 => of(0, 0) * of(1, 0) - of(0, 1) * of(1, 1),
                                _ => of(0, 0) * of(1, 1) + of(0, 1) * of(1, 0),
                            }
                        })
                    },
                )
            })
        },
    ]
}

pub fn cases() -> Vec<Case> {
    let mut out = vec![
        complex("fft", false),
        complex("ifft", true),
        planes("fft2", false),
        planes("ifft2", true),
        shift("fftshift", false),
        shift("ifftshift", true),
    ];
    out.extend(real_cases());
    out.extend(numbers());
    out
}

/// What each misuse says.
pub fn misfits() {
    let x = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::cpu());
    let norm = FftNorm::Backward;
    for (wrong, text) in [
        (
            x(&[3]).fft(-1, norm),
            "fft: needs pairs of real and imaginary parts in the last axis, and an axis before it",
        ),
        (
            x(&[4, 3]).ifft(0, norm),
            "ifft: needs pairs of real and imaginary parts in the last axis, and an axis before it",
        ),
        (
            x(&[4, 2]).fft(1, norm),
            "fft: axis 1 of an array of complex numbers with 1 axes (operands f32[4, 2])",
        ),
        (x(&[4, 2]).fft2(norm), "fft2: axis -2 of an array of complex numbers with 1 axes"),
        (x(&[4]).rfft(1, norm), "rfft: axis 1 of a tensor with 1 axes"),
        (x(&[4, 2]).irfft(5, -1, norm), "irfft: 5 real numbers belong to 3 complex ones, found 4"),
        (x(&[4, 2]).cast(DType::F16).fft(0, norm), "fft: needs f32 or f64, found f16"),
        (x(&[4]).real(), "real: needs pairs of real and imaginary parts in the last axis"),
        (x(&[4]).fftshift(2), "fftshift: axis 2 of a tensor with 1 axes"),
        (
            x(&[2, 4]).fft_convolve(&x(&[3, 4]), ConvolveMode::Full),
            "fft_convolve: batch axes do not broadcast",
        ),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("fft.rs:"), "{error}");
    }
    let frequencies = |n: usize| Tensor::fftfreq(n, 0.5, DType::F32, &Device::cpu()).to_vec::<f32>();
    assert_eq!(frequencies(4), Ok(vec![0.0, 0.5, -1.0, -0.5]));
    assert_eq!(
        frequencies(5).map(|f| f.iter().map(|f| (f * 2.5).round()).collect()),
        Ok(vec![0.0, 1.0, 2.0, -2.0, -1.0])
    );
}
