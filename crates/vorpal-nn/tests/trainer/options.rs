//! What a trainer does beside its steps: averages, scales, metrics of the training, event files.

use std::collections::BTreeMap;
use std::path::Path;

use vorpal_autodiff::Precision;
use vorpal_nn::metrics::{ConfusionMatrix, Regression};
use vorpal_nn::schedule::{Plateau, PlateauOptions};
use vorpal_nn::trainer::{Event, Every, Monitor, Task, TensorBoard, Trainer};
use vorpal_nn::{
    Adam, Averaged, DType, Device, Error, GradScaler, GradScalerOptions, Tensor, load, to_safetensors,
};

use crate::common::*;

/// A training with all of it.
fn full(steps: u64) -> Trainer<impl Task<Model = Net, Batch = Pair>, Adam> {
    let device = Device::cpu();
    device.seed(11);
    let model = net(&device);
    let average = Averaged::exponential(&model, 0.9).expect("room");
    // So large a scale that the first steps are called off.
    let options =
        GradScalerOptions { init_scale: 2f64.powi(17), growth_interval: 6, ..GradScalerOptions::default() };
    Trainer::new(classes(), model, Adam::adamw(1e-2))
        .steps(steps)
        .metric("accuracy", ConfusionMatrix::new(2))
        .train_metric("accuracy", ConfusionMatrix::new(2))
        .schedule(Plateau::new(1e-2, PlateauOptions::default()), Every::Epoch)
        .monitor(Monitor::smallest("test_loss"))
        .clip_grad_norm(1.0)
        .precision(Precision::mixed(DType::F16))
        .scale_losses(GradScaler::with_options(options, &device).expect("room"))
        .average(average)
        .save_every(3)
}

#[test]
fn averages_and_scales_go_on_in_identical_bits() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, part) = (folder.path().join("whole"), folder.path().join("part"));
    let mut trainer = full(33).run_dir(&whole, "{}").expect("a run");
    let fitted = trainer.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    assert!(fitted.test["test_accuracy"] > 0.8, "{:?}", fitted.test);
    // Stopped behind an epoch, in which metrics of the training begin anew.
    full(10)
        .run_dir(&part, "{}")
        .expect("a run")
        .fit(&mut pictures(true), Some(&mut pictures(false)))
        .expect("a training");
    let mut second = full(33).resume(&part, None, "{}").expect("it goes on");
    second.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    for name in ["model", "optimizer", "averaged", "scaler", "best"] {
        let name = format!("{name}.safetensors");
        assert!(bytes(&whole, &name) == bytes(&part, &name), "{name}");
    }
    assert_eq!(metrics(&whole), metrics(&part));

    // What was evaluated and kept as the best are the averages.
    assert!(bytes(&whole, "model.safetensors") != bytes(&whole, "averaged.safetensors"));
    assert_eq!(to_safetensors(&trainer.model), Ok(bytes(&whole, "model.safetensors")));
    let mut plain = full(1);
    plain.average = None;
    load(&mut plain.model, vorpal_nn::trainer::RunDir::weights(&whole)).expect("the averages");
    assert_eq!(to_safetensors(&plain.model), Ok(bytes(&whole, "averaged.safetensors")));
    assert_eq!(plain.evaluate(&mut pictures(false)).expect("numbers"), fitted.test);
    load(&mut plain.model, whole.join("best.safetensors")).expect("the best");
    let best = plain.evaluate(&mut pictures(false)).expect("numbers")["test_loss"];
    assert_eq!(Some(best), fitted.best.map(|(best, _)| best));
}

#[test]
fn what_a_run_keeps_is_not_forgotten_when_it_goes_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (with, without) = (folder.path().join("with"), folder.path().join("without"));
    full(2).run_dir(&with, "{}").expect("a run").fit(&mut pictures(true), None).expect("a training");
    trainer(2).run_dir(&without, "{}").expect("a run").fit(&mut pictures(true), None).expect("a training");
    let error = trainer(3).resume(&with, None, "{}").expect_err("averages").to_string();
    assert!(
        error.ends_with(
            "checkpoint-00000002: has averaged.safetensors: the run was trained with Trainer::average"
        ),
        "{error}"
    );
    let error = full(3).resume(&without, None, "{}").expect_err("no averages").to_string();
    assert!(
        error.ends_with(
            "checkpoint-00000002: has no averaged.safetensors: the run was trained without Trainer::average"
        ),
        "{error}"
    );
}

#[test]
fn steps_that_overflow_are_called_off_and_cost_only_themselves() {
    let _alone = alone();
    let mut trainer = full(4);
    let before = to_safetensors(&trainer.model).expect("bytes");
    trainer.fit(&mut pictures(false), None).expect("a training");
    let skipped = trainer.progress().skipped;
    assert!((1..4).contains(&skipped), "{skipped}");
    assert_ne!(to_safetensors(&trainer.model).expect("bytes"), before);
}

#[test]
fn metrics_of_the_training_are_those_of_its_steps() {
    let _alone = alone();
    // Without a step size the model stays as it is: what it is trained on is what it is tested on.
    let mut trainer = Trainer::new(regression(), linear(), Adam::new(0.0))
        .epochs(2)
        .accumulate(2)
        .metric("mae", Regression::mae())
        .train_metric("mae", Regression::mae());
    let fitted = trainer.fit(&mut line(16, true), Some(&mut line(96, false))).expect("a training");
    for epoch in &fitted.epochs {
        let Event::Epoch { train, test, train_loss, .. } = epoch else { panic!("{epoch:?}") };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-5;
        assert!(close(train["train_mae"], test["test_mae"]), "{epoch:?}");
        assert!(close(f64::from(*train_loss), test["test_loss"]), "{epoch:?}");
    }
    let line = serde_json::to_string(&fitted.epochs[0]).expect("JSON");
    assert!(line.contains("\"train_mae\":"), "{line}");
}

/// Tags of an event file and how often they come.
fn tags(folder: &Path) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let bytes = std::fs::read(entry.expect("a file").path()).expect("a file");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
            let record = &rest[12..12 + length];
            rest = &rest[16 + length..];
            // Behind the time: the step, then the lengths of summary and value, then the tag of the value.
            let mut at = 9;
            let mut varint = |record: &[u8]| {
                let bytes = record[at + 1..].iter().take_while(|&&b| b >= 0x80).count() + 1;
                at += 1 + bytes;
                (record[at - bytes - 1], usize::from(record[at - 1]))
            };
            if varint(record).0 != 0x10 {
                continue;
            }
            assert_eq!([varint(record).0, varint(record).0], [0x2a, 0x0a]);
            let (key, length) = varint(record);
            assert_eq!(key, 0x0a);
            let tag = String::from_utf8_lossy(&record[at..at + length]).into_owned();
            *found.entry(tag).or_insert(0) += 1;
        }
    }
    found
}

#[test]
fn a_trainer_keeps_an_event_file() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = std::env::var_os("VORPAL_BOARD").map_or(folder.path().join("board"), Into::into);
    let config =
        "{\"batch\": 8, \"model\": \"net\", \"sizes\": {\"width\": 4}, \"data\": null, \"fast\": true}";
    let mut trainer = trainer(10)
        .run_dir(folder.path().join("run"), config)
        .expect("a run")
        .tensorboard(&path)
        .expect("a file");
    trainer.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    let found = tags(&path);
    for (tag, count) in [
        ("train/loss", 10),
        ("train/step size", 10),
        ("train/gradient norm", 10),
        ("train/examples per second", 10),
        ("epoch/loss", 2),
        ("test/loss", 2),
        ("test/accuracy", 2),
        ("samples/0", 2),
        ("samples/7", 2),
        ("config", 1),
        ("model", 1),
        ("_hparams_/experiment", 1),
        ("_hparams_/session_start_info", 1),
        ("_hparams_/session_end_info", 1),
    ] {
        assert_eq!(found.get(tag), Some(&count), "{tag} of {found:?}");
    }
    let mut board = TensorBoard::create(&path).expect("a file");
    let error = board.hparams("[1, 2]", &[]).expect_err("no object").to_string();
    assert_eq!(error, "hparams: the configuration is no JSON object");
}

#[test]
fn event_files_are_whole_records() {
    let folder = tempfile::tempdir().expect("a folder");
    // Kept where it is asked for, so that `golden/read_events.py` can read it.
    let path = std::env::var_os("VORPAL_EVENTS").map_or(folder.path().to_path_buf(), Into::into);
    let mut board = TensorBoard::create(&path).expect("a file");
    let device = Device::cpu();
    let ramp = Tensor::linspace(0.0, 1.0, 12, DType::F32, &device);
    board.scalar("loss", 300, 0.5).expect("a number");
    board.histogram("weights", 2, &ramp).expect("a histogram");
    board.image("picture", 3, &ramp.reshape([1, 3, 4])).expect("a picture");
    board.text("config", 0, "a **text**").expect("a text");
    let error = board.image("picture", 3, &ramp.reshape([2, 2, 3])).expect_err("two channels");
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    let bytes = std::fs::read(board.path()).expect("the file");
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().expect("8 bytes")) as usize;
        records.push(&rest[12..12 + length]);
        rest = &rest[16 + length..];
    }
    assert_eq!(records.len(), 5);
    // Wall time, then the version; step 300, then the summary with tag and number.
    assert_eq!(records[0][9..], *b"\x1a\x0dbrain.Event:2");
    assert_eq!(records[1][9..], *b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f");
    assert!(records[3].windows(4).any(|w| w == b"\x89PNG"));
}
