//! The lazy tensor graph of Vorpal: ops, derivatives, compiler and executor.

pub mod compile;
