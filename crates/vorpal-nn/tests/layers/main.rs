//! Every layer against PyTorch: results, derivatives, buffers.

#![allow(clippy::expect_used, clippy::panic)]

mod attention;
mod harness;
mod others;
mod plain;
mod recurrent;
mod wrong;
