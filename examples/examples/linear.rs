//! Least squares three ways: the weights by QR factors, by the normal equations with a ridge, and by gradient descent, for
//! 442 patients with diabetes (Efron et al. 2004).
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::metrics::{Metric, Regression};
use vorpal::prelude::*;
use vorpal::zoo::data::Rows;
use vorpal::zoo::linear::{LinearRegression, condition_number};

fn main() -> Result<()> {
    let device = Device::best()?;
    let (train, test) = Rows::diabetes()?.split(0.2, 0);
    let ((x, y), (test_x, test_y)) = (train.tensors(&device), test.tensors(&device));
    println!("condition number: {:.1}", condition_number(&x).item::<f32>()?);

    let mut model = LinearRegression::new(10, &device);
    let momentum = SgdOptions { momentum: 0.95, nesterov: true, ..SgdOptions::default() };
    let mut optimizer = Sgd::with_options(0.05, momentum);
    eval(&model)?;
    for _ in 0..1000 {
        let (loss, grads) = value_and_grad(&model, |m| m.forward(&x).mse(&y))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
    }
    for (name, model) in [
        ("gradient descent", model),
        ("QR factors", LinearRegression::lstsq(&x, &y)),
        ("a ridge", LinearRegression::ridge(&x, &y, 20.0)),
    ] {
        let mut r2 = Regression::r2();
        r2.update(&model.forward(&test_x), &test_y);
        println!("{name}: R² {:.4}, weights {:.1?}", r2.compute()?, model.weight.to_vec::<f32>()?);
    }
    Ok(())
}
