//! Every training of the zoo reaches its goal. Long: `cargo test --release --test goals -- --ignored --nocapture`
//! trains all, `VORPAL_GOALS=gcn,gat` only some.

#![allow(clippy::expect_used)]

use vorpal_nn::Device;
use vorpal_zoo::{Run, recipes};

/// Seconds a training may take on two cores.
const SECONDS: f64 = 180.0;

#[test]
#[ignore = "trains every model of the zoo: up to three minutes each"]
fn every_training_reaches_its_goal() {
    let wanted = std::env::var("VORPAL_GOALS").ok();
    let wanted = |name: &str| wanted.as_ref().is_none_or(|names| names.split(',').any(|n| n == name));
    let mut missed = Vec::new();
    for recipe in recipes().filter(|r| wanted(r.name)) {
        let outcome = match recipe.train(&mut Run::new(recipe.settings(), &Device::cpu())) {
            Ok(outcome) => outcome,
            // Some data may not be shipped.
            Err(error) if error.to_string().contains("--data") => {
                println!("skipped: {}: {error}", recipe.name);
                continue;
            }
            Err(error) => panic!("{}: {error}", recipe.name),
        };
        let (found, goal, seconds) =
            (outcome.results.get(recipe.goal.result()), recipe.goal, outcome.seconds);
        println!("{}: {found:?} ({goal}) in {seconds:.0} s; {:?}", recipe.name, outcome.results);
        if outcome.reached != Some(true) || seconds > SECONDS {
            missed.push(format!("{}: {found:?}, {goal}, {seconds:.0} s", recipe.name));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
