//! Every op, family by family, through one harness; and the table of `docs/ops.md`, which lists what it checks.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

#[path = "../../../vorpal-kernels/tests/common/shader.rs"]
mod check_shader;
#[path = "../common/mod.rs"]
mod common;
mod harness;
mod index;
mod keyed;
mod matmul;
mod reduce;

use harness::check;

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
fn products() {
    check(&matmul::cases());
    matmul::misfits();
}

#[test]
fn reductions() {
    check(&reduce::cases());
}
