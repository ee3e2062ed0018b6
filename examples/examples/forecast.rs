//! Forecasts the temperature of the sea a year ahead with a small recurrent network, and compares it with last year's numbers.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::prelude::*;
use vorpal::zoo::data::{Series, SeriesWindows};
use vorpal::zoo::forecast::seasonal_naive;

const INPUT: usize = 36;
const HORIZON: usize = 12;

#[derive(Module)]
struct Forecaster {
    gru: Gru,
    out: Linear,
}

impl Forecaster {
    /// `[batch, INPUT]` to `[batch, HORIZON]`.
    fn forward(&self, past: &Tensor) -> Tensor {
        let (_, state) = self.gru.forward(&past.t().unsqueeze(-1), None);
        self.out.forward(&state[0])
    }
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    let series = Series::el_nino()?;
    let (count, learned) = (series.values.len(), series.values.len() - 144);
    let (mean, deviation) = series.moments(learned);
    let values: Vec<f32> = series.values.iter().map(|v| ((v - mean) / deviation) as f32).collect();
    let windows = SeriesWindows::new(&values, INPUT, HORIZON);
    let train = DataLoader::builder(windows.clone().targets(0..learned)?).batch_size(64).drop_last(true);
    let mut train = train.shuffle(7).device(&device).build()?;

    let mut model = Forecaster { gru: Gru::new(1, 32, 1, &device), out: Linear::new(32, HORIZON, &device) };
    let mut optimizer = Adam::new(3e-3);
    eval(&model)?;
    for epoch in 1..=20 {
        let mut last = 0.0;
        for batch in &mut train {
            let (past, future) = batch?;
            let (loss, grads) = value_and_grad(&model, |m| m.forward(&past).mse(&future))?;
            optimizer.step(&mut model, grads)?;
            eval(&(&loss, &model, &optimizer))?;
            last = loss.item::<f32>()?;
        }
        println!("epoch {epoch:2}: loss {last:.4}");
    }

    let test = windows.targets(learned..count)?;
    let (mut off, mut off_seasonal) = (0.0, 0.0);
    for k in 0..test.len() {
        let (past, future) = test.get(k)?;
        let found = model.forward(&Tensor::from_slice(&past, [1, INPUT], &device)).to_vec::<f32>()?;
        let past: Vec<f64> = past.iter().map(|v| f64::from(*v)).collect();
        for ((f, s), a) in found.iter().zip(seasonal_naive(&past, series.period, HORIZON)).zip(&future) {
            off += f64::from((f - a).abs());
            off_seasonal += (s - f64::from(*a)).abs();
        }
    }
    println!("{:.2} of the error of last year's numbers", off / off_seasonal);
    Ok(())
}
