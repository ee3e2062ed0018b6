use vorpal_nn::{DType, Device, Module, Role, Tensor, eval};
use vorpal_zoo::forecast::{
    DeepAr, DeepArOptions, Esn, EsnOptions, Likelihood, NBeats, NBeatsBasis, NBeatsOptions, PatchTst,
    PatchTstOptions, TcnForecaster, TcnOptions, season, spectral_radius,
};

use crate::harness::{Case, assert_close, check, distance, noise, noisy, tensor, values};

fn nbeats_options() -> NBeatsOptions {
    let stacks = vec![NBeatsBasis::Trend(2), NBeatsBasis::Seasonality(2), NBeatsBasis::Generic];
    NBeatsOptions { stacks, width: 8, layers: 2, blocks: 2, ..NBeatsOptions::interpretable(12, 6) }
}

#[test]
fn nbeats() {
    check(Case::new(
        "nbeats",
        |device| NBeats::new(&nbeats_options(), device),
        |m, device| m.forward(&noisy(1, &[4, 12], device)),
        &[4, 6],
        |m, device| m.forward(&noisy(1, &[4, 12], device)).mse(&noisy(2, &[4, 6], device)),
    ));
}

#[test]
fn nbeats_adds_a_trend_a_season_and_a_rest() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = NBeats::new(&nbeats_options(), &device);
    let x = noisy(1, &[4, 12], &device);
    let parts = model.parts(&x);
    let sum = parts.iter().skip(1).fold(parts[0].clone(), |sum, part| sum + part);
    assert_close(&sum, &model.forward(&x), 1e-6, "the parts");
    // A polynomial of degree 2 has no third differences.
    let step = |x: &Tensor| x.slice(1, 1..) - x.slice(1, ..-1);
    assert!(values(&step(&step(&step(&parts[0])))).iter().all(|v| v.abs() < 1e-5));
    // Waves as long as the horizon come back: their mean is 0.
    assert!(values(&parts[1].mean(1)).iter().all(|v| v.abs() < 1e-6));
    assert!(distance(&parts[2], &(&parts[2] * 0.0)) > 1e-3, "the rest is something");
}

const TCN: TcnOptions = TcnOptions { channels: 2, horizon: 3, width: 6, window: 2, levels: 2, dropout: 0.0 };

#[test]
fn tcn_forecaster() {
    check(Case::new(
        "tcn_forecaster",
        |device| TcnForecaster::new(TCN, device),
        |m, device| m.forward(&noisy(1, &[4, 2, 10], device)),
        &[4, 3],
        |m, device| m.forward(&noisy(1, &[4, 2, 10], device)).mse(&noisy(2, &[4, 3], device)),
    ));
}

#[test]
fn tcn_does_not_see_what_comes_and_reaches_as_far_as_it_says() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = TcnForecaster::new(TCN, &device);
    let x = noisy(1, &[1, 2, 10], &device);
    let changed = |at: usize| {
        let before = x.narrow(2, 0, at);
        Tensor::concat(&[&before, &(x.narrow(2, at, 1) + 1.0), &x.narrow(2, at + 1, 9 - at)], 2)
    };
    let answer = model.features(&x);
    let other = model.features(&changed(6));
    assert_close(&other.narrow(2, 0, 6), &answer.narrow(2, 0, 6), 0.0, "times before the change");
    assert!(distance(&other.narrow(2, 6, 1), &answer.narrow(2, 6, 1)) > 1e-4, "the time of the change");
    // 1 + 2 · (2 − 1) · (2² − 1) = 7 times: from the fourth of ten on.
    assert_close(&model.forward(&changed(2)), &model.forward(&x), 0.0, "a time out of reach");
    assert!(distance(&model.forward(&changed(3)), &model.forward(&x)) > 0.0, "the last time in reach");
}

const PATCHES: PatchTstOptions = PatchTstOptions {
    context: 12,
    horizon: 5,
    patch: 4,
    stride: 2,
    width: 8,
    heads: 2,
    layers: 1,
    feedforward: 12,
    dropout: 0.0,
};

#[test]
fn patch_tst() {
    check(Case {
        // What a constant adds to keys is the same for all and leaves the softmax as it is; PyTorch's layout has it in
        // one tensor with the other biases, so that all parameters get a gradient.
        rate: 0.02,
        ..Case::new(
            "patch_tst",
            |device| PatchTst::new(PATCHES, device),
            |m, device| m.forward(&noisy(1, &[3, 12, 2], device)),
            &[3, 5, 2],
            |m, device| m.forward(&noisy(1, &[3, 12, 2], device)).mse(&noisy(2, &[3, 5, 2], device)),
        )
    });
}

#[test]
fn patch_tst_knows_neither_level_nor_scale_and_keeps_channels_apart() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = PatchTst::new(PATCHES, &device);
    model.train(false);
    let x = noisy(1, &[3, 12, 2], &device);
    let answer = model.forward(&x);
    assert_close(&model.forward(&(&x * 3.0 + 7.0)), &(&answer * 3.0 + 7.0), 1e-4, "another level and scale");
    let other = Tensor::concat(&[&x.narrow(2, 0, 1), &noisy(5, &[3, 12, 1], &device)], 2);
    assert_close(&model.forward(&other).narrow(2, 0, 1), &answer.narrow(2, 0, 1), 1e-6, "the first channel");
}

fn deep_ar_options(likelihood: Likelihood) -> DeepArOptions {
    DeepArOptions { covariates: 2, hidden: 6, layers: 1, dropout: 0.0, likelihood, context: 6 }
}

fn known(batch: usize, times: usize, device: &Device) -> Tensor {
    let one = Tensor::from_slice(&season(0, times, 4), [1, times, 2], device);
    one.broadcast_to([batch, times, 2])
}

#[test]
fn deep_ar() {
    check(Case::new(
        "deep_ar",
        |device| DeepAr::new(deep_ar_options(Likelihood::StudentT), device),
        |m, device| m.forward(&noisy(1, &[4, 8], device), &known(4, 8, device)),
        &[4, 7, 3],
        |m, device| m.loss(&noisy(1, &[4, 8], device), &known(4, 8, device)) + 2.0,
    ));
}

#[test]
fn deep_ar_reads_what_came_before_and_nothing_else() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    // The scale is that of the first number alone.
    let options = DeepArOptions { context: 1, layers: 2, ..deep_ar_options(Likelihood::StudentT) };
    let model = DeepAr::new(options, &device);
    let (series, known) = (noisy(1, &[2, 8], &device), noisy(2, &[2, 8, 2], &device));
    let answer = model.forward(&series, &known);
    let changed = |x: &Tensor, at: usize| {
        let here = Tensor::arange(8, DType::I32, &device).eq(at as i32).cast(DType::F32);
        x + here.reshape(if x.rank() == 3 { vec![1, 8, 1] } else { vec![1, 8] })
    };
    // Row t is of number t + 1: it has read number t and what is known of t + 1.
    for at in 1..8 {
        for (what, row, other) in [
            ("a number", at, model.forward(&changed(&series, at), &known)),
            ("what is known", at - 1, model.forward(&series, &changed(&known, at))),
        ] {
            let (before, after) = (other.narrow(1, 0, row), other.narrow(1, row, 7 - row));
            assert!(
                row == 0 || distance(&before, &answer.narrow(1, 0, row)) == 0.0,
                "{what} {at} is seen before"
            );
            let told = row == 7 || distance(&after.narrow(1, 0, 1), &answer.narrow(1, row, 1)) > 1e-4;
            assert!(told, "{what} {at} is not read");
        }
    }
}

#[test]
fn deep_ar_densities_are_those_of_scipy() {
    let device = Device::cpu();
    // -scipy.stats.norm.logpdf(0.3, -0.5, 0.7) and -scipy.stats.t.logpdf(0.3, 3.5, -0.5, 0.7)
    let parameters = Tensor::from_slice(&[-0.5f32, 0.7, 3.5], [1, 3], &device);
    let value = Tensor::from_slice(&[0.3f32], [1], &device);
    let normal = values(&Likelihood::Gaussian.nll(&parameters, &value))[0];
    let student = values(&Likelihood::StudentT.nll(&parameters, &value))[0];
    assert!((normal - 1.215325).abs() < 1e-5, "{normal}");
    assert!((student - 1.346336).abs() < 1e-5, "{student}");
}

#[test]
fn paths_of_deep_ar_are_drawn_from_what_it_says() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    for likelihood in [Likelihood::Gaussian, Likelihood::StudentT] {
        let model = DeepAr::new(deep_ar_options(likelihood), &device);
        let past = noisy(1, &[1, 6], &device);
        let paths = model.sample(&past, &known(1, 8, &device), 4000);
        assert_eq!(paths.shape(), [1, 4000, 2].into());
        // The first number behind the past: the last of a series with any number there.
        let series = Tensor::concat(&[&past, &Tensor::zeros([1, 1], past.dtype(), &device)], 1);
        let said = values(&model.forward(&series, &known(1, 7, &device)).narrow(1, 5, 1));
        let mut drawn = values(&paths.narrow(2, 0, 1));
        drawn.sort_by(f32::total_cmp);
        assert!((drawn[2000] - said[0]).abs() < 0.1 * said[1], "{likelihood:?}: {} {said:?}", drawn[2000]);
        let half = (drawn[3000] - drawn[1000]) / 2.0 / said[1];
        let quartile = if likelihood == Likelihood::Gaussian { 0.674..0.675 } else { 0.674..0.82 };
        assert!(half > quartile.start - 0.05 && half < quartile.end + 0.05, "{likelihood:?}: {half}");
    }
}

const UNITS: usize = 12;
const ESN: EsnOptions =
    EsnOptions { units: UNITS, connections: 4, spectral_radius: 0.5, input_scale: 0.5, leak: 0.8 };

#[test]
fn esn() {
    // What is read back from a file is put into a model with another reservoir.
    check(Case {
        steps: 20,
        rate: 0.05,
        ..Case::new(
            "esn",
            |device| Esn::new(ESN, device),
            |m, device| m.forward(&noisy(1, &[2, 6], device)),
            &[2, 6],
            |m, device| m.forward(&noisy(1, &[2, 6], device)).mse(&noisy(2, &[2, 6], device)),
        )
    });
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Esn::new(ESN, &device);
    let mut trained = Vec::new();
    model.walk("", &mut |name, role, _| {
        if role == Role::Parameter {
            trained.push(name.to_string());
        }
    });
    assert_eq!(trained, ["readout.weight", "readout.bias"]);
    assert_eq!(model.parameter_count(), UNITS + 2);
}

#[test]
fn esn_forgets_where_it_began_if_its_radius_is_small() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    const LENGTH: usize = 60;
    let ones = Tensor::ones([1, UNITS], DType::F32, &device);
    // How far states from two beginnings are apart after the first number, and after the last one.
    let apart = |options: EsnOptions, inputs: &Tensor| {
        let model = Esn::new(options, &device);
        eval(&model).expect("a reservoir");
        let (one, other) = (model.states(inputs, Some(&ones)), model.states(inputs, Some(&-&ones)));
        let at = |t: usize| distance(&one.narrow(1, t, 1), &other.narrow(1, t, 1));
        (at(0), at(LENGTH - 1))
    };
    let heard = noisy(1, &[1, LENGTH], &device);
    let (first, last) = apart(ESN, &heard);
    assert!(first > 0.1 && last < 1e-6, "{first} {last}");
    // Without an input the two mirror one another, and silence does not last if the radius is large.
    let loud = EsnOptions { spectral_radius: 3.0, input_scale: 0.0, ..ESN };
    let (_, last) = apart(loud, &(&heard * 0.0));
    assert!(last > 0.1, "{last}");
}

#[test]
fn reservoirs_are_as_sparse_and_as_large_as_asked_for() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    const SIZE: usize = 30;
    for radius in [0.5, 0.95] {
        let options = EsnOptions { units: SIZE, connections: 5, spectral_radius: radius, ..ESN };
        let matrix = tensor(&Esn::new(options, &device), "recurrent");
        eval(&matrix).expect("a reservoir");
        let told = spectral_radius(&matrix).item::<f32>().expect("a number");
        assert!((f64::from(told) / radius - 1.0).abs() < 1e-3, "{told} instead of {radius}");
        let rows: Vec<f64> = values(&matrix).into_iter().map(f64::from).collect();
        for row in rows.chunks(SIZE) {
            assert_eq!(row.iter().filter(|v| **v != 0.0).count(), 5);
        }
        // How fast a vector grows in the long run, once what falls off faster has done so.
        const STEPS: usize = 20_000;
        let mut direction: Vec<f64> = noise(3, SIZE).into_iter().map(f64::from).collect();
        let mut growth = 0.0;
        for step in 0..STEPS + 1000 {
            let next =
                rows.chunks(SIZE).map(|row| row.iter().zip(&direction).map(|(w, v)| w * v).sum::<f64>());
            let next: Vec<f64> = next.collect();
            let norm = next.iter().map(|v| v * v).sum::<f64>().sqrt();
            direction = next.iter().map(|v| v / norm).collect();
            growth += if step < 1000 { 0.0 } else { norm.ln() };
        }
        let found = (growth / STEPS as f64).exp();
        assert!((found / radius - 1.0).abs() < 1e-3, "{found} instead of {radius}");
    }
}

/// The solution of a positive definite system, by elimination.
fn solution(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for k in 0..n {
        let (row, value) = (matrix[k].clone(), right[k]);
        for i in (0..n).filter(|&i| i != k) {
            let factor = matrix[i][k] / row[k];
            matrix[i].iter_mut().zip(&row).for_each(|(a, b)| *a -= factor * b);
            right[i] -= factor * value;
        }
    }
    (0..n).map(|k| right[k] / matrix[k][k]).collect()
}

#[test]
fn readouts_of_esn_solve_the_normal_equations() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    const WASHOUT: usize = 5;
    const ALPHA: f64 = 0.1;
    let series = noise(7, 40);
    let mut model = Esn::new(ESN, &device);
    eval(&model).expect("a reservoir");
    let loss = model.fit(&Tensor::from_slice(&series, [series.len()], &device), WASHOUT, ALPHA);
    let wide = |name: &str| values(&tensor(&model, name)).into_iter().map(f64::from).collect::<Vec<f64>>();
    let (input, bias, recurrent) = (wide("input"), wide("bias"), wide("recurrent"));

    // The network, written out: rows of the input and the states, and what comes after.
    let series: Vec<f64> = series.into_iter().map(f64::from).collect();
    let (mut state, mut rows, mut wanted) = (vec![0.0f64; UNITS], Vec::new(), Vec::new());
    for (t, pair) in series.windows(2).enumerate() {
        let heard = |i: usize| -> f64 {
            recurrent[i * UNITS..(i + 1) * UNITS].iter().zip(&state).map(|(w, x)| w * x).sum()
        };
        let next = |i: usize| {
            (1.0 - ESN.leak) * state[i] + ESN.leak * (heard(i) + input[i] * pair[0] + bias[i]).tanh()
        };
        let next: Vec<f64> = (0..UNITS).map(next).collect();
        state = next;
        if t >= WASHOUT {
            rows.push([&pair[..1], &state[..]].concat());
            wanted.push(pair[1]);
        }
    }

    // Without means, as the constant is free.
    let count = rows.len() as f64;
    let mean = |k: usize| rows.iter().map(|row| row[k]).sum::<f64>() / count;
    let means: Vec<f64> = (0..=UNITS).map(mean).collect();
    let middle = wanted.iter().sum::<f64>() / count;
    let off = |row: &[f64], k: usize| row[k] - means[k];
    let product = |a: usize, b: usize| {
        let ridge = if a == b { ALPHA } else { 0.0 };
        rows.iter().map(|row| off(row, a) * off(row, b)).sum::<f64>() + ridge
    };
    let right = |a: usize| rows.iter().zip(&wanted).map(|(row, y)| off(row, a) * (y - middle)).sum::<f64>();
    let gram: Vec<Vec<f64>> = (0..=UNITS).map(|a| (0..=UNITS).map(|b| product(a, b)).collect()).collect();
    let weights = solution(gram, (0..=UNITS).map(right).collect());
    let constant = middle - weights.iter().zip(&means).map(|(w, m)| w * m).sum::<f64>();
    let squares = rows.iter().zip(&wanted).map(|(row, y)| {
        let told: f64 = row.iter().zip(&weights).map(|(x, w)| x * w).sum();
        (told + constant - y).powi(2)
    });
    let squares = squares.sum::<f64>() / count;

    let narrow = |numbers: &[f64]| numbers.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let expected = Tensor::from_slice(&narrow(&weights), [UNITS + 1], &device);
    assert_close(&tensor(&model, "readout.weight"), &expected, 1e-3, "weights");
    assert!((wide("readout.bias")[0] - constant).abs() < 1e-3, "{constant}");
    assert!((f64::from(values(&loss)[0]) - squares).abs() < 1e-3 * squares, "{loss:?}, should be {squares}");
}
