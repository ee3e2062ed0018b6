//! Trainings of convolutional models.

use vorpal_nn::data::{Array, DataLoader, Digits, Samples};
use vorpal_nn::loss::DiceLoss;
use vorpal_nn::metrics::{Average, ClassScore, ConfusionMatrix};
use vorpal_nn::plot;
use vorpal_nn::schedule::{CosineAnnealing, Exponential};
use vorpal_nn::trainer::{Every, Trainer, supervised};
use vorpal_nn::{Adam, Module, Result, Tensor};

use super::{
    Conv3dNet, ConvNeXt, ConvNeXtOptions, LeNet5, MnistCnn, MobileNetV2, MobileNetV2Options, ResNet,
    ResNetOptions, UNet, UNetOptions, WaveNet, WaveNetOptions,
};
use crate::data::{MovingDigits, NoisyStrokes, Windows, own_text, small_digits};
use crate::recipe::{Goal, Length, Recipe, Run, classify, moved};

/// A training with the name of the family filled in.
const BASE: Recipe =
    Recipe::base("conv", "10,000 MNIST digits that ship with the program, at 14 × 14 pixels");

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "mnist",
        about: "a small convolutional network that names handwritten digits",
        data: "10,000 MNIST digits that ship with the program, or --data FOLDER with the four files",
        length: Length::Epochs(10),
        goal: Goal::AtLeast("test_accuracy", 0.97),
        body: mnist,
        ..BASE
    },
    Recipe {
        name: "lenet",
        about: "LeNet-5",
        data: "10,000 MNIST digits that ship with the program",
        length: Length::Steps(4000),
        rate: 3e-3,
        goal: Goal::AtLeast("test_accuracy", 0.98),
        body: lenet,
        ..BASE
    },
    Recipe {
        name: "resnet",
        about: "a residual network of four blocks",
        length: Length::Steps(500),
        rate: 3e-3,
        sizes: &[("width", 16)],
        goal: Goal::AtLeast("test_accuracy", 0.975),
        body: resnet,
        ..BASE
    },
    Recipe {
        name: "mobilenet",
        about: "MobileNetV2 with five inverted residual blocks",
        length: Length::Steps(750),
        rate: 3e-3,
        goal: Goal::AtLeast("test_accuracy", 0.97),
        body: mobilenet,
        ..BASE
    },
    Recipe {
        name: "convnext",
        about: "ConvNeXt with four blocks in two stages",
        length: Length::Steps(1000),
        rate: 3e-3,
        goal: Goal::AtLeast("test_accuracy", 0.96),
        body: convnext,
        ..BASE
    },
    Recipe {
        name: "unet",
        about: "U-Net: the strokes of digits under noise and lines",
        data: "10,000 MNIST digits that ship with the program, with noise and lines that are made up",
        length: Length::Steps(1200),
        batch: 32,
        rate: 3e-3,
        sizes: &[("width", 8)],
        goal: Goal::AtLeast("test_iou", 0.7),
        body: unet,
        ..BASE
    },
    Recipe {
        name: "wavenet",
        about: "WaveNet: a causal model of the bytes of a text",
        data: "documentation and sources of Vorpal",
        length: Length::Steps(800),
        batch: 8,
        rate: 3e-3,
        sizes: &[("width", 64), ("layers", 6), ("context", 128)],
        goal: Goal::AtMost("bits_per_byte", 2.5),
        body: wavenet,
        ..BASE
    },
    Recipe {
        name: "conv3d",
        about: "convolutions over time and space: which way a digit moves",
        data: "10,000 MNIST digits that ship with the program, moving over the edges of a field",
        length: Length::Steps(300),
        batch: 32,
        rate: 5e-3,
        sizes: &[("width", 8)],
        goal: Goal::AtLeast("test_accuracy", 0.99),
        body: conv3d,
        ..BASE
    },
];

/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;

fn mnist(run: &mut Run) -> Result<()> {
    let (train, test) = match &run.settings().data {
        Some(folder) => Digits::load(folder)?,
        None => Digits::embedded()?,
    };
    let device = run.device().clone();
    let train = DataLoader::builder(train).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = if test.is_empty() {
        None
    } else {
        Some(DataLoader::builder(test).batch_size(TEST_BATCH).device(&device).build()?)
    };
    let task = supervised(MnistCnn::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let rate = run.rate();
    let trainer = Trainer::new(task, MnistCnn::new(&device), Adam::adamw(rate))
        // The last epoch need not be known, so that a run can be made longer.
        .schedule(Exponential::new(rate, 0.8), Every::Epoch)
        .metric("accuracy", ConfusionMatrix::new(10));
    run.fit(trainer, &mut train, test.as_mut())?;
    Ok(())
}

/// Images and their names.
type Named = Samples<(Array, i32)>;

/// The digits at a quarter of the pixels.
fn small() -> Result<(Named, Named)> {
    let (train, test) = Digits::embedded()?;
    Ok((small_digits(&train)?, small_digits(&test)?))
}

fn lenet(run: &mut Run) -> Result<()> {
    let model = LeNet5::new(run.device());
    classify(run, model, LeNet5::forward, Digits::embedded()?, 10, Some(moved())).map(drop)
}

fn resnet(run: &mut Run) -> Result<()> {
    let width = run.size("width")?;
    let options =
        ResNetOptions { channels: 1, width, stages: [1; 4], small: true, ..ResNetOptions::resnet18(10) };
    let model = ResNet::new(options, run.device());
    classify(run, model, ResNet::forward, small()?, 10, None).map(drop)
}

fn mobilenet(run: &mut Run) -> Result<()> {
    let options = MobileNetV2Options {
        channels: 1,
        first: [16, 1],
        stages: vec![[1, 16, 1, 1], [4, 24, 2, 2], [4, 32, 2, 2]],
        last: 128,
        ..MobileNetV2Options::paper(10)
    };
    let model = MobileNetV2::new(&options, run.device());
    classify(run, model, MobileNetV2::forward, small()?, 10, None).map(drop)
}

fn convnext(run: &mut Run) -> Result<()> {
    let stages = vec![[2, 32], [2, 64]];
    let options =
        ConvNeXtOptions { channels: 1, patch: 2, stages, classes: 10, drop_path: 0.0, layer_scale: 1.0 };
    let model = ConvNeXt::new(&options, run.device());
    classify(run, model, ConvNeXt::forward, small()?, 10, Some(moved())).map(drop)
}

/// Noisy digits of a picture.
const SHOWN: usize = 10;

fn unet(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = Digits::embedded()?;
    let train = DataLoader::builder(NoisyStrokes(train)).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let mut test = DataLoader::builder(NoisyStrokes(test)).batch_size(TEST_BATCH).device(&device).build()?;
    let options = UNetOptions { channels: 1, width: run.size("width")?, depth: 2, classes: 2 };
    let task = supervised(
        |m: &UNet, x: &Tensor| m.forward(x).movedim(1, -1),
        |out: &Tensor, y: &Tensor| {
            // The region of a batch as a whole: what is measured is the overlap of all strokes.
            let region = |x: &Tensor| x.flatten(0, -1).unsqueeze(0);
            let strokes = out.softmax(-1).narrow(-1, 1, 1);
            out.cross_entropy(y)
                + DiceLoss::default().forward(&region(&strokes), &region(&y.cast(out.dtype())))
        },
    );
    let (rate, steps) = (run.rate(), run.steps(train.len()));
    let trainer = Trainer::new(task, UNet::new(options, &device), Adam::adamw(rate))
        .schedule(CosineAnnealing::new(rate, steps), Every::Step)
        .metric("iou", ClassScore::iou(2).average(Average::Class(1)));
    let found = run.fit(trainer, &mut train, Some(&mut test))?.model;
    found.train(false);
    if let Some(batch) = test.epoch().next() {
        let (images, masks) = batch?;
        let images = images.narrow(0, 0, SHOWN);
        let strokes = found.forward(&images).softmax(1).narrow(1, 1, 1);
        let masks = masks.narrow(0, 0, SHOWN).unsqueeze(1).cast(images.dtype());
        let rows = Tensor::concat(&[&images.clamp(0.0, 1.0), &strokes, &masks], 0);
        run.file("strokes.png", plot::image_grid(&rows, SHOWN, 2)?);
    }
    Ok(())
}

/// Windows of the end of the text that are tested, all of them together.
const TESTED: usize = 64;

fn wavenet(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let context = run.size("context")?;
    let text = own_text()?;
    let (train, test) = text.split_at(text.len() / 10 * 9);
    let train = DataLoader::builder(Windows::new(train, context)).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let test = Windows::new(test, context).truncate(TESTED);
    let mut test = DataLoader::builder(test).batch_size(TESTED).device(&device).build()?;
    let (width, layers) = (run.size("width")?, run.size("layers")?);
    let options = WaveNetOptions { vocabulary: 256, width, skip: 2 * width, layers };
    let task = supervised(WaveNet::forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let (rate, steps) = (run.rate(), run.steps(train.len()));
    let trainer = Trainer::new(task, WaveNet::new(options, &device), Adam::adamw(rate))
        .schedule(CosineAnnealing::new(rate, steps), Every::Step)
        .clip_grad_norm(1.0);
    run.fit(trainer, &mut train, Some(&mut test))?;
    if let Some(nats) = run.found("test_loss") {
        run.result("bits_per_byte", nats / std::f64::consts::LN_2);
    }
    Ok(())
}

fn conv3d(run: &mut Run) -> Result<()> {
    let model = Conv3dNet::new(1, run.size("width")?, 8, run.device());
    let (train, test) = Digits::embedded()?;
    classify(run, model, Conv3dNet::forward, (MovingDigits(train), MovingDigits(test)), 8, None).map(drop)
}
