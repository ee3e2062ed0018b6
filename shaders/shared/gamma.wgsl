// The gamma function's logarithm and its derivatives. Relative errors in f32 are below 1e-5 away from zeros.

fn gamma_log1p(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let q = s * s;
    return 2.0 * s * (1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * (0.11111111 + q * 0.09090909)))));
}

// Sine of angles up to a right one: the Taylor series. The builtin's error is absolute.
fn gamma_sine(x: f32) -> f32 {
    let s = x * x;
    return x * (1.0 + s * (-0.16666667 + s * (0.008333334 + s * (-0.0001984127 + s * (2.7557319e-6
        + s * (-2.5052108e-8 + s * 1.6059044e-10))))));
}

// log Gamma(2 + z) for |z| up to one half: the Taylor series, whose coefficients are (zeta(k) - 1) / k.
fn lgamma_near_two(z: f32) -> f32 {
    return z * (0.42278433 + z * (0.32246703 + z * (-0.06735230 + z * (0.02058081 + z * (-0.00738555 + z * (0.00289051
        + z * (-0.00119275 + z * (0.00050967 + z * (-0.00022315 + z * (0.00009946 + z * -0.00004493))))))))));
}

fn lgamma_positive(x: f32) -> f32 {
    if x >= 8.0 {
        let r = 1.0 / x;
        let s = r * r;
        return (x - 0.5) * (log(x) - 1.0) + 0.41893853 + r * (0.083333336 + s * (-0.0027777778 + s * 0.0007936508));
    }
    if x > 2.5 {
        var y = x;
        var product = 1.0;
        for (var k = 0u; k < 8u && y > 2.5; k++) {
            y -= 1.0;
            product *= y;
        }
        return lgamma_near_two(y - 2.0) + log(product);
    }
    if x >= 1.5 {
        return lgamma_near_two(x - 2.0);
    }
    if x >= 0.5 {
        return lgamma_near_two(x - 1.0) - gamma_log1p(x - 1.0);
    }
    return lgamma_near_two(x) - gamma_log1p(x) - log(x);
}

// Negative numbers by reflection.
fn lgamma(x: f32) -> f32 {
    if x > 0.0 {
        return lgamma_positive(x);
    }
    return log(3.1415927 / gamma_sine(3.1415927 * abs(x - round(x)))) - lgamma_positive(1.0 - x);
}

fn digamma_positive(start: f32) -> f32 {
    var x = start;
    var y = 0.0;
    for (var k = 0u; k < 8u && x < 6.0; k++) {
        y -= 1.0 / x;
        x += 1.0;
    }
    let s = 1.0 / (x * x);
    return y + log(x) - 0.5 / x - s * (0.083333336 - s * (0.008333334 - s * (0.003968254 - s * 0.004166667)));
}

fn digamma(x: f32) -> f32 {
    if x > 0.0 {
        return digamma_positive(x);
    }
    let angle = 3.1415927 * (x - round(x));
    return digamma_positive(1.0 - x) - 3.1415927 * gamma_sine(1.5707964 - abs(angle)) / gamma_sine(angle);
}

// x to the power -n.
fn inverse_power(x: f32, n: u32) -> f32 {
    let r = 1.0 / x;
    var y = r;
    for (var k = 1u; k < n; k++) {
        y *= r;
    }
    return y;
}

// Derivative number n (0 to 20) of digamma: a sum over x, x + 1, … until the Euler-Maclaurin formula holds.
fn polygamma(order: f32, x: f32) -> f32 {
    let n = u32(clamp(round(order), 0.0, 20.0));
    if n == 0u {
        return digamma(x);
    }
    let s = n + 1u;
    let far = 8.0 + f32(s);
    var a = x;
    var sum = 0.0;
    for (var k = 0u; k < 256u && a < far; k++) {
        sum += inverse_power(a, s);
        a += 1.0;
    }
    let p = inverse_power(a, s);
    let w = 1.0 / (a * a);
    let m = f32(s);
    let tail = (m + 1.0) * (m + 2.0) * w;
    sum += p * (a / (m - 1.0) + 0.5 + m / a * (0.083333336 - tail * (0.0013888889
        - (m + 3.0) * (m + 4.0) * w * (0.000033068783 - (m + 5.0) * (m + 6.0) * w * 8.2671957e-7))));
    for (var k = 2u; k <= n; k++) {
        sum *= f32(k);
    }
    return select(-sum, sum, n % 2u == 1u);
}
