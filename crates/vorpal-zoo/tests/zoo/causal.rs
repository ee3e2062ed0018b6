use vorpal_nn::{DType, Device, Tensor, value_and_grad};
use vorpal_zoo::causal::{DragonNet, Irm, Notears, TarNet, TreatmentOptions};

use crate::harness::{Case, assert_close, check, classes, noisy, values};

const SIZES: TreatmentOptions = TreatmentOptions { covariates: 3, width: 6, layers: 2, head: 4 };

fn treated(device: &Device) -> Tensor {
    classes(2, &[8], 2, device).cast(DType::F32)
}

#[test]
fn tarnet() {
    check(Case::new(
        "tarnet",
        |device| TarNet::new(SIZES, device),
        |m, device| m.forward(&noisy(1, &[8, 3], device)),
        &[8, 2],
        |m, device| {
            let outcomes = m.forward(&noisy(1, &[8, 3], device));
            TarNet::objective(&outcomes, &treated(device), &noisy(3, &[8], device))
        },
    ));
}

#[test]
fn an_outcome_teaches_only_the_head_of_what_happened() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = TarNet::new(SIZES, &device);
    let (x, y) = (noisy(1, &[4, 3], &device), noisy(3, &[4], &device));
    let all = Tensor::ones([4], DType::F32, &device);
    let (_, grads) =
        value_and_grad(&model, |m| TarNet::objective(&m.forward(&x), &all, &y)).expect("derivatives");
    vorpal_nn::Module::walk(&grads, "", &mut |name, _, grad| {
        let nothing = values(grad).iter().all(|v| *v == 0.0);
        assert_eq!(nothing, name.starts_with("untreated."), "{name}");
    });
    let both = model.forward(&x);
    assert_close(
        &model.effect(&x),
        &(both.narrow(1, 1, 1) - both.narrow(1, 0, 1)).squeeze(1),
        1e-6,
        "effects",
    );
}

#[test]
fn dragonnet() {
    check(Case::new(
        "dragonnet",
        |device| DragonNet::new(SIZES, device),
        |m, device| m.forward(&noisy(1, &[8, 3], device)),
        &[8, 4],
        |m, device| {
            let answers = m.forward(&noisy(1, &[8, 3], device));
            DragonNet::objective(&answers, &treated(device), &noisy(3, &[8], device))
        },
    ));
}

#[test]
fn the_objective_of_dragonnet_by_hand() {
    let device = Device::cpu();
    // Outcomes 1 and 3, even odds, a correction of 0.5; treated, and 2 came of it.
    let answers = Tensor::from_slice(&[1.0f32, 3.0, 0.0, 0.5], [1, 4], &device);
    let one = Tensor::ones([1], DType::F32, &device);
    let found = values(&DragonNet::objective(&answers, &one, &(&one * 2.0)))[0];
    // (3 - 2)², ln 2 and 0.1 · (3 + 0.5 · 1 ∕ 0.5 - 2)².
    assert!((found - (1.0 + 2.0f32.ln() + 0.4)).abs() < 1e-5, "{found}");
}

#[test]
fn notears() {
    fn score(m: &Notears, device: &Device) -> Tensor {
        let x = noisy(1, &[8, 4], device);
        let one = Tensor::ones([1], DType::F32, device).squeeze(0);
        m.lagrangian(&(&x + x.roll(1, 1) * 2.0), 0.01, &one, &one)
    }
    check(Case::new(
        "notears",
        |device| Notears { weight: noisy(7, &[4, 4], device) * 0.1 },
        |m, _| m.graph(),
        &[4, 4],
        score,
    ));
}

#[test]
fn notears_counts_cycles() {
    let device = Device::cpu();
    let cycles = |weights: [f32; 9]| {
        let model = Notears { weight: Tensor::from_slice(&weights, [3, 3], &device) };
        values(&model.cycles().reshape([1]))[0]
    };
    // Any order of variables will do, and what stands on the diagonal is not looked at.
    assert!(cycles([5.0, 0.0, 0.0, 2.0, 0.0, 0.0, -1.0, 0.5, 0.0]).abs() < 1e-5);
    // One circle of three with weights 1: 3 · (1 ∕ 3! + 1 ∕ 6! + …).
    let circle = cycles([0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0]);
    assert!((circle - 3.0 * (1.0 / 6.0 + 1.0 / 720.0)).abs() < 1e-4, "{circle}");
}

fn environments(device: &Device) -> [(Tensor, Tensor); 2] {
    let answers = |series| classes(series, &[6], 2, device).cast(DType::F32);
    [(noisy(1, &[6, 4], device), answers(2)), (noisy(3, &[6, 4], device), answers(4))]
}

#[test]
fn irm() {
    check(Case {
        // Answers are random, and the penalty keeps from learning them by heart at once.
        steps: 40,
        rate: 0.05,
        ..Case::new(
            "irm",
            |device| Irm::new(4, 8, device),
            |m, device| m.forward(&noisy(1, &[6, 4], device)),
            &[6],
            |m, device| {
                let (risk, penalty) = m.objective(&environments(device));
                risk + penalty
            },
        )
    });
}

#[test]
fn the_penalty_of_irm_is_the_slope_by_a_scale() {
    let device = Device::cpu();
    let (logits, answers) = (noisy(1, &[6], &device), classes(2, &[6], 2, &device).cast(DType::F32));
    // The derivative of the risk by a scale, written out: the mean of (σ(l) - y) · l.
    let slope = ((logits.sigmoid() - &answers) * &logits).mean_all();
    assert_close(&Irm::penalty(&logits, &answers), &slope.square(), 1e-5, "the penalty");
    // And the derivative of the penalty by the logits, against differences.
    let (_, grad) = value_and_grad(&logits, |l| Irm::penalty(l, &answers)).expect("a derivative");
    let step = 1e-2;
    for k in 0..6 {
        let mut by = [0.0f32; 6];
        by[k] = step;
        let by = Tensor::from_slice(&by, [6], &device);
        let at = |l: Tensor| values(&Irm::penalty(&l, &answers).reshape([1]))[0];
        let slope = (at(&logits + &by) - at(&logits - &by)) / (2.0 * step);
        assert!((slope - values(&grad)[k]).abs() < 2e-3, "{slope} {:?}", values(&grad));
    }
}
