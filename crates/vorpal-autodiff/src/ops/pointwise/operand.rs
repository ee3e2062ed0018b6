//! What pointwise functions take: tensors, and numbers that become part of the op.

use std::any::Any;

use smallvec::SmallVec;
use vorpal_tensor::{At, DType, Error, Result, Shape};

use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

/// The second operand of an arithmetic method: a tensor, or a number that gives way to the tensor's dtype.
///
/// A number takes the dtype of a float tensor. Beside integers an integer takes theirs (wrapping around) and a float
/// makes both `F32`; beside truth values an integer is an `I32`, a float an `F32`.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A tensor.
    Tensor(Tensor),
    /// A number, handed to the device anew in every run.
    Number(f64),
    /// A whole number, handed to the device anew in every run; exact up to 2⁵³.
    Integer(i64),
}

impl From<&Tensor> for Operand {
    fn from(x: &Tensor) -> Operand {
        Operand::Tensor(x.clone())
    }
}
impl From<Tensor> for Operand {
    fn from(x: Tensor) -> Operand {
        Operand::Tensor(x)
    }
}
macro_rules! number_operand {
    ($($ty:ty => $variant:ident),*) => {$(
        impl From<$ty> for Operand {
            fn from(x: $ty) -> Operand {
                Operand::$variant(x.into())
            }
        }
    )*};
}
number_operand!(f64 => Number, f32 => Number, i64 => Integer, i32 => Integer, u32 => Integer);

impl Operand {
    /// What it is beside `other`.
    pub(super) fn beside(self, other: &Tensor) -> Side {
        let beside = other.dtype();
        let dtype = match (&self, beside) {
            (Operand::Number(_), own) if !own.is_float() => DType::F32,
            (_, DType::Bool) => DType::I32,
            (_, own) => own,
        };
        let value = match self {
            Operand::Tensor(x) => return Side::Tensor(x),
            Operand::Number(value) => value,
            Operand::Integer(value) => match dtype {
                DType::I32 => f64::from(value as i32),
                DType::U32 => f64::from(value as u32),
                DType::I8 => f64::from(value as i8),
                DType::U8 => f64::from(value as u8),
                _ => value as f64,
            },
        };
        Side::Number(Numeral { value, dtype, is_constant: false })
    }

    /// A tensor that fits beside `other` and has its shape.
    #[track_caller]
    pub(super) fn tensor_beside(self, other: &Tensor) -> Tensor {
        match self.beside(other) {
            Side::Tensor(x) => x,
            Side::Number(number) => number.like(other),
        }
    }
}

/// One operand of one op.
#[derive(Clone, Debug)]
pub(super) enum Side {
    Tensor(Tensor),
    Number(Numeral),
}

impl Side {
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Side::Tensor(x) => Some(x),
            Side::Number(_) => None,
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Side::Tensor(x) => x.dtype(),
            Side::Number(number) => number.dtype,
        }
    }
}

/// A number among the operands of an op.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numeral {
    pub value: f64,
    pub dtype: DType,
    /// Whether it is part of the program rather than handed to the device anew in every run.
    pub is_constant: bool,
}

impl Numeral {
    /// The number that a tensor is everywhere, if it was made by [`like`](Numeral::like).
    pub fn of(x: &Tensor) -> Option<Numeral> {
        let op: &dyn Any = &*x.ready().ok()?.op;
        op.downcast_ref::<Literal>().map(|literal| literal.number)
    }

    /// A tensor of the shape of another. Beside other tensors of its shape it becomes a number again.
    #[track_caller]
    pub fn like(self, other: &Tensor) -> Tensor {
        match other.device() {
            Ok(device) => {
                let spec = Spec::new(other.shape(), self.dtype);
                let literal = Literal { number: self, shape: spec.shape.clone() };
                Tensor::leaf(literal, spec, &device, None, At::caller())
            }
            Err(_) => other.clone(),
        }
    }

    /// Adds what makes a plan for it differ from a plan for others.
    pub fn identify(self, key: &mut Key) {
        key.push(self.dtype as usize);
        key.push(usize::from(self.is_constant));
        key.push_float(if self.is_constant { self.value } else { 0.0 });
    }

    /// Itself, for the numbers of a run.
    pub fn scalar(&self) -> Option<(f64, DType)> {
        (!self.is_constant).then_some((self.value, self.dtype))
    }

    /// The number in a shape; one of a run is the next of `scalars`.
    pub fn lower<'a>(
        self,
        cx: &mut Builder,
        shape: &Shape,
        scalars: &mut impl Iterator<Item = &'a NodeId>,
    ) -> Result<NodeId> {
        if self.is_constant {
            return Ok(cx.constant(self.value, shape.clone(), self.dtype));
        }
        let &scalar =
            scalars.next().ok_or_else(|| Error::internal("lower", "a number of the run is missing"))?;
        cx.view(scalar, |layout| Some(layout.broadcast_to(shape)))
    }
}

/// A number as derivative rules see it.
#[derive(Debug)]
struct Literal {
    number: Numeral,
    shape: Shape,
}

impl Op for Literal {
    fn name(&self) -> &'static str {
        "number"
    }
    fn infer(&self, _: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(self.shape.clone(), self.number.dtype))
    }
    fn vjp(&self, _: &Vjp<'_>) -> Vec<Option<Tensor>> {
        Vec::new()
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.of_leaf(self)
    }
    fn attributes(&self, key: &mut Key) {
        self.number.identify(key);
    }
    fn lower(&self, cx: &mut Builder, _: &[NodeId], scalars: &[NodeId]) -> Result<NodeId> {
        self.number.lower(cx, &self.shape, &mut scalars.iter())
    }
    fn scalars(&self) -> SmallVec<[(f64, DType); 4]> {
        self.number.scalar().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accepts, PointwiseFn, all};
    use super::*;
    use crate::compile::ir::Target;
    use crate::{Device, eval, grad, graph_nodes, plan, vmap};

    const N: usize = 5;

    fn list(numbers: &[f64]) -> Tensor {
        let numbers: Vec<f32> = numbers.iter().map(|&n| n as f32).collect();
        Tensor::from_slice(&numbers, [numbers.len()], &Device::cpu())
    }

    /// What there is to know of a function of `x`: its value, the derivative of a sum of it, the derivative of that, and
    /// the values of all examples.
    fn found(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> [Vec<f32>; 4] {
        let weighed = |x: &Tensor| (f(x).cast(DType::F32) * list(&[0.5, 1.0, -2.0, 3.0, 0.25])).sum_all();
        let slope = |x: &Tensor| grad(x, weighed).expect("a derivative");
        let bend = grad(x, |x| slope(x).sum_all()).expect("a second derivative");
        let each = vmap(x, 0, |x| f(x)).expect("a batch");
        [f(x), slope(x), bend, each].map(|y| y.cast(DType::F32).to_vec().expect("values"))
    }

    /// Function `f` of `x` in place `place` and of `other` in all others.
    fn mixed(f: &'static PointwiseFn, place: usize, x: &Tensor, other: &Side) -> Tensor {
        let side = |k: usize| if k == place { Side::Tensor(x.clone()) } else { other.clone() };
        Tensor::combined(f, (0..f.f.arity).map(side).collect())
    }

    #[test]
    fn numbers_are_tensors_of_one_value() {
        let takes = |f: &&PointwiseFn| {
            f.f.arity == 2 && !matches!(f.accepts, Accepts::Integer | Accepts::Bool | Accepts::Select)
        };
        let mut seen = 0;
        for f in all().filter(takes) {
            for place in [0, 1] {
                let ((low, high), (from, to)) = (f.domain[place], f.domain[1 - place]);
                let x: Vec<f64> = (0..N).map(|k| low + (high - low) * (k as f64 + 0.5) / N as f64).collect();
                let (x, value) = (list(&x), f64::from((from + 0.3 * (to - from)) as f32));
                let tensor = Side::Tensor(list(&[value; 1]));
                let expected = found(&x, |x| mixed(f, place, x, &tensor)).map(bits);
                for is_constant in [false, true] {
                    let number = Side::Number(Numeral { value, dtype: DType::F32, is_constant });
                    let y = mixed(f, place, &x, &number);
                    let nodes = graph_nodes(&y).expect("a graph");
                    assert_eq!(nodes.len(), 2, "{}: the number is part of the op", f.f.name);
                    assert_eq!(nodes[1].numbers, [(1 - place, value)]);
                    let found = found(&x, |x| mixed(f, place, x, &number)).map(bits);
                    assert_eq!(found, expected, "{} of {value} in place {}", f.f.name, 1 - place);
                }
            }
            seen += 1;
        }
        assert!(seen > 20, "{seen} functions");
    }

    fn bits(numbers: Vec<f32>) -> Vec<u32> {
        numbers.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn choices_between_numbers() {
        let x = list(&[1.0, -2.0, 0.0]);
        let chosen = |y: Tensor| y.to_vec::<f32>().expect("values");
        assert_eq!(chosen(x.gt(0.0).select(2.0, -1.0)), [2.0, -1.0, -1.0]);
        assert_eq!(chosen(x.gt(0.0).select(&x, 7.0)), [1.0, 7.0, 7.0]);
        assert_eq!(x.gt(0.0).select(2, 3).to_vec::<i32>().expect("values"), [2, 3, 3]);
        let slope = grad(&x, |x| (x.gt(0.0).select(x, 3.0) * 2.0).sum_all()).expect("a derivative");
        assert_eq!(chosen(slope), [2.0, 0.0, 0.0]);
        // A number takes part in dtypes, not in shapes.
        let whole = Tensor::from_slice(&[1i32, 2], [2], &Device::cpu());
        assert_eq!(chosen(&whole * 1.5), [1.5, 3.0]);
        assert_eq!((list(&[]) * 2.0).shape(), Shape::from([0]));
    }

    #[test]
    fn one_plan_serves_all_numbers_of_a_run() {
        let x = list(&[1.0, 2.0]);
        let times = |n: f64| (&x * n).to_vec::<f32>().expect("values");
        assert_eq!([times(2.0), times(3.0)], [[2.0, 4.0], [3.0, 6.0]]);
        // Constants are another program each.
        let above = |n: f64| x.with_constant(&super::super::ADD, n).to_vec::<f32>().expect("values");
        assert_eq!([above(2.0), above(3.0)], [[3.0, 4.0], [4.0, 5.0]]);
        let kernel = |y: Tensor| plan(&y, Target::CARD).expect("a plan").launches[0].kernel.scalars().len();
        assert_eq!([kernel(&x * 2.0), kernel(x.with_constant(&super::super::ADD, 2.0))], [1, 0]);
        // As a root itself.
        let number = Numeral { value: 4.0, dtype: DType::F32, is_constant: false }.like(&x);
        eval(&number).expect("it runs");
        assert_eq!(number.to_vec::<f32>().expect("values"), [4.0; 2]);
    }
}
