//! Complex numbers as pairs of tensors.

use vorpal_nn::Tensor;

/// Real and imaginary part.
pub(super) type Pair = [Tensor; 2];

/// The product.
#[track_caller]
pub(super) fn times(a: &Pair, b: &Pair) -> Pair {
    [&a[0] * &b[0] - &a[1] * &b[1], &a[0] * &b[1] + &a[1] * &b[0]]
}

/// e to the power of it.
#[track_caller]
pub(super) fn exp(a: &Pair) -> Pair {
    let size = a[0].exp();
    [&size * a[1].cos(), &size * a[1].sin()]
}

/// Both parts by a function.
pub(super) fn both(a: &Pair, f: impl Fn(&Tensor) -> Tensor) -> Pair {
    [f(&a[0]), f(&a[1])]
}
