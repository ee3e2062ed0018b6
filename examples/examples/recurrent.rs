//! A selective state space (Mamba) keeps four of sixteen tokens and repeats them.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::data::Samples;
use vorpal::prelude::*;
use vorpal::zoo::data::selective_copying;
use vorpal::zoo::recurrent::{Mamba, MambaOptions};

/// Tokens to keep, among so many.
const KEPT: usize = 4;
const LENGTH: usize = 16;

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(1);
    let samples = selective_copying(4000, LENGTH, KEPT, 8, 1);
    let loader = DataLoader::builder(Samples(samples)).batch_size(32).shuffle(1);
    let mut loader = loader.device(&device).build()?;
    let mut model = Mamba::new(MambaOptions { vocabulary: 10, width: 32, states: 8, layers: 2 }, &device);
    let mut optimizer = Adam::new(5e-3);
    for epoch in 1..=4 {
        let (mut right, mut all) = (0.0, 0.0);
        for batch in &mut loader {
            let (tokens, wanted) = batch?;
            let mut answer = None;
            let (loss, grads) = value_and_grad(&model, |m| {
                let logits = m.forward(&tokens).slice(1, -(KEPT as isize)..);
                answer = Some(logits.argmax(-1));
                logits.cross_entropy(&wanted)
            })?;
            optimizer.step(&mut model, grads)?;
            let hits = answer.map(|tokens| tokens.eq(&wanted).cast(DType::F32).sum_all());
            eval(&(&loss, &hits, &model, &optimizer))?;
            right += hits.map_or(Ok(0.0), |hits| hits.item::<f32>())?;
            all += wanted.shape().numel() as f32;
        }
        println!("epoch {epoch}: {:.1} % of the tokens repeated rightly", 100.0 * right / all);
    }
    Ok(())
}
