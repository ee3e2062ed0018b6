//! A differential equation with a network as its right side (Chen et al. 2018) learns to swing: only the end of each
//! swing is compared, and the derivative goes back through time by the adjoint method.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::prelude::*;
use vorpal::zoo::beyond::{VectorField, odeint_adjoint};

/// y′ = W y.
#[derive(Clone, Debug, Module)]
struct Swing {
    matrix: Linear,
}

impl VectorField for Swing {
    fn slope(&self, _: f64, y: &Tensor) -> Tensor {
        self.matrix.forward(y)
    }
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(1);
    let mut model = Swing { matrix: Linear::without_bias(2, 2, &device) };
    let mut optimizer = Adam::new(0.03);
    eval(&model)?;
    // A quarter of a turn: (1, 0) becomes (0, 1), and (0, 1) becomes (-1, 0).
    let start = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0], [2, 2], &device);
    let end = Tensor::from_slice(&[0.0f32, 1.0, -1.0, 0.0], [2, 2], &device);
    for step in 1..=300 {
        let (loss, grads) = value_and_grad(&model, |m| {
            odeint_adjoint(m, &start, [0.0, std::f64::consts::FRAC_PI_2], 8).mse(&end)
        })?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        if step % 50 == 0 {
            println!("step {step}: loss {:.6}", loss.item::<f32>()?);
        }
    }
    println!("y' = W y with W = {:.3}", model.matrix.weight);
    Ok(())
}
