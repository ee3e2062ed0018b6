//! Reductions and what is fused with them over rows of all kinds: longer than most, short ones across memory in large
//! numbers, axes turned and in patterns, against sums in f64.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Random, devices};
use vorpal_autodiff::{Device, Tensor, grad};

/// An array of numbers, on the device and in f64.
fn array(shape: &[usize], random: &mut Random, device: &Device) -> (Tensor, Vec<f64>) {
    let numbers = random.values(shape.iter().product(), -2.0, 2.0);
    let numbers: Vec<f32> = numbers.into_iter().map(|x| x as f32).collect();
    let exact = numbers.iter().map(|&x| f64::from(x)).collect();
    (Tensor::from_slice(&numbers, shape, device), exact)
}

fn close(what: &str, device: &Device, found: &Tensor, expected: &[f64], bound: f64) {
    let found = found.to_vec::<f32>().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(
            error <= bound * (1.0 + expected.abs()),
            "{what} on {}: element {k} is {found}, should be {expected}",
            device.name()
        );
    }
}

/// Linear indices of the elements of rows along `axis`, row by row.
fn rows_along(shape: &[usize], axis: usize) -> Vec<Vec<usize>> {
    let inner: usize = shape[axis + 1..].iter().product();
    let (size, outer) = (shape[axis], shape[..axis].iter().product::<usize>());
    let row =
        |k: usize| (0..size).map(move |j| (k / inner.max(1) * size + j) * inner + k % inner.max(1)).collect();
    (0..outer * inner).map(row).collect()
}

/// Sums, what depends on them in a second pass, and what is stored for every element.
#[test]
fn rows_across_memory() {
    for device in devices() {
        let mut random = Random::new(7);
        for (shape, axis) in [
            (vec![300, 5, 130], 1),
            (vec![70_000, 3, 2], 1),
            (vec![40, 33, 3, 41], 2),
            (vec![2, 3, 70_001], 1),
            (vec![1, 70_001, 3], 1),
            (vec![64, 1, 2000], 1),
            (vec![17, 2, 3, 1, 901], 1),
        ] {
            let (x, exact) = array(&shape, &mut random, &device);
            let (mut sums, mut centred, mut most) = (Vec::new(), exact.clone(), Vec::new());
            for row in rows_along(&shape, axis) {
                let values = || row.iter().map(|&k| exact[k]);
                let mean = values().sum::<f64>() / row.len() as f64;
                // Rounding on the way is relative to what the terms sum up to, not to what is left of them.
                sums.push(values().sum::<f64>() / (row.len() as f64).sqrt());
                most.push(values().fold(f64::NEG_INFINITY, f64::max));
                let scale =
                    (values().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64 + 0.1).sqrt();
                row.iter().for_each(|&k| centred[k] = (exact[k] - mean) / scale);
            }
            let (what, axis) = (format!("axis {axis} of {shape:?}"), axis as isize);
            let root = (shape[axis as usize] as f64).sqrt();
            close(&format!("sum of {what}"), &device, &(x.sum(axis) / root), &sums, 1e-5);
            close(&format!("maximum of {what}"), &device, &x.max(axis), &most, 0.0);
            let difference = &x - x.mean_keepdim(axis);
            let kept = difference.to_vec::<f32>().expect("values");
            let scale = (difference.square().mean_keepdim(axis) + 0.1).sqrt();
            close(&format!("normal rows of {what}"), &device, &(difference / scale), &centred, 2e-5);
            // Nothing else reads it now, so that the result may be written over it: of the same numbers.
            let mean = x.mean_keepdim(axis);
            let taken = (x - mean).to_vec::<f32>().expect("values");
            assert!(kept.iter().zip(&taken).all(|(a, b)| a.to_bits() == b.to_bits()), "{what} in place");
        }
    }
}

/// Rows as long as vocabularies are: softmax, losses and their derivatives.
#[test]
fn long_rows() {
    for device in devices() {
        let mut random = Random::new(8);
        for (rows, columns) in [(9, 16_385), (8, 50_257), (1, 50_257), (2, 65_537), (10, 70_000)] {
            let (x, exact) = array(&[rows, columns], &mut random, &device);
            let classes: Vec<i32> = (0..rows).map(|k| (k * 7919 % columns) as i32).collect();
            let classes = Tensor::from_slice(&classes, [rows], &device);
            let (mut softmax, mut losses) = (exact.clone(), Vec::new());
            for (k, row) in softmax.chunks_exact_mut(columns).enumerate() {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                losses.push(sum.ln() - row[k * 7919 % columns]);
                row.iter_mut().for_each(|x| *x = x.exp() / sum);
            }
            let slope: Vec<f64> = softmax
                .iter()
                .enumerate()
                .map(|(k, p)| {
                    let hit = k % columns == k / columns * 7919 % columns;
                    (p - f64::from(u8::from(hit))) / rows as f64
                })
                .collect();
            let what = format!("{rows} rows of {columns}");
            close(&format!("softmax of {what}"), &device, &x.softmax(-1), &softmax, 1e-6);
            close(&format!("losses of {what}"), &device, &x.cross_entropy_rows(&classes), &losses, 2e-6);
            let found = grad(&x, |x| x.cross_entropy(&classes)).expect("a derivative");
            close(&format!("slope of {what}"), &device, &found, &slope, 1e-6);
        }
    }
}

/// Copies of turned axes, of patterns of short ones, and of both with fill around them.
#[test]
fn turned_axes_and_patterns() {
    for device in devices() {
        let mut random = Random::new(9);
        let (x, exact) = array(&[70, 130, 3], &mut random, &device);
        let at = |i: usize, j: usize, k: usize| exact[(i * 130 + j) * 3 + k];
        let mut expected = Vec::new();
        (0..130).for_each(|j| (0..70).for_each(|i| (0..3).for_each(|k| expected.push(at(i, j, k)))));
        close("axes 1 and 0", &device, &x.transpose(0, 1).contiguous(), &expected, 0.0);
        expected.clear();
        (0..3).for_each(|k| (0..130).for_each(|j| (0..70).for_each(|i| expected.push(at(i, j, k) + 1.0))));
        close("all axes", &device, &(x.permute([2, 1, 0]) + 1.0), &expected, 1e-7);
        expected.clear();
        for i in 0..72 {
            (0..130).for_each(|j| {
                (0..5).for_each(|k| {
                    let inside = (1..71).contains(&i) && (2..5).contains(&k);
                    expected.push(if inside { at(i - 1, 129 - j, k - 2) } else { 9.0 });
                });
            });
        }
        let padded = x.flip(1).pad(0, 1, 1, 9.0).pad(2, 2, 0, 9.0).contiguous();
        close("fill around", &device, &padded, &expected, 0.0);
        // Pairs side by side, as complex numbers lie.
        let (a, b) = (x.slice(2, 0..1), x.slice(2, 2..3));
        expected.clear();
        (0..70 * 130).for_each(|k| expected.extend([exact[3 * k], exact[3 * k + 2]]));
        close("pairs", &device, &Tensor::concat(&[&a, &b], 2), &expected, 0.0);
    }
}
