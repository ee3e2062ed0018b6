//! Pointwise functions: a case for every entry of the table, made from the entry itself; what is made of them.

use vorpal_autodiff::ops::pointwise::{self, Accepts};
use vorpal_autodiff::{DType, PointwiseFn, Tensor};
use vorpal_kernels::ResultType;

use crate::harness::{Array, Case, Draw, FLOATS, INTEGERS, Role, Sample};

const ALL: &[DType] = &DType::ALL;
const SIGNED: &[DType] =
    &[DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::I8];
const SIGNED_INTEGERS: &[DType] = &[DType::I64, DType::I32, DType::I8];
const NUMBERS: &[DType] = &[
    DType::F64,
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::U32,
    DType::I8,
    DType::U8,
];

/// Shapes of operands that broadcast to one: some axes of size 1, some missing in front.
fn shapes(draw: &mut Draw, n: usize) -> Vec<Vec<usize>> {
    let full = draw.shape(0, 3);
    let mut part = || {
        let missing = if draw.random.below(3) == 0 { draw.random.below(full.len() + 1) } else { 0 };
        full[missing..].iter().map(|&d| if draw.random.below(4) == 0 { 1 } else { d }).collect()
    };
    (0..n).map(|_| part()).collect()
}

/// A function of numbers on arrays that are broadcast to one shape.
fn elementwise(x: &[Array], f: impl Fn(&[f64]) -> f64) -> Array {
    let rank = x.iter().map(|a| a.shape.len()).max().unwrap_or(0);
    let size = |a: &Array, k: usize| (k + a.shape.len()).checked_sub(rank).map_or(1, |own| a.shape[own]);
    let shape: Vec<usize> =
        (0..rank).map(|k| x.iter().map(|a| size(a, k)).find(|&d| d != 1).unwrap_or(1)).collect();
    Array::from_fn(&shape, |at| {
        let operand = |a: &Array| {
            let own = &at[rank - a.shape.len()..];
            a.at(&own.iter().zip(&a.shape).map(|(&k, &d)| if d == 1 { 0 } else { k }).collect::<Vec<_>>())
        };
        f(&x.iter().map(operand).collect::<Vec<_>>())
    })
}

fn sample(draw: &mut Draw, f: &'static PointwiseFn) -> Sample {
    let shapes = shapes(draw, f.f.arity);
    let inputs = shapes.iter().zip(f.domain).enumerate().map(|(k, (shape, &(low, high)))| {
        let truth = f.accepts == Accepts::Bool || (f.accepts == Accepts::Select && k == 0);
        if truth { draw.truths(shape) } else { draw.array(shape, low, high) }
    });
    let run = move |x: &[Tensor]| Tensor::pointwise(f, &x.iter().collect::<Vec<_>>());
    Sample::new(inputs.collect(), run, |x| elementwise(x, f.reference))
}

/// The element types an entry is checked in: all it takes, but for those where integers differ from the reference,
/// which are looked at in `integers`.
fn dtypes(f: &PointwiseFn) -> &'static [DType] {
    match (f.accepts, f.f.name) {
        (Accepts::Float, _) | (_, "div") => FLOATS,
        (_, "sub" | "neg") => SIGNED,
        (_, "bitwise_not") => SIGNED_INTEGERS,
        (Accepts::Number, _) => NUMBERS,
        (Accepts::Integer, _) => INTEGERS,
        (Accepts::Any | Accepts::Select, _) => ALL,
        (Accepts::Bool, _) => &[DType::Bool],
    }
}

fn entry(f: &'static PointwiseFn) -> Case {
    let draw = move |d: &mut Draw| sample(d, f);
    let case = match (f.accepts, f.f.result) {
        (_, ResultType::Bool) => Case::flat(f.f.name, "truth values have no derivative", draw),
        (Accepts::Integer, _) => Case::flat(f.f.name, "integers have no derivative", draw),
        _ => Case::smooth(f.f.name, draw),
    };
    Case { dtypes: dtypes(f), ..case }
}

/// Every entry of the table that takes floats alone, or every other.
pub fn entries(floats: bool) -> Vec<Case> {
    pointwise::all().filter(|f| (f.accepts == Accepts::Float) == floats).map(entry).collect()
}

fn unary(
    name: &'static str,
    (low, high): (f64, f64),
    run: fn(&Tensor) -> Tensor,
    reference: fn(f64) -> f64,
) -> Case {
    Case::smooth(name, move |d| {
        let shape = d.shape(0, 3);
        Sample::new(vec![d.array(&shape, low, high)], move |x| run(&x[0]), move |x| x[0].map(reference))
    })
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Functions made of the table's.
pub fn composites() -> Vec<Case> {
    const WIDE: (f64, f64) = (-3.0, 3.0);
    let mut cases = vec![
        unary("square", WIDE, |x| x.square(), |x| x * x),
        unary("reciprocal", (0.3, 3.0), |x| x.reciprocal(), |x| 1.0 / x),
        unary("frac", (-2.9, -2.1), |x| x.frac(), f64::fract),
        unary(
            "sinc",
            (-0.3, 0.3),
            |x| x.sinc(),
            |x| {
                let angle = std::f64::consts::PI * x;
                if x == 0.0 { 1.0 } else { angle.sin() / angle }
            },
        ),
        unary("silu", WIDE, |x| x.silu(), |x| x * logistic(x)),
        unary("gelu", WIDE, |x| x.gelu(), |x| 0.5 * x * libm::erfc(-x / 2f64.sqrt())),
        unary(
            "gelu_tanh",
            WIDE,
            |x| x.gelu_tanh(),
            |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        ),
        unary("log_sigmoid", WIDE, |x| x.log_sigmoid(), |x| -softplus(-x)),
        unary("softsign", WIDE, |x| x.softsign(), |x| x / (1.0 + x.abs())),
        unary("mish", WIDE, |x| x.mish(), |x| x * softplus(x).tanh()),
        unary("elu", WIDE, |x| x.elu(1.3), |x| if x > 0.0 { x } else { 1.3 * x.exp_m1() }),
        unary("celu", WIDE, |x| x.celu(1.3), |x| if x > 0.0 { x } else { 1.3 * (x / 1.3).exp_m1() }),
        unary(
            "selu",
            WIDE,
            |x| x.selu(),
            |x| 1.050_700_987_355_480_5 * if x > 0.0 { x } else { 1.673_263_242_354_377_2 * x.exp_m1() },
        ),
        unary("leaky_relu", WIDE, |x| x.leaky_relu(0.2), |x| if x > 0.0 { x } else { 0.2 * x }),
        unary("hardtanh", WIDE, |x| x.hardtanh(-0.9, 1.4), |x| x.clamp(-0.9, 1.4)),
        unary("relu6", (-3.0, 9.0), |x| x.relu6(), |x| x.clamp(0.0, 6.0)),
        unary("hardsigmoid", (-5.0, 5.0), |x| x.hardsigmoid(), |x| (x + 3.0).clamp(0.0, 6.0) / 6.0),
        unary("hardswish", (-5.0, 5.0), |x| x.hardswish(), |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
        unary("threshold", WIDE, |x| x.threshold(0.5, -7.0), |x| if x > 0.5 { x } else { -7.0 }),
        unary("nan_to_num", WIDE, |x| x.nan_to_num(0.0, None, None), |x| x),
        unary(
            "polygamma(2)",
            (0.5, 3.0),
            |x| x.polygamma(2),
            |x| {
                -2.0 * (0..200_000).rev().map(|k| (x + f64::from(k)).powi(-3)).sum::<f64>()
                    - (x + 199_999.5).powi(-2)
            },
        ),
    ];
    cases.push(Case::smooth("clamp", |d| {
        let shapes = shapes(d, 3);
        let inputs = vec![
            d.array(&shapes[0], -3.0, 3.0),
            d.array(&shapes[1], -2.0, -0.5).with_role(Role::Constant),
            d.array(&shapes[2], 0.5, 2.0).with_role(Role::Constant),
        ];
        let run = |x: &[Tensor]| x[0].clamp(&x[1], &x[2]);
        Sample::new(inputs, run, |x| elementwise(x, |v| v[0].clamp(v[1], v[2])))
    }));
    cases.push(Case::smooth("lerp", |d| {
        let shapes = shapes(d, 3);
        let inputs = shapes.iter().map(|s| d.array(s, -2.0, 2.0)).collect();
        let run = |x: &[Tensor]| x[0].lerp(&x[1], &x[2]);
        Sample::new(inputs, run, |x| elementwise(x, |v| v[0] + v[2] * (v[1] - v[0])))
    }));
    // Away from multiples, where the quotient jumps.
    cases.push(Case::flat("floor_divide of floats", "it is constant between jumps", |d| {
        let shape = d.shape(0, 3);
        let draw = |d: &mut Draw| f64::from(d.random.below(19) as u32) - 9.0 + 0.5;
        let a = Array::from_fn(&shape, |_| draw(d));
        Sample::new(vec![a], |x| x[0].floor_divide(2.0), |x| x[0].map(|v| (v / 2.0).floor()))
    }));
    cases
}
