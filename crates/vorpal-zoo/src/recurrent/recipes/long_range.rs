//! Trainings of models that look far back.

use vorpal_nn::data::{Digits, Samples};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::trainer::supervised;
use vorpal_nn::{Error, Result, Tensor};

use super::sequences::{SEEDS, TEST, TRAIN, loaders, trainer};
use crate::data::{recall, selective_copying, small_digits};
use crate::recipe::Run;
use crate::recurrent::{Hyena, HyenaOptions, Mamba, MambaOptions, StateSpace, StateSpaceOptions, TimeLayer};

/// Pixels of a small digit, one after the other.
const PIXELS: usize = 14 * 14;

/// Trains a model that reads digits of 14 × 14 pixels pixel by pixel, `[batch, 196, 1]`, and names them.
pub fn read_digits<L: TimeLayer + 'static>(run: &mut Run) -> Result<()> {
    let (train, test) = Digits::embedded()?;
    let [Samples(train), Samples(test)] = [small_digits(&train)?, small_digits(&test)?];
    let [mut train, mut test] = loaders(run, [train, test], 250)?;
    let (width, states, layers) = (run.size("width")?, run.size("states")?, run.size("layers")?);
    let options = StateSpaceOptions { inputs: 1, width, states, layers, outputs: 10 };
    let model = StateSpace::<L>::new(options, run.device());
    let task = supervised(
        |m: &StateSpace<L>, images: &Tensor| {
            let batch = images.shape().first().copied().unwrap_or(0);
            // About mean 0 and deviation 1.
            m.forward(&((images.reshape([batch, PIXELS, 1]) - 0.13) * 3.5))
        },
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let trainer = trainer(run, task, model, train.len()).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

/// The last `count` rows of results `[batch, length, …]`.
fn last(out: &Tensor, count: usize) -> Tensor {
    out.slice(1, -(count as isize)..)
}

pub fn copying(run: &mut Run) -> Result<()> {
    let (steps, kept, symbols) = (run.size("steps")?, run.size("kept")?, run.size("symbols")?);
    if kept == 0 || kept > steps || symbols == 0 {
        let message = format!("{kept} of {symbols} symbols do not stand in {steps} steps");
        return Err(Error::format("sizes", message));
    }
    // More than the other tasks have: each sequence is cheap.
    let samples = [2 * TRAIN, TEST];
    let samples = [0, 1].map(|k| selective_copying(samples[k], steps, kept, symbols, SEEDS[k]));
    let [mut train, mut test] = loaders(run, samples, TEST / 2)?;
    let task = supervised(
        move |m: &Mamba, x: &Tensor| last(&m.forward(x), kept),
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let (width, states, layers) = (run.size("width")?, run.size("states")?, run.size("layers")?);
    let model = Mamba::new(MambaOptions { vocabulary: symbols + 2, width, states, layers }, run.device());
    let trainer = trainer(run, task, model, train.len()).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

pub fn hyena(run: &mut Run) -> Result<()> {
    let (pairs, symbols) = (run.size("pairs")?, run.size("symbols")?);
    if pairs == 0 || pairs > symbols {
        return Err(Error::format("sizes", format!("{symbols} symbols do not make {pairs} keys")));
    }
    let samples = [2 * TRAIN, TEST];
    let samples = [0, 1].map(|k| recall(samples[k], pairs, symbols, SEEDS[k]));
    let [mut train, mut test] = loaders(run, samples, TEST)?;
    let task = supervised(
        // A value is wanted at every key of the second half.
        move |m: &Hyena, x: &Tensor| m.forward(x).slice_step(1, 2 * pairs as isize.., 2),
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let (width, filter, layers) = (run.size("width")?, run.size("filter")?, run.size("layers")?);
    let model = Hyena::new(HyenaOptions { vocabulary: 2 * symbols, width, filter, layers }, run.device());
    let trainer = trainer(run, task, model, train.len()).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}
