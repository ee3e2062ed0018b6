// Error function, absolute error below 3e-7: the Maclaurin series near zero, the rational
// approximation 7.1.26 of Abramowitz and Stegun beyond.
fn erf(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    if a < 1.0 {
        let p = 1.0 + s * (-0.33333334 + s * (0.1 + s * (-0.023809524 + s * (0.0046296297
            + s * (-0.00075757573 + s * (0.00010683761 + s * (-0.000013227513
            + s * (0.0000014589170 + s * (-0.00000014503852)))))))));
        return 1.1283792 * x * p;
    }
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let q = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741
        + t * (-1.453152027 + t * 1.061405429))));
    let y = 1.0 - q * exp(-min(s, 87.0));
    return select(y, -y, x < 0.0);
}
