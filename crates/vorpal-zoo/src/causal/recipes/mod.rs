//! Trainings of this family.

mod notears;
mod treatment;

use vorpal_nn::data::Digits;
use vorpal_nn::{Adam, Device, Module, Optimizer, Result, Tensor, eval, plot, value_and_grad};

use super::Irm;
use crate::data::coloured_digits;
use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) const RECIPES: &[Recipe] = &[treatment::TARNET, treatment::DRAGONNET, notears::RECIPE, IRM];

const IRM: Recipe = Recipe {
    name: "irm",
    family: "causal",
    about: "invariant risk minimisation: shape instead of colour",
    data: "the MNIST digits that ship with the program, in colours that tell the answer until they mislead",
    length: Length::Steps(500),
    batch: 8000,
    rate: 1e-3,
    sizes: &[("width", 96), ("penalty_from", 100), ("penalty", 10_000)],
    goal: Goal::AtLeast("test_accuracy", 0.55),
    body: irm,
};

/// How often the colour misleads where one learns, and where one is tested.
const MISLED: [f64; 2] = [0.2, 0.1];
const MISLED_TEST: f64 = 0.9;
/// How much the squares of all weights weigh.
const DECAY: f64 = 1e-3;
/// Steps of the mean risk by itself, to compare with.
const PLAIN_STEPS: u64 = 60;

/// Inputs and answers.
type Environment = (Tensor, Tensor);

fn environments(device: &Device, batch: usize) -> Result<(Vec<Environment>, Environment)> {
    let (train, test) = Digits::embedded()?;
    let on = |digits: &Digits, range, misled, seed| -> Result<Environment> {
        let (x, y) = coloured_digits(digits, range, misled, seed)?;
        let pair = (x.to_tensor(device), y.to_tensor(device));
        eval(&pair)?;
        Ok(pair)
    };
    let count = batch.min(train.len());
    // The same digits in every environment: what is drawn is which answers are wrong and where the colour misleads.
    let learned = MISLED.iter().enumerate().map(|(k, &misled)| on(&train, 0..count, misled, 1 + k as u64));
    Ok((learned.collect::<Result<_>>()?, on(&test, 0..test.len(), MISLED_TEST, 3)?))
}

/// A step of the mean risk and a weight of the penalty, which is a tensor so that all steps have one plan.
fn irm_step(
    model: &mut Irm,
    adam: &mut Adam,
    seen: &[Environment],
    weight: f64,
    device: &Device,
) -> Result<f32> {
    let weight_tensor = Tensor::from_item(weight as f32, device);
    let (loss, grads) = value_and_grad(&*model, |m| {
        let (mean, penalty) = m.objective(seen);
        let mut squares = Tensor::from_item(0.0f32, device);
        m.walk("", &mut |_, _, tensor| squares = &squares + tensor.square().sum_all());
        // A large weight does not make steps larger.
        (mean + penalty * &weight_tensor + squares * DECAY) / weight_tensor.clamp_min(1.0)
    })?;
    adam.step(model, grads)?;
    eval(&(&loss, &*model, &*adam))?;
    loss.item::<f32>()
}

fn accuracy(model: &Irm, (x, y): &Environment) -> Result<f64> {
    let right = model.forward(x).gt(0.0).cast(vorpal_nn::DType::F32).eq(y).cast(vorpal_nn::DType::F32);
    Ok(f64::from(right.mean_all().item::<f32>()?))
}

fn irm(run: &mut Run) -> Result<()> {
    let (device, rate, width) = (run.device().clone(), run.rate(), run.size("width")?);
    let (from, penalty) = (run.size("penalty_from")? as u64, run.size("penalty")? as f64);
    let (seen, test) = environments(&device, run.batch())?;
    let inputs = 2 * 14 * 14;
    let mut plain = Irm::new(inputs, width, &device);
    let mut adam = Adam::new(rate);
    for _ in 0..PLAIN_STEPS {
        irm_step(&mut plain, &mut adam, &seen, 0.0, &device)?;
    }
    let mut model = Irm::new(inputs, width, &device);
    eval(&model)?;
    let mut adam = Adam::new(rate);
    run.repeat(1, |step| {
        if step == from {
            // The moments are those of another loss.
            adam = Adam::new(rate);
        }
        let weight = if step < from { 1.0 } else { penalty };
        irm_step(&mut model, &mut adam, &seen, weight, &device)
    })?;
    run.keep(&model)?;
    run.result("plain_test_accuracy", accuracy(&plain, &test)?);
    run.result("test_accuracy", accuracy(&model, &test)?);
    for (k, environment) in seen.iter().enumerate() {
        run.result(&format!("accuracy_{k}"), accuracy(&model, environment)?);
    }
    let (x, _) = &seen[0];
    let some = x.narrow(0, 0, 20);
    let blue = &some.narrow(1, 0, 1) * 0.0;
    run.file("digits.png", plot::image_grid(&Tensor::concat(&[&some, &blue], 1), 10, 3)?);
    Ok(())
}
