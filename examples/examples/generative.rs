//! Flow matching by hand: a network learns the velocity that carries noise to eight Gaussians on a ring.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::prelude::*;
use vorpal::zoo::data::Mixture;

#[derive(Module)]
struct Velocity {
    fc1: Linear,
    fc2: Linear,
    out: Linear,
}

impl Velocity {
    fn forward(&self, x: &Tensor, time: &Tensor) -> Tensor {
        let inner = self.fc1.forward(&Tensor::concat(&[x, time], -1)).silu();
        self.out.forward(&self.fc2.forward(&inner).silu())
    }
}

const BATCH: usize = 256;
const STEPS: usize = 2000;

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    println!("training on {}", device.info());
    let truth = Mixture::ring(8, 2.0, 0.3);
    let linear = |inputs, outputs| Linear::new(inputs, outputs, &device);
    let mut model = Velocity { fc1: linear(3, 128), fc2: linear(128, 128), out: linear(128, 2) };
    let mut optimizer = Adam::new(2e-3);
    eval(&model)?;
    for step in 1..=STEPS {
        // Between noise at time 0 and data at time 1 the velocity is the difference of the two.
        let data = truth.sample(BATCH, &device);
        let noise = Tensor::randn([BATCH, 2], DType::F32, &device);
        let time = Tensor::rand([BATCH, 1], DType::F32, &device);
        let (x, velocity) = (noise.lerp(&data, &time), &data - &noise);
        let (loss, grads) =
            value_and_grad(&model, |m| (m.forward(&x, &time) - &velocity).square().mean_all())?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        if step % 500 == 0 {
            println!("step {step}: loss {:.3}", loss.item::<f32>()?);
        }
    }

    // Noise follows the velocity in a hundred small steps.
    let mut x = Tensor::randn([2000, 2], DType::F32, &device);
    for k in 0..100 {
        let time = Tensor::from_slice(&vec![k as f32 / 100.0; 2000], [2000, 1], &device);
        x = &x + model.forward(&x, &time) * 0.01;
        eval(&x)?;
    }
    let likely = |points: &Tensor| -truth.log_density(points).mean_all();
    let (made, drawn) = (likely(&x), likely(&truth.sample(2000, &device)));
    println!("samples cost {:.2} nats, the data itself {:.2}", made.item::<f32>()?, drawn.item::<f32>()?);
    Ok(())
}
