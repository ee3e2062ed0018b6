use vorpal_nn::{AttentionOptions, DType, Device, Linear, Module, Tensor, eval};
use vorpal_zoo::memory::{
    HopfieldPooling, MovementLinear, MovingThin, NeuralTuringMachine, NtmOptions, Pruned, Recall,
    RecallOptions, Thin, block_attention, energy, largest, retrieve,
};

use crate::harness::{Case, assert_close, check, classes, distance, losses, noisy, tensor, values};

#[test]
fn hopfield_pooling() {
    check(Case::new(
        "hopfield",
        |device| HopfieldPooling::new(8, 2, device),
        |m, device| m.forward(&noisy(1, &[3, 4, 784], device)),
        &[3],
        |m, device| m.forward(&noisy(1, &[3, 4, 784], device)).mse(&noisy(2, &[3], device)),
    ));
}

#[test]
fn the_order_of_a_bag_does_not_matter() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let model = HopfieldPooling::new(8, 2, &device);
    let bags = noisy(1, &[2, 5, 784], &device);
    assert_close(&model.forward(&bags.flip([1])), &model.forward(&bags), 1e-5, "turned round");
    let weights = model.association(&bags);
    assert_close(&weights.sum([2]), &weights.sum([2]).full_like(1.0), 1e-5, "weights");
}

#[test]
fn updates_complete_patterns_and_never_raise_the_energy() {
    let device = Device::cpu();
    let stored = noisy(1, &[20, 64], &device).sign();
    let half = Tensor::concat(&[&stored.narrow(1, 0, 32), &stored.narrow(1, 32, 32).full_like(0.0)], 1);
    assert_close(&retrieve(&half, &stored, 2.0, 1), &stored, 1e-3, "completed");
    let mut state = noisy(2, &[6, 64], &device);
    for _ in 0..5 {
        let next = retrieve(&state, &stored, 0.3, 1);
        let (before, after) = (values(&energy(&state, &stored, 0.3)), values(&energy(&next, &stored, 0.3)));
        assert!(before.iter().zip(&after).all(|(b, a)| *a <= b + 1e-4), "{before:?} {after:?}");
        state = next;
    }
}

const NTM: NtmOptions = NtmOptions { inputs: 3, outputs: 2, hidden: 8, places: 5, width: 4 };

#[test]
fn ntm() {
    check(Case::new(
        "ntm",
        |device| NeuralTuringMachine::new(NTM, device),
        |m, device| m.forward(&noisy(1, &[2, 3, 3], device)).0,
        &[2, 3, 2],
        |m, device| m.forward(&noisy(1, &[2, 3, 3], device)).0.mse(&noisy(2, &[2, 3, 2], device)),
    ));
}

#[test]
fn the_heads_read_one_place_in_all_and_nothing_that_comes_later() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let model = NeuralTuringMachine::new(NTM, &device);
    let x = noisy(1, &[2, 5, 3], &device);
    let (answers, places) = model.forward(&x);
    assert_close(&places.sum([2]), &places.sum([2]).full_like(1.0), 1e-5, "weights of a head");
    let changed = Tensor::concat(&[&x.narrow(1, 0, 3), &noisy(9, &[2, 2, 3], &device)], 1);
    let (other, _) = model.forward(&changed);
    assert_close(&other.narrow(1, 0, 3), &answers.narrow(1, 0, 3), 0.0, "before the change");
    assert!(distance(&other, &answers) > 1e-4);
}

#[test]
fn recall() {
    fn pairs(device: &Device) -> Tensor {
        let keys = classes(1, &[2, 8, 1], 4, device);
        Tensor::concat(&[&keys, &classes(2, &[2, 8, 1], 6, device)], 2)
    }
    check(Case::new(
        "recall",
        |device| Recall::new(RecallOptions { keys: 4, values: 5, width: 8, block: 2, chosen: 1 }, device),
        |m, device| m.forward(&pairs(device)),
        &[2, 8, 5],
        |m, device| m.forward(&pairs(device)).cross_entropy(&classes(3, &[2, 8], 5, device)),
    ));
}

#[test]
fn with_all_blocks_it_is_full_attention_and_with_few_it_is_causal() {
    let device = Device::cpu();
    let part = |series| noisy(series, &[2, 3, 12, 4], &device);
    let (q, k, v) = (part(1), part(2), part(3));
    let full = q.scaled_dot_product_attention(&k, &v, AttentionOptions::default().causal());
    assert_close(&block_attention(&q, &k, &v, 3, 3), &full, 1e-5, "all blocks");
    assert!(distance(&block_attention(&q, &k, &v, 3, 1), &full) > 1e-3, "few blocks are something else");

    let later =
        |x: &Tensor, series| Tensor::concat(&[&x.narrow(2, 0, 6), &noisy(series, &[2, 3, 6, 4], &device)], 2);
    for chosen in [0, 1, 2] {
        let first = |y: Tensor| y.narrow(2, 0, 6);
        let one = first(block_attention(&q, &k, &v, 3, chosen));
        let other = first(block_attention(&later(&q, 4), &later(&k, 5), &later(&v, 6), 3, chosen));
        assert_close(&other, &one, 1e-6, "what comes later");
    }
}

#[test]
fn the_block_that_fits_is_chosen() {
    let device = Device::cpu();
    // Keys of a block are alike; the last block asks for those of the first.
    let key = |block: usize| {
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0][4 * block..4 * block + 4].to_vec()
    };
    let rows = |blocks: [usize; 4]| {
        let numbers: Vec<f32> = blocks.iter().flat_map(|&b| [key(b), key(b)].concat()).collect();
        Tensor::from_slice(&numbers, [1, 1, 8, 4], &device)
    };
    let keys = rows([0, 1, 2, 2]);
    let queries = rows([0, 1, 2, 0]) * 40.0;
    let values_in = Tensor::iota([1, 1, 8, 1], 2, DType::F32, &device);
    let found = values(&block_attention(&queries, &keys, &values_in, 2, 1));
    assert!((found[6] - 0.5).abs() < 1e-3 && (found[7] - 0.5).abs() < 1e-3, "{found:?}");
}

#[test]
fn a_shape_that_is_none_is_told() {
    let device = Device::cpu();
    let x = noisy(1, &[3, 4], &device);
    let error = block_attention(&x, &x, &x, 2, 1).check().expect_err("two axes").to_string();
    assert!(error.contains("block_attention") && error.contains("[3, 4]"), "{error}");
}

#[test]
fn thin() {
    check(Case::new(
        "thin",
        |device| {
            let mut model = Pruned::new(Thin::new(&[12, 8, 3], device));
            eval(&model).expect("a model");
            model.prune(0.5);
            model
        },
        |m, device| m.masked().forward(&noisy(1, &[5, 12], device)),
        &[5, 3],
        |m, device| {
            let answer = m.masked().forward(&noisy(1, &[5, 12], device));
            answer.cross_entropy(&classes(2, &[5], 3, device))
        },
    ));
}

#[test]
fn what_is_left_out_stays_out_and_a_ticket_begins_where_it_began() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let start = Thin::new(&[12, 8, 3], &device);
    let mut model = Pruned::new(vorpal_nn::Tree::map(&start, &mut |t| t + 0.0));
    eval(&model).expect("a model");
    model.prune(0.25);
    let weights = |model: &Pruned<Thin>| {
        let mut all = Vec::new();
        model.masked().walk("", &mut |name, _, t| {
            if name.ends_with("weight") {
                all.extend(values(t));
            }
        });
        all
    };
    let zero = |list: &[f32]| list.iter().map(|w| *w == 0.0).collect::<Vec<_>>();
    let before = weights(&model);
    assert_eq!(before.iter().filter(|w| **w != 0.0).count(), (12 * 8 + 8 * 3) / 4);
    losses(&mut model, 3, 0.1, |m| {
        m.masked().forward(&noisy(1, &[5, 12], &device)).cross_entropy(&classes(2, &[5], 3, &device))
    });
    let after = weights(&model);
    assert_eq!(zero(&before), zero(&after));
    assert!(before != after);
    model.rewind(&start);
    assert_eq!(weights(&model), before, "the ticket");
}

#[test]
fn movement() {
    check(Case::new(
        "movement",
        |device| MovementLinear::new(Linear::new(12, 3, device), 0.5, device),
        |m, device| m.forward(&noisy(1, &[5, 12], device)),
        &[5, 3],
        |m, device| m.forward(&noisy(1, &[5, 12], device)).cross_entropy(&classes(2, &[5], 3, device)),
    ));
}

#[test]
fn moving_thin() {
    check(Case::new(
        "moving_thin",
        |device| Thin::new(&[12, 8, 3], device).moving(0.5, device),
        |m, device| m.forward(&noisy(1, &[5, 12], device)),
        &[5, 3],
        |m, device| m.forward(&noisy(1, &[5, 12], device)).cross_entropy(&classes(2, &[5], 3, device)),
    ));
}

#[test]
fn the_weights_with_the_best_scores_count_and_others_may_come_back() {
    let device = Device::cpu();
    let _keys = device.fork_rng(7);
    let thin = Thin::new(&[12, 8, 3], &device);
    let mut model = thin.clone().moving(0.25, &device);
    let x = noisy(1, &[5, 12], &device);
    // Nothing is left out before there are scores.
    assert_close(&model.forward(&x), &thin.forward(&x), 1e-6, "at first");
    let fall = |model: &mut MovingThin| {
        losses(model, 5, 0.01, |m| m.forward(&x).cross_entropy(&classes(2, &[5], 3, &device)))
    };
    fall(&mut model);
    let counts = |model: &MovingThin| {
        let masks = model.layers.iter().map(|layer| values(&layer.masked().ne(0.0).cast(DType::F32)));
        masks.collect::<Vec<_>>()
    };
    let masks = counts(&model);
    for (mask, layer) in masks.iter().zip(["layers.0", "layers.1"]) {
        assert_eq!(mask.iter().sum::<f32>(), mask.len() as f32 / 4.0, "{layer}");
        let scores = values(&tensor(&model, &format!("{layer}.scores")));
        let of = |kept: f32| scores.iter().zip(mask).filter(move |(_, m)| **m == kept).map(|(s, _)| *s);
        let (least, most) = (of(1.0).fold(f32::MAX, f32::min), of(0.0).fold(f32::MIN, f32::max));
        assert!(least >= most, "{layer}: {least} counts, {most} does not");
    }
    fall(&mut model);
    assert!(counts(&model) != masks, "what counts changes while it learns");
    model.layers.iter_mut().for_each(|layer| layer.keep(1.0));
    assert!(counts(&model).concat().iter().all(|m| *m == 1.0), "weights that do not count are kept");
}

#[test]
fn scores_learn_by_the_gradient_of_the_mask() {
    let device = Device::cpu();
    let _keys = device.fork_rng(5);
    let layer = MovementLinear::new(Linear::new(4, 2, &device), 0.5, &device);
    let (x, up) = (noisy(1, &[3, 4], &device), noisy(2, &[3, 2], &device));
    let grads = vorpal_nn::grad(&layer, |l| (l.forward(&x) * &up).sum_all()).expect("a graph");
    let mut found = Vec::new();
    grads.walk("", &mut |_, _, t| found.push(t.clone()));
    // By the mask: the weight times what a weight that counts would get.
    assert_close(&found[1], &(up.t().matmul(&x) * tensor(&layer, "weight")), 1e-5, "scores");
}

#[test]
fn the_largest_are_kept() {
    let device = Device::cpu();
    let scores = Tensor::from_slice(&[0.3f32, -1.0, 2.0, 0.5], [2, 2], &device);
    assert_eq!(values(&largest(&scores, 0.5)), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(values(&largest(&scores, 0.0)), [0.0; 4]);
    assert_eq!(values(&largest(&scores, 1.0)), [1.0; 4]);
}

#[test]
fn sizes_are_as_documented() {
    let device = Device::cpu();
    let ntm = NtmOptions { inputs: 9, outputs: 8, hidden: 100, places: 64, width: 16 };
    let recall = RecallOptions { keys: 128, values: 32, width: 64, block: 16, chosen: 1 };
    let counts = [
        HopfieldPooling::new(64, 4, &device).parameter_count(),
        NeuralTuringMachine::new(ntm, &device).parameter_count(),
        Recall::new(recall, &device).parameter_count(),
        Thin::new(&[784, 300, 100, 10], &device).parameter_count(),
    ];
    assert_eq!(counts, [59_009, 60_452, 20_576, 266_610]);
}
