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
pub mod special;
pub mod trig;

use smallvec::SmallVec;
use vorpal_kernels::{ResultType, ScalarFn};
use vorpal_tensor::{At, DType, Error, Result};

use crate::compile::ir::{Builder, NodeId};
use crate::{Key, Misfit, Op, Spec, Tensor, Vjp, Vmap};

pub use bits::*;
pub use float::*;
pub use logic::*;
pub use number::*;
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

/// Every pointwise function.
pub fn all() -> impl Iterator<Item = &'static PointwiseFn> {
    [NUMBERS, FLOATS, TRIGONOMETRY, SPECIAL, WHOLE, LOGIC].into_iter().flatten().copied()
}

/// The graph op of a [`PointwiseFn`].
#[derive(Debug)]
struct Pointwise(&'static PointwiseFn);

impl Op for Pointwise {
    fn name(&self) -> &'static str {
        self.0.f.name
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        let values = if self.0.accepts == Accepts::Select { &inputs[1..] } else { inputs };
        let dtype = values[0].dtype;
        let fits = match self.0.accepts {
            Accepts::Float => dtype.is_float(),
            Accepts::Number => dtype != DType::Bool,
            Accepts::Integer => dtype.is_integer(),
            Accepts::Bool => dtype == DType::Bool,
            Accepts::Select => inputs[0].dtype == DType::Bool,
            Accepts::Any => true,
        };
        if !fits {
            let asked = match self.0.accepts {
                Accepts::Select => "a bool condition",
                Accepts::Float => "floats",
                Accepts::Integer => "integers",
                Accepts::Bool => "truth values",
                _ => "numbers",
            };
            let found = if self.0.accepts == Accepts::Select { inputs[0].dtype } else { dtype };
            return Misfit::dtype(format!("needs {asked}, found {found}"));
        }
        super::same_dtype(values)?;
        let shape = inputs[0].shape.clone();
        Ok(Spec::new(
            shape,
            match self.0.f.result {
                ResultType::Last => dtype,
                ResultType::Bool => DType::Bool,
                ResultType::F32 => DType::F32,
                ResultType::U32 => DType::U32,
            },
        ))
    }

    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        (self.0.vjp)(v)
    }

    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        v.apply(Pointwise(self.0))
    }

    fn attributes(&self, _: &mut Key) {}

    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        Ok(cx.call(&self.0.f, inputs))
    }
}

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
    /// A tensor that fits beside `other`.
    #[track_caller]
    fn beside(self, other: &Tensor) -> Tensor {
        let node = match (&self, other.ready()) {
            (Operand::Tensor(x), _) => return x.clone(),
            (_, Err(_)) => return other.clone(),
            (_, Ok(node)) => node,
        };
        let dtype = match (&self, node.spec.dtype) {
            (Operand::Number(_), own) if !own.is_float() => DType::F32,
            (_, DType::Bool) => DType::I32,
            (_, own) => own,
        };
        let value = match self {
            Operand::Tensor(_) => f64::NAN,
            Operand::Number(value) => value,
            Operand::Integer(value) => match dtype {
                DType::I32 => f64::from(value as i32),
                DType::U32 => f64::from(value as u32),
                DType::I8 => f64::from(value as i8),
                DType::U8 => f64::from(value as u8),
                _ => value as f64,
            },
        };
        Tensor::scalar(value, dtype, &node.device)
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
        let at = At::caller();
        if operands.len() != f.f.arity {
            let message = format!("takes {} operands, given {}", f.f.arity, operands.len());
            return Tensor::error(Error::Argument { op: f.f.name, message, at });
        }
        if let Some(failed) = operands.iter().find(|x| x.check().is_err()) {
            return (*failed).clone();
        }
        let mut shape = operands[0].shape();
        for operand in &operands[1..] {
            match shape.broadcast(&operand.shape()) {
                Some(both) => shape = both,
                None => {
                    let message = format!("shapes {shape} and {} do not broadcast", operand.shape());
                    return Tensor::error(super::shape_error(f.f.name, message, operands, at));
                }
            }
        }
        let first = usize::from(f.accepts == Accepts::Select);
        let mut spread: SmallVec<[Tensor; 3]> = operands[..first].iter().map(|&x| x.clone()).collect();
        spread.extend(super::promoted(&operands[first..]));
        for operand in &mut spread {
            *operand = operand.broadcast_to(shape.clone());
        }
        let spread: SmallVec<[&Tensor; 3]> = spread.iter().collect();
        Tensor::apply(Pointwise(f), &spread, at)
    }

    #[track_caller]
    pub(crate) fn pointwise2(&self, f: &'static PointwiseFn, other: impl Into<Operand>) -> Tensor {
        let other = other.into().beside(self);
        Tensor::pointwise(f, &[self, &other])
    }

    /// `self` combined with a constant that is part of the program.
    #[track_caller]
    pub(crate) fn with_constant(&self, f: &'static PointwiseFn, value: f64) -> Tensor {
        match self.ready() {
            Ok(node) => {
                let constant = Tensor::full([0; 0], value, node.spec.dtype, &node.device);
                Tensor::pointwise(f, &[self, &constant])
            }
            Err(_) => self.clone(),
        }
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
                Tensor::pointwise(&$f, &[&Operand::from(self).beside(other), other])
            }
        }
        impl std::ops::$trait<Tensor> for $ty {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                Tensor::pointwise(&$f, &[&Operand::from(self).beside(&other), &other])
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
