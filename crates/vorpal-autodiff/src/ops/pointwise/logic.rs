//! Comparison, logic and choice.

use vorpal_kernels::{Lane, LaneMut, ResultType, ScalarFn, map1, map2, map3};

use smallvec::smallvec;
use vorpal_tensor::DType;

use super::number::Number;
use super::operand::Side;
use super::{Accepts, Operand, PointwiseFn, binary_methods, unary_methods};

use crate::{Tensor, Vjp};

/// No derivative.
pub(super) fn none(v: &Vjp<'_>) -> Vec<Option<Tensor>> {
    vec![None; v.inputs.len()]
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $text:literal $accepts:ident |$a:ident, $b:ident| $body:expr, $wgsl:expr;)*) => {
        $(
            $(#[$doc])*
            pub static $name: PointwiseFn = {
                #[inline(always)]
                fn body<T: Number>($a: T, $b: T) -> bool {
                    $body
                }
                fn lanes<T: Number>(args: &[Lane<'_>], out: LaneMut<'_>) {
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
    cpu: fn(&[Lane<'_>], LaneMut<'_>),
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

/// One, but not both.
pub static XOR: PointwiseFn = PointwiseFn {
    f: logic("xor", 2, "a != b", |x, o| map2(x, o, |a: u32, b: u32| a ^ b)),
    accepts: Accepts::Bool,
    vjp: none,
    reference: |x| (x[0] - x[1]).abs(),
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

/// Functions of floats that tell by the bits: shader compilers may assume that NaN and infinities do not occur.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $text:literal $wgsl:literal |$a:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        pub static $name: PointwiseFn = PointwiseFn {
            f: ScalarFn {
                name: $text,
                arity: 1,
                result: ResultType::Bool,
                wgsl: $wgsl,
                support: vorpal_kernels::shaders::BITS,
                cpu: |x, o| match x[0] {
                    Lane::F64(_) => map1(x, o, |$a: f64| u32::from($body)),
                    _ => map1(x, o, |$a: f32| u32::from($body)),
                },
                flops: 1,
            },
            accepts: Accepts::Float,
            vjp: none,
            reference: |x| {
                let $a = x[0];
                f64::from(u8::from($body))
            },
            domain: &[(-1.0, 1.0)],
        };
    )*};
}
kinds! {
    /// Whether it is not a number.
    IS_NAN "is_nan" "is_nan(a)" |a| a.is_nan();
    /// Whether it is ∞ or −∞.
    IS_INF "is_inf" "(bitcast<u32>(a) & 0x7fffffffu) == 0x7f800000u" |a| a.is_infinite();
    /// Whether it is neither infinite nor NaN.
    IS_FINITE "is_finite" "(bitcast<u32>(a) & 0x7fffffffu) < 0x7f800000u" |a| a.is_finite();
}

#[inline(always)]
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
            LaneMut::F64(_) => map3(x, o, choose::<f64>),
            LaneMut::F32(_) => map3(x, o, choose::<f32>),
            LaneMut::I64(_) => map3(x, o, choose::<i64>),
            LaneMut::I32(_) => map3(x, o, choose::<i32>),
            LaneMut::U32(_) => map3(x, o, choose::<u32>),
            LaneMut::I8(_) => map3(x, o, choose::<i8>),
            LaneMut::U8(_) => map3(x, o, choose::<u8>),
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
pub static LOGIC: &[&PointwiseFn] = &[
    &LESS,
    &LESS_EQUAL,
    &GREATER,
    &GREATER_EQUAL,
    &EQUAL,
    &NOT_EQUAL,
    &AND,
    &OR,
    &XOR,
    &NOT,
    &IS_NAN,
    &IS_INF,
    &IS_FINITE,
    &SELECT,
];

binary_methods! {
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
    /// Whether one holds, but not both; operands broadcast.
    logical_xor XOR;
}

unary_methods! {
    /// Whether a truth value does not hold.
    logical_not NOT;
    /// Whether elements are NaN.
    is_nan IS_NAN;
    /// Whether elements are ∞ or −∞.
    is_inf IS_INF;
    /// Whether elements are neither infinite nor NaN.
    is_finite IS_FINITE;
}

impl Tensor {
    /// `then` where `self` (truth values) holds, else `other`; operands broadcast. Called `where` in
    /// PyTorch and JAX.
    #[track_caller]
    pub fn select(&self, then: impl Into<Operand>, other: impl Into<Operand>) -> Tensor {
        let (then, other) = match (then.into(), other.into()) {
            (Operand::Tensor(a), b) => {
                let b = b.beside(&a);
                (Side::Tensor(a), b)
            }
            (a, Operand::Tensor(b)) => (a.beside(&b), Side::Tensor(b)),
            (a, b) => {
                let whole = matches!((&a, &b), (Operand::Integer(_), Operand::Integer(_)));
                let like = self.cast(if whole { DType::I32 } else { DType::F32 });
                (a.beside(&like), b.beside(&like))
            }
        };
        Tensor::combined(&SELECT, smallvec![Side::Tensor(self.clone()), then, other])
    }
}
