//! Comparison, logic and choice.

use vorpal_kernels::{Lane, Lanes, ResultType, ScalarFn, map1, map2, map3};

use super::number::Number;
use super::{Accepts, Operand, PointwiseFn};
use vorpal_tensor::DType;

use crate::{Tensor, Vjp};

fn none(v: &Vjp<'_>) -> Vec<Option<Tensor>> {
    vec![None; v.inputs.len()]
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $text:literal $accepts:ident |$a:ident, $b:ident| $body:expr, $wgsl:expr;)*) => {
        $(
            $(#[$doc])*
            pub static $name: PointwiseFn = {
                fn body<T: Number>($a: T, $b: T) -> bool {
                    $body
                }
                fn lanes<T: Number>(args: &[&Lane<'_>], out: &mut Lanes) {
                    map2(args, out, |a: T, b: T| u32::from(body(a, b)));
                }
                PointwiseFn {
                    f: ScalarFn {
                        name: $text,
                        arity: 2,
                        result: ResultType::Bool,
                        wgsl: $wgsl,
                        support: "",
                        cpu: |args, out| match args[0] {
                            Lane::F64(_) => lanes::<f64>(args, out),
                            Lane::F32(_) => lanes::<f32>(args, out),
                            Lane::I64(_) => lanes::<i64>(args, out),
                            Lane::I32(_) => lanes::<i32>(args, out),
                            Lane::U32(_) => lanes::<u32>(args, out),
                            Lane::I8(_) => lanes::<i8>(args, out),
                            Lane::U8(_) => lanes::<u8>(args, out),
                        },
                        flops: 1,
                    },
                    accepts: Accepts::$accepts,
                    vjp: none,
                    reference: |x| f64::from(u8::from(body(x[0], x[1]))),
                    domain: &[(-2.0, 2.0), (-2.0, 2.0)],
                }
            };
        )*
    };
}
comparisons! {
    /// a < b.
    LESS "less" Number |a, b| a < b, "a < b";
    /// a ≤ b.
    LESS_EQUAL "less_equal" Number |a, b| a <= b, "a <= b";
    /// a > b.
    GREATER "greater" Number |a, b| a > b, "a > b";
    /// a ≥ b.
    GREATER_EQUAL "greater_equal" Number |a, b| a >= b, "a >= b";
    /// a = b.
    EQUAL "equal" Any |a, b| a == b, "a == b";
    /// a ≠ b.
    NOT_EQUAL "not_equal" Any |a, b| a != b, "a != b";
}

const fn logic(
    name: &'static str,
    arity: usize,
    wgsl: &'static str,
    cpu: fn(&[&Lane<'_>], &mut Lanes),
) -> ScalarFn {
    ScalarFn { name, arity, result: ResultType::Bool, wgsl, support: "", cpu, flops: 0 }
}

const TRUTH: (f64, f64) = (0.0, 1.0);

/// Both.
pub static AND: PointwiseFn = PointwiseFn {
    f: logic("and", 2, "a && b", |x, o| map2(x, o, |a: u32, b: u32| a & b)),
    accepts: Accepts::Bool,
    vjp: none,
    reference: |x| x[0] * x[1],
    domain: &[TRUTH, TRUTH],
};

/// At least one.
pub static OR: PointwiseFn = PointwiseFn {
    f: logic("or", 2, "a || b", |x, o| map2(x, o, |a: u32, b: u32| a | b)),
    accepts: Accepts::Bool,
    vjp: none,
    reference: |x| x[0].max(x[1]),
    domain: &[TRUTH, TRUTH],
};

/// Not.
pub static NOT: PointwiseFn = PointwiseFn {
    f: logic("not", 1, "!a", |x, o| map1(x, o, |a: u32| 1 - a)),
    accepts: Accepts::Bool,
    vjp: none,
    reference: |x| 1.0 - x[0],
    domain: &[TRUTH],
};

/// Whether it is not a number, told by its bits.
pub static IS_NAN: PointwiseFn = PointwiseFn {
    f: ScalarFn {
        name: "is_nan",
        arity: 1,
        result: ResultType::Bool,
        wgsl: "is_nan(a)",
        support: vorpal_kernels::shaders::BITS,
        cpu: |x, o| match x[0] {
            Lane::F64(_) => map1(x, o, |a: f64| u32::from(a.is_nan())),
            _ => map1(x, o, |a: f32| u32::from(a.is_nan())),
        },
        flops: 1,
    },
    accepts: Accepts::Float,
    vjp: none,
    reference: |x| f64::from(u8::from(x[0].is_nan())),
    domain: &[(-1.0, 1.0)],
};

fn choose<T>(a: u32, b: T, c: T) -> T {
    if a != 0 { b } else { c }
}

/// b where a holds, else c.
pub static SELECT: PointwiseFn = PointwiseFn {
    f: ScalarFn {
        name: "select",
        arity: 3,
        result: ResultType::Last,
        wgsl: "select(c, b, a)",
        support: "",
        cpu: |x, o| match o {
            Lanes::F64(_) => map3(x, o, choose::<f64>),
            Lanes::F32(_) => map3(x, o, choose::<f32>),
            Lanes::I64(_) => map3(x, o, choose::<i64>),
            Lanes::I32(_) => map3(x, o, choose::<i32>),
            Lanes::U32(_) => map3(x, o, choose::<u32>),
            Lanes::I8(_) => map3(x, o, choose::<i8>),
            Lanes::U8(_) => map3(x, o, choose::<u8>),
        },
        flops: 1,
    },
    accepts: Accepts::Select,
    vjp: |v| {
        let zero = v.grad.full_like(0.0);
        let (to_b, to_c) = (v.inputs[0].select(v.grad, &zero), v.inputs[0].select(&zero, v.grad));
        vec![None, Some(to_b), Some(to_c)]
    },
    reference: |x| if x[0] != 0.0 { x[1] } else { x[2] },
    domain: &[TRUTH, (-2.0, 2.0), (-2.0, 2.0)],
};

/// The functions of this file.
pub static LOGIC: &[&PointwiseFn] =
    &[&LESS, &LESS_EQUAL, &GREATER, &GREATER_EQUAL, &EQUAL, &NOT_EQUAL, &AND, &OR, &NOT, &IS_NAN, &SELECT];

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident $f:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(&self, other: impl Into<Operand>) -> Tensor {
                self.pointwise2(&$f, other)
            }
        )*}
    };
}
methods! {
    /// Whether elements are less; operands broadcast.
    lt LESS;
    /// Whether elements are less or equal; operands broadcast.
    le LESS_EQUAL;
    /// Whether elements are greater; operands broadcast.
    gt GREATER;
    /// Whether elements are greater or equal; operands broadcast.
    ge GREATER_EQUAL;
    /// Whether elements are equal; operands broadcast.
    eq EQUAL;
    /// Whether elements differ; operands broadcast.
    ne NOT_EQUAL;
    /// Whether both hold; operands broadcast.
    logical_and AND;
    /// Whether at least one holds; operands broadcast.
    logical_or OR;
}

impl Tensor {
    /// Whether a truth value does not hold.
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        Tensor::pointwise(&NOT, &[self])
    }

    /// Whether elements are NaN.
    #[track_caller]
    pub fn is_nan(&self) -> Tensor {
        Tensor::pointwise(&IS_NAN, &[self])
    }

    /// `then` where `self` (truth values) holds, else `other`; operands broadcast. Called `where` in
    /// PyTorch and JAX.
    #[track_caller]
    pub fn select(&self, then: impl Into<Operand>, other: impl Into<Operand>) -> Tensor {
        let (then, other) = match (then.into(), other.into()) {
            (Operand::Tensor(a), b) => {
                let b = b.beside(&a);
                (a, b)
            }
            (a, Operand::Tensor(b)) => (a.beside(&b), b),
            (a, b) => {
                let whole = matches!((&a, &b), (Operand::Integer(_), Operand::Integer(_)));
                let like = self.cast(if whole { DType::I32 } else { DType::F32 });
                (a.beside(&like), b.beside(&like))
            }
        };
        Tensor::pointwise(&SELECT, &[self, &then, &other])
    }
}
