//! Steps of trainings.

mod family;

fn main() -> Result<(), vorpal::Error> {
    family::run("steps", &["mlp_step", "cnn_step", "gpt_step", "resnet18_step", "lstm_step"])
}
