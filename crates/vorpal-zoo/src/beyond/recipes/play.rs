//! Learning by doing.

use vorpal_nn::{Adam, Device, Optimizer, Result, Tensor, clip_grad_norm, eval, value_and_grad};

use super::super::{CartPole, Dqn, Met};
use crate::data::{below, uniform};
use crate::recipe::Run;

/// What a moment of a game was: state, action, reward, state after it, whether something can still come.
type Moment = ([f32; 4], i32, f32, [f32; 4], f32);

/// Moments that are remembered.
const REMEMBERED: usize = 20_000;
/// Moments before anything is learned.
const BEGIN: usize = 500;
/// What a reward a push later is worth.
const DISCOUNT: f64 = 0.99;

/// Some moments of a memory.
fn recall(memory: &[Moment], count: usize, dice: &mut u64, device: &Device) -> Met {
    let chosen: Vec<&Moment> = (0..count).map(|_| &memory[below(dice, memory.len())]).collect();
    let states = |of: fn(&Moment) -> [f32; 4]| {
        let numbers: Vec<f32> = chosen.iter().flat_map(|m| of(m)).collect();
        Tensor::from_slice(&numbers, [count, 4], device)
    };
    let numbers = |of: fn(&Moment) -> f32| {
        Tensor::from_slice(&chosen.iter().map(|m| of(m)).collect::<Vec<f32>>(), [count], device)
    };
    let actions: Vec<i32> = chosen.iter().map(|m| m.1).collect();
    Met {
        states: states(|m| m.0),
        actions: Tensor::from_slice(&actions, [count], device),
        rewards: numbers(|m| m.2),
        next: states(|m| m.3),
        going_on: numbers(|m| m.4),
    }
}

/// The action that is worth most in a state.
fn best(model: &Dqn, state: [f32; 4], device: &Device) -> Result<bool> {
    let worth = model.forward(&Tensor::from_slice(&state, [1, 4], device)).to_vec::<f32>()?;
    Ok(worth[1] > worth[0])
}

/// Pushes of an episode without chance.
fn episode(model: &Dqn, seed: u64, device: &Device) -> Result<usize> {
    let mut cart = CartPole::new(seed);
    for pushes in 1.. {
        if cart.push(best(model, cart.state(), device)?).over {
            return Ok(pushes);
        }
    }
    Ok(0)
}

pub(super) fn dqn(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let mut model = Dqn::new(4, 2, 64, &device);
    let mut target = vorpal_nn::Tree::map(&model, &mut |t| t + 0.0);
    let mut optimizer = Adam::new(run.rate());
    eval(&(&model, &target))?;
    let (batch, rate, steps, mut dice) = (run.batch(), run.rate(), run.steps(1), run.seed() ^ 0x5eed);
    let mut cart = CartPole::new(run.seed());
    let mut memory: Vec<Moment> = Vec::new();
    let (mut pushes, mut lasted) = (0, Vec::new());
    run.repeat(1, |step| {
        let state = cart.state();
        let bold = 1.0 - 0.98 * (step as f64 / (0.3 * steps as f64)).min(1.0);
        let right =
            if uniform(&mut dice) < bold { uniform(&mut dice) < 0.5 } else { best(&model, state, &device)? };
        let pushed = cart.push(right);
        let moment = (state, i32::from(right), 1.0, pushed.state, f32::from(u8::from(!pushed.fallen)));
        if memory.len() < REMEMBERED {
            memory.push(moment);
        } else {
            memory[step as usize % REMEMBERED] = moment;
        }
        pushes += 1;
        if pushed.over {
            lasted.push((step as f64, f64::from(pushes)));
            pushes = 0;
            cart.restart();
        }
        if memory.len() < BEGIN {
            return Ok(0.0);
        }
        optimizer.set_learning_rate(rate * (1.0 - 0.9 * step as f64 / steps as f64));
        let met = recall(&memory, batch, &mut dice, &device);
        let (loss, grads) = value_and_grad(&model, |m| m.loss(&target, &met, DISCOUNT))?;
        let (grads, _) = clip_grad_norm(&grads, 10.0);
        optimizer.step(&mut model, grads)?;
        target.follow(&model, 0.01);
        eval(&(&loss, &model, &target, &optimizer))?;
        loss.item::<f32>()
    })?;
    run.keep(&model)?;
    let mut sum = 0;
    for k in 0..20 {
        sum += episode(&model, 1_000 + k, &device)?;
    }
    run.result("pushes", sum as f64 / 20.0);
    let figure = vorpal_nn::plot::Figure::new("pushes of each episode while learning", "pushes so far");
    run.file("episodes.svg", figure.line("", lasted).svg());
    Ok(())
}
