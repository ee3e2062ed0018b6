//! Discrete Fourier transforms, and tables of roots of unity.

use std::sync::{Mutex, PoisonError};

use num_complex::Complex;
use rustfft::{FftDirection, FftNum, FftPlanner};
use vorpal_shaders::{FFT, Linker, Shader, UNIT_ROOTS};
use vorpal_tensor::{DType, Error, Result};

use crate::interp::for_each;
use crate::linalg::Real;
use crate::{Arg, Cost, CpuRun, Kernel, spread};

/// Complex numbers of a row that one workgroup transforms.
const ROW_MAX: usize = 1024;

/// Longest row of an adapter: three launches.
pub const FFT_LEN_MAX: usize = 1 << 28;

/// Elements that one task of the native body transforms at least.
pub(crate) const TASK: usize = 1 << 13;

/// Where rows lie: strides over outer, middle and inner rows, and along a row, in complex numbers.
type Strides = [usize; 4];

/// A transform of rows of complex numbers, pairs of real and imaginary parts:
/// `X[k] = scale · Σ x[j] e^(∓2πi j k ∕ n)`.
#[derive(Clone, Debug)]
pub struct Fft {
    len: usize,
    /// Outer, middle and inner rows.
    rows: [usize; 3],
    from: Strides,
    to: Strides,
    /// Result k of inner row i is multiplied by root i·k of so many; 0 for none.
    turn: usize,
    inverse: bool,
    scale: f64,
    dtype: DType,
    offset: usize,
}

impl Fft {
    /// Transforms of `rows` gapless rows of `len` complex numbers of `dtype` (f32; natively f64, too) from `offset` on,
    /// in one launch. An adapter needs a power of two from 2 to 1,024.
    pub fn whole(len: usize, rows: usize, inverse: bool, scale: f64, dtype: DType, offset: usize) -> Fft {
        let strides = [len, 0, 0, 1];
        Fft { len, rows: [rows, 1, 1], from: strides, to: strides, turn: 0, inverse, scale, dtype, offset }
    }

    /// The same for a power of two from 2 to [`FFT_LEN_MAX`], in launches of an adapter to run one after the other, each
    /// on the result of the one before: Bailey 1989, "FFTs in external or hierarchical memory". `None` for other lengths.
    pub fn launches(
        len: usize,
        rows: usize,
        inverse: bool,
        scale: f64,
        dtype: DType,
        offset: usize,
    ) -> Option<Vec<Fft>> {
        if !len.is_power_of_two() || !(2..=FFT_LEN_MAX).contains(&len) {
            return None;
        }
        let whole = Fft::whole(len, rows, inverse, scale, dtype, offset);
        if len <= ROW_MAX {
            return Some(vec![whole]);
        }
        let bits = len.trailing_zeros();
        let first = if len <= ROW_MAX * ROW_MAX { 1 << (bits / 2) } else { ROW_MAX };
        let second = len / first;
        let part = |len: usize, rows: [usize; 3], from: Strides, to: Strides, turn: usize| Fft {
            len,
            rows,
            from,
            to,
            turn,
            scale: 1.0,
            offset: 0,
            ..whole.clone()
        };
        // Rows are matrices of first × second: columns, turned, in place; then rows, stored as columns.
        let columns = [len, 0, 1, second];
        let mut out = vec![part(first, [rows, 1, second], columns, columns, len)];
        if second <= ROW_MAX {
            out.push(part(second, [rows, 1, first], [len, 0, second, 1], [len, 0, 1, first], 0));
        } else {
            // Each of these rows is a matrix of third × fourth.
            let third = 1 << (second.trailing_zeros() / 2);
            let fourth = second / third;
            let columns = [len, second, 1, fourth];
            out.push(part(third, [rows, first, fourth], columns, columns, second));
            let to = [len, 1, first, first * third];
            out.push(part(fourth, [rows, first, third], [len, second, fourth, 1], to, 0));
        }
        if let Some(first) = out.first_mut() {
            first.offset = offset;
        }
        if let Some(last) = out.last_mut() {
            last.scale = scale;
        }
        Some(out)
    }

    fn count(&self) -> usize {
        self.rows.iter().product()
    }

    /// Invocations of a row, rows of a workgroup.
    fn group(&self) -> (usize, usize) {
        let threads = (self.len / 4).max(1);
        (threads, (64 / threads).max(1))
    }

    /// Place of the first number of a row.
    fn start(&self, row: usize, strides: &Strides) -> usize {
        let [_, middle, inner] = self.rows;
        row / inner / middle * strides[0] + row / inner % middle * strides[1] + row % inner * strides[2]
    }

    fn native<T: Real + FftNum>(&self, run: &mut CpuRun<'_>, planner: &Planner<FftPlanner<T>>) -> Result<()>
    where
        Complex<T>: bytemuck::Pod,
    {
        if self.count() * self.len == 0 {
            return Ok(());
        }
        let direction = if self.inverse { FftDirection::Inverse } else { FftDirection::Forward };
        let plan = planner.ask(FftPlanner::new, |planner| planner.plan_fft(self.len, direction));
        let x = &run.read::<T>(0)?[self.offset..];
        let out = run.write::<T>(1)?;
        if self.from == self.to && self.from[3] == 1 && self.turn == 0 {
            return self.gapless(x, out, &*plan);
        }
        // The launches of an adapter, for comparison: rows one after the other.
        let scale = T::nearest(self.scale);
        let mut row = vec![Complex::new(T::ZERO, T::ZERO); self.len];
        for k in 0..self.count() {
            let (from, to) = (self.start(k, &self.from), self.start(k, &self.to));
            for (j, value) in row.iter_mut().enumerate() {
                let at = 2 * (from + j * self.from[3]);
                *value = Complex::new(x[at], x[at + 1]);
            }
            plan.process(&mut row);
            for (j, &value) in row.iter().enumerate() {
                let mut value = value;
                if self.turn > 0 {
                    let (re, im) = unit_root(k % self.rows[2] * j, self.turn, self.inverse);
                    value = value * Complex::new(T::nearest(re), T::nearest(im));
                }
                let at = 2 * (to + j * self.to[3]);
                (out[at], out[at + 1]) = (value.re * scale, value.im * scale);
            }
        }
        Ok(())
    }

    /// Rows one behind the other, many to a task.
    fn gapless<T: Real + FftNum>(&self, x: &[T], out: &mut [T], plan: &dyn rustfft::Fft<T>) -> Result<()>
    where
        Complex<T>: bytemuck::Pod,
    {
        let scale = T::nearest(self.scale);
        let step = 2 * self.len * (TASK / (2 * self.len)).max(1);
        for_each(out.chunks_mut(step).zip(x.chunks(step)).collect(), |(out, x): (&mut [T], &[T])| {
            out.copy_from_slice(&x[..out.len()]);
            let mut scratch = vec![Complex::new(T::ZERO, T::ZERO); plan.get_inplace_scratch_len()];
            for row in out.chunks_exact_mut(2 * self.len) {
                plan.process_with_scratch(bytemuck::cast_slice_mut(row), &mut scratch);
                if self.scale != 1.0 {
                    row.iter_mut().for_each(|value| *value *= scale);
                }
            }
            Ok(())
        })
    }
}

/// What finds the algorithm for each length once.
pub(crate) struct Planner<P>(Mutex<Option<P>>);

impl<P> Planner<P> {
    pub const fn new() -> Planner<P> {
        Planner(Mutex::new(None))
    }

    /// Asks for an algorithm; rows are transformed afterwards, as others may wait to ask.
    pub fn ask<R>(&self, new: impl FnOnce() -> P, ask: impl FnOnce(&mut P) -> R) -> R {
        let mut planner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ask(planner.get_or_insert_with(new))
    }
}

static PLANNER_F32: Planner<FftPlanner<f32>> = Planner::new();
static PLANNER_F64: Planner<FftPlanner<f64>> = Planner::new();

/// e^(±2πi k ∕ n): + for the inverse.
fn unit_root(k: usize, n: usize, inverse: bool) -> (f64, f64) {
    let angle = 2.0 * std::f64::consts::PI * ((k % n) as f64 / n as f64);
    (angle.cos(), if inverse { angle.sin() } else { -angle.sin() })
}

impl Kernel for Fft {
    fn name(&self) -> &'static str {
        "fft"
    }

    fn describe(&self) -> String {
        let kind = if self.inverse { "inverse " } else { "" };
        format!("{kind}fft {} rows of {}", self.count(), self.len)
    }

    fn args(&self) -> Vec<Arg> {
        let len = 2 * self.count() * self.len;
        vec![Arg::read(self.dtype, self.offset + len), Arg::write(self.dtype, len)]
    }

    fn shader(&self) -> Result<Shader> {
        let (threads, rows) = self.group();
        let mut linker = Linker::new(FFT);
        for (name, value) in [("N", self.len), ("THREADS", threads), ("ROWS", rows)] {
            linker = linker.define(name, value).map_err(|e| Error::internal("fft", e))?;
        }
        Ok(linker
            .constant("COUNT", self.count())
            .constant("MIDDLE", self.rows[1].max(1))
            .constant("INNER", self.rows[2].max(1))
            .constant("X_OFFSET", self.offset)
            .constant("FROM_OUTER", self.from[0])
            .constant("FROM_MIDDLE", self.from[1])
            .constant("FROM_INNER", self.from[2])
            .constant("FROM_STEP", self.from[3])
            .constant("TO_OUTER", self.to[0])
            .constant("TO_MIDDLE", self.to[1])
            .constant("TO_INNER", self.to[2])
            .constant("TO_STEP", self.to[3])
            .constant("TURN", self.turn)
            .float("SIGN", if self.inverse { 1.0 } else { -1.0 })
            .float("SCALE", self.scale)
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.count().div_ceil(self.group().1))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 {
            self.native::<f64>(&mut run, &PLANNER_F64)
        } else {
            self.native::<f32>(&mut run, &PLANNER_F32)
        }
    }

    fn cost(&self) -> Cost {
        let numbers = self.count() * self.len;
        let flops = 5.0 * numbers as f64 * (self.len.max(1) as f64).log2();
        Cost { flops: flops as u64, bytes: self.dtype.bytes(4 * numbers) as u64 }
    }
}

/// A table of roots of unity as pairs of real and imaginary parts: e^(±2πi k ∕ turn), or e^(±2πi k² ∕ turn), for k below
/// `count`. Whole numbers find the angle, exactly.
#[derive(Clone, Debug)]
pub struct UnitRoots {
    count: usize,
    turn: usize,
    squared: bool,
    inverse: bool,
    dtype: DType,
}

impl UnitRoots {
    /// A table of `dtype` (f32; natively f64, too) for a `turn` of at most [`FFT_LEN_MAX`]; the sign of the angle is +
    /// for the `inverse` transform.
    pub fn new(count: usize, turn: usize, squared: bool, inverse: bool, dtype: DType) -> UnitRoots {
        UnitRoots { count, turn, squared, inverse, dtype }
    }

    fn native<T: Real>(&self, run: &mut CpuRun<'_>) -> Result<()> {
        let out = run.write::<T>(0)?;
        for (k, pair) in out.chunks_exact_mut(2).enumerate() {
            let place = if self.squared { (k as u128 * k as u128 % self.turn as u128) as usize } else { k };
            let (re, im) = unit_root(place, self.turn, self.inverse);
            (pair[0], pair[1]) = (T::nearest(re), T::nearest(im));
        }
        Ok(())
    }
}

impl Kernel for UnitRoots {
    fn name(&self) -> &'static str {
        "unit_roots"
    }

    fn describe(&self) -> String {
        format!("unit_roots {} of {}", self.count, self.turn)
    }

    fn args(&self) -> Vec<Arg> {
        vec![Arg::write(self.dtype, 2 * self.count)]
    }

    fn shader(&self) -> Result<Shader> {
        Ok(Linker::new(UNIT_ROOTS)
            .constant("COUNT", self.count)
            .constant("TURN", self.turn.max(1))
            .constant("SQUARED", usize::from(self.squared))
            .float("SIGN", if self.inverse { 1.0 } else { -1.0 })
            .finish())
    }

    fn groups(&self) -> [u32; 3] {
        spread(self.count.div_ceil(64))
    }

    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        if self.dtype == DType::F64 { self.native::<f64>(&mut run) } else { self.native::<f32>(&mut run) }
    }

    fn cost(&self) -> Cost {
        Cost { flops: 30 * self.count as u64, bytes: self.dtype.bytes(2 * self.count) as u64 }
    }
}
