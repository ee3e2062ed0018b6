//! A network that knows nothing of mirrors learns what is left and right; one that keeps the symmetry cannot.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::prelude::*;
use vorpal::zoo::symmetry::P4mCnn;

/// Images `[n, 1, 8, 8]` with a spot on the left (0) or on the right (1), and which.
fn spots(n: usize, device: &Device) -> (Tensor, Tensor) {
    let side = Tensor::rand([n, 1], DType::F32, device).gt(0.5).cast(DType::F32);
    let columns = Tensor::arange(8, DType::F32, device).gt(3.5).cast(DType::F32);
    let here: Tensor = 1.0 - (columns - &side).abs();
    let noise = Tensor::rand([n, 8, 8], DType::F32, device);
    ((noise * here.unsqueeze(1)).unsqueeze(1), side.squeeze(1).cast(DType::I32))
}

fn train<M: Module>(
    name: &str,
    mut model: M,
    forward: impl Fn(&M, &Tensor) -> Tensor,
    device: &Device,
) -> Result<()> {
    let mut optimizer = Adam::new(1e-2);
    let mut last = 0.0;
    for _ in 0..60 {
        let (x, y) = spots(64, device);
        let (loss, grads) = value_and_grad(&model, |m| forward(m, &x).cross_entropy(&y))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        last = loss.item::<f32>()?;
    }
    println!("{name}: loss {last:.3} (who guesses has 0.693)");
    Ok(())
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    train("plain", Linear::new(64, 2, &device), |m, x| m.forward(&x.flatten(1, -1)), &device)?;
    train("turns and mirrors", P4mCnn::new(&[4, 4], 2, &device), P4mCnn::forward, &device)
}
