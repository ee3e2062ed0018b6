//! Sparse matrices.

use vorpal_autodiff::ops::{SparseCoo, SparseCsr};
use vorpal_autodiff::{DType, Device, Tensor, eval};

use crate::common::devices;
use crate::harness::{Array, Case, Draw, Sample};

/// Where entries are: rows, columns, and the offsets of rows.
#[derive(Clone)]
struct Places {
    rows: Vec<i32>,
    columns: Vec<i32>,
    offsets: Vec<i32>,
    shape: [usize; 2],
}

impl Places {
    /// About a third of all places; some rows and columns are empty.
    fn draw(d: &mut Draw) -> Places {
        let shape = [d.full_axis(), d.full_axis()];
        let (mut rows, mut columns, mut offsets) = (Vec::new(), Vec::new(), vec![0]);
        for r in 0..shape[0] {
            for c in 0..shape[1] {
                if d.whole(0, 2) == 0 {
                    rows.push(r as i32);
                    columns.push(c as i32);
                }
            }
            offsets.push(rows.len() as i32);
        }
        Places { rows, columns, offsets, shape }
    }

    fn csr(&self, values: &Tensor) -> SparseCsr {
        let device = values.device().unwrap_or_else(|_| Device::cpu());
        let list = |x: &[i32]| Tensor::from_slice(x, [x.len()], &device);
        SparseCsr::new(values, &list(&self.offsets), &list(&self.columns), self.shape)
    }

    /// Entries back to front.
    fn coo(&self, values: &Tensor) -> SparseCoo {
        let device = values.device().unwrap_or_else(|_| Device::cpu());
        let list = |x: &[i32]| Tensor::from_slice(x, [x.len()], &device).flip(0);
        SparseCoo::new(&values.flip(0), &list(&self.rows), &list(&self.columns), self.shape)
    }

    fn dense(&self, values: &Array) -> Array {
        Array::from_fn(&self.shape, |at| {
            let here = |k: &usize| self.rows[*k] as usize == at[0] && self.columns[*k] as usize == at[1];
            (0..self.rows.len()).filter(here).map(|k| values.data[k]).sum()
        })
    }
}

/// The product of a matrix with matrices `[…, m, n]`.
fn product(a: &Array, b: &Array) -> Array {
    let mut shape = b.shape.clone();
    let row = shape.len().max(2) - 2;
    shape[row] = a.shape[0];
    Array::from_fn(&shape, |at| {
        let mut place = at.to_vec();
        (0..a.shape[1])
            .map(|k| {
                place[row] = k;
                a.at(&[at[row], k]) * b.at(&place)
            })
            .sum()
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        Case::smooth("SparseCsr::matmul", |d| {
            let places = Places::draw(d);
            let n = d.axis();
            let of_dense = match d.whole(0, 2) {
                0 => vec![places.shape[1]],
                1 => vec![places.shape[1], n],
                _ => vec![d.axis(), places.shape[1], n],
            };
            let inputs = vec![d.array(&[places.rows.len()], -1.0, 1.0), d.array(&of_dense, -1.0, 1.0)];
            let own = places.clone();
            let run = move |x: &[Tensor]| own.csr(&x[0]).matmul(&x[1]);
            Sample::new(inputs, run, move |x| product(&places.dense(&x[0]), &x[1]))
        }),
        Case::smooth("SparseCsr::transpose", |d| {
            let (places, n) = (Places::draw(d), d.axis());
            let inputs =
                vec![d.array(&[places.rows.len()], -1.0, 1.0), d.array(&[places.shape[0], n], -1.0, 1.0)];
            let own = places.clone();
            let run = move |x: &[Tensor]| own.csr(&x[0]).transpose().matmul(&x[1]);
            Sample::new(inputs, run, move |x| {
                let a = places.dense(&x[0]);
                let [rows, columns] = places.shape;
                product(&Array::from_fn(&[columns, rows], |at| a.at(&[at[1], at[0]])), &x[1])
            })
        }),
        Case::smooth("SparseCsr::to_dense", |d| {
            let places = Places::draw(d);
            let inputs = vec![d.array(&[places.rows.len()], -1.0, 1.0)];
            let own = places.clone();
            Sample::new(inputs, move |x| own.csr(&x[0]).to_dense(), move |x| places.dense(&x[0]))
        }),
        Case::smooth("SparseCoo::matmul", |d| {
            let (places, n) = (Places::draw(d), d.axis());
            let inputs =
                vec![d.array(&[places.rows.len()], -1.0, 1.0), d.array(&[places.shape[1], n], -1.0, 1.0)];
            let own = places.clone();
            let run = move |x: &[Tensor]| own.coo(&x[0]).matmul(&x[1]);
            Sample::new(inputs, run, move |x| product(&places.dense(&x[0]), &x[1]))
        }),
    ]
}

/// A graph convolution (Kipf, Welling 2017) of a small graph against dense matrices; a pattern is prepared once.
pub fn graph_convolution() {
    // A ring of five with one chord, and every node its own neighbour.
    let edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 3)];
    let mut entries: Vec<(i32, i32)> = edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    entries.extend((0..5).map(|k| (k, k)));
    for device in devices() {
        let list = |x: Vec<i32>| Tensor::from_slice(&x, [x.len()], &device);
        let rows = list(entries.iter().map(|e| e.0).collect());
        let columns = list(entries.iter().map(|e| e.1).collect());
        let ones = Tensor::ones([entries.len()], DType::F32, &device);
        let adjacency = SparseCoo::new(&ones, &rows, &columns, [5, 5]).to_csr();
        let degrees = adjacency.matmul(&Tensor::ones([5], DType::F32, &device));
        let scale = degrees.rsqrt();
        let normal = adjacency.scaled(&scale, &scale);
        eval(&normal).expect("a pattern");
        let x = Tensor::iota([5, 3], 0, DType::F32, &device) + Tensor::iota([5, 3], 1, DType::F32, &device);
        let found = normal.matmul(&x).to_vec::<f32>().expect("values");
        let mut dense = [[0.0f64; 5]; 5];
        entries.iter().for_each(|&(a, b)| dense[a as usize][b as usize] = 1.0);
        let degree: Vec<f64> = dense.iter().map(|row| row.iter().sum()).collect();
        for (k, &f) in found.iter().enumerate() {
            let (r, i) = (k / 3, k % 3);
            let expected: f64 =
                (0..5).map(|c| dense[r][c] / (degree[r] * degree[c]).sqrt() * (c + i) as f64).sum();
            assert!((f64::from(f) - expected).abs() < 1e-5, "{f} should be {expected}");
        }
    }
}

/// What each misuse says.
pub fn misfits() {
    let device = Device::cpu();
    let list = |x: &[i32]| Tensor::from_slice(x, [x.len()], &device);
    let ones = |n: usize| Tensor::ones([n], DType::F32, &device);
    let good = SparseCsr::new(&ones(2), &list(&[0, 1, 2]), &list(&[0, 1]), [2, 2]);
    for (wrong, text) in [
        (
            SparseCsr::new(&ones(3), &list(&[0, 1, 2]), &list(&[0, 1]), [2, 2]).matmul(&ones(2)),
            "SparseCsr: entries must be lists of one length",
        ),
        (
            SparseCsr::new(&ones(2), &list(&[0, 2]), &list(&[0, 1]), [2, 2]).matmul(&ones(2)),
            "SparseCsr: a matrix of 2 rows needs 3 offsets",
        ),
        (
            SparseCsr::new(&ones(2), &list(&[0, 2, 1]), &list(&[0, 1]), [2, 2]).matmul(&ones(2)),
            "SparseCsr offsets: the number at place 2 is smaller than the one before it",
        ),
        (
            SparseCsr::new(&ones(2), &list(&[0, 1, 2]), &list(&[0, 2]), [2, 2]).matmul(&ones(2)),
            "SparseCsr columns: index 2 is out of range for an axis of size 2",
        ),
        (good.matmul(&ones(3)), "sparse_matmul: a matrix of 2 columns needs as many rows"),
        (good.matmul(&ones(2).cast(DType::F64)), "sparse_matmul: dtypes f32 and f64 differ"),
        (
            SparseCoo::new(&ones(2), &list(&[0, 5]), &list(&[0, 1]), [2, 2]).to_dense(),
            "SparseCoo rows: index 5 is out of range",
        ),
    ] {
        let error = wrong.eval().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("sparse.rs:"), "{error}");
    }
}
