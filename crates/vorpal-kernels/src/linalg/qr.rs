//! QR factors by Householder's reflections.

use std::ops::Range;

use vorpal_shaders::{QR_FACTOR, QR_FORM, Shader};
use vorpal_tensor::{DType, Result};

use super::{MatrixShape, Real, cut, each, lanes, link};
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

    fn native<T: Real>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (n, size, whole) = (self.shape.columns, self.shape.size(), QrFactor::result(self.shape));
        if self.shape.batch * size == 0 {
            return Ok(());
        }
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        let step = if self.steps.start == 0 { size } else { whole };
        let tasks: Vec<(&mut [T], &[T])> = out.chunks_mut(whole).zip(x.chunks(step)).collect();
        each(run, None, tasks, |(out, x)| {
            out[..step].copy_from_slice(x);
            let (matrix, taus) = out.split_at_mut(size);
            let mut sums = vec![T::ZERO; n];
            for k in self.steps.clone() {
                taus[k] = reflect(matrix, n, k, &mut sums);
            }
            true
        })
    }
}

/// Step k: makes column k that of an upper triangular matrix and applies the same reflection to the columns behind.
fn reflect<T: Real>(matrix: &mut [T], n: usize, k: usize, sums: &mut [T]) -> T {
    let m = matrix.len() / n;
    let mut below = T::ZERO;
    for i in k + 1..m {
        below += matrix[i * n + k] * matrix[i * n + k];
    }
    let head = matrix[k * n + k];
    let positive = below > T::ZERO;
    if !positive {
        // Nothing is to be done; entries whose squares vanish count as zeros.
        (k + 1..m).for_each(|i| matrix[i * n + k] *= T::ZERO);
        return T::ZERO;
    }
    let mut norm = head * head;
    norm += below;
    let beta = if head >= T::ZERO { -norm.root() } else { norm.root() };
    let (tau, scale) = ((beta - head) / beta, T::ONE / (head - beta));
    (k + 1..m).for_each(|i| matrix[i * n + k] *= scale);
    let sums = &mut sums[k + 1..n];
    sums.copy_from_slice(&matrix[k * n + k + 1..(k + 1) * n]);
    for row in matrix.chunks(n).skip(k + 1) {
        sums.iter_mut().zip(&row[k + 1..]).for_each(|(s, &a)| *s += row[k] * a);
    }
    sums.iter_mut().for_each(|s| *s *= tau);
    let mut rows = matrix.chunks_mut(n).skip(k);
    if let Some(row) = rows.next() {
        row[k] = beta;
        row[k + 1..].iter_mut().zip(&*sums).for_each(|(a, &s)| *a -= s);
    }
    for row in rows {
        let v = row[k];
        row[k + 1..].iter_mut().zip(&*sums).for_each(|(a, &s)| *a -= v * s);
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

    fn native<T: Real>(&self, run: &mut CpuRun<'_>) -> Result<()> {
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
        each(run, None, tasks, |(matrix, q)| {
            let packed = packed(matrix);
            if before.is_empty() {
                (0..m.min(width)).for_each(|i| q[i * width + i] = T::ONE);
            }
            let mut sums = vec![T::ZERO; width];
            for k in self.steps.clone().map(|s| self.shape.reflections() - 1 - s) {
                // Columns in front are still those of the unit matrix.
                let sums = &mut sums[k.min(width)..];
                sums.copy_from_slice(&q[k * width + k.min(width)..(k + 1) * width]);
                for i in k + 1..m {
                    let v = packed[i * n + k];
                    sums.iter_mut().zip(&q[i * width + k..(i + 1) * width]).for_each(|(s, &a)| *s += v * a);
                }
                let tau = packed[size + k];
                for i in k..m {
                    let v = if i == k { tau } else { tau * packed[i * n + k] };
                    q[i * width + k..(i + 1) * width].iter_mut().zip(&*sums).for_each(|(a, &s)| *a -= v * s);
                }
            }
            true
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
