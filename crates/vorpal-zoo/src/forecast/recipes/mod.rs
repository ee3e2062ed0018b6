//! Trainings of this family.

mod deep_ar;
mod esn;
mod score;

use vorpal_nn::data::{DataLoader, Dataset, Stack};
use vorpal_nn::trainer::{Trainer, supervised};
use vorpal_nn::{Adam, AdamOptions, Error, Module, Result, Tensor};

use self::score::Held;
use super::{NBeats, NBeatsOptions, PatchTst, PatchTstOptions, TcnForecaster, TcnOptions};
use crate::data::{Series, SeriesWindows};
use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "nbeats",
        family: "forecast",
        about: "N-BEATS as a trend and a season, twelve months ahead",
        data: "monthly means of CO2 over Mauna Loa (statsmodels), the last ten years held out",
        length: Length::Steps(600),
        batch: 64,
        rate: 1e-3,
        sizes: &[],
        goal: Goal::AtMost("relative", 0.4),
        body: |run| nbeats_of(run, NBeatsOptions::interpretable(36, 12)),
    },
    Recipe {
        name: "nbeats_generic",
        family: "forecast",
        about: "N-BEATS of blocks that may draw anything, twelve months ahead",
        data: "monthly means of CO2 over Mauna Loa (statsmodels), the last ten years held out",
        length: Length::Steps(400),
        batch: 64,
        rate: 1e-3,
        sizes: &[],
        goal: Goal::AtMost("relative", 0.4),
        body: |run| nbeats_of(run, NBeatsOptions::generic(36, 12)),
    },
    Recipe {
        name: "tcn_forecast",
        family: "forecast",
        about: "a temporal convolutional network, three months ahead",
        data: "monthly temperatures of the sea, El Niño (statsmodels), the last twelve years held out",
        length: Length::Steps(400),
        batch: 64,
        rate: 1e-3,
        sizes: &[],
        goal: Goal::AtMost("relative", 0.67),
        body: tcn,
    },
    Recipe {
        name: "patch_tst",
        family: "forecast",
        about: "PatchTST, 24 months ahead",
        data: "monthly means of CO2 over Mauna Loa (statsmodels), the last ten years held out",
        length: Length::Steps(400),
        batch: 32,
        rate: 1e-3,
        sizes: &[],
        goal: Goal::AtMost("relative", 0.4),
        body: patch_tst,
    },
    Recipe {
        name: "patch_tst_etth1",
        family: "forecast",
        about: "PatchTST on the benchmark, 96 hours ahead",
        data: "ETTh1: give --data ETTh1.csv",
        length: Length::Steps(300),
        batch: 128,
        rate: 1e-3,
        sizes: &[],
        goal: Goal::AtMost("test_loss", 0.4),
        body: patch_tst_etth1,
    },
    deep_ar::RECIPE,
    esn::RECIPE,
];

/// Months held out of the series of CO2 and of the sea.
const CO2_HELD: usize = 120;
const SEA_HELD: usize = 144;

/// What `forward` makes of a window that is given from its last number on, which is added to the answer again.
fn levelled(past: &Tensor, forward: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let last = past.slice(-1, -1..);
    forward(&(past - &last)) + last
}

/// A loader of batches.
type Batches<I> = DataLoader<<I as Stack>::Batch>;

/// Batches to learn from, in random order, and batches of `together` examples to test on.
fn loaders<I: Stack, A: Dataset<Item = I>, B: Dataset<Item = I>>(
    run: &Run,
    train: A,
    test: B,
    together: usize,
) -> Result<(Batches<I>, Batches<I>)> {
    let device = run.device();
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true).shuffle(run.seed());
    let test = DataLoader::builder(test).batch_size(together);
    Ok((train.device(device).build()?, test.device(device).build()?))
}

/// Trains a model of windows on a series whose end is held out, and judges its forecasts of that end.
fn fit_series<M: Module + 'static>(
    run: &mut Run,
    series: &Series,
    [input, horizon, held]: [usize; 3],
    model: M,
    options: AdamOptions,
    forward: fn(&M, &Tensor) -> Tensor,
) -> Result<()> {
    let (count, learned) = (series.values.len(), series.values.len() - held);
    let (mean, deviation) = series.moments(learned);
    let values: Vec<f32> = series.values.iter().map(|v| ((v - mean) / deviation) as f32).collect();
    let windows = SeriesWindows::new(&values, input, horizon);
    let (train, test) = (windows.clone().targets(0..learned)?, windows.targets(learned..count)?);
    let together = test.len();
    let (mut train, mut test) = loaders(run, train, test, together)?;
    let task = supervised(forward, |out: &Tensor, y: &Tensor| out.mse(y));
    let trainer = Trainer::new(task, model, Adam::with_options(run.rate(), options)).clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    let mut forecasts = Vec::new();
    trainer.model.train(false);
    for batch in &mut test {
        let found = forward(&trainer.model, &batch?.0).to_vec::<f32>()?;
        forecasts.extend(found.iter().map(|v| f64::from(*v) * deviation + mean));
    }
    Held { series, learned, horizon, shown: input }.judge(run, &forecasts)
}

fn nbeats_of(run: &mut Run, options: NBeatsOptions) -> Result<()> {
    let model = NBeats::new(&options, run.device());
    let sizes = [options.input, options.horizon, CO2_HELD];
    fit_series(run, &Series::co2()?, sizes, model, AdamOptions::default(), |m, x| {
        levelled(x, |x| m.forward(x))
    })
}

fn tcn(run: &mut Run) -> Result<()> {
    let options = TcnOptions { channels: 1, horizon: 3, width: 24, window: 3, levels: 3, dropout: 0.1 };
    let model = TcnForecaster::new(options, run.device());
    fit_series(run, &Series::el_nino()?, [36, 3, SEA_HELD], model, AdamOptions::default(), |m, x| {
        levelled(x, |x| m.forward(&x.unsqueeze(1)))
    })
}

fn patch_tst(run: &mut Run) -> Result<()> {
    let options = PatchTstOptions {
        context: 72,
        horizon: 24,
        patch: 12,
        stride: 6,
        width: 32,
        heads: 4,
        layers: 2,
        feedforward: 64,
        dropout: 0.1,
    };
    let model = PatchTst::new(options, run.device());
    let sizes = [options.context, options.horizon, CO2_HELD];
    fit_series(run, &Series::co2()?, sizes, model, AdamOptions::default(), channel)
}

/// One channel `[batch, context]` through a model of many.
fn channel(model: &PatchTst, past: &Tensor) -> Tensor {
    model.forward(&past.unsqueeze(-1)).squeeze(-1)
}

/// Columns of ETTh1, and its hours to learn from, to choose by and to test on: 12, 4 and 4 months of 30 days.
const ETT: [&str; 7] = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"];
const ETT_HOURS: [usize; 3] = [8640, 2880, 2880];
/// Hours from one window of the test to the next.
const ETT_STRIDE: usize = 8;
/// Windows looked at together in the test.
const ETT_TOGETHER: usize = 256;

/// The windows of several series, one series after the other.
struct Channels(Vec<SeriesWindows>);

impl Dataset for Channels {
    type Item = (Vec<f32>, Vec<f32>);

    fn len(&self) -> usize {
        self.0.iter().map(Dataset::len).sum()
    }

    fn get(&self, mut index: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        for windows in &self.0 {
            if index < windows.len() {
                return windows.get(index);
            }
            index -= windows.len();
        }
        Err(Error::format("the series", format!("asked for a window {index} behind the last")))
    }
}

fn patch_tst_etth1(run: &mut Run) -> Result<()> {
    let Some(path) = run.settings().data.clone() else {
        let message = "the licence of ETTh1 does not let it ship: give --data PATH of ETTh1.csv from the repository \
                       zhouhaoyi/ETDataset";
        return Err(Error::format("patch_tst_etth1", message));
    };
    let options = PatchTstOptions {
        context: 336,
        horizon: 96,
        patch: 16,
        stride: 8,
        width: 16,
        heads: 4,
        layers: 2,
        feedforward: 64,
        dropout: 0.2,
    };
    let [learned, chosen, tested] = ETT_HOURS;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for series in Series::load(&path, &ETT, 24)? {
        let (mean, deviation) = series.moments(learned);
        let values: Vec<f32> = series.values.iter().map(|v| ((v - mean) / deviation) as f32).collect();
        let windows = SeriesWindows::new(&values, options.context, options.horizon);
        train.push(windows.clone().targets(0..learned)?);
        let from = learned + chosen;
        test.push(windows.targets(from..from + tested)?);
    }
    let device = run.device().clone();
    let test = Channels(test);
    let places = (0..test.len()).step_by(ETT_STRIDE).collect();
    let (mut train, mut test) = loaders(run, Channels(train), test.subset(places)?, ETT_TOGETHER)?;
    let task = supervised(channel, |out: &Tensor, y: &Tensor| out.mse(y));
    let trainer = Trainer::new(task, PatchTst::new(options, &device), Adam::new(run.rate()));
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}
