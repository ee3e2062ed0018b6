//! Attention.

mod family;

fn main() -> Result<(), vorpal::Error> {
    family::run("attention", &["attention_512", "attention_4096"])
}
