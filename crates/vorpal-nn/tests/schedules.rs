//! Schedules against PyTorch's.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;

use vorpal_nn::schedule::{
    Anneal, Chained, Constant, CosineAnnealing, CosineWarmRestarts, CosineWarmRestartsOptions, Cyclic,
    CyclicMode, CyclicOptions, Exponential, InverseSqrt, Lambda, Linear, MultiStep, OneCycle,
    OneCycleOptions, Plateau, PlateauOptions, Polynomial, Schedule, Sequential, StepDecay, warmup,
};

/// Lists of numbers by name, as `golden/schedules.py` writes them.
fn golden() -> BTreeMap<String, Vec<f64>> {
    serde_json::from_str(include_str!("golden/schedules.json")).expect("lists of numbers")
}

#[track_caller]
fn close(name: &str, expected: &[f64], found: impl Fn(u64) -> f64) {
    for (step, &expected) in (0u64..).zip(expected) {
        let found = found(step);
        assert!((found - expected).abs() <= 1e-11, "{name}, step {step}: {found}, should be {expected}");
    }
}

fn all() -> Vec<(&'static str, Box<dyn Schedule>)> {
    let cyclic = |down, mode| {
        let options =
            CyclicOptions { step_size_up: 8, step_size_down: down, mode, ..CyclicOptions::default() };
        Box::new(Cyclic::new(0.01, 0.2, options))
    };
    let restarts = CosineWarmRestartsOptions { t_mult: 2, eta_min: 0.01 };
    let linear = OneCycleOptions {
        pct_start: 0.4,
        anneal: Anneal::Linear,
        three_phase: true,
        div_factor: 10.0,
        final_div_factor: 50.0,
        ..OneCycleOptions::default()
    };
    vec![
        ("constant", Box::new(Constant::new(0.1).first(0.25, 30))),
        ("linear", Box::new(Linear::new(0.1, 0.2, 0.9, 40))),
        ("step", Box::new(StepDecay::new(0.1, 30, 0.3))),
        ("multistep", Box::new(MultiStep::new(0.1, vec![10, 50, 90], 0.5))),
        ("exponential", Box::new(Exponential::new(0.1, 0.95))),
        ("polynomial", Box::new(Polynomial::new(0.1, 80, 1.7))),
        ("cosine", Box::new(CosineAnnealing::new(0.1, 60).lowest(0.01))),
        ("restarts", Box::new(CosineWarmRestarts::with_options(0.1, 7, restarts))),
        ("restarts alike", Box::new(CosineWarmRestarts::new(0.1, 9))),
        ("one cycle", Box::new(OneCycle::new(0.5, 101))),
        ("one cycle linear", Box::new(OneCycle::with_options(0.5, 101, linear))),
        ("cyclic", cyclic(Some(13), CyclicMode::Triangular)),
        ("cyclic 2", cyclic(None, CyclicMode::Triangular2)),
        ("cyclic range", cyclic(None, CyclicMode::ExpRange(0.97))),
        ("lambda", Box::new(Lambda::new(0.1, |k| 1.0 / (1.0 + 0.1 * k as f64)))),
        ("inverse sqrt", Box::new(InverseSqrt::new(0.1, 12))),
        ("sequential", Box::new(warmup(20).start(0.1).then(CosineAnnealing::new(0.1, 80)))),
        (
            "sequential",
            Box::new(
                Sequential::new(Linear::new(0.1, 0.1, 1.0, 20)).then_at(20, CosineAnnealing::new(0.1, 80)),
            ),
        ),
        (
            "chained",
            Box::new(Chained::new(Constant::new(0.1).first(0.1, 20)).times(Exponential::new(1.0, 0.9))),
        ),
    ]
}

#[test]
fn schedules_are_pytorchs() {
    let golden = golden();
    for (name, schedule) in all() {
        close(name, &golden[name], |step| schedule.rate(step));
        assert!(schedule.state().is_empty(), "{name} only counts");
    }
    let cycle = OneCycle::new(0.5, 101);
    close("one cycle momentum", &golden["one cycle momentum"], |step| cycle.momentum(step));
    let options = CyclicOptions { step_size_up: 8, step_size_down: Some(13), ..CyclicOptions::default() };
    let cyclic = Cyclic::new(0.01, 0.2, options);
    close("cyclic momentum", &golden["cyclic momentum"], |step| cyclic.momentum(step));
}

#[test]
fn plateaus_are_pytorchs_and_go_on_where_they_were() {
    let golden = golden();
    let down = PlateauOptions {
        factor: 0.5,
        patience: 3,
        cooldown: 2,
        min_rate: 0.002,
        ..PlateauOptions::default()
    };
    let up = PlateauOptions {
        maximize: true,
        relative: false,
        threshold: 0.01,
        factor: 0.7,
        patience: 5,
        ..PlateauOptions::default()
    };
    for (name, options) in [("plateau", down), ("plateau up", up)] {
        // Behind a warm-up of no steps and beside a factor of 1: they pass on what they are told.
        let make = || Chained::new(warmup(0).then(Plateau::new(0.1, options))).times(Constant::new(1.0));
        let mut schedule = make();
        for (step, (&expected, &metric)) in golden[name].iter().zip(&golden["metrics"]).enumerate() {
            let found = schedule.rate(step as u64);
            assert!((found - expected).abs() < 1e-11, "{name}, step {step}: {found}, should be {expected}");
            schedule.observe(metric);
            let state = schedule.state();
            schedule = make();
            schedule.set_state(&state).expect("its own state");
        }
    }
}

#[test]
fn odd_schedules_and_foreign_states_are_told() {
    let mut schedule =
        Sequential::new(Constant::new(1.0)).then_at(5, Plateau::new(0.5, PlateauOptions::default()));
    assert!(
        schedule
            .set_state(&[1.0, 2.0])
            .expect_err("too few")
            .to_string()
            .contains("asked for 4 numbers, found 2")
    );
    assert!(
        schedule
            .set_state(&[1.0; 5])
            .expect_err("too many")
            .to_string()
            .contains("asked for 4 numbers, found 5")
    );
    assert_eq!((schedule.rate(4), schedule.rate(5)), (1.0, 0.5));
    // Lengths of nothing are no division by nothing.
    for schedule in [
        Box::new(StepDecay::new(1.0, 0, 0.5)) as Box<dyn Schedule>,
        Box::new(CosineAnnealing::new(1.0, 0)),
        Box::new(CosineWarmRestarts::new(1.0, 0)),
        Box::new(Polynomial::new(1.0, 0, 1.0)),
        Box::new(OneCycle::new(1.0, 0)),
        Box::new(InverseSqrt::new(1.0, 0)),
        Box::new(warmup(0).then(Constant::new(1.0))),
        Box::new(Cyclic::new(0.0, 1.0, CyclicOptions { step_size_up: 0, ..CyclicOptions::default() })),
    ] {
        assert!([0, 1, 7].iter().all(|&step| schedule.rate(step).is_finite()));
    }
}
