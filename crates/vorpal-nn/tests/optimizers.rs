//! Optimisers against PyTorch and the papers, their steady state, their files.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vorpal_nn::{
    Adadelta, AdadeltaOptions, Adafactor, AdafactorOptions, Adagrad, AdagradOptions, Adam, AdamOptions,
    Adamax, AdamaxOptions, DType, Device, Lamb, LambOptions, Lbfgs, LbfgsOptions, Lion, LionOptions, Muon,
    MuonOptions, MuonRate, NAdam, NAdamOptions, Optim, Optimizer, ParameterGroup, RAdam, RAdamOptions,
    RmsProp, RmsPropOptions, Rprop, Sgd, SgdOptions, Shampoo, ShampooOptions, Tensor, UpdateRule,
    clip_grad_norm_p, eval, global_norm_p, grad, optimizer_from_safetensors, optimizer_to_safetensors,
    value_and_grad,
};

type Golden = BTreeMap<String, Vec<f64>>;

/// Lists of numbers by name, as `golden/optimizers.py` writes them.
fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/optimizers.json")).expect("lists of numbers")
}

/// Tests look at the counters of devices: one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The problem of `golden/optimizers.py` on a device.
struct Problem {
    x: Tensor,
    y: Tensor,
}

impl Problem {
    fn new(golden: &Golden, device: &Device, dtype: DType) -> (Problem, Vec<Tensor>) {
        let tensor = |name: &str, shape: &[usize]| {
            let wide = golden[name].iter().map(|&v| v as f32).collect::<Vec<f32>>();
            if dtype == DType::F64 {
                Tensor::from_slice(&golden[name], shape, device)
            } else {
                Tensor::from_slice(&wide, shape, device)
            }
        };
        let problem = Problem { x: tensor("x", &[6, 4]), y: tensor("y", &[6, 3]) };
        (problem, vec![tensor("w", &[4, 3]), tensor("b", &[3])])
    }

    fn loss(&self, model: &[Tensor]) -> Tensor {
        (self.x.matmul(&model[0]) + &model[1]).tanh().mse(&self.y)
    }
}

fn numbers(model: &[Tensor]) -> Vec<f64> {
    let values = |t: &Tensor| match t.dtype() {
        DType::F64 => t.to_vec::<f64>().expect("values"),
        _ => t.to_vec::<f32>().expect("values").into_iter().map(f64::from).collect(),
    };
    model.iter().flat_map(values).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
        assert!(near, "{what}, number {k}: {found}, should be {expected}");
    }
}

/// What a test does with every optimiser.
trait Visitor {
    fn see<R: UpdateRule>(&mut self, name: &str, make: &dyn Fn() -> Optim<R>);
}

fn maximizing<R>(mut optimizer: Optim<R>) -> Optim<R> {
    optimizer.maximize = true;
    optimizer
}

fn gradient_descents(v: &mut impl Visitor) {
    v.see("sgd", &|| Sgd::new(0.1));
    let options = SgdOptions { momentum: 0.9, ..SgdOptions::default() };
    let damped = SgdOptions { dampening: 0.2, weight_decay: 0.01, ..options.clone() };
    v.see("sgd momentum", &|| Sgd::with_options(0.1, damped.clone()));
    v.see("sgd nesterov", &|| Sgd::with_options(0.1, SgdOptions { nesterov: true, ..options.clone() }));
    v.see("sgd maximize", &|| {
        let options = SgdOptions { weight_decay: 0.01, ..options.clone() };
        maximizing(Sgd::with_options(0.1, options))
    });
    v.see("rprop", &|| Rprop::new(0.1));
    v.see("lion", &|| Lion::with_options(1e-2, LionOptions { weight_decay: 0.1, ..LionOptions::default() }));
}

fn adams(v: &mut impl Visitor) {
    let plain = || AdamOptions { weight_decay: 0.1, ..AdamOptions::default() };
    v.see("adam", &|| Adam::new(1e-2));
    v.see("adam decay", &|| Adam::with_options(1e-2, AdamOptions { betas: (0.8, 0.95), ..plain() }));
    v.see("adamw", &|| Adam::adamw(1e-2));
    v.see("adamw amsgrad", &|| {
        let options =
            AdamOptions { betas: (0.5, 0.6), amsgrad: true, decoupled: true, weight_decay: 0.01, ..plain() };
        Adam::with_options(0.2, options)
    });
    v.see("adam maximize", &|| maximizing(Adam::with_options(1e-2, plain())));
    v.see("grouped", &|| {
        let bias = ParameterGroup::named(|name| name == "1").rate_factor(0.2).weight_decay(0.0);
        Adam::with_options(1e-2, AdamOptions { decoupled: true, ..plain() }).group(bias)
    });
    let options = NAdamOptions { weight_decay: 0.1, ..NAdamOptions::default() };
    v.see("nadam", &|| NAdam::with_options(1e-2, options.clone()));
    v.see("nadam decoupled", &|| {
        NAdam::with_options(1e-2, NAdamOptions { decoupled: true, ..options.clone() })
    });
    let options = RAdamOptions { weight_decay: 0.1, ..RAdamOptions::default() };
    v.see("radam", &|| RAdam::with_options(1e-2, RAdamOptions { betas: (0.9, 0.99), ..options.clone() }));
    v.see("radam decoupled", &|| {
        RAdam::with_options(1e-2, RAdamOptions { decoupled: true, ..options.clone() })
    });
    let options = AdamaxOptions { weight_decay: 0.1, ..AdamaxOptions::default() };
    v.see("adamax", &|| Adamax::with_options(1e-2, options.clone()));
    v.see("lamb", &|| Lamb::with_options(1e-2, LambOptions { weight_decay: 0.1, ..LambOptions::default() }));
}

fn adaptive(v: &mut impl Visitor) {
    let options = AdagradOptions {
        rate_decay: 0.1,
        weight_decay: 0.1,
        initial_accumulator_value: 0.1,
        ..AdagradOptions::default()
    };
    v.see("adagrad", &|| Adagrad::with_options(0.1, options.clone()));
    let options = AdadeltaOptions { weight_decay: 0.1, ..AdadeltaOptions::default() };
    v.see("adadelta", &|| Adadelta::with_options(1.0, options.clone()));
    v.see("rmsprop", &|| RmsProp::new(1e-2));
    let options = RmsPropOptions { centered: true, ..RmsPropOptions::default() };
    v.see("rmsprop centered", &|| {
        RmsProp::with_options(1e-2, RmsPropOptions { alpha: 0.9, weight_decay: 0.1, ..options.clone() })
    });
    v.see("rmsprop momentum", &|| {
        RmsProp::with_options(1e-2, RmsPropOptions { momentum: 0.9, ..options.clone() })
    });
    let options = AdafactorOptions { weight_decay: 0.01, ..AdafactorOptions::default() };
    v.see("adafactor", &|| Adafactor::with_options(0.1, options.clone()));
}

fn matrices(v: &mut impl Visitor) {
    let options = MuonOptions { adam_rate_factor: 0.1, ..MuonOptions::default() };
    v.see("muon", &|| Muon::with_options(2e-2, options.clone()));
    v.see("muon plain", &|| {
        let rate = MuonRate::MatchRmsAdamw;
        Muon::with_options(2e-2, MuonOptions { nesterov: false, adjust_rate: rate, ..options.clone() })
    });
    v.see("shampoo", &|| Shampoo::new(0.1));
    v.see("shampoo momentum", &|| {
        let options =
            ShampooOptions { momentum: 0.9, weight_decay: 0.1, update_every: 4, ..ShampooOptions::default() };
        Shampoo::with_options(0.1, options)
    });
    v.see("shampoo one side", &|| {
        Shampoo::with_options(0.1, ShampooOptions { longest_axis: 3, ..ShampooOptions::default() })
    });
}

fn all(v: &mut impl Visitor) {
    gradient_descents(v);
    adams(v);
    adaptive(v);
    matrices(v);
}

/// Follows the 20 steps. After step 5 it goes on with what a file brings back; all but the steps around that compile
/// and allocate nothing.
struct Trajectories(Golden);

impl Visitor for Trajectories {
    fn see<R: UpdateRule>(&mut self, name: &str, make: &dyn Fn() -> Optim<R>) {
        let device = Device::cpu();
        let (problem, mut model) = Problem::new(&self.0, &device, DType::F64);
        let (mut optimizer, mut found) = (make(), Vec::new());
        for step in 1..=20 {
            let before = device.stats();
            let (loss, grads) = value_and_grad(&model, |m| problem.loss(m)).expect("a graph");
            // A rate that changes is no reason to compile.
            optimizer.set_learning_rate(make().learning_rate);
            optimizer.step(&mut model, grads).expect("a step");
            eval(&(&loss, &model, &optimizer)).expect("a step");
            let change = device.stats() - before;
            if (3..=5).contains(&step) || step > 7 {
                let made = (change.plans_compiled, change.buffers_allocated, change.submits);
                assert_eq!(made, (0, 0, 1), "{name}, step {step}");
            }
            if [1, 3, 20].contains(&step) {
                found.extend(numbers(&model));
            }
            if step == 5 {
                let file = optimizer_to_safetensors(&optimizer).expect("it saves");
                optimizer = make();
                optimizer_from_safetensors(&mut optimizer, &model, &file, "the file").expect("it loads");
                assert_eq!(optimizer.state().steps, 5);
            }
        }
        close(&found, &self.0[name], 1e-8, name);
    }
}

#[test]
fn every_optimiser_follows_its_reference_from_files_as_well() {
    let _guard = alone();
    all(&mut Trajectories(golden()));
}

/// One step of all optimisers in one plan.
struct Joint {
    golden: Golden,
    device: Device,
    models: Vec<(String, Vec<Tensor>)>,
    kept: Vec<Tensor>,
}

impl Visitor for Joint {
    fn see<R: UpdateRule>(&mut self, name: &str, make: &dyn Fn() -> Optim<R>) {
        let (problem, mut model) = Problem::new(&self.golden, &self.device, DType::F32);
        let mut optimizer = make();
        let grads = grad(&model, |m| problem.loss(m)).expect("a graph");
        optimizer.step(&mut model, grads).expect("a step");
        self.kept.extend(optimizer.state().kept.values().flat_map(|kept| kept.tensors.clone()));
        self.models.push((name.to_string(), model));
    }
}

#[test]
fn adapters_take_the_same_step() {
    let _guard = alone();
    let Ok(device) = Device::software() else {
        println!("skipped: no software adapter");
        return;
    };
    let mut joint = Joint { golden: golden(), device, models: Vec::new(), kept: Vec::new() };
    all(&mut joint);
    let models: Vec<&Vec<Tensor>> = joint.models.iter().map(|(_, model)| model).collect();
    eval(&(models, &joint.kept)).expect("a step");
    for (name, model) in &joint.models {
        // The root of a matrix whose eigenvalues lie four decades apart.
        let tolerance = if name.starts_with("shampoo") { 2e-3 } else { 2e-5 };
        close(&numbers(model), &joint.golden[name][..15], tolerance, name);
    }
}

#[test]
fn frozen_parameters_rest_and_count_their_own_steps() {
    let _guard = alone();
    let golden = golden();
    let (problem, mut model) = Problem::new(&golden, &Device::cpu(), DType::F64);
    let bias = || ParameterGroup::named(|name| name == "1");
    let mut optimizer = Adam::new(1e-2).group(bias().frozen());
    let start = numbers(&model[1..]);
    let step = |model: &mut Vec<Tensor>, optimizer: &mut Adam| {
        let grads = grad(model, |m| problem.loss(m)).expect("a graph");
        optimizer.step(model, grads).expect("a step");
        eval(&(&*model, &*optimizer)).expect("a step");
    };
    for _ in 0..3 {
        step(&mut model, &mut optimizer);
    }
    assert_eq!(numbers(&model[1..]), start);
    let file = optimizer_to_safetensors(&optimizer).expect("it saves");
    let mut thawed = Adam::new(1e-2);
    let error = optimizer_from_safetensors(&mut thawed, &model, &file, "file").expect_err("a parameter more");
    assert!(error.to_string().contains("missing 1.exp_avg, 1.exp_avg_sq"), "{error}");
    optimizer.set_groups(Vec::new());
    step(&mut model, &mut optimizer);
    // The first step of Adam is as long as its step size.
    let moved: Vec<f64> = numbers(&model[1..]).iter().zip(&start).map(|(a, b)| (a - b).abs()).collect();
    close(&moved, &[1e-2; 3], 1e-6, "the first step of a bias");
    assert_eq!(optimizer.state().since["1"], 3);
    let file = optimizer_to_safetensors(&optimizer).expect("it saves");
    optimizer_from_safetensors(&mut thawed, &model, &file, "file").expect("it loads");
    assert_eq!(thawed.state().since, optimizer.state().since);
}

#[test]
fn a_step_that_is_called_off_changes_nothing() {
    let _guard = alone();
    let golden = golden();
    let (problem, mut model) = Problem::new(&golden, &Device::cpu(), DType::F64);
    let start = numbers(&model);
    let mut optimizer = Adam::new(1e-2);
    for (go, moves) in [(false, false), (true, true), (false, true)] {
        let condition = Tensor::from_item(go, &Device::cpu());
        let before = numbers(&model);
        let grads = grad(&model, |m| problem.loss(m) * if go { 1.0 } else { f64::NAN }).expect("a graph");
        optimizer.step_if(&mut model, grads, Some(&condition)).expect("a step");
        eval(&(&model, &optimizer)).expect("a step");
        assert_eq!(numbers(&model) == before, !go);
        assert_eq!(numbers(&model) != start, moves);
        let means = &optimizer.state().kept["0"].tensors[0];
        assert!(numbers(std::slice::from_ref(means)).iter().all(|m| m.is_finite() && (*m != 0.0) == moves));
    }
}

#[test]
fn gradients_are_clipped_by_any_norm() {
    let _guard = alone();
    let grads = vec![
        Tensor::from_slice(&[3.0f64, -4.0], [2], &Device::cpu()),
        Tensor::from_slice(&[12.0f64], [1], &Device::cpu()),
    ];
    for (p, norm) in [(2.0, 13.0), (1.0, 19.0), (f64::INFINITY, 12.0), (3.0, 1819f64.cbrt())] {
        let found = global_norm_p(&grads, p).expect("gradients").item::<f64>().expect("a number");
        assert!((found - norm).abs() < 1e-9, "{p}: {found}");
        let (clipped, _) = clip_grad_norm_p(&grads, 1.0, p);
        let after = global_norm_p(&clipped, p).expect("gradients").item::<f64>().expect("a number");
        assert!((after - 1.0).abs() < 1e-6, "{p}: {after}");
        assert_eq!(numbers(&clip_grad_norm_p(&grads, 100.0, p).0), [3.0, -4.0, 12.0]);
    }
}

#[test]
fn lbfgs_is_pytorchs() {
    let _guard = alone();
    let golden = golden();
    let wolfe = LbfgsOptions { max_iter: 5, strong_wolfe: true, ..LbfgsOptions::default() };
    for (name, rate, options) in [
        ("lbfgs", 0.5, LbfgsOptions { max_iter: 5, ..LbfgsOptions::default() }),
        ("lbfgs wolfe", 1.0, wolfe.clone()),
        ("lbfgs short", 1.0, LbfgsOptions { max_iter: 8, history_size: 2, ..wolfe }),
    ] {
        let (problem, mut model) = Problem::new(&golden, &Device::cpu(), DType::F64);
        let (mut optimizer, mut found) = (Lbfgs::with_options(rate, options), Vec::new());
        for _ in 0..3 {
            found.push(optimizer.step(&mut model, |m| problem.loss(m)).expect("a step"));
            found.extend(numbers(&model));
        }
        close(&found, &golden[name], 1e-7, name);
    }
}
