//! Sparse matrices: compressed rows, coordinates, products with dense tensors.

use vorpal_kernels::ReduceKind;
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::segment::{Grouped, checked, combined};
use super::shape_error;
use super::sort::{Argsort, arranged};
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Tensors, Vjp, Vmap};

/// Where the entries of a matrix are: by rows, and once more by columns, which is what derivatives go through.
#[derive(Clone, Debug)]
struct Pattern {
    /// Where each row starts, and where the last one ends.
    offsets: Tensor,
    /// Row and column of every entry.
    rows: Tensor,
    columns: Tensor,
    /// Where each column starts among the entries sorted by column.
    by_column: Tensor,
    /// Row and column of the entries sorted by column.
    sorted_rows: Tensor,
    sorted_columns: Tensor,
    /// That order, and the one that undoes it.
    order: Tensor,
    inverse: Tensor,
}

impl Pattern {
    fn from_list(list: &[Tensor]) -> Option<Pattern> {
        let [offsets, rows, columns, by_column, sorted_rows, sorted_columns, order, inverse] = list else {
            return None;
        };
        Some(Pattern {
            offsets: offsets.clone(),
            rows: rows.clone(),
            columns: columns.clone(),
            by_column: by_column.clone(),
            sorted_rows: sorted_rows.clone(),
            sorted_columns: sorted_columns.clone(),
            order: order.clone(),
            inverse: inverse.clone(),
        })
    }

    fn list(&self) -> [&Tensor; 8] {
        [
            &self.offsets,
            &self.rows,
            &self.columns,
            &self.by_column,
            &self.sorted_rows,
            &self.sorted_columns,
            &self.order,
            &self.inverse,
        ]
    }

    /// The pattern of the transposed matrix, whose entries are in the order of columns.
    fn transposed(&self) -> Pattern {
        Pattern {
            offsets: self.by_column.clone(),
            rows: self.sorted_columns.clone(),
            columns: self.sorted_rows.clone(),
            by_column: self.offsets.clone(),
            sorted_rows: self.columns.clone(),
            sorted_columns: self.rows.clone(),
            order: self.inverse.clone(),
            inverse: self.order.clone(),
        }
    }

    /// The matrix with these values times a dense one.
    fn product(&self, values: &Tensor, dense: &Tensor, at: At) -> Tensor {
        let operands: Vec<&Tensor> = [values, dense].into_iter().chain(self.list()).collect();
        Tensor::apply(Product, &operands, at)
    }
}

/// A sparse matrix times a dense one. Operands: values `[entries]`, dense `[columns, n]`, the parts of the pattern.
#[derive(Debug)]
struct Product;

impl Op for Product {
    fn name(&self) -> &'static str {
        "sparse_matmul"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let (values, dense) = (&inputs[0], &inputs[1]);
        if !values.dtype.is_float() {
            return Misfit::dtype(format!("needs floats, found {}", values.dtype));
        }
        super::same_dtype(&inputs[..2])?;
        let columns = inputs[5].shape.numel() - 1;
        if dense.shape.rank() != 2 || dense.shape[0] != columns {
            return Misfit::shape(format!("a matrix of {columns} columns needs as many rows beside it"));
        }
        Ok(Spec::new([inputs[2].shape.numel() - 1, dense.shape[1]], values.dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let mut out = vec![None; v.inputs.len()];
        let Some(pattern) = Pattern::from_list(&v.inputs[2..]) else { return out };
        let (values, dense, at) = (&v.inputs[0], &v.inputs[1], At::caller());
        // The dense product, sampled where there are entries.
        let left = v.grad.index_select(0, &pattern.rows);
        out[0] = Some((left * dense.index_select(0, &pattern.columns)).sum(-1));
        let sorted = arranged(values, &pattern.order, at);
        out[1] = Some(pattern.transposed().product(&sorted, v.grad, at));
        out
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let Some(pattern) = Pattern::from_list(&v.inputs[2..]) else { return v.inputs[0].clone() };
        if v.batched[2..].contains(&true) {
            let message = "examples must share the pattern of a sparse matrix".to_string();
            return Tensor::error(Error::Argument { op: "sparse_matmul", message, at: v.at });
        }
        if v.batched[0] {
            // Values differ: products of all entries, summed over the entries of a row.
            let entries = v.example(1).index_select(1, &pattern.columns) * v.example(0).unsqueeze(-1);
            let op = Grouped { kind: ReduceKind::Sum, axis: 1, ordered: false };
            return Tensor::apply(op, &[&entries, &pattern.rows, &pattern.offsets], v.at);
        }
        beside(&v.inputs[1], |dense| pattern.product(&v.inputs[0], dense, v.at))
    }

    fn attributes(&self, _: &mut Key) {}

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        combined(cx, ReduceKind::Sum, 0, [x[1], x[2]], Some(x[4]), Some(x[0]))
    }
}

/// `f` of all matrices `[batch, m, n]` side by side.
fn beside(x: &Tensor, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    let shape = x.shape();
    let flat = x.permute([1, 0, 2]).reshape([shape[1], shape[0] * shape[2]]);
    let out = f(&flat);
    let rows = if out.rank() == 2 { out.shape()[0] } else { 0 };
    out.reshape([rows, shape[0], shape[2]]).permute([1, 0, 2])
}

/// A sparse matrix by rows (CSR): values, the column of each, and where each row starts. Derivatives are taken with
/// respect to the values.
///
/// The pattern is prepared lazily, sorted by columns for derivatives; [`eval`](crate::eval) of the matrix does that once
/// for all later products.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, ops::SparseCsr};
/// let device = Device::cpu();
/// // [[1, 0, 2], [0, 3, 0]]
/// let values = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &device);
/// let offsets = Tensor::from_slice(&[0i32, 2, 3], [3], &device);
/// let columns = Tensor::from_slice(&[0i32, 2, 1], [3], &device);
/// let a = SparseCsr::new(&values, &offsets, &columns, [2, 3]);
/// let x = Tensor::from_slice(&[1.0f32, 10.0, 100.0], [3], &device);
/// assert_eq!(a.matmul(&x).to_vec::<f32>()?, [201.0, 30.0]);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SparseCsr {
    values: Tensor,
    pattern: Pattern,
    shape: [usize; 2],
}

impl Tensors for SparseCsr {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        f(&self.values);
        self.pattern.list().into_iter().for_each(f);
    }
}

/// Fails unless lists have one length.
fn same_lengths(op: &'static str, lists: &[&Tensor], at: At) -> Result<usize> {
    lists.iter().try_for_each(|x| x.check())?;
    let len = lists[0].shape().numel();
    if lists.iter().any(|x| x.rank() != 1 || x.shape()[0] != len) {
        return Err(shape_error(op, "entries must be lists of one length", lists, at));
    }
    Ok(len)
}

impl SparseCsr {
    /// A matrix of `shape` from the values `[entries]` row by row, where each row starts among them (`[rows + 1]`, `I32`
    /// or `U32`, the last number being that of the entries) and the column of each.
    ///
    /// Lists that do not fit give a matrix that carries [`Error::Shape`]; offsets that decrease and columns out of range
    /// are an [`Error::Index`] when a result is read.
    #[track_caller]
    pub fn new(values: &Tensor, offsets: &Tensor, columns: &Tensor, shape: [usize; 2]) -> SparseCsr {
        let at = At::caller();
        SparseCsr::build(values, offsets, columns, shape, at)
            .unwrap_or_else(|error| SparseCsr::failed(error, shape))
    }

    fn failed(error: Error, shape: [usize; 2]) -> SparseCsr {
        let failed = Tensor::error(error);
        let pattern = Pattern {
            offsets: failed.clone(),
            rows: failed.clone(),
            columns: failed.clone(),
            by_column: failed.clone(),
            sorted_rows: failed.clone(),
            sorted_columns: failed.clone(),
            order: failed.clone(),
            inverse: failed.clone(),
        };
        SparseCsr { values: failed, pattern, shape }
    }

    fn build(
        values: &Tensor,
        offsets: &Tensor,
        columns: &Tensor,
        shape: [usize; 2],
        at: At,
    ) -> Result<SparseCsr> {
        let entries = same_lengths("SparseCsr", &[values, columns], at)?;
        offsets.check()?;
        if offsets.rank() != 1 || offsets.shape()[0] != shape[0] + 1 {
            let message = format!("a matrix of {} rows needs {} offsets", shape[0], shape[0] + 1);
            return Err(shape_error("SparseCsr", message, &[offsets], at));
        }
        let device = values.device()?;
        let offsets = checked("SparseCsr offsets", offsets, entries + 1, true, at).cast(DType::I32);
        let columns = checked("SparseCsr columns", columns, shape[1], false, at).cast(DType::I32);
        let numbers = Tensor::arange(entries, DType::I32, &device);
        let rows = offsets.narrow(0, 1, shape[0]).searchsorted(&numbers, true);
        let sorted = |x: &Tensor| Tensor::apply(Argsort { descending: false }, &[x], at);
        let order = sorted(&columns);
        let sorted_columns = arranged(&columns, &order, at);
        let starts = Tensor::arange(shape[1] + 1, DType::I32, &device);
        let pattern = Pattern {
            by_column: sorted_columns.searchsorted(&starts, false),
            sorted_rows: arranged(&rows, &order, at),
            sorted_columns,
            inverse: sorted(&order),
            order,
            offsets,
            rows,
            columns,
        };
        pattern.list().into_iter().try_for_each(Tensor::check)?;
        Ok(SparseCsr { values: values.clone(), pattern, shape })
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The values of the entries, row by row.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The row of every entry (`I32`).
    pub fn rows(&self) -> &Tensor {
        &self.pattern.rows
    }

    /// The column of every entry (`I32`).
    pub fn columns(&self) -> &Tensor {
        &self.pattern.columns
    }

    /// The same pattern with other values `[entries]`.
    #[track_caller]
    pub fn with_values(&self, values: &Tensor) -> SparseCsr {
        let at = At::caller();
        match same_lengths("SparseCsr", &[values, &self.pattern.columns], at) {
            Ok(_) => SparseCsr { values: values.clone(), ..self.clone() },
            Err(error) => SparseCsr::failed(error, self.shape),
        }
    }

    /// The matrix with every row and column multiplied: diag(`rows`) · A · diag(`columns`). With both D^(−1∕2) of a graph's
    /// degrees D that is the adjacency that graph convolutions use (Kipf, Welling 2017).
    #[track_caller]
    pub fn scaled(&self, rows: &Tensor, columns: &Tensor) -> SparseCsr {
        let row = rows.index_select(0, &self.pattern.rows);
        self.with_values(&(&self.values * row * columns.index_select(0, &self.pattern.columns)))
    }

    /// The transposed matrix, by its rows.
    #[track_caller]
    pub fn transpose(&self) -> SparseCsr {
        let values = arranged(&self.values, &self.pattern.order, At::caller());
        SparseCsr { values, pattern: self.pattern.transposed(), shape: [self.shape[1], self.shape[0]] }
    }

    /// The product with a dense vector `[columns]`, matrix `[columns, n]` or matrices `[…, columns, n]`: `[rows]`,
    /// `[rows, n]`, `[…, rows, n]`. Sums are those of rows in order: two runs give the same bits. The derivative by the
    /// values samples the dense product; that by the dense operand is a product with the transposed matrix.
    #[track_caller]
    pub fn matmul(&self, dense: &Tensor) -> Tensor {
        let at = At::caller();
        let shape = dense.shape();
        if self.values.check().is_err() || dense.check().is_err() {
            return if self.values.check().is_err() { self.values.clone() } else { dense.clone() };
        }
        match shape.rank() {
            0 => {
                let message = "a scalar is no matrix";
                Tensor::error(shape_error("sparse_matmul", message, &[&self.values, dense], at))
            }
            1 => self.pattern.product(&self.values, &dense.unsqueeze(1), at).squeeze(-1),
            2 => self.pattern.product(&self.values, dense, at),
            rank => {
                let (m, n) = (shape[rank - 2], shape[rank - 1]);
                let batch: usize = shape[..rank - 2].iter().product();
                let flat = dense.reshape([batch, m, n]);
                let out = beside(&flat, |flat| self.pattern.product(&self.values, flat, at));
                let all: Shape = shape[..rank - 2].iter().copied().chain([self.shape[0], n]).collect();
                out.reshape(all)
            }
        }
    }

    /// The matrix with all its zeros. Entries at one place add up.
    #[track_caller]
    pub fn to_dense(&self) -> Tensor {
        let [rows, columns] = self.shape;
        dense_from(&self.values, &self.pattern.rows, &self.pattern.columns, [rows, columns])
    }
}

/// Values at their rows and columns of a dense matrix.
#[track_caller]
fn dense_from(values: &Tensor, rows: &Tensor, columns: &Tensor, shape: [usize; 2]) -> Tensor {
    let places = rows * (shape[1] as i32) + columns;
    values.segment_sum(&places, shape[0] * shape[1], false).reshape(shape)
}

/// A sparse matrix as a list of entries in any order (COO): the value, row and column of each. Entries at one place add
/// up.
#[derive(Clone, Debug)]
pub struct SparseCoo {
    values: Tensor,
    rows: Tensor,
    columns: Tensor,
    shape: [usize; 2],
}

impl Tensors for SparseCoo {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        [&self.values, &self.rows, &self.columns].into_iter().for_each(f);
    }
}

impl SparseCoo {
    /// A matrix of `shape` from values, rows and columns (`I32` or `U32`) of its entries, lists of one length. Lists that
    /// do not fit give a matrix that carries [`Error::Shape`]; rows and columns out of range are an [`Error::Index`] when a
    /// result is read.
    #[track_caller]
    pub fn new(values: &Tensor, rows: &Tensor, columns: &Tensor, shape: [usize; 2]) -> SparseCoo {
        let at = At::caller();
        if let Err(error) = same_lengths("SparseCoo", &[values, rows, columns], at) {
            let failed = Tensor::error(error);
            return SparseCoo { values: failed.clone(), rows: failed.clone(), columns: failed, shape };
        }
        let rows = checked("SparseCoo rows", rows, shape[0], false, at).cast(DType::I32);
        let columns = checked("SparseCoo columns", columns, shape[1], false, at).cast(DType::I32);
        SparseCoo { values: values.clone(), rows, columns, shape }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The transposed matrix.
    #[must_use]
    pub fn transpose(&self) -> SparseCoo {
        let (rows, columns) = (self.columns.clone(), self.rows.clone());
        SparseCoo { values: self.values.clone(), rows, columns, shape: [self.shape[1], self.shape[0]] }
    }

    /// The same matrix by rows; entries of a row keep their order.
    #[track_caller]
    pub fn to_csr(&self) -> SparseCsr {
        let at = At::caller();
        let Ok(device) = self.values.device() else {
            return SparseCsr::new(&self.values, &self.rows, &self.columns, self.shape);
        };
        let order = Tensor::apply(Argsort { descending: false }, &[&self.rows], at);
        let starts = Tensor::arange(self.shape[0] + 1, DType::I32, &device);
        let offsets = arranged(&self.rows, &order, at).searchsorted(&starts, false);
        let columns = arranged(&self.columns, &order, at);
        SparseCsr::new(&arranged(&self.values, &order, at), &offsets, &columns, self.shape)
    }

    /// The product with a dense tensor: see [`SparseCsr::matmul`].
    #[track_caller]
    pub fn matmul(&self, dense: &Tensor) -> Tensor {
        self.to_csr().matmul(dense)
    }

    /// The matrix with all its zeros.
    #[track_caller]
    pub fn to_dense(&self) -> Tensor {
        dense_from(&self.values, &self.rows, &self.columns, self.shape)
    }
}
