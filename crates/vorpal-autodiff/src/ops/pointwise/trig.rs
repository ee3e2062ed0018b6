//! Circular and hyperbolic functions of floats and their inverses.

use vorpal_kernels::shaders::ELEMENTARY;
use vorpal_kernels::{LaneMut, elementary, map1, map2};

use super::float::dispatch;
use super::{ADD, MUL, Real, binary_methods, pointwise_table, unary_methods};

pointwise_table! { TRIGONOMETRY, Real, Float, Last, dispatch;
    /// Sine.
    SIN "sin" (a) = a.sin();
    near: elementary::sin_near, wgsl: "sine(a)", support: ELEMENTARY, flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].cos())];

    /// Cosine.
    COS "cos" (a) = a.cos();
    near: elementary::cos_near, wgsl: "cos(a)", flops: 8, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(-(v.grad * v.inputs[0].sin()))];

    /// Tangent.
    TAN "tan" (a) = a.tan();
    wgsl: "tangent(a)", support: ELEMENTARY, flops: 16, on: [(-1.2, 1.2)],
    vjp: |v| vec![Some(v.grad + v.grad * (v.output * v.output))];

    /// Arc sine.
    ASIN "asin" (a) = a.asin();
    wgsl: "arc_sine(a)", support: ELEMENTARY, flops: 30, on: [(-0.9, 0.9)],
    vjp: |v| vec![Some(v.grad * one_minus_square(&v.inputs[0]).rsqrt())];

    /// Arc cosine.
    ACOS "acos" (a) = a.acos();
    wgsl: "arc_cosine(a)", support: ELEMENTARY, flops: 30, on: [(-0.9, 0.9)],
    vjp: |v| vec![Some(-(v.grad * one_minus_square(&v.inputs[0]).rsqrt()))];

    /// Arc tangent.
    ATAN "atan" (a) = a.atan();
    wgsl: "arc_tangent(a)", support: ELEMENTARY, flops: 24, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad / v.inputs[0].square().with_constant(&ADD, 1.0))];

    /// Angle of the point (b, a) in −π..=π; signs of zeros count.
    ATAN2 "atan2" (a, b) = a.atan2(b);
    wgsl: "arc_tangent_2(a, b)", support: ELEMENTARY, flops: 26, on: [(-2.0, 2.0), (0.3, 2.0)],
    vjp: |v| {
        let (y, x) = (&v.inputs[0], &v.inputs[1]);
        let (square, zero) = (x.square() + y.square(), v.grad.full_like(0.0));
        // At the origin there is no direction: 0, as in PyTorch.
        let over = square.eq(&zero).select(&zero, v.grad / square);
        vec![Some(&over * x), Some(-(over * y))]
    };

    /// Hyperbolic sine.
    SINH "sinh" (a) = a.sinh();
    wgsl: "sine_hyperbolic(a)", support: ELEMENTARY, flops: 24, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].cosh())];

    /// Hyperbolic cosine.
    COSH "cosh" (a) = a.cosh();
    wgsl: "cosine_hyperbolic(a)", support: ELEMENTARY, flops: 12, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].sinh())];

    /// Hyperbolic tangent.
    TANH "tanh" (a) = a.tanh();
    wgsl: "tangent_hyperbolic(a)", support: ELEMENTARY, flops: 16, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad - v.grad * (v.output * v.output))];

    /// Inverse hyperbolic sine.
    ASINH "asinh" (a) = a.asinh();
    wgsl: "area_sine(a)", support: ELEMENTARY, flops: 30, on: [(-2.0, 2.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].square().with_constant(&ADD, 1.0).rsqrt())];

    /// Inverse hyperbolic cosine.
    ACOSH "acosh" (a) = if a < T::lit(1.0) { T::lit(f64::NAN) } else { a.acosh() };
    wgsl: "area_cosine(a)", support: ELEMENTARY, flops: 30, on: [(1.3, 3.0)],
    vjp: |v| vec![Some(v.grad * v.inputs[0].square().with_constant(&ADD, -1.0).rsqrt())];

    /// Inverse hyperbolic tangent.
    ATANH "atanh" (a) = a.atanh();
    wgsl: "area_tangent(a)", support: ELEMENTARY, flops: 24, on: [(-0.8, 0.8)],
    vjp: |v| vec![Some(v.grad / one_minus_square(&v.inputs[0]))];
}

/// 1 − x², whose factors stay exact near ±1.
fn one_minus_square(x: &crate::Tensor) -> crate::Tensor {
    x.with_constant(&ADD, 1.0) * x.with_constant(&MUL, -1.0).with_constant(&ADD, 1.0)
}

unary_methods! {
    /// Sine.
    sin SIN;
    /// Cosine.
    cos COS;
    /// Tangent.
    tan TAN;
    /// Arc sine, in −π∕2..=π∕2; NaN outside of −1..=1.
    asin ASIN;
    /// Arc cosine, in 0..=π; NaN outside of −1..=1.
    acos ACOS;
    /// Arc tangent, in −π∕2..=π∕2.
    atan ATAN;
    /// Hyperbolic sine.
    sinh SINH;
    /// Hyperbolic cosine.
    cosh COSH;
    /// Hyperbolic tangent.
    tanh TANH;
    /// Inverse hyperbolic sine.
    asinh ASINH;
    /// Inverse hyperbolic cosine; NaN below 1.
    acosh ACOSH;
    /// Inverse hyperbolic tangent; NaN outside of −1..=1.
    atanh ATANH;
}

binary_methods! {
    /// Angle of the point (`other`, `self`) in −π..=π; operands broadcast, signs of zeros count.
    atan2 ATAN2;
}
