//! What an op owes: shape rule, derivative, lowering, identity.

use std::any::Any;
use std::fmt::Debug;

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Error, Layout, Result, Shape};

use crate::Tensor;
use crate::compile::ir::{Builder, NodeId};

/// Shape and dtype of an operand or a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Sizes of the axes.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl Spec {
    /// A spec from its parts.
    pub fn new(shape: impl Into<Shape>, dtype: DType) -> Spec {
        Spec { shape: shape.into(), dtype }
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

impl Misfit {
    /// A [`Misfit::Shape`].
    pub fn shape<T>(message: impl Into<String>) -> std::result::Result<T, Misfit> {
        Err(Misfit::Shape(message.into()))
    }

    /// A [`Misfit::DType`].
    pub fn dtype<T>(message: impl Into<String>) -> std::result::Result<T, Misfit> {
        Err(Misfit::DType(message.into()))
    }
}

/// Why operands do not fit an op. The graph adds the op's name, the operands and the caller's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Shapes, ranks or axes.
    Shape(String),
    /// Element types.
    DType(String),
}

/// What a derivative rule sees.
#[derive(Clone, Copy, Debug)]
pub struct Vjp<'a> {
    /// The operands of the op.
    pub inputs: &'a [Tensor],
    /// The result of the op.
    pub output: &'a Tensor,
    /// The cotangent of the result: same shape and dtype as `output`.
    pub grad: &'a Tensor,
}

/// What a batching rule sees: an op of which some operands came with an additional axis 0 of `size` examples.
#[derive(Clone, Copy, Debug)]
pub struct Vmap<'a> {
    /// The operands of the op; those that are batched have the axis of the examples in front.
    pub inputs: &'a [Tensor],
    /// Which operands are batched; at least one is.
    pub batched: &'a [bool],
    /// Number of examples.
    pub size: usize,
    /// Where the op was called.
    pub at: At,
}

/// Operands as people read them: the texts of the tensors, with the numbers that stand among them.
pub(crate) fn among(mut tensors: Vec<String>, numbers: &[(usize, f64)]) -> String {
    for &(place, number) in numbers {
        tensors.insert(place.min(tensors.len()), number.to_string());
    }
    tensors.join(", ")
}

/// A shape with the axis of `size` examples in front.
pub(crate) fn in_front(size: usize, shape: &[usize]) -> Shape {
    std::iter::once(size).chain(shape.iter().copied()).collect()
}

impl Vmap<'_> {
    /// Operand `k` with the axis of the examples in front; one that all examples share is repeated without a copy.
    pub fn example(&self, k: usize) -> Tensor {
        let x = &self.inputs[k];
        if self.batched[k] {
            return x.clone();
        }
        x.broadcast_to(self.in_front(&x.shape()))
    }

    /// A shape with the axis of the examples in front.
    pub fn in_front(&self, shape: &[usize]) -> Shape {
        in_front(self.size, shape)
    }

    /// Operand `k` with its examples and its axis 0 merged; repeated first if all examples share it. The way of ops that
    /// treat the elements of their axis 0 alike.
    pub fn folded(&self, k: usize) -> Tensor {
        let x = self.example(k);
        let shape = x.shape();
        if shape.rank() < 2 {
            return x;
        }
        let folded: Shape = std::iter::once(shape[0] * shape[1]).chain(shape[2..].iter().copied()).collect();
        x.reshape(folded)
    }

    /// Undoes [`folded`](Vmap::folded) on a result: axis 0 is split into the examples and `first` elements of each.
    pub fn unfolded(&self, x: &Tensor, first: usize) -> Tensor {
        let shape = x.shape();
        let rest = shape.iter().skip(1).copied();
        x.reshape([self.size, first].into_iter().chain(rest).collect::<Shape>())
    }

    /// The rule of an op without operands, which never has any examples.
    pub fn of_leaf(&self, op: &dyn Op) -> Tensor {
        Tensor::error(Error::internal("vmap", format!("{} has no operands", op.name())))
    }

    /// `op` applied to all operands with the axis of the examples in front.
    pub fn apply(&self, op: impl Op) -> Tensor {
        let operands: Vec<Tensor> = (0..self.inputs.len()).map(|k| self.example(k)).collect();
        Tensor::apply(op, &operands.iter().collect::<Vec<_>>(), self.at)
    }
}

/// One operation of the graph: a value that knows everything about itself. A crate of a user adds
/// ops by implementing this trait; the built-in ones use nothing else.
pub trait Op: Any + Debug + Send + Sync {
    /// Name of the op, as errors and plans print it.
    fn name(&self) -> &'static str;

    /// Shape and dtype of the result.
    ///
    /// # Errors
    /// [`Misfit`] when the operands do not fit.
    fn infer(&self, inputs: &[Spec]) -> std::result::Result<Spec, Misfit>;

    /// Cotangent of each operand as a graph, so that derivatives can be differentiated again;
    /// `None` where the derivative is zero everywhere or the operand is not differentiable.
    fn vjp(&self, vjp: &Vjp<'_>) -> Vec<Option<Tensor>>;

    /// The op on every example at once: the result has the axis of the examples in front. Like the derivative it has no
    /// default body: forgetting it does not compile.
    fn vmap(&self, v: &Vmap<'_>) -> Tensor;

    /// Everything but the operands that makes two ops the same: axes, sizes, flags. Not the values
    /// of [`scalars`](Op::scalars): those may change from run to run of one plan.
    fn attributes(&self, key: &mut Key);

    /// The op in terms of the compiler's graph: views, scalar functions, reductions and kernels.
    /// `inputs` are the operands, `scalars` stand for the values of [`scalars`](Op::scalars).
    ///
    /// # Errors
    /// [`Error::Internal`](vorpal_tensor::Error::Internal) when the parts do not fit.
    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], scalars: &[NodeId]) -> Result<NodeId>;

    /// Run-time scalars of the op (a learning rate, a random key), handed to kernels anew in every run.
    fn scalars(&self) -> SmallVec<[(f64, DType); 4]> {
        SmallVec::new()
    }

    /// Numbers that stand among the operands as people write them, with their places there.
    fn numbers(&self) -> SmallVec<[(usize, f64); 1]> {
        SmallVec::new()
    }

    /// The window on its operand that the op is, if it is nothing else and `layout`, through which the operand lies in its
    /// buffer, has one. Where such a window on a value starts is no part of a plan: a loop over the batches of a data set
    /// runs by one.
    fn window(&self, layout: &Layout) -> Option<Layout> {
        let _ = layout;
        None
    }

    /// Size of the axis that an operand's values index, for ops whose kernels check indices.
    fn indexed_axis(&self, inputs: &[Spec]) -> Option<usize> {
        let _ = inputs;
        None
    }
}

/// Identity of a graph, collected word by word. Equal keys mean equal graphs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key(Vec<u64>);

impl std::hash::Hash for Key {
    /// Keys are long and compared in full where their hashes agree: a cheap hash will do.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let mix = |sum: u64, &word: &u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state.write_u64(self.0.iter().fold(self.0.len() as u64, mix));
    }
}

impl Key {
    /// An empty key with room for a number of words.
    pub(crate) fn with_capacity(words: usize) -> Key {
        Key(Vec::with_capacity(words))
    }

    /// Adds a number.
    pub fn push(&mut self, word: impl TryInto<u64>) {
        self.0.push(word.try_into().unwrap_or(u64::MAX));
    }

    /// Adds a signed number.
    pub fn push_signed(&mut self, word: isize) {
        self.0.push(word as u64);
    }

    /// Adds the bits of a float.
    pub fn push_float(&mut self, value: f64) {
        self.0.push(value.to_bits());
    }

    /// Adds a list with its length, so that neighbouring lists cannot run into each other.
    pub fn push_list(&mut self, words: &[usize]) {
        self.0.push(words.len() as u64);
        self.0.extend(words.iter().map(|&w| w as u64));
    }

    /// Adds a text with its length.
    pub fn push_text(&mut self, text: &str) {
        self.0.push(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0.push(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_lists_apart() {
        let (mut a, mut b) = (Key::default(), Key::default());
        a.push_list(&[1, 2]);
        a.push_list(&[3]);
        b.push_list(&[1]);
        b.push_list(&[2, 3]);
        assert_ne!(a, b);
        let (mut a, mut b) = (Key::default(), Key::default());
        a.push_text("ab");
        b.push_text("ab\0");
        assert_ne!(a, b);
    }
}
