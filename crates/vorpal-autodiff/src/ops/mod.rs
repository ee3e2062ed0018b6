//! The ops, one family a file: shape rule, derivative, lowering and `Tensor` methods together.

mod aggregate;
mod arrange;
mod attention;
#[cfg(test)]
mod cards;
mod composite;
mod conv;
mod convolve;
mod create;
mod distance;
mod distribution;
mod einsum;
mod fft;
mod index;
mod interpolate;
mod leaf;
mod linalg;
mod mask;
mod matmul;
pub(crate) mod movement;
mod norm;
pub mod pointwise;
mod pool;
mod random;
mod reduce;
mod scan;
mod segment;
mod sliding;
mod sort;
mod sparse;
mod user;
mod window;

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Error, Result};

use crate::{Misfit, Spec, Tensor};

pub use arrange::PadMode;
pub use attention::AttentionOptions;
pub use conv::{
    Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions, ConvTranspose1dOptions, ConvTranspose2dOptions,
    ConvTranspose3dOptions, ConvTransposeOptions, Padding,
};
pub use convolve::ConvolveMode;
pub use fft::FftNorm;
pub use interpolate::Interpolation;
pub use linalg::{QrMode, Triangular};
pub use pool::{Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOptions};
pub use scan::associative_scan;
pub use segment::ScatterReduce;
pub use sparse::{SparseCoo, SparseCsr};
pub use user::CustomKernel;
pub use window::Unfold2dOptions;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use leaf::Given;
pub(crate) use leaf::Variable;
pub(crate) use movement::Copy;

/// Axes of a tensor, counted from the front or, negative, from the back.
///
/// Made from one number or an array of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes(SmallVec<[isize; 6]>);

impl From<i32> for Axes {
    fn from(axis: i32) -> Axes {
        Axes(smallvec::smallvec![axis as isize])
    }
}
impl From<isize> for Axes {
    fn from(axis: isize) -> Axes {
        Axes(smallvec::smallvec![axis])
    }
}
impl From<usize> for Axes {
    fn from(axis: usize) -> Axes {
        Axes(smallvec::smallvec![axis as isize])
    }
}
impl<const N: usize> From<[i32; N]> for Axes {
    fn from(axes: [i32; N]) -> Axes {
        Axes(axes.iter().map(|&a| a as isize).collect())
    }
}
impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Axes {
        Axes(axes.iter().copied().collect())
    }
}
impl From<&[isize]> for Axes {
    fn from(axes: &[isize]) -> Axes {
        Axes(axes.iter().copied().collect())
    }
}

impl Axes {
    /// The axes counted from the front, for a tensor of `rank` axes.
    pub(crate) fn resolve(&self, x: &Tensor, op: &'static str, at: At) -> Result<SmallVec<[usize; 6]>> {
        let rank = x.ready()?.spec.shape.rank();
        let mut out: SmallVec<[usize; 6]> = SmallVec::new();
        for &axis in &self.0 {
            let from_front = if axis < 0 { axis + rank as isize } else { axis };
            if from_front < 0 || from_front >= rank as isize {
                return Err(shape_error(op, format!("axis {axis} of a tensor with {rank} axes"), &[x], at));
            }
            if out.contains(&(from_front as usize)) {
                return Err(shape_error(op, format!("axis {axis} is named twice"), &[x], at));
            }
            out.push(from_front as usize);
        }
        Ok(out)
    }
}

/// One axis counted from the front.
pub(crate) fn axis_of(x: &Tensor, op: &'static str, axis: isize, at: At) -> Result<usize> {
    Ok(Axes::from(axis).resolve(x, op, at)?[0])
}

/// An [`Error::Shape`] about some tensors.
pub(crate) fn shape_error(op: &'static str, message: impl Into<String>, xs: &[&Tensor], at: At) -> Error {
    let specs = xs.iter().map(|x| Spec::new(x.shape(), x.dtype()).to_string());
    Error::Shape { op, message: message.into(), operands: specs.collect::<Vec<_>>().join(", "), at }
}

/// An [`Error::DType`] about some tensors.
pub(crate) fn dtype_error(op: &'static str, message: impl Into<String>, xs: &[&Tensor], at: At) -> Error {
    let specs = xs.iter().map(|x| Spec::new(x.shape(), x.dtype()).to_string());
    Error::DType { op, message: message.into(), operands: specs.collect::<Vec<_>>().join(", "), at }
}

/// The dtype that operands are brought to, [`DType::promote`], as far as their device has it.
pub(crate) fn common_dtype(
    dtypes: impl Iterator<Item = DType>,
    has: impl Fn(DType) -> bool,
) -> Option<DType> {
    let common = dtypes.reduce(DType::promote)?;
    Some(if common == DType::I64 && !has(common) { DType::I32 } else { common })
}

/// Operands brought to one dtype by [`DType::promote`], as far as their device has it.
#[track_caller]
pub(crate) fn promoted(operands: &[&Tensor]) -> SmallVec<[Tensor; 3]> {
    let mut out: SmallVec<[Tensor; 3]> = operands.iter().map(|&x| x.clone()).collect();
    let ready = || operands.iter().filter_map(|x| x.ready().ok());
    let dtypes = ready().map(|n| n.spec.dtype);
    let Some(dtype) = common_dtype(dtypes, |dtype| ready().all(|n| n.device.supports(dtype))) else {
        return out;
    };
    for x in &mut out {
        *x = x.cast(dtype);
    }
    out
}

/// Fails unless all operands have one dtype.
pub(crate) fn same_dtype(inputs: &[Spec]) -> Result<(), Misfit> {
    match inputs.iter().find(|i| i.dtype != inputs[0].dtype) {
        Some(other) => {
            Misfit::dtype(format!("dtypes {} and {} differ; cast one of them", inputs[0].dtype, other.dtype))
        }
        None => Ok(()),
    }
}

/// The dtype that kernels of 32-bit words compute a dtype in.
pub(crate) fn whole_words(dtype: DType) -> DType {
    match dtype {
        DType::I8 => DType::I32,
        DType::U8 | DType::Bool => DType::U32,
        other => other.compute(),
    }
}
