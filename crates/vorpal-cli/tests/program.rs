//! The program as its users run it.

#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

fn vorpal(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vorpal")).args(args).output().expect("the program starts")
}

/// Runs a training that must succeed; every line of its output must be JSON.
fn train(args: &[&str]) -> Vec<Value> {
    let out = vorpal(&[&["train"], args, &["--json"]].concat());
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON in every line")).collect()
}

fn of<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |e| e["event"] == kind)
}

fn losses(events: &[Value]) -> Vec<f64> {
    of(events, "step").map(|e| e["loss"].as_f64().expect("a loss")).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }
    fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).expect("a file")
    }
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.at(name), bytes).expect("a file");
        self.at(name)
    }
}

/// The devices there are.
fn devices() -> Vec<&'static str> {
    let info = String::from_utf8(vorpal(&["info"]).stdout).expect("UTF-8");
    assert!(info.contains("native CPU"), "{info}");
    if info.contains("software adapter") {
        return vec!["cpu", "software"];
    }
    println!("skipped: no software adapter");
    vec!["cpu"]
}

/// Weights, optimiser and progress that two runs ended with.
fn assert_same_bits(folder: &Folder, a: &str, b: &str) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let same = folder.bytes(&format!("{a}/{file}")) == folder.bytes(&format!("{b}/{file}"));
        assert!(same, "{file} of {a} and {b} differ");
    }
    let metrics = |run: &str| {
        let text = String::from_utf8(folder.bytes(&format!("{run}/metrics.jsonl"))).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let known =
            |e: &Value| [e["event"].clone(), e["step"].clone(), e["loss"].clone(), e["train_loss"].clone()];
        lines.iter().map(known).collect::<Vec<_>>()
    };
    assert_eq!(metrics(a), metrics(b));
}

const SMALL_GPT: [&str; 8] = ["--layers", "1", "--width", "16", "--heads", "2", "--context", "16"];

#[test]
fn digits_train_alike_on_every_device_and_steadily() {
    let folder = Folder::new();
    let mut curves = Vec::new();
    for device in devices() {
        let out = folder.at(device);
        let events = train(&["mnist", "--device", device, "--steps", "6", "--seed", "3", "--out", &out]);
        assert_eq!(of(&events, "step").count(), 6);
        let end = of(&events, "end").next().expect("an end");
        assert_eq!(end["steps"], 6);
        let steady = |name: &str| end["steady"][name].as_u64().expect("a counter");
        let names = ["pipelines_created", "buffers_allocated", "plans_compiled", "submits"];
        assert_eq!(names.map(steady), [0, 0, 0, 5], "{end}");
        assert!(end["test_accuracy"].as_f64().is_some_and(|a| a > 0.2), "{end}");
        for file in
            ["config.json", "metrics.jsonl", "model.safetensors", "optimizer.safetensors", "curves.svg"]
        {
            assert!(Path::new(&out).join(file).exists(), "{file}");
        }
        curves.push(losses(&events));
    }
    for curve in &curves {
        assert!(curve.iter().zip(&curves[0]).all(|(a, b)| (a - b).abs() < 1e-3), "{curves:?}");
    }
}

#[test]
fn sizes_are_told_by_name() {
    let folder = Folder::new();
    let out = folder.at("sized");
    let small = ["mixer", "--device", "cpu", "--steps", "1", "--batch", "2", "--out", &out];
    train(&[&small[..], &["--size", "width=8", "--size", "layers=1"]].concat());
    let config: Value = serde_json::from_slice(&folder.bytes("sized/config.json")).expect("JSON");
    assert_eq!([&config["sizes"]["width"], &config["sizes"]["layers"]], [8, 1], "{config}");
    let refused = |args: &[&str]| {
        let out = vorpal(&[&["train", "mixer", "--device", "cpu", "--steps", "1"], args].concat());
        assert!(!out.status.success(), "{args:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let unknown = refused(&["--size", "depth=3"]);
    assert!(unknown.contains("mixer has no such size; it has width, layers"), "{unknown}");
    let twice = refused(&["--size", "width=8", "--width", "16"]);
    assert!(twice.contains("told twice"), "{twice}");
    let no_number = refused(&["--size", "width=wide"]);
    assert!(no_number.contains("found width=wide"), "{no_number}");
}

/// Kibibytes of memory a process holds.
#[cfg(target_os = "linux")]
fn resident_kib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a running process");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("resident memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow() {
    let folder = Folder::new();
    for device in devices() {
        let out = folder.at(device);
        let mut child = Command::new(env!("CARGO_BIN_EXE_vorpal"))
            .args(["train", "gpt", "--device", device, "--steps", "1010", "--json", "--out", &out])
            .args(["--save-every", "10000", "--batch", "2"])
            .args(SMALL_GPT)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("output")));
        let mut held = Vec::new();
        for line in lines {
            let event: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
            if event["event"] == "step" && [50, 1000].iter().any(|step| event["step"] == *step) {
                held.push(resident_kib(child.id()));
            }
        }
        assert!(child.wait().expect("it ends").success());
        let [early, late] = held[..] else { panic!("two readings: {held:?}") };
        assert!(
            (late / early - 1.0).abs() < 0.05,
            "{early} KiB after 50 steps, {late} after 1000 on {device}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    let folder = Folder::new();
    for device in devices() {
        let run = |name: &str, seed: &str| {
            let out = folder.at(name);
            let gpt = ["gpt", "--device", device, "--steps", "4", "--seed", seed, "--out", &out];
            losses(&train(&[&gpt[..], &SMALL_GPT].concat()))
        };
        let (a, b) = (format!("{device}-a"), format!("{device}-b"));
        assert_eq!(run(&a, "5"), run(&b, "5"));
        assert_same_bits(&folder, &a, &b);
        assert_ne!(run(&format!("{device}-c"), "6"), run(&format!("{device}-d"), "5"));
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let folder = Folder::new();
    let whole = folder.at("whole");
    let options = ["mnist", "--device", "cpu", "--batch", "16", "--seed", "9", "--save-every", "7"];
    train(&[&options[..], &["--steps", "90", "--out", &whole]].concat());
    for (round, patience) in [30, 300, 700, 1100].into_iter().enumerate() {
        let (name, out) = (format!("killed-{round}"), folder.at(&format!("killed-{round}")));
        let mut child = Command::new(env!("CARGO_BIN_EXE_vorpal"))
            .arg("train")
            .args([&options[..], &["--steps", "90", "--out", &out, "--json"]].concat())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the program starts");
        let config = PathBuf::from(&out).join("config.json");
        while !config.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(patience));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        train(&["mnist", "--resume", &out, "--steps", "90", "--save-every", "7"]);
        assert_same_bits(&folder, "whole", &name);
    }
}

#[test]
fn a_shorter_run_can_be_made_longer() {
    let folder = Folder::new();
    let (short, long, copy) = (folder.at("short"), folder.at("long"), folder.at("copy"));
    let options = |steps: &'static str, out: &str| {
        let gpt = ["gpt", "--device", "cpu", "--steps", steps, "--out", out].map(str::to_string);
        gpt.into_iter().chain(SMALL_GPT.map(str::to_string)).collect::<Vec<_>>()
    };
    let run = |args: &[String]| train(&args.iter().map(String::as_str).collect::<Vec<_>>());
    run(&options("5", &short));
    run(&options("9", &long));
    train(&["gpt", "--resume", &short, "--out", &copy, "--steps", "9"]);
    assert_same_bits(&folder, "long", "copy");
    train(&["gpt", "--resume", &short, "--steps", "9"]);
    assert_same_bits(&folder, "long", "short");
    let out = vorpal(&["train", "gpt", "--resume", &short, "--batch", "4"]);
    let error = String::from_utf8_lossy(&out.stderr).to_string();
    assert!(!out.status.success() && error.contains("--batch 4 differs from 8"), "{error}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_ends_well() {
    let folder = Folder::new();
    let rest = interrupted(&["mnist", "--epochs", "50", "--json", "--out", &folder.at("run")]);
    let end: Value = serde_json::from_str(rest.last().expect("an end")).expect("JSON");
    assert_eq!((&end["event"], &end["interrupted"]), (&"end".into(), &true.into()));
    let state: Value = serde_json::from_slice(&folder.bytes("run/state.json")).expect("JSON");
    assert_eq!(state["step"], end["steps"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_without_a_checkpoint_promises_none() {
    let folder = Folder::new();
    let rest = interrupted(&["dqn", "--out", &folder.at("run")]);
    let last = rest.last().expect("an end");
    assert!(last.starts_with("stopped: ") && last.ends_with("nothing to go on from"), "{rest:?}");
}

/// Trains on the CPU until there are three lines, interrupts, and gives the lines after them.
#[cfg(unix)]
fn interrupted(args: &[&str]) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vorpal"))
        .args(["train", "--device", "cpu"])
        .args(args)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("output")));
    for _ in 0..3 {
        lines.next().expect("a step").expect("a line");
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    let rest = lines.map(|l| l.expect("a line")).collect();
    assert!(child.wait().expect("it ends").success());
    rest
}

#[cfg(target_os = "linux")]
#[test]
fn a_dashboard_gives_the_terminal_back() {
    let folder = Folder::new();
    let program = env!("CARGO_BIN_EXE_vorpal");
    let line =
        [&SMALL_GPT[..], &["--device", "cpu", "--steps", "20", "--dashboard", "--out"]].concat().join(" ");
    let line = format!("stty cols 80 rows 24; '{program}' train gpt {line} '{}'", folder.at("run"));
    // `script` is a terminal: first for a training, then for one that is refused.
    for (succeeds, last) in [(true, "results, curves and weights are in"), (false, "error: ")] {
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
        let out = terminal.output().expect("script runs");
        let shown = String::from_utf8(out.stdout).expect("UTF-8");
        assert_eq!(out.status.success(), succeeds, "{shown}");
        let (_, picture) = shown.split_once("\x1b[?1049h\x1b[?25l").expect("another screen");
        let (picture, rest) = picture.split_once("\x1b[?25h\x1b[?1049l").expect("the screen there was");
        assert!(rest.contains(last) && !rest.contains("\x1b[?"), "{rest}");
        assert!(!succeeds || picture.contains("step 20 of 20") && picture.contains('⠑'), "{picture}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_last_checkpoint_whole() {
    let folder = Folder::new();
    let (whole, out) = (folder.at("whole"), folder.at("out"));
    let new = |steps: &str, out: &str| {
        let gpt = ["gpt", "--device", "cpu", "--save-every", "4", "--steps", steps, "--out", out];
        train(&[&gpt[..], &SMALL_GPT].concat());
    };
    new("12", &whole);
    new("4", &out);
    // No file may become longer than some kilobytes: weights do not fit any more, metrics do.
    let program = env!("CARGO_BIN_EXE_vorpal");
    let full = format!(
        "trap '' XFSZ; ulimit -f 8; exec {program} train gpt --resume {out} --steps 12 --save-every 4"
    );
    let result = Command::new("sh").args(["-c", &full]).output().expect("a shell");
    let error = String::from_utf8_lossy(&result.stderr).to_string();
    assert_eq!(result.status.code(), Some(1), "{error}");
    assert!(error.contains("error: ") && error.contains("model.safetensors: File too large"), "{error}");
    let state: Value = serde_json::from_slice(&folder.bytes("out/state.json")).expect("JSON");
    assert_eq!(state["step"], 4);
    train(&["gpt", "--resume", &out, "--steps", "12", "--save-every", "4"]);
    assert_same_bits(&folder, "whole", "out");
}

#[test]
fn a_text_goes_on() {
    let folder = Folder::new();
    let text =
        folder.write("text.txt", "the quick brown fox jumps over the lazy dog. ".repeat(60).as_bytes());
    let out = folder.at("run");
    let gpt = ["gpt", "--device", "cpu", "--steps", "150", "--lr", "0.01", "--text", &text, "--out", &out];
    let events = train(&[&gpt[..], &SMALL_GPT].concat());
    let losses = losses(&events);
    assert!(losses[149] < 0.6 * losses[0], "{} to {}", losses[0], losses[149]);
    let written = |args: &[&str]| {
        let all = [&["generate", "--from", &out, "--device", "cpu", "--prompt", "the quick"], args].concat();
        let out = vorpal(&all);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    let best = written(&["--tokens", "30", "--temperature", "0"]);
    assert!(best.starts_with("the quick") && best.len() == "the quick".len() + 31, "{best}");
    assert_eq!(written(&["--tokens", "30", "--seed", "4"]), written(&["--tokens", "30", "--seed", "4"]));
}

#[test]
fn bad_input_is_told_in_one_line() {
    let folder = Folder::new();
    let empty = folder.write("empty.txt", b"");
    let short = folder.write("short.txt", b"too short");
    let out = folder.at("run");
    train(&[&["gpt", "--device", "cpu", "--steps", "1", "--out", &out][..], &SMALL_GPT].concat());
    let lying = folder.at("lying");
    std::fs::create_dir(&lying).expect("a folder");
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        folder.write(&format!("lying/{name}"), &[0, 0, 8, 1, 0, 0, 0, 9, 7]);
    }
    let weights = folder.at("run/model.safetensors");
    let broken = folder.at("broken");
    std::fs::create_dir(&broken).expect("a folder");
    std::fs::copy(folder.at("run/config.json"), folder.at("broken/config.json")).expect("a copy");
    let bytes = std::fs::read(&weights).expect("weights");
    folder.write("broken/model.safetensors", &bytes[..bytes.len() / 2]);
    let none = folder.at("none");
    let config = String::from_utf8(folder.bytes("run/config.json")).expect("UTF-8");
    let configured = |name: &str, text: &str| {
        std::fs::create_dir(folder.at(name)).expect("a folder");
        folder.write(&format!("{name}/config.json"), text.as_bytes());
        folder.at(name)
    };
    let strange = configured("strange", &config.replacen("\"seed\"", "\"sead\"", 1));
    let typed = configured("typed", &config.replacen("\"batch\": 8", "\"batch\": \"eight\"", 1));
    let cut = configured("cut", &config[..config.len() / 2]);
    let cases: [(&[&str], i32, &str); 21] = [
        (
            &["train", "gpt", "--resume", &strange],
            1,
            "strange: unknown field `sead`, expected one of `model`, `device`",
        ),
        (
            &["train", "gpt", "--resume", &typed],
            1,
            "typed: invalid type: string \"eight\", expected usize at line",
        ),
        (&["train", "gpt", "--resume", &cut], 1, "config.json of"),
        (&["train", "mnist", "--device", "abacus"], 1, "abacus"),
        (
            &["train", "mnist", "--device", "cpu", "--batch", "9000"],
            1,
            "8000 examples do not fill a batch of 9000",
        ),
        (&["train", "mnist", "--device", "cpu", "--batch", "0"], 1, "batch of 0"),
        (&["train", "mnist", "--device", "cpu", "--data", &none], 1, "none"),
        (&["train", "mnist", "--device", "cpu", "--data", &lying], 1, "train-"),
        (&["train", "gpt", "--device", "cpu", "--text", &empty], 1, "empty.txt is empty"),
        (&["train", "gpt", "--device", "cpu", "--text", &short], 1, "9 bytes"),
        (&["train", "gpt", "--device", "cpu", "--heads", "3"], 1, "3 heads"),
        (&["train", "mnist", "--resume", &none], 1, "none"),
        (&["train", "mnist", "--resume", &out], 1, "trains gpt"),
        (&["train", "gpt", "--device", "cpu", "--out", &out], 1, "holds a run already"),
        (&["generate", "--device", "cpu", "--from", &broken], 1, "model.safetensors"),
        (&["train", "mnist", "--device", "cpu", "--dashboard"], 1, "--dashboard needs a terminal"),
        (&["train", "mnist", "--dashboard", "--json"], 2, "--json"),
        (&["train", "mnist", "--lr", "-1"], 2, "step size"),
        (&["train", "everything"], 2, "everything"),
        (&["generate"], 2, "--from"),
        (&["train", "mnist", "--steps", "3", "--epochs", "1"], 2, "--epochs"),
    ];
    for (args, code, part) in cases {
        let result = Command::new(env!("CARGO_BIN_EXE_vorpal"))
            .args(args)
            .current_dir(folder.0.path())
            .output()
            .expect("the program starts");
        let error = String::from_utf8_lossy(&result.stderr).to_string();
        // A driver of graphics may have something to say, too.
        let told: Vec<&str> = error.lines().filter(|l| !l.contains("XDG_RUNTIME_DIR")).collect();
        assert_eq!(result.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(part) && !error.contains("panicked"), "{args:?}: {error}");
        assert!(told.len() == 1 && told[0].starts_with("error: "), "{args:?}: {error}");
        assert!(result.stdout.is_empty(), "{args:?}");
    }
}
