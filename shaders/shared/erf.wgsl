// Error functions: the Maclaurin series near zero, the Chebyshev fit of erfc of Numerical Recipes beyond (relative
// error 1.2e-7 before rounding), the inverse by the polynomials of Giles 2010.

// erfc of positive numbers.
fn erfc_positive(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    return t * exp(p - min(z * z, 120.0));
}

fn erf(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    if a < 1.0 {
        let p = 1.0 + s * (-0.33333334 + s * (0.1 + s * (-0.023809524 + s * (0.0046296297
            + s * (-0.00075757573 + s * (0.00010683761 + s * (-0.000013227513
            + s * (0.0000014589170 + s * (-0.00000014503852)))))))));
        return 1.1283792 * x * p;
    }
    let y = 1.0 - erfc_positive(a);
    return select(y, -y, x < 0.0);
}

fn erfc(x: f32) -> f32 {
    if x < 0.5 && x > -1.0 {
        return 1.0 - erf(x);
    }
    let tail = erfc_positive(abs(x));
    return select(tail, 2.0 - tail, x < 0.0);
}

fn erfinv(x: f32) -> f32 {
    let w = -log((1.0 - x) * (1.0 + x));
    if w < 5.0 {
        let v = w - 2.5;
        return x * (1.50140941 + v * (0.246640727 + v * (-0.00417768164 + v * (-0.00125372503 + v * (0.00021858087
            + v * (-4.39150654e-6 + v * (-3.5233877e-6 + v * (3.43273939e-7 + v * 2.81022636e-8))))))));
    }
    let v = sqrt(w) - 3.0;
    return x * (2.83297682 + v * (1.00167406 + v * (0.00943887047 + v * (-0.0076224613 + v * (0.00573950773
        + v * (-0.00367342844 + v * (0.00134934322 + v * (0.000100950558 + v * -0.000200214257))))))));
}
