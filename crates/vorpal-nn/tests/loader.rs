//! Loaders: order, places, failures, threads.

#![allow(clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vorpal_nn::data::{
    Array, BatchSampler, Batches, Buckets, DataLoader, Dataset, Distributed, LoaderStats, Padded, Position,
    Sampler, Samples, Sequential, Shuffled, SubsetSampler, Weighted, WithReplacement,
};
use vorpal_nn::{Device, Error, Result, Tensor};

/// Numbers that take a while, some longer than others.
struct Slow {
    len: usize,
    made: AtomicUsize,
}

impl Slow {
    fn new(len: usize) -> Slow {
        Slow { len, made: AtomicUsize::new(0) }
    }
}

impl Dataset for Slow {
    type Item = i32;
    fn len(&self) -> usize {
        self.len
    }
    fn get(&self, index: usize) -> Result<i32> {
        self.made.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros((index as u64 * 37) % 7 * 100));
        Ok(index as i32)
    }
}

fn slow_loader(workers: usize) -> DataLoader<Tensor> {
    let loader = DataLoader::builder(Slow::new(22)).batch_size(4).shuffle(5).workers(workers);
    loader.build().expect("a loader")
}

fn rest(loader: &mut DataLoader<Tensor>) -> Vec<Vec<i32>> {
    loader.epoch().map(|batch| batch.and_then(|b| b.to_vec::<i32>()).expect("a batch")).collect()
}

#[test]
fn the_order_is_the_seeds_whatever_the_number_of_threads() {
    let mut inline = slow_loader(0);
    let epochs: Vec<_> = (0..3).map(|_| rest(&mut inline)).collect();
    assert_eq!(epochs[0].len(), 6);
    assert_eq!(epochs[0][5].len(), 2);
    assert_ne!(epochs[0], epochs[1]);
    for workers in [1, 2, 5] {
        let mut loader = slow_loader(workers);
        let again: Vec<_> = (0..3).map(|_| rest(&mut loader)).collect();
        assert_eq!(again, epochs, "{workers} workers");
    }
}

#[test]
fn a_place_is_found_again_exactly() {
    for workers in [0, 3] {
        let mut loader = slow_loader(workers);
        rest(&mut loader);
        loader.epoch().take(2).for_each(drop);
        let place = loader.position();
        assert_eq!(place, Position { epoch: 1, batch: 2 });
        let expected = [rest(&mut loader), rest(&mut loader)];
        let mut other = slow_loader(workers);
        // Threads that have begun elsewhere start anew.
        other.epoch().take(1).for_each(drop);
        other.seek(place).expect("a place");
        assert_eq!(other.epoch().len(), 4);
        assert_eq!([rest(&mut other), rest(&mut other)], expected);
        // At the end of an epoch, before it was said to be over.
        let place = Position { epoch: 4, batch: 6 };
        other.seek(place).expect("a place");
        assert_eq!((rest(&mut other).len(), other.position()), (0, Position { epoch: 5, batch: 0 }));
        let error = other.seek(Position { epoch: 0, batch: 7 }).expect_err("6 batches");
        assert!(error.to_string().contains("batch 7 of an epoch of 6"), "{error}");
    }
}

#[test]
fn a_sample_that_fails_is_named_and_the_rest_goes_on() {
    for workers in [0, 2] {
        let data = Slow::new(12).try_map(|k| match k {
            5 => Err(Error::format("disk", "scratched")),
            9 => panic!("sample {k} is cursed"),
            _ => Ok(k),
        });
        let mut loader = DataLoader::builder(data).batch_size(3).workers(workers).build().expect("a loader");
        let batches: Vec<Result<Tensor>> = loader.epoch().collect();
        assert_eq!(batches.len(), 4);
        assert_eq!(batches[0].as_ref().expect("whole").to_vec::<i32>(), Ok(vec![0, 1, 2]));
        assert_eq!(batches[2].as_ref().expect("whole").to_vec::<i32>(), Ok(vec![6, 7, 8]));
        let cause = Box::new(Error::format("disk", "scratched"));
        assert_eq!(batches[1].as_ref().expect_err("5"), &Error::Sample { index: 5, cause });
        let error = batches[3].as_ref().expect_err("9");
        assert_eq!(error.to_string(), "sample 9: the data set panicked: sample 9 is cursed");
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

#[test]
fn samples_that_panic_when_they_are_dropped_hold_nothing_up() {
    let data =
        Samples(vec![0, 1, 2, 3]).try_map(|k| if k == 1 { Err(Error::format("k", "1")) } else { Ok(Bomb) });
    let keep = |items: Vec<Bomb>, _: &Device| -> Result<usize> {
        let count = items.len();
        std::mem::forget(items);
        Ok(count)
    };
    let loader = DataLoader::builder(data).batch_size(2).workers(1).collate(keep);
    let batches: Vec<Result<usize>> = loader.build().expect("a loader").epoch().collect();
    assert_eq!(batches[0].as_ref().expect_err("a panic").to_string(), "the data set panicked: boom");
    assert_eq!(batches[1], Ok(2));
}

#[test]
fn batches_that_do_not_fit_name_the_sample() {
    let data = Samples(vec![vec![0.0f32; 3], vec![0.0; 3], vec![0.0; 2]]);
    let loader = DataLoader::builder(data.clone()).batch_size(2).workers(1);
    let loader = loader.sampler(SubsetSampler::new(vec![1, 2], None));
    let error = loader.build().expect("a loader").epoch().next().expect("one").expect_err("2 beside 3");
    assert!(matches!(error, Error::Sample { index: 2, .. }), "{error}");
    let broken = |_: Vec<Vec<f32>>, _: &Device| -> Result<Tensor> { panic!("no batch today") };
    let mut loader = DataLoader::builder(data).collate(broken).workers(2).build().expect("a loader");
    let error = loader.epoch().next().expect("one").expect_err("a panic");
    assert_eq!(error.to_string(), "the collate function panicked: no batch today");
    // A number that the data set does not have.
    let mut loader =
        DataLoader::builder(Samples(vec![1i32])).sampler(Sequential(2)).build().expect("a loader");
    assert!(matches!(loader.epoch().nth(1), Some(Err(Error::Sample { index: 1, .. }))));
}

#[test]
fn no_more_is_made_ahead_than_asked_for_and_threads_end_with_the_loader() {
    let data = Arc::new(Slow::new(1000));
    let mut loader =
        DataLoader::builder(data.clone()).batch_size(5).workers(2).prefetch(3).build().expect("a loader");
    for (k, batch) in loader.epoch().take(4).enumerate() {
        batch.expect("a batch");
        std::thread::sleep(Duration::from_millis(20));
        assert!(data.made.load(Ordering::SeqCst) <= 5 * (k + 1 + 3));
    }
    drop(loader);
    // Nobody holds the data any more: the threads have been waited for.
    assert_eq!(Arc::strong_count(&data), 1);
}

/// Share of the time that steps of `step` waited for batches of 8 samples of a millisecond each, made by two threads.
fn share_waited(step: Duration) -> f64 {
    let data = Samples((0..8 * 16).collect::<Vec<i32>>()).map(|k| {
        std::thread::sleep(Duration::from_millis(1));
        k
    });
    let mut loader = DataLoader::builder(data).batch_size(8).workers(2).build().expect("a loader");
    let start = Instant::now();
    for batch in &mut loader {
        batch.expect("a batch");
        std::thread::sleep(step);
    }
    let LoaderStats { batches, waited_s } = loader.stats();
    assert_eq!(batches, 16);
    waited_s / start.elapsed().as_secs_f64()
}

#[test]
fn steps_that_take_longer_than_batches_hardly_wait() {
    // Two threads make a batch in 4 ms. Other programs run here too: the best of three counts.
    let fast = share_waited(Duration::ZERO);
    let slow: Vec<f64> = (0..3).map(|_| share_waited(Duration::from_millis(20))).collect();
    assert!(slow.iter().any(|&s| s < 0.25 && s < fast), "{slow:?} and {fast}");
}

#[test]
fn samplers_draw_what_they_say() {
    let weights = [1.0, 0.0, 3.0, 6.0];
    let weighted = Weighted::new(&weights, 10_000, 3).expect("weights");
    let mut counts = [0.0; 4];
    weighted.epoch(0).iter().for_each(|&k| counts[k] += 1.0);
    // Four standard deviations of 10,000 draws.
    (0..4).for_each(|k| {
        let p = weights[k] / 10.0;
        let allowed: f64 = 4.0 * (1e4 * p * (1.0 - p)).sqrt();
        assert!((counts[k] - 1e4 * p).abs() <= allowed, "{counts:?}");
    });
    let once = Weighted::new(&weights, 3, 3).and_then(Weighted::without_replacement).expect("weights");
    let mut first = [0.0f64; 4];
    for epoch in 0..2000 {
        let mut drawn = once.epoch(epoch);
        first[drawn[0]] += 1.0;
        drawn.sort_unstable();
        assert_eq!(drawn, [0, 2, 3]);
    }
    assert!((first[3] - 1200.0).abs() < 4.0 * 22.0 && (first[0] - 200.0).abs() < 4.0 * 14.0, "{first:?}");
    assert!(Weighted::new(&weights, 4, 3).and_then(Weighted::without_replacement).is_err());
    assert!(Weighted::new(&[0.0, 0.0], 1, 3).is_err() && Weighted::new(&[1.0, f64::NAN], 1, 3).is_err());

    let drawn = WithReplacement::new(5, 5000, 1).epoch(2);
    assert!((0..5).all(|k| (drawn.iter().filter(|&&d| d == k).count() as f64 - 1000.0).abs() < 4.0 * 29.0));
    let mut subset = SubsetSampler::new(vec![4, 8, 6], Some(1)).epoch(0);
    subset.sort_unstable();
    assert_eq!(subset, [4, 6, 8]);
}

#[test]
fn ranks_share_an_epoch() {
    for (drop_last, each) in [(false, 4), (true, 3)] {
        let share =
            |rank| Distributed::new(Shuffled::new(11, 7), rank, 3).expect("a rank").drop_last(drop_last);
        let shares: Vec<Vec<usize>> = (0..3).map(|rank| share(rank).epoch(5)).collect();
        assert!(shares.iter().all(|s| s.len() == each) && share(0).len() == each);
        let order = Shuffled::new(11, 7).epoch(5);
        let whole: Vec<usize> = (0..3 * each).map(|k| shares[k % 3][k / 3]).collect();
        let expected: Vec<usize> = order.iter().cycle().take(3 * each).copied().collect();
        assert_eq!(whole, expected);
    }
    assert!(Distributed::new(Sequential(4), 2, 2).is_err());
}

#[test]
fn buckets_hold_every_sample_once_beside_its_like() {
    let lengths: Vec<usize> = (0..100).map(|k| (k * 31) % 40).collect();
    let buckets = Buckets::new(&lengths, &[9, 19, 29], 7, 3).expect("buckets");
    let batches = buckets.epoch(0);
    assert_eq!(batches.len(), buckets.per_epoch());
    assert!(batches.iter().all(|b| b.len() <= 7 && b.iter().all(|&k| lengths[k] / 10 == lengths[b[0]] / 10)));
    let mut all = batches.concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_ne!(batches, buckets.epoch(1));
    let full = buckets.clone().drop_last(true).expect("some are full").epoch(0);
    assert!(full.iter().all(|b| b.len() == 7) && full.len() < batches.len());
    assert!(Buckets::new(&lengths, &[9, 9], 7, 3).is_err());
    assert!(Buckets::new(&[1, 2], &[], 3, 0).and_then(|b| b.drop_last(true)).is_err());
    let loader = DataLoader::builder(Samples(lengths.iter().map(|&n| vec![1i32; n]).collect()));
    let mut loader =
        loader.batch_sampler(buckets).collate(Padded::new(0i32).to_multiple_of(8)).build().expect("");
    for batch in &mut loader {
        let x = batch.expect("a batch");
        assert_eq!(x.values.shape()[1] % 8, 0);
        let ones = |t: &Tensor| t.cast(vorpal_nn::DType::I32).sum_all().item::<i32>().expect("a number");
        assert_eq!((ones(&x.values), ones(&x.mask)), (ones(&x.lengths), ones(&x.lengths)));
    }
}

#[test]
fn data_sets_of_data_sets() {
    let parts = Slow::new(10).split(&[0.5, 0.3, 0.2], 3).expect("parts");
    let mut all: Vec<usize> = parts.iter().flat_map(|p| p.indices().to_vec()).collect();
    assert_eq!(parts.iter().map(Dataset::len).collect::<Vec<_>>(), [5, 3, 2]);
    assert_ne!(all, (0..10).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert_eq!(parts[1].get(2), Ok(parts[1].indices()[2] as i32));
    assert!(Slow::new(3).split(&[0.9, 0.2], 0).is_err());
    let thirds = Slow::new(10).split(&[1.0 / 3.0; 3], 3).expect("parts");
    assert_eq!(thirds.iter().map(Dataset::len).collect::<Vec<_>>(), [4, 3, 3]);

    let kept = Arc::new(Slow::new(6));
    let cached = kept.clone().cached();
    for k in [3, 3, 1, 3] {
        assert_eq!(cached.get(k), Ok(k as i32));
    }
    assert_eq!(kept.made.load(Ordering::SeqCst), 2);

    let both = Slow::new(2).concat(Samples(vec![7, 8, 9]));
    assert_eq!((0..5).map(|k| both.get(k).expect("one")).collect::<Vec<_>>(), [0, 1, 7, 8, 9]);
    let error = Samples(vec![1, 2]).zip(Samples(vec![1])).expect_err("2 and 1");
    assert!(error.to_string().contains("2 samples beside 1"), "{error}");

    let x = Array::new(&(0..12).map(|k| k as f32).collect::<Vec<_>>(), [4, 3]).expect("12");
    let y = Array::new(&[0i64, 1, 2, 3], [4]).expect("4");
    let pairs = x.zip(y).and_then(|pairs| pairs.subset(vec![3, 1])).expect("pairs");
    let mut loader = DataLoader::builder(pairs).batch_size(2).build().expect("a loader");
    let (x, y) = loader.epoch().next().expect("one").expect("a batch");
    assert_eq!(x.to_vec::<f32>(), Ok(vec![9.0, 10.0, 11.0, 3.0, 4.0, 5.0]));
    assert_eq!((y.shape().to_vec(), y.to_vec::<i64>()), (vec![2], Ok(vec![3, 1])));
}

#[test]
fn too_few_samples_are_refused() {
    for (len, size, drop_last) in [(0, 1, false), (3, 0, false), (3, 4, true)] {
        let loader = DataLoader::builder(Slow::new(len)).batch_size(size).drop_last(drop_last).build();
        let error = loader.expect_err("too few").to_string();
        assert!(error.contains(&format!("{len} examples do not fill a batch of {size}")), "{error}");
    }
    assert_eq!(Batches::of(Sequential(3), 4, false).expect("a short one").epoch(0), [vec![0, 1, 2]]);
}

#[test]
fn threads_put_batches_on_an_adapter() {
    let Ok(device) = Device::software() else {
        eprintln!("skipped: no software adapter");
        return;
    };
    let data = Samples((0..12).map(|k| (vec![k as f32; 3], k)).collect::<Vec<(Vec<f32>, i32)>>());
    let loader = DataLoader::builder(data).batch_size(5).workers(2).device(&device);
    let mut loader = loader.build().expect("a loader");
    let mut seen = Vec::new();
    for batch in &mut loader {
        let (x, y) = batch.expect("a batch");
        assert!(x.device() == Ok(device.clone()) && x.shape()[1] == 3);
        seen.extend(x.to_vec::<f32>().expect("values").chunks(3).map(|row| row[2] as i32));
        assert!(seen.ends_with(&y.to_vec::<i32>().expect("values")));
    }
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
    // Elements that adapters do not hold are an error of the batch.
    let loader = DataLoader::builder(Samples(vec![1u8, 2])).workers(1).device(&device);
    let error = loader.build().expect("a loader").epoch().next().expect("one").expect_err("bytes");
    assert!(error.to_string().contains("does not hold u8 tensors"), "{error}");
}
