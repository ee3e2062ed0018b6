//! Discrete Fourier transforms of real numbers, natively.

use std::sync::Arc;

use num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::FftNum;
use vorpal_shaders::Shader;
use vorpal_tensor::{DType, Error, Result};

use crate::fft::{Planner, TASK};
use crate::interp::for_each;
use crate::linalg::Real;
use crate::{Arg, Cost, CpuRun, Kernel};

/// Transforms between rows of n real numbers and the first n ∕ 2 + 1 numbers of their transforms, which determine the others
/// (pairs of real and imaginary parts). Native code alone: on adapters they are made of an [`Fft`](crate::Fft).
#[derive(Clone, Debug)]
pub struct RealFft {
    len: usize,
    rows: usize,
    inverse: bool,
    scale: f64,
    dtype: DType,
    offset: usize,
}

impl RealFft {
    /// Transforms of `rows` gapless rows of `len` real numbers of `dtype` (f32 or f64), or their inverse, times `scale`; what
    /// is read starts at `offset`. `None` for rows of no numbers.
    ///
    /// The inverse takes the first number of a row, and the last if `len` is even, for real.
    pub fn new(
        len: usize,
        rows: usize,
        inverse: bool,
        scale: f64,
        dtype: DType,
        offset: usize,
    ) -> Option<RealFft> {
        (len > 0).then_some(RealFft { len, rows, inverse, scale, dtype, offset })
    }

    /// Numbers that a row has on the side of the pairs.
    fn paired(&self) -> usize {
        2 * (self.len / 2 + 1)
    }

    /// Numbers that a row is read from, and that it becomes.
    fn sizes(&self) -> (usize, usize) {
        if self.inverse { (self.paired(), self.len) } else { (self.len, self.paired()) }
    }

    fn native<T: Real + FftNum>(
        &self,
        run: &mut CpuRun<'_>,
        planner: &Planner<RealFftPlanner<T>>,
    ) -> Result<()>
    where
        Complex<T>: bytemuck::Pod,
    {
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        if self.inverse {
            let plan = planner.ask(RealFftPlanner::new, |planner| planner.plan_fft_inverse(self.len));
            self.each(x, out, || backward(&plan))
        } else {
            let plan = planner.ask(RealFftPlanner::new, |planner| planner.plan_fft_forward(self.len));
            self.each(x, out, || forward(&plan))
        }
    }

    /// Hands rows to transforms, many to a task, each of which has one of its own.
    fn each<T: Real, F>(&self, x: &[T], out: &mut [T], transform: impl Fn() -> F + Sync) -> Result<()>
    where
        F: FnMut(&[T], &mut [T]) -> Result<()>,
    {
        let (from, to) = self.sizes();
        let (scale, rows) = (T::nearest(self.scale), (TASK / from.max(to)).max(1));
        let tasks = out.chunks_mut(to * rows).zip(x.chunks(from * rows)).collect();
        for_each(tasks, |(out, x): (&mut [T], &[T])| {
            let mut transform = transform();
            for (out, x) in out.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
                transform(x, out)?;
                if self.scale != 1.0 {
                    out.iter_mut().for_each(|value| *value *= scale);
                }
            }
            Ok(())
        })
    }
}

/// A row of real numbers to one of pairs.
fn forward<T: Real + FftNum>(
    plan: &Arc<dyn RealToComplex<T>>,
) -> impl FnMut(&[T], &mut [T]) -> Result<()> + use<T>
where
    Complex<T>: bytemuck::Pod,
{
    let (plan, mut row, mut scratch) = (plan.clone(), plan.make_input_vec(), plan.make_scratch_vec());
    move |x, out| {
        row.copy_from_slice(x);
        plan.process_with_scratch(&mut row, bytemuck::cast_slice_mut(out), &mut scratch)
            .map_err(|e| Error::internal("rfft", e.to_string()))
    }
}

/// A row of pairs to one of real numbers.
fn backward<T: Real + FftNum>(
    plan: &Arc<dyn ComplexToReal<T>>,
) -> impl FnMut(&[T], &mut [T]) -> Result<()> + use<T>
where
    Complex<T>: bytemuck::Pod,
{
    let (plan, mut row, mut scratch) = (plan.clone(), plan.make_input_vec(), plan.make_scratch_vec());
    move |x, out| {
        row.copy_from_slice(bytemuck::cast_slice(x));
        row[0].im = T::ZERO;
        if out.len().is_multiple_of(2) {
            row[out.len() / 2].im = T::ZERO;
        }
        plan.process_with_scratch(&mut row, out, &mut scratch)
            .map_err(|e| Error::internal("irfft", e.to_string()))
    }
}

static PLANNER_F32: Planner<RealFftPlanner<f32>> = Planner::new();
static PLANNER_F64: Planner<RealFftPlanner<f64>> = Planner::new();

impl Kernel for RealFft {
    fn name(&self) -> &'static str {
        if self.inverse { "irfft" } else { "rfft" }
    }

    fn describe(&self) -> String {
        format!("{} {} rows of {}", self.name(), self.rows, self.len)
    }

    fn args(&self) -> Vec<Arg> {
        let (from, to) = self.sizes();
        vec![Arg::read(self.dtype, self.offset + self.rows * from), Arg::write(self.dtype, self.rows * to)]
    }

    fn shader(&self) -> Result<Shader> {
        Err(Error::internal(self.name(), format!("{} has no shader", self.describe())))
    }

    fn groups(&self) -> [u32; 3] {
        [0; 3]
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 {
            self.native::<f64>(&mut run, &PLANNER_F64)
        } else {
            self.native::<f32>(&mut run, &PLANNER_F32)
        }
    }

    fn cost(&self) -> Cost {
        let (from, to) = self.sizes();
        let flops = 2.5 * (self.rows * self.len) as f64 * (self.len as f64).log2();
        Cost { flops: flops as u64, bytes: self.dtype.bytes(self.rows * (from + to)) as u64 }
    }
}
