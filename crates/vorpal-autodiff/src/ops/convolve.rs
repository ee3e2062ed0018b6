//! Convolutions of long rows with kernels as long.

use vorpal_tensor::{At, Result, Shape};

use super::fft::{FftNorm, check_floats};
use super::shape_error;
use crate::Tensor;

/// How much of a convolution [`Tensor::convolve`] and [`Tensor::fft_convolve`] give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvolveMode {
    /// All n + k − 1 results.
    Full,
    /// The first n: result t depends on inputs up to t.
    Causal,
}

/// Longest row whose convolution is a product with a matrix: beyond, transforms have less to do.
const PRODUCT_MAX: usize = 256;
/// Rows that share a kernel at least, so that its matrix is worth making.
const SHARED_MIN: usize = 8;

/// Lengths of rows and kernels that fit one another, and the axes in front of both, broadcast.
fn lengths(x: &Tensor, kernel: &Tensor, op: &'static str, at: At) -> Result<(usize, usize, Shape)> {
    let (of_x, of_k) = (x.ready()?.spec.shape.clone(), kernel.ready()?.spec.shape.clone());
    check_floats(x, op, at)?;
    let wrong = |message| Err(shape_error(op, message, &[x, kernel], at));
    let (Some(&n), Some(&k)) = (of_x.last(), of_k.last()) else { return wrong("a scalar has no rows") };
    if n == 0 || k == 0 {
        return wrong("an empty row");
    }
    let front = |s: &Shape| Shape::from(&s[..s.rank() - 1]);
    match front(&of_x).broadcast(&front(&of_k)) {
        Some(front) => Ok((n, k, front)),
        None => wrong("batch axes do not broadcast"),
    }
}

impl ConvolveMode {
    /// Length of the result.
    fn results(self, n: usize, k: usize) -> usize {
        if self == ConvolveMode::Full { n + k - 1 } else { n }
    }
}

/// The convolution as a product: rows that share a kernel, backwards, times the matrix of its windows.
fn by_product(x: &Tensor, kernel: &Tensor, (n, k): (usize, usize), front: &Shape, out: usize) -> Tensor {
    let shared = front.rank() + 1 - kernel.rank();
    let rows: usize = front[..shared].iter().product();
    let shape = |first: &[usize], last: usize| -> Shape {
        first.iter().chain(&front[shared..]).copied().chain([last]).collect()
    };
    let x = x.broadcast_to(shape(&front[..shared], n)).reshape(shape(&[rows], n));
    let backwards = x.movedim(0, -2).flip(-1);
    // Row t has kernel[t − (n − 1)], …, kernel[t].
    let used = k.min(out);
    let padded = kernel.narrow(-1, 0, used).pad(-1, n - 1, out - used, 0.0);
    let windows = padded.unfold(-1, n, 1, 1);
    backwards.matmul(&windows.transpose(-1, -2)).movedim(-2, 0).reshape(shape(&front[..shared], out))
}

impl Tensor {
    /// The convolution of real rows `[…, n]` with kernels `[…, k]` along the last axis:
    /// `out[t] = Σ kernel[j] self[t − j]`. Batch axes broadcast, and one dtype, f32 or f64. Short rows that share a kernel
    /// are multiplied by the matrix of its windows; longer ones go through transforms, as
    /// [`fft_convolve`](Tensor::fft_convolve) does.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::ConvolveMode;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu()).broadcast_to([8, 3]);
    /// let k = Tensor::from_slice(&[1.0f32, 1.0], [2], &Device::cpu());
    /// assert_eq!(x.convolve(&k, ConvolveMode::Causal).slice(0, ..1).to_vec::<f32>()?, [1.0, 3.0, 5.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn convolve(&self, kernel: &Tensor, mode: ConvolveMode) -> Tensor {
        let (n, k, front) = match lengths(self, kernel, "convolve", At::caller()) {
            Ok(found) => found,
            Err(error) => return Tensor::error(error),
        };
        let shared = front[..front.rank() + 1 - kernel.rank()].iter().product::<usize>();
        if n.max(k) > PRODUCT_MAX || shared < SHARED_MIN || front.contains(&0) {
            return self.fft_convolve(kernel, mode);
        }
        by_product(self, kernel, (n, k), &front, mode.results(n, k))
    }

    /// The convolution of real rows `[…, n]` with kernels `[…, k]` along the last axis through transforms:
    /// `out[t] = Σ kernel[j] self[t − j]`. For long kernels; batch axes broadcast, and one dtype, f32 or f64.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// use vorpal_autodiff::ops::ConvolveMode;
    /// let x = Tensor::from_slice(&[1.0f64, 2.0, 3.0], [3], &Device::cpu());
    /// let k = Tensor::from_slice(&[1.0f64, 1.0], [2], &Device::cpu());
    /// let y = x.fft_convolve(&k, ConvolveMode::Full).to_vec::<f64>()?;
    /// assert!(y.iter().zip([1.0, 3.0, 5.0, 3.0]).all(|(y, e)| (y - e).abs() < 1e-12));
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn fft_convolve(&self, kernel: &Tensor, mode: ConvolveMode) -> Tensor {
        let (n, k) = match lengths(self, kernel, "fft_convolve", At::caller()) {
            Ok((n, k, _)) => (n, k),
            Err(error) => return Tensor::error(error),
        };
        let len = (n + k - 1).next_power_of_two().max(2);
        let of = |x: &Tensor, n: usize| x.pad(-1, 0, len - n, 0.0).rfft(-1, FftNorm::Backward);
        let product = of(self, n).complex_mul(&of(kernel, k));
        let out = product.irfft(len, -1, FftNorm::Backward);
        out.slice(-1, ..mode.results(n, k) as isize)
    }
}
