//! Every model of the zoo: what all are held to, and what makes each of them what it is.

#![allow(clippy::expect_used)]

mod beyond;
mod causal;
mod conv;
mod dense;
mod forecast;
mod generative;
mod graph;
mod harness;
mod linear;
mod memory;
mod recurrent;
mod symmetry;
mod transformer;
