//! A small convolutional network learns 8,000 handwritten digits, changed a little every time they are seen, and names more
//! than 98.5 % of 2,000 others rightly.
//!
//! Threads prepare the batches; the changes are part of the step's program. `VORPAL_DEVICE` chooses the device.

use vorpal::nn::data::augment::{Augment, RandomAffine};
use vorpal::nn::data::{DataLoader, Digits};
use vorpal::prelude::*;

#[derive(Module)]
struct Net {
    first: Conv2d,
    first_norm: BatchNorm2d,
    second: Conv2d,
    second_norm: BatchNorm2d,
    third: Conv2d,
    third_norm: BatchNorm2d,
    dropout: Dropout,
    out: Linear,
}

impl Net {
    fn new(device: &Device) -> Net {
        let conv = |channels, filters| {
            let options = Conv2dOptions { padding: [1, 1].into(), ..Conv2dOptions::default() };
            Conv2d::with_options(channels, filters, [3, 3], options, device)
        };
        Net {
            first: conv(1, 16),
            first_norm: BatchNorm2d::new(16, device),
            second: conv(16, 32),
            second_norm: BatchNorm2d::new(32, device),
            third: conv(32, 64),
            third_norm: BatchNorm2d::new(64, device),
            dropout: Dropout::new(0.4),
            out: Linear::new(64 * 7 * 7, 10, device),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.first_norm.forward(&self.first.forward(x)).relu().max_pool2d(2);
        let x = self.second_norm.forward(&self.second.forward(&x)).relu().max_pool2d(2);
        let x = self.third_norm.forward(&self.third.forward(&x)).relu();
        self.out.forward(&self.dropout.forward(&x.flatten(1, -1)))
    }
}

const EPOCHS: usize = 15;
const RATE: f64 = 1.5e-3;

/// Rises over the first tenth of the steps and falls to nothing as a cosine.
fn rate(progress: f64) -> f64 {
    let falling = (progress - 0.1) / 0.9 * std::f64::consts::PI;
    RATE * (progress / 0.1).min(0.5 + 0.5 * falling.max(0.0).cos())
}

/// Share of the digits that the model names rightly.
fn accuracy(model: &Net, loader: &mut DataLoader<(Tensor, Tensor)>, digits: usize) -> Result<f64> {
    model.train(false);
    let mut right = 0;
    for batch in loader {
        let (x, y) = batch?;
        right += model.forward(&x).argmax(-1).eq(&y).cast(DType::I32).sum_all().item::<i32>()?;
    }
    model.train(true);
    Ok(f64::from(right) / digits as f64)
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    println!("training on {}", device.info());
    let (train, test) = Digits::embedded()?;
    let tested = test.len();
    let mut loader = DataLoader::builder(train)
        .batch_size(32)
        .shuffle(7)
        .drop_last(true)
        .workers(1)
        .device(&device)
        .build()?;
    let mut test = DataLoader::builder(test).batch_size(500).device(&device).build()?;
    let augment = RandomAffine::new().degrees(9.0).translate(0.06, 0.06).scale(0.92, 1.08).shear(5.0);

    let mut model = Net::new(&device);
    let mut optimizer = Adam::adamw(RATE);
    eval(&model)?;
    let (mut step, per_epoch) = (0u32, loader.len());
    for epoch in 1..=EPOCHS {
        let (start, waited) = (std::time::Instant::now(), loader.stats().waited_s);
        let mut total = 0.0;
        for batch in &mut loader {
            let (x, y) = batch?;
            let x = augment.apply(&x);
            step += 1;
            optimizer.set_learning_rate(rate(f64::from(step) / (EPOCHS * per_epoch) as f64));
            let (loss, grads) = value_and_grad(&model, |m| m.forward(&x).cross_entropy(&y))?;
            optimizer.step(&mut model, grads)?;
            eval(&(&loss, &model, &optimizer))?;
            total += loss.item::<f32>()?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let waited = 100.0 * (loader.stats().waited_s - waited) / seconds;
        let share = 100.0 * accuracy(&model, &mut test, tested)?;
        let loss = total / per_epoch as f32;
        println!(
            "epoch {epoch:2}: loss {loss:.4}, {share:.2} % of the test digits named rightly, {seconds:.1} s, of which \
             {waited:.1} % waited for batches"
        );
    }
    Ok(())
}
