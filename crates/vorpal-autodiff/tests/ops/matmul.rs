//! Matrix products.

use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, Sample};

/// A plain product of two matrices or stacks of them, whose batch axes broadcast.
fn product(a: &Array, b: &Array) -> Array {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let (batch_a, batch_b) = (&a.shape[..ra - 2], &b.shape[..rb - 2]);
    let rank = batch_a.len().max(batch_b.len());
    let size = |s: &[usize], k: usize| (k + s.len()).checked_sub(rank).map_or(1, |k| s[k]);
    let mut shape: Vec<usize> =
        (0..rank).map(|k| if size(batch_a, k) == 1 { size(batch_b, k) } else { size(batch_a, k) }).collect();
    shape.extend([a.shape[ra - 2], b.shape[rb - 1]]);
    let place = |s: &[usize], at: &[usize]| -> Vec<usize> {
        let own = &at[rank - s.len()..rank];
        own.iter().zip(s).map(|(&k, &size)| if size == 1 { 0 } else { k }).collect()
    };
    Array::from_fn(&shape, |at| {
        let (mut left, mut right) = (place(batch_a, at), place(batch_b, at));
        left.extend([at[rank], 0]);
        right.extend([0, at[rank + 1]]);
        let mut sum = 0.0;
        for k in 0..a.shape[ra - 1] {
            (left[ra - 1], right[rb - 2]) = (k, k);
            sum += a.at(&left) * b.at(&right);
        }
        sum
    })
}

/// A batch of matrices that broadcasts with `batch`: some axes have size 1, some in front are missing.
fn stack(d: &mut Draw, batch: &[usize], matrix: [usize; 2]) -> Array {
    let missing = d.whole(0, batch.len());
    let mut shape: Vec<usize> = batch[missing..].iter().map(|&n| if d.flip() { n } else { 1 }).collect();
    shape.extend(matrix);
    d.array(&shape, -1.0, 1.0)
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::smooth("matmul", |d| {
            let batch = d.shape(0, 2);
            let [m, k, n] = [d.axis(), d.axis(), d.axis()];
            let inputs = vec![stack(d, &batch, [m, k]), stack(d, &batch, [k, n])];
            Sample::new(inputs, |x| x[0].matmul(&x[1]), |x| product(&x[0], &x[1]))
        }),
        Case::smooth("matmul with vectors", |d| {
            let batch = d.shape(0, 2);
            let [k, n] = [d.axis(), d.axis()];
            let vector = d.array(&[k], -1.0, 1.0);
            let matrix = |shape: &[usize], d: &mut Draw| {
                let all: Vec<usize> = batch.iter().chain(shape).copied().collect();
                d.array(&all, -1.0, 1.0)
            };
            let as_matrix = |x: &Array, shape: [usize; 2]| Array { shape: shape.to_vec(), ..x.clone() };
            match d.whole(0, 2) {
                0 => Sample::new(
                    vec![vector, d.array(&[k], -1.0, 1.0)],
                    |x| x[0].matmul(&x[1]),
                    move |x| {
                        let out = product(&as_matrix(&x[0], [1, k]), &as_matrix(&x[1], [k, 1]));
                        Array { shape: vec![], ..out }
                    },
                ),
                1 => Sample::new(
                    vec![vector, matrix(&[k, n], d)],
                    |x| x[0].matmul(&x[1]),
                    move |x| {
                        let mut out = product(&as_matrix(&x[0], [1, k]), &x[1]);
                        out.shape.remove(out.shape.len() - 2);
                        out
                    },
                ),
                _ => Sample::new(
                    vec![matrix(&[n, k], d), vector],
                    |x| x[0].matmul(&x[1]),
                    move |x| {
                        let mut out = product(&x[0], &as_matrix(&x[1], [k, 1]));
                        out.shape.pop();
                        out
                    },
                ),
            }
        }),
    ]
}

/// What each misuse says.
pub fn misfits() {
    let x = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::cpu());
    for (wrong, text) in [
        (
            x(&[2, 3]).matmul(&x(&[2, 3])).relu(),
            "matmul: inner sizes 3 and 2 differ (operands f32[2, 3], f32[2, 3])",
        ),
        (x(&[]).matmul(&x(&[2])), "matmul: a scalar is no matrix"),
        (x(&[2, 1, 3]).matmul(&x(&[4, 3, 1])), "matmul: batch axes [2] and [4] do not broadcast"),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("matmul.rs:"), "{error}");
    }
}
