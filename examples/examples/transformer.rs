//! A transformer of two blocks learns to read a line of digits backwards.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::LearnedPositions;
use vorpal::prelude::*;

#[derive(Module)]
struct Backwards {
    digits: Embedding,
    positions: LearnedPositions,
    blocks: TransformerEncoder,
    out: Linear,
}

const LENGTH: usize = 8;

impl Backwards {
    fn new(device: &Device) -> Backwards {
        let options = TransformerOptions {
            dim_feedforward: 64,
            dropout: 0.0,
            batch_first: true,
            norm_first: true,
            ..TransformerOptions::default()
        };
        Backwards {
            digits: Embedding::new(10, 32, device),
            positions: LearnedPositions::new(LENGTH, 32, device),
            blocks: TransformerEncoder::new(32, 4, 2, &options, device),
            out: Linear::new(32, 10, device),
        }
    }

    /// Logits `[lines, places, 10]` of lines `[lines, places]`.
    fn forward(&self, lines: &Tensor) -> Tensor {
        let x = self.positions.forward(&self.digits.forward(lines));
        self.out.forward(&self.blocks.forward(&x, &AttentionMask::none()))
    }
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(3);
    println!("training on {}", device.info());
    let mut model = Backwards::new(&device);
    let mut optimizer = Adam::adamw(2e-3);
    eval(&model)?;
    for step in 1..=400 {
        let lines = Tensor::randint([64, LENGTH], 0, 10, DType::I32, &device);
        let (loss, grads) = value_and_grad(&model, |m| m.forward(&lines).cross_entropy(&lines.flip([1])))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.4}", loss.item::<f32>()?);
        }
    }
    let line = Tensor::from_slice(&[3i32, 1, 4, 1, 5, 9, 2, 6], [1, LENGTH], &device);
    let answer = model.forward(&line).argmax(-1).cast(DType::I32).to_vec::<i32>()?;
    println!("3 1 4 1 5 9 2 6 backwards is {answer:?}");
    Ok(())
}
