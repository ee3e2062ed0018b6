use vorpal_nn::data::{Digits, PIXELS};
use vorpal_nn::{Device, Optimizer, Tensor, eval, value_and_grad};
use vorpal_zoo::data::Rows;
use vorpal_zoo::linear::{
    LinearRegression, LogisticRegression, SoftmaxRegression, Temperature, condition_number,
    conformal_threshold,
};

use crate::harness::{Case, assert_close, check, classes, losses, noisy, values};

#[test]
fn linear_regression() {
    check(Case {
        rate: 0.1,
        ..Case::new(
            "least_squares",
            |device| LinearRegression::new(3, device),
            |m, device| m.forward(&noisy(1, &[8, 3], device)),
            &[8],
            |m, device| m.forward(&noisy(1, &[8, 3], device)).mse(&noisy(2, &[8], device)),
        )
    });
}

/// The patients, all of them, standardised.
fn patients(device: &Device) -> (Tensor, Tensor) {
    Rows::diabetes().expect("a table").split(0.0, 0).0.tensors(device)
}

#[test]
fn solutions_are_those_of_scikit_learn() {
    let device = Device::cpu();
    let (x, y) = patients(&device);
    // LinearRegression().coef_ of load_diabetes(scaled=False) after StandardScaler, and Ridge(alpha=20).
    let plain = [
        -0.476_121,
        -11.406_867,
        24.726_55,
        15.429_404,
        -37.679_953,
        22.676_163,
        4.806_138,
        8.422_039,
        35.734_446,
        3.216_674,
    ];
    let solved = LinearRegression::lstsq(&x, &y);
    let expected = Tensor::from_slice::<f32>(&plain, [10], &device);
    assert_close(&solved.weight, &expected, 1e-3, "QR");
    assert_close(&LinearRegression::ridge(&x, &y, 0.0).weight, &expected, 1e-3, "normal equations");
    assert!((solved.bias.item::<f32>().expect("a number") - 152.133_48).abs() < 1e-2);
    let ridge = [
        -0.148_302,
        -10.593_598,
        24.225_97,
        14.861_895,
        -7.044_392,
        -1.413_758,
        -8.147_574,
        5.408_156,
        23.255_887,
        3.728_379,
    ];
    let found = LinearRegression::ridge(&x, &y, 20.0).weight;
    assert_close(&found, &Tensor::from_slice::<f32>(&ridge, [10], &device), 1e-3, "ridge");
    // numpy.linalg.cond of the same.
    let condition = condition_number(&x).item::<f32>().expect("a number");
    assert!((condition / 21.681_28 - 1.0).abs() < 2e-3, "{condition}");
}

#[test]
fn a_ridge_is_where_its_own_gradient_vanishes() {
    let device = Device::cpu();
    let (x, y) = patients(&device);
    let alpha = 20.0;
    let model = LinearRegression::ridge(&x, &y, alpha);
    let (_, grads) = value_and_grad(&model, |m| {
        (m.forward(&x) - &y).square().sum_all() + m.weight.square().sum_all() * alpha
    })
    .expect("a graph");
    let size = values(&x.t().matmul(&y.unsqueeze(1))).iter().fold(0.0f32, |a, v| a.max(v.abs()));
    assert!(values(&grads.weight).iter().all(|g| g.abs() < 1e-4 * size), "{:?} of {size}", grads.weight);
    assert!(values(&grads.bias)[0].abs() < 1e-4 * size);
}

#[test]
fn logistic_regression() {
    check(Case {
        rate: 0.1,
        ..Case::new(
            "logistic",
            |device| LogisticRegression::new(3, device),
            |m, device| m.forward(&noisy(1, &[8, 3], device)),
            &[8],
            |m, device| m.loss(&noisy(1, &[8, 3], device), &classes(2, &[8], 2, device)),
        )
    });
}

#[test]
fn a_net_leaves_features_out() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (x, y) = Rows::breast_cancer().expect("a table").split(0.0, 0).0.tensors(&device);
    let mut model = LogisticRegression::new(30, &device);
    let mut optimizer = vorpal_nn::Sgd::new(0.5);
    for _ in 0..500 {
        let (_, grads) = value_and_grad(&model, |m| m.loss(&x, &y)).expect("a graph");
        optimizer.step(&mut model, grads).expect("a step");
        model.shrink(0.5, 0.05, 0.0);
        eval(&(&model, &optimizer)).expect("values");
    }
    let (_, grads) = value_and_grad(&model, |m| m.loss(&x, &y)).expect("a graph");
    let (weights, grads) = (values(&model.weight), values(&grads.weight));
    let left_out = weights.iter().filter(|w| **w == 0.0).count();
    assert!((15..30).contains(&left_out), "{weights:?}");
    // The conditions of a minimum: no gradient is larger than the penalty.
    assert!(grads.iter().all(|g| g.abs() < 0.05 * 1.05), "{grads:?}");
}

#[test]
fn softmax_regression() {
    check(Case {
        rate: 0.1,
        ..Case::new(
            "softmax",
            |device| SoftmaxRegression::new(6, 3, device),
            |m, device| m.forward(&noisy(1, &[9, 6], device)),
            &[9, 3],
            |m, device| m.forward(&noisy(1, &[9, 6], device)).cross_entropy(&classes(2, &[9], 3, device)),
        )
    });
}

#[test]
fn temperature() {
    check(Case {
        rate: 0.1,
        ..Case::new(
            "temperature",
            Temperature::new,
            |m, device| m.forward(&noisy(1, &[9, 6], device)),
            &[9, 6],
            |m, device| {
                (m.forward(&(noisy(1, &[9, 6], device) * 10.0))).cross_entropy(&classes(2, &[9], 6, device))
            },
        )
    });
}

#[test]
fn a_fitted_temperature_undoes_one() {
    let device = Device::cpu();
    let _keys = device.fork_rng(5);
    // Classes that are drawn from the probabilities themselves need no other temperature.
    let logits = Tensor::randn([4000, 5], vorpal_nn::DType::F32, &device);
    let drawn = logits.categorical(1).reshape([4000]);
    eval(&(&logits, &drawn)).expect("values");
    let fitted = Temperature::fit(&(&logits * 3.0), &drawn).expect("a fit");
    let found = fitted.log_temperature.exp().item::<f32>().expect("a number");
    assert!((found / 3.0 - 1.0).abs() < 0.1, "{found}");
    let sure = logits.softmax(-1);
    let half = 2000;
    let limit = conformal_threshold(&sure.narrow(0, 0, half), &drawn.narrow(0, 0, half), 0.8);
    let right = sure.gather(1, &drawn.unsqueeze(1).cast(vorpal_nn::DType::I32)).squeeze(1);
    let scores: Tensor = 1.0 - right.narrow(0, half, half);
    let covered = scores.le(&limit).cast(vorpal_nn::DType::F32).mean_all();
    let covered = covered.item::<f32>().expect("a number");
    assert!((covered - 0.8).abs() < 0.04, "{covered}");
}

#[test]
fn pixels_of_two_digits_lie_on_two_sides_of_a_plane() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (digits, _) = Digits::embedded().expect("digits");
    let chosen: Vec<usize> = (0..400).filter(|&k| digits.labels[k] < 2).collect();
    let pixels: Vec<f32> = chosen
        .iter()
        .flat_map(|k| &digits.images[k * PIXELS..(k + 1) * PIXELS])
        .map(|&p| f32::from(p) / 255.0)
        .collect();
    let names: Vec<i32> = chosen.iter().map(|&k| i32::from(digits.labels[k])).collect();
    let x = Tensor::from_slice(&pixels, [chosen.len(), PIXELS], &device);
    let y = Tensor::from_slice(&names, [chosen.len()], &device);
    let mut model = SoftmaxRegression::new(PIXELS, 2, &device);
    losses(&mut model, 30, 0.01, |m| m.forward(&x).cross_entropy(&y));
    let found = model.forward(&x).argmax(1).cast(vorpal_nn::DType::I32).to_vec::<i32>().expect("classes");
    assert_eq!(found, names);
}
