//! Tuning on a kernel whose variants are known: one is quick and wrong, one is quick and right.
//!
//! Every test runs itself again in a process of its own, with a cache folder of its own.

#![allow(clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use vorpal_autodiff::compile::ir::{Builder, NodeId};
use vorpal_autodiff::{
    Device, Key, Misfit, Op, Outcome, Result, Spec, Tensor, Vjp, Vmap, eval, forget_tuning, profile, tune,
};
use vorpal_kernels::shaders::Shader;
use vorpal_kernels::{Arg, Cost, CpuRun, Kernel, spread};
use vorpal_tensor::DType;

const LEN: usize = 4096;

/// Twice every element, in one of several ways.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Right, and much slower than need be.
    Slow,
    /// Right.
    Quick,
    /// Stops half way.
    Half,
    /// Right but for its last element.
    AlmostAll,
    /// No shader at all.
    Broken,
}

#[derive(Debug)]
struct Twice(Way);

impl Kernel for Twice {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn describe(&self) -> String {
        format!("twice {:?}", self.0)
    }
    fn args(&self) -> Vec<Arg> {
        vec![Arg::read(DType::F32, LEN), Arg::write(DType::F32, LEN)]
    }
    fn shader(&self) -> Result<Shader> {
        let body = match self.0 {
            Way::Slow => {
                "var s = 0.0; for (var k = 0u; k < 400u; k++) { s += sin(f32(k) + x[i]); } \
                          y[i] = select(2.0 * x[i], s, s > 1e30);"
            }
            Way::Quick => "y[i] = x[i] + x[i];",
            Way::Half => "if (i < 2048u) { y[i] = 2.0 * x[i]; }",
            Way::AlmostAll => "y[i] = select(2.0 * x[i], 0.0, i == 4095u);",
            Way::Broken => "y[i] = nothing;",
        };
        let source = format!(
            "@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
             @group(0) @binding(1) var<storage, read_write> y: array<f32>;\n\
             @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             let i = id.x;\n{body}\n}}"
        );
        Ok(Shader { source, constants: Vec::new() })
    }
    fn groups(&self) -> [u32; 3] {
        spread(LEN / 64)
    }
    fn run_cpu(&self, mut run: CpuRun<'_>) -> Result<()> {
        let (x, y) = (run.read::<f32>(0)?, run.write::<f32>(1)?);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
        Ok(())
    }
    fn cost(&self) -> Cost {
        Cost { flops: LEN as u64, bytes: 8 * LEN as u64 }
    }
    fn variants(&self) -> Vec<Arc<dyn Kernel>> {
        let all = [Way::Slow, Way::Half, Way::AlmostAll, Way::Broken, Way::Quick];
        all.into_iter()
            .filter(|way| *way != self.0)
            .map(|way| Arc::new(Twice(way)) as Arc<dyn Kernel>)
            .collect()
    }
}

#[derive(Debug)]
struct TwiceOp;

impl Op for TwiceOp {
    fn name(&self) -> &'static str {
        "twice"
    }
    fn infer(&self, inputs: &[Spec]) -> Result<Spec, Misfit> {
        Ok(inputs[0].clone())
    }
    fn vjp(&self, v: &Vjp<'_>) -> Vec<Option<Tensor>> {
        vec![Some(v.grad * 2.0)]
    }
    fn vmap(&self, v: &Vmap<'_>) -> Tensor {
        &v.inputs[0] * 2.0
    }
    fn attributes(&self, _: &mut Key) {}
    fn lower(&self, cx: &mut Builder, inputs: &[NodeId], _: &[NodeId]) -> Result<NodeId> {
        let shape = cx.shape(inputs[0]).clone();
        Ok(cx.kernel(Arc::new(Twice(Way::Slow)), inputs, shape, DType::F32))
    }
}

fn twice(device: &Device) -> Tensor {
    let values: Vec<f32> = (0..LEN).map(|k| k as f32).collect();
    Tensor::from_op(TwiceOp, &[&Tensor::from_slice(&values, [LEN], device)])
}

/// The way of the kernel that an evaluation ran, after looking at its result.
fn way_of_eval(device: &Device) -> String {
    let y = twice(device);
    let found = profile(&y).expect("a profile");
    let expected: Vec<f32> = (0..LEN).map(|k| 2.0 * k as f32).collect();
    assert!(y.to_vec::<f32>().expect("values") == expected);
    found.launches[0].description.clone()
}

/// What the process of a test does; nothing where the tests themselves are run.
#[test]
fn child() {
    let Ok(task) = std::env::var("TUNE_TASK") else { return };
    let device = Device::software().expect("a software adapter");
    match task.as_str() {
        "tune" => {
            // A plan from before is not one from after.
            assert_eq!(way_of_eval(&device), "twice Slow");
            let findings = tune(&twice(&device), Duration::from_secs(100)).expect("a tuning");
            let [finding] = &findings[..] else { panic!("one kernel: {findings:?}") };
            let trial = finding.trial.as_ref().expect("a trial");
            let outcome = |way: &str| {
                let all = &trial.candidates;
                &all.iter().find(|c| c.kernel == format!("twice {way}")).expect("a candidate").outcome
            };
            assert!(matches!(outcome("Slow"), Outcome::Took(_)), "{trial:?}");
            assert!(matches!(outcome("Quick"), Outcome::Took(_)), "{trial:?}");
            assert!(matches!(outcome("Half"), Outcome::Wrong(m) if m.contains("element 2048 ")), "{trial:?}");
            assert!(
                matches!(outcome("AlmostAll"), Outcome::Wrong(m) if m.contains("element 4095 ")),
                "{trial:?}"
            );
            assert!(matches!(outcome("Broken"), Outcome::Failed(_)), "{trial:?}");
            assert_eq!(trial.candidates[trial.chosen].kernel, "twice Quick");
            assert_eq!(way_of_eval(&device), "twice Quick");
            let again = tune(&twice(&device), Duration::from_secs(100)).expect("a tuning");
            assert!(again[0].trial.is_none() && again[0].choice.is_some(), "{again:?}");
        }
        "no time" => {
            let findings = tune(&twice(&device), Duration::ZERO).expect("a tuning");
            assert!(findings[0].trial.is_none() && findings[0].choice.is_none(), "{findings:?}");
            assert_eq!(way_of_eval(&device), "twice Slow");
        }
        "forget" => {
            assert_eq!(way_of_eval(&device), "twice Quick");
            forget_tuning(&device).expect("a folder");
            assert_eq!(way_of_eval(&device), "twice Slow");
        }
        way => {
            eval(&twice(&device)).expect("a value");
            assert_eq!(way_of_eval(&device), way);
        }
    }
}

fn run(task: &str, tuning: &str, folder: &Path) {
    let program = std::env::current_exe().expect("this program");
    let out = Command::new(program)
        .args(["--exact", "child"])
        .env("TUNE_TASK", task)
        .env("VORPAL_TUNE", tuning)
        .env("VORPAL_CACHE", folder)
        .output()
        .expect("a process");
    assert!(out.status.success(), "{task}, {tuning}: {}", String::from_utf8_lossy(&out.stdout));
}

/// The file of choices in a folder.
fn table(folder: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(folder).expect("a folder").map(|f| f.expect("a file").path());
    files
        .into_iter()
        .find(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with("tune-")))
        .expect("a table")
}

fn has_adapter() -> bool {
    let there = Device::software().is_ok();
    if !there {
        println!("skipped: no software adapter");
    }
    there
}

#[test]
fn the_quick_and_right_variant_is_chosen_and_remembered() {
    if !has_adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run("twice Slow", "", folder.path());
    run("no time", "", folder.path());
    run("tune", "", folder.path());
    // In later processes, unless they want none of it.
    run("twice Quick", "", folder.path());
    run("twice Slow", "off", folder.path());
    let file = table(folder.path());
    let text = std::fs::read_to_string(&file).expect("a file");
    // Broken and foreign files are none, and a choice that is no variant is ignored.
    for broken in [
        text[..text.len() / 2].to_string(),
        "nonsense".to_string(),
        text.replace("\"format\": 1", "\"format\": 99"),
        text.replace("\"variant\": \"", "\"variant\": \"f"),
    ] {
        std::fs::write(&file, broken).expect("a file");
        run("twice Slow", "", folder.path());
    }
    std::fs::write(&file, text).expect("a file");
    run("forget", "", folder.path());
    run("twice Slow", "", folder.path());
}

#[test]
fn the_first_run_can_measure_by_itself() {
    if !has_adapter() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run("twice Quick", "full", folder.path());
    run("twice Quick", "", folder.path());
}
