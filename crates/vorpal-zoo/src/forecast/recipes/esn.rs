//! The training of [`Esn`].

use vorpal_nn::{Result, Tensor, eval};

use super::score::Held;
use crate::data::Series;
use crate::forecast::{Esn, EsnOptions};
use crate::recipe::{Goal, Length, Recipe, Run};

pub const RECIPE: Recipe = Recipe {
    name: "esn",
    about: "an echo state network whose readout is solved for, one year ahead",
    // All there is to it: the readout in closed form.
    length: Length::Steps(1),
    sizes: &[("units", 100), ("connections", 10), ("washout", 20)],
    goal: Goal::AtMost("relative_naive", 0.7),
    body: esn,
    ..Recipe::base("forecast", "yearly sunspots since 1700 (statsmodels), the last 59 years held out")
};

/// Years held out: those from 1950 on.
const HELD: usize = 59;
/// What holds the weights of the readout small.
const RIDGE: f64 = 1.0;

fn esn(run: &mut Run) -> Result<()> {
    let series = Series::sunspots()?;
    let (count, learned) = (series.values.len(), series.values.len() - HELD);
    let (mean, deviation) = series.moments(learned);
    let values: Vec<f32> = series.values.iter().map(|v| ((v - mean) / deviation) as f32).collect();
    let device = run.device().clone();
    let whole = Tensor::from_slice(&values, [count], &device);
    let known = whole.narrow(0, 0, learned);
    let options = EsnOptions {
        units: run.size("units")?,
        connections: run.size("connections")?,
        spectral_radius: 0.8,
        input_scale: 0.5,
        leak: 0.6,
    };
    let washout = run.size("washout")?;
    let mut model = Esn::new(options, &device);
    eval(&model)?;
    run.repeat(1, |_| {
        let loss = model.fit(&known, washout, RIDGE);
        eval(&(&loss, &model))?;
        loss.item::<f32>()
    })?;
    run.keep(&model)?;
    // The number after the last one that was learned from, and so on: each from all before it.
    let forecasts = model.forward(&whole.narrow(0, 0, count - 1).unsqueeze(0)).narrow(1, learned - 1, HELD);
    let forecasts: Vec<f64> =
        forecasts.to_vec::<f32>()?.iter().map(|v| f64::from(*v) * deviation + mean).collect();
    Held { series: &series, learned, horizon: 1, shown: HELD }.judge(run, &forecasts)?;
    if let (Some(found), Some(naive)) = (run.found("mase"), run.found("mase_naive")) {
        run.result("relative_naive", found / naive);
    }
    Ok(())
}
