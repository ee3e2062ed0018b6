//! A small U-Net (Ronneberger, Fischer & Brox 2015) finds the strokes of digits under noise and lines: `strokes.png` holds
//! pictures, what it found, and the strokes themselves.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::data::Digits;
use vorpal::nn::plot::image_grid;
use vorpal::prelude::*;
use vorpal::zoo::conv::{UNet, UNetOptions};
use vorpal::zoo::data::NoisyStrokes;

fn main() -> Result<()> {
    let device = Device::best()?;
    let (digits, unseen) = Digits::embedded()?;
    let digits = DataLoader::builder(NoisyStrokes(digits)).batch_size(32).drop_last(true).shuffle(0);
    let mut digits = digits.device(&device).build()?;
    let mut model = UNet::new(UNetOptions { channels: 1, width: 8, depth: 2, classes: 2 }, &device);
    let mut optimizer = Adam::adamw(3e-3);
    eval(&model)?;
    for (step, batch) in digits.epoch().enumerate() {
        let (images, masks) = batch?;
        let (loss, grads) =
            value_and_grad(&model, |m| m.forward(&images).movedim(1, -1).cross_entropy(&masks))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        if step % 25 == 0 {
            println!("{step}: {:.4}", loss.item::<f32>()?);
        }
    }
    model.train(false);
    let mut unseen = DataLoader::builder(NoisyStrokes(unseen)).batch_size(16).device(&device).build()?;
    if let Some(batch) = unseen.epoch().next() {
        let (images, masks) = batch?;
        let found = model.forward(&images).softmax(1).narrow(1, 1, 1);
        let masks = masks.unsqueeze(1).cast(DType::F32);
        let rows = Tensor::concat(&[&images.clamp(0.0, 1.0), &found, &masks], 0);
        std::fs::write("strokes.png", image_grid(&rows, 16, 2)?)
            .map_err(|e| Error::io(std::path::Path::new("strokes.png"), &e))?;
    }
    Ok(())
}
