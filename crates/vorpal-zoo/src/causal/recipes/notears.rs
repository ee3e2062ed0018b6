//! The training of [`Notears`].

use vorpal_nn::{Adam, Device, Optimizer, Result, Tensor, eval, plot, value_and_grad};

use crate::causal::Notears;
use crate::data::Dice;
use crate::recipe::{Goal, Length, Recipe, Run};

pub const RECIPE: Recipe = Recipe {
    name: "notears",
    family: "causal",
    about: "NOTEARS: which variables depend on which, from examples",
    data: "1,000 examples of a linear model over a random graph of 10 variables and 15 edges",
    length: Length::Steps(2000),
    batch: 1000,
    rate: 2e-2,
    sizes: &[],
    goal: Goal::AtMost("distance", 2.0),
    body: notears,
};

const VARIABLES: usize = 10;
const EDGES: usize = 15;
/// Steps of a problem of the augmented Lagrangian, and how much smaller steps are in the next one.
const STEPS: u64 = 200;
const SMALLER: f64 = 0.6;
/// What the sizes of weights weigh, and below which size there is no edge.
const SPARSITY: f64 = 0.05;
const THRESHOLD: f32 = 0.3;

/// Weights `[from, to]` of a random graph without cycles, of sizes from 0.5 to 2.
fn random_graph(dice: &mut Dice) -> Vec<f32> {
    let mut shuffled = |count: usize| {
        let mut order: Vec<usize> = (0..count).collect();
        for k in (1..count).rev() {
            order.swap(k, (dice.uniform() * (k + 1) as f64) as usize);
        }
        order
    };
    let order = shuffled(VARIABLES);
    let pairs: Vec<(usize, usize)> =
        (0..VARIABLES).flat_map(|from| (from + 1..VARIABLES).map(move |to| (from, to))).collect();
    let picked = shuffled(pairs.len());
    let mut weights = vec![0.0; VARIABLES * VARIABLES];
    for &k in picked.iter().take(EDGES) {
        let (from, to) = (order[pairs[k].0], order[pairs[k].1]);
        let size = (0.5 + 1.5 * dice.uniform()) as f32;
        weights[from * VARIABLES + to] = if dice.uniform() < 0.5 { -size } else { size };
    }
    weights
}

/// Examples `[n, variables]` with mean 0 of x = x W + normal noise.
fn examples(weights: &Tensor, n: usize, dice: &mut Dice, device: &Device) -> Tensor {
    let noise: Vec<f32> = (0..n * VARIABLES).map(|_| dice.normal() as f32).collect();
    let noise = Tensor::from_slice(&noise, [n, VARIABLES], device);
    let x = noise.matmul(&(Tensor::eye(VARIABLES, weights.dtype(), device) - weights).inv());
    &x - x.mean_keepdim(0)
}

/// Pairs of variables whose edge is missing, too many or turned round.
fn distance(found: &[f32], truth: &[f32]) -> usize {
    let edge = |w: &[f32], a: usize, b: usize| w[a * VARIABLES + b].abs() > THRESHOLD;
    let differs =
        |a: usize, b: usize| edge(found, a, b) != edge(truth, a, b) || edge(found, b, a) != edge(truth, b, a);
    (0..VARIABLES).flat_map(|a| (0..a).map(move |b| (a, b))).filter(|&(a, b)| differs(a, b)).count()
}

fn notears(run: &mut Run) -> Result<()> {
    let (device, rate) = (run.device().clone(), run.rate());
    let mut dice = Dice::new(1, 0);
    let truth = random_graph(&mut dice);
    let graph = Tensor::from_slice(&truth, [VARIABLES, VARIABLES], &device);
    let x = examples(&graph, run.batch(), &mut dice, &device);
    let mut model = Notears::new(VARIABLES, &device);
    eval(&(&x, &model))?;
    let mut adam = Adam::new(rate);
    let (mut alpha, mut rho, mut before) = (0.0f32, 1.0f32, f32::INFINITY);
    run.repeat(STEPS as usize, |step| {
        let (by, by_square) = (Tensor::from_item(alpha, &device), Tensor::from_item(rho, &device));
        let (loss, grads) = value_and_grad(&model, |m| m.lagrangian(&x, SPARSITY, &by, &by_square))?;
        let h = model.cycles();
        adam.step(&mut model, grads)?;
        eval(&(&loss, &h, &model, &adam))?;
        if (step + 1) % STEPS == 0 {
            let h = h.item::<f32>()?;
            alpha += rho * h;
            if h > 0.25 * before {
                rho *= 10.0;
            }
            before = h;
            // The next problem is another one: its moments begin anew.
            adam = Adam::new(rate * SMALLER.powi(((step + 1) / STEPS) as i32));
        }
        loss.item::<f32>()
    })?;
    run.keep(&model)?;
    let found = model.graph().to_vec::<f32>()?;
    run.result("distance", distance(&found, &truth) as f64);
    run.result("cycles", f64::from(model.cycles().item::<f32>()?));
    let sizes = Tensor::concat(&[&graph, &model.graph()], 1).abs();
    run.file("graph.png", plot::heat_map(&sizes, 12)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_have_no_cycles_and_distances_count_pairs() {
        let truth = random_graph(&mut Dice::new(5, 0));
        assert_eq!(truth.iter().filter(|w| **w != 0.0).count(), EDGES);
        let graph = Tensor::from_slice(&truth, [VARIABLES, VARIABLES], &Device::cpu());
        let cycles = Notears { weight: graph.clone() }.cycles().item::<f32>().expect("a number");
        assert!(cycles.abs() < 1e-3, "{cycles}");
        assert_eq!(distance(&truth, &truth), 0);
        // All edges turned round: each is one wrong pair.
        assert_eq!(distance(&graph.t().to_vec::<f32>().expect("weights"), &truth), EDGES);
    }
}
