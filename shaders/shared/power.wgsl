// pow for every base: WGSL leaves negative bases undefined.
fn power(x: f32, y: f32) -> f32 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    let p = pow(abs(x), y);
    if x >= 0.0 {
        return p;
    }
    let whole = floor(y) == y;
    let odd = whole && (floor(y * 0.5) * 2.0 != y);
    // The logarithm of a negative number is the way to a NaN.
    return select(select(log(x), p, whole), -p, odd);
}
