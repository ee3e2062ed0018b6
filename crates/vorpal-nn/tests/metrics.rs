//! Metrics against the numbers of scikit-learn, sacreBLEU and rouge_score (`golden/metrics.py`).

#![allow(clippy::expect_used)]

use serde_json::Value;
use vorpal_nn::metrics::{
    Accuracy, Average, Bleu, CalibrationError, ClassScore, ConfusionMatrix, Metric, MetricSet, Perplexity,
    Ranking, Regression, rouge_l,
};
use vorpal_nn::{Device, Error, Tensor, eval};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/metrics.json")).expect("JSON")
}

fn list(golden: &Value, name: &str) -> Vec<f64> {
    golden[name].as_array().expect(name).iter().map(|v| v.as_f64().expect(name)).collect()
}

fn devices() -> Vec<Device> {
    let mut all = vec![Device::cpu()];
    match Device::software() {
        Ok(device) => all.push(device),
        Err(_) => println!("skipped: no software adapter"),
    }
    all
}

/// Outputs and targets in three batches of different sizes.
fn batches(
    output: &[f64],
    row: usize,
    target: &[f64],
    whole: bool,
    device: &Device,
) -> Vec<(Tensor, Tensor)> {
    let n = target.len();
    let cuts = [0, n / 2, n / 2 + 7, n];
    let part = |w: &[usize]| {
        let (from, to) = (w[0], w[1]);
        let output: Vec<f32> = output[from * row..to * row].iter().map(|&v| v as f32).collect();
        let output = match row {
            1 => Tensor::from_slice(&output, [to - from], device),
            _ => Tensor::from_slice(&output, [to - from, row], device),
        };
        let target = &target[from..to];
        let target = if whole {
            let classes: Vec<i32> = target.iter().map(|&v| v as i32).collect();
            Tensor::from_slice(&classes, [to - from], device)
        } else {
            Tensor::from_slice(&target.iter().map(|&v| v as f32).collect::<Vec<_>>(), [to - from], device)
        };
        (output, target)
    };
    cuts.windows(2).map(part).collect()
}

fn classes() -> MetricSet {
    let mut set = MetricSet::new()
        .with("accuracy", Accuracy::new())
        .with("top2", Accuracy::top_k(2))
        .with("auroc_classes", Ranking::auroc())
        .with("perplexity", Perplexity::new())
        .with("ece", CalibrationError::new(15))
        .with("recall_class_1", ClassScore::recall(4).average(Average::Class(1)));
    for (name, average) in
        [("macro", Average::Macro), ("weighted", Average::Weighted), ("micro", Average::Micro)]
    {
        set = set
            .with(format!("precision_{name}"), ClassScore::precision(4).average(average))
            .with(format!("recall_{name}"), ClassScore::recall(4).average(average))
            .with(format!("f1_{name}"), ClassScore::f1(4).average(average))
            .with(format!("f2_{name}"), ClassScore::f_beta(2.0, 4).average(average))
            .with(format!("iou_{name}"), ClassScore::iou(4).average(average));
    }
    set
}

fn compare(set: &MetricSet, golden: &Value, tolerance: f64) {
    for (name, found) in set.compute().expect("numbers") {
        let wanted = golden[&name].as_f64().expect("a number");
        let close = (found - wanted).abs() <= tolerance * wanted.abs().max(1e-3);
        assert!(close, "{name}: {found}, wanted {wanted}");
    }
}

#[test]
fn classification_agrees_with_scikit_learn() {
    let golden = golden();
    let mut set = classes();
    for round in 0..2 {
        for (output, target) in
            batches(&list(&golden, "logits"), 4, &list(&golden, "target"), true, &Device::cpu())
        {
            set.update(&output, &target);
            eval(&set).expect("sums");
        }
        compare(&set, &golden, 2e-6);
        set.reset();
        assert!(set.compute().expect("numbers")[0].1.is_nan(), "round {round}");
    }
}

#[test]
fn an_adapter_counts_alike() {
    let golden = golden();
    for device in &devices()[1..] {
        let mut set = MetricSet::new()
            .with("accuracy", Accuracy::new())
            .with("f1_macro", ClassScore::f1(4))
            .with("perplexity", Perplexity::new())
            .with("ece", CalibrationError::new(15));
        for (output, target) in batches(&list(&golden, "logits"), 4, &list(&golden, "target"), true, device) {
            set.update(&output, &target);
        }
        eval(&set).expect("sums");
        compare(&set, &golden, 2e-6);
    }
}

#[test]
fn two_classes_agree_with_scikit_learn() {
    let golden = golden();
    let mut set = MetricSet::new()
        .with("binary_accuracy", Accuracy::new())
        .with("auroc", Ranking::auroc())
        .with("average_precision", Ranking::average_precision());
    for (output, target) in
        batches(&list(&golden, "score"), 1, &list(&golden, "binary"), true, &Device::cpu())
    {
        set.update(&output, &target);
    }
    compare(&set, &golden, 2e-6);
}

#[test]
fn the_matrix_is_that_of_scikit_learn_and_ignores_what_it_should() {
    let golden = golden();
    let (mut matrix, mut some) = (ConfusionMatrix::new(4), ConfusionMatrix::new(4).ignore_index(2));
    let mut accuracy = Accuracy::new().ignore_index(2);
    for (output, target) in
        batches(&list(&golden, "logits"), 4, &list(&golden, "target"), true, &Device::cpu())
    {
        matrix.update(&output, &target);
        some.update(&output, &target);
        accuracy.update(&output, &target);
    }
    let mut counts = matrix.counts().expect("counts");
    let flat: Vec<f64> = counts.iter().flatten().map(|&n| n as f64).collect();
    assert_eq!(flat, list(&golden, "confusion"));
    counts[2] = vec![0; 4];
    assert_eq!(some.counts().expect("counts"), counts);
    let share = some.compute().expect("a share");
    assert!((accuracy.compute().expect("a share") - share).abs() < 1e-12);
    assert_eq!(matrix.confusion().expect("counts").map(|m| m.len()), Some(4));
}

#[test]
fn regression_agrees_with_scikit_learn() {
    let golden = golden();
    let mut set = MetricSet::new()
        .with("mae", Regression::mae())
        .with("mse", Regression::mse())
        .with("rmse", Regression::rmse())
        .with("mape", Regression::mape())
        .with("r2", Regression::r2())
        .with("explained_variance", Regression::explained_variance());
    for (output, target) in
        batches(&list(&golden, "found"), 1, &list(&golden, "wanted"), false, &Device::cpu())
    {
        set.update(&output, &target);
        eval(&set).expect("sums");
    }
    // Numbers around 300 have steps of 3e-5 in f32, errors are around 0.5.
    compare(&set, &golden, 3e-5);
}

#[test]
fn texts_agree_with_sacrebleu_and_rouge_score() {
    let golden = golden();
    let words =
        |v: &Value| -> Vec<String> { v.as_str().expect("a text").split(' ').map(str::to_string).collect() };
    let (texts, references) = (&golden["texts"], &golden["references"]);
    let mut bleu = Bleu::new();
    assert_eq!(bleu.compute(), 0.0);
    for k in 0..3 {
        bleu.update(&words(&texts[k]), &[words(&references[0][k]), words(&references[1][k])]);
        let rouge = rouge_l(&words(&texts[k]), &words(&references[0][k]));
        assert!((rouge - golden["rouge_l"][k].as_f64().expect("a number")).abs() < 1e-12);
    }
    assert!((bleu.compute() - golden["bleu"].as_f64().expect("a number")).abs() < 1e-9, "{}", bleu.compute());
    let mut smoothed = Bleu::new();
    let cut = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    smoothed.update(&cut("the dog was here at noon"), &[cut("at the dog house it was noon")]);
    assert!((smoothed.compute() - golden["bleu_smoothed"].as_f64().expect("a number")).abs() < 1e-9);
}

#[test]
fn what_does_not_fit_is_told() {
    let device = Device::cpu();
    let numbers = |n: usize| Tensor::from_slice(&vec![0.25f32; n], [n], &device);
    let classes = |list: &[i32]| Tensor::from_slice(list, [list.len()], &device);
    let mut accuracy = Accuracy::new();
    accuracy.update(&numbers(3), &classes(&[0, 1]));
    let error = accuracy.compute().expect_err("3 and 2");
    assert!(
        matches!(error, Error::Shape { .. }) && error.to_string().contains("tests/metrics.rs"),
        "{error}"
    );
    accuracy.reset();
    accuracy.update(&numbers(2), &classes(&[0, 1]));
    assert_eq!(accuracy.compute(), Ok(0.5));
    let mut r2 = Regression::r2();
    r2.update(&numbers(3), &numbers(4));
    assert!(r2.compute().expect_err("3 and 4").to_string().contains("same shape"));
    let mut matrix = ConfusionMatrix::new(2);
    matrix.update(&classes(&[0, 1]), &classes(&[0, 5]));
    assert!(matches!(matrix.compute(), Err(Error::Index { .. })), "{:?}", matrix.compute());
}
