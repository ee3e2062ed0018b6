//! Convolution, pooling and batch normalisation: values, derivatives, errors.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, check_derivatives, devices};
use vorpal_autodiff::ops::{Conv2dOptions, Pool2dOptions};
use vorpal_autodiff::{DType, Device, Error, Tensor};

fn options(stride: usize, padding: usize, dilation: usize, groups: usize) -> Conv2dOptions {
    Conv2dOptions { stride: [stride; 2], padding: [padding; 2], dilation: [dilation; 2], groups }
}

#[test]
fn derivatives_of_convolutions() {
    let mut random = Random::new(50);
    let mut x = |shape: &[usize]| random.tensor(shape, -1.0, 1.0);
    for (o, groups) in [(options(1, 0, 1, 1), 1), (options(2, 1, 1, 1), 1), (options(1, 2, 2, 2), 2)] {
        let inputs = [x(&[2, 2 * groups, 4, 3]), x(&[2 * groups, 2, 2, 3]), x(&[2 * groups])];
        check_derivatives(&format!("conv2d {o:?}"), &inputs, |x| x[0].conv2d(&x[1], Some(&x[2]), o).tanh());
    }
}

#[test]
fn derivatives_of_pooling_and_normalisation() {
    let mut random = Random::new(51);
    let mut x = |shape: &[usize]| random.tensor(shape, -1.0, 1.0);
    let overlapping = Pool2dOptions { stride: [2, 1], padding: [1, 1], ..Pool2dOptions::from([3, 2]) };
    let bare = Pool2dOptions { count_include_pad: false, ..overlapping };
    for o in [Pool2dOptions::from(2), overlapping, bare] {
        check_derivatives("max_pool2d", &[x(&[2, 1, 4, 5])], |x| x[0].max_pool2d(o).square());
        check_derivatives("avg_pool2d", &[x(&[2, 1, 4, 5])], |x| x[0].avg_pool2d(o).square());
    }
    for size in [[2, 1], [3, 2], [5, 7]] {
        check_derivatives("adaptive_avg_pool2d", &[x(&[1, 2, 4, 5])], |x| {
            x[0].adaptive_avg_pool2d(size).square()
        });
    }
    let inputs = [x(&[3, 2, 2, 1]), x(&[2]), x(&[2])];
    check_derivatives("batch_norm", &inputs, |x| {
        let (mean, variance) = (x[0].mean([0, 2, 3]), x[0].var([0, 2, 3], 0));
        x[0].batch_norm(&mean, &variance, Some(&x[1]), Some(&x[2]), 1e-3).square()
    });
}

#[test]
fn adaptive_averages_match_their_definition() {
    for device in devices() {
        let values: Vec<f32> = (0..2 * 5 * 7).map(|k| ((k * 37) % 23) as f32).collect();
        let x = Tensor::from_slice(&values, [1, 2, 5, 7], &device);
        for [rows, columns] in [[1usize, 1usize], [2, 3], [5, 7], [4, 9]] {
            let mut expected = Vec::new();
            for (c, i, j) in
                (0..2usize).flat_map(|c| (0..rows).flat_map(move |i| (0..columns).map(move |j| (c, i, j))))
            {
                let (top, bottom) = (i * 5 / rows, (i * 5 + 5).div_ceil(rows));
                let (left, right) = (j * 7 / columns, (j * 7 + 7).div_ceil(columns));
                let part = (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x)));
                let sum: f64 = part.map(|(y, x)| f64::from(values[(c * 5 + y) * 7 + x])).sum();
                expected.push(sum / ((bottom - top) * (right - left)) as f64);
            }
            let found = x.adaptive_avg_pool2d([rows, columns]).to_vec::<f32>().expect("values");
            assert_close(&found, &expected, 1e-5, "adaptive_avg_pool2d");
        }
    }
}

#[test]
fn views_and_half_precision_are_read_rightly() {
    for device in devices() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 4).map(|k| ((k * 5) % 7) as f32).collect();
        let filters: Vec<f32> = (0..2 * 3 * 2 * 2).map(|k| ((k * 3) % 5) as f32 - 2.0).collect();
        let x = Tensor::from_slice(&values, [2, 4, 4, 3], &device);
        let w = Tensor::from_slice(&filters, [2, 3, 2, 2], &device);
        let turned = x.permute([0, 3, 1, 2]);
        let mut expected = Vec::new();
        for (o, y, c) in (0..2).flat_map(|o| (0..3).flat_map(move |y| (0..3).map(move |c| (o, y, c)))) {
            let mut sum = 0.0;
            for (k, ky, kx) in (0..3).flat_map(|k| (0..2).flat_map(move |y| (0..2).map(move |x| (k, y, x)))) {
                let pixel = values[48 + ((y + ky) * 4 + c + kx) * 3 + k];
                sum += f64::from(pixel * filters[((o * 3 + k) * 2 + ky) * 2 + kx]);
            }
            expected.push(sum);
        }
        for dtype in [DType::F32, DType::BF16] {
            // The second image alone: a window that starts inside of its buffer.
            let second = turned.cast(dtype).slice(0, 1..);
            let found = second.conv2d(&w.cast(dtype), None, Conv2dOptions::default()).cast(DType::F32);
            assert_close(&found.to_vec::<f32>().expect("values"), &expected, 1e-2, "conv2d");
            let inner = x.reshape([2, 1, 12, 4]).cast(dtype).slice(0, 1..).max_pool2d([12, 4]);
            assert_eq!(inner.cast(DType::F32).to_vec::<f32>(), Ok(vec![6.0]));
        }
    }
}

#[test]
fn sums_beyond_one_launch_are_split() {
    for device in devices() {
        // 40,000 terms, more than a launch takes on an adapter.
        let x = Tensor::ones([1, 1, 200, 200], DType::F32, &device).contiguous();
        let w = Tensor::full([1, 1, 200, 200], 0.5, DType::F32, &device).contiguous();
        let sum = x.conv2d(&w, None, Conv2dOptions::default());
        assert_eq!(sum.to_vec::<f32>(), Ok(vec![20_000.0]), "{device:?}");
        let dx = vorpal_autodiff::grad(&x, |x| x.conv2d(&w, None, Conv2dOptions::default()).sum_all());
        assert_eq!(dx.expect("a graph").sum_all().item::<f32>(), Ok(20_000.0));
        let many = Tensor::ones([1, 1, 300, 300], DType::F32, &device).contiguous();
        let one = Tensor::ones([1, 1, 1, 1], DType::F32, &device).contiguous();
        let dw = vorpal_autodiff::grad(&one, |w| many.conv2d(w, None, Conv2dOptions::default()).sum_all());
        assert_eq!(dw.expect("a graph").to_vec::<f32>(), Ok(vec![90_000.0]));
    }
}

#[test]
fn misfits_name_the_numbers_and_the_place() {
    let device = Device::cpu();
    let x = Tensor::zeros([1, 3, 4, 4], DType::F32, &device);
    let told = |t: Tensor| {
        let error = t.eval().expect_err("a misfit");
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("conv.rs:") && text.lines().count() == 1, "{text}");
        text
    };
    let w = |shape: [usize; 4]| Tensor::zeros(shape, DType::F32, &device);
    let plain = Conv2dOptions::default();
    assert!(told(x.conv2d(&w([2, 4, 3, 3]), None, plain)).contains("4 channels"));
    assert!(told(x.conv2d(&w([2, 3, 5, 3]), None, plain)).contains("the window reaches over 5 pixels"));
    assert!(told(x.conv2d(&w([2, 1, 3, 3]), None, options(1, 0, 1, 3))).contains("multiple of 3 filters"));
    assert!(told(x.conv2d(&w([2, 3, 3, 3]), None, options(0, 0, 1, 1))).contains("stride (0)"));
    let bias = Tensor::zeros([3], DType::F32, &device);
    assert!(told(x.conv2d(&w([2, 3, 3, 3]), Some(&bias), plain)).contains("2 filters need a bias each"));
    assert!(told(x.max_pool2d(5)).contains("axis 2"));
    let lost = Pool2dOptions { padding: [3, 0], ..Pool2dOptions::from(2) };
    assert!(told(x.max_pool2d(lost)).contains("window 0 lies wholly in the padding"));
    assert!(told(x.reshape([3, 16]).avg_pool2d(1)).contains("needs images"));
    assert!(told(x.adaptive_avg_pool2d([0, 1])).contains("0 × 1 parts"));
    assert!(told(x.batch_norm(&bias, &bias, Some(&w([1, 3, 1, 1])), None, 1e-5)).contains("each channel"));
    let half = w([2, 3, 3, 3]).cast(DType::F16);
    assert!(matches!(x.conv2d(&half, None, plain).eval(), Err(Error::DType { .. })));
}
