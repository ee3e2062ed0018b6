//! Files of data sets, whole and broken.

#![allow(clippy::expect_used)]

use std::path::PathBuf;

use vorpal_nn::data::{
    Array, Cifar, DataLoader, Dataset, Idx, ImageFolder, Table, TokenShards, TokenWidth, TokenWindows, Wav,
    image_from_bytes, read_lines,
};
use vorpal_nn::{Error, Result};

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.expect_err("a broken file").to_string()
}

/// Calls `read` with the file cut short everywhere and with bytes changed: it may refuse or not, never panic.
fn survives(whole: &[u8], stride: usize, read: impl Fn(&[u8])) {
    (0..whole.len()).step_by(stride).for_each(|end| read(&whole[..end]));
    let mut state = 1u32;
    for at in (0..whole.len()).step_by(stride) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut broken = whole.to_vec();
        broken[at] ^= ((state >> 24) as u8).max(1);
        read(&broken);
    }
}

fn values(x: &Array) -> Vec<f32> {
    x.to_vec().expect("floats")
}

#[test]
fn cifar() {
    let record = |labels: &[u8], pixel: u8| [labels, &[pixel; 3072]].concat();
    let ten = [record(&[3], 255), record(&[9], 51)].concat();
    let set = Cifar::parse10(&ten, "batch").expect("two pictures");
    let (image, label) = set.get(1).expect("a picture");
    assert_eq!((set.len(), label, image.shape().to_vec()), (2, 9, vec![3, 32, 32]));
    assert!(values(&image).iter().all(|&v| v == 0.2));
    let hundred = Cifar::parse100(&record(&[19, 99], 0), "batch").expect("a picture");
    assert_eq!((hundred.groups[0], hundred.labels[0]), (19, 99));
    assert_eq!(message(Cifar::parse10(&ten[..4000], "b")), "b: record 1 at byte 3073 has 927 of 3073 bytes");
    let error = message(Cifar::parse10(&[record(&[3], 0), record(&[10], 0)].concat(), "b"));
    assert_eq!(error, "b: record 1 at byte 3073 has label 10, which is not below 10");
    assert!(message(Cifar::parse100(&record(&[20, 0], 0), "b")).contains("label 20, which is not below 20"));
    let dir = tempfile::tempdir().expect("a folder");
    assert!(message(Cifar::load10(dir.path())).contains("data_batch_1.bin"));
    std::fs::write(dir.path().join("train.bin"), record(&[0, 1], 2)).expect("written");
    std::fs::write(dir.path().join("test.bin"), record(&[0, 3], 4)).expect("written");
    let (train, test) = Cifar::load100(dir.path()).expect("both");
    assert_eq!((train.labels, test.labels), (vec![1], vec![3]));
}

#[test]
fn tables() {
    let text = b"a, b ,kind\n1,2.5,x\n-3e2,,y\n\"4\",NA,\"x\"\n";
    let table = Table::parse(text, "t.csv").expect("a table");
    assert_eq!((table.names().join("|"), table.len()), ("a|b|kind".to_string(), 3));
    assert_eq!(table.numbers("a"), Ok(vec![1.0, -300.0, 4.0]));
    assert_eq!(message(table.numbers("b")), "t.csv: line 3, column \"b\": \"\" is no number");
    assert!(message(table.numbers("c")).contains("no column \"c\" among a, b, kind"));
    let filled = table.clone().missing(0.5);
    assert_eq!(filled.array(&["b", "a"]).map(|x| values(&x)), Ok(vec![2.5, 1.0, 0.5, -300.0, 0.5, 4.0]));
    assert_eq!(table.categories("kind"), Ok((vec![0, 1, 0], vec!["x".to_string(), "y".to_string()])));
    let error = message(Table::parse(b"a,b\n1,2\n3\n", "t.csv"));
    assert!(error.contains("t.csv") && error.contains("line: 3"), "{error}");
    assert!(message(Table::parse(b"a\n\xff\xfe\n", "t.csv")).contains("UTF-8"));
    let plain = Table::with_options(b"1;2\n3;4\n", "t", b';', false).expect("a table");
    assert_eq!(plain.numbers("1"), Ok(vec![2.0, 4.0]));
    // A row is a sample.
    let (x, y) = (plain.array(&["0"]).expect("numbers"), plain.array(&["1"]).expect("numbers"));
    let mut loader = DataLoader::builder(x.zip(y).expect("as many")).batch_size(2).build().expect("a loader");
    let (x, _) = loader.epoch().next().expect("one").expect("a batch");
    assert_eq!((x.shape().to_vec(), x.to_vec::<f32>()), (vec![2, 1], Ok(vec![1.0, 3.0])));
    survives(text, 1, |b| drop(Table::parse(b, "t")));
}

fn picture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/pictures", name].iter().collect()
}

#[test]
fn pictures() {
    let golden = std::fs::read(picture("values.json")).expect("a golden file");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("a golden file");
    let list = |name: &str| -> Vec<f32> {
        let list = golden[name].as_array().expect("a list");
        list.iter().map(|v| v.as_f64().expect("a number") as f32 / 255.0).collect()
    };
    let folder = ImageFolder::open(picture("")).expect("a folder");
    assert_eq!((folder.classes(), folder.len()), (&["flat".to_string(), "smooth".to_string()][..], 5));
    let get = |k: usize| folder.get(k).expect("a picture");
    let labels: Vec<i32> = (0..5).map(|k| get(k).1).collect();
    assert_eq!(labels, [0, 0, 0, 1, 1]);
    assert!(folder.path(0).is_some_and(|p| p.ends_with("flat/below/grey.PNG")));
    assert_eq!((get(0).0.shape().to_vec(), values(&get(0).0)), (vec![3, 4, 5], vec![0.2; 60]));
    assert_eq!(values(&get(1).0), vec![0.4; 12]);
    assert_eq!(values(&get(2).0), list("palette"));
    // Decoders of JPEG may round differently by one level.
    let worst = values(&get(3).0).iter().zip(list("jpeg")).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 2.0 / 255.0, "{worst}");
    let smooth: Vec<f32> = (0..16 * 24).map(|k| (k / 24 * 12) as f32 / 255.0).collect();
    assert_eq!(values(&get(4).0)[..384], smooth);
    let loader = DataLoader::builder(folder.clone().grey().resized(8, 6)).batch_size(5).workers(2).shuffle(1);
    let (x, y) = loader.build().expect("a loader").epoch().next().expect("one").expect("a batch");
    assert_eq!((x.shape().to_vec(), y.shape().to_vec()), (vec![5, 1, 8, 6], vec![5]));
    assert!(x.to_vec::<f32>().expect("values").iter().all(|v| (0.0..=1.0).contains(v)));

    for name in ["smooth/a.jpg", "smooth/b.png", "flat/palette.png"] {
        let bytes = std::fs::read(picture(name)).expect("a picture");
        let error = message(image_from_bytes(&bytes[..bytes.len() / 4], 3, name));
        assert!(error.contains(name), "{error}");
        survives(&bytes, 3, |b| drop(image_from_bytes(b, 3, "x")));
    }
    assert!(message(image_from_bytes(b"GIF89a", 3, "x.gif")).contains("neither PNG nor JPEG"));
    let dir = tempfile::tempdir().expect("a folder");
    assert!(message(ImageFolder::open(dir.path())).contains("no .png or .jpg files"));
    assert!(matches!(ImageFolder::open("nowhere/at/all"), Err(Error::Io { .. })));
    // A broken file among others is named by the loader.
    std::fs::create_dir(dir.path().join("class")).expect("a folder");
    std::fs::write(dir.path().join("class/broken.png"), b"\x89PNG\r\n").expect("written");
    let mut loader =
        DataLoader::builder(ImageFolder::open(dir.path()).expect("one")).build().expect("a loader");
    let error = message(loader.epoch().next().expect("one"));
    assert!(error.starts_with("sample 0: ") && error.contains("broken.png"), "{error}");
}

#[test]
fn tokens() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).expect("written");
        dir.path().join(name)
    };
    let short = |tokens: std::ops::Range<u16>| tokens.flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let files =
        [write("0.bin", &short(0..11)), write("1.bin", &short(11..14)), write("2.bin", &short(65520..65530))];
    let shards = TokenShards::open(&files, TokenWidth::U16, 4, 3).expect("files");
    // 3 windows of 11 tokens, none of 3, 2 of 10.
    assert_eq!(shards.len(), 5);
    assert_eq!(shards.get(2), Ok((vec![6, 7, 8, 9], vec![7, 8, 9, 10])));
    assert_eq!(shards.get(4), Ok((vec![65523, 65524, 65525, 65526], vec![65524, 65525, 65526, 65527])));
    assert!(message(shards.get(5)).contains("sample 5 of 5"));
    let memory = TokenWindows::new((0..11).collect(), 4, 3).expect("windows");
    assert_eq!(
        (0..3).map(|k| memory.get(k)).collect::<Vec<_>>(),
        (0..3).map(|k| shards.get(k)).collect::<Vec<_>>()
    );
    let words = write("w.bin", &[7u32, 70000, 9].map(u32::to_le_bytes).concat());
    let wide = TokenShards::open(&[words], TokenWidth::U32, 2, 1).expect("a file");
    assert_eq!(wide.get(0), Ok((vec![7, 70000], vec![70000, 9])));
    let odd = write("odd.bin", &[0; 13]);
    let error = message(TokenShards::open(&[odd], TokenWidth::U32, 2, 1));
    assert!(error.contains("odd.bin") && error.contains("the one at byte 12 is cut short"), "{error}");
    assert!(matches!(TokenShards::open(&files, TokenWidth::U16, 100, 1), Err(Error::Argument { .. })));
    assert!(TokenWindows::new(vec![1, 2], 2, 1).is_err() && TokenWindows::new(vec![1, 2], 1, 0).is_err());
    // A file that shrinks while it is read.
    std::fs::OpenOptions::new().write(true).open(&files[0]).and_then(|f| f.set_len(8)).expect("shortened");
    let error = message(shards.get(0));
    assert!(error.contains("0.bin") && error.contains("tokens from byte 0 on"), "{error}");

    let text = write("text.txt", "one\r\ntwo\n\ndrei ß".as_bytes());
    let lines = read_lines(&text).expect("lines");
    assert_eq!(lines.0, ["one", "two", "", "drei ß"]);
    let bad = write("bad.txt", b"fine\n\xff");
    assert!(message(read_lines(&bad)).contains("not UTF-8 at byte 5"));
}

#[test]
fn sound() {
    let wav = |spec: hound::WavSpec, samples: &[i32]| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a writer");
        for &sample in samples {
            match spec.sample_format {
                hound::SampleFormat::Int => writer.write_sample(sample).expect("written"),
                hound::SampleFormat::Float => writer.write_sample(sample as f32 / 4.0).expect("written"),
            }
        }
        writer.finalize().expect("written");
        bytes.into_inner()
    };
    let int = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: 16, sample_format: int };
    let whole = wav(spec, &[16384, -32768, 0, 8192, -16384, 1]);
    let sound = Wav::parse(&whole, "s").expect("sound");
    assert_eq!((sound.rate, sound.samples.shape().to_vec()), (8000, vec![2, 3]));
    assert_eq!(values(&sound.samples), [0.5, 0.0, -0.5, -1.0, 0.25, 1.0 / 32768.0]);
    let float = hound::WavSpec {
        channels: 1,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
        ..spec
    };
    assert_eq!(values(&Wav::parse(&wav(float, &[1, -2]), "s").expect("sound").samples), [0.25, -0.5]);
    let eight = hound::WavSpec { channels: 1, bits_per_sample: 8, ..spec };
    assert_eq!(values(&Wav::parse(&wav(eight, &[64, -128]), "s").expect("sound").samples), [0.5, -1.0]);
    let error = message(Wav::parse(&whole[..whole.len() - 3], "s.wav"));
    assert!(error.contains("s.wav: sample 4"), "{error}");
    assert!(message(Wav::parse(b"RIFFxxxxWAVE", "s.wav")).contains("s.wav: header"));
    survives(&whole, 1, |b| drop(Wav::parse(b, "x")));
}

#[test]
fn zipped_files_end_where_they_should() {
    let packed = include_bytes!("../data/mnist10k/t10k-labels-idx1-ubyte.gz");
    assert!(Idx::parse(packed, "labels").is_ok());
    let error = message(Idx::parse(&packed[..500], "labels"));
    assert!(error.contains("labels: broken gzip stream"), "{error}");
}
