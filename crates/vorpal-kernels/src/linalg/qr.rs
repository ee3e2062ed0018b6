//! QR factors by Householder's reflections.

use std::ops::Range;

use vorpal_shaders::{QR_FACTOR, QR_FORM, Shader};
use vorpal_tensor::{DType, Result};

use super::recursive::{NARROW, Panel, copied, negated};
use super::{MatrixShape, Real, cut, each, lanes, link};
use crate::gemm::{Gemm, Matrix};
use crate::interp::workers;
use crate::lane::vectorized;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Reflections H = I − τ v vᵀ that make matrices upper triangular: for each matrix R in and above the diagonal, the
/// vectors v below it (their first entry is 1), then the numbers τ. Signs are those of LAPACK's `geqrf`.
#[derive(Clone, Debug)]
pub struct QrFactor {
    shape: MatrixShape,
    steps: Range<usize>,
    dtype: DType,
    offset: usize,
}

impl QrFactor {
    /// Elements of the result for each matrix.
    pub fn result(shape: MatrixShape) -> usize {
        shape.size() + shape.reflections()
    }

    /// The whole factorisation of matrices of `dtype` (f32; natively f64, too) that start at `offset`: launches to run
    /// one after the other, each on the result of the one before. The native body takes all at once.
    pub fn launches(shape: MatrixShape, dtype: DType, offset: usize, native: bool) -> Vec<QrFactor> {
        let MatrixShape { rows: m, columns: n, .. } = shape;
        let (steps, lanes) = (shape.reflections(), lanes(shape.size()));
        let pieces = if native {
            cut(steps, 0, |_| 0)
        } else {
            cut(steps, (m * n).div_ceil(lanes), |k| {
                (n - k - 1).div_ceil(lanes) * (2 * (m - k) + 1) + 2 * m.div_ceil(lanes) + 12
            })
        };
        let of = |steps: Range<usize>| {
            let offset = if steps.start == 0 { offset } else { 0 };
            QrFactor { shape, steps, dtype, offset }
        };
        pieces.into_iter().map(of).collect()
    }

    fn native<T: Real + Gemm>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (n, size, whole) = (self.shape.columns, self.shape.size(), QrFactor::result(self.shape));
        if self.shape.batch * size == 0 {
            return Ok(());
        }
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        let step = if self.steps.start == 0 { size } else { whole };
        let tasks: Vec<(&mut [T], &[T])> = out.chunks_mut(whole).zip(x.chunks(step)).collect();
        let parallel = self.shape.batch < workers();
        each(run, None, tasks, |(out, x)| {
            out[..step].copy_from_slice(x);
            let (matrix, taus) = out.split_at_mut(size);
            for block in blocks(&self.steps) {
                let mut panel = Panel::new(matrix, n, block.clone());
                vectorized(
                    #[inline(always)]
                    || {
                        for (j, tau) in taus[block.clone()].iter_mut().enumerate() {
                            *tau = reflect(&mut panel.rows, j);
                        }
                    },
                );
                panel.store(matrix, n);
                let columns = block.end..n;
                if !columns.is_empty() {
                    let together = Together::new(matrix, n, &taus[block.clone()], block.start)?;
                    together.apply(&mut matrix[block.start * n..], n, columns, true, parallel)?;
                }
            }
            Ok(true)
        })
    }
}

/// Ranges of steps whose reflections are applied together.
fn blocks(steps: &Range<usize>) -> impl DoubleEndedIterator<Item = Range<usize>> + use<> {
    let Range { start, end } = *steps;
    (0..steps.len().div_ceil(NARROW))
        .map(move |block| start + block * NARROW..end.min(start + (block + 1) * NARROW))
}

/// A product of reflections, I − V T Vᵀ with T upper triangular (Schreiber, Van Loan 1989), so that it is applied by products of
/// matrices.
struct Together<T> {
    /// Rows from that of the first reflection on.
    v: Vec<T>,
    t: Vec<T>,
    count: usize,
}

impl<T: Real + Gemm> Together<T> {
    /// Those found in the columns from `first` on of packed rows of `n`.
    fn new(packed: &[T], n: usize, taus: &[T], first: usize) -> Result<Together<T>> {
        let (count, place) = (taus.len(), Matrix::rows_of(taus.len()));
        let mut v = copied(packed, n, first..packed.len() / n, first..first + count);
        for k in 0..count {
            v[k * count + k] = T::ONE;
            v[k * count + k + 1..(k + 1) * count].fill(T::ZERO);
        }
        let mut inner = vec![T::ZERO; count * count];
        let sizes = [count, count, v.len() / count.max(1)];
        T::gemm(sizes, (&mut inner, place), (&v, place.transposed()), (&v, place), false, false)?;
        let mut t = vec![T::ZERO; count * count];
        for (j, &tau) in taus.iter().enumerate() {
            for i in 0..j {
                let mut sum = T::ZERO;
                (i..j).for_each(|p| sum += t[i * count + p] * inner[p * count + j]);
                t[i * count + j] = -tau * sum;
            }
            t[j * count + j] = tau;
        }
        Ok(Together { v, t, count })
    }

    /// Applies the product, or its transpose, to some columns of rows of `pitch`, the first of which is that of the first
    /// reflection.
    fn apply(
        &self,
        x: &mut [T],
        pitch: usize,
        columns: Range<usize>,
        transposed: bool,
        parallel: bool,
    ) -> Result<()> {
        let (count, width) = (self.count, columns.len());
        let rows = self.v.len() / count.max(1);
        let (v, sums) = (Matrix::rows_of(count), Matrix::rows_of(width));
        let place = Matrix { offset: columns.start as isize, ..Matrix::rows_of(pitch) };
        let mut inner = vec![T::ZERO; count * width];
        let sizes = [count, width, rows];
        T::gemm(sizes, (&mut inner, sums), (&self.v, v.transposed()), (&*x, place), false, parallel)?;
        let (factors, place_of) = negated(&self.t, v, 0..count, 0..count);
        let factors = (&factors[..], if transposed { place_of.transposed() } else { place_of });
        let mut taken = vec![T::ZERO; count * width];
        let sizes = [count, width, count];
        T::gemm(sizes, (&mut taken, sums), factors, (&inner, sums), false, parallel)?;
        T::gemm([rows, width, count], (x, place), (&self.v, v), (&taken, sums), true, parallel)
    }
}

/// Makes column k, from row k on, that of an upper triangular matrix and applies the same reflection to the columns behind.
#[inline(always)]
fn reflect<T: Real>(rows: &mut [[T; NARROW]], k: usize) -> T {
    let mut below = T::ZERO;
    for row in rows.iter().skip(k + 1) {
        below += row[k] * row[k];
    }
    let head = rows[k][k];
    let positive = below > T::ZERO;
    if !positive {
        // Nothing is to be done; entries whose squares vanish count as zeros.
        rows.iter_mut().skip(k + 1).for_each(|row| row[k] *= T::ZERO);
        return T::ZERO;
    }
    let mut norm = head * head;
    norm += below;
    let beta = if head >= T::ZERO { -norm.root() } else { norm.root() };
    let (tau, scale) = ((beta - head) / beta, T::ONE / (head - beta));
    let mut sums = rows[k];
    for row in rows.iter_mut().skip(k + 1) {
        row[k] *= scale;
        let v = row[k];
        for (s, &a) in sums.iter_mut().zip(&*row) {
            *s += v * a;
        }
    }
    // What is in front stays as it is.
    sums[..=k].fill(T::ZERO);
    for (s, a) in sums.iter_mut().zip(&mut rows[k]) {
        *s *= tau;
        *a -= *s;
    }
    rows[k][k] = beta;
    for row in rows.iter_mut().skip(k + 1) {
        let v = row[k];
        for (a, &s) in row.iter_mut().zip(&sums) {
            *a -= v * s;
        }
    }
    tau
}

impl Kernel for QrFactor {
    fn name(&self) -> &'static str {
        "qr_factor"
    }

    fn describe(&self) -> String {
        let MatrixShape { batch, rows, columns } = self.shape;
        format!("qr_factor {batch} of {rows}×{columns}, steps {:?}", self.steps)
    }

    fn args(&self) -> Vec<Arg> {
        let whole = QrFactor::result(self.shape);
        let read = if self.steps.start == 0 { self.shape.size() } else { whole };
        vec![
            Arg::read(self.dtype, self.offset + self.shape.batch * read),
            Arg::write(self.dtype, self.shape.batch * whole),
        ]
    }

    fn shader(&self) -> Result<Shader> {
        Ok(link(QR_FACTOR, self.shape, &self.steps, self.offset, lanes(self.shape.size()))?.finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(if self.shape.size() == 0 { 0 } else { self.shape.batch })
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let MatrixShape { batch, rows, columns } = self.shape;
        let flops: usize = self.steps.clone().map(|k| 4 * (rows - k) * (columns - k)).sum();
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: (batch * flops) as u64, bytes: bytes as u64 }
    }
}

/// The first `width` columns of the product of the reflections that [`QrFactor`] found. Arguments: its result, the
/// result of the launch before (anything for the first), the result.
#[derive(Clone, Debug)]
pub struct QrForm {
    shape: MatrixShape,
    width: usize,
    steps: Range<usize>,
    dtype: DType,
    offset: usize,
}

/// Columns of a workgroup.
const FORM_LANES: usize = 64;

impl QrForm {
    /// Launches to run one after the other, for matrices of `shape` whose reflections start at `offset`.
    pub fn launches(
        shape: MatrixShape,
        width: usize,
        dtype: DType,
        offset: usize,
        native: bool,
    ) -> Vec<QrForm> {
        let (m, steps) = (shape.rows, shape.reflections());
        let pieces =
            if native { cut(steps, 0, |_| 0) } else { cut(steps, m, |s| 2 * (m - (steps - 1 - s)) + 1) };
        pieces.into_iter().map(|steps| QrForm { shape, width, steps, dtype, offset }).collect()
    }

    fn len(&self) -> usize {
        self.shape.batch * self.shape.rows * self.width
    }

    fn native<T: Real + Gemm>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        if self.len() == 0 {
            return Ok(());
        }
        let MatrixShape { rows: m, columns: n, .. } = self.shape;
        let (size, width, whole) = (self.shape.size(), self.width, QrFactor::result(self.shape));
        let packed = &run.read::<T>(0)?[self.offset..];
        let before = if self.steps.start == 0 { &[] } else { run.read::<T>(1)? };
        let out = run.write::<T>(2)?;
        if before.is_empty() {
            out.fill(T::ZERO);
        } else {
            out.copy_from_slice(before);
        }
        // Without columns there is no reflection to read.
        let packed = |k: usize| packed.get(k * whole..(k + 1) * whole).unwrap_or(&[]);
        let tasks: Vec<(usize, &mut [T])> = out.chunks_mut(m * width).enumerate().collect();
        let parallel = self.shape.batch < workers();
        each(run, None, tasks, |(matrix, q)| {
            let packed = packed(matrix);
            if before.is_empty() {
                (0..m.min(width)).for_each(|i| q[i * width + i] = T::ONE);
            }
            let reflections = self.shape.reflections();
            let steps = reflections - self.steps.end..reflections - self.steps.start;
            for block in blocks(&steps).rev() {
                // Columns in front are still those of the unit matrix.
                let columns = block.start.min(width)..width;
                let taus = &packed[size..][block.clone()];
                let together = Together::new(&packed[..size], n, taus, block.start)?;
                together.apply(&mut q[block.start * width..], width, columns, false, parallel)?;
            }
            Ok(true)
        })
    }
}

impl Kernel for QrForm {
    fn name(&self) -> &'static str {
        "qr_form"
    }

    fn describe(&self) -> String {
        let MatrixShape { batch, rows, .. } = self.shape;
        format!("qr_form {batch} of {rows}×{}, steps {:?}", self.width, self.steps)
    }

    fn args(&self) -> Vec<Arg> {
        let packed = self.offset + self.shape.batch * QrFactor::result(self.shape);
        let before = if self.steps.start == 0 { 0 } else { self.len() };
        vec![Arg::read(self.dtype, packed), Arg::read(self.dtype, before), Arg::write(self.dtype, self.len())]
    }

    fn shader(&self) -> Result<Shader> {
        let linker = link(QR_FORM, self.shape, &self.steps, self.offset, FORM_LANES)?;
        Ok(linker.constant("WIDTH", self.width.max(1)).finish())
    }

    fn groups(&self) -> [u32; 3] {
        if self.len() == 0 {
            return [0; 3];
        }
        spread((self.shape.batch * self.width).div_ceil(FORM_LANES))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let MatrixShape { batch, rows, .. } = self.shape;
        let flops = 4 * self.steps.len() * rows * self.width * batch;
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: flops as u64, bytes: bytes as u64 }
    }
}
