//! Trainings of transformers of images.

use vorpal_nn::data::augment::Augment;
use vorpal_nn::data::{Array, DataLoader, Dataset, Digits};
use vorpal_nn::metrics::ConfusionMatrix;
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{DType, Device, Module, Result, Tensor, plot};

use super::super::{Clip, ClipOptions, Mae, MaeOptions, Vit, VitOptions};
use super::{adam, cosine};
use crate::recipe::{Run, moved};

/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;
/// Digits of a picture.
const SHOWN: usize = 8;

fn digits(run: &Run) -> Result<(Digits, Digits)> {
    match &run.settings().data {
        Some(folder) => Digits::load(folder),
        None => Digits::embedded(),
    }
}

/// Batches in any order to learn from, and batches of the test.
fn loaders<A, B>(run: &Run, train: A, test: A) -> Result<(DataLoader<B>, DataLoader<B>)>
where
    A: Dataset,
    A::Item: vorpal_nn::data::Stack<Batch = B>,
    B: Send + 'static,
{
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(run.device()).build()?;
    let test =
        DataLoader::builder(test).batch_size(TEST_BATCH).drop_last(true).device(run.device()).build()?;
    Ok((train, test))
}

/// The first images of a set, `[count, 1, 28, 28]`.
fn first(digits: &Digits, count: usize, device: &Device) -> Result<Tensor> {
    let pixels: Vec<f32> =
        digits.images.iter().take(count * 784).map(|&pixel| f32::from(pixel) / 255.0).collect();
    let images = Tensor::from_slice(&pixels, [pixels.len() / 784, 1, 28, 28], device);
    images.check()?;
    Ok(images)
}

pub(super) fn vit(run: &mut Run) -> Result<()> {
    let (train, test) = digits(run)?;
    let shown = first(&test, SHOWN, run.device())?;
    let (mut train, mut test) = loaders(run, train, test)?;
    let task = supervised(Vit::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let trainer = Trainer::new(task, Vit::new(VitOptions::default(), run.device()), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .prepare(|(x, y): (Tensor, Tensor)| (moved().apply(&x), y))
        .metric("accuracy", ConfusionMatrix::new(10))
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    // Above the digits, below where the token of the class looks: the mean over the heads, the most of it white.
    let looks = trainer.model.attention(&shown).mean(1).repeat_interleave(7, 1).repeat_interleave(7, 2);
    let looks = (&looks / looks.max_keepdim([1, 2])).unsqueeze(1);
    run.file("attention.png", plot::image_grid(&Tensor::concat(&[&shown, &looks], 0), SHOWN, 2)?);
    Ok(())
}

/// The task of a [`Mae`]: hides other patches each time.
struct Completes {
    patches: usize,
}

impl Task for Completes {
    type Model = Mae;
    type Batch = (Tensor, Tensor);

    /// The error of each image.
    fn forward(&self, model: &Mae, (x, _): &(Tensor, Tensor)) -> Tensor {
        let Ok(device) = x.device() else { return x.clone() };
        let batch = x.shape().first().copied().unwrap_or(0);
        model.errors(x, &Tensor::rand([batch, self.patches], DType::F32, &device))
    }

    fn loss(&self, output: &Tensor, _: &(Tensor, Tensor)) -> Tensor {
        output.mean_all()
    }

    fn target(&self, (x, _): &(Tensor, Tensor)) -> Tensor {
        x.clone()
    }
}

pub(super) fn mae(run: &mut Run) -> Result<()> {
    let (train, test) = digits(run)?;
    let device = run.device().clone();
    let [width, layers, seen] = ["width", "layers", "seen"].map(|name| run.size(name));
    let encoder = VitOptions { patch: 4, width: width?, layers: layers?, ..VitOptions::default() };
    let [width, layers] = ["decoder_width", "decoder_layers"].map(|name| run.size(name));
    let options = MaeOptions { encoder, width: width?, layers: layers?, seen: seen?, heads: 4 };
    let shown = first(&test, SHOWN, &device)?;
    let mean = first(&train, 2000, &device)?.mean_keepdim(0);
    let apart = (first(&test, 1000, &device)? - mean).square().mean_all();
    let (mut train, mut test) = loaders(run, train, test)?;
    let task = Completes { patches: options.encoder.patches() };
    let trainer = Trainer::new(task, Mae::new(options, &device), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    // What someone would miss who draws the mean of all digits.
    run.result("mean_digit_loss", f64::from(apart.item::<f32>()?));
    let model = trainer.model;
    let noise = Tensor::rand([SHOWN, options.encoder.patches()], DType::F32, &device);
    let (drawn, hidden) = model.forward(&shown, &noise);
    let (patches, hidden) = (model.patches(&shown), hidden.unsqueeze(-1));
    let seen = &patches * (1.0 - &hidden);
    let rows = [&seen + &hidden * 0.4, seen + drawn * hidden, patches].map(|patches| model.images(&patches));
    run.file("completed.png", plot::image_grid(&Tensor::concat(&rows.each_ref(), 0), SHOWN, 2)?);
    Ok(())
}

/// What is said about a digit.
const NAMES: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const STYLES: [&str; 3] = ["thin", "plain", "bold"];

/// "a bold three" as bytes, filled up with zeros.
fn caption(style: usize, digit: usize, context: usize) -> Vec<i32> {
    let text = format!("a {} {}", STYLES[style % STYLES.len()], NAMES[digit % NAMES.len()]);
    let mut tokens: Vec<i32> = text.bytes().map(i32::from).collect();
    tokens.resize(context, 0);
    tokens
}

/// Digits with what is said about them, and its number.
struct Described {
    digits: Digits,
    context: usize,
}

impl Dataset for Described {
    type Item = (Array, Vec<i32>, i32);

    fn len(&self) -> usize {
        self.digits.len()
    }

    fn get(&self, index: usize) -> Result<(Array, Vec<i32>, i32)> {
        let (image, digit) = self.digits.get(index)?;
        // A third of the digits has less ink than 0.1 of the paper, a third more than 0.15.
        let ink = image.as_slice::<f32>()?.iter().sum::<f32>() / 784.0;
        let style = usize::from(ink > 0.1) + usize::from(ink > 0.15);
        Ok((image, caption(style, digit as usize, self.context), digit * STYLES.len() as i32 + style as i32))
    }
}

/// The task of a [`Clip`].
struct Pairs;

impl Task for Pairs {
    type Model = Clip;
    type Batch = (Tensor, Tensor, Tensor);

    fn forward(&self, model: &Clip, (images, texts, _): &Self::Batch) -> Tensor {
        model.likeness(&model.images(images), &model.texts(texts))
    }

    fn loss(&self, output: &Tensor, (_, _, numbers): &Self::Batch) -> Tensor {
        let same = numbers.unsqueeze(0).eq(numbers.unsqueeze(1)).cast(output.dtype());
        Clip::loss(output, &same)
    }

    fn target(&self, (_, _, numbers): &Self::Batch) -> Tensor {
        numbers.clone()
    }
}

pub(super) fn clip(run: &mut Run) -> Result<()> {
    let (train, test) = digits(run)?;
    let (options, device) = (ClipOptions::default(), run.device().clone());
    let context = options.context;
    let unseen = test.clone();
    let described = |digits: Digits| Described { digits, context };
    let (mut train, mut test) = loaders(run, described(train), described(test))?;
    let trainer = Trainer::new(Pairs, Clip::new(options, &device), adam(run))
        .schedule(cosine(run, train.len()), Every::Step)
        .prepare(|(x, texts, numbers): (Tensor, Tensor, Tensor)| (moved().apply(&x), texts, numbers))
        .clip_grad_norm(1.0);
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    if run.stopped() {
        return Ok(());
    }
    let model = trainer.model;
    model.train(false);
    // A digit is the name it is most alike, whatever its style: the mean of the places of all styles.
    let all: Vec<i32> = (0..10).flat_map(|d| (0..3).flat_map(move |s| caption(s, d, context))).collect();
    let texts = model.texts(&Tensor::from_slice(&all, [30, context], &device));
    let names = texts.reshape([10, 3, options.images.classes]).mean(1).normalize_l2(-1, 1e-12);
    let (mut right, mut shown) = (0, None);
    let count = unseen.len() / TEST_BATCH * TEST_BATCH;
    let images = first(&unseen, count, &device)?;
    for k in 0..count / TEST_BATCH {
        let places = model.images(&images.narrow(0, k * TEST_BATCH, TEST_BATCH));
        let found = model.likeness(&places, &names).argmax(-1).cast(DType::I32).to_vec::<i32>()?;
        let labels = &unseen.labels[k * TEST_BATCH..(k + 1) * TEST_BATCH];
        right += found.iter().zip(labels).filter(|(found, label)| **found == i32::from(**label)).count();
        // Ten digits beside the ten names, one of each.
        let one = |digit: u8| labels.iter().position(|label| *label == digit).map(|place| place as i32);
        if let (None, Some(one)) = (&shown, (0..10).map(one).collect::<Option<Vec<i32>>>()) {
            let one = places.index_select(0, &Tensor::from_slice(&one, [10], &device));
            shown = Some(model.likeness(&one, &names).softmax(-1));
        }
    }
    run.result("zero_shot_accuracy", right as f64 / count.max(1) as f64);
    if let Some(shown) = shown {
        run.file("likeness.png", plot::heat_map(&shown, 16)?);
    }
    Ok(())
}
