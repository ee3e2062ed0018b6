//! A Kolmogorov–Arnold network (Liu et al. 2024) finds a function of two numbers from a thousand values of it.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::SplineGrid;
use vorpal::prelude::*;
use vorpal::zoo::dense::Kan;

/// exp(sin(πx) + y²) at points `[n, 2]`.
fn wanted(points: &Tensor) -> Tensor {
    let (x, y) = (points.narrow(1, 0, 1), points.narrow(1, 1, 1));
    ((x * std::f64::consts::PI).sin() + y.square()).exp()
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(0);
    let points = |n: usize| Tensor::uniform([n, 2], -1.0, 1.0, DType::F32, &device);
    let (x, test) = (points(1000), points(1000));
    let y = wanted(&x);
    let grid = SplineGrid { low: -2.0, high: 2.0, intervals: 16, degree: 3 };
    let mut model = Kan::new(&[2, 5, 1], grid, &device);
    let mut optimizer = Adam::new(0.02);
    eval(&(&x, &y, &test, &model))?;
    for step in 0..=1000 {
        optimizer.set_learning_rate(0.02 * (1.0 - f64::from(step) / 1001.0));
        let (loss, grads) = value_and_grad(&model, |m| m.forward(&x).mse(&y))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        if step % 200 == 0 {
            println!("{step}: {:.5}", loss.item::<f32>()?.sqrt());
        }
    }
    let error = model.forward(&test).mse(&wanted(&test)).sqrt();
    println!("root mean square error elsewhere: {:.5}", error.item::<f32>()?);
    Ok(())
}
