//! Every op, family by family, through one harness; and the table of `docs/ops.md`, which lists what it checks.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

mod attention;
#[path = "../../../vorpal-kernels/tests/common/shader.rs"]
mod check_shader;
#[path = "../common/mod.rs"]
mod common;
mod composite;
mod conv;
mod create;
mod edges;
mod einsum;
mod fft;
mod harness;
mod index;
mod interpolate;
mod keyed;
mod linalg;
mod matmul;
mod movement;
mod pointwise;
mod pool;
mod reduce;
mod scan;
mod segment;
mod sort;
mod sparse;
mod table;
mod window;

use harness::{Case, check};

#[test]
fn attentions() {
    check(&attention::cases());
    attention::misfits();
}

#[test]
fn fourier_transforms() {
    check(&fft::cases());
    fft::misfits();
}

#[test]
fn linear_algebra() {
    check(&linalg::cases());
    linalg::misfits();
}

#[test]
fn composites() {
    check(&composite::cases());
    composite::edges();
    composite::misfits();
}

#[test]
fn contractions() {
    check(&einsum::cases());
    einsum::misfits();
}

#[test]
fn creation() {
    check(&create::cases());
    create::ranges();
    create::misfits();
    create::numbers_that_are_no_class();
}

#[test]
fn interpolations() {
    check(&interpolate::cases());
    interpolate::published();
    interpolate::weights_add_up_to_one();
    interpolate::misfits();
}

#[test]
fn movements() {
    check(&movement::cases());
    movement::misfits();
}

#[test]
fn numbers_from_keys() {
    check(&keyed::cases());
}

#[test]
fn picking_and_adding() {
    check(&index::cases());
    index::misfits();
}

#[test]
fn pointwise_composites() {
    check(&pointwise::composites());
}

#[test]
fn pointwise_functions_of_floats() {
    check(&pointwise::entries(true));
}

#[test]
fn pointwise_functions_of_others() {
    check(&pointwise::entries(false));
}

#[test]
fn products() {
    check(&matmul::cases());
    matmul::misfits();
}

#[test]
fn reductions() {
    check(&reduce::cases());
    reduce::products_with_zeros();
    reduce::bytes_are_multiplied_in_32_bits();
    reduce::misfits();
}

#[test]
fn windows() {
    check(&window::cases());
    window::long_signals();
    window::misfits();
}

#[test]
fn convolutions() {
    check(&conv::cases());
}

#[test]
fn poolings() {
    check(&pool::cases());
}

#[test]
fn scans() {
    check(&scan::cases());
    scan::misfits();
}

#[test]
fn segments() {
    check(&segment::cases());
    segment::edges();
    segment::misfits();
}

#[test]
fn sorting() {
    check(&sort::cases());
    sort::edges();
    sort::few();
    sort::misfits();
}

#[test]
fn sparse_matrices() {
    check(&sparse::cases());
    sparse::graph_convolution();
    sparse::misfits();
}

/// Every family with its cases, as the table lists them.
fn families() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("Making tensors", create::cases()),
        ("Random numbers from keys", keyed::cases()),
        ("Functions of floats", pointwise::entries(true)),
        ("Functions of integers and truth values", pointwise::entries(false)),
        ("Pointwise composites", pointwise::composites()),
        ("Movement", movement::cases()),
        ("Windows", window::cases()),
        ("Reductions", reduce::cases()),
        ("Composites", composite::cases()),
        ("Matrix products", matmul::cases()),
        ("Contractions", einsum::cases()),
        ("Linear algebra", linalg::cases()),
        ("Fourier transforms", fft::cases()),
        ("Convolution", conv::cases()),
        ("Pooling", pool::cases()),
        ("Interpolation", interpolate::cases()),
        ("Attention", attention::cases()),
        ("Picking and adding by number", index::cases()),
        ("Segments and scatter", segment::cases()),
        ("Sparse matrices", sparse::cases()),
        ("Scans", scan::cases()),
        ("Sorting", sort::cases()),
    ]
}

#[test]
fn table() {
    table::check(&families());
}
