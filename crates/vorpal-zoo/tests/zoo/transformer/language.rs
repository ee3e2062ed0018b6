use vorpal_nn::{DType, Device, KvCache, Module, Tensor, eval};
use vorpal_zoo::transformer::{
    Bert, BertMaskedLm, BertOptions, Gpt2, LanguageModel, Llama, LlamaOptions, Moe, Sampling, beam_search,
    generate, hide,
};
use vorpal_zoo::{Gpt, GptOptions};

use crate::harness::{Case, assert_close, check, classes, distance, values};

const GPT: GptOptions = GptOptions { vocabulary: 17, context: 8, width: 16, heads: 2, layers: 2 };

const BERT: BertOptions =
    BertOptions { vocabulary: 17, context: 8, width: 16, hidden: 24, heads: 2, layers: 2 };

fn llama(device: &Device) -> Llama {
    Llama::new(small(), device)
}

fn small() -> LlamaOptions {
    LlamaOptions {
        vocabulary: 17,
        context: 8,
        width: 16,
        hidden: 24,
        heads: 4,
        kv_heads: 2,
        tied: false,
        ..LlamaOptions::default()
    }
}

fn tokens(series: u32, device: &Device) -> Tensor {
    classes(series, &[2, 8], 17, device)
}

#[test]
fn gpt() {
    check(Case::new(
        "gpt",
        |device| Gpt::new(GPT, device),
        |m, device| m.forward(&tokens(1, device)),
        &[2, 8, 17],
        |m, device| m.loss(&tokens(1, device), &tokens(2, device)),
    ));
}

#[test]
fn gpt2() {
    check(Case::new(
        "gpt2",
        |device| Gpt2::new(GPT, device),
        |m, device| m.forward(&tokens(1, device)),
        &[2, 8, 17],
        |m, device| m.forward(&tokens(1, device)).cross_entropy(&tokens(2, device)),
    ));
}

#[test]
fn llama_learns() {
    check(Case::new(
        "llama",
        llama,
        |m, device| m.forward(&tokens(1, device)),
        &[2, 8, 17],
        |m, device| m.forward(&tokens(1, device)).cross_entropy(&tokens(2, device)),
    ));
}

#[test]
fn moe() {
    check(Case::new(
        "moe",
        |device| Moe::new(LlamaOptions { layers: 1, ..small() }, 3, 2, device),
        |m, device| m.forward(&tokens(1, device)).0,
        &[2, 8, 17],
        |m, device| {
            let (logits, balance) = m.forward(&tokens(1, device));
            logits.cross_entropy(&tokens(2, device)) + balance * 0.01
        },
    ));
}

#[test]
fn bert() {
    check(Case {
        // What a constant adds to keys is the same for all of them and leaves the softmax as it is.
        unused: &[
            "bert.encoder.layer.0.attention.self.key.bias",
            "bert.encoder.layer.1.attention.self.key.bias",
        ],
        ..Case::new(
            "bert",
            |device| BertMaskedLm::new(BERT, device),
            |m, device| m.forward(&tokens(1, device), None),
            &[2, 8, 17],
            |m, device| m.forward(&tokens(1, device), None).cross_entropy(&tokens(2, device)),
        )
    });
}

#[test]
fn causal_models_do_not_see_what_comes() {
    let device = Device::cpu();
    let first = |last: i32| Tensor::from_slice(&[1, 2, 3, 4, last], [1, 5], &device);
    let seen = |forward: &dyn Fn(&Tensor) -> Tensor| {
        let (one, other) = (forward(&first(5)), forward(&first(16)));
        (distance(&one.narrow(1, 0, 4), &other.narrow(1, 0, 4)), one, other)
    };
    let holds = |name: &str, forward: &dyn Fn(&Tensor) -> Tensor| {
        let (before, one, other) = seen(forward);
        assert_eq!(before, 0.0, "{name}");
        assert!(distance(&one, &other) > 1e-4, "{name}: the fifth is seen by itself");
    };
    let _keys = device.fork_rng(1);
    let model = Gpt::new(GPT, &device);
    holds("gpt", &|x| model.forward(x));
    let model = Gpt2::new(GPT, &device);
    holds("gpt2", &|x| model.forward(x));
    let model = llama(&device);
    holds("llama", &|x| model.forward(x));
    let model = crowded(&device);
    holds("moe", &|x| model.forward(x).0);
    model.train(true);
    assert!(seen(&|x| model.forward(x).0).0 > 1e-4, "while it trains, a token may take another's room");
}

/// Many experts for few tokens, so that there would be no room for all with a limit; evaluated.
fn crowded(device: &Device) -> Moe {
    let model = Moe::new(small(), 8, 2, device);
    model.train(false);
    model
}

/// Logits of all tokens, in two pieces and then one by one.
fn in_pieces<M: LanguageModel>(model: &M, tokens: &Tensor) -> Tensor {
    let mut caches: Vec<KvCache> = model.caches();
    let mut rows = Vec::new();
    for (start, count) in [(0, 3), (3, 2), (5, 1), (6, 1), (7, 1)] {
        let out = model.forward_cached(&tokens.narrow(1, start, count), &mut caches);
        eval(&(&out, &caches)).expect("a step");
        rows.push(out);
    }
    Tensor::concat(&rows.iter().collect::<Vec<_>>(), 1)
}

#[test]
fn what_is_kept_is_what_would_be_computed_again() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let tokens = tokens(5, &device);
    let model = Gpt2::new(GPT, &device);
    assert_close(&in_pieces(&model, &tokens), &model.forward(&tokens), 1e-5, "gpt2");
    let model = llama(&device);
    assert_close(&in_pieces(&model, &tokens), &model.forward(&tokens), 1e-5, "llama");
    let model = crowded(&device);
    let all = model.forward(&tokens).0;
    assert_close(&in_pieces(&model, &tokens), &all, 1e-5, "moe");
    let one = tokens.narrow(0, 1, 1);
    assert_close(&in_pieces(&model, &one), &all.narrow(0, 1, 1), 1e-5, "moe, without the text beside it");
    model.train(true);
    assert!(distance(&in_pieces(&model, &tokens), &model.forward(&tokens).0) > 1e-4, "while it trains");
}

#[test]
fn greedy_generation_picks_the_likeliest() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let model = llama(&device);
    let found = generate(&model, &[3, 1], 6, &Sampling::greedy(), &device).expect("tokens");
    let mut expected = vec![3u32, 1];
    for _ in 0..6 {
        let given = Tensor::from_slice(&expected, [1, expected.len()], &device);
        let best = model.forward(&given).argmax(-1).cast(DType::I32).to_vec::<i32>().expect("numbers");
        expected.push(best[best.len() - 1] as u32);
    }
    assert_eq!(found, expected);
    assert!(generate(&model, &[3, 1], 8, &Sampling::greedy(), &device).is_err(), "more than the context");
    assert!(generate(&model, &[], 1, &Sampling::greedy(), &device).is_err(), "nothing to go on from");
}

#[test]
fn a_wide_beam_finds_the_likeliest_of_all() {
    let device = Device::cpu();
    let _keys = device.fork_rng(5);
    let model = Gpt2::new(GptOptions { vocabulary: 4, ..GPT }, &device);
    let found = beam_search(&model, &[2], 3, 16, &device).expect("beams");
    // All 64 continuations by what the model gives them.
    let score = |tokens: &[u32]| {
        let given = Tensor::from_slice(tokens, [1, 4], &device).narrow(1, 0, 3);
        let wanted = Tensor::from_slice(&tokens[1..], [1, 3], &device).cast(DType::I32);
        f64::from(-(model.forward(&given).cross_entropy(&wanted) * 3.0).item::<f32>().expect("a number"))
    };
    let all = (0..64u32).map(|k| vec![2, k / 16, k / 4 % 4, k % 4]);
    let mut all: Vec<(Vec<u32>, f64)> = all.map(|t| (t.clone(), score(&t))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_eq!(found.len(), 16);
    for ((tokens, likely), (best, most)) in found.iter().zip(&all) {
        assert!((likely - most).abs() < 1e-4, "{tokens:?}: {likely}, the best is {best:?}: {most}");
    }
    let narrow = beam_search(&model, &[2], 3, 1, &device).expect("a beam");
    let greedy = generate(&model, &[2], 3, &Sampling::greedy(), &device).expect("tokens");
    assert_eq!(narrow[0].0, greedy);
}

#[test]
fn bert_does_not_see_what_is_masked() {
    let device = Device::cpu();
    let _keys = device.fork_rng(6);
    let model = Bert::new(BERT, &device);
    let mask = Tensor::from_slice(&[true, true, true, false, false], [1, 5], &device);
    let ids = |rest: [i32; 2]| Tensor::from_slice(&[1, 2, 3, rest[0], rest[1]], [1, 5], &device);
    let (one, other) = (ids([4, 5]), ids([9, 16]));
    let rows = |x: &Tensor, mask| model.forward(x, mask).narrow(1, 0, 3);
    assert_close(&rows(&one, Some(&mask)), &rows(&other, Some(&mask)), 0.0, "masked");
    assert!(
        distance(&rows(&one, None), &rows(&other, None)) > 1e-4,
        "without a mask all is seen, from both sides"
    );
    let short = Tensor::from_slice(&[1, 2, 3], [1, 3], &device);
    assert_close(&model.forward(&short, None), &rows(&one, Some(&mask)), 1e-5, "as if it were not there");
    let (a, b) = (model.sentences(&one, &mask), model.sentences(&other, &mask));
    assert_close(&a, &b, 0.0, "sentences");
    assert!((values(&a.square().sum_all())[0] - 1.0).abs() < 1e-5);
}

#[test]
fn the_right_share_is_hidden() {
    let device = Device::cpu();
    let _keys = device.fork_rng(7);
    let tokens = Tensor::full([100, 200], 3.0, DType::I32, &device);
    let (seen, counts) = hide(&tokens, 50, 40, 0.15);
    let (seen, counts) = (seen.to_vec::<i32>().expect("ids"), counts.to_vec::<i32>().expect("ids"));
    let share = |f: &dyn Fn(&(i32, i32)) -> bool| {
        seen.iter().copied().zip(counts.iter().copied()).filter(f).count() as f64 / 20_000.0
    };
    assert!((share(&|p| p.1 == 3) - 0.15).abs() < 0.01);
    assert!((share(&|p| p.0 == 50 && p.1 == 3) - 0.12).abs() < 0.01);
    assert!((share(&|p| p.0 != 50 && p.0 != 3 && p.1 == 3) - 0.015 * 39.0 / 40.0).abs() < 0.005);
    assert_eq!(share(&|p| p.0 != 3 && p.1 != 3), 0.0, "what does not count is as it was");
}

#[test]
fn experts_share_the_work_of_a_fresh_model() {
    let device = Device::cpu();
    let _keys = device.fork_rng(8);
    let model = Moe::new(small(), 4, 2, &device);
    assert!(model.parameter_count() > 0);
    let balance = model.forward(&tokens(5, &device)).1.item::<f32>().expect("a number");
    assert!((0.99..1.2).contains(&balance), "{balance}");
    let shares = model.shares(&tokens(5, &device)).to_vec::<f32>().expect("shares");
    for block in shares.chunks(4) {
        assert!((block.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{block:?}");
        // An expert is chosen once by a token at most: no more than half of two choices.
        assert!(block.iter().all(|share| (0.0..=0.5).contains(share)), "{block:?}");
    }
}
