//! Masks: what of a tensor counts.

use vorpal_tensor::{At, DType, Error, Shape};

use super::pointwise::Operand;
use super::{axis_of, dtype_error};
use crate::Tensor;

impl Tensor {
    /// `value` where `mask` (truth values) holds, else `self`; the two broadcast. As `torch.masked_fill`.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Operand>) -> Tensor {
        mask.select(value, self)
    }

    /// eˣ ∕ Σ eˣ along an axis over the elements where `mask` (truth values, broadcast to `self`) holds; the others
    /// are 0. A row without any gives zeros, in derivatives as well, never NaN.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 1.0, 9.0], [3], &Device::cpu());
    /// let mask = Tensor::from_slice(&[true, true, false], [3], &Device::cpu());
    /// assert_eq!(x.masked_softmax(&mask, -1).to_vec::<f32>()?, [0.5, 0.5, 0.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn masked_softmax(&self, mask: &Tensor, axis: isize) -> Tensor {
        let at = At::caller();
        if let Err(error) = axis_of(self, "masked_softmax", axis, at) {
            return Tensor::error(error);
        }
        if mask.check().is_ok() && mask.dtype() != DType::Bool {
            let message = format!("the mask must be truth values, found {}", mask.dtype());
            return Tensor::error(dtype_error("masked_softmax", message, &[self, mask], at));
        }
        let mask = mask.broadcast_to(self.shape());
        let lowest = self.full_like(if self.dtype() == DType::F16 { -65504.0 } else { -3e38 });
        let top = mask.select(self, lowest).max_keepdim(axis).stop_gradient();
        // Elements that do not count are taken out before the exponential: neither its value nor its derivative can
        // overflow there.
        let shifted = mask.select(self - top, self.full_like(0.0));
        let exp = mask.select(shifted.exp(), self.full_like(0.0));
        let sum = exp.sum_keepdim(axis);
        let empty = sum.eq(sum.full_like(0.0));
        exp / empty.select(sum.full_like(1.0), &sum)
    }

    /// Truth values `[…, size]` that hold below each length (integers): the places of sequences in a padded
    /// batch.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let lengths = Tensor::from_slice(&[1i32, 3], [2], &Device::cpu());
    /// let mask = lengths.sequence_mask(3);
    /// assert_eq!(mask.to_vec::<bool>()?, [true, false, false, true, true, true]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn sequence_mask(&self, size: usize) -> Tensor {
        let at = At::caller();
        let Ok(device) = self.device() else { return self.clone() };
        if !self.dtype().is_integer() {
            let message = format!("lengths must be integers, found {}", self.dtype());
            return Tensor::error(dtype_error("sequence_mask", message, &[self], at));
        }
        if size > i32::MAX as usize {
            let message = format!("size {size} is beyond what lengths can say");
            return Tensor::error(Error::Argument { op: "sequence_mask", message, at });
        }
        let shape: Shape = self.shape().iter().copied().chain([size]).collect();
        let lengths = self.as_numbers();
        Tensor::iota(shape, self.rank(), lengths.dtype(), &device).lt(lengths.unsqueeze(-1))
    }
}
