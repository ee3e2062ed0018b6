//! Pointwise functions where they are not smooth: NaN, infinities, the ends of ranges, integers, misfits.
//!
//! The native CPU does what PyTorch does, to the last roundings. WGSL promises nothing of NaN, infinities and subnormal
//! numbers, and no more of some functions than an absolute error near zero: adapters are held to what
//! `docs/dtypes.md` says.

use vorpal_autodiff::ops::pointwise::{self, Accepts};
use vorpal_autodiff::{DType, Device, PointwiseFn, Tensor};
use vorpal_kernels::ResultType;

use crate::common::devices;

type Function = fn(&Tensor) -> Tensor;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

const EXTREMES: [f32; 35] = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1e-40,
    f32::MIN_POSITIVE,
    1e-30,
    -1e-30,
    1e-10,
    -1e-10,
    1e-5,
    -1e-5,
    0.25,
    -0.25,
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    -1.5,
    2.5,
    3.0,
    -3.0,
    10.0,
    -10.0,
    100.0,
    -100.0,
    1e4,
    -1e4,
    1e30,
    -1e30,
    f32::MAX,
    INF,
    -INF,
    NAN,
];

/// Entries of floats, and every combination of extremes as their operands.
fn on_extremes(f: &'static PointwiseFn, device: &Device) -> (Vec<Vec<f64>>, Vec<f32>) {
    let n = EXTREMES.len();
    let mut places: Vec<Vec<f64>> = vec![Vec::new()];
    for _ in 0..f.f.arity {
        let longer = |p: &Vec<f64>| EXTREMES.map(|x| p.iter().copied().chain([f64::from(x)]).collect());
        places = places.iter().flat_map(longer).collect();
    }
    let shape = vec![n; f.f.arity];
    let operands: Vec<Tensor> = (0..f.f.arity)
        .map(|k| {
            let mut own = vec![1; f.f.arity];
            own[k] = n;
            Tensor::from_slice(&EXTREMES, own, device).broadcast_to(shape.clone())
        })
        .collect();
    let out = Tensor::pointwise(f, &operands.iter().collect::<Vec<_>>());
    (places, out.cast(DType::F32).to_vec::<f32>().unwrap_or_else(|e| panic!("{e}")))
}

fn of_floats() -> impl Iterator<Item = &'static PointwiseFn> {
    let floats = |f: &&PointwiseFn| matches!(f.accepts, Accepts::Float | Accepts::Number | Accepts::Any);
    pointwise::all().filter(floats)
}

#[test]
fn extremes_on_the_native_cpu_are_those_of_f64() {
    for f in of_floats() {
        let (places, found) = on_extremes(f, &Device::cpu());
        for (place, found) in places.iter().zip(found) {
            let expected = (f.reference)(place) as f32;
            // A sum of a negative number and a positive logarithm may lose digits.
            let size = if f.f.name == "logaddexp" { expected.abs().max(1.0) } else { expected.abs() };
            let close = (found - expected).abs() <= 2e-6 * size + f32::MIN_POSITIVE;
            let same = found == expected || (found.is_nan() && expected.is_nan());
            assert!(same || close, "{} of {place:?} is {found}, should be {expected}", f.f.name);
        }
    }
}

/// Where an adapter is not held to the usual error: function, operands it is held to.
fn promised(f: &PointwiseFn, x: &[f64]) -> bool {
    let normal = |v: f64| v == 0.0 || (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&v.abs());
    let sizes: Vec<f64> = x.iter().map(|v| v.abs()).collect();
    x.iter().all(|&v| normal(v))
        && match f.f.name {
            // Reduction of the angle is the driver's.
            "sin" | "cos" | "tan" => sizes[0] <= 100.0,
            // Errors of the exponent grow with it.
            "pow" => x[0] == 0.0 || (x[1] * sizes[0].ln()).abs() < 20.0,
            // The quotient in f32 decides.
            "remainder" | "fmod" => sizes[0] < 1e6 * sizes[1],
            // Products and quotients on the way stay within f32.
            "div" => sizes[1] < 1e30 && sizes[1] > 1e-30,
            "atan2" | "hypot" => sizes.iter().all(|&v| (1e-30..=1e30).contains(&v)),
            "lgamma" => x[0] > -20.0 && x[0] < 1e30,
            "digamma" | "erfinv" => sizes[0] > 1e-30,
            "polygamma" => sizes[0] <= 3.0 && x[1] > 0.1 && x[1] < 1e4,
            "rsqrt" => x[0] < 1e30,
            "exp" | "exp2" | "sinh" | "cosh" => sizes[0] < 80.0,
            _ => true,
        }
}

#[test]
fn extremes_on_adapters_are_those_of_f64_where_promised() {
    for device in devices().into_iter().filter(|d| !d.is_cpu()) {
        let mut wrong = Vec::new();
        for f in of_floats() {
            let (places, found) = on_extremes(f, &device);
            for (place, found) in places.iter().zip(found) {
                let expected = (f.reference)(place) as f32;
                if !promised(f, place) || !(expected == 0.0 || expected.is_normal()) {
                    continue;
                }
                let size = if matches!(f.f.name, "remainder" | "fmod" | "sin" | "cos" | "tan") {
                    place.iter().fold(0.0f32, |s, &v| s.max(v.abs() as f32))
                } else {
                    expected.abs()
                };
                let close = (found - expected).abs() <= 2e-5 * size + 4e-7 * f32::from(u8::from(size > 1e-6));
                // What is within rounding of a multiple may be taken for one, or for one less.
                let turn = (found - expected).abs() - place.last().map_or(0.0, |&b| b.abs() as f32);
                let close = close || (f.f.name == "remainder" && turn.abs() <= 4e-7 * size);
                if !(found == expected || close || (found - expected).abs() <= f32::MIN_POSITIVE) {
                    wrong.push(format!("{} of {place:?} is {found}, should be {expected}", f.f.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{device}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn kinds_of_numbers_are_told_apart_everywhere() {
    for device in devices() {
        for f in [&pointwise::IS_NAN, &pointwise::IS_INF, &pointwise::IS_FINITE] {
            let (places, found) = on_extremes(f, &device);
            for (place, found) in places.iter().zip(found) {
                assert_eq!(f64::from(found), (f.reference)(place), "{} of {place:?} on {device}", f.f.name);
            }
        }
        let x = Tensor::from_slice(&[NAN, INF, -INF, 1.0], [4], &device);
        let finite = [7.0, f32::MAX, -f32::MAX, 1.0];
        assert_eq!(x.nan_to_num(7.0, None, None).to_vec::<f32>(), Ok(finite.to_vec()), "{device}");
        let given = x.nan_to_num(0.0, Some(2.0), Some(-3.0)).to_vec::<f32>();
        assert_eq!(given, Ok(vec![0.0, 2.0, -3.0, 1.0]), "{device}");
    }
}

#[test]
fn nan_goes_through_where_promised() {
    for device in devices() {
        let x = Tensor::from_slice(&[NAN, 1.0], [2], &device);
        let y = Tensor::from_slice(&[1.0f32, NAN], [2], &device);
        for out in [x.maximum(&y), x.minimum(&y), &x + &y, &x - &y, &x * &y, x.copysign(&y).maximum(&y)] {
            assert!(out.to_vec::<f32>().expect("values").iter().all(|v| v.is_nan()), "{device}");
        }
        for out in [x.relu(), x.abs(), -&x, x.sign(), x.clamp(0.0, 2.0), x.leaky_relu(0.1)] {
            let found = out.to_vec::<f32>().expect("values");
            assert!(found[0].is_nan() && !found[1].is_nan(), "{device}: {found:?}");
        }
        assert_eq!(x.is_nan().to_vec::<bool>(), Ok(vec![true, false]));
    }
}

/// Checks a function of two lists natively against what PyTorch gives.
fn pairs(f: impl Fn(&Tensor, &Tensor) -> Tensor, cases: &[(f32, f32, f32)]) {
    let (a, b): (Vec<f32>, Vec<f32>) = cases.iter().map(|&(a, b, _)| (a, b)).unzip();
    let of = |v: &[f32]| Tensor::from_slice(v, [v.len()], &Device::cpu());
    let found = f(&of(&a), &of(&b)).to_vec::<f32>().expect("values");
    for (&(a, b, expected), found) in cases.iter().zip(found) {
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "{a} and {b} give {found}, should be {expected}");
    }
}

#[test]
fn corners_are_those_of_pytorch() {
    let pi = std::f32::consts::PI;
    pairs(
        |a, b| a.remainder(b),
        &[
            (-1.0, 3.0, 2.0),
            (5.0, -3.0, -1.0),
            (5.5, 2.0, 1.5),
            (1.0, 0.0, NAN),
            (-1.0, INF, INF),
            (INF, 2.0, NAN),
        ],
    );
    pairs(|a, b| a.fmod(b), &[(-5.0, 3.0, -2.0), (5.0, -3.0, 2.0), (1.0, INF, 1.0), (1.0, 0.0, NAN)]);
    pairs(
        |a, b| a.floor_divide(b),
        &[(-7.0, 2.0, -4.0), (7.0, -2.0, -4.0), (0.3, 0.1, 3.0), (1.0, 0.0, INF), (0.0, 0.0, NAN)],
    );
    pairs(|a, b| a.xlogy(b), &[(0.0, 0.0, 0.0), (0.0, NAN, NAN), (2.0, 1.0, 0.0), (1.0, 0.0, -INF)]);
    pairs(|a, b| a.logaddexp(b), &[(-INF, -INF, -INF), (INF, INF, INF), (1e4, -1e4, 1e4), (NAN, 0.0, NAN)]);
    pairs(|a, b| a.copysign(b), &[(1.0, -0.0, -1.0), (-2.0, 3.0, 2.0)]);
    pairs(|a, b| a.atan2(b), &[(0.0, -1.0, pi), (-0.0, -1.0, -pi), (0.0, 0.0, 0.0), (1.0, 0.0, pi / 2.0)]);
    pairs(|a, b| a.pow(b), &[(0.0, 0.0, 1.0), (-2.0, 3.0, -8.0), (-2.0, 0.5, NAN), (2.0, -INF, 0.0)]);
    pairs(|a, b| a.hypot(b), &[(INF, NAN, INF), (3e30, 4e30, 5e30), (0.0, 0.0, 0.0)]);
    pairs(|a, b| a.maximum(b), &[(NAN, 1.0, NAN), (1.0, NAN, NAN), (INF, 1.0, INF)]);
    pairs(|a, _| a.digamma(), &[(0.0, 0.0, -INF), (-1.0, 0.0, NAN), (INF, 0.0, INF)]);
    pairs(|a, _| a.lgamma(), &[(0.0, 0.0, INF), (-1.0, 0.0, INF), (1.0, 0.0, 0.0)]);
    pairs(|a, _| a.erfinv(), &[(1.0, 0.0, INF), (-1.0, 0.0, -INF), (1.5, 0.0, NAN), (0.0, 0.0, 0.0)]);
    pairs(|a, _| a.round(), &[(0.5, 0.0, 0.0), (1.5, 0.0, 2.0), (-2.5, 0.0, -2.0)]);
    pairs(|a, _| a.softplus(), &[(1e4, 0.0, 1e4), (-1e4, 0.0, 0.0)]);
    pairs(|a, _| a.log1p(), &[(1e-10, 0.0, 1e-10), (-1.0, 0.0, -INF), (-2.0, 0.0, NAN)]);
    pairs(|a, _| a.expm1(), &[(1e-10, 0.0, 1e-10), (-INF, 0.0, -1.0)]);
    pairs(|a, b| a.clamp(b, b), &[(NAN, 1.0, NAN), (3.0, 1.0, 1.0)]);
}

/// Values of the literature, to about 12 digits.
#[test]
fn special_functions_have_their_known_values() {
    let euler = 0.577_215_664_901_532_9;
    let (zeta3, pi) = (1.202_056_903_159_594_3, std::f64::consts::PI);
    type Known = (&'static str, Function, f64, f64);
    let known: [Known; 12] = [
        ("digamma", |x| x.digamma(), 1.0, -euler),
        ("digamma", |x| x.digamma(), 0.5, -euler - 2.0 * 2f64.ln()),
        ("digamma", |x| x.digamma(), -0.5, -euler - 2.0 * 2f64.ln() + 2.0),
        ("polygamma 1", |x| x.polygamma(1), 1.0, pi * pi / 6.0),
        ("polygamma 1", |x| x.polygamma(1), 0.5, pi * pi / 2.0),
        ("polygamma 2", |x| x.polygamma(2), 1.0, -2.0 * zeta3),
        ("polygamma 3", |x| x.polygamma(3), 1.0, pi.powi(4) / 15.0),
        ("lgamma", |x| x.lgamma(), 0.5, 0.5 * pi.ln()),
        ("lgamma", |x| x.lgamma(), -0.5, (2.0 * pi.sqrt()).ln()),
        ("lgamma", |x| x.lgamma(), 10.0, 362_880f64.ln()),
        ("erfinv", |x| x.erfinv(), 0.5, 0.476_936_276_204_469_9),
        ("erfinv", |x| x.erfinv(), 0.999, 2.326_753_765_513_525),
    ];
    for device in devices() {
        for (name, f, x, expected) in known {
            let (found, tolerance) = if device.is_cpu() {
                (f(&Tensor::from_slice(&[x], [1], &device)).item::<f64>().expect("a value"), 1e-12)
            } else {
                let x = Tensor::from_slice(&[x as f32], [1], &device);
                (f64::from(f(&x).item::<f32>().expect("a value")), 1e-5)
            };
            assert!(
                (found - expected).abs() <= tolerance * expected.abs(),
                "{name}({x}) is {found} on {device}"
            );
        }
    }
}

/// Errors in f32 relative to the f64 value, over many scales.
#[test]
fn relative_errors_stay_small_on_every_device() {
    let scales = |low: i32, high: i32| -> Vec<f32> {
        (low * 16..high * 16).map(|k| (f64::from(k) / 16.0).exp2() as f32 * 1.003).collect()
    };
    type Measured = (&'static str, Function, fn(f64) -> f64, Vec<f32>, f64);
    let cases: [Measured; 12] = [
        ("log1p", |x| x.log1p(), f64::ln_1p, scales(-40, 30), 1e-6),
        ("log1p of negative numbers", |x| (-x).log1p(), |x| (-x).ln_1p(), scales(-40, -1), 1e-6),
        ("expm1", |x| x.expm1(), f64::exp_m1, scales(-40, 6), 5e-6),
        ("softplus", |x| (-x).softplus(), |x| (-x).exp().ln_1p(), scales(-20, 6), 5e-6),
        ("lgamma", |x| x.lgamma(), libm::lgamma, [scales(-30, -1), scales(2, 60)].concat(), 1e-5),
        ("erfc", |x| x.erfc(), libm::erfc, scales(-30, 3), 1e-5),
        ("sinh", |x| x.sinh(), f64::sinh, scales(-30, 6), 5e-6),
        ("asinh", |x| x.asinh(), f64::asinh, scales(-30, 60), 1e-6),
        ("atan", |x| x.atan(), f64::atan, scales(-30, 60), 1e-6),
        ("asin", |x| x.asin(), f64::asin, scales(-30, -1), 1e-6),
        ("cbrt", |x| x.cbrt(), f64::cbrt, scales(-100, 100), 1e-6),
        ("atanh", |x| x.atanh(), f64::atanh, scales(-30, -1), 1e-6),
    ];
    for device in devices() {
        for (name, f, reference, x, bound) in &cases {
            let found = f(&Tensor::from_slice(x, [x.len()], &device)).to_vec::<f32>().expect("values");
            let error = |(&x, &y): (&f32, &f32)| {
                let exact = reference(f64::from(x));
                ((f64::from(y) - exact) / exact).abs()
            };
            let worst = x.iter().zip(&found).map(error).fold(0.0, f64::max);
            println!("{name} on {}: relative error {worst:.1e}", device.name());
            assert!(worst <= *bound, "{name}: relative error {worst:.1e} on {device}");
        }
    }
}

#[test]
fn derivatives_of_edges_are_finite() {
    let x = Tensor::from_slice(&[-1e4f32, -100.0, 0.0, 100.0, 1e4], [5], &Device::cpu());
    type Slopes = (&'static str, Function, [f32; 5]);
    let functions: [Slopes; 7] = [
        ("softplus", |x| x.softplus(), [0.0, 0.0, 0.5, 1.0, 1.0]),
        ("log_sigmoid", |x| x.log_sigmoid(), [1.0, 1.0, 0.5, 0.0, 0.0]),
        ("elu", |x| x.elu(1.0), [0.0, 0.0, 1.0, 1.0, 1.0]),
        ("celu", |x| x.celu(1.0), [0.0, 0.0, 1.0, 1.0, 1.0]),
        ("softsign", |x| x.softsign(), [1e-8, 1.0 / 10_201.0, 1.0, 1.0 / 10_201.0, 1e-8]),
        ("hardtanh", |x| x.hardtanh(-1.0, 1.0), [0.0, 0.0, 1.0, 0.0, 0.0]),
        ("relu", |x| x.relu(), [0.0, 0.0, 0.0, 1.0, 1.0]),
    ];
    for (name, f, expected) in functions {
        let found = vorpal_autodiff::grad(&x, |x| f(x).sum_all()).expect("a derivative").to_vec::<f32>();
        for (found, expected) in found.expect("values").into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found}, should be {expected}");
        }
    }
    let zero = Tensor::from_slice(&[0.0f64], [1], &Device::cpu());
    let origin = vorpal_autodiff::grad(&zero, |x| x.atan2(x).sum_all()).expect("a derivative");
    assert_eq!(origin.to_vec::<f64>(), Ok(vec![0.0]), "the angle of the origin");
    let slope = |x: &Tensor| vorpal_autodiff::grad(x, |x| x.sinc().sum_all()).unwrap_or_else(Tensor::error);
    let curvature = vorpal_autodiff::grad(&zero, |x| slope(x).sum_all()).expect("a derivative");
    let expected = -std::f64::consts::PI.powi(2) / 3.0;
    assert!((curvature.item::<f64>().expect("a value") - expected).abs() < 1e-12);
}

#[test]
fn integers_wrap_and_divide_by_zero() {
    for device in devices() {
        let a = Tensor::from_slice(&[7i32, -7, i32::MAX, 5, i32::MIN, -8], [6], &device);
        let b = Tensor::from_slice(&[2i32, 2, 1, 0, -1, 3], [6], &device);
        assert_eq!((&a + &b).to_vec::<i32>(), Ok(vec![9, -5, i32::MIN, 5, i32::MAX, -5]));
        assert_eq!((&a / &b).to_vec::<i32>(), Ok(vec![3, -3, i32::MAX, 5, i32::MIN, -2]), "{device}");
        assert_eq!(
            a.floor_divide(&b).to_vec::<i32>(),
            Ok(vec![3, -4, i32::MAX, 5, i32::MIN, -3]),
            "{device}"
        );
        assert_eq!(a.remainder(&b).to_vec::<i32>(), Ok(vec![1, 1, 0, 0, 0, 1]), "{device}");
        assert_eq!(a.fmod(&b).to_vec::<i32>(), Ok(vec![1, -1, 0, 0, 0, -2]), "{device}");
        assert_eq!((-&a).to_vec::<i32>(), Ok(vec![-7, 7, -i32::MAX, -5, i32::MIN, 8]));
        assert_eq!(a.abs().to_vec::<i32>(), Ok(vec![7, 7, i32::MAX, 5, i32::MIN, 8]));
        assert_eq!(a.sign().to_vec::<i32>(), Ok(vec![1, -1, 1, 1, -1, -1]));
        assert_eq!(a.maximum(&b).to_vec::<i32>(), Ok(vec![7, 2, i32::MAX, 5, -1, 3]));
        let natural = Tensor::from_slice(&[7u32, 0, u32::MAX], [3], &device);
        assert_eq!(natural.sign().to_vec::<u32>(), Ok(vec![1, 0, 1]));
        assert_eq!((-&natural).to_vec::<u32>(), Ok(vec![u32::MAX - 6, 0, 1]));
        assert_eq!((&natural - 1).to_vec::<u32>(), Ok(vec![6, u32::MAX, u32::MAX - 1]));
        assert_eq!(natural.remainder(4).to_vec::<u32>(), Ok(vec![3, 0, 3]));
    }
}

#[test]
fn bits_and_long_shifts() {
    for device in devices() {
        let a = Tensor::from_slice(&[1i32, -1, -8, 5, 7], [5], &device);
        let by = Tensor::from_slice(&[31i32, 32, 1, 40, -1], [5], &device);
        assert_eq!(a.left_shift(&by).to_vec::<i32>(), Ok(vec![i32::MIN, 0, -16, 0, 0]), "{device}");
        assert_eq!(a.right_shift(&by).to_vec::<i32>(), Ok(vec![0, -1, -4, 0, 0]), "{device}");
        assert_eq!(a.bitwise_not().to_vec::<i32>(), Ok(vec![-2, 0, 7, -6, -8]), "{device}");
        assert_eq!(a.bitwise_and(6).to_vec::<i32>(), Ok(vec![0, 6, 0, 4, 6]), "{device}");
        let natural = Tensor::from_slice(&[u32::MAX, 12], [2], &device);
        assert_eq!(natural.right_shift(40).to_vec::<u32>(), Ok(vec![0, 0]), "{device}");
        assert_eq!(natural.right_shift(2).to_vec::<u32>(), Ok(vec![u32::MAX >> 2, 3]), "{device}");
        assert_eq!(natural.bitwise_xor(5).to_vec::<u32>(), Ok(vec![u32::MAX - 5, 9]), "{device}");
        assert_eq!(natural.bitwise_not().to_vec::<u32>(), Ok(vec![0, u32::MAX - 12]), "{device}");
    }
    let cpu = Device::cpu();
    let bytes = Tensor::from_slice(&[-128i8, 3], [2], &cpu);
    assert_eq!(bytes.right_shift(8).to_vec::<i8>(), Ok(vec![-1, 0]));
    assert_eq!(bytes.left_shift(7).to_vec::<i8>(), Ok(vec![0, -128]));
    let long = Tensor::from_slice(&[1i64, -1], [2], &cpu);
    assert_eq!(long.left_shift(40).to_vec::<i64>(), Ok(vec![1 << 40, -(1 << 40)]));
}

#[test]
fn operands_that_do_not_fit_say_so() {
    let device = Device::cpu();
    let of = |dtype: DType| Tensor::zeros([3], dtype, &device);
    let message = |x: Tensor| {
        let text = x.eval().expect_err("a misfit").to_string();
        assert!(text.contains("edges.rs:"), "{text}");
        text
    };
    let x = Tensor::zeros([2, 3], DType::F32, &device);
    let error = message((&x + Tensor::zeros([4], DType::F32, &device)).exp().relu());
    assert!(error.contains("add") && error.contains("f32[2, 3]") && error.contains("f32[4]"), "{error}");
    for (bad, name, why) in [
        (of(DType::I32).exp(), "exp", "needs floats, found i32"),
        (of(DType::Bool).is_nan(), "is_nan", "needs floats, found bool"),
        (&of(DType::Bool) + of(DType::Bool), "add", "needs numbers, found bool"),
        (of(DType::F32).bitwise_and(of(DType::I32)), "bitwise_and", "needs integers, found f32"),
        (of(DType::F32).left_shift(2), "left_shift", "needs integers, found f32"),
        (of(DType::Bool).logical_xor(of(DType::I32)), "xor", "needs truth values, found i32"),
        (of(DType::I32).select(x.sum(0), 1), "select", "needs a bool condition, found i32"),
        (of(DType::I64).lgamma(), "lgamma", "needs floats, found i64"),
        (of(DType::I64).polygamma(1), "polygamma", "needs floats, found i64"),
    ] {
        let error = message(bad);
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
    let error = message(Tensor::pointwise(&pointwise::ADD, &[&x]));
    assert!(error.contains("takes 2 operands, given 1"), "{error}");
    if let Ok(other) = Device::software() {
        let error = message(&x + Tensor::zeros([3], DType::F32, &other));
        assert!(error.contains("two devices"), "{error}");
        let error = message(Tensor::zeros([3], DType::F64, &other));
        assert!(error.contains("f64"), "{error}");
    }
}

/// Every function stands once in the table, under a name of its own.
#[test]
fn names_are_their_own() {
    let mut names: Vec<&str> = pointwise::all().map(|f| f.f.name).collect();
    let n = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n);
    for f in pointwise::all() {
        assert_eq!(f.domain.len(), f.f.arity, "{}", f.f.name);
        let flat = matches!(f.f.result, ResultType::Bool);
        assert!(
            !flat || matches!(f.accepts, Accepts::Any | Accepts::Bool | Accepts::Number | Accepts::Float)
        );
    }
}
