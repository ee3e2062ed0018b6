//! The training of [`DeepAr`].

use vorpal_nn::data::{Array, Dataset};
use vorpal_nn::trainer::{Task, Trainer};
use vorpal_nn::{Adam, AdamOptions, Module, Result, Tensor};

use super::score::{Held, crps, quantile};
use super::{SEA_HELD, loaders};
use crate::data::{Series, SeriesWindows};
use crate::forecast::{DeepAr, DeepArOptions, Likelihood, season};
use crate::recipe::{Goal, Length, Recipe, Run};

pub const RECIPE: Recipe = Recipe {
    name: "deep_ar",
    family: "forecast",
    about: "DeepAR: distributions and intervals, twelve months ahead",
    data: "monthly temperatures of the sea, El Niño (statsmodels), the last twelve years held out",
    length: Length::Steps(200),
    batch: 64,
    rate: 3e-3,
    sizes: &[],
    goal: Goal::AtMost("relative_crps", 0.65),
    body: deep_ar,
};

/// Months seen and forecast.
const CONTEXT: usize = 24;
const HORIZON: usize = 12;
/// Paths of a forecast.
const SAMPLES: usize = 200;

/// Windows, and the place in the year of each of their months.
struct Months {
    windows: SeriesWindows,
    period: usize,
}

impl Dataset for Months {
    type Item = (Vec<f32>, Array);

    fn len(&self) -> usize {
        self.windows.len()
    }

    fn get(&self, index: usize) -> Result<(Vec<f32>, Array)> {
        let (mut values, future) = self.windows.get(index)?;
        values.extend(future);
        let known = season(self.windows.start(index), values.len(), self.period);
        let known = Array::new(&known, [values.len(), 2])?;
        Ok((values, known))
    }
}

/// Learns distributions of all numbers of a window but the first.
struct Densities(Likelihood);

impl Task for Densities {
    type Model = DeepAr;
    type Batch = (Tensor, Tensor);

    fn forward(&self, model: &DeepAr, (series, known): &(Tensor, Tensor)) -> Tensor {
        model.forward(series, known)
    }

    fn loss(&self, output: &Tensor, (series, _): &(Tensor, Tensor)) -> Tensor {
        self.0.nll(output, &series.slice(1, 1..)).mean_all()
    }

    fn target(&self, (series, _): &(Tensor, Tensor)) -> Tensor {
        series.slice(1, 1..)
    }
}

fn deep_ar(run: &mut Run) -> Result<()> {
    let series = Series::el_nino()?;
    let (count, learned) = (series.values.len(), series.values.len() - SEA_HELD);
    let (mean, deviation) = series.moments(learned);
    let values: Vec<f32> = series.values.iter().map(|v| ((v - mean) / deviation) as f32).collect();
    let windows = SeriesWindows::new(&values, CONTEXT, HORIZON);
    let months = |windows| Months { windows, period: series.period };
    let (train, test) = (windows.clone().targets(0..learned)?, windows.targets(learned..count)?);
    let together = test.len();
    let (mut train, mut test) = loaders(run, months(train), months(test), together)?;
    let likelihood = Likelihood::StudentT;
    let options =
        DeepArOptions { covariates: 2, hidden: 24, layers: 1, dropout: 0.0, likelihood, context: CONTEXT };
    // Few windows: what is learned by heart would make intervals too narrow.
    let adam = AdamOptions { weight_decay: 0.1, decoupled: true, ..AdamOptions::default() };
    let trainer = Trainer::new(
        Densities(likelihood),
        DeepAr::new(options, run.device()),
        Adam::with_options(run.rate(), adam),
    );
    let trainer = run.fit(trainer.clip_grad_norm(1.0), &mut train, Some(&mut test))?;
    trainer.model.train(false);
    let held = Held { series: &series, learned, horizon: HORIZON, shown: CONTEXT };
    for batch in &mut test {
        let (series, known) = batch?;
        let paths = trainer.model.sample(&series.narrow(1, 0, CONTEXT), &known, SAMPLES);
        let paths: Vec<f64> =
            paths.to_vec::<f32>()?.iter().map(|v| f64::from(*v) * deviation + mean).collect();
        judge(run, &held, &paths)?;
    }
    Ok(())
}

/// Scores of paths `[origins, SAMPLES, HORIZON]`.
fn judge(run: &mut Run, held: &Held<'_>, paths: &[f64]) -> Result<()> {
    let (mut score, mut covered, mut count) = (0.0, [0usize; 2], 0usize);
    let [mut medians, mut lows, mut highs] = [const { Vec::new() }; 3];
    for (origin, paths) in held.origins().zip(paths.chunks(SAMPLES * HORIZON)) {
        for k in 0..HORIZON {
            let mut sorted: Vec<f64> = paths.iter().skip(k).step_by(HORIZON).copied().collect();
            sorted.sort_by(f64::total_cmp);
            let truth = held.series.values[origin + k];
            score += crps(&sorted, truth);
            count += 1;
            for (covered, share) in covered.iter_mut().zip([0.8, 0.9]) {
                let (low, high) =
                    (quantile(&sorted, 0.5 - share / 2.0), quantile(&sorted, 0.5 + share / 2.0));
                *covered += usize::from((low..=high).contains(&truth));
            }
            medians.push(quantile(&sorted, 0.5));
            lows.push(quantile(&sorted, 0.05));
            highs.push(quantile(&sorted, 0.95));
        }
    }
    held.judge(run, &medians)?;
    let count = count.max(1) as f64;
    run.result("crps", score / count);
    run.result("relative_crps", score / count / held.seasonal()?);
    run.result("coverage_80", covered[0] as f64 / count);
    run.result("coverage_90", covered[1] as f64 / count);
    let edges =
        held.chained(&lows).into_iter().zip(held.chained(&highs)).map(|((t, low), (_, high))| (t, low, high));
    let figure = held.figure().band("90 %", edges).line("medians", held.chained(&medians));
    run.file("forecast.svg", figure.svg());
    Ok(())
}
