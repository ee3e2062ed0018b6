use vorpal_nn::{DType, Device, Linear, Module, Tensor, eval, grad};
use vorpal_zoo::beyond::{
    Byol, CartPole, Dqn, Encoder, LoraMlp, Maml, Met, NeuralOde, Pinn, SimClr, Student, VectorField, descend,
    odeint, odeint_adjoint,
};

use crate::harness::{Case, assert_close, check, classes, distance, noisy, set, tensor, values};

fn images(series: u32, n: usize, device: &Device) -> Tensor {
    noisy(series, &[n, 1, 28, 28], device) * 0.5 + 0.5
}

#[test]
fn neural_ode() {
    check(Case {
        steps: 30,
        rate: 0.03,
        ..Case::new(
            "neural_ode",
            |device| NeuralOde::new(2, 8, device),
            |m, device| m.path(&noisy(1, &[3, 2], device), 0.1, 2),
            &[3, 2, 2],
            |m, device| m.path(&noisy(1, &[3, 2], device), 0.1, 2).mse(&noisy(2, &[3, 2, 2], device)),
        )
    });
}

#[test]
fn the_adjoint_method_finds_the_derivative_of_the_solver() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let model = NeuralOde::new(2, 8, &device);
    let y = noisy(1, &[3, 2], &device);
    let wanted = noisy(2, &[3, 2], &device);
    let at = (model, y);
    let grads = |adjoint: bool, steps: usize| {
        grad(&at, |(m, y)| {
            let end = if adjoint {
                odeint_adjoint(m, y, [0.0, 1.0], steps)
            } else {
                odeint(|t, y| m.slope(t, y), y, [0.0, 1.0], steps)
            };
            end.mse(&wanted)
        })
        .expect("derivatives")
    };
    let error = |steps: usize| {
        let (adjoint, through) = (grads(true, steps), grads(false, 64));
        let mut wanted = Vec::new();
        through.0.walk("", &mut |_, _, g| wanted.push(g.clone()));
        let (mut far, mut k) = (distance(&adjoint.1, &through.1), 0);
        adjoint.0.walk("", &mut |_, _, g| {
            far = far.max(distance(g, &wanted[k]));
            k += 1;
        });
        far
    };
    let (coarse, fine) = (error(2), error(16));
    assert!(fine < 2e-6 && coarse < 1e-3, "{coarse} with 2 steps, {fine} with 16");
}

#[test]
fn the_solver_is_of_fourth_order() {
    let device = Device::cpu();
    let y = Tensor::from_slice(&[1.0f64], [1], &device);
    let error = |steps| {
        let end = odeint(|t, y| y * t.cos(), &y, [0.0, 2.0], steps);
        (end.to_vec::<f64>().expect("a number")[0] - 2f64.sin().exp()).abs()
    };
    let ratio = error(8) / error(16);
    assert!((12.0..20.0).contains(&ratio), "half the step, {ratio} of the error");
}

#[test]
fn pinn() {
    check(Case::new(
        "pinn",
        |device| Pinn::new(8, 0.05, device),
        |m, device| m.residual(&noisy(1, &[6, 2], device)),
        &[6, 1],
        |m, device| m.loss(&noisy(1, &[6, 2], device)),
    ));
}

#[test]
fn the_wave_solves_the_equation_and_the_residual_is_that_of_differences() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let model = Pinn::new(8, 0.05, &device);
    let place = [0.2f64, 0.4];
    // u and its derivatives by central differences in f64.
    let mut double = model.clone();
    double.walk_mut("", &mut |_, _, t| *t = t.cast(DType::F64));
    let residual = |u: &dyn Fn([f64; 2]) -> f64| {
        let h = 1e-3;
        let [x, t] = place;
        let (u_x, u_t) =
            ((u([x + h, t]) - u([x - h, t])) / (2.0 * h), (u([x, t + h]) - u([x, t - h])) / (2.0 * h));
        let u_xx = (u([x + h, t]) - 2.0 * u(place) + u([x - h, t])) / (h * h);
        u_t + u(place) * u_x - 0.05 * u_xx
    };
    let at = |p: [f64; 2]| Tensor::from_slice(&p, [1, 2], &device);
    let number = |t: Tensor| t.to_vec::<f64>().expect("a number")[0];
    let by_differences = residual(&|p| number(double.forward(&at(p))));
    let found = number(double.residual(&at(place)));
    assert!((found - by_differences).abs() < 1e-5, "{found}, by differences {by_differences}");
    let of_the_wave = residual(&|p| number(double.wave(&at(p))));
    assert!(of_the_wave.abs() < 1e-3, "{of_the_wave}");
}

#[test]
fn dqn() {
    fn met(device: &Device) -> Met {
        Met {
            states: noisy(1, &[5, 4], device),
            actions: classes(2, &[5], 2, device),
            rewards: noisy(3, &[5], device),
            next: noisy(4, &[5, 4], device),
            going_on: classes(5, &[5], 2, device).cast(DType::F32),
        }
    }
    check(Case {
        steps: 30,
        ..Case::new(
            "dqn",
            |device| Dqn::new(4, 2, 16, device),
            |m, device| m.forward(&noisy(1, &[5, 4], device)),
            &[5, 2],
            |m, device| m.loss(&vorpal_nn::Tree::map(m, &mut Tensor::stop_gradient), &met(device), 0.9),
        )
    });
}

#[test]
fn the_network_chooses_and_its_copy_says_what_that_is_worth() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let (model, copy) = (Dqn::new(4, 2, 8, &device), Dqn::new(4, 2, 8, &device));
    let (state, next) = (noisy(1, &[1, 4], &device), noisy(2, &[1, 4], &device));
    let met = Met {
        states: state.clone(),
        actions: Tensor::from_slice(&[1i32], [1], &device),
        rewards: Tensor::from_slice(&[0.5f32], [1], &device),
        next: next.clone(),
        going_on: Tensor::from_slice(&[1.0f32], [1], &device),
    };
    let chosen = values(&model.forward(&next));
    let worth = values(&copy.forward(&next))[usize::from(chosen[1] > chosen[0])];
    let miss = values(&model.forward(&state))[1] - (0.5 + 0.9 * worth);
    let huber = if miss.abs() < 1.0 { 0.5 * miss * miss } else { miss.abs() - 0.5 };
    let loss = model.loss(&copy, &met, 0.9).item::<f32>().expect("a loss");
    assert!((loss - huber).abs() < 1e-6, "{loss}, should be {huber}");
}

#[test]
fn a_pole_that_is_pushed_to_the_right_leans_to_the_left() {
    let mut cart = CartPole::new(1);
    let before = cart.state();
    let after = cart.push(true);
    assert!(after.state[1] > before[1] && after.state[3] < before[3], "{before:?} {after:?}");
    let mut pushes = 1;
    let end = loop {
        let pushed = cart.push(true);
        pushes += 1;
        if pushed.over {
            break pushed;
        }
    };
    assert!(end.fallen && pushes < 20, "{pushes}: {end:?}");
    // The same seed begins alike.
    assert_eq!(CartPole::new(9).state(), CartPole::new(9).state());
    assert_ne!(CartPole::new(9).state(), CartPole::new(10).state());
}

#[test]
fn maml() {
    check(Case {
        steps: 30,
        ..Case::new(
            "maml",
            |device| Maml::new(8, 0.05, device),
            |m, device| m.forward(&noisy(1, &[3, 5, 2], device), &noisy(2, &[3, 4, 1], device)),
            &[3, 4, 1],
            |m, device| {
                let found = m.forward(&noisy(1, &[3, 5, 2], device), &noisy(2, &[3, 4, 1], device));
                found.mse(&(noisy(2, &[3, 4, 1], device) * 0.5))
            },
        )
    });
}

#[test]
fn each_task_adapts_a_model_of_its_own() {
    let device = Device::cpu();
    let _keys = device.fork_rng(5);
    let model = Maml::new(8, 0.1, &device);
    let (support, query) = (noisy(1, &[3, 5, 2], &device), noisy(2, &[3, 4, 1], &device));
    let all = model.forward(&support, &query);
    for k in 0..3 {
        let one = model.forward(&support.narrow(0, k, 1), &query.narrow(0, k, 1));
        assert_close(&all.narrow(0, k, 1), &one, 1e-5, "a task by itself");
    }
    // A gradient of a gradient: on a line of one number, by hand.
    let w = Tensor::from_slice(&[2.0f64], [1], &device);
    let outer = |w: &Tensor| {
        let slope = grad(w, |w| (w * w * w).sum_all()).expect("a slope");
        descend(w, &slope, 0.01).sum_all()
    };
    let found = grad(&w, outer).expect("a derivative").to_vec::<f64>().expect("a number")[0];
    assert!((found - (1.0 - 0.01 * 6.0 * 2.0)).abs() < 1e-12, "{found}");
}

#[test]
fn student() {
    check(Case::new(
        "student",
        |device| Student::new(8, device),
        |m, device| m.forward(&images(1, 4, device)),
        &[4, 10],
        |m, device| {
            Student::loss(&m.forward(&images(1, 4, device)), &(noisy(2, &[4, 10], device) * 4.0), 2.0)
        },
    ));
    let device = Device::cpu();
    let logits = noisy(1, &[3, 10], &device);
    let same = Student::loss(&logits, &(&logits + 3.0), 4.0).item::<f32>().expect("a loss");
    assert!(same.abs() < 1e-5, "the same probabilities: {same}");
}

#[test]
fn lora() {
    check(Case {
        // The second matrix is zeros at first: the first one gets no gradient before it has moved.
        unused: &["layers.0.lora_A.weight", "layers.1.lora_A.weight"],
        steps: 30,
        ..Case::new(
            "lora",
            |device| {
                let base = [(12, 8), (8, 3)].map(|(from, to)| Linear::new(from, to, device));
                LoraMlp::new(base.to_vec(), 2, device)
            },
            |m, device| m.forward(&noisy(1, &[5, 12], device)),
            &[5, 3],
            |m, device| m.forward(&noisy(1, &[5, 12], device)).cross_entropy(&classes(2, &[5], 3, device)),
        )
    });
}

#[test]
fn lora_changes_nothing_at_first_and_can_be_merged() {
    let device = Device::cpu();
    let _keys = device.fork_rng(6);
    let base = [(12, 8), (8, 3)].map(|(from, to)| Linear::new(from, to, &device)).to_vec();
    let x = noisy(1, &[5, 12], &device);
    let before = base[1].forward(&base[0].forward(&x).relu());
    let mut model = LoraMlp::new(base, 2, &device);
    assert_close(&model.forward(&x), &before, 1e-6, "untrained");
    let mut k = 0;
    model.walk_mut("", &mut |name, _, tensor| {
        if name.contains("lora_B") {
            *tensor = noisy(7 + k, tensor.shape().dims(), &device);
            k += 1;
        }
    });
    let adapted = model.forward(&x);
    assert!(distance(&adapted, &before) > 1e-2);
    let merged = model.merged();
    assert_close(&merged[1].forward(&merged[0].forward(&x).relu()), &adapted, 1e-5, "merged");
}

#[test]
fn simclr() {
    check(Case::new(
        "simclr",
        |device| SimClr::new(8, 4, device),
        |m, device| m.forward(&images(1, 4, device)),
        &[4, 4],
        |m, device| SimClr::loss(&m.forward(&images(1, 4, device)), 0.5),
    ));
}

#[test]
fn views_of_one_picture_attract_and_others_repel() {
    let device = Device::cpu();
    let list = |v: &[f32]| Tensor::from_slice(v, [4, 2], &device);
    let loss = |v: &[f32]| SimClr::loss(&list(v), 0.5).item::<f32>().expect("a loss");
    let (right, wrong) = ([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    assert!(loss(&right) < loss(&wrong));
}

#[test]
fn byol() {
    check(Case {
        // In front of a layer without bias and its normalisation.
        unused: &["online.head.second.bias"],
        ..Case::new(
            "byol",
            |device| Byol::new(8, 4, device),
            |m, device| m.encoder().forward(&images(1, 4, device)),
            &[4, 8],
            |m, device| m.loss(&images(1, 4, device)),
        )
    });
}

#[test]
fn the_copy_follows_slowly_and_is_not_trained() {
    let device = Device::cpu();
    let _keys = device.fork_rng(8);
    let mut model = Byol::new(8, 4, &device);
    eval(&model).expect("a model");
    let target = |model: &Byol, part: &str| tensor(model, &format!("{part}.encoder.out.weight"));
    assert!(distance(&target(&model, "target"), &target(&model, "online")) < 1e-6);
    let other = target(&model, "online") + 1.0;
    set(&mut model, "online.encoder.out.weight", &other);
    model.follow(0.25);
    let moved = values(&(target(&model, "online") - target(&model, "target")));
    assert!(moved.iter().all(|d| (d - 0.75).abs() < 1e-5));
}

#[test]
fn sizes_are_as_documented() {
    let device = Device::cpu();
    let counts = [
        Encoder::new(64, &device).parameter_count(),
        NeuralOde::new(2, 50, &device).parameter_count(),
        Pinn::new(32, 0.05, &device).parameter_count(),
        Dqn::new(4, 2, 64, &device).parameter_count(),
        Maml::new(40, 0.01, &device).parameter_count(),
        Student::new(100, &device).parameter_count(),
        SimClr::new(64, 32, &device).parameter_count(),
        Byol::new(64, 32, &device).parameter_count(),
    ];
    assert_eq!(counts, [105_216, 252, 1_185, 4_610, 1_761, 89_610, 111_456, 126_272]);
}
