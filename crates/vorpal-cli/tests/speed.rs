//! What the program says about speed, as its users ask for it.

#![allow(clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn vorpal(args: &[&str], cache: &Path, tuning: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vorpal"))
        .args(args)
        .env("VORPAL_CACHE", cache)
        .env("VORPAL_TUNE", tuning)
        .output()
        .expect("the program starts")
}

/// The output of a command that must succeed.
fn text(args: &[&str], cache: &Path) -> String {
    let out = vorpal(args, cache, "");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("UTF-8")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn has_adapter(cache: &Path) -> bool {
    let there = text(&["info"], cache).contains("software adapter");
    if !there {
        println!("skipped: no software adapter");
    }
    there
}

#[test]
fn a_workload_is_explained_for_devices_that_are_not_there() {
    let cache = folder();
    let names = text(&["workloads"], cache.path());
    assert!(names.lines().any(|l| l.starts_with("softmax ")), "{names}");
    for target in ["native", "software", "card", "matrices"] {
        let found = text(&["explain", "softmax", "--target", target], cache.path());
        assert!(
            found.contains("launches: 1\n") && found.contains("row over axes [1] of [4096, 1024]"),
            "{found}"
        );
        assert!(found.contains("1.00 times the least") && found.contains("s0"), "{found}");
        assert!(found.contains("%0") && found.contains("given f32[4096, 1024]"), "{found}");
    }
    let step = text(&["explain", "mlp_step", "--target", "card"], cache.path());
    assert!(step.contains("matmul") && step.contains("memory: ") && step.contains('█'), "{step}");
    let shader = text(&["explain", "softmax", "--target", "card", "--wgsl", "0"], cache.path());
    assert!(shader.contains("@compute") && shader.contains("fn main("), "{shader}");
    let out = vorpal(&["explain", "softmax", "--wgsl", "7"], cache.path(), "");
    assert!(!out.status.success());
    assert_eq!(String::from_utf8_lossy(&out.stderr), "error: launch 7 is not one of 1, from 0 on\n");
    let out = vorpal(&["explain", "nothing"], cache.path(), "");
    let message = String::from_utf8_lossy(&out.stderr).to_string();
    assert!(
        !out.status.success() && message.contains("no workload is called nothing; there are "),
        "{message}"
    );
}

#[test]
fn a_program_that_does_not_wait_for_its_adapter_ends_well() {
    let cache = folder();
    if !has_adapter(cache.path()) {
        return;
    }
    // The operands are still being made, and their shaders compiled, when there is nothing left to print.
    for _ in 0..12 {
        let shader = text(&["explain", "softmax", "--device", "software", "--wgsl", "0"], cache.path());
        assert!(shader.contains("fn main("), "{shader}");
    }
}

#[test]
fn a_profile_is_a_table_a_trace_and_a_page() {
    let cache = folder();
    let at = |name: &str| cache.path().join(name).display().to_string();
    let mut devices = vec!["cpu"];
    if has_adapter(cache.path()) {
        devices.push("software");
    }
    for device in devices {
        let (trace, html) = (at("trace.json"), at("page.html"));
        let args = ["profile", "softmax", "--device", device, "--runs", "2", "--seconds", "1"];
        let found = text(&[&args[..], &["--trace", &trace, "--html", &html]].concat(), cache.path());
        assert!(found.contains("can do: ") && found.contains("row over axes [1]"), "{found}");
        let trace = std::fs::read(trace).expect("a trace");
        let trace: Value = serde_json::from_slice(&trace).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        let launch = events.iter().find(|e| e["ph"] == "X").expect("a launch");
        assert!(launch["dur"].as_f64().is_some_and(|t| t > 0.0) && launch["ts"] == 0.0, "{launch}");
        assert_eq!(launch["args"]["bytes"], 2 * 4 * 4096 * 1024);
        let page = std::fs::read_to_string(html).expect("a page");
        assert!(page.contains("<svg") && page.contains("row over axes [1]") && page.contains("Roofline"));
        // Nothing from elsewhere.
        for foreign in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}

#[test]
fn a_tuning_is_remembered() {
    let cache = folder();
    let out = vorpal(&["tune", "--device", "cpu"], cache.path(), "");
    assert!(String::from_utf8_lossy(&out.stderr).contains("the native CPU has one way"), "{out:?}");
    if !has_adapter(cache.path()) {
        return;
    }
    let tune = ["tune", "matmul_512", "--device", "software", "--seconds", "60"];
    let first = text(&tune, cache.path());
    assert!(first.contains("matmul") && first.contains("1 kernels measured"), "{first}");
    let again = text(&tune, cache.path());
    assert!(again.contains("known: matmul") && again.contains("0 kernels measured"), "{again}");
    let anew = text(&[&tune[..], &["--again"]].concat(), cache.path());
    assert!(anew.contains("1 kernels measured"), "{anew}");
    let hasty =
        text(&["tune", "matmul_512", "--device", "software", "--seconds", "0", "--again"], cache.path());
    assert!(hasty.contains("no time for 1"), "{hasty}");
}

#[test]
fn workloads_are_measured() {
    let cache = folder();
    let found = text(&["bench", "sum", "--device", "cpu", "--seconds", "0.1"], cache.path());
    assert!(found.lines().any(|l| l.starts_with("sum ") && l.contains("iB")), "{found}");
}
