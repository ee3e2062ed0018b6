//! Movement: views, and rearrangements made of them.

use vorpal_autodiff::ops::PadMode;
use vorpal_autodiff::{DType, Device, Error, Tensor};

use crate::harness::{Array, Case, Draw, Sample};

/// Whatever is moved stays what it is, in any dtype.
pub const ANY: &[DType] = &[
    DType::F64,
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::U32,
    DType::I8,
    DType::U8,
    DType::Bool,
];

/// Elements of `x` by where those of the result come from; 0 where they come from nowhere.
pub fn moved(x: &Array, shape: &[usize], from: impl Fn(&[usize]) -> Option<Vec<usize>>) -> Array {
    Array::from_fn(shape, |at| from(at).map_or(0.0, |place| x.at(&place)))
}

/// A place with one coordinate changed.
fn with(at: &[usize], axis: usize, k: usize) -> Vec<usize> {
    let mut out = at.to_vec();
    out[axis] = k;
    out
}

fn case(name: &'static str, draw: impl Fn(&mut Draw) -> Sample + 'static) -> Case {
    Case { dtypes: ANY, ..Case::smooth(name, draw) }
}

/// An operand of `low..=high` axes and one of its axes, counted from either end.
fn operand(d: &mut Draw, low: usize, high: usize) -> (Array, usize, isize) {
    let shape = d.shape(low, high);
    let axis = d.whole(0, shape.len() - 1);
    let named = if d.flip() { axis as isize } else { axis as isize - shape.len() as isize };
    (d.array(&shape, -2.0, 2.0), axis, named)
}

fn order(d: &mut Draw, rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    for k in (1..rank).rev() {
        axes.swap(k, d.whole(0, k));
    }
    axes
}

pub fn cases() -> Vec<Case> {
    let mut all = views();
    all.extend(spread_or_turned());
    all.extend(ranges());
    all.extend(joined());
    all.extend(rearranged());
    all.extend(diagonals());
    all
}

fn views() -> Vec<Case> {
    vec![
        case("reshape", |d| {
            let shape = d.shape(1, 3);
            let x = d.array(&shape, -2.0, 2.0);
            let mut to: Vec<usize> = vec![shape.iter().product(), 1];
            if shape.len() > 1 {
                to = [&[1], &shape[1..], &[shape[0]]].concat();
            }
            let shape = to.clone();
            Sample::new(
                vec![x],
                move |x| x[0].reshape(&shape[..]),
                move |x| Array { shape: to.clone(), ..x[0].clone() },
            )
        }),
        case("flatten", |d| {
            let (x, axis, named) = operand(d, 2, 4);
            let shape = x.shape.clone();
            let to = [&shape[..axis], &[shape[axis..].iter().product()]].concat();
            Sample::new(
                vec![x],
                move |x| x[0].flatten(named, -1),
                move |x| Array { shape: to.clone(), ..x[0].clone() },
            )
        }),
        case("unsqueeze, squeeze", |d| {
            let (x, axis, _) = operand(d, 1, 3);
            let to = [&x.shape[..axis], &[1], &x.shape[axis..]].concat();
            let run = move |x: &[Tensor]| {
                let raised = x[0].unsqueeze(axis as isize);
                raised.squeeze(axis as isize).unsqueeze(axis as isize)
            };
            Sample::new(vec![x], run, move |x| Array { shape: to.clone(), ..x[0].clone() })
        }),
        case("permute", |d| {
            let shape = d.shape(1, 4);
            let axes = order(d, shape.len());
            let named: Vec<isize> = axes.iter().map(|&a| a as isize).collect();
            let to: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
            let from = move |at: &[usize]| {
                let mut place = vec![0; at.len()];
                axes.iter().zip(at).for_each(|(&a, &k)| place[a] = k);
                Some(place)
            };
            let x = d.array(&shape, -2.0, 2.0);
            Sample::new(vec![x], move |x| x[0].permute(&named[..]), move |x| moved(&x[0], &to, &from))
        }),
        case("transpose", |d| {
            let (x, axis, named) = operand(d, 2, 4);
            let mut to = x.shape.clone();
            to.swap(axis, 0);
            let from = move |at: &[usize]| {
                let mut place = at.to_vec();
                place.swap(axis, 0);
                Some(place)
            };
            Sample::new(vec![x], move |x| x[0].transpose(named, 0), move |x| moved(&x[0], &to, from))
        }),
        case("movedim", |d| {
            let (x, axis, named) = operand(d, 1, 4);
            let mut order: Vec<usize> = (0..x.shape.len()).collect();
            order.remove(axis);
            order.push(axis);
            let to: Vec<usize> = order.iter().map(|&a| x.shape[a]).collect();
            let from = move |at: &[usize]| {
                let mut place = vec![0; at.len()];
                order.iter().zip(at).for_each(|(&a, &k)| place[a] = k);
                Some(place)
            };
            Sample::new(vec![x], move |x| x[0].movedim(named, -1), move |x| moved(&x[0], &to, &from))
        }),
    ]
}

fn spread_or_turned() -> Vec<Case> {
    vec![
        case("broadcast_to", |d| {
            let to = d.shape(1, 4);
            let front = d.whole(0, to.len() - 1);
            let shape: Vec<usize> = to[front..].iter().map(|&n| if d.flip() { 1 } else { n }).collect();
            let x = d.array(&shape, -2.0, 2.0);
            let target = to.clone();
            let from = move |at: &[usize]| {
                Some(at[front..].iter().zip(&shape).map(|(&k, &n)| if n == 1 { 0 } else { k }).collect())
            };
            Sample::new(vec![x], move |x| x[0].broadcast_to(&target[..]), move |x| moved(&x[0], &to, &from))
        }),
        Case::smooth("sum_to", |d| {
            let shape = d.shape(1, 4);
            let front = d.whole(0, shape.len() - 1);
            let to: Vec<usize> = shape[front..].iter().map(|&n| if d.flip() { 1 } else { n }).collect();
            let x = d.array(&shape, -2.0, 2.0);
            let target = to.clone();
            let run = move |x: &[Tensor]| x[0].sum_to(&target[..].into());
            Sample::new(vec![x], run, move |x| {
                let mut out = Array::from_fn(&to, |_| 0.0);
                Array::from_fn(&x[0].shape, |at| {
                    let place = at[front..].iter().zip(&to).map(|(&k, &n)| if n == 1 { 0 } else { k });
                    let index = place.zip(&to).fold(0, |sum, (k, &n)| sum * n + k);
                    out.data[index] += x[0].at(at);
                    0.0
                });
                out
            })
        }),
        case("flip", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let to = x.shape.clone();
            let size = to[axis];
            let from = move |at: &[usize]| Some(with(at, axis, size - 1 - at[axis]));
            Sample::new(vec![x], move |x| x[0].flip(named), move |x| moved(&x[0], &to, from))
        }),
        Case {
            dtypes: ANY,
            ..Case::flat("stop_gradient", "constant to derivatives", |d| {
                let shape = d.shape(0, 3);
                Sample::new(vec![d.array(&shape, -2.0, 2.0)], |x| x[0].stop_gradient(), |x| x[0].clone())
            })
        },
        case("contiguous", |d| {
            let shape = d.shape(0, 3);
            Sample::new(vec![d.array(&shape, -2.0, 2.0)], |x| x[0].contiguous(), |x| x[0].clone())
        }),
    ]
}

fn ranges() -> Vec<Case> {
    vec![
        case("slice, slice_step, narrow", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let size = x.shape[axis];
            let start = d.whole(0, size);
            let end = d.whole(start, size);
            let step = d.whole(1, 3);
            let mut to = x.shape.clone();
            to[axis] = (end - start).div_ceil(step);
            let run = move |x: &[Tensor]| match step {
                1 => x[0].narrow(named, start, end - start),
                _ => x[0].slice_step(named, start as isize..end as isize, step),
            };
            let from = move |at: &[usize]| Some(with(at, axis, start + at[axis] * step));
            Sample::new(vec![x], run, move |x| moved(&x[0], &to, from))
        }),
        case("split, chunk, unbind", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let (shape, size) = (x.shape.clone(), x.shape[axis]);
            let pieces = d.whole(1, 4);
            // Put together again in reverse order.
            let each = size.div_ceil(pieces).max(1);
            let by_chunk = d.flip() || size == 0;
            let run = move |x: &[Tensor]| {
                let mut parts = match by_chunk {
                    true => x[0].chunk(pieces, named).expect("pieces"),
                    false => x[0].unbind(named).expect("slices").iter().map(|p| p.unsqueeze(named)).collect(),
                };
                parts.reverse();
                Tensor::concat(&parts.iter().collect::<Vec<_>>(), named)
            };
            let from = move |at: &[usize]| {
                let each = if by_chunk { each } else { 1 };
                // The last piece, which may be shorter, comes first.
                let mut starts: Vec<usize> = (0..size).step_by(each).collect();
                starts.reverse();
                let mut k = at[axis];
                for start in starts {
                    let len = each.min(size - start);
                    if k < len {
                        return Some(with(at, axis, start + k));
                    }
                    k -= len;
                }
                None
            };
            Sample::new(vec![x], run, move |x| moved(&x[0], &shape, from))
        }),
        Case::smooth("pad_axes", |d| {
            let shape = d.shape(1, 3);
            let mut sides = || -> Vec<usize> { shape.iter().map(|_| d.whole(0, 2)).collect() };
            let (before, after) = (sides(), sides());
            let x = d.array(&shape, -2.0, 2.0);
            let to: Vec<usize> = (0..shape.len()).map(|k| before[k] + shape[k] + after[k]).collect();
            let front = before.clone();
            let run = move |x: &[Tensor]| x[0].pad_axes(&before, &after, 0.75);
            Sample::new(vec![x], run, move |x| {
                Array::from_fn(&to, |at| {
                    let place: Vec<usize> = at.iter().zip(&front).map(|(k, b)| k.wrapping_sub(*b)).collect();
                    let inside = place.iter().zip(&x[0].shape).all(|(k, n)| k < n);
                    if inside { x[0].at(&place) } else { 0.75 }
                })
            })
        }),
        case("pad", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let (size, before, after) = (x.shape[axis], d.whole(0, 2), d.whole(0, 2));
            let mut to = x.shape.clone();
            to[axis] += before + after;
            let from = move |at: &[usize]| {
                let k = at[axis].checked_sub(before).filter(|&k| k < size)?;
                Some(with(at, axis, k))
            };
            let run = move |x: &[Tensor]| x[0].pad(named, before, after, 0.0);
            Sample::new(vec![x], run, move |x| moved(&x[0], &to, from))
        }),
    ]
}

fn joined() -> Vec<Case> {
    vec![
        case("pad_with", |d| {
            let (mut x, axis, named) = operand(d, 1, 3);
            if x.shape[axis] == 0 {
                x.shape[axis] = 1;
                x = d.array(&x.shape, -2.0, 2.0);
            }
            let size = x.shape[axis];
            let mode = [PadMode::Reflect, PadMode::Replicate, PadMode::Circular][d.whole(0, 2)];
            let most = [size - 1, 3, size][mode as usize];
            let (before, after) = (d.whole(0, most), d.whole(0, most));
            let mut to = x.shape.clone();
            to[axis] += before + after;
            let from = move |at: &[usize]| {
                let (k, last) = (at[axis] as isize - before as isize, size as isize - 1);
                let k = match mode {
                    PadMode::Replicate => k.clamp(0, last),
                    PadMode::Circular => k.rem_euclid(size as isize),
                    PadMode::Reflect => last - (last - k.abs()).abs(),
                };
                Some(with(at, axis, k as usize))
            };
            let run = move |x: &[Tensor]| x[0].pad_with(named, before, after, mode);
            Sample::new(vec![x], run, move |x| moved(&x[0], &to, from))
        }),
        case("concat, stack", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let mut shape = x.shape.clone();
            let stack = d.flip();
            if !stack {
                shape[axis] = d.axis();
            }
            let y = d.array(&shape, -2.0, 2.0);
            let first = x.shape[axis];
            let run = move |x: &[Tensor]| match stack {
                true => Tensor::stack(&[&x[0], &x[1]], axis as isize),
                false => Tensor::concat(&[&x[0], &x[1]], named),
            };
            Sample::new(vec![x, y], run, move |x| {
                let mut to = x[0].shape.clone();
                if stack {
                    to.insert(axis, 2);
                    return Array::from_fn(&to, |at| {
                        let mut place = at.to_vec();
                        x[place.remove(axis)].at(&place)
                    });
                }
                to[axis] += x[1].shape[axis];
                Array::from_fn(&to, |at| match at[axis].checked_sub(first) {
                    None => x[0].at(at),
                    Some(k) => x[1].at(&with(at, axis, k)),
                })
            })
        }),
    ]
}

fn rearranged() -> Vec<Case> {
    vec![
        case("roll", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let (size, shift) = (x.shape[axis], d.whole(0, 20) as isize - 10);
            let to = x.shape.clone();
            let from = move |at: &[usize]| {
                let k = (at[axis] as isize - shift).rem_euclid(size as isize);
                Some(with(at, axis, k as usize))
            };
            Sample::new(vec![x], move |x| x[0].roll(shift, named), move |x| moved(&x[0], &to, from))
        }),
        case("repeat", |d| {
            let shape = d.shape(0, 3);
            let times: Vec<usize> = (0..d.whole(0, 3)).map(|_| d.whole(0, 3)).collect();
            let rank = shape.len().max(times.len());
            let full = |list: &[usize]| [&vec![1; rank - list.len()][..], list].concat();
            let (sizes, counts, front) = (full(&shape), full(&times), rank - shape.len());
            let to: Vec<usize> = sizes.iter().zip(&counts).map(|(a, b)| a * b).collect();
            let from =
                move |at: &[usize]| Some(at.iter().zip(&sizes).map(|(k, n)| k % n).skip(front).collect());
            let x = d.array(&shape, -2.0, 2.0);
            Sample::new(vec![x], move |x| x[0].repeat(&times), move |x| moved(&x[0], &to, &from))
        }),
        case("repeat_interleave", |d| {
            let (x, axis, named) = operand(d, 1, 3);
            let times = d.whole(0, 3);
            let mut to = x.shape.clone();
            to[axis] *= times;
            let run = move |x: &[Tensor]| x[0].repeat_interleave(times, named);
            let from = move |at: &[usize]| Some(with(at, axis, at[axis] / times));
            Sample::new(vec![x], run, move |x| moved(&x[0], &to, from))
        }),
        case("rot90", |d| {
            let shape = d.shape(2, 3);
            let quarters = d.whole(0, 8) as isize - 4;
            let run = move |x: &[Tensor]| x[0].rot90(quarters, 0, -1);
            Sample::new(vec![d.array(&shape, -2.0, 2.0)], run, move |x| {
                let mut out = x[0].clone();
                for _ in 0..quarters.rem_euclid(4) {
                    let last = out.shape.len() - 1;
                    let mut to = out.shape.clone();
                    to.swap(0, last);
                    // Row i of the turned plane is column size − 1 − i.
                    let size = out.shape[last];
                    out = moved(&out, &to, |at| {
                        let mut place = at.to_vec();
                        (place[0], place[last]) = (at[last], size - 1 - at[0]);
                        Some(place)
                    });
                }
                out
            })
        }),
        case("meshgrid", |d| {
            let (n, m) = (d.axis(), d.axis());
            let (x, y) = (d.array(&[n], -2.0, 2.0), d.array(&[m], -2.0, 2.0));
            let run = |x: &[Tensor]| {
                let grids = Tensor::meshgrid(&[&x[0], &x[1]]);
                Tensor::stack(&[&grids[0], &grids[1]], 0)
            };
            Sample::new(vec![x, y], run, move |x| {
                Array::from_fn(&[2, n, m], |at| x[at[0]].data[at[1 + at[0]]])
            })
        }),
    ]
}

fn diagonals() -> Vec<Case> {
    vec![
        case("diagonal", |d| {
            let shape = d.shape(2, 4);
            let (a, offset) = (d.whole(0, shape.len() - 2), d.whole(0, 6) as isize - 3);
            let b = shape.len() - 1;
            let (below, right) = ((-offset).max(0) as usize, offset.max(0) as usize);
            let len = shape[a].saturating_sub(below).min(shape[b].saturating_sub(right));
            let mut to = shape.clone();
            to.remove(b);
            to.remove(a);
            to.push(len);
            let from = move |at: &[usize]| {
                let k = at[at.len() - 1];
                let mut place = at[..at.len() - 1].to_vec();
                place.insert(a, k + below);
                place.push(k + right);
                Some(place)
            };
            let x = d.array(&shape, -2.0, 2.0);
            let run = move |x: &[Tensor]| x[0].diagonal(offset, a as isize, -1);
            Sample::new(vec![x], run, move |x| moved(&x[0], &to, from))
        }),
        case("diag_embed, diag", |d| {
            let (x, _, _) = operand(d, 1, 2);
            let (last, offset) = (x.shape.len() - 1, d.whole(0, 4) as isize - 2);
            let n = x.shape[last] + offset.unsigned_abs();
            let to = [&x.shape[..last], &[n, n]].concat();
            let run = move |x: &[Tensor]| match x[0].rank() {
                1 => x[0].diag(offset),
                _ => x[0].diag_embed(offset),
            };
            let from = move |at: &[usize]| {
                let (row, column) = (at[last] as isize, at[last + 1] as isize);
                (column - row == offset).then(|| [&at[..last], &[row.min(column) as usize]].concat())
            };
            Sample::new(vec![x], run, move |x| moved(&x[0], &to, from))
        }),
        case("tril", |d| triangle(d, |x, k| x.tril(k), |difference, k| difference <= k)),
        case("triu", |d| triangle(d, |x, k| x.triu(k), |difference, k| difference >= k)),
    ]
}

fn triangle(d: &mut Draw, run: fn(&Tensor, i32) -> Tensor, kept: fn(i32, i32) -> bool) -> Sample {
    let shape = d.shape(2, 3);
    let k = d.whole(0, 6) as i32 - 3;
    let to = shape.clone();
    let from = move |at: &[usize]| {
        let (row, column) = (at[at.len() - 2] as i32, at[at.len() - 1] as i32);
        kept(column - row, k).then(|| at.to_vec())
    };
    Sample::new(vec![d.array(&shape, -2.0, 2.0)], move |x| run(&x[0], k), move |x| moved(&x[0], &to, from))
}

pub fn misfits() {
    let x = Tensor::zeros([2, 3], DType::F32, &Device::cpu());
    let shapes: [(Tensor, &str); 12] = [
        (x.reshape([4]), "6 elements do not fill shape [4]"),
        (x.roll(1, 2), "roll: axis 2 of a tensor with 2 axes"),
        (x.repeat_interleave(2, -3), "repeat_interleave: axis -3"),
        (x.movedim(0, 5), "movedim: axis 5"),
        (x.diagonal(0, 1, 1), "diagonal: axis 1 is named twice"),
        (x.rot90(1, 0, 2), "rot90: axis 2"),
        (x.sum_all().diag_embed(0), "diag_embed: axis -1 of a tensor with 0 axes"),
        (x.unsqueeze(0).diag(0), "diag: needs a vector or a matrix, found 3 axes"),
        (x.sum(0).triu(0), "triu: axis -2"),
        (x.pad_with(1, 3, 0, PadMode::Reflect), "Reflect padding of 3 and 0 needs 4 elements, found 3"),
        (x.pad_with(0, 0, 3, PadMode::Circular), "Circular padding of 0 and 3 needs 3 elements, found 2"),
        (Tensor::meshgrid(&[&x])[0].clone(), "meshgrid: list 0 has 2 axes"),
    ];
    for (wrong, text) in shapes {
        let error = wrong.eval().expect_err(text);
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(text) && error.contains("movement.rs:"), "{error}");
    }
    let error = x.chunk(0, 0).expect_err("no pieces").to_string();
    assert!(error.contains("chunk: cannot cut into 0 pieces") && error.contains("movement.rs:"), "{error}");
    let error = x.unbind(7).expect_err("no axis").to_string();
    assert!(error.contains("unbind: axis 7") && error.contains("movement.rs:"), "{error}");
}
