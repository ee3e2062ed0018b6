//! Convolutions.

mod family;

fn main() -> Result<(), vorpal::Error> {
    family::run("conv", &["conv", "resnet_block"])
}
