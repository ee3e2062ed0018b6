//! Random changes of images: known cases, no change at no strength, moments, devices.

#![allow(clippy::expect_used)]

use vorpal_nn::data::augment::{
    Augment, ColorJitter, Compose, CutMix, GaussianNoise, MixUp, Normalize, RandAugment, RandomAffine,
    RandomCrop, RandomErasing, RandomHorizontalFlip, RandomVerticalFlip, warp,
};
use vorpal_nn::{DType, Device, Tensor, eval};

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec().expect("values")
}

/// Numbers that are all different, in steps of 1/1024.
fn images(n: usize, c: usize, h: usize, w: usize, device: &Device) -> Tensor {
    let numel = n * c * h * w;
    let values: Vec<f32> = (0..numel).map(|k| ((k * 389) % 1021 + 1) as f32 / 1024.0).collect();
    Tensor::from_slice(&values, [n, c, h, w], device)
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "off by {worst}");
}

#[test]
fn no_strength_is_no_change() {
    let device = Device::cpu();
    let x = images(3, 3, 6, 7, &device);
    let all: Vec<(Box<dyn Augment>, f32)> = vec![
        (Box::new(RandomCrop::new([6, 7], 0)), 0.0),
        (Box::new(RandomHorizontalFlip(0.0)), 0.0),
        (Box::new(RandomVerticalFlip(0.0)), 0.0),
        (Box::new(RandomAffine::new()), 1e-6),
        (Box::new(ColorJitter::default()), 0.0),
        (Box::new(RandomErasing::new(0.0)), 0.0),
        (Box::new(Normalize::new(&[0.0; 3], &[1.0; 3])), 0.0),
        (Box::new(GaussianNoise(0.0)), 0.0),
        (Box::new(RandAugment::new(2, 0.0)), 0.0),
        (Box::new(Compose::new()), 0.0),
    ];
    for (augment, tolerance) in all {
        close(&values(&augment.apply(&x)), &values(&x), tolerance);
    }
    // A whole turn of the hue and factors of 1 go through all of the arithmetic.
    let hair = ColorJitter { brightness: 1e-12, contrast: 1e-12, saturation: 1e-12, hue: 1e-12 };
    close(&values(&hair.apply(&x)), &values(&x), 2e-6);
}

#[test]
fn known_maps_of_the_plane() {
    let golden = include_str!("golden/augment.json");
    let golden: serde_json::Value = serde_json::from_str(golden).expect("a golden file");
    let list = |name: &str| -> Vec<f32> {
        golden[name]
            .as_array()
            .expect("a list")
            .iter()
            .map(|v| v.as_f64().expect("a number") as f32)
            .collect()
    };
    let device = Device::cpu();
    let x = Tensor::from_slice(&list("x"), [2, 3, 4, 5], &device);
    let matrices = Tensor::from_slice(&list("matrices"), [2, 2, 3], &device);
    close(&values(&warp(&x, &matrices)), &list("warped"), 2e-6);
    // A quarter turn counterclockwise: what was on the right is on top.
    let x = images(1, 2, 5, 5, &device);
    let quarter = Tensor::from_slice(&[0.0f32, -1.0, 0.0, 1.0, 0.0, 0.0], [1, 2, 3], &device);
    let turned = values(&warp(&x, &quarter));
    assert_eq!(turned, values(&x.rot90(1, 2, 3)));
    for (degrees, times) in [(90.0f64, 1), (180.0, 2), (-90.0, 3)] {
        let radians = Tensor::full([1, 1, 1, 1], degrees.to_radians(), DType::F32, &device);
        let matrices = turn(&radians);
        close(&values(&warp(&x, &matrices)), &values(&x.rot90(times, 2, 3)), 1e-5);
    }
}

/// The way back of a turn counterclockwise, as `RandomAffine` makes it.
fn turn(radians: &Tensor) -> Tensor {
    let (sin, cos, zero) = (radians.sin(), radians.cos(), radians.full_like(0.0));
    let rows = [Tensor::concat(&[&cos, &-&sin, &zero], 3), Tensor::concat(&[&sin, &cos, &zero], 3)];
    Tensor::concat(&[&rows[0], &rows[1]], 2).squeeze(1)
}

#[test]
fn random_turns_keep_the_middle_and_stay_within_their_bounds() {
    let device = Device::cpu();
    let _keys = device.fork_rng(5);
    // A dot on the right of the middle, at distance 8.
    let mut dot = vec![0.0f32; 21 * 21];
    dot[10 * 21 + 18] = 1.0;
    let n = 200;
    let x = Tensor::from_slice(&dot, [1, 1, 21, 21], &device).broadcast_to([n, 1, 21, 21]);
    let turned = values(&RandomAffine::new().degrees(30.0).apply(&x));
    let (mut above, mut below) = (0, 0);
    for image in turned.chunks(21 * 21) {
        let sum: f32 = image.iter().sum();
        let mean = |f: &dyn Fn(usize) -> usize| {
            image.iter().enumerate().map(|(k, v)| f(k) as f32 * v).sum::<f32>() / sum - 10.0
        };
        let (x, y) = (mean(&|k| k % 21), mean(&|k| k / 21));
        let degrees = (-y).atan2(x).to_degrees();
        assert!((x.hypot(y) - 8.0).abs() < 0.35 && degrees.abs() < 32.0, "{x} {y}");
        above += usize::from(degrees > 3.0);
        below += usize::from(degrees < -3.0);
    }
    assert!(above > 60 && below > 60, "{above} {below}");
}

#[test]
fn crops_and_flips_are_windows_of_the_image() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let n = 300;
    let x = images(1, 2, 4, 5, &device);
    let padded = values(&x.pad(2, 1, 1, 0.0).pad(3, 1, 1, 0.0));
    let many = x.broadcast_to([n, 2, 4, 5]);
    let cropped = values(&RandomCrop::new([3, 4], 1).apply(&many));
    let window = |y: usize, x: usize| -> Vec<f32> {
        let at = |c: usize, i: usize, j: usize| padded[c * 42 + (y + i) * 7 + x + j];
        (0..24).map(|k| at(k / 12, k / 4 % 3, k % 4)).collect()
    };
    // 4 × 4 places, each drawn about n / 16 times.
    let mut seen = [0; 16];
    for crop in cropped.chunks(24) {
        let place = (0..16).find(|p| window(p / 4, p % 4) == crop);
        seen[place.expect("a window of the image")] += 1;
    }
    assert!(seen.iter().all(|&count| count > 3), "{seen:?}");
    let error = RandomCrop::new([9, 4], 1).apply(&x).check().expect_err("too large");
    assert!(error.to_string().contains("windows of 9 × 4 in images of 6 × 7"), "{error}");
    let error = RandomCrop::new([2, 2], 0).apply(&x.squeeze(0)).check().expect_err("three axes");
    assert!(error.to_string().contains("found f32[2, 4, 5]"), "{error}");

    for (flipped, axis) in
        [(RandomHorizontalFlip(0.3).apply(&many), 3), (RandomVerticalFlip(0.3).apply(&many), 2)]
    {
        let (plain, other) = (values(&x), values(&x.flip(axis)));
        let flipped = values(&flipped);
        let share = flipped.chunks(40).filter(|image| {
            assert!(*image == plain || *image == other);
            *image == other
        });
        // 90 expected, 8 of deviation.
        let count = share.count();
        assert!(count.abs_diff(90) < 32, "{count}");
    }
}

#[test]
fn holes_and_noise_have_their_sizes() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let ones = Tensor::ones([400, 2, 16, 16], DType::F32, &device);
    let erased = values(&RandomErasing::new(0.5).scale(0.1, 0.3).apply(&ones));
    let mut touched = 0;
    let mut area = 0.0;
    for image in erased.chunks(512) {
        let hole = image[..256].iter().filter(|&&v| v == 0.0).count();
        assert_eq!(&image[..256], &image[256..]);
        touched += usize::from(hole > 0);
        area += hole as f64 / 256.0;
        assert!(hole <= 256 * 2 / 5, "{hole}");
    }
    assert!(touched.abs_diff(200) < 40, "{touched}");
    // Long holes are cut off: a little less than 0.2 on average.
    let mean = area / touched as f64;
    assert!((0.16..0.22).contains(&mean), "{mean}");
    let noise = values(&GaussianNoise(0.5).apply(&ones));
    let mean = noise.iter().sum::<f32>() / noise.len() as f32;
    let var = noise.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / noise.len() as f32;
    assert!((mean - 1.0).abs() < 0.005 && (var - 0.25).abs() < 0.005, "{mean} {var}");
    let normal = values(&Normalize::new(&[1.0, 0.5], &[2.0, 0.25]).apply(&ones));
    assert!(normal[..256].iter().all(|&v| v == 0.0) && normal[256..512].iter().all(|&v| v == 2.0));
}

#[test]
fn colours_turn_and_blend() {
    let device = Device::cpu();
    let _keys = device.fork_rng(3);
    let red = Tensor::from_slice(&[0.8f32, 0.2, 0.2], [1, 3, 1, 1], &device).broadcast_to([500, 3, 1, 1]);
    let hue = values(&ColorJitter { hue: 0.5, ..Default::default() }.apply(&red));
    let mut thirds = [0; 3];
    for pixel in hue.chunks(3) {
        let (high, low) =
            (pixel.iter().copied().fold(0.0, f32::max), pixel.iter().copied().fold(1.0, f32::min));
        assert!((high - 0.8).abs() < 1e-5 && (low - 0.2).abs() < 1e-5, "{pixel:?}");
        thirds[pixel.iter().position(|&v| v == high).expect("one")] += 1;
    }
    assert!(thirds.iter().all(|&t: &i32| (t - 167).abs() < 45), "{thirds:?}");
    let bright = values(&ColorJitter { brightness: 0.25, ..Default::default() }.apply(&red));
    assert!(bright.chunks(3).all(|p| (0.6..=1.0).contains(&p[0]) && (p[1] * 4.0 - p[0]).abs() < 1e-5));
    let grey = 0.8f32 * 0.2989 + 0.2 * 0.701;
    let faded = values(&ColorJitter { saturation: 1.0, ..Default::default() }.apply(&red));
    assert!(faded.chunks(3).all(|p| p[0] >= p[1] - 1e-6
        && (p[1] == 0.0 || p[0] == 1.0 || {
            let (up, down) = ((p[0] - grey) / (0.8 - grey), (p[1] - grey) / (0.2 - grey));
            (up - down).abs() < 1e-4
        })));
}

#[test]
fn mixed_labels_are_shares_that_add_up() {
    let device = Device::cpu();
    let _keys = device.fork_rng(4);
    let n = 64;
    let x = Tensor::iota([n, 1, 8, 8], 0, DType::F32, &device);
    let classes: Vec<i32> = (0..n as i32).collect();
    let y = Tensor::from_slice(&classes, [n], &device).one_hot(n, DType::F32);
    for (images, labels, cut) in [
        {
            let (a, b) = MixUp(0.4).apply(&x, &y);
            (a, b, false)
        },
        {
            let (a, b) = CutMix(1.0).apply(&x, &y);
            (a, b, true)
        },
    ] {
        eval(&(&images, &labels)).expect("values");
        let (images, labels) = (values(&images), values(&labels));
        let mut mixed = 0;
        for k in 0..n {
            let (row, other) = (&labels[k * n..(k + 1) * n], (k + n - 1) % n);
            assert!(
                (row.iter().sum::<f32>() - 1.0).abs() < 1e-6 && row.iter().all(|v| (0.0..=1.0).contains(v))
            );
            // What the pixels are made of is what the label says.
            let expected = row[k] * k as f32 + row[other] * other as f32;
            let image = &images[k * 64..(k + 1) * 64];
            assert!((image.iter().sum::<f32>() / 64.0 - expected).abs() < 1e-3, "{k}");
            assert!(!cut || image.iter().all(|&v| v == k as f32 || v == other as f32));
            mixed += usize::from(row[k] < 0.999 && row[k] > 0.001);
        }
        assert!(mixed > n / 4, "{mixed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_images_on_every_device() {
    let augment = Compose::new()
        .then(RandomCrop::new([6, 6], 1))
        .then(RandomHorizontalFlip(0.5))
        .then(RandomAffine::new().degrees(20.0).translate(0.1, 0.1).scale(0.8, 1.2).shear(10.0))
        .then(ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.2 })
        .then(RandomErasing::new(0.5))
        .then(RandAugment::new(2, 9.0));
    let run = |device: &Device| {
        let _keys = device.fork_rng(9);
        let x = images(4, 3, 6, 6, device);
        let state = device.rng_state();
        let y = augment.apply(&x);
        let (mixed, labels) =
            CutMix(1.0).apply(&y, &Tensor::from_slice(&[0i32, 1, 2, 3], [4], device).one_hot(4, DType::F32));
        eval(&(&mixed, &labels)).expect("values");
        let first = (values(&mixed), values(&labels));
        (first, state)
    };
    let cpu = Device::cpu();
    let (first, state) = run(&cpu);
    assert_ne!(first.0, values(&images(4, 3, 6, 6, &cpu)));
    // From the state of the stream on, the same bits.
    let _keys = cpu.fork_rng(0);
    cpu.set_rng_state(state);
    let y = augment.apply(&images(4, 3, 6, 6, &cpu));
    let (mixed, _) =
        CutMix(1.0).apply(&y, &Tensor::from_slice(&[0i32, 1, 2, 3], [4], &cpu).one_hot(4, DType::F32));
    assert_eq!(values(&mixed), first.0);
    let Ok(software) = Device::software() else {
        eprintln!("skipped: no software adapter");
        return;
    };
    let (other, _) = run(&software);
    // A place within a hair of a border between pixels may fall on the other side of it.
    let off = first.0.iter().zip(&other.0).filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
    assert!(off <= first.0.len() / 50, "{off} of {} values differ", first.0.len());
    close(&first.1, &other.1, 1e-6);
}
