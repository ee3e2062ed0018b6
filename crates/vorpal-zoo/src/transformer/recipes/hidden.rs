//! Training of a model that finds hidden bytes.

use std::collections::BTreeMap;

use vorpal_nn::data::{DataLoader, Dataset, Samples};
use vorpal_nn::loss::CrossEntropyLoss;
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Device, Result, Tensor};

use super::super::{BertMaskedLm, BertOptions, GptOptions, hide};
use super::language::{VOCABULARY, gpt_options, text};
use super::{adam, cosine};
use crate::data::Windows;
use crate::recipe::Run;

/// The token that hides a byte.
const HIDDEN: i32 = VOCABULARY as i32;

/// Windows with bytes hidden once and for all.
fn hidden_once(windows: &Windows, share: f64, device: &Device) -> Result<Samples<(Vec<i32>, Vec<i32>)>> {
    let one = |k: usize| {
        let (tokens, _) = windows.get(k)?;
        let tokens = Tensor::from_slice(&tokens, [tokens.len()], device);
        let (seen, counts) = hide(&tokens, HIDDEN, HIDDEN, share);
        Ok((seen.to_vec()?, counts.to_vec()?))
    };
    Ok(Samples((0..windows.len()).map(one).collect::<Result<_>>()?))
}

/// Share of the bytes that are hidden in a test, that of the paper.
const TESTED: f64 = 0.15;

/// Windows of the end of the text that a [`BertMaskedLm`] is tested with: one byte in seven of them counts.
const BERT_WINDOWS: usize = 256;

/// Share of the hidden bytes that the byte found most often between the same two neighbours would be.
fn between_neighbours(train: &Windows, test: &Samples<(Vec<i32>, Vec<i32>)>) -> Result<f64> {
    let mut seen: BTreeMap<(i32, i32), BTreeMap<i32, usize>> = BTreeMap::new();
    for k in 0..train.len() {
        for row in train.get(k)?.0.windows(3) {
            *seen.entry((row[0], row[2])).or_default().entry(row[1]).or_default() += 1;
        }
    }
    let (mut right, mut all) = (0, 0);
    for (given, wanted) in &test.0 {
        let whole: Vec<i32> = given.iter().zip(wanted).map(|(&g, &w)| if w < 0 { g } else { w }).collect();
        for (row, &wanted) in whole.windows(3).zip(&wanted[1..]).filter(|(_, wanted)| **wanted >= 0) {
            let likely = seen.get(&(row[0], row[2])).and_then(|found| found.iter().max_by_key(|(_, n)| **n));
            right += usize::from(likely.is_some_and(|(byte, _)| *byte == wanted));
            all += 1;
        }
    }
    Ok(right as f64 / all.max(1) as f64)
}

pub(super) fn bert(run: &mut Run) -> Result<()> {
    let GptOptions { context, width, heads, layers, .. } = gpt_options(|name| run.size(name))?;
    let device = run.device().clone();
    let share = run.size("hidden")? as f64 / 100.0;
    let (train, test, together) = text(run, context, BERT_WINDOWS)?;
    let mut test = match together {
        0 => None,
        _ => {
            let test = hidden_once(&test, TESTED, &device)?;
            run.result("between_neighbours", between_neighbours(&train, &test)?);
            Some(DataLoader::builder(test).batch_size(together).device(&device).build()?)
        }
    };
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let options =
        BertOptions { vocabulary: VOCABULARY + 1, context, width, hidden: 4 * width, heads, layers };
    let task = supervised(
        |model: &BertMaskedLm, x: &Tensor| model.forward(x, None),
        |out: &Tensor, y: &Tensor| CrossEntropyLoss::default().forward(&out.flatten(0, 1), &y.flatten(0, 1)),
    );
    let trainer = Trainer::new(task, BertMaskedLm::new(options, &device), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        // Other bytes are hidden each time.
        .prepare(move |(x, _): (Tensor, Tensor)| hide(&x, HIDDEN, HIDDEN, share))
        .metric("accuracy", Accuracy::new().ignore_index(-100))
        .clip_grad_norm(1.0);
    run.fit(trainer, &mut train, test.as_mut())?;
    Ok(())
}
