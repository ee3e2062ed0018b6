//! Pointwise ops: one table entry each, from which graph, kernels, derivatives and tests are made.
//!
//! To add one, write its entry in the table of [`number`], [`float`], [`trig`], [`special`], [`bits`] or [`logic`] and
//! its method below the table. The shader text of an entry sees its operands as `a`, `b` and `c`, and `zero` and `one`
//! of the last operand's type.

mod activation;
pub mod bits;
pub mod float;
pub mod logic;
pub mod number;
mod operand;
pub mod special;
pub mod trig;

use smallvec::{SmallVec, smallvec};
use vorpal_kernels::{ResultType, ScalarFn};
use vorpal_tensor::{At, DType, Device, Error, Result, Shape};

use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};
use operand::{Numeral, Side};

pub use bits::*;
pub use float::*;
pub use logic::*;
pub use number::*;
pub use operand::Operand;
pub use special::*;
pub use trig::*;

/// Which element types a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// Floats.
    Float,
    /// Floats and integers.
    Number,
    /// Integers.
    Integer,
    /// Truth values.
    Bool,
    /// A truth value, then two of anything.
    Select,
    /// Anything.
    Any,
}

/// One pointwise function: everything the framework knows about it.
#[derive(Debug)]
pub struct PointwiseFn {
    /// Name, WGSL, native body.
    pub f: ScalarFn,
    /// Operand types.
    pub accepts: Accepts,
    /// Derivative rule, as a graph.
    pub vjp: fn(&Vjp<'_>) -> Vec<Option<Tensor>>,
    /// The value in f64, for tests.
    pub reference: fn(&[f64]) -> f64,
    /// Where tests draw each operand from: inside, the function is smooth.
    pub domain: &'static [(f64, f64)],
}

impl PointwiseFn {
    /// How many operands come before those that are brought to one dtype.
    fn conditions(&self) -> usize {
        usize::from(self.accepts == Accepts::Select)
    }
}

/// Every pointwise function.
pub fn all() -> impl Iterator<Item = &'static PointwiseFn> {
    [NUMBERS, FLOATS, TRIGONOMETRY, SPECIAL, WHOLE, LOGIC].into_iter().flatten().copied()
}

/// The graph op of a [`PointwiseFn`]: its operands are tensors, but for the numbers, which are part of the op.
#[derive(Clone, Debug)]
struct Pointwise {
    f: &'static PointwiseFn,
    /// Numbers in ascending order of their places among the operands.
    numbers: Numbers,
}

type Numbers = SmallVec<[(usize, Numeral); 1]>;

impl Pointwise {
    /// The operands in their places: `tensors`, and the numbers as `number` makes them.
    fn operands<T: Clone>(&self, tensors: &[T], mut number: impl FnMut(Numeral) -> T) -> SmallVec<[T; 3]> {
        let mut out: SmallVec<[T; 3]> = tensors.iter().cloned().collect();
        self.numbers.iter().for_each(|&(place, n)| out.insert(place, number(n)));
        out
    }
}

impl Op for Pointwise {
    fn name(&self) -> &'static str {
        self.f.f.name
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let values = &inputs[self.f.conditions()..];
        let number = self.numbers.first().map(|(_, n)| n.dtype);
        let dtype = number.unwrap_or_else(|| values[0].dtype);
        let fits = match self.f.accepts {
            Accepts::Float => dtype.is_float(),
            Accepts::Number => dtype != DType::Bool,
            Accepts::Integer => dtype.is_integer(),
            Accepts::Bool => dtype == DType::Bool,
            Accepts::Select => inputs[0].dtype == DType::Bool,
            Accepts::Any => true,
        };
        if !fits {
            let asked = match self.f.accepts {
                Accepts::Select => "a bool condition",
                Accepts::Float => "floats",
                Accepts::Integer => "integers",
                Accepts::Bool => "truth values",
                _ => "numbers",
            };
            let found = if self.f.accepts == Accepts::Select { inputs[0].dtype } else { dtype };
            return Misfit::dtype(format!("needs {asked}, found {found}"));
        }
        super::same_dtype(values)?;
        let shape = inputs[0].shape.clone();
        Ok(Spec::new(
            shape,
            match self.f.f.result {
                ResultType::Last => dtype,
                ResultType::Bool => DType::Bool,
                ResultType::F32 => DType::F32,
                ResultType::U32 => DType::U32,
            },
        ))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        if self.numbers.is_empty() {
            return (self.f.vjp)(v);
        }
        let inputs = self.operands(v.inputs, |number| number.like(v.output));
        let found = (self.f.vjp)(&Vjp { inputs: &inputs, ..*v }).into_iter().enumerate();
        let is_tensor = |place: usize| self.numbers.iter().all(|&(number, _)| number != place);
        found.filter_map(|(place, cotangent)| is_tensor(place).then_some(cotangent)).collect()
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(self.clone())
    }

    fn attributes(&self, key: &mut Key) {
        key.push(self.numbers.len());
        for &(place, number) in &self.numbers {
            key.push(place);
            number.identify(key);
        }
    }

    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], scalars: &[NodeId]) -> Result<NodeId> {
        let (mut scalars, shape) = (scalars.iter(), cx.shape(inputs[0]).clone());
        let mut failed = None;
        let operands = self.operands(inputs, |number| {
            number.lower(cx, &shape, &mut scalars).unwrap_or_else(|error| {
                failed = Some(error);
                inputs[0]
            })
        });
        failed.map_or_else(|| Ok(cx.call(&self.f.f, &operands)), Err)
    }

    fn scalars(&self) -> SmallVec<[(f64, DType); 4]> {
        self.numbers.iter().filter_map(|(_, number)| number.scalar()).collect()
    }

    fn numbers(&self) -> SmallVec<[(usize, f64); 1]> {
        self.numbers.iter().map(|&(place, number)| (place, number.value)).collect()
    }
}

impl Tensor {
    /// Applies a pointwise function to operands broadcast to one shape and brought to one dtype
    /// ([`DType::promote`]; the condition of a choice stays what it is). The way to use a [`PointwiseFn`] of one's
    /// own.
    ///
    /// Carries [`Error::Shape`] when the operands do not broadcast, [`Error::DType`] when the function
    /// does not take them.
    #[track_caller]
    pub fn pointwise(f: &'static PointwiseFn, operands: &[&Tensor]) -> Tensor {
        Tensor::combined(f, operands.iter().map(|&x| Side::Tensor(x.clone())).collect())
    }

    /// As [`pointwise`](Tensor::pointwise), of tensors and numbers; at least one is a tensor.
    #[track_caller]
    fn combined(f: &'static PointwiseFn, sides: SmallVec<[Side; 3]>) -> Tensor {
        let at = At::caller();
        if sides.len() != f.f.arity {
            let message = format!("takes {} operands, given {}", f.f.arity, sides.len());
            return Tensor::error(Error::Argument { op: f.f.name, message, at });
        }
        let tensors = || sides.iter().filter_map(Side::tensor);
        if let Some(failed) = tensors().find(|x| x.ready().is_err()) {
            return failed.clone();
        }
        let mut first: Option<(&Device, Shape)> = None;
        for node in tensors().filter_map(|x| x.ready().ok()) {
            match &mut first {
                None => first = Some((&node.device, node.spec.shape.clone())),
                Some((_, shape)) if *shape == node.spec.shape => {}
                Some((_, shape)) => match shape.broadcast(&node.spec.shape) {
                    Some(both) => *shape = both,
                    None => {
                        let message = format!("shapes {shape} and {} do not broadcast", node.spec.shape);
                        let operands: Vec<&Tensor> = tensors().collect();
                        return Tensor::error(super::shape_error(f.f.name, message, &operands, at));
                    }
                },
            }
        }
        let Some((device, shape)) = first else {
            return Tensor::error(Error::internal(f.f.name, "no operand is a tensor"));
        };
        let conditions = f.conditions();
        let values = sides[conditions..].iter().map(Side::dtype);
        let dtype = super::common_dtype(values, |dtype| device.supports(dtype));
        // One tensor of the whole shape stays a tensor where there is any.
        let has_all = |x: &Tensor| x.ready().is_ok_and(|node| node.spec.shape == shape);
        let mut whole = tensors().filter(|x| has_all(x)).count();
        let (mut spread, mut numbers) = (SmallVec::<[Tensor; 3]>::new(), Numbers::new());
        for (place, side) in sides.iter().enumerate() {
            let dtype = dtype.filter(|_| place >= conditions);
            let x = match side {
                // It has the common dtype, or one that gives way.
                Side::Number(number) => {
                    numbers.push((place, Numeral { dtype: dtype.unwrap_or(number.dtype), ..*number }));
                    continue;
                }
                Side::Tensor(x) => x,
            };
            let number = Numeral::of(x).filter(|n| Some(n.dtype) == dtype && whole > 1 && has_all(x));
            if let Some(number) = number {
                whole -= 1;
                numbers.push((place, number));
                continue;
            }
            let operand = if has_all(x) { x.clone() } else { x.broadcast_to(shape.clone()) };
            spread.push(match dtype {
                Some(dtype) => operand.cast(dtype),
                None => operand,
            });
        }
        let spread: SmallVec<[&Tensor; 3]> = spread.iter().collect();
        Tensor::apply(Pointwise { f, numbers }, &spread, at)
    }

    #[track_caller]
    pub(crate) fn pointwise2(&self, f: &'static PointwiseFn, other: impl Into<Operand>) -> Tensor {
        let other = other.into().beside(self);
        Tensor::combined(f, smallvec![Side::Tensor(self.clone()), other])
    }

    /// `self` combined with a constant that is part of the program.
    #[track_caller]
    pub(crate) fn with_constant(&self, f: &'static PointwiseFn, value: f64) -> Tensor {
        let constant = Numeral { value, dtype: self.dtype(), is_constant: true };
        Tensor::combined(f, smallvec![Side::Tensor(self.clone()), Side::Number(constant)])
    }

    /// Conversion to another dtype, as Rust's `as`: float to integer truncates towards zero and saturates, NaN becomes
    /// 0; integer to a shorter integer keeps the low bits; anything to `Bool` is `!= 0`. The cotangent goes back in
    /// the dtype of `self`.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        Tensor::apply(Cast { dtype }, &[self], At::caller())
    }
}

#[derive(Debug)]
struct Cast {
    dtype: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(Spec::new(inputs[0].shape.clone(), self.dtype))
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        let from = v.inputs[0].dtype();
        vec![(from.is_float() && self.dtype.is_float()).then(|| v.grad.cast(from))]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Cast { dtype: self.dtype })
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, cx: &mut Builder, x: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(cx.cast(x[0], self.dtype))
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $f:ident),*) => {$(
        impl<R: Into<Operand>> std::ops::$trait<R> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor {
                self.pointwise2(&$f, other)
            }
        }
        impl<R: Into<Operand>> std::ops::$trait<R> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: R) -> Tensor {
                self.pointwise2(&$f, other)
            }
        }
        operators!(@number $trait $method $f f64);
        operators!(@number $trait $method $f f32);
        operators!(@number $trait $method $f i32);
    )*};
    (@number $trait:ident $method:ident $f:ident $ty:ty) => {
        impl std::ops::$trait<&Tensor> for $ty {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                let number = Operand::from(self).beside(other);
                Tensor::combined(&$f, smallvec![number, Side::Tensor(other.clone())])
            }
        }
        impl std::ops::$trait<Tensor> for $ty {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                let number = Operand::from(self).beside(&other);
                Tensor::combined(&$f, smallvec![number, Side::Tensor(other)])
            }
        }
    };
}
operators!(Add add ADD, Sub sub SUB, Mul mul MUL, Div div DIV);

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::pointwise(&NEG, &[self])
    }
}
impl std::ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::pointwise(&NEG, &[&self])
    }
}

/// Makes the statics and the list of a table. An entry reads: documentation, `NAME "name" (operands) =`
/// native body, then the fields of [`PointwiseFn`]; the body is generic over `T`. `near:` is the body without its
/// branches, for angles in f32 that are not large.
macro_rules! pointwise_table {
    ($table:ident, $bound:ident, $accepts:ident, $result:ident, $dispatch:ident; $(
        $(#[$doc:meta])* $name:ident $text:literal ($($arg:ident),+) = $body:expr;
        $(near: $near:path,)? wgsl: $wgsl:expr, $(support: $support:expr,)? flops: $flops:expr, on: $domain:expr,
        vjp: $vjp:expr;
    )*) => {
        $(
            $(#[$doc])*
            pub static $name: $crate::ops::pointwise::PointwiseFn = {
                #[inline(always)]
                fn body<T: $bound>($($arg: T),+) -> pointwise_table!(@out $result) {
                    $body
                }
                fn cpu(args: &[vorpal_kernels::Lane<'_>], out: vorpal_kernels::LaneMut<'_>) {
                    $(if let [vorpal_kernels::Lane::F32(x)] = args {
                        return vorpal_kernels::elementary::map_angles(x, out, $near, body::<f32>);
                    })?
                    $dispatch!(args, out, body, $($arg),+);
                }
                fn reference(args: &[f64]) -> f64 {
                    let mut args = args.iter().copied();
                    let mut next = || args.next().unwrap_or(f64::NAN);
                    $(let $arg: f64 = next();)+
                    pointwise_table!(@value $result, body::<f64>($($arg),+))
                }
                $crate::ops::pointwise::PointwiseFn {
                    f: vorpal_kernels::ScalarFn {
                        name: $text,
                        arity: pointwise_table!(@count $($arg)+),
                        result: pointwise_table!(@type $result),
                        wgsl: $wgsl,
                        support: pointwise_table!(@support $($support)?),
                        cpu,
                        flops: $flops,
                    },
                    accepts: $crate::ops::pointwise::Accepts::$accepts,
                    vjp: $vjp,
                    reference,
                    domain: &$domain,
                }
            };
        )*
        /// The functions of this file.
        pub static $table: &[&$crate::ops::pointwise::PointwiseFn] = &[$(&$name),*];
    };
    (@support) => { "" };
    (@support $support:expr) => { $support };
    (@out Last) => { T };
    (@out Bool) => { bool };
    (@type Last) => { vorpal_kernels::ResultType::Last };
    (@type Bool) => { vorpal_kernels::ResultType::Bool };
    (@value Last, $e:expr) => { $e };
    (@value Bool, $e:expr) => { f64::from(u8::from($e)) };
    (@count $a:ident) => { 1 };
    (@count $a:ident $b:ident) => { 2 };
    (@count $a:ident $b:ident $c:ident) => { 3 };
}
pub(crate) use pointwise_table;

/// Makes methods without further operands from `name FUNCTION;` lines.
macro_rules! unary_methods {
    ($($(#[$doc:meta])* $method:ident $f:ident;)*) => {
        impl $crate::Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(&self) -> $crate::Tensor {
                $crate::Tensor::pointwise(&$f, &[self])
            }
        )*}
    };
}
pub(crate) use unary_methods;

/// Makes methods with a second operand from `name FUNCTION;` lines.
macro_rules! binary_methods {
    ($($(#[$doc:meta])* $method:ident $f:ident;)*) => {
        impl $crate::Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(&self, other: impl Into<$crate::Operand>) -> $crate::Tensor {
                self.pointwise2(&$f, other)
            }
        )*}
    };
}
pub(crate) use binary_methods;
