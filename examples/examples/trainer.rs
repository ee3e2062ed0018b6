//! A convolutional network learns handwritten digits by the trainer: evaluation, early stopping, checkpoints, a report
//! and event files for TensorBoard in `runs/digits`.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::nn::data::{DataLoader, Digits};
use vorpal::nn::metrics::ConfusionMatrix;
use vorpal::nn::schedule::Exponential;
use vorpal::nn::trainer::{Event, Every, Flow, Monitor, TensorBoard, Trainer, supervised};
use vorpal::prelude::*;
use vorpal::zoo::MnistCnn;

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    let (train, test) = Digits::embedded()?;
    let train = DataLoader::builder(train).batch_size(64).shuffle(7).drop_last(true).workers(1);
    let mut train = train.device(&device).build()?;
    let mut test = DataLoader::builder(test).batch_size(250).device(&device).build()?;

    let task =
        supervised(|m: &MnistCnn, x: &Tensor| m.forward(x), |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let mut board = TensorBoard::create("runs/digits/tensorboard")?;
    let mut trainer = Trainer::new(task, MnistCnn::new(&device), Adam::adamw(1e-3))
        .epochs(3)
        .metric("accuracy", ConfusionMatrix::new(10))
        .schedule(Exponential::new(1e-3, 0.8), Every::Epoch)
        .monitor(Monitor::largest("test_accuracy").patience(3))
        .clip_grad_norm(1.0)
        .run_dir("runs/digits", "{}")?
        .on(move |event| {
            match event {
                Event::Step { step, loss, .. } => {
                    // A training goes on without its curves.
                    let _ = board.scalar("loss", *step, f64::from(*loss));
                }
                other => println!("{other:?}"),
            }
            Flow::Continue
        });
    let fitted = trainer.fit(&mut train, Some(&mut test))?;
    println!("{} steps in {:.1} s: {:?}", fitted.steps, fitted.seconds, fitted.test);
    println!("look at runs/digits/report.html");
    Ok(())
}
