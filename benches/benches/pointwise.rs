//! Fused pointwise expressions.

mod family;

fn main() -> Result<(), vorpal::Error> {
    family::run("pointwise", &["chain_4m"])
}
