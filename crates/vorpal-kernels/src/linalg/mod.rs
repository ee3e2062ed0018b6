//! Factorisations of batches of small matrices. On an adapter a workgroup takes a matrix and works in its result; what
//! an invocation loops is bounded, so that large matrices take several launches.

mod cholesky;
mod lu;
mod qr;
mod recursive;
mod triangular_solve;

use std::ops::{AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Range, Sub, SubAssign};
use std::sync::atomic::{AtomicUsize, Ordering};

use vorpal_shaders::Linker;
use vorpal_tensor::{Element, Error, Fault, Result};

pub use cholesky::Cholesky;
pub use lu::Lu;
pub use qr::{QrFactor, QrForm};
pub use triangular_solve::TriangularSolve;

use crate::CpuRun;
use crate::interp::for_each;

/// Rounds of loops that a launch is planned for; software adapters stop after 65,535.
const TRIPS_MAX: usize = 50_000;

/// Sizes of a batch of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatrixShape {
    /// How many matrices.
    pub batch: usize,
    /// Rows of each.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
}

impl MatrixShape {
    /// Elements of one matrix.
    pub fn size(&self) -> usize {
        self.rows * self.columns
    }

    /// Steps of a QR factorisation: reflections.
    pub fn reflections(&self) -> usize {
        self.rows.min(self.columns)
    }
}

/// A float that native bodies compute with.
pub trait Real:
    Element<Stored = Self>
    + bytemuck::Pod
    + PartialOrd
    + Send
    + Sync
    + Neg<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The square root.
    fn root(self) -> Self;
    /// The absolute value.
    fn size(self) -> Self;
    /// A small whole number.
    fn whole(n: usize) -> Self;
    /// The nearest number of this type.
    fn nearest(x: f64) -> Self;
}

macro_rules! real {
    ($($ty:ty),*) => {$(
        impl Real for $ty {
            const ZERO: $ty = 0.0;
            const ONE: $ty = 1.0;
            fn root(self) -> $ty {
                self.sqrt()
            }
            fn size(self) -> $ty {
                self.abs()
            }
            fn whole(n: usize) -> $ty {
                n as $ty
            }
            fn nearest(x: f64) -> $ty {
                x as $ty
            }
        }
    )*};
}
real!(f32, f64);

/// Invocations of a workgroup for a matrix whose steps touch `work` elements.
fn lanes(work: usize) -> usize {
    (work / 4).next_power_of_two().clamp(8, 256)
}

/// Cuts the steps of an algorithm into launches of bounded length: `cost(k)` are the rounds of step k, `fixed` those of
/// a launch beyond its steps.
fn cut(steps: usize, fixed: usize, cost: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let (mut out, mut from, mut sum) = (Vec::new(), 0, fixed);
    for k in 0..steps {
        if sum + cost(k) > TRIPS_MAX && k > from {
            out.push(from..k);
            (from, sum) = (k, fixed);
        }
        sum += cost(k);
    }
    out.push(from..steps);
    out
}

/// The constants that all shaders of this family have. Sizes of 0 launch nothing, but shaders divide by them.
fn link(text: &str, shape: MatrixShape, steps: &Range<usize>, offset: usize, lanes: usize) -> Result<Linker> {
    let linker = Linker::new(text).define("LANES", lanes).map_err(|e| Error::internal("linalg", e))?;
    Ok(linker
        .constant("BATCH", shape.batch)
        .constant("ROWS", shape.rows.max(1))
        .constant("COLUMNS", shape.columns.max(1))
        .constant("FROM", steps.start)
        .constant("TO", steps.end)
        .constant("X_OFFSET", offset))
}

/// Runs `f` on every item of a batch; where it says no, the first such item is reported.
fn each<T: Send>(
    run: &CpuRun<'_>,
    fault: Option<Fault>,
    items: Vec<T>,
    f: impl Fn(T) -> Result<bool> + Sync + Send,
) -> Result<()> {
    let first = AtomicUsize::new(usize::MAX);
    for_each(items.into_iter().enumerate().collect(), |(k, item)| {
        if !f(item)? {
            first.fetch_min(k, Ordering::Relaxed);
        }
        Ok(())
    })?;
    match (first.into_inner(), fault) {
        (k, Some(fault)) if k != usize::MAX => Err(run.fault_error(fault, k as i64)),
        _ => Ok(()),
    }
}

/// Row `i` to be changed, and row `j` in front of or behind it.
fn two_rows<T>(matrix: &mut [T], columns: usize, i: usize, j: usize) -> (&mut [T], &mut [T]) {
    if i < j {
        let (front, back) = matrix.split_at_mut(j * columns);
        (&mut front[i * columns..][..columns], &mut back[..columns])
    } else {
        let (front, back) = matrix.split_at_mut(i * columns);
        (&mut back[..columns], &mut front[j * columns..][..columns])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_cover_all_steps_and_stay_short() {
        for steps in [1, 5, 1000] {
            let cost = |k: usize| (steps - k) * (steps - k) / 64 + 1;
            let pieces = cut(steps, 100, cost);
            assert_eq!(pieces[0].start, 0);
            assert_eq!(pieces[pieces.len() - 1].end, steps);
            for (a, b) in pieces.iter().zip(&pieces[1..]) {
                assert_eq!(a.end, b.start);
            }
            for piece in pieces {
                assert!(100 + piece.map(cost).sum::<usize>() <= TRIPS_MAX);
            }
        }
    }
}
