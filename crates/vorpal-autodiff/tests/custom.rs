//! Derivatives that the user gives, gradients that stop, equations solved by iteration.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, check_derivatives, devices};
use vorpal_autodiff::{
    Device, Error, FixedPointOptions, Result, Tensor, custom_jvp, custom_vjp, fixed_point, grad, jvp,
    value_and_grad, vmap,
};

/// x y² with its derivative written out.
fn by_vjp(x: &Tensor, y: &Tensor) -> Tensor {
    custom_vjp(
        &[x, y],
        |v| &v[0] * v[1].square(),
        |v, _, g| vec![Some(g * v[1].square()), Some(g * &v[0] * &v[1] * 2.0)],
    )
}

/// The same forwards.
fn by_jvp(x: &Tensor, y: &Tensor) -> Tensor {
    custom_jvp(
        &[x, y],
        |v| &v[0] * v[1].square(),
        |v, _, t| v[1].square() * &t[0] + &v[0] * &v[1] * &t[1] * 2.0,
    )
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_vec::<f64>().expect("values")
}

fn close(a: &Tensor, b: &Tensor, what: &str) {
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len(), "{what}");
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + b.abs())), "{what}: {a:?} {b:?}");
}

#[test]
fn rules_match_differences_and_compose() {
    let mut random = Random::new(1);
    let (x, y) = (random.tensor(&[3], -1.0, 1.0), random.tensor(&[3], -1.0, 1.0));
    let rows = random.tensor(&[4, 3], -1.0, 1.0);
    for (name, f) in [("custom_vjp", by_vjp as fn(&Tensor, &Tensor) -> Tensor), ("custom_jvp", by_jvp)] {
        check_derivatives(name, &[x.clone(), y.clone()], |v| f(&v[0], &v[1]));
        let plain = |x: &Tensor, y: &Tensor| x * y.square();
        let (_, found) =
            jvp(&(x.clone(), y.clone()), &(y.clone(), x.clone()), |(x, y)| f(x, y)).expect("tangents");
        let (_, expected) =
            jvp(&(x.clone(), y.clone()), &(y.clone(), x.clone()), |(x, y)| plain(x, y)).expect("tangents");
        close(&found, &expected, name);
        // Gradients of every example, and of what the examples share.
        let each = |f: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            vmap(&rows, 0, |r| grad(r, |r| f(r, &y).sin().sum_all())).expect("gradients")
        };
        close(&each(&f), &each(&plain), name);
        let shared = |f: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            grad(&y, |y| vmap(&rows, 0, |r| f(r, y).sin()).map_or_else(Tensor::error, |z| z.sum_all()))
        };
        close(&shared(&f).expect("a gradient"), &shared(&plain).expect("a gradient"), name);
    }
}

#[test]
fn the_given_rule_is_what_counts() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, -2.0], [2], &device);
        let odd = |x: &Tensor| custom_vjp(&[x], |x| x[0].exp(), |_, _, g| vec![Some(g * 7.0)]);
        let g = grad(&x, |x| odd(x).sum_all()).expect("a gradient");
        assert_eq!(g.to_vec::<f32>(), Ok(vec![7.0, 7.0]), "{device}");
        let none = |x: &Tensor| custom_vjp(&[x], |x| x[0].exp(), |_, _, _| vec![None]);
        let g = grad(&x, |x| none(x).sum_all()).expect("a gradient");
        assert_eq!(g.to_vec::<f32>(), Ok(vec![0.0, 0.0]), "{device}");
    }
}

#[test]
fn gradients_stop() {
    for device in devices() {
        let x = Tensor::from_slice(&[2.0f32, 3.0], [2], &device);
        let (value, g) = value_and_grad(&x, |x| (x * x.stop_gradient()).sum_all()).expect("a gradient");
        assert_eq!((value.item::<f32>(), g.to_vec::<f32>()), (Ok(13.0), Ok(vec![2.0, 3.0])), "{device}");
        let second = grad(&x, |x| {
            grad(x, |x| (x.square() * x.stop_gradient()).sum_all())
                .map_or_else(Tensor::error, |g| g.sum_all())
        });
        // The first derivative is 2 x s, of which s is constant for the second, too.
        assert_eq!(second.expect("a gradient").to_vec::<f32>(), Ok(vec![4.0, 6.0]), "{device}");
    }
}

#[test]
fn rules_that_do_not_fit_are_errors() {
    let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
    let message =
        |f: &dyn Fn(&Tensor) -> Tensor| grad(&x, |x| f(x).sum_all()).expect_err("an error").to_string();
    let found = message(&|x| custom_vjp(&[x], |x| x[0].exp(), |_, _, _| vec![]));
    assert!(
        found.contains("the rule gave 0 cotangents for 1 inputs") && found.contains("tests/custom.rs:"),
        "{found}"
    );
    let found = message(&|x| custom_vjp(&[x], |x| x[0].exp(), |_, _, g| vec![Some(g.sum_all())]));
    assert!(found.contains("custom_vjp: cotangent 0 must have shape and dtype of its input"), "{found}");
    assert!(found.contains("(operands f32[], f32[2])") && found.contains("tests/custom.rs:"), "{found}");
    let found = message(&|x| custom_jvp(&[x], |x| x[0].exp(), |_, _, t| t[0].sum_all()));
    assert!(found.contains("custom_jvp: the tangent must have shape and dtype of the value"), "{found}");
    assert!(found.contains("tests/custom.rs:"), "{found}");
}

/// A contraction: x = tanh(W x ∕ 3 + b).
fn layer(x: &Tensor, (w, b): &(Tensor, Tensor)) -> Tensor {
    (w.matmul(x) * (1.0 / 3.0) + b).tanh()
}

const TIGHT: FixedPointOptions =
    FixedPointOptions { tolerance: 1e-13, iterations_max: 500, derivative_terms: None };

fn equilibrium(params: &(Tensor, Tensor), options: FixedPointOptions) -> Tensor {
    let start = Tensor::from_slice(&[0.0f64; 3], [3], &Device::cpu());
    fixed_point(&start, params, options, layer).into()
}

#[test]
fn solutions_have_the_derivatives_of_the_equation() {
    let mut random = Random::new(2);
    let params = (random.tensor(&[3, 3], -1.0, 1.0), random.tensor(&[3], -1.0, 1.0));
    let x = equilibrium(&params, TIGHT);
    close(&x, &layer(&x, &params), "the equation");
    check_derivatives("fixed_point", &[params.0.clone(), params.1.clone()], |v| {
        equilibrium(&(v[0].clone(), v[1].clone()), TIGHT)
    });
    let unrolled = |p: &(Tensor, Tensor)| (0..60).fold(p.1.full_like(0.0), |x, _| layer(&x, p));
    let expected = grad(&params, |p| unrolled(p).sin().sum_all()).expect("a gradient");
    for terms in [None, Some(60)] {
        let options = FixedPointOptions { derivative_terms: terms, ..TIGHT };
        let found = grad(&params, |p| equilibrium(p, options).sin().sum_all()).expect("a gradient");
        close(&found.0, &expected.0, "weights");
        close(&found.1, &expected.1, "bias");
    }
    let direction = (random.tensor(&[3, 3], -1.0, 1.0), random.tensor(&[3], -1.0, 1.0));
    let (_, found) = jvp(&params, &direction, |p| equilibrium(p, TIGHT)).expect("a tangent");
    let (_, expected) = jvp(&params, &direction, unrolled).expect("a tangent");
    close(&found, &expected, "jvp");
}

#[test]
fn solutions_on_every_device() {
    for device in devices() {
        let a = Tensor::from_slice(&[4.0f32, 9.0], [2], &device);
        let solve = |a: &Tensor| -> Result<Tensor> {
            fixed_point(&a.full_like(1.0), a, FixedPointOptions::default(), |x, a| (x + a / x) * 0.5)
        };
        let g = grad(&a, |a| Tensor::from(solve(a)).sum_all())
            .expect("a gradient")
            .to_vec::<f32>()
            .expect("values");
        assert!((g[0] - 0.25).abs() < 1e-5 && (g[1] - 1.0 / 6.0).abs() < 1e-5, "{device}: {g:?}");
    }
}

#[test]
fn equations_that_do_not_settle_are_errors() {
    let one = Tensor::from_item(1.0f32, &Device::cpu());
    let few = FixedPointOptions { iterations_max: 7, ..FixedPointOptions::default() };
    let error = fixed_point(&one, &one, few, |x, one| one - x).expect_err("it swings");
    assert!(
        matches!(error, Error::Convergence { iterations: 7, residual, .. } if residual >= 0.5),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("fixed_point: not settled after 7 iterations") && text.contains("tests/custom.rs:"),
        "{text}"
    );
    let error = fixed_point(&one, &one, few, |x, _| x.reshape([1])).expect_err("another shape");
    assert!(error.to_string().contains("fixed_point: a step must keep shape and dtype"), "{error}");
    let many = Tensor::from_slice(&[1.0f32, 2.0], [2], &Device::cpu());
    let inside = vmap(&many, 0, |a| fixed_point(&one, a, few, |x, a| (x + a / x) * 0.5));
    assert!(matches!(inside, Err(Error::Argument { .. })), "{inside:?}");
}
