//! Splines, mixtures of experts, low-rank and bottleneck adapters.

use vorpal_nn::*;

use crate::harness::{Case, Golden, case, check_adapter, check_native};

fn one<L: Layer>(name: &'static str, shape: &[usize], make: impl Fn(&Device) -> L + 'static) -> Case {
    case(name, vec![shape.into()], make, |layer, x| vec![layer.forward(&x[0])])
}

fn experts(name: &'static str, shape: &[usize], [count, top_k]: [usize; 2], factor: Option<f64>) -> Case {
    let make = move |d: &Device| {
        let layer = MixtureOfExperts::new(4, count, top_k, d, || Linear::new(4, 4, d));
        match factor {
            Some(factor) => layer.capacity_factor(factor),
            None => layer,
        }
    };
    case(name, vec![shape.into()], make, |layer, x| {
        let (out, balance) = layer.forward(&(&x[0] * 2.0));
        vec![out, balance]
    })
}

fn cases() -> Vec<Case> {
    let grid = SplineGrid::default();
    vec![
        case(
            "SplineActivation",
            vec![(&[4, 3][..]).into()],
            move |d| SplineActivation::new(3, grid, d),
            |layer, x| vec![layer.forward(&(&x[0] * 1.3))],
        ),
        one("SplineActivation shared", &[2, 5], move |d| SplineActivation::new(1, grid, d)),
        one("KanLinear", &[4, 3], move |d| KanLinear::new(3, 2, grid, d)),
        experts("MixtureOfExperts 2", &[2, 3, 4], [3, 2], None),
        experts("MixtureOfExperts 1", &[5, 4], [3, 1], Some(0.75)),
        experts("MixtureOfExperts full", &[5, 4], [2, 2], Some(0.6)),
        one("Adapter", &[3, 4], |d| Adapter::new(4, 2, d).activation(Tanh)),
        one("Lora", &[3, 4], |d| Lora::new(Linear::new(4, 3, d), 2, 3.0, d)),
    ]
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/others.json")).expect("lists of numbers")
}

#[test]
fn layers_are_what_loops_give() {
    check_native(&cases(), &golden());
}

#[test]
fn adapters_give_the_same() {
    check_adapter(&cases(), &golden(), &["KanLinear", "MixtureOfExperts 1", "Lora"]);
}

fn apart(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).abs().max([0, 1]).item::<f32>().expect("a number")
}

#[test]
fn outside_of_training_experts_have_room_for_every_row() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    for top_k in [1, 2] {
        let wide = MixtureOfExperts::new(4, 3, top_k, &device, || Linear::new(4, 4, &device));
        let layer = wide.clone().capacity_factor(0.5);
        let x = Tensor::randn([9, 4], DType::F32, &device);
        let missed = apart(&layer.forward(&x).0, &wide.forward(&x).0);
        assert!(missed > 1e-2, "while training some rows miss an expert: {missed}");
        layer.train(false);
        assert!(apart(&layer.forward(&x).0, &wide.forward(&x).0) < 1e-6, "no row misses anything");
        for row in 0..9 {
            let (all, one) = (layer.forward(&x).0.narrow(0, row, 1), layer.forward(&x.narrow(0, row, 1)).0);
            assert!(apart(&all, &one) < 1e-5, "row {row} by itself");
        }
        layer.train(true);
        assert_eq!(apart(&layer.forward(&x).0, &wide.forward(&x).0), missed, "and again while training");
    }
}

#[test]
fn merging_changes_no_result_and_training_no_frozen_weight() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let base = Linear::new(6, 5, &device);
    let mut layer = Lora::new(base.clone(), 2, 4.0, &device);
    let x = Tensor::randn([7, 6], DType::F32, &device);
    assert_eq!(apart(&layer.forward(&x), &base.forward(&x)), 0.0, "nothing changes at first");
    let mut optimizer = Adam::adamw(1e-2);
    for _ in 0..3 {
        let (loss, grads) =
            value_and_grad(&layer, |l| l.forward(&x).square().mean_all()).expect("a gradient");
        optimizer.step(&mut layer, grads).expect("a step");
        eval(&(&loss, &layer, &optimizer)).expect("values");
    }
    let mut kept = 0;
    layer.walk("", &mut |name, role, tensor| {
        if let Some(name) = name.strip_prefix("base_layer.") {
            let before =
                if name == "weight" { base.weight.clone() } else { base.bias.clone().expect("a bias") };
            assert_eq!((role, tensor.to_bytes()), (Role::Buffer, before.to_bytes()), "{name}");
            kept += 1;
        }
    });
    assert_eq!(kept, 2);
    let apart_from_base = apart(&layer.forward(&x), &base.forward(&x));
    assert!(apart_from_base > 1e-3, "{apart_from_base}");
    let trained = layer.forward(&x);
    layer.merge();
    layer.merge();
    assert!(apart(&layer.forward(&x), &trained) < 1e-5);
    layer.unmerge();
    assert!(apart(&layer.forward(&x), &trained) < 1e-5);
    assert!(apart(&layer.into_linear().forward(&x), &trained) < 1e-5);
}

#[test]
fn odd_operands_are_told() {
    let device = &Device::cpu();
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, device);
    let says = |out: Tensor, word: &str| {
        let error = out.check().expect_err("it does not fit").to_string();
        assert!(error.contains(word) && error.contains("others.rs"), "{error} does not say {word}, where");
    };
    let layer = MixtureOfExperts::new(4, 2, 3, device, || Linear::new(4, 4, device));
    says(layer.forward(&ones(&[2, 4])).0, "3 of 2 experts");
    let layer = MixtureOfExperts::new(4, 2, 1, device, || Linear::new(4, 4, device));
    says(layer.forward(&ones(&[0, 4])).1, "rows");
    says(KanLinear::new(3, 2, SplineGrid::default(), device).forward(&ones(&[2, 4])), "[…, 3]");
    says(SplineActivation::new(3, SplineGrid::default(), device).forward(&ones(&[4])), "[…, 3]");
    let grid = SplineGrid { intervals: 0, ..SplineGrid::default() };
    says(grid.bases(&ones(&[2])), "0 intervals");
}
