//! Picking and adding by number: gather, index_select, embedding, scatter_add.

use std::sync::Arc;

use vorpal_kernels::{Gather as GatherKernel, GatherShape, SCATTER_LEN_MAX, ScatterAdd as ScatterKernel};
use vorpal_tensor::{At, DType, Error, Result, Shape};

use super::axis_of;
use super::pointwise::ADD;
use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// Numbers of a list from which adapters sort them instead of looking at all of them for every place.
const SORTED_MIN: usize = 128;

/// How numbers belong to elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// One number for each picked element: `torch.gather`, `scatter_add`.
    Each,
    /// A list of numbers for the axis, the same everywhere: `torch.index_select`.
    List,
}

/// Sizes of a gather from `x` along `axis`, or of its adjoint.
fn sizes(x: &Shape, index: &Shape, axis: usize, numbers: Numbers) -> GatherShape {
    let (outer, inner) = (x[..axis].iter().product(), x[axis + 1..].iter().product());
    let (len, index_strides) = match numbers {
        Numbers::Each => (index[axis], [index[axis] * inner, inner, 1]),
        Numbers::List => (index.numel(), [0, 1, 0]),
    };
    GatherShape { outer, axis: x[axis], inner, len, index_strides }
}

fn check_index(index: &Spec) -> Result<(), Misfit> {
    match index.dtype {
        DType::I32 | DType::U32 => Ok(()),
        other => Misfit::dtype(format!("numbers must be integers, found {other}")),
    }
}

/// Operands: x, numbers.
#[derive(Debug)]
pub(super) struct Gather {
    axis: usize,
    numbers: Numbers,
    /// What the user called.
    name: &'static str,
}

impl Gather {
    fn each(axis: usize) -> Gather {
        Gather { axis, numbers: Numbers::Each, name: "gather" }
    }

    pub(super) fn list(axis: usize) -> Gather {
        Gather { axis, numbers: Numbers::List, name: "index_select" }
    }
}

/// `numbers` of any shape, found to be below `size`: others are an error of `op` when the value is read.
pub(super) fn checked(op: &'static str, numbers: &Tensor, size: usize, at: At) -> Tensor {
    let Ok(device) = numbers.device() else { return numbers.clone() };
    let all = Tensor::arange(size, numbers.dtype(), &device);
    let list = numbers.reshape([numbers.shape().numel()]);
    let gather = Gather { name: op, ..Gather::list(0) };
    Tensor::apply(gather, &[&all, &list], at).reshape(numbers.shape())
}

/// Lists `[examples, len]` for axis `axis` of examples as one number for each element of `shape`, which has the examples
/// in front.
fn spread(lists: &Tensor, axis: usize, shape: &Shape) -> Tensor {
    let mut aligned: Vec<usize> = vec![1; shape.rank()];
    (aligned[0], aligned[axis + 1]) = (shape[0], shape[axis + 1]);
    lists.reshape(aligned).broadcast_to(shape.clone())
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        check_index(&inputs[1])?;
        let (x, index, axis) = (&inputs[0].shape, &inputs[1].shape, self.axis);
        let shape = match self.numbers {
            Numbers::List if index.rank() == 1 => x.with_axis(axis, index[0]),
            Numbers::List => return Misfit::shape("numbers must be a list"),
            Numbers::Each => {
                let fits = index.rank() == x.rank() && (0..x.rank()).all(|k| k == axis || x[k] == index[k]);
                if !fits {
                    return Misfit::shape(format!("numbers must agree with the tensor beyond axis {axis}"));
                }
                index.clone()
            }
        };
        Ok(Spec::new(shape, inputs[0].dtype))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let x = &v.inputs[0];
        if !x.dtype().is_float() {
            return vec![None, None];
        }
        let op = ScatterAdd { axis: self.axis, numbers: self.numbers };
        let zeros = x.full_like(0.0);
        vec![Some(Tensor::apply(op, &[&zeros, &v.inputs[1], v.grad], At::caller())), None]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let Gather { axis, numbers, name } = *self;
        let (x, index) = (&v.inputs[0], &v.inputs[1]);
        if v.batched[0] {
            let (numbers, index) = match numbers {
                Numbers::Each => (numbers, v.example(1)),
                Numbers::List if !v.batched[1] => (numbers, index.clone()),
                // A list for each example: a number for each element.
                Numbers::List => {
                    let out = x.shape().with_axis(axis + 1, index.shape()[1]);
                    (Numbers::Each, spread(index, axis, &out))
                }
            };
            return Tensor::apply(Gather { axis: axis + 1, numbers, name }, &[x, &index], v.at);
        }
        // All pick from the same: their numbers one behind the other.
        let lists = if numbers == Numbers::List { 0 } else { axis };
        let mut order: Vec<isize> = (1..index.rank() as isize).collect();
        order.insert(lists, 0);
        let index = index.permute(&order[..]);
        let shape = index.shape();
        let len = shape[lists + 1];
        let joined = shape.without_axis(lists).with_axis(lists, v.size * len);
        let picked = Tensor::apply(Gather { axis, numbers, name }, &[x, &index.reshape(joined)], v.at);
        let shape = picked.shape();
        let (before, after) = (&shape[..axis], &shape[axis + 1..]);
        let split: Shape = before.iter().copied().chain([v.size, len]).chain(after.iter().copied()).collect();
        let mut order: Vec<isize> = (0..split.rank() as isize).collect();
        order.remove(axis);
        order.insert(0, axis as isize);
        picked.reshape(split).permute(&order[..])
    }

    fn attributes(&self, key: &mut Key) {
        key.push(self.axis);
        key.push(u64::from(self.numbers == Numbers::List));
    }

    fn indexed_axis(&self, inputs: &[Spec]) -> Option<usize> {
        Some(inputs[0].shape[self.axis])
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        // Elements of 16 bits do not fill words: widen them on the way.
        let wide = cx.cast(x[0], dtype.compute());
        let shape = sizes(cx.shape(wide), cx.shape(x[1]), self.axis, self.numbers);
        let out = match self.numbers {
            Numbers::Each => cx.shape(x[1]).clone(),
            Numbers::List => cx.shape(wide).with_axis(self.axis, shape.len),
        };
        let ((base, at), (index, index_at)) = (cx.dense(wide), cx.dense(x[1]));
        let kernel = GatherKernel::new(shape, dtype.compute(), cx.dtype(x[1]), [at, index_at]);
        let picked = cx.kernel(Arc::new(kernel), &[base, index], out, dtype.compute());
        Ok(cx.cast(picked, dtype))
    }
}

/// Operands: base, numbers, source.
#[derive(Debug)]
struct ScatterAdd {
    axis: usize,
    numbers: Numbers,
}

impl Op for ScatterAdd {
    fn name(&self) -> &'static str {
        match self.numbers {
            Numbers::Each => "scatter_add",
            Numbers::List => "index_add",
        }
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        check_index(&inputs[1])?;
        if !inputs[0].dtype.is_float() || inputs[0].dtype != inputs[2].dtype {
            return Misfit::dtype("base and source must be floats of one dtype");
        }
        let (base, index, source, axis) = (&inputs[0].shape, &inputs[1].shape, &inputs[2].shape, self.axis);
        let expected = match self.numbers {
            Numbers::Each => index.clone(),
            Numbers::List if index.rank() == 1 => base.with_axis(axis, index[0]),
            Numbers::List => return Misfit::shape("numbers must be a list"),
        };
        let fits =
            expected.rank() == base.rank() && (0..base.rank()).all(|k| k == axis || expected[k] == base[k]);
        if !fits || *source != expected {
            return Misfit::shape(format!(
                "the source must have shape {expected}, agreeing with the base beyond axis {axis}"
            ));
        }
        Ok(inputs[0].clone())
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let op =
            if self.numbers == Numbers::Each { Gather::each(self.axis) } else { Gather::list(self.axis) };
        let to_source = Tensor::apply(op, &[v.grad, &v.inputs[1]], At::caller());
        vec![Some(v.grad.clone()), None, Some(to_source)]
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        let ScatterAdd { axis, numbers } = *self;
        if numbers == Numbers::Each {
            return v.apply(ScatterAdd { axis: axis + 1, numbers });
        }
        if !v.batched[1] {
            let op = ScatterAdd { axis: axis + 1, numbers };
            return Tensor::apply(op, &[&v.example(0), &v.inputs[1], &v.example(2)], v.at);
        }
        // A list for each example: a number for each element.
        let source = v.example(2);
        let index = spread(&v.inputs[1], axis, &source.shape());
        let op = ScatterAdd { axis: axis + 1, numbers: Numbers::Each };
        Tensor::apply(op, &[&v.example(0), &index, &source], v.at)
    }

    fn attributes(&self, key: &mut Key) {
        key.push(self.axis);
        key.push(u64::from(self.numbers == Numbers::List));
    }

    fn indexed_axis(&self, inputs: &[Spec]) -> Option<usize> {
        Some(inputs[0].shape[self.axis])
    }

    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let dtype = cx.dtype(x[0]);
        let compute = dtype.compute();
        let mut out = cx.cast(x[0], compute);
        let source = cx.cast(x[2], compute);
        let (shape, axis) = (cx.shape(out).clone(), self.axis);
        let index_axis = if self.numbers == Numbers::Each { axis } else { 0 };
        let len = cx.shape(x[1])[index_axis];
        let sorts = self.numbers == Numbers::List && len >= SORTED_MIN && shape.numel() > 0;
        if sorts && !cx.target().is_native() {
            let sums = super::segment::sums(cx, self.name(), axis, [source, x[1]], shape[axis])?;
            let all = cx.call(&ADD.f, &[out, sums]);
            return Ok(cx.cast(all, dtype));
        }
        let mut start = 0;
        let native = cx.target().is_native();
        // One launch of an adapter adds a limited number; at least one runs, which copies the base.
        loop {
            let here = if native { len } else { SCATTER_LEN_MAX.min(len - start) };
            let part = cx.view(source, |l| Some(l.slice(axis, start, here, 1)))?;
            let numbers = cx.view(x[1], |l| Some(l.slice(index_axis, start, here, 1)))?;
            let sizes = sizes(&shape, cx.shape(numbers), axis, self.numbers);
            let ((base, base_at), (index, index_at)) = (cx.dense(out), cx.dense(numbers));
            let (added, added_at) = cx.dense(part);
            let new = if native { ScatterKernel::native } else { ScatterKernel::new };
            let kernel = new(sizes, compute, cx.dtype(index), [base_at, index_at, added_at])
                .ok_or_else(|| Error::internal("scatter_add", format!("no kernel for {sizes:?}")))?;
            out = cx.kernel(Arc::new(kernel), &[base, index, added], shape.clone(), compute);
            start += here;
            if start >= len {
                return Ok(cx.cast(out, dtype));
            }
        }
    }
}

impl Tensor {
    /// Integers of any length as kernels take them, in 32 bits. What does not fit becomes the nearest number that does,
    /// which is in no axis either.
    #[track_caller]
    pub(crate) fn as_numbers(&self) -> Tensor {
        match self.dtype() {
            DType::I64 => self.clamp(i32::MIN, i32::MAX).cast(DType::I32),
            DType::I8 | DType::U8 => self.cast(DType::I32),
            _ => self.clone(),
        }
    }

    /// `out[…, j, …] = self[…, index[…, j, …], …]` along an axis, as `torch.gather`. Numbers outside of the axis are
    /// an [`Error::Index`] when the value is read.
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Tensor {
        let at = At::caller();
        match axis_of(self, "gather", axis, at) {
            Ok(axis) => Tensor::apply(Gather::each(axis), &[self, &index.as_numbers()], at),
            Err(error) => Tensor::error(error),
        }
    }

    /// The slices of an axis that a list names, in its order, as `torch.index_select`.
    ///
    /// ```
    /// # use vorpal_autodiff::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu());
    /// let rows = Tensor::from_slice(&[1i32, 1, 0], [3], &Device::cpu());
    /// assert_eq!(x.index_select(0, &rows).to_vec::<f32>()?, [3.0, 4.0, 3.0, 4.0, 1.0, 2.0]);
    /// # Ok::<(), vorpal_autodiff::Error>(())
    /// ```
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Tensor {
        let at = At::caller();
        match axis_of(self, "index_select", axis, at) {
            Ok(axis) => Tensor::apply(Gather::list(axis), &[self, &index.as_numbers()], at),
            Err(error) => Tensor::error(error),
        }
    }

    /// Rows of a table `[entries, features]` by numbers of any shape: `[…, features]`.
    #[track_caller]
    pub fn embedding(&self, numbers: &Tensor) -> Tensor {
        let shape = numbers.shape();
        let rows = self.index_select(0, &numbers.reshape([shape.numel()]));
        let out: Shape = shape.iter().copied().chain(self.shape().iter().skip(1).copied()).collect();
        rows.reshape(out)
    }

    /// `self` with `source[…, j, …]` added at `index[…, j, …]` along an axis, as `torch.scatter_add`; equal numbers
    /// add up in order.
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let at = At::caller();
        match axis_of(self, "scatter_add", axis, at) {
            Ok(axis) => {
                let index = index.as_numbers();
                Tensor::apply(ScatterAdd { axis, numbers: Numbers::Each }, &[self, &index, source], at)
            }
            Err(error) => Tensor::error(error),
        }
    }

    /// `self` with slice j of `source` added at slice `index[j]` of an axis, as `torch.index_add`.
    #[track_caller]
    pub fn index_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Tensor {
        let at = At::caller();
        match axis_of(self, "index_add", axis, at) {
            Ok(axis) => {
                let index = index.as_numbers();
                Tensor::apply(ScatterAdd { axis, numbers: Numbers::List }, &[self, &index, source], at)
            }
            Err(error) => Tensor::error(error),
        }
    }
}
