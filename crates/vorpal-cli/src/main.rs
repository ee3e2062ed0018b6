//! The vorpal program.

fn main() {}
