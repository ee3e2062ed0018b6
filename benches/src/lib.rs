//! Benchmarks of Vorpal.
