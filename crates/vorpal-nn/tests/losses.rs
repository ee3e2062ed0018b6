//! Losses and their derivatives against PyTorch.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;

use serde_json::Value;
use vorpal_nn::loss::{
    BceLoss, BceWithLogitsLoss, ContrastiveLoss, CosineEmbeddingLoss, CrossEntropyLoss, CtcLoss, DiceLoss,
    GaussianNllLoss, HingeEmbeddingLoss, HuberLoss, InfoNceLoss, IouLoss, KlDivLoss, L1Loss,
    MarginRankingLoss, MseLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss,
    NegativeBinomialNllLoss, NllLoss, NtXentLoss, PoissonNllLoss, QuantileLoss, Reduction, SigmoidFocalLoss,
    SmoothL1Loss, SoftMarginLoss, TripletMarginLoss, TverskyLoss,
};
use vorpal_nn::{DType, Device, Error, Tensor, eval, grad};

/// A loss of operands `x`, with weights of classes `w` beside.
type Loss = fn(x: &[Tensor], w: &Tensor, reduction: Reduction) -> Tensor;

fn regression() -> Vec<(&'static str, Loss)> {
    vec![
        ("mse", |x, _, reduction| MseLoss { reduction }.forward(&x[0], &x[1])),
        ("l1", |x, _, reduction| L1Loss { reduction }.forward(&x[0], &x[1])),
        ("smooth l1", |x, _, reduction| SmoothL1Loss { beta: 0.6, reduction }.forward(&x[0], &x[1])),
        ("huber", |x, _, reduction| HuberLoss { delta: 0.7, reduction }.forward(&x[0], &x[1])),
        ("quantile", |x, _, reduction| QuantileLoss { quantile: 0.8, reduction }.forward(&x[0], &x[1])),
        ("gaussian nll", |x, _, reduction| {
            let loss = GaussianNllLoss { full: true, reduction, ..GaussianNllLoss::default() };
            loss.forward(&x[0], &x[1], &x[2])
        }),
        ("poisson nll", |x, _, reduction| {
            PoissonNllLoss { reduction, ..PoissonNllLoss::default() }.forward(&x[0], &x[1])
        }),
        ("poisson nll full", |x, _, reduction| {
            let loss =
                PoissonNllLoss { log_input: false, full: true, reduction, ..PoissonNllLoss::default() };
            loss.forward(&x[0], &x[1])
        }),
        ("negative binomial nll", |x, _, reduction| {
            NegativeBinomialNllLoss { reduction }.forward(&x[0], &x[2], &x[1])
        }),
        ("kl div", |x, _, reduction| KlDivLoss { reduction, ..KlDivLoss::default() }.forward(&x[0], &x[1])),
        ("kl div log", |x, _, reduction| KlDivLoss { reduction, log_target: true }.forward(&x[0], &x[1])),
        ("kl div batch", |x, _, reduction| {
            let batch = if reduction == Reduction::Mean { Reduction::BatchMean } else { reduction };
            KlDivLoss { reduction: batch, ..KlDivLoss::default() }.forward(&x[0], &x[1])
        }),
    ]
}

fn classification() -> Vec<(&'static str, Loss)> {
    vec![
        ("bce", |x, w, reduction| BceLoss { weight: Some(w.clone()), reduction }.forward(&x[0], &x[1])),
        ("bce with logits", |x, _, reduction| {
            BceWithLogitsLoss { reduction, ..BceWithLogitsLoss::default() }.forward(&x[0], &x[1])
        }),
        ("bce with logits weighted", |x, w, reduction| {
            let loss = BceWithLogitsLoss { weight: Some(w.clone()), pos_weight: Some(w * 3.0), reduction };
            loss.forward(&x[0], &x[1])
        }),
        ("focal", |x, _, reduction| {
            SigmoidFocalLoss { reduction, ..SigmoidFocalLoss::default() }.forward(&x[0], &x[1])
        }),
        ("soft margin", |x, _, reduction| SoftMarginLoss { reduction }.forward(&x[0], &x[1])),
        ("multilabel soft margin", |x, w, reduction| {
            MultiLabelSoftMarginLoss { weight: Some(w.clone()), reduction }.forward(&x[0], &x[1])
        }),
        ("multi margin", |x, _, reduction| {
            MultiMarginLoss { reduction, ..MultiMarginLoss::default() }.forward(&x[0], &x[1])
        }),
        ("multi margin 2", |x, w, reduction| {
            MultiMarginLoss { p: 2, margin: 0.5, weight: Some(w.clone()), reduction }.forward(&x[0], &x[1])
        }),
        ("multilabel margin", |x, _, reduction| MultiLabelMarginLoss { reduction }.forward(&x[0], &x[1])),
        ("cross entropy", |x, _, reduction| {
            CrossEntropyLoss { reduction, ..CrossEntropyLoss::default() }.forward(&x[0], &x[1])
        }),
        ("cross entropy all", |x, w, reduction| {
            let weight = Some(w.clone());
            let loss = CrossEntropyLoss { weight, ignore_index: 2, label_smoothing: 0.15, reduction };
            loss.forward(&x[0], &x[1])
        }),
        ("cross entropy probabilities", |x, w, reduction| {
            let (weight, label_smoothing) = (Some(w.clone()), 0.15);
            let loss = CrossEntropyLoss { weight, label_smoothing, reduction, ..CrossEntropyLoss::default() };
            loss.forward(&x[0], &x[1])
        }),
        ("nll", |x, _, reduction| NllLoss { reduction, ..NllLoss::default() }.forward(&x[0], &x[1])),
        ("nll weighted", |x, w, reduction| {
            NllLoss { weight: Some(w.clone()), ignore_index: 2, reduction }.forward(&x[0], &x[1])
        }),
    ]
}

fn distances() -> Vec<(&'static str, Loss)> {
    vec![
        ("hinge embedding", |x, _, reduction| {
            HingeEmbeddingLoss { margin: 0.8, reduction }.forward(&x[0], &x[1])
        }),
        ("margin ranking", |x, _, reduction| {
            MarginRankingLoss { margin: 0.3, reduction }.forward(&x[0], &x[1], &x[2])
        }),
        ("triplet", |x, _, reduction| {
            TripletMarginLoss { reduction, ..TripletMarginLoss::default() }.forward(&x[0], &x[1], &x[2])
        }),
        ("triplet swap", |x, _, reduction| {
            let loss = TripletMarginLoss {
                margin: 2.0,
                p: 3.0,
                swap: true,
                reduction,
                ..TripletMarginLoss::default()
            };
            loss.forward(&x[0], &x[1], &x[2])
        }),
        ("cosine embedding", |x, _, reduction| {
            CosineEmbeddingLoss { margin: -0.5, reduction }.forward(&x[0], &x[1], &x[2])
        }),
        ("contrastive", |x, _, reduction| {
            ContrastiveLoss { margin: 3.0, reduction }.forward(&x[0], &x[1], &x[2])
        }),
        ("info nce", |x, _, reduction| {
            InfoNceLoss { reduction, ..InfoNceLoss::default() }.forward(&x[0], &x[1], None)
        }),
        ("info nce negatives", |x, _, reduction| {
            InfoNceLoss { temperature: 0.2, reduction }.forward(&x[0], &x[1], Some(&x[2]))
        }),
        ("nt xent", |x, _, reduction| {
            NtXentLoss { reduction, ..NtXentLoss::default() }.forward(&x[0], &x[1])
        }),
        ("dice", |x, _, reduction| DiceLoss { reduction, ..DiceLoss::default() }.forward(&x[0], &x[1])),
        ("iou", |x, _, reduction| IouLoss { reduction, ..IouLoss::default() }.forward(&x[0], &x[1])),
        ("tversky", |x, _, reduction| {
            TverskyLoss { reduction, ..TverskyLoss::default() }.forward(&x[0], &x[1])
        }),
        ("ctc", |x, _, reduction| {
            let loss = CtcLoss { zero_infinity: true, reduction, ..CtcLoss::default() };
            loss.forward(&x[0].log_softmax(-1), &x[1], &x[2], &x[3])
        }),
        ("ctc infinite", |x, _, reduction| {
            let loss = CtcLoss { reduction, ..CtcLoss::default() };
            loss.forward(&x[0].log_softmax(-1), &x[1], &x[2], &x[3])
        }),
    ]
}

fn all() -> impl Iterator<Item = (&'static str, Loss)> {
    regression().into_iter().chain(classification()).chain(distances())
}

/// Operands and results by name, as `golden/losses.py` writes them.
struct Golden(BTreeMap<String, Value>);

impl Golden {
    fn new() -> Golden {
        Golden(serde_json::from_str(include_str!("golden/losses.json")).expect("cases"))
    }

    fn weights(&self, device: &Device, dtype: DType) -> Tensor {
        floats(&numbers(&self.0["weights"]), &[4], device, dtype)
    }

    fn operands(&self, name: &str, device: &Device, dtype: DType) -> Vec<Tensor> {
        let list = self.0[name]["operands"].as_array().expect("a list");
        let tensor = |operand: &Value| {
            let data = numbers(&operand["data"]);
            let shape: Vec<usize> = numbers(&operand["shape"]).iter().map(|&n| n as usize).collect();
            if operand["kind"] == "f" {
                return floats(&data, &shape, device, dtype);
            }
            let data: Vec<i32> = data.iter().map(|&v| v as i32).collect();
            Tensor::from_slice(&data, shape, device)
        };
        list.iter().map(tensor).collect()
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn floats(data: &[f64], shape: &[usize], device: &Device, dtype: DType) -> Tensor {
    if dtype == DType::F64 {
        return Tensor::from_slice(data, shape, device);
    }
    let data: Vec<f32> = data.iter().map(|&v| v as f32).collect();
    Tensor::from_slice(&data, shape, device)
}

#[track_caller]
fn close(found: &Tensor, expected: &[f64], tolerance: f64, what: &str) {
    let found = match found.dtype() {
        DType::F64 => found.to_vec::<f64>().expect(what),
        _ => found.to_vec::<f32>().expect(what).into_iter().map(f64::from).collect(),
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
        assert!(near, "{what}, number {k}: {found}, should be {expected}");
    }
}

/// What of a loss is compared: losses, their derivatives, the mean, its derivative.
struct Found {
    name: &'static str,
    each: Tensor,
    grads: Vec<Tensor>,
    mean: Tensor,
    of_mean: Tensor,
}

impl Found {
    fn new(golden: &Golden, name: &'static str, loss: Loss, device: &Device, dtype: DType) -> Found {
        let (operands, weights) = (golden.operands(name, device, dtype), golden.weights(device, dtype));
        let trained = golden.0[name]["grads"].as_array().expect("a list").len();
        let (trained, fixed) = (operands[..trained].to_vec(), &operands[trained..]);
        let with = |x: &Vec<Tensor>, reduction| {
            let all: Vec<Tensor> = x.iter().chain(fixed).cloned().collect();
            loss(&all, &weights, reduction)
        };
        let each = with(&trained, Reduction::None);
        let cosines: Vec<f64> = (0..each.shape().numel()).map(|k| (k as f64 + 1.0).cos()).collect();
        let cosines = floats(&cosines, &each.shape(), device, dtype);
        let grads = grad(&trained, |x| (with(x, Reduction::None) * &cosines).sum_all()).expect(name);
        let of_mean = grad(&trained, |x| with(x, Reduction::Mean)).expect(name).swap_remove(0);
        Found { name, each, grads, mean: with(&trained, Reduction::Mean), of_mean }
    }

    /// Losses and their derivatives.
    fn check_each(&self, golden: &Golden, tolerance: f64) {
        let (name, expected) = (self.name, &golden.0[self.name]);
        close(&self.each, &numbers(&expected["none"]), tolerance, name);
        for (found, expected) in self.grads.iter().zip(expected["grads"].as_array().expect("a list")) {
            close(found, &numbers(expected), tolerance, &format!("{name}, derivative"));
        }
    }

    fn check(&self, golden: &Golden, tolerance: f64) {
        self.check_each(golden, tolerance);
        let (name, expected) = (self.name, &golden.0[self.name]);
        let mean = expected["mean"].as_f64().expect("a number");
        close(&self.mean, &[mean], tolerance, &format!("{name}, mean"));
        let of_mean = numbers(&expected["of_mean"]);
        close(&self.of_mean, &of_mean, tolerance, &format!("{name}, derivative of the mean"));
    }
}

#[test]
fn losses_are_pytorchs() {
    let golden = Golden::new();
    for (name, loss) in all() {
        Found::new(&golden, name, loss, &Device::cpu(), DType::F64).check(&golden, 1e-9);
    }
    assert_eq!(all().count() + 1, golden.0.len(), "a loss without a reference or the other way round");
}

#[test]
fn adapters_find_the_same() {
    let _keys = Device::cpu().fork_rng(1);
    let Ok(device) = Device::software() else {
        println!("skipped: no software adapter");
        return;
    };
    let golden = Golden::new();
    // One of each kind; the ops that they are made of are compared on adapters elsewhere.
    let chosen = [
        "huber",
        "bce with logits weighted",
        "cross entropy all",
        "multilabel margin",
        "nt xent",
        "dice",
        "ctc",
    ];
    for (name, loss) in all().filter(|(name, _)| chosen.contains(name)) {
        let found = Found::new(&golden, name, loss, &device, DType::F32);
        eval(&(&found.each, &found.grads)).expect("values");
        found.check_each(&golden, 5e-5);
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let device = Device::cpu();
    let x = Tensor::ones([2, 3], DType::F32, &device);
    let list = |n: &[i32]| Tensor::from_slice(n, [n.len()], &device);
    let shapes = [
        MseLoss::default().forward(&x, &x.narrow(0, 0, 1)),
        BceWithLogitsLoss::default().forward(&x, &list(&[1, 2])),
        CrossEntropyLoss::default().forward(&x, &list(&[1, 2, 0])),
        CrossEntropyLoss::default().forward(&x, &x.sum(0)),
        CrossEntropyLoss::default().forward(&x.sum_all(), &x.sum_all()),
        NtXentLoss::default().forward(&x, &x.t()),
        TripletMarginLoss::default().forward(&x, &x, &x.t()),
        CtcLoss::default().forward(&x, &x, &x, &x),
    ];
    for found in &shapes {
        let error = found.check().expect_err("shapes");
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let named = shapes[0].check().expect_err("shapes").to_string();
    assert!(
        named.contains("mse_loss: operands must have one shape") && named.contains("losses.rs"),
        "{named}"
    );
    for loss in [
        CrossEntropyLoss::default().forward(&x, &list(&[1, 3])),
        NllLoss::default().forward(&x, &list(&[1, -1])),
        MultiMarginLoss::default().forward(&x, &list(&[1, 5])),
    ] {
        let error = loss.item::<f32>().expect_err("no such class");
        assert!(matches!(error, Error::Index { size: 3, .. }), "{error}");
    }
    let cubes = MultiMarginLoss { p: 3, ..MultiMarginLoss::default() };
    assert!(matches!(cubes.forward(&x, &list(&[1, 2])).check(), Err(Error::Argument { .. })));
    // A sequence that does not fit its input.
    let log = Tensor::zeros([2, 1, 3], DType::F32, &device).log_softmax(-1);
    let labels = Tensor::from_slice(&[1i32, 1], [1, 2], &device);
    let loss = CtcLoss::default().forward(&log, &labels, &list(&[2]), &list(&[2]));
    assert_eq!(loss.item::<f32>(), Ok(f32::INFINITY));
    // Short class numbers do not wrap around to the ignored one.
    let logits = Tensor::zeros([1, 200], DType::F32, &device);
    let class = Tensor::from_slice(&[156u8], [1], &device);
    let loss = CrossEntropyLoss::default().forward(&logits, &class).item::<f32>().expect("a loss");
    assert!((loss - 200f32.ln()).abs() < 1e-4, "{loss}");
}
