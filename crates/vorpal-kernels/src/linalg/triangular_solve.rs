//! Solutions of triangular systems.

use std::ops::Range;

use vorpal_shaders::{Shader, TRIANGULAR_SOLVE};
use vorpal_tensor::{DType, Fault, Result};

use super::recursive::Triangle;
use super::{MatrixShape, Real, cut, each, lanes, link};
use crate::gemm::{Gemm, Matrix};
use crate::interp::workers;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Columns of a workgroup.
const TILE: usize = 16;

/// X with A X = B, or Aᵀ X = B, for triangular A, of which one triangle is read. Zeros on the diagonal are reported by
/// the number of the matrix. Arguments: A, B, X.
#[derive(Clone, Debug)]
pub struct TriangularSolve {
    /// Of B and X; A has as many rows.
    shape: MatrixShape,
    upper: bool,
    transposed: bool,
    unit: bool,
    steps: Range<usize>,
    dtype: DType,
    offsets: [usize; 2],
}

impl TriangularSolve {
    /// Launches to run one after the other, each with the result of the one before as B. `shape` is that of B and X;
    /// `upper`, `transposed` and `unit` say whether A is upper triangular, is transposed, has ones on its diagonal
    /// whatever stands there; A and B are of `dtype` (f32; natively f64, too) and start at `offsets`.
    pub fn launches(
        shape: MatrixShape,
        [upper, transposed, unit]: [bool; 3],
        dtype: DType,
        offsets: [usize; 2],
        native: bool,
    ) -> Vec<TriangularSolve> {
        let n = shape.rows;
        let width = shape.columns.min(TILE);
        let lanes = lanes(n * width);
        let pieces = if native {
            cut(n, 0, |_| 0)
        } else {
            cut(n, 2 * (n * width).div_ceil(lanes), |k| ((n - 1 - k) * width).div_ceil(lanes) + 1)
        };
        let of = |steps: Range<usize>| {
            let offsets = [offsets[0], if steps.start == 0 { offsets[1] } else { 0 }];
            TriangularSolve { shape, upper, transposed, unit, steps, dtype, offsets }
        };
        pieces.into_iter().map(of).collect()
    }

    /// Whether row 0 is the first to be found.
    fn forward(&self) -> bool {
        self.upper == self.transposed
    }

    fn native<T: Real + Gemm>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let (n, columns, size) = (self.shape.rows, self.shape.columns, self.shape.size());
        if self.shape.batch * size == 0 {
            return Ok(());
        }
        let a = &run.read::<T>(0)?[self.offsets[0]..];
        let b = &run.read::<T>(1)?[self.offsets[1]..];
        let out = run.write::<T>(2)?;
        let rows = out.chunks_mut(size).zip(b.chunks(size));
        let tasks = rows.zip(a.chunks(n * n)).collect::<Vec<_>>();
        let parallel = self.shape.batch < workers();
        each(run, self.fault(), tasks, |((x, b), entries)| {
            x.copy_from_slice(b);
            let place = Matrix::rows_of(n);
            let place = if self.transposed { place.transposed() } else { place };
            let triangle = Triangle { entries, place, lower: self.forward(), unit: self.unit };
            let Range { start, end } = self.steps;
            let range = if self.forward() { start..end } else { n - end..n - start };
            let is_regular = triangle.solve(range.clone(), x, columns, 0..columns, parallel)?;
            // Launches of an adapter leave the equations of the rows to come to the next.
            let rest = if self.forward() { end..n } else { 0..n - end };
            triangle.take([range, rest], x, columns, 0..columns, parallel)?;
            Ok(is_regular)
        })
    }
}

impl Kernel for TriangularSolve {
    fn name(&self) -> &'static str {
        "triangular_solve"
    }

    fn describe(&self) -> String {
        let MatrixShape { batch, rows, columns } = self.shape;
        format!("triangular_solve {batch} of {rows}×{rows} for {columns} columns, steps {:?}", self.steps)
    }

    fn args(&self) -> Vec<Arg> {
        let (a, b) = (self.shape.batch * self.shape.rows.pow(2), self.shape.batch * self.shape.size());
        vec![
            Arg::read(self.dtype, self.offsets[0] + a),
            Arg::read(self.dtype, self.offsets[1] + b),
            Arg::write(self.dtype, b),
        ]
    }

    fn scalars(&self) -> Vec<DType> {
        vec![DType::U32]
    }

    fn checks_indices(&self) -> bool {
        true
    }

    fn fault(&self) -> Option<Fault> {
        Some(Fault::Value { what: "matrix", problem: "of the batch is singular" })
    }

    fn shader(&self) -> Result<Shader> {
        let width = self.shape.columns.min(TILE);
        let lanes = lanes(self.shape.rows * width);
        let linker = link(TRIANGULAR_SOLVE, self.shape, &self.steps, self.offsets[0], lanes)?;
        Ok(linker
            .constant("B_OFFSET", self.offsets[1])
            .constant("TILE", TILE)
            .constant("FORWARD", usize::from(self.forward()))
            .constant("TRANSPOSED", usize::from(self.transposed))
            .constant("UNIT", usize::from(self.unit))
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        let tiles = self.shape.columns.div_ceil(TILE);
        spread(if self.shape.size() == 0 { 0 } else { self.shape.batch * tiles })
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        let flops: usize = self.steps.clone().map(|k| 2 * (self.shape.rows - k)).sum();
        let bytes: usize = self.args().iter().map(Arg::traffic_bytes).sum();
        Cost { flops: (flops * self.shape.columns * self.shape.batch) as u64, bytes: bytes as u64 }
    }
}
