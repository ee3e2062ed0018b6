//! Files of NumPy and PyTorch. `golden/interop.py` wrote them.

#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use half::{bf16, f16};
use vorpal_nn::data::Array;
use vorpal_nn::interop::{
    PtValue, load_npy, load_npz, load_pt, load_state_dict, npy_from_bytes, npy_to_bytes, npz_from_bytes,
    npz_to_bytes, pt_from_bytes, save_npy, save_npz,
};
use vorpal_nn::{Device, Element, Error, Linear, Module, Result, Tensor};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/interop", name].iter().collect()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).expect("a golden file")
}

fn array<T: Element>(values: &[T], shape: &[usize]) -> Array {
    Array::new(values, shape).expect("an array")
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("a broken file");
    assert!(matches!(error, Error::Format { .. } | Error::Io { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn arrays_of_numpy_are_read() {
    let npy = |name| load_npy(file(name)).expect("an array");
    assert_eq!(npy("plain.npy"), array(&[-2.5f32, -1.5, -0.5, 0.5, 1.5, 2.5], &[2, 3]));
    assert_eq!(npy("fortran.npy"), array(&(0..24).collect::<Vec<i64>>(), &[2, 3, 4]));
    assert_eq!(npy("big.npy"), array(&[-2.0f64, -0.75, 0.5, 1.75], &[4]));
    assert_eq!(npy("scalar.npy"), array(&[200u8], &[]));
    assert!(message(load_npy(file("record.npy"))).contains("records are not read"));
    let expected = BTreeMap::from([
        ("f2".to_string(), array(&[0.0, 1.0, 2.0, 100.0].map(f16::from_f32), &[4])),
        ("i1".to_string(), array(&[0i8, 1, 2, 100], &[4])),
        ("i2".to_string(), array(&[-300i32, 300], &[2])),
        ("u2".to_string(), array(&[65535i32, 1], &[2])),
        ("i4".to_string(), array(&[0i32, 1, 2, 100], &[4])),
        ("u4".to_string(), array(&[0u32, 1, 2, 100], &[4])),
        ("b1".to_string(), array(&[true, false, false, true], &[2, 2])),
        ("empty".to_string(), array::<f32>(&[], &[0, 3])),
    ]);
    assert_eq!(load_npz(file("plain.npz")).as_ref(), Ok(&expected));
    assert_eq!(load_npz(file("packed.npz")).as_ref(), Ok(&expected));
    // And back.
    let dir = tempfile::tempdir().expect("a folder");
    save_npz(&expected, dir.path().join("again.npz")).expect("saved");
    assert_eq!(load_npz(dir.path().join("again.npz")), Ok(expected));
    let x = array(&[1.0f64, 2.0], &[2, 1]);
    save_npy(&x, dir.path().join("x.npy")).expect("saved");
    assert_eq!(load_npy(dir.path().join("x.npy")), Ok(x));
    let halves = array(&[1.5, -2.0].map(bf16::from_f32), &[2]);
    assert_eq!(
        npy_from_bytes(&npy_to_bytes(&halves).expect("written"), "x"),
        Ok(array(&[1.5f32, -2.0], &[2]))
    );
}

#[test]
fn what_is_written_is_numpys_own() {
    // NumPy writes version 1 headers where they fit; what follows them is the same.
    let (ours, theirs) = (npy_to_bytes(&load_npy(file("plain.npy")).expect("an array")), bytes("plain.npy"));
    let ours = ours.expect("written");
    assert_eq!((ours.len() % 64, &ours[..6]), (24, &theirs[..6]));
    assert_eq!(ours[ours.len() - 24..], theirs[theirs.len() - 24..]);
}

#[test]
fn broken_arrays_are_named_with_their_place() {
    let plain = bytes("plain.npy");
    assert!(
        message(npy_from_bytes(&plain[..plain.len() - 1], "x.npy")).contains("found 23 bytes at byte 128")
    );
    assert!(message(npy_from_bytes(&plain[..50], "x.npy")).contains("the header ends early at byte 50"));
    assert!(message(npy_from_bytes(b"PK\x03\x04", "x.npy")).contains("x.npy"));
    let text = |from: &str, to: &str| {
        let text: Vec<u8> = plain.clone();
        let at = text.windows(from.len()).position(|w| w == from.as_bytes()).expect("there");
        [&text[..at], to.as_bytes(), &text[at + from.len()..]].concat()
    };
    assert!(message(npy_from_bytes(&text("<f4", "<c8"), "x")).contains("type <c8 are not read"));
    assert!(message(npy_from_bytes(&text("(2, 3)", "(9, 9)"), "x")).contains("[9, 9] elements of 4 bytes"));
    assert!(message(npy_from_bytes(&text("descr", "crips"), "x")).contains("\"crips\" is not known"));
    assert!(message(load_npy(file("nowhere.npy"))).contains("nowhere.npy"));
    let packed = bytes("packed.npz");
    assert!(message(npz_from_bytes(&packed[..packed.len() / 2], "half.npz")).contains("half.npz"));
}

#[test]
fn files_of_pytorch_are_read() {
    let value = load_pt(file("nested.pt")).expect("a file");
    let base: Vec<f32> = (0..12).map(|k| k as f32).collect();
    let tensors = value.tensors();
    let is = |name: &str, expected: Array| assert_eq!(tensors.get(name), Some(&expected), "{name}");
    is("transposed", array(&(0..12).map(|k| base[k % 3 * 4 + k / 3]).collect::<Vec<_>>(), &[4, 3]));
    is("row", array(&base[4..8], &[4]));
    is("every_other", array(&[0.0f32, 2.0, 4.0, 6.0, 8.0, 10.0], &[3, 2]));
    is("repeated", array(&[1.5f32, 2.5, 1.5, 2.5, 1.5, 2.5], &[3, 2]));
    is("f64", array(&[0.1f64, -2.0], &[2]));
    is("f16", array(&[0.5, -2.0].map(f16::from_f32), &[2]));
    is("bf16", array(&[0.5, -3.0].map(bf16::from_f32), &[2]));
    is("i64", array(&[1i64 << 40, -1], &[2]));
    is("i32", array(&[-7i32], &[1]));
    is("i16", array(&[-300i32, 300], &[2]));
    is("i8", array(&[-5i8], &[1]));
    is("u8", array(&[250u8], &[1]));
    is("bool", array(&[true, false], &[2]));
    is("empty", array::<f32>(&[], &[0, 3]));
    is("scalar", array(&[4.5f32], &[]));
    is("parameter", array(&[1.0f32, 2.0], &[2]));
    assert_eq!(tensors.len(), 16);
    let ints = |list: &[i64]| PtValue::List(list.iter().map(|&k| PtValue::Int(k)).collect());
    let text = |t: &str| PtValue::Text(t.to_string());
    let dict = |name: &str, value| PtValue::Dict(vec![(text(name), value)]);
    for (name, expected) in [
        ("epoch", PtValue::Int(3)),
        ("rate", PtValue::Float(1e-3)),
        ("name", text("größe")),
        ("none", PtValue::None),
        ("flags", PtValue::List(vec![PtValue::Bool(true), PtValue::Bool(false)])),
        ("pair", ints(&[1, -70000])),
        ("large", PtValue::Int(1 << 40)),
        ("size", ints(&[3, 4])),
    ] {
        assert_eq!(value.get(name), Some(&expected), "{name}");
    }
    let ordered = value.get("ordered").expect("there");
    assert_eq!((ordered.get("a"), ordered.get("b")), (Some(&PtValue::Int(1)), Some(&dict("c", ints(&[2])))));
    assert_eq!(load_pt(file("nested4.pt")), Ok(value));
}

#[derive(Module)]
struct Net {
    #[module(name = "0")]
    first: Linear,
    #[module(name = "2")]
    last: Linear,
}

#[test]
fn a_module_takes_the_weights_of_pytorch() {
    let golden: serde_json::Value = serde_json::from_slice(&bytes("model.json")).expect("a golden file");
    let floats = |name: &str| -> Vec<f32> {
        golden[name][0]
            .as_array()
            .expect("a list")
            .iter()
            .map(|v| v.as_f64().expect("a number") as f32)
            .collect()
    };
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    for name in ["model.pt", "state.pt"] {
        let mut net = Net { first: Linear::new(3, 4, &device), last: Linear::without_bias(4, 2, &device) };
        load_state_dict(&mut net, file(name)).expect("weights");
        let x = Tensor::from_slice(&floats("x"), [1, 3], &device);
        let y = net.last.forward(&net.first.forward(&x).tanh()).to_vec::<f32>().expect("values");
        assert!(y.iter().zip(floats("y")).all(|(a, b)| (a - b).abs() < 1e-6), "{y:?}");
    }
    let mut other = Net { first: Linear::new(3, 5, &device), last: Linear::without_bias(5, 2, &device) };
    let error = message(load_state_dict(&mut other, file("state.pt")));
    assert!(error.ends_with("mismatched 0.weight is f32[4, 3], not f32[5, 3], 0.bias is f32[4], not f32[5], 2.weight is f32[2, 4], not f32[2, 5]"), "{error}");
    let mut other = Linear::new(3, 4, &device);
    let error = message(load_state_dict(&mut other, file("state.pt")));
    assert!(error.ends_with("missing weight, bias; unexpected 0.bias, 0.weight, 2.weight"), "{error}");
}

#[test]
fn foreign_names_are_refused_by_name() {
    let says = |name: &str, part: &str| {
        let error = message(load_pt(file(name)));
        assert!(error.contains(part) && error.contains(name), "{error}");
    };
    says("legacy.pt", "before version 1.6");
    says("path.pt", "PurePosixPath is not known");
    says("module.pt", "torch.nn.modules.linear.Linear is not known");
    says("complex.pt", "torch.ComplexFloatStorage are not read");
    says("plain.npz", "no data.pkl");
    says("plain.npy", "zip archive");
}

/// Calls `read` with the file cut short everywhere and with bytes changed: it may refuse or not, never panic.
fn survives(whole: &[u8], stride: usize, read: impl Fn(&[u8])) {
    (0..whole.len()).step_by(stride).for_each(|end| read(&whole[..end]));
    let mut state = 1u32;
    for at in (0..whole.len()).step_by(stride) {
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut broken = whole.to_vec();
            broken[at] ^= ((state >> 24) as u8).max(1);
            read(&broken);
        }
    }
}

#[test]
fn broken_files_never_panic() {
    survives(&bytes("fortran.npy"), 1, |b| drop(npy_from_bytes(b, "x")));
    survives(&bytes("packed.npz"), 5, |b| drop(npz_from_bytes(b, "x")));
    survives(&bytes("nested.pt"), 11, |b| drop(pt_from_bytes(b, "x")));
    // The pickle alone, without the checksum that would catch most changes.
    let archive = npz_like(&bytes("nested4.pt"));
    survives(&archive, 3, |b| drop(pt_from_bytes(&zipped(b), "x")));
    let twice = BTreeMap::from([("a".to_string(), array(&[1.0f32], &[1]))]);
    assert_eq!(npz_from_bytes(&npz_to_bytes(&twice).expect("written"), "x"), Ok(twice));
}

/// The pickle of a file of PyTorch.
fn npz_like(file: &[u8]) -> Vec<u8> {
    let archive = rawzip::ZipArchive::from_slice(file).expect("an archive");
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().expect("an entry") {
        if entry.file_path().as_bytes().ends_with(b"data.pkl") {
            return archive.get_entry(entry.wayfinder()).expect("a file").data().to_vec();
        }
    }
    Vec::new()
}

/// An archive with a pickle and one storage.
fn zipped(pickle: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = Vec::new();
    let mut writer = rawzip::ZipArchiveWriter::new(&mut out);
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0u8; 48][..])] {
        let (mut entry, config) = writer.new_file(name).start().expect("a file");
        let mut data = config.wrap(&mut entry);
        data.write_all(bytes).expect("written");
        let (_, descriptor) = data.finish().expect("written");
        entry.finish(descriptor).expect("written");
    }
    writer.finish().expect("written");
    out
}
