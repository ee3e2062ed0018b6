//! Softmax and its kin, normalisations, losses, masks, similarities.

use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, Role, Sample, YES};

/// Applies `f` to every run of elements along an axis.
pub fn rows(x: &Array, axis: usize, mut f: impl FnMut(&[usize], &mut [f64])) -> Array {
    let (size, mut out) = (x.shape[axis], x.clone());
    let inner: usize = x.shape[axis + 1..].iter().product();
    Array::from_fn(&x.shape, |at| {
        if at[axis] == 0 {
            let start = at.iter().zip(&x.shape).fold(0, |sum, (&k, &n)| sum * n + k);
            let mut row: Vec<f64> = (0..size).map(|k| x.data[start + k * inner]).collect();
            f(at, &mut row);
            row.iter().enumerate().for_each(|(k, &v)| out.data[start + k * inner] = v);
        }
        0.0
    });
    out
}

fn softmax(row: &mut [f64]) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
    row.iter_mut().for_each(|x| *x = (*x - top).exp() / sum);
}

fn standard(row: &mut [f64], eps: f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    row.iter_mut().for_each(|x| *x = (*x - mean) / (var + eps).sqrt());
}

/// A case of an op along an axis that keeps the shape.
fn along(name: &'static str, run: fn(&Tensor, isize) -> Tensor, row: fn(&mut [f64])) -> Case {
    Case::smooth(name, move |d| {
        let mut shape = d.shape(1, 3);
        let axis = d.whole(0, shape.len() - 1);
        shape[axis] = d.full_axis();
        let x = d.array(&shape, -3.0, 3.0);
        Sample::new(vec![x], move |x| run(&x[0], axis as isize), move |x| rows(&x[0], axis, |_, r| row(r)))
    })
}

pub fn cases() -> Vec<Case> {
    let mut all = vec![
        along("softmax", Tensor::softmax, softmax),
        along("softmin", Tensor::softmin, |row| {
            row.iter_mut().for_each(|x| *x = -*x);
            softmax(row);
        }),
        along("log_softmax", Tensor::log_softmax, |row| {
            softmax(row);
            row.iter_mut().for_each(|x| *x = x.ln());
        }),
        along(
            "normalize",
            |x, axis| x.movedim(axis, -1).normalize(0.1).movedim(-1, axis),
            |row| {
                standard(row, 0.1);
            },
        ),
        along(
            "normalize_l2",
            |x, axis| x.normalize_l2(axis, 0.5),
            |row| {
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(0.5);
                row.iter_mut().for_each(|x| *x /= norm);
            },
        ),
        masked_softmax(),
        Case {
            dtypes: crate::movement::ANY,
            ..Case::smooth("masked_fill", |d| {
                let shape = d.shape(0, 3);
                let inputs = vec![d.array(&shape, -2.0, 2.0), d.truths(&shape)];
                let reference = |x: &[Array]| Array {
                    data: x[0]
                        .data
                        .iter()
                        .zip(&x[1].data)
                        .map(|(&a, &m)| if m > 0.0 { 1.0 } else { a })
                        .collect(),
                    ..x[0].clone()
                };
                Sample::new(inputs, |x| x[0].masked_fill(&x[1], 1.0), reference)
            })
        },
        Case {
            dtypes: &[DType::F32],
            ..Case::flat("sequence_mask", "lengths have no derivative", |d| {
                let (n, size) = (d.axis(), d.axis());
                let reference = move |x: &[Array]| {
                    Array::from_fn(&[n, size], |at| f64::from(u8::from((at[1] as f64) < x[0].data[at[0]])))
                };
                Sample::new(vec![d.numbers(&[n], 6)], move |x| x[0].sequence_mask(size), reference)
            })
        },
    ];
    all.extend(norms());
    all.extend(losses());
    all.extend(distances());
    all
}

fn masked_softmax() -> Case {
    Case::smooth("masked_softmax", |d| {
        let mut shape = d.shape(1, 3);
        let axis = d.whole(0, shape.len() - 1);
        shape[axis] = d.full_axis();
        // A row in four has no element that counts.
        let mut mask = d.truths(&shape);
        mask = rows(&mask, axis, |_, row| {
            if d.whole(0, 3) == 0 {
                row.fill(0.0);
            }
        });
        let run = move |x: &[Tensor]| x[0].masked_softmax(&x[1], axis as isize);
        Sample::new(vec![d.array(&shape, -3.0, 3.0), mask], run, move |x| {
            rows(&x[0], axis, |at, row| {
                let mut place = at.to_vec();
                let kept: Vec<usize> = (0..row.len())
                    .filter(|&k| {
                        place[axis] = k;
                        x[1].at(&place) > 0.0
                    })
                    .collect();
                let mut values: Vec<f64> = kept.iter().map(|&k| row[k]).collect();
                softmax(&mut values);
                row.fill(0.0);
                kept.iter().zip(values).for_each(|(&k, v)| row[k] = v);
            })
        })
    })
}

fn norms() -> Vec<Case> {
    vec![
        Case::smooth("layer_norm", |d| {
            let mut shape = d.shape(1, 3);
            let size = d.full_axis();
            *shape.last_mut().expect("an axis") = size;
            let inputs =
                vec![d.array(&shape, -2.0, 2.0), d.array(&[size], 0.5, 1.5), d.array(&[size], -1.0, 1.0)];
            let run = |x: &[Tensor]| x[0].layer_norm(Some(&x[1]), Some(&x[2]), 0.1);
            Sample::new(inputs, run, |x| {
                rows(&x[0], x[0].shape.len() - 1, |_, row| {
                    standard(row, 0.1);
                    row.iter_mut().enumerate().for_each(|(k, v)| *v = *v * x[1].data[k] + x[2].data[k]);
                })
            })
        }),
        Case::smooth("rms_norm", |d| {
            let mut shape = d.shape(1, 3);
            let size = d.full_axis();
            *shape.last_mut().expect("an axis") = size;
            let inputs = vec![d.array(&shape, -2.0, 2.0), d.array(&[size], 0.5, 1.5)];
            Sample::new(
                inputs,
                |x| x[0].rms_norm(Some(&x[1]), 0.1),
                |x| {
                    rows(&x[0], x[0].shape.len() - 1, |_, row| {
                        let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
                        row.iter_mut()
                            .enumerate()
                            .for_each(|(k, v)| *v *= x[1].data[k] / (mean + 0.1).sqrt());
                    })
                },
            )
        }),
        Case::smooth("batch_norm", |d| {
            let channels = d.full_axis();
            let shape = [d.axis(), channels, d.axis()];
            let inputs = vec![
                d.array(&shape, -2.0, 2.0),
                d.array(&[channels], -1.0, 1.0),
                d.array(&[channels], 0.5, 2.0),
                d.array(&[channels], 0.5, 1.5),
                d.array(&[channels], -1.0, 1.0),
            ];
            let run = |x: &[Tensor]| x[0].batch_norm(&x[1], &x[2], Some(&x[3]), Some(&x[4]), 0.1);
            Sample::new(inputs, run, move |x| {
                Array::from_fn(&shape, |at| {
                    let of = |k: usize| x[k].data[at[1]];
                    (x[0].at(at) - of(1)) / (of(2) + 0.1).sqrt() * of(3) + of(4)
                })
            })
        }),
        Case::smooth("group_norm, instance_norm", |d| {
            let (groups, each) = (d.whole(1, 2), d.whole(1, 3));
            let channels = groups * each;
            let shape = [d.axis(), channels, d.full_axis().min(3), d.full_axis().min(3)];
            let per_channel = [channels];
            let inputs = vec![
                d.array(&shape, -2.0, 2.0),
                d.array(&per_channel, 0.5, 1.5),
                d.array(&per_channel, -1.0, 1.0),
            ];
            let run = move |x: &[Tensor]| match each {
                1 => x[0].instance_norm(Some(&x[1]), Some(&x[2]), 0.1),
                _ => x[0].group_norm(groups, Some(&x[1]), Some(&x[2]), 0.1),
            };
            Sample::new(inputs, run, move |x| {
                let flat =
                    Array { shape: vec![shape[0], groups, each * shape[2] * shape[3]], ..x[0].clone() };
                let out = rows(&flat, 2, |_, row| standard(row, 0.1));
                let out = Array { shape: shape.to_vec(), ..out };
                Array::from_fn(&shape, |at| out.at(at) * x[1].data[at[1]] + x[2].data[at[1]])
            })
        }),
    ]
}

fn losses() -> Vec<Case> {
    vec![
        Case::smooth("cross_entropy", |d| {
            let mut shape = d.shape(1, 3);
            shape.iter_mut().for_each(|n| *n = (*n).max(1));
            let (&classes, outer) = shape.split_last().expect("an axis");
            let inputs = vec![d.array(&shape, -2.0, 2.0), d.numbers(outer, classes)];
            Sample::new(
                inputs,
                |x| x[0].cross_entropy(&x[1]),
                |x| {
                    let last = x[0].shape.len() - 1;
                    let mut sum = 0.0;
                    rows(&x[0], last, |at, row| {
                        softmax(row);
                        sum -= row[x[1].at(&at[..last]) as usize].ln();
                    });
                    Array::from_fn(&[], |_| sum / x[1].data.len() as f64)
                },
            )
        }),
        Case::smooth("cross_entropy_rows", |d| {
            let (n, classes) = (d.axis(), d.full_axis());
            let inputs = vec![d.array(&[n, classes], -2.0, 2.0), d.numbers(&[n], classes)];
            Sample::new(
                inputs,
                |x| x[0].cross_entropy_rows(&x[1]),
                move |x| {
                    let soft = rows(&x[0], 1, |_, row| softmax(row));
                    Array::from_fn(&[n], |at| -soft.at(&[at[0], x[1].data[at[0]] as usize]).ln())
                },
            )
        }),
        Case::smooth("nll_rows", |d| {
            let (n, classes) = (d.axis(), d.full_axis());
            let inputs = vec![d.array(&[n, classes], -2.0, 2.0), d.numbers(&[n], classes)];
            Sample::new(
                inputs,
                |x| x[0].nll_rows(&x[1]),
                move |x| Array::from_fn(&[n], |at| -x[0].at(&[at[0], x[1].data[at[0]] as usize])),
            )
        }),
        Case::smooth("mse", |d| {
            let mut shape = d.shape(1, 3);
            shape.iter_mut().for_each(|n| *n = (*n).max(1));
            let inputs = vec![d.array(&shape, -2.0, 2.0), d.array(&shape, -2.0, 2.0)];
            Sample::new(
                inputs,
                |x| x[0].mse(&x[1]),
                |x| {
                    let pairs = x[0].data.iter().zip(&x[1].data);
                    let sum: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
                    Array::from_fn(&[], |_| sum / x[0].data.len() as f64)
                },
            )
        }),
    ]
}

fn p_norm(values: &[f64], p: f64) -> f64 {
    match p {
        0.0 => values.iter().filter(|v| **v != 0.0).count() as f64,
        _ if p == f64::INFINITY => values.iter().fold(0.0, |m: f64, v| m.max(v.abs())),
        _ if p == f64::NEG_INFINITY => values.iter().fold(f64::INFINITY, |m: f64, v| m.min(v.abs())),
        _ => values.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p),
    }
}

/// A p-norm over the last axis, of numbers away from 0.
fn norm(p: f64) -> impl Fn(&mut Draw) -> Sample {
    move |d| {
        let mut shape = d.shape(1, 3);
        *shape.last_mut().expect("an axis") = d.full_axis();
        let mut x = d.array(&shape, 0.2, 2.0);
        x = Array { data: x.data.iter().map(|&v| if d.flip() { v } else { -v }).collect(), ..x };
        let outer = shape[..shape.len() - 1].to_vec();
        Sample::new(
            vec![x],
            move |x| x[0].norm(p, -1),
            move |x| {
                let mut norms = Vec::new();
                rows(&x[0], x[0].shape.len() - 1, |_, row| norms.push(p_norm(row, p)));
                Array { shape: outer.clone(), data: norms, role: Role::Value }
            },
        )
    }
}

fn distances() -> Vec<Case> {
    let whole = "the number of elements that are not zero is whole";
    vec![
        Case::smooth("norm, p = 1", norm(1.0)),
        Case::smooth("norm, p = 2", norm(2.0)),
        Case::smooth("norm, p = 3.5", norm(3.5)),
        Case::smooth("norm, p = 1/2", norm(0.5)),
        Case::smooth("norm, p = ∞", norm(f64::INFINITY)),
        Case::smooth("norm, p = −∞", norm(f64::NEG_INFINITY)),
        Case { first: Err(whole), second: Err(whole), ..Case::smooth("norm, p = 0", norm(0.0)) },
        Case::smooth("cosine_similarity", |d| {
            let shape = [d.axis(), d.full_axis()];
            let inputs = vec![d.array(&shape, 0.2, 2.0), d.array(&shape, -2.0, -0.2)];
            Sample::new(
                inputs,
                |x| x[0].cosine_similarity(&x[1], 1, 1e-3),
                move |x| {
                    Array::from_fn(&shape[..1], |at| {
                        let row = |k: usize| &x[k].data[at[0] * shape[1]..][..shape[1]];
                        let dot: f64 = row(0).iter().zip(row(1)).map(|(a, b)| a * b).sum();
                        dot / (p_norm(row(0), 2.0) * p_norm(row(1), 2.0))
                    })
                },
            )
        }),
        Case::smooth("pairwise_distance", |d| {
            let shape = [d.axis(), d.full_axis()];
            let inputs = vec![d.array(&shape, 0.2, 2.0), d.array(&shape, -2.0, -0.2)];
            Sample::new(
                inputs,
                |x| x[0].pairwise_distance(&x[1], 3.0, 1e-6),
                move |x| {
                    Array::from_fn(&shape[..1], |at| {
                        let row = |k: usize| &x[k].data[at[0] * shape[1]..][..shape[1]];
                        let gaps: Vec<f64> = row(0).iter().zip(row(1)).map(|(a, b)| a - b + 1e-6).collect();
                        p_norm(&gaps, 3.0)
                    })
                },
            )
        }),
        Case {
            second: YES,
            ..Case::smooth("cdist", |d| {
                let (batch, n, m, len) = (d.axis(), d.axis(), d.axis(), d.full_axis());
                let p = [1.0, 2.0, 3.0][d.whole(0, 2)];
                let inputs = vec![d.array(&[batch, n, len], 0.2, 2.0), d.array(&[m, len], -2.0, -0.2)];
                Sample::new(
                    inputs,
                    move |x| x[0].cdist(&x[1], p),
                    move |x| {
                        Array::from_fn(&[batch, n, m], |at| {
                            let gap = |k| x[0].at(&[at[0], at[1], k]) - x[1].at(&[at[2], k]);
                            p_norm(&(0..len).map(gap).collect::<Vec<_>>(), p)
                        })
                    },
                )
            })
        },
    ]
}

pub fn edges() {
    let device = Device::cpu();
    let zero = Tensor::zeros([2, 3], DType::F64, &device);
    for p in [1.0, 1.5, 2.0, 3.0, f64::INFINITY] {
        let slope = vorpal_autodiff::grad(&zero, |x| x.norm(p, [0, 1])).expect("a derivative");
        assert_eq!(slope.to_vec::<f64>(), Ok(vec![0.0; 6]), "p = {p}");
        let twice = vorpal_autodiff::grad(&zero, |x| {
            let inner = vorpal_autodiff::grad(x, |x| x.norm(p, [0, 1])).expect("a derivative");
            inner.sum_all()
        });
        let twice = twice.expect("a derivative").to_vec::<f64>().expect("values");
        assert!(twice.iter().all(|v| v.is_finite()), "p = {p}: {twice:?}");
    }
    // No element counts: zeros, not NaN, in value and derivatives, whatever stands there.
    let x = Tensor::from_slice(&[f64::INFINITY, f64::NAN, 1.0, 2.0], [2, 2], &device);
    let mask = Tensor::from_slice(&[false, false, true, true], [2, 2], &device);
    let slope = vorpal_autodiff::grad(&x, |x| {
        let soft = x.masked_softmax(&mask, -1);
        assert_eq!(soft.narrow(0, 0, 1).to_vec::<f64>(), Ok(vec![0.0; 2]));
        (soft.square()).sum_all()
    });
    let slope = slope.expect("a derivative").to_vec::<f64>().expect("values");
    assert!(slope[..2] == [0.0; 2] && slope[2..].iter().all(|v| v.is_finite() && *v != 0.0), "{slope:?}");
}

pub fn misfits() {
    let device = Device::cpu();
    let x = Tensor::zeros([2, 3], DType::F32, &device);
    let whole = x.cast(DType::I32);
    let wrong = [
        (x.masked_softmax(&x, 0), "masked_softmax: the mask must be truth values, found f32"),
        (x.masked_softmax(&x.cast(DType::Bool), 2), "masked_softmax: axis 2"),
        (
            x.masked_softmax(&x.transpose(0, 1).cast(DType::Bool), 0),
            "shape [3, 2] does not broadcast to [2, 3]",
        ),
        (x.sequence_mask(4), "sequence_mask: lengths must be integers, found f32"),
        (whole.norm(2.0, 0), "norm: needs floats, found i32"),
        (x.norm(f64::NAN, 0), "norm: p is NaN"),
        (x.norm(2.0, 2), "norm: axis 2"),
        (x.sum(0).group_norm(1, None, None, 0.1), "group_norm: needs [examples, channels, …]"),
        (x.group_norm(2, None, None, 0.1), "group_norm: 3 channels do not fall into 2 groups"),
        (x.cdist(&x.transpose(0, 1), 2.0), "cdist: needs rows of one length"),
        (x.softmax(5), "axis 5"),
        (x.cross_entropy(&x), "class numbers must be integers, found f32"),
    ];
    for (tensor, text) in wrong {
        let error = tensor.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("composite.rs:"), "{error}");
    }
}
