//! What goes wrong in trainings: what is said about it, and what is still there afterwards.

use vorpal_nn::data::{Array, DataLoader, Dataset};
use vorpal_nn::trainer::{Monitor, RunDir, Task, Trainer, supervised};
use vorpal_nn::{
    Adam, Device, Error, GradScaler, GradScalerOptions, Linear, Optimizer, Sgd, Tensor, from_safetensors,
    to_safetensors,
};

use crate::common::*;

/// A loss with a logarithm of the targets in it.
fn logarithm() -> impl Task<Model = Linear, Batch = Pair> {
    supervised(
        |m: &Linear, x: &Tensor| m.forward(x),
        |out: &Tensor, y: &Tensor| (out - y).square().mean_all() + (y + 1.5).log().mean_all(),
    )
}

/// Four batches, in the third of which the logarithm meets a negative number.
fn third_is_negative() -> DataLoader<Pair> {
    let x = Array::new(&[0.5f32; 8], [8, 1]).expect("x");
    let y = Array::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, -2.0, 6.0, 7.0], [8, 1]).expect("y");
    DataLoader::builder(x.zip(y).expect("pairs")).batch_size(2).build().expect("a loader")
}

#[test]
fn a_loss_that_is_no_number_is_traced_to_its_op_and_costs_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut trainer =
        Trainer::new(logarithm(), linear(), Adam::new(0.05)).epochs(3).run_dir(&path, "{}").expect("a run");
    let error = trainer.fit(&mut third_is_negative(), None).expect_err("a logarithm of -0.5");
    let text = error.to_string();
    assert!(matches!(error, Error::NonFinite { step: 3, .. }), "{text}");
    assert!(
        text.contains("log") && text.contains("tests/trainer/mishaps.rs:") && text.contains("NaN"),
        "{text}"
    );
    // Nothing of the bad step is in the model, and the checkpoint is the step before.
    assert_eq!(trainer.optimizer.state().steps, 2);
    assert_eq!(to_safetensors(&trainer.model), Ok(bytes(&path, "model.safetensors")));
    let weights = trainer.model.weight.to_vec::<f32>().expect("weights");
    assert!(weights[0].is_finite());

    let mut broken = Trainer::new(regression(), linear(), Adam::new(0.05));
    broken.model.bias = Some(Tensor::from_slice(&[f32::NAN], [1], &Device::cpu()));
    let text = broken.fit(&mut line(16, false), None).expect_err("a bias of NaN").to_string();
    assert!(text.contains("\"bias\" of the model"), "{text}");
}

#[test]
fn what_cannot_be_gone_on_with_is_told_and_left_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut first = trainer(4).run_dir(&path, "{}").expect("a run");
    first.fit(&mut pictures(true), None).expect("a training");
    let error = trainer(4).run_dir(&path, "{}").expect_err("it is there").to_string();
    assert!(error.contains("holds a run already"), "{error}");

    let resume = |model: Linear| {
        let other = Trainer::new(regression(), model, Adam::new(0.1));
        other.resume(&path, None, "{}").expect_err("another model")
    };
    let error = resume(linear());
    assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("weight"), "{error}");

    let checkpoint = path.join("checkpoint-00000004");
    let state = bytes(&checkpoint, "state.json");
    std::fs::write(checkpoint.join("state.json"), &state[..state.len() / 2]).expect("a file");
    let error = trainer(9).resume(&path, None, "{}").expect_err("half a file").to_string();
    assert!(error.contains("state.json"), "{error}");
    std::fs::write(checkpoint.join("state.json"), &state).expect("a file");
    let weights = bytes(&checkpoint, "model.safetensors");
    std::fs::write(checkpoint.join("model.safetensors"), &weights[..weights.len() - 5]).expect("a file");
    let error = trainer(9).resume(&path, None, "{}").expect_err("a truncated file").to_string();
    assert!(error.contains("model.safetensors"), "{error}");
    let error = trainer(9).resume(folder.path().join("none"), None, "{}").expect_err("no folder");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let wrong = trainer(5)
        .monitor(Monitor::largest("test_acuracy"))
        .fit(&mut pictures(true), Some(&mut pictures(false)));
    let error = wrong.expect_err("a name nobody gives").to_string();
    assert!(error.contains("test_acuracy") && error.contains("test_accuracy"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_nothing_that_was_saved() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut first = trainer(5).run_dir(&path, "{}").expect("a run");
    first.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    let best = bytes(&path, "best.safetensors");
    // Whatever is written beside the best weights meets a full disk.
    std::os::unix::fs::symlink("/dev/full", path.join("best.safetensors.part")).expect("a link");
    let mut second = trainer(40).resume(&path, None, "{}").expect("it goes on");
    let error = second.fit(&mut pictures(true), Some(&mut pictures(false))).expect_err("a full disk");
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("best.safetensors")), "{error}");
    assert_eq!(bytes(&path, "best.safetensors"), best);
    std::fs::remove_file(path.join("best.safetensors.part")).expect("the link");
    let mut third = trainer(40).resume(&path, None, "{}").expect("it goes on");
    assert!(third.progress().step >= 5);
    third.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
}

#[test]
fn a_step_between_two_readings_does_not_go_wrong_in_silence() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let make = || Trainer::new(logarithm(), linear(), Adam::new(0.05)).epochs(3).log_every(10);
    let mut trainer = make().run_dir(&path, "{}").expect("a run");
    let error = trainer.fit(&mut third_is_negative(), None).expect_err("a logarithm of -0.5");
    assert!(matches!(error, Error::NonFinite { step: 3, .. }), "{error}");
    let text = error.to_string();
    let (begin, end) = (
        "the loss is NaN at step 3: the first value that is NaN comes from log f32[2, 1] at ",
        "; of the 4 steps up to step 4, 1 called off; what the others gave is saved",
    );
    assert!(text.starts_with(begin) && text.ends_with(end) && text.contains("mishaps.rs:"), "{text}");
    // The step behind the bad one was taken, and is in the checkpoint.
    assert_eq!(trainer.progress().step, 4);
    assert!(trainer.model.weight.to_vec::<f32>().expect("weights")[0].is_finite());
    assert_eq!(to_safetensors(&trainer.model), Ok(bytes(&path, "model.safetensors")));
    let mut again = make().resume(&path, None, "{}").expect("it goes on");
    let error = again.fit(&mut third_is_negative(), None).expect_err("the same batch again");
    assert!(matches!(error, Error::NonFinite { step: 7, .. }), "{error}");
}

#[test]
fn a_scale_that_helps_no_more_is_an_error() {
    let _alone = alone();
    let scaler = |exponent: i32| {
        let options = GradScalerOptions { init_scale: 2f64.powi(exponent), ..GradScalerOptions::default() };
        GradScaler::with_options(options, &Device::cpu()).expect("room")
    };
    let mut trainer = Trainer::new(logarithm(), linear(), Adam::new(0.05)).epochs(4).scale_losses(scaler(0));
    let fitted = trainer.fit(&mut third_is_negative(), None).expect("four steps are called off");
    assert_eq!(fitted.steps, 16);
    let mut trainer =
        Trainer::new(logarithm(), linear(), Adam::new(0.05)).epochs(4).scale_losses(scaler(-23));
    let error = trainer.fit(&mut third_is_negative(), None).expect_err("the second one is too many");
    let text = error.to_string();
    assert!(
        text.starts_with("the loss is NaN at step 7: ") && text.contains("no scale is small enough"),
        "{text}"
    );
}

/// Layers in a row.
fn chain(count: usize, width: usize) -> Vec<Linear> {
    let device = Device::cpu();
    let model: Vec<Linear> = (0..count).map(|_| Linear::new(width, width, &device)).collect();
    vorpal_nn::eval(&model).expect("weights");
    model
}

#[test]
fn weights_of_another_model_are_refused_with_all_that_differs() {
    let _alone = alone();
    let file = to_safetensors(&chain(2, 3)).expect("bytes");
    let refuse = |model: &mut Vec<Linear>, bytes: &[u8]| {
        let before = to_safetensors(model);
        let error = from_safetensors(model, bytes, "some.file").expect_err("another model");
        assert_eq!(to_safetensors(model), before, "nothing changes");
        error.to_string()
    };
    assert_eq!(
        refuse(&mut chain(2, 4), &file),
        "some.file: mismatched 0.weight is F32[3, 3], not f32[4, 4], 0.bias is F32[3], not f32[4], \
         1.weight is F32[3, 3], not f32[4, 4], 1.bias is F32[3], not f32[4]"
    );
    let mut other = vec![Linear::without_bias(3, 3, &Device::cpu()), Linear::new(3, 2, &Device::cpu())];
    other.extend(chain(1, 3));
    assert_eq!(
        refuse(&mut other, &file),
        "some.file: missing 2.weight, 2.bias; unexpected 0.bias; \
         mismatched 1.weight is F32[3, 3], not f32[2, 3], 1.bias is F32[3], not f32[2]"
    );
    assert_eq!(
        refuse(&mut chain(12, 3), &file),
        "some.file: missing 2.weight, 2.bias, 3.weight, 3.bias, 4.weight, 4.bias, 5.weight, 5.bias and 12 more"
    );
    // A file may have more than what is asked for, but a run that goes on has what it had.
    from_safetensors(&mut chain(1, 3), &file, "some.file").expect("it is there");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let train = |count: usize| {
        let forward = |m: &Vec<Linear>, x: &Tensor| m.iter().fold(x.clone(), |x, layer| layer.forward(&x));
        let task = supervised(forward, |out: &Tensor, y: &Tensor| out.mse(y));
        Trainer::new(task, chain(count, 1), Sgd::new(0.01)).steps(2)
    };
    train(3).run_dir(&path, "{}").expect("a run").fit(&mut line(16, true), None).expect("a training");
    let error = train(2).resume(&path, None, "{}").expect_err("a smaller model").to_string();
    assert!(error.ends_with("model.safetensors: unexpected 2.bias, 2.weight"), "{error}");
}

#[test]
fn files_of_a_run_that_are_damaged_are_told_by_name() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    let mut first = trainer(4).run_dir(&path, "{}").expect("a run");
    first.fit(&mut pictures(true), None).expect("a training");
    let checkpoint = path.join("checkpoint-00000004");
    for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let whole = bytes(&checkpoint, name);
        let cuts =
            [0, 1, 7, 8, 9, whole.len() / 3, whole.len() / 2, whole.len() - 1].map(|n| whole[..n].to_vec());
        let mut broken = cuts.to_vec();
        // A length of the header that is beyond the file, and a header that is no text.
        broken.push([&[255u8; 8], &whole[8..]].concat());
        broken.push([&whole[..8], &[200u8; 40], &whole[48..]].concat());
        for bytes in broken {
            std::fs::remove_file(checkpoint.join(name)).expect("a file");
            std::fs::write(checkpoint.join(name), &bytes).expect("a file");
            let error = trainer(9).resume(&path, None, "{}").expect_err("a broken file");
            assert!(
                matches!(&error, Error::Format { what, .. } | Error::Io { path: what, .. } if what.ends_with(name)),
                "{error}"
            );
        }
        std::fs::write(checkpoint.join(name), &whole).expect("a file");
    }
    let state = String::from_utf8(bytes(&checkpoint, "state.json")).expect("text");
    for (from, to, wanted) in [
        ("\"step\": 4", "\"step\": \"four\"", "invalid type: string \"four\", expected u64"),
        ("\"step\"", "\"stop\"", "unknown field `stop`"),
    ] {
        std::fs::write(checkpoint.join("state.json"), state.replacen(from, to, 1)).expect("a file");
        let error = trainer(9).resume(&path, None, "{}").expect_err("a wrong file").to_string();
        assert!(error.contains("state.json: ") && error.contains(wanted), "{error}");
    }
    std::fs::write(checkpoint.join("state.json"), &state).expect("a file");
    trainer(9).resume(&path, None, "{}").expect("it is whole again");
}

#[test]
fn a_line_that_was_not_finished_is_written_again() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    for path in [&whole, &cut] {
        let mut first = trainer(4).run_dir(path, "{}").expect("a run");
        first.fit(&mut pictures(true), None).expect("a training");
    }
    // As after a loss of power: a step behind the checkpoint, half of a line, and bytes of nothing.
    let mut lines = bytes(&cut, "metrics.jsonl");
    lines.extend(
        b"{\"event\":\"step\",\"step\":5,\"loss\":0.5}\n{\"event\":\"step\",\"step\":4,\"lo\0\xff\xfe",
    );
    std::fs::write(cut.join("metrics.jsonl"), lines).expect("a file");
    for path in [&whole, &cut] {
        let mut second = trainer(7).resume(path, None, "{}").expect("it goes on");
        second.fit(&mut pictures(true), Some(&mut pictures(false))).expect("a training");
    }
    assert_eq!(metrics(&whole), metrics(&cut));
    assert_eq!(metrics(&cut).len(), 8);
    assert!(RunDir::weights(&cut).exists());
}
