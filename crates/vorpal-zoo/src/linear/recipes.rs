//! Trainings of linear models.

use vorpal_nn::data::{DataLoader, Dataset, Digits, PIXELS, Samples};
use vorpal_nn::metrics::{Accuracy, CalibrationError, Metric, Regression};
use vorpal_nn::plot::Figure;
use vorpal_nn::trainer::{Trainer, supervised};
use vorpal_nn::{
    Adam, DType, Device, Module, Optimizer, Result, Sgd, SgdOptions, Tensor, eval, value_and_grad,
};

use super::{
    LinearRegression, LogisticRegression, SoftmaxRegression, Temperature, condition_number,
    conformal_threshold,
};
use crate::data::Rows;
use crate::dense::{Mlp, MlpOptions};
use crate::recipe::{Goal, Length, Recipe, Run};

/// A training with the name of the family filled in.
const BASE: Recipe = Recipe::base("linear", "");

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "least_squares",
        about: "linear regression by gradient descent, QR factors and normal equations",
        data: "442 patients with diabetes (Efron et al. 2004), which ship with the program",
        length: Length::Steps(1500),
        batch: 354,
        rate: 0.05,
        goal: Goal::AtMost("from_closed_form", 1e-3),
        body: least_squares,
        ..BASE
    },
    Recipe {
        name: "logistic",
        about: "logistic regression with an elastic net, by proximal gradient descent",
        data: "569 tumours (Wolberg et al. 1995), which ship with the program",
        length: Length::Steps(1000),
        batch: 456,
        rate: 0.1,
        goal: Goal::AtLeast("test_accuracy", 0.975),
        body: logistic,
        ..BASE
    },
    Recipe {
        name: "softmax",
        about: "softmax regression of pixels",
        data: "1,797 digits of 8 × 8 pixels (Alpaydin & Kaynak 1998), which ship with the program",
        length: Length::Epochs(30),
        batch: 64,
        rate: 5e-3,
        goal: Goal::AtLeast("test_accuracy", 0.96),
        body: softmax,
        ..BASE
    },
    Recipe {
        name: "temperature",
        about: "temperature scaling and conformal sets: how sure a network should be",
        data: "10,000 MNIST digits that ship with the program: 2,000 to learn from, 1,000 to calibrate with",
        length: Length::Epochs(40),
        batch: 50,
        rate: 2e-3,
        sizes: &[("hidden", 128)],
        goal: Goal::AtMost("calibration_error", 0.025),
        body: temperature,
        ..BASE
    },
];

/// The share of rows that tests, and the seed they are drawn with.
const SHARE: f64 = 0.2;
const SPLIT: u64 = 0;

/// R² of what a model expects.
fn r2(model: &LinearRegression, x: &Tensor, y: &Tensor) -> Result<f64> {
    let mut metric = Regression::r2();
    metric.update(&model.forward(x), y);
    metric.compute()
}

fn least_squares(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Rows::diabetes()?.split(SHARE, SPLIT);
    let ((x, y), (test_x, test_y)) = (train.tensors(&device), test.tensors(&device));
    let mut seen = DataLoader::builder(train.samples()).batch_size(run.batch()).device(&device).build()?;
    let mut unseen = DataLoader::builder(test.samples()).batch_size(test.len()).device(&device).build()?;
    let task = supervised(LinearRegression::forward, |out: &Tensor, y: &Tensor| out.mse(y));
    let momentum = SgdOptions { momentum: 0.95, nesterov: true, ..SgdOptions::default() };
    let model = LinearRegression::new(10, &device);
    let trainer =
        Trainer::new(task, model, Sgd::with_options(run.rate(), momentum)).metric("r2", Regression::r2());
    let found = run.fit(trainer, &mut seen, Some(&mut unseen))?.model;

    let solved = LinearRegression::lstsq(&x, &y);
    let apart = (found.forward(&x) - solved.forward(&x)).abs().max(0) / y.std([0], 0);
    run.result("from_closed_form", f64::from(apart.item::<f32>()?));
    run.result("condition_number", f64::from(condition_number(&x).item::<f32>()?));
    run.result("train_r2", r2(&found, &x, &y)?);
    run.result("test_r2_lstsq", r2(&solved, &test_x, &test_y)?);
    run.result("test_r2_normal_equations", r2(&LinearRegression::ridge(&x, &y, 0.0), &test_x, &test_y)?);
    run.result("test_r2_ridge", r2(&LinearRegression::ridge(&x, &y, 20.0), &test_x, &test_y)?);
    Ok(())
}

/// Share of rows whose class a model names right.
fn named_right(model: &LogisticRegression, x: &Tensor, classes: &Tensor) -> Result<f64> {
    let mut metric = Accuracy::new().threshold(0.0);
    metric.update(&model.forward(x), classes);
    metric.compute()
}

/// The penalty of scikit-learn's default, C = 1, and a net that leaves features out.
const L2: f64 = 1.0 / 456.0;
const L1: f64 = 0.02;

fn logistic(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Rows::breast_cancer()?.split(SHARE, SPLIT);
    let ((x, classes), (test_x, test_classes)) = (train.tensors(&device), test.tensors(&device));
    // Both are trained side by side, as one plan.
    let mut both = vec![LogisticRegression::new(30, &device), LogisticRegression::new(30, &device)];
    let mut optimizer = Sgd::with_options(run.rate(), SgdOptions::default());
    eval(&both)?;
    let rate = run.rate();
    run.repeat(1, |_| {
        let (loss, grads) = value_and_grad(&both, |m: &Vec<LogisticRegression>| {
            m.iter().map(|m| m.loss(&x, &classes)).reduce(|a, b| a + b).unwrap_or_else(|| x.sum_all())
        })?;
        optimizer.step(&mut both, grads)?;
        both.iter_mut().zip([(0.0, L2), (L1, 0.0)]).for_each(|(m, (l1, l2))| m.shrink(rate, l1, l2));
        eval(&(&loss, &both, &optimizer))?;
        loss.item::<f32>()
    })?;
    run.keep(&both)?;
    for (model, name) in both.iter().zip(["test_accuracy", "test_accuracy_l1"]) {
        run.result(name, named_right(model, &test_x, &test_classes)?);
        run.result(&name.replace("test", "train"), named_right(model, &x, &classes)?);
    }
    let used = both[1].weight.ne(0.0).cast(DType::F32).sum_all();
    run.result("features_used_l1", f64::from(used.item::<f32>()?));
    Ok(())
}

fn softmax(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Rows::digits()?.split(SHARE, SPLIT);
    let train = DataLoader::builder(train.samples()).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = DataLoader::builder(test.samples()).batch_size(test.len()).device(&device).build()?;
    let task = supervised(SoftmaxRegression::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let model = SoftmaxRegression::new(64, 10, &device);
    let trainer = Trainer::new(task, model, Adam::adamw(run.rate())).metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

/// Digits that are learned from, and those that calibrate.
const LEARNED: usize = 2000;
const CALIBRATED: usize = 1000;
/// How often a conformal set is to hold the right class.
const COVERAGE: f64 = 0.9;

/// Some digits as one batch.
fn batch(digits: &Digits, from: usize, count: usize, device: &Device) -> (Tensor, Tensor) {
    let pixels = &digits.images[from * PIXELS..(from + count) * PIXELS];
    let pixels: Vec<f32> = pixels.iter().map(|&p| f32::from(p) / 255.0).collect();
    let names: Vec<i32> = digits.labels[from..from + count].iter().map(|&l| i32::from(l)).collect();
    (Tensor::from_slice(&pixels, [count, PIXELS], device), Tensor::from_slice(&names, [count], device))
}

/// Bins of confidence, and of each the mean confidence and the share that was right.
fn reliability(logits: &Tensor, classes: &Tensor) -> Result<Vec<(f64, f64)>> {
    let sure = logits.softmax(-1).max(-1).to_vec::<f32>()?;
    let right = logits.argmax(-1).cast(DType::I32).eq(classes).cast(DType::F32).to_vec::<f32>()?;
    const BINS: usize = 10;
    let mut bins = [(0.0, 0.0, 0.0); BINS];
    for (&sure, &right) in sure.iter().zip(&right) {
        let bin = &mut bins[((sure * BINS as f32) as usize).min(BINS - 1)];
        (bin.0, bin.1, bin.2) = (bin.0 + f64::from(sure), bin.1 + f64::from(right), bin.2 + 1.0);
    }
    // Shares of a handful of digits are noise.
    Ok(bins.iter().filter(|b| b.2 >= 5.0).map(|b| (b.0 / b.2, b.1 / b.2)).collect())
}

fn temperature(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let few = Samples((0..LEARNED).map(|k| train.get(k)).collect::<Result<Vec<_>>>()?);
    let few = DataLoader::builder(few).batch_size(run.batch()).drop_last(true);
    let mut few = few.shuffle(run.seed()).device(&device).build()?;
    let options = MlpOptions { sizes: vec![PIXELS, run.size("hidden")?, 10], ..MlpOptions::default() };
    let task = supervised(
        |m: &Mlp, x: &Tensor| m.forward(&x.flatten(1, -1)),
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let trainer = Trainer::new(task, Mlp::new(options, &device), Adam::new(run.rate()));
    let network = run.fit(trainer, &mut few, None)?.model;
    network.train(false);

    let (x, classes) = batch(&test, 0, CALIBRATED, &device);
    let logits = network.forward(&x);
    let (test_x, test_classes) = batch(&test, CALIBRATED, test.len() - CALIBRATED, &device);
    let before = network.forward(&test_x);
    eval(&(&logits, &before))?;
    let fitted = Temperature::fit(&logits, &classes)?;
    let after = fitted.forward(&before);
    for (name, logits) in [("calibration_error_before", &before), ("calibration_error", &after)] {
        let mut error = CalibrationError::new(15);
        error.update(logits, &test_classes);
        run.result(name, error.compute()?);
    }
    let mut accuracy = Accuracy::new();
    accuracy.update(&after, &test_classes);
    run.result("test_accuracy", accuracy.compute()?);
    run.result("temperature", f64::from(fitted.log_temperature.exp().item::<f32>()?));

    let limit = conformal_threshold(&fitted.forward(&logits).softmax(-1), &classes, COVERAGE);
    let scores: Tensor = 1.0 - after.softmax(-1);
    let held = scores.le(&limit).cast(DType::F32);
    let covered = (&held * test_classes.one_hot(10, DType::F32)).sum([1]).mean_all();
    run.result("covered", f64::from(covered.item::<f32>()?));
    run.result("set_size", f64::from(held.sum([1]).mean_all().item::<f32>()?));
    let figure = Figure::new("how often it was right", "how sure it was")
        .height(360.0)
        .line("", [(0.0, 0.0), (1.0, 1.0)])
        .line("before", reliability(&before, &test_classes)?)
        .line("after", reliability(&after, &test_classes)?);
    run.file("reliability.svg", figure.svg());
    Ok(())
}
