//! What goes over rows: normalisations and sums.

mod family;

fn main() -> Result<(), vorpal::Error> {
    family::run("rows", &["softmax", "layer_norm", "sum", "sum_rows"])
}
