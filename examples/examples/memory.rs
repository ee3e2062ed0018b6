//! A Hopfield memory (Ramsauer et al. 2021) completes digits it is shown the upper half of: `memory.png` holds the
//! halves, and below them what came to mind.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::data::{Digits, PIXELS};
use vorpal::nn::plot::image_grid;
use vorpal::prelude::*;
use vorpal::zoo::memory::retrieve;

fn main() -> Result<()> {
    let device = Device::best()?;
    let (digits, _) = Digits::embedded()?;
    let stored = 2000;
    let pixels: Vec<f32> =
        digits.images[..stored * PIXELS].iter().map(|&p| f32::from(p) / 127.5 - 1.0).collect();
    let memory = Tensor::from_slice(&pixels, [stored, PIXELS], &device);
    // Nothing is known of the lower half.
    let shown = memory.narrow(0, 0, 16).narrow(1, 0, PIXELS / 2).pad(1, 0, PIXELS / 2, 0.0);
    let found = retrieve(&shown, &memory, 0.5, 2);
    let missed = (&found - memory.narrow(0, 0, 16)).abs().mean_all().item::<f32>()?;
    println!("{stored} digits in memory; the mean error of a completed pixel is {missed:.5}");
    let pictures = (Tensor::concat(&[&shown, &found], 0) + 1.0) * 0.5;
    std::fs::write("memory.png", image_grid(&pictures.reshape([32, 1, 28, 28]), 16, 2)?)
        .map_err(|e| Error::io(std::path::Path::new("memory.png"), &e))?;
    Ok(())
}
