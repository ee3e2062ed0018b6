//! Digits that are written code by code.

use vorpal_nn::data::{DataLoader, Digits, Samples};
use vorpal_nn::plot::image_grid;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Adam, DType, Device, Module, Result, Tensor, eval};

use super::digits::{ACROSS, SHOWN, TEST_BATCH, digits, judge, train};
use super::frechet::{Judge, first};
use super::losses;
use crate::GptOptions;
use crate::data::small_digits;
use crate::generative::{VqVae, VqVaeOptions};
use crate::recipe::Run;
use crate::transformer::{Gpt2, LanguageModel};

/// Codes of a row and of a column, and of a digit.
const ROWS: usize = 7;
const PLACES: usize = ROWS * ROWS;
/// Digits whose vectors are the first entries.
const BEGUN_WITH: usize = 256;
/// Of the model that learns the order of codes: the step size, and how many digits are read together.
const RATE: f64 = 3e-3;
const READ: usize = 64;

/// The codes of digits as what a language model reads and what it is to say. First it reads a mark, the number after those of
/// the entries.
fn sequences(
    model: &VqVae,
    data: Digits,
    entries: usize,
    device: &Device,
) -> Result<Samples<(Vec<i32>, Vec<i32>)>> {
    let mut loader = DataLoader::builder(data).batch_size(TEST_BATCH).device(device).build()?;
    let mut all = Vec::new();
    for batch in loader.epoch() {
        let codes = model.codes(&batch?.0).to_vec::<i32>()?;
        all.extend(codes.chunks_exact(PLACES).map(|row| {
            let read = std::iter::once(entries as i32).chain(row.iter().copied()).take(PLACES).collect();
            (read, row.to_vec())
        }));
    }
    Ok(Samples(all))
}

/// How many entries would be as hard to guess, were all as frequent: the exponential of the entropy of codes.
fn perplexity(sequences: &Samples<(Vec<i32>, Vec<i32>)>, entries: usize) -> f64 {
    let mut counts = vec![0.0f64; entries];
    for (_, codes) in &sequences.0 {
        codes.iter().filter_map(|&code| usize::try_from(code).ok()).for_each(|code| counts[code] += 1.0);
    }
    let all: f64 = counts.iter().sum();
    let shares = counts.iter().map(|count| count / all.max(1.0)).filter(|&share| share > 0.0);
    (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
}

/// Codes `[n, 49]` that a language model writes from the mark on.
fn write(prior: &Gpt2, n: usize, entries: usize, device: &Device) -> Result<Tensor> {
    let mut caches = prior.caches();
    let mut written = vec![Tensor::full([n, 1], entries as f64, DType::I32, device)];
    for _ in 0..PLACES {
        let logits = prior.forward_cached(&written[written.len() - 1], &mut caches);
        // The mark is none of the entries.
        let code = logits.narrow(-1, 0, entries).squeeze(1).categorical(1);
        eval(&(&code, &caches))?;
        written.push(code);
    }
    Ok(Tensor::concat(&written[1..].iter().collect::<Vec<_>>(), 1))
}

/// A language model that has learned the order of codes.
fn order(
    run: &mut Run,
    seen: Samples<(Vec<i32>, Vec<i32>)>,
    unseen: Samples<(Vec<i32>, Vec<i32>)>,
    entries: usize,
) -> Result<Gpt2> {
    let device = run.device().clone();
    let seen = DataLoader::builder(seen).batch_size(READ).drop_last(true);
    let mut seen = seen.shuffle(run.seed()).device(&device).build()?;
    let mut unseen = DataLoader::builder(unseen).batch_size(TEST_BATCH).device(&device).build()?;
    let options = GptOptions { vocabulary: entries + 1, context: PLACES, width: 64, heads: 4, layers: 2 };
    let epochs = run.size("prior_epochs")? as u64;
    let task = supervised(Gpt2::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let trainer = Trainer::new(task, Gpt2::new(options, &device), Adam::adamw(RATE))
        .epochs(epochs)
        .schedule(CosineAnnealing::new(RATE, epochs * seen.len() as u64), Every::Step);
    let (trainer, found) = run.fit_aside(trainer, &mut seen, Some(&mut unseen))?;
    if let Some(&loss) = found.get("test_loss") {
        run.result("nats_per_code", loss);
    }
    Ok(trainer.model)
}

pub(super) fn vq_vae(run: &mut Run) -> Result<()> {
    let (train_set, test) = digits(run)?;
    let device = run.device().clone();
    let (entries, samples) = (run.size("entries")?.max(1), run.size("samples")?);
    let options = VqVaeOptions { width: run.size("width")?, entries, latent: run.size("latent")? };
    let mut model = VqVae::new(options, &device);
    model.begin_with(&first(&train_set, BEGUN_WITH, &device)?.0)?;
    let task = losses(|m: &VqVae, x: &Tensor, _: &Tensor| m.losses(x));
    let optimizer = Adam::new(run.rate());
    let model = train(run, task, model, optimizer, (train_set.clone(), Some(test.clone())))?;
    model.train(false);

    let (some, _) = first(&test, SHOWN / 2, &device)?;
    let pairs = Tensor::stack(&[&some, &model.forward(&some).clamp(0.0, 1.0)], 1).flatten(0, 1);
    run.file("reconstructions.png", image_grid(&pairs, ACROSS, 2)?);

    let seen = sequences(&model, train_set.clone(), entries, &device)?;
    let unseen = sequences(&model, test.clone(), entries, &device)?;
    run.result("perplexity", perplexity(&unseen, entries));
    let prior = order(run, seen, unseen, entries)?;
    let codes = write(&prior, samples, entries, &device)?;
    let made = model.decode_codes(&codes, [ROWS, ROWS]).clamp(0.0, 1.0);
    run.file("written.png", image_grid(&made.narrow(0, 0, SHOWN.min(samples)), ACROSS, 2)?);
    let (small_train, small_test) = (small_digits(&train_set)?, small_digits(&test)?);
    let eyes = Judge::train(run, &small_train)?;
    judge(run, &eyes, &small_train, &small_test, &made.avg_pool2d([2, 2]))
}
