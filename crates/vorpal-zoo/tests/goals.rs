//! Every training of the zoo reaches its goal. Long: `cargo test --release --test goals -- --ignored --nocapture`
//! trains all, `VORPAL_GOALS=gcn,gat` only some. Data that may not ship is looked for in the folder `VORPAL_DATA`.

#![allow(clippy::expect_used)]

use std::path::Path;
use std::time::Instant;

use vorpal_nn::Device;
use vorpal_zoo::{Run, recipes};

/// The file that a training asks for.
const FILES: &[(&str, &str)] = &[("gcn", "cora.npz"), ("gat", "cora.npz"), ("patch_tst_etth1", "ETTh1.csv")];

/// Seconds a training may take on two cores.
const SECONDS: f64 = 180.0;

#[test]
#[ignore = "trains every model of the zoo: up to three minutes each"]
fn every_training_reaches_its_goal() {
    let wanted = std::env::var("VORPAL_GOALS").ok();
    let wanted = |name: &str| wanted.as_ref().is_none_or(|names| names.split(',').any(|n| n == name));
    let mut missed = Vec::new();
    for recipe in recipes().filter(|r| wanted(r.name)) {
        let mut settings = recipe.settings();
        if let Some((_, file)) = FILES.iter().find(|(name, _)| *name == recipe.name) {
            let path = std::env::var_os("VORPAL_DATA").map(|folder| Path::new(&folder).join(file));
            let Some(path) = path.filter(|path| path.exists()) else {
                println!("skipped: {}: no {file} in the folder VORPAL_DATA", recipe.name);
                continue;
            };
            settings.data = Some(path);
        }
        // Teachers, judges and pictures count as well.
        let started = Instant::now();
        let outcome = recipe.train(&mut Run::new(settings, &Device::cpu())).expect(recipe.name);
        let (found, goal, seconds) =
            (outcome.results.get(recipe.goal.result()), recipe.goal, started.elapsed().as_secs_f64());
        println!("{}: {found:?} ({goal}) in {seconds:.0} s; {:?}", recipe.name, outcome.results);
        if outcome.reached != Some(true) || seconds > SECONDS {
            missed.push(format!("{}: {found:?}, {goal}, {seconds:.0} s", recipe.name));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
