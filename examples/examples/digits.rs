//! A network of two layers learns handwritten digits, with a live progress bar.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use indicatif::{ProgressBar, ProgressStyle};
use vorpal::nn::data::Digits;
use vorpal::prelude::*;

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(x).relu())
    }
}

const BATCH: usize = 64;
const EPOCHS: usize = 10;

/// Batch number `k` of the digits, their order given by `order`.
fn batch(digits: &Digits, order: &[usize], k: usize, device: &Device) -> (Tensor, Tensor) {
    let picked = &order[k * BATCH..(k + 1) * BATCH];
    let pixels: Vec<f32> = picked
        .iter()
        .flat_map(|&i| &digits.images[i * 784..(i + 1) * 784])
        .map(|&p| f32::from(p) / 255.0)
        .collect();
    let labels: Vec<i32> = picked.iter().map(|&i| i32::from(digits.labels[i])).collect();
    (Tensor::from_slice(&pixels, [BATCH, 784], device), Tensor::from_slice(&labels, [BATCH], device))
}

/// Share of the digits that the model names rightly.
fn accuracy(model: &Mlp, digits: &Digits, device: &Device) -> Result<f64> {
    let order: Vec<usize> = (0..digits.len()).collect();
    let mut right = 0;
    for k in 0..digits.len() / BATCH {
        let (x, y) = batch(digits, &order, k, device);
        right += model.forward(&x).argmax(-1).eq(&y).cast(DType::I32).sum_all().item::<i32>()?;
    }
    Ok(f64::from(right) / (digits.len() / BATCH * BATCH) as f64)
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    println!("training on {}", device.info());
    let (train, test) = Digits::embedded()?;
    let mut model = Mlp { hidden: Linear::new(784, 128, &device), out: Linear::new(128, 10, &device) };
    let mut optimizer = Adam::adamw(1e-3);
    eval(&model)?;

    let mut order: Vec<usize> = (0..train.len()).collect();
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
        .unwrap_or(ProgressStyle::default_bar());
    for epoch in 1..=EPOCHS {
        // The order of an epoch: sorted by random numbers.
        let keys = Tensor::rand([order.len()], DType::F32, &device).to_vec::<f32>()?;
        order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
        let steps = train.len() / BATCH;
        let bar =
            ProgressBar::new(steps as u64).with_style(style.clone()).with_prefix(format!("epoch {epoch:2}"));
        for k in 0..steps {
            let (x, y) = batch(&train, &order, k, &device);
            let (loss, grads) = value_and_grad(&model, |m| m.forward(&x).cross_entropy(&y))?;
            optimizer.step(&mut model, grads)?;
            eval(&(&loss, &model, &optimizer))?;
            bar.set_message(format!("loss {:.4}", loss.item::<f32>()?));
            bar.inc(1);
        }
        let share = 100.0 * accuracy(&model, &test, &device)?;
        bar.finish_and_clear();
        println!("epoch {epoch:2}: {share:.1} % of the test digits named rightly");
    }
    Ok(())
}
