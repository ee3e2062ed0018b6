//! A graph convolutional network, written by hand, finds the sides of Zachary's karate club from its two leaders.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::prelude::*;
use vorpal::zoo::data::Network;
use vorpal::zoo::graph::Edges;

#[derive(Module)]
struct TwoHops {
    first: Linear,
    second: Linear,
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(1);
    let club = Network::karate()?;
    // D^(−1∕2) (A + I) D^(−1∕2), sparse.
    let matrix = Edges::new(&club, false, &device).normalized();
    let people = Tensor::eye(club.nodes, DType::F32, &device);
    let leaders = Tensor::from_slice(&[0i32, 33], [2], &device);
    let sides = Tensor::from_slice(&[0i32, 1], [2], &device);

    let forward = |m: &TwoHops| {
        let hidden = matrix.matmul(&m.first.forward(&people)).relu();
        matrix.matmul(&m.second.forward(&hidden))
    };
    let mut model =
        TwoHops { first: Linear::new(club.nodes, 16, &device), second: Linear::new(16, 2, &device) };
    let mut optimizer = Adam::new(1e-2);
    for step in 1..=100 {
        let (loss, grads) =
            value_and_grad(&model, |m| forward(m).index_select(0, &leaders).cross_entropy(&sides))?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        if step % 20 == 0 {
            println!("step {step}: {:.4}", loss.item::<f32>()?);
        }
    }
    let found = forward(&model).argmax(1).to_vec::<i32>()?;
    let right = found.iter().zip(&club.labels).filter(|(found, side)| found == side).count();
    println!("{right} of {} on the side they took", club.nodes);
    Ok(())
}
