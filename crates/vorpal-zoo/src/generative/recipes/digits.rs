//! Digits that were never written.

use vorpal_nn::data::{Array, DataLoader, Dataset, Digits, Samples};
use vorpal_nn::plot::image_grid;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Task, Trainer};
use vorpal_nn::{Adam, AdamOptions, DType, Module, Optimizer, ParameterGroup, Result, Tensor};

use super::frechet::{Judge, first};
use super::losses;
use crate::data::small_digits;
use crate::generative::{
    Dcgan, Ddpm, Denoiser, Dit, DitOptions, Generator, PixelCnn, TimeUNet, Vae, VaeOptions, WganGp,
};
use crate::recipe::Run;

type Images = Samples<(Array, i32)>;

/// Digits of a picture, in rows of ten, and pixels of a pixel.
pub(super) const SHOWN: usize = 100;
pub(super) const ACROSS: usize = 10;
const SCALE: usize = 3;
/// Digits looked at together in a test, and digits the made ones are compared with.
pub(super) const TEST_BATCH: usize = 250;
const COMPARED: usize = 2000;
/// Pixels of a side.
const SIDE: usize = 14;

pub(super) fn digits(run: &Run) -> Result<(Digits, Digits)> {
    match &run.settings().data {
        Some(folder) => Digits::load(folder),
        None => Digits::embedded(),
    }
}

/// Trains on digits, the step size falling along a cosine.
pub(super) fn train<K, D, O>(
    run: &mut Run,
    task: K,
    model: K::Model,
    optimizer: O,
    data: (D, Option<D>),
) -> Result<K::Model>
where
    K: Task<Batch = (Tensor, Tensor)>,
    D: Dataset<Item = (Array, i32)>,
    O: Optimizer,
{
    let device = run.device().clone();
    let train = DataLoader::builder(data.0).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = match data.1.filter(|test| test.len() > 0) {
        Some(test) => Some(DataLoader::builder(test).batch_size(TEST_BATCH).device(&device).build()?),
        None => None,
    };
    let schedule = CosineAnnealing::new(run.rate(), run.steps(train.len()));
    let trainer = Trainer::new(task, model, optimizer).schedule(schedule, Every::Step);
    Ok(run.fit(trainer, &mut train, test.as_mut())?.model)
}

pub(super) fn vae(run: &mut Run) -> Result<()> {
    let (train_set, test) = digits(run)?;
    let device = run.device().clone();
    let side = 28;
    let options =
        VaeOptions { features: side * side, width: run.size("width")?, latent: run.size("latent")? };
    let shown: Vec<usize> = (0..test.len().min(4)).collect();
    let corners = test.clone().subset(shown)?;
    // A grey of 0.3 is ink in three of ten draws.
    let task = losses(|m: &Vae, x: &Tensor, _: &Tensor| m.losses(&x.bernoulli()));
    let optimizer = Adam::new(run.rate());
    let vae = train(run, task, Vae::new(options, &device), optimizer, (train_set, Some(test.clone())))?;
    vae.train(false);

    let mut bound = 0.0;
    let mut loader =
        DataLoader::builder(test).batch_size(TEST_BATCH).drop_last(true).device(&device).build()?;
    let batches = loader.len();
    for batch in loader.epoch() {
        let losses = vae.importance_losses(&batch?.0.bernoulli(), 20);
        bound += f64::from(losses.mean_all().item::<f32>()?) / batches as f64;
    }
    run.result("test_bound_20", bound);
    let images = |probabilities: &Tensor, n: usize| probabilities.reshape([n, 1, side, side]);
    run.file("samples.png", image_grid(&images(&vae.sample(SHOWN, &device), SHOWN), ACROSS, 2)?);
    if corners.len() == 4 {
        let mut loader = DataLoader::builder(corners).batch_size(4).device(&device).build()?;
        for batch in loader.epoch() {
            let way = vae.decode(&between(&vae.encode(&batch?.0).0)).sigmoid();
            run.file("latent.png", image_grid(&images(&way, SHOWN), ACROSS, 2)?);
        }
    }
    Ok(())
}

/// Codes between the four `[4, latent]` at the corners of a square, row by row.
fn between(corners: &Tensor) -> Tensor {
    let Ok(device) = corners.device() else { return corners.clone() };
    let share = Tensor::linspace(0.0, 1.0, ACROSS, DType::F32, &device);
    let shares = Tensor::stack(&[&(1.0 - &share), &share], -1);
    let codes = corners.reshape([2, 2, corners.shape().last().copied().unwrap_or(0)]);
    Tensor::einsum("ya,xb,abl->yxl", &[&shares, &shares, &codes]).flatten(0, 1)
}

pub(super) fn pixel_cnn(run: &mut Run) -> Result<()> {
    let (train_set, test) = digits(run)?;
    let device = run.device().clone();
    let model = PixelCnn::new(run.size("channels")?, run.size("blocks")?, &device);
    let inked = |x: &Tensor| x.gt(x.full_like(0.5)).cast(DType::F32);
    let task = losses(move |m: &PixelCnn, x: &Tensor, _: &Tensor| m.losses(&inked(x)));
    let data = (small_digits(&train_set)?, Some(small_digits(&test)?));
    let optimizer = Adam::new(run.rate());
    let model = train(run, task, model, optimizer, data)?;
    run.file("samples.png", image_grid(&model.sample(SHOWN, [SIDE, SIDE], &device)?, ACROSS, SCALE)?);
    Ok(())
}

/// Images from −1 to 1 of images from 0 to 1.
fn signed(images: &Tensor) -> Tensor {
    images * 2.0 - 1.0
}

/// Images from 0 to 1 of images from −1 to 1.
fn unsigned(images: &Tensor) -> Tensor {
    (images + 1.0) * 0.5
}

/// Leaves a picture of made digits from 0 to 1, and how far they are from real ones, and real ones from one another.
pub(super) fn judge(
    run: &mut Run,
    judge: &Judge,
    train: &Images,
    test: &Images,
    made: &Tensor,
) -> Result<()> {
    let device = run.device().clone();
    let (seen, _) = first(train, COMPARED, &device)?;
    let (real, labels) = first(test, COMPARED, &device)?;
    run.result("frechet", judge.distance(made, &real)?);
    run.result("frechet_of_real", judge.distance(&seen, &real)?);
    run.result("judge_accuracy", judge.accuracy(&real, &labels)?);
    let shown = made.narrow(0, 0, SHOWN.min(made.shape().first().copied().unwrap_or(0)));
    run.file("samples.png", image_grid(&shown, ACROSS, SCALE)?);
    Ok(())
}

/// Trains one of the adversarial networks and judges its generator.
fn adversarial<M: Module>(
    run: &mut Run,
    gan: M,
    optimizer: Adam,
    of: fn(&M, &Tensor) -> Tensor,
    generator: fn(&M) -> &Generator,
) -> Result<()> {
    let (train_set, test) = digits(run)?;
    let (train_set, test) = (small_digits(&train_set)?, small_digits(&test)?);
    let device = run.device().clone();
    let eyes = Judge::train(run, &train_set)?;
    let task = losses(move |m: &M, x: &Tensor, _: &Tensor| of(m, &signed(x)));
    let gan = train(run, task, gan, optimizer, (train_set.clone(), None))?;
    gan.train(false);
    let made = unsigned(&generator(&gan).sample(COMPARED, &device));
    judge(run, &eyes, &train_set, &test, &made)
}

pub(super) fn dcgan(run: &mut Run) -> Result<()> {
    let gan = Dcgan::new(run.size("latent")?, run.size("width")?, run.device());
    let options = AdamOptions { betas: (0.5, 0.999), ..AdamOptions::default() };
    let optimizer = Adam::with_options(run.rate(), options);
    adversarial(run, gan, optimizer, Dcgan::losses, |gan| &gan.generator)
}

pub(super) fn wgan_gp(run: &mut Run) -> Result<()> {
    let gan = WganGp::new(run.size("latent")?, run.size("width")?, run.device());
    let options = AdamOptions { betas: (0.0, 0.9), ..AdamOptions::default() };
    let slower = ParameterGroup::prefix("generator.").rate_factor(0.25);
    let optimizer = Adam::with_options(run.rate(), options).group(slower);
    adversarial(run, gan, optimizer, WganGp::losses, |gan| &gan.generator)
}

/// Trains a diffusion and judges what it draws: by DDIM, the digits 0 to 9 in turn.
fn diffusion<N: Denoiser>(run: &mut Run, net: N, asks: bool) -> Result<()> {
    let (train_set, test) = digits(run)?;
    let (train_set, test) = (small_digits(&train_set)?, small_digits(&test)?);
    let device = run.device().clone();
    let (samples, ways) = (run.size("samples")?, run.size("ways")?);
    let eyes = Judge::train(run, &train_set)?;
    let task = losses(move |m: &Ddpm<N>, x: &Tensor, y: &Tensor| m.losses(&signed(x), asks.then_some(y)));
    let options = AdamOptions { betas: (0.9, 0.99), ..AdamOptions::default() };
    let optimizer = Adam::with_options(run.rate(), options);
    let model = Ddpm::new(net, run.size("steps")?);
    let model = train(run, task, model, optimizer, (train_set.clone(), Some(test.clone())))?;
    let asked: Vec<i32> = (0..samples).map(|k| (k % 10) as i32).collect();
    let asked = Tensor::from_slice(&asked, [samples], &device);
    let made = model.sample([samples, 1, SIDE, SIDE], ways, 0.0, asks.then_some(&asked), &device)?;
    let made = unsigned(&made);
    if asks {
        run.result("asked_for", eyes.accuracy(&made, &asked)?);
    }
    judge(run, &eyes, &train_set, &test, &made)
}

pub(super) fn ddpm(run: &mut Run) -> Result<()> {
    let net = TimeUNet::new(1, run.size("width")?, run.device());
    diffusion(run, net, false)
}

pub(super) fn dit(run: &mut Run) -> Result<()> {
    let (width, heads, layers) = (run.size("width")?, run.size("heads")?, run.size("layers")?);
    let options = DitOptions { size: SIDE, channels: 1, patch: 2, width, heads, layers, classes: 10 };
    let net = Dit::new(options, run.device());
    diffusion(run, net, true)
}
