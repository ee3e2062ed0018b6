// Functions that WGSL has not, or has with errors too large near zero or at large arguments. Relative errors are a few
// roundings of f32.

// The builtin is right to an absolute error only, and devices take small angles for 0: there the Taylor series.
fn sine(x: f32) -> f32 {
    if abs(x) < 1.0 {
        let s = x * x;
        return x * (1.0 + s * (-0.16666667 + s * (0.008333334 + s * (-0.0001984127 + s * 2.7557319e-6))));
    }
    return sin(x);
}

fn tangent(x: f32) -> f32 {
    if abs(x) < 0.5 {
        let s = x * x;
        return sine(x) / (1.0 + s * (-0.5 + s * (0.041666668 + s * (-0.0013888889 + s * 0.000024801588))));
    }
    return tan(x);
}

// log(1 + x): the series of artanh near zero, where the sum would round x away.
fn log1p(x: f32) -> f32 {
    if x > -0.4 && x < 1.0 {
        let s = x / (2.0 + x);
        let q = s * s;
        let p = 1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * (0.11111111 + q * (0.09090909
            + q * (0.07692308 + q * 0.06666667))))));
        return 2.0 * s * p;
    }
    return log(1.0 + x);
}

// exp(x) - 1: the series of exp near zero.
fn expm1(x: f32) -> f32 {
    if abs(x) < 0.5 {
        return x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * (0.0013888889
            + x * (0.0001984127 + x * 0.000024801588)))))));
    }
    return exp(x) - 1.0;
}

fn log_add_exp(a: f32, b: f32) -> f32 {
    let high = max(a, b);
    let low = min(a, b);
    if high == low {
        return high + 0.6931472;
    }
    return high + log1p(exp(low - high));
}

// Root of the sum of squares, without overflow on the way.
fn hypotenuse(a: f32, b: f32) -> f32 {
    let high = max(abs(a), abs(b));
    let low = min(abs(a), abs(b));
    if high == 0.0 {
        return 0.0;
    }
    let r = low / high;
    return high * sqrt(1.0 + r * r);
}

// Cube root: a power, made better by one step of Newton. Small numbers are worked on 2^24 times larger, zero stays.
fn cube_root(x: f32) -> f32 {
    let small = abs(x) < 1e-30;
    let a = select(abs(x), abs(x) * 16777216.0, small);
    if a == 0.0 {
        return x;
    }
    let r = pow(a, 0.33333334);
    let better = (r - (r - a / (r * r)) * 0.33333334) * select(1.0, 0.00390625, small);
    return select(better, -better, x < 0.0);
}

fn sine_hyperbolic(x: f32) -> f32 {
    let a = abs(x);
    let e = expm1(min(a, 80.0));
    let y = select(0.5 * (e + e / (e + 1.0)), exp(a - 0.6931472), a > 80.0);
    return select(y, -y, x < 0.0);
}

fn cosine_hyperbolic(x: f32) -> f32 {
    let a = abs(x);
    let e = exp(min(a, 80.0));
    return select(0.5 * (e + 1.0 / e), exp(a - 0.6931472), a > 80.0);
}

// The result is 1 in f32 from 15 on.
fn tangent_hyperbolic(x: f32) -> f32 {
    let e = expm1(2.0 * min(abs(x), 15.0));
    let y = e / (e + 2.0);
    return select(y, -y, x < 0.0);
}

fn area_sine(x: f32) -> f32 {
    let a = abs(x);
    let s = min(a, 1e9);
    let y = select(log1p(s + s * s / (1.0 + sqrt(1.0 + s * s))), log(a) + 0.6931472, a > 1e8);
    return select(y, -y, x < 0.0);
}

fn area_cosine(x: f32) -> f32 {
    let t = min(x, 1e9) - 1.0;
    return select(log1p(t + sqrt(t * (t + 2.0))), log(x) + 0.6931472, x > 1e8);
}

fn area_tangent(x: f32) -> f32 {
    let a = abs(x);
    let y = 0.5 * log1p(2.0 * a / (1.0 - a));
    return select(y, -y, x < 0.0);
}

// Arc tangent of 0 to 1: beyond tan(pi / 8) around pi / 4, then the Taylor series.
fn arc_of_octant(t: f32) -> f32 {
    let far = t > 0.41421357;
    let u = select(t, (t - 1.0) / (t + 1.0), far);
    let q = u * u;
    let p = 1.0 + q * (-0.33333334 + q * (0.2 + q * (-0.14285715 + q * (0.11111111 + q * (-0.09090909
        + q * (0.07692308 + q * (-0.06666667 + q * 0.05882353)))))));
    return select(0.0, 0.7853982, far) + u * p;
}

fn arc_tangent(x: f32) -> f32 {
    let a = abs(x);
    let r = select(arc_of_octant(min(a, 1.0)), 1.5707964 - arc_of_octant(1.0 / max(a, 1.0)), a > 1.0);
    return select(r, -r, x < 0.0);
}

// Angle of the point (x, y); signs of zeros count.
fn arc_tangent_2(y: f32, x: f32) -> f32 {
    let ax = abs(x);
    let ay = abs(y);
    let high = max(ax, ay);
    let low = min(ax, ay);
    var r = arc_of_octant(select(low / high, 0.0, high == 0.0));
    r = select(r, 1.5707964 - r, ay > ax);
    r = select(r, 3.1415927 - r, (bitcast<u32>(x) >> 31u) == 1u);
    return select(r, -r, (bitcast<u32>(y) >> 31u) == 1u);
}

fn arc_sine(x: f32) -> f32 {
    return 2.0 * arc_tangent(x / (1.0 + sqrt((1.0 - x) * (1.0 + x))));
}

fn arc_cosine(x: f32) -> f32 {
    return 2.0 * arc_tangent_2(sqrt(1.0 - x), sqrt(1.0 + x));
}
