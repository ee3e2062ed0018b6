//! What is looked up.

use vorpal_nn::data::{Array, DataLoader, Dataset, Digits, PIXELS};
use vorpal_nn::loss::BceWithLogitsLoss;
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::trainer::{Trainer, supervised};
use vorpal_nn::{Adam, DType, Device, Optimizer, Result, Tensor, clip_grad_norm, eval, plot, value_and_grad};

use super::super::{HopfieldPooling, NeuralTuringMachine, NtmOptions, Recall, RecallOptions, retrieve};
use crate::data::below;
use crate::recipe::Run;

/// Bits of a token.
const BITS: usize = 8;

/// Sequences `[batch, 2 length + 1, bits + 1]` to be copied: tokens, the sign that they end, silence; and the tokens,
/// `[batch, length, bits]`.
fn sequences(batch: usize, length: usize, device: &Device) -> (Tensor, Tensor) {
    let tokens = Tensor::full([batch, length, BITS], 0.5, DType::F32, device).bernoulli();
    let end = Tensor::ones([batch, 1, 1], DType::F32, device).pad(2, BITS, 0, 0.0);
    let said = Tensor::concat(&[&tokens.pad(2, 0, 1, 0.0), &end], 1);
    (said.pad(1, 0, length, 0.0), tokens)
}

/// The answer to sequences where tokens are wanted.
fn copied(model: &NeuralTuringMachine, said: &Tensor, length: usize) -> (Tensor, Tensor) {
    let (answers, places) = model.forward(said);
    (answers.narrow(1, length + 1, length), places)
}

/// The longest sequence that is learned from, and the one that is tested.
const LONGEST: u64 = 8;
const TESTED: usize = 16;

pub(super) fn ntm(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let options = NtmOptions { inputs: BITS + 1, outputs: BITS, hidden: 64, places: 40, width: 10 };
    let mut model = NeuralTuringMachine::new(options, &device);
    let mut optimizer = Adam::new(run.rate());
    eval(&model)?;
    let (batch, rate, steps) = (run.batch(), run.rate(), run.steps(1));
    let loss = BceWithLogitsLoss::default();
    run.repeat(1, |step| {
        let rest = 1.0 - step as f64 / steps as f64;
        optimizer.set_learning_rate(rate * (2.0 * rest).min(1.0));
        // Every length in turn, in an order that does not favour its neighbours.
        let length = 1 + (step.wrapping_mul(5) % LONGEST) as usize;
        let (said, tokens) = sequences(batch, length, &device);
        let (loss, grads) = value_and_grad(&model, |m| loss.forward(&copied(m, &said, length).0, &tokens))?;
        let (grads, _) = clip_grad_norm(&grads, 10.0);
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
        loss.item::<f32>()
    })?;
    run.keep(&model)?;
    for length in [LONGEST as usize, TESTED] {
        let (said, tokens) = sequences(64, length, &device);
        let (answers, places) = copied(&model, &said, length);
        let right = answers.gt(0.0).eq(tokens.gt(0.5)).cast(DType::F32).mean_all();
        let first = places.narrow(0, 0, 1).squeeze(0).t();
        eval(&(&right, &first))?;
        run.result(&format!("bits_at_{length}"), f64::from(right.item::<f32>()?));
        if length == TESTED {
            run.file("places_read.png", plot::heat_map(&first, 8)?);
        }
    }
    Ok(())
}

/// Instances of a bag.
const INSTANCES: usize = 10;
/// What is looked for.
const WANTED: u8 = 9;

/// Bags of digits, and whether something is in them: half of the bags hold one or more.
struct Bags {
    digits: Digits,
    /// Numbers of digits that are wanted, and of others.
    kinds: [Vec<usize>; 2],
    count: usize,
    seed: u64,
}

impl Bags {
    fn new(digits: Digits, count: usize, seed: u64) -> Bags {
        let of = |wanted: bool| {
            (0..digits.len()).filter(|&k| (digits.labels[k] == WANTED) == wanted).collect::<Vec<_>>()
        };
        Bags { kinds: [of(true), of(false)], digits, count, seed }
    }
}

impl Dataset for Bags {
    type Item = (Array, f32);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<(Array, f32)> {
        let mut dice = self.seed.wrapping_add(index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut draw = |list: &[usize]| list[below(&mut dice, list.len())];
        let held = index.is_multiple_of(2);
        let mut bag: Vec<usize> = (0..INSTANCES).map(|_| draw(&self.kinds[1])).collect();
        if held {
            let place = draw(&(0..INSTANCES).collect::<Vec<_>>());
            bag[place] = draw(&self.kinds[0]);
        }
        let pixels: Vec<f32> = bag
            .iter()
            .flat_map(|&k| &self.digits.images[k * PIXELS..(k + 1) * PIXELS])
            .map(|&p| f32::from(p) / 255.0)
            .collect();
        Ok((Array::new(&pixels, [INSTANCES, PIXELS])?, f32::from(u8::from(held))))
    }
}

/// Digits that are stored, and the share of those that come back whole from their upper half.
fn completed(digits: &Digits, count: usize, device: &Device) -> Result<(f64, Vec<u8>)> {
    let pixels: Vec<f32> =
        digits.images[..count * PIXELS].iter().map(|&p| f32::from(p) / 127.5 - 1.0).collect();
    let stored = Tensor::from_slice(&pixels, [count, PIXELS], device);
    let upper =
        stored.reshape([count, 2, PIXELS / 2]).narrow(1, 0, 1).pad(1, 0, 1, 0.0).reshape([count, PIXELS]);
    let found = retrieve(&upper, &stored, 0.5, 2);
    let near = found.cdist(&stored, 2.0).argmin(1).cast(DType::I32);
    let same = near.eq(Tensor::arange(count, DType::I32, device));
    let close = (&found - &stored).abs().max(1).lt(0.1).logical_and(&same);
    let share = close.cast(DType::F32).mean_all();
    let rows = Tensor::concat(&[&upper.narrow(0, 0, 8), &found.narrow(0, 0, 8)], 0);
    let picture = plot::image_grid(&((rows + 1.0) * 0.5).reshape([16, 1, 28, 28]), 8, 2)?;
    Ok((f64::from(share.item::<f32>()?), picture))
}

pub(super) fn hopfield(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let (share, picture) = completed(&test, 1000, &device)?;
    run.result("completed", share);
    run.file("completed.png", picture);

    let train = DataLoader::builder(Bags::new(train, 8_000, 1)).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let test = Bags::new(test, 1_000, 2);
    let mut test = DataLoader::builder(test).batch_size(100).device(&device).build()?;
    let task = supervised(HopfieldPooling::forward, |out: &Tensor, y: &Tensor| {
        BceWithLogitsLoss::default().forward(out, y)
    });
    let rate = run.rate();
    let trainer = Trainer::new(task, HopfieldPooling::new(64, 4, &device), Adam::adamw(rate))
        .schedule(vorpal_nn::schedule::Exponential::new(rate, 0.8), vorpal_nn::trainer::Every::Epoch)
        .metric("accuracy", Accuracy::new().threshold(0.0));
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

/// Blocks of pairs that are told, and as many in which keys are asked for; pairs of a block; keys that belong together
/// and come together; values.
const TOLD: usize = 8;
const PAIRS: usize = 16;
const VALUES: usize = 32;

/// Keys with values, then the same keys without, block by block in another order.
struct Pairs {
    count: usize,
    seed: u64,
}

impl Dataset for Pairs {
    /// Keys and values `[t, 2]`, and the values that are wanted, -1 where none is.
    type Item = (Array, Vec<i32>);

    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<Self::Item> {
        let mut dice = self.seed.wrapping_add(index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let mut shuffled = |n: usize| -> Vec<usize> {
            let mut list: Vec<usize> = (0..n).collect();
            for k in (1..n).rev() {
                list.swap(k, below(&mut dice, k + 1));
            }
            list
        };
        let mut value = vec![0; TOLD * PAIRS];
        for (k, value) in value.iter_mut().enumerate() {
            *value = shuffled(VALUES)[k % VALUES] as i32;
        }
        let (mut pairs, mut wanted) = (Vec::new(), Vec::new());
        for asked in [false, true] {
            for topic in shuffled(TOLD) {
                for place in shuffled(PAIRS) {
                    let key = topic * PAIRS + place;
                    pairs.extend([key as i32, if asked { VALUES as i32 } else { value[key] }]);
                    wanted.push(if asked { value[key] } else { -1 });
                }
            }
        }
        Ok((Array::new(&pairs, [2 * TOLD * PAIRS, 2])?, wanted))
    }
}

pub(super) fn block_attention(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let count = run.batch() * run.steps(1) as usize;
    let train = DataLoader::builder(Pairs { count, seed: 1 << 40 }).batch_size(run.batch());
    let mut train = train.drop_last(true).shuffle(run.seed()).device(&device).build()?;
    let mut test =
        DataLoader::builder(Pairs { count: 128, seed: 0 }).batch_size(16).device(&device).build()?;
    let half = TOLD * PAIRS;
    let task = supervised(
        // Only what is asked for is answered.
        move |m: &Recall, pairs: &Tensor| m.forward(pairs).narrow(1, half, half),
        move |out: &Tensor, wanted: &Tensor| out.cross_entropy(&wanted.narrow(1, half, half)),
    );
    let options = RecallOptions { keys: half, values: VALUES, width: 64, block: PAIRS, chosen: 1 };
    let trainer = Trainer::new(task, Recall::new(options, &device), Adam::new(run.rate()));
    let trainer = run.fit(trainer, &mut train, None)?;
    let (mut right, mut all) = (0.0, 0.0);
    for batch in test.epoch() {
        let (pairs, wanted) = batch?;
        let found = trainer.model.forward(&pairs).argmax(2).cast(DType::I32).narrow(1, half, half);
        let same = found.eq(wanted.narrow(1, half, half)).cast(DType::F32).mean_all();
        right += f64::from(same.item::<f32>()?);
        all += 1.0;
    }
    run.result("test_accuracy", right / all);
    Ok(())
}
