//! Convolution, pooling and batch normalisation: what the cases of `ops/` do not show, and errors.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, check_derivatives, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::ops::{
    Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvTranspose2dOptions, Pool1dOptions, Pool2dOptions,
};
use vorpal_autodiff::{DType, Device, Error, Tensor, plan};

fn options(stride: usize, padding: usize, dilation: usize, groups: usize) -> Conv2dOptions {
    Conv2dOptions { stride: [stride; 2], padding: [padding; 2].into(), dilation: [dilation; 2], groups }
}

#[test]
fn derivatives_of_batch_normalisation() {
    let mut random = Random::new(51);
    let mut x = |shape: &[usize]| random.tensor(shape, -1.0, 1.0);
    let inputs = [x(&[3, 2, 2, 1]), x(&[2]), x(&[2])];
    check_derivatives("batch_norm", &inputs, |x| {
        let (mean, variance) = (x[0].mean([0, 2, 3]), x[0].var([0, 2, 3], 0));
        x[0].batch_norm(&mean, &variance, Some(&x[1]), Some(&x[2]), 1e-3).square()
    });
}

#[test]
fn sums_beyond_one_launch_are_split() {
    for device in devices() {
        // 40,000 terms, more than a launch takes on an adapter.
        let x = Tensor::ones([1, 1, 200, 200], DType::F32, &device).contiguous();
        let w = Tensor::full([1, 1, 200, 200], 0.5, DType::F32, &device).contiguous();
        let sum = x.conv2d(&w, None, Conv2dOptions::default());
        assert_eq!(sum.to_vec::<f32>(), Ok(vec![20_000.0]), "{device:?}");
        let pixel = Tensor::ones([1, 1, 1, 1], DType::F32, &device).contiguous();
        let filters = w.reshape([40_000, 1, 1, 1]);
        let dx =
            vorpal_autodiff::grad(&pixel, |x| x.conv2d(&filters, None, Conv2dOptions::default()).sum_all());
        assert_eq!(dx.expect("a graph").to_vec::<f32>(), Ok(vec![20_000.0]));
        let many = Tensor::ones([1, 1, 300, 300], DType::F32, &device).contiguous();
        let one = Tensor::ones([1, 1, 1, 1], DType::F32, &device).contiguous();
        let dw = vorpal_autodiff::grad(&one, |w| many.conv2d(w, None, Conv2dOptions::default()).sum_all());
        assert_eq!(dw.expect("a graph").to_vec::<f32>(), Ok(vec![90_000.0]));
    }
}

/// On cards few tiles and many terms are summed in shares, and what follows goes with their sum.
#[test]
fn small_images_are_summed_in_shares_on_cards() {
    let device = Device::cpu();
    let x = Tensor::ones([8, 64, 4, 4], DType::F32, &device).contiguous();
    let w = Tensor::ones([64, 64, 3, 3], DType::F32, &device).contiguous();
    let y = |x: &Tensor| x.conv2d(&w, None, options(1, 1, 1, 1)).relu();
    let slope = vorpal_autodiff::grad(&x, |x| y(x).sum_all()).expect("a graph");
    let told = |value: &Tensor, target| -> Vec<String> {
        let plan = plan(value, target).expect("a plan");
        plan.launches.iter().map(|launch| launch.kernel.describe()).collect()
    };
    let value = told(&y(&x), Target::CARD);
    let shared = |name: &str, list: &[String]| {
        list.iter().any(|text| text.starts_with(name) && text.contains(" in 4 shares then 0 values"))
    };
    assert!(shared("conv_forward_tiled", &value), "{value:?}");
    assert_eq!(value.iter().filter(|text| text.contains("conv_forward")).count(), 1);
    let slope = told(&slope, Target::CARD);
    assert!(shared("conv_backward_data_tiled", &slope), "{slope:?}");
    for target in [Target::NATIVE, Target::SOFTWARE] {
        let told = told(&y(&x), target);
        assert!(told.iter().all(|text| !text.contains("tiled") && !text.contains("shares")), "{told:?}");
    }
}

/// The text of an error, which names this file and has one line.
fn told(t: Tensor) -> String {
    let error = t.eval().expect_err("a misfit");
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("conv.rs:") && text.lines().count() == 1, "{text}");
    text
}

#[test]
fn misfits_name_the_numbers_and_the_place() {
    let device = Device::cpu();
    let x = Tensor::zeros([1, 3, 4, 4], DType::F32, &device);
    let w = |shape: [usize; 4]| Tensor::zeros(shape, DType::F32, &device);
    let plain = Conv2dOptions::default();
    assert!(told(x.conv2d(&w([2, 4, 3, 3]), None, plain)).contains("1 groups of 4 channels need 4 channels"));
    assert!(
        told(x.conv2d(&w([2, 3, 5, 3]), None, plain)).contains("axis 2: the window reaches over 5 pixels")
    );
    assert!(told(x.conv2d(&w([2, 1, 3, 3]), None, options(1, 0, 1, 3))).contains("multiple of 3 filters"));
    assert!(told(x.conv2d(&w([2, 3, 3, 3]), None, options(0, 0, 1, 1))).contains("stride (0)"));
    assert!(told(x.conv2d(&w([2, 3, 3, 3]), None, options(1, 1 << 40, 1, 1))).contains("less than 2³⁰"));
    let signals = told(x.conv1d(&w([2, 3, 3, 3]), None, Conv1dOptions::default()));
    assert!(signals.contains("conv1d: needs images [batch, channels, width] and filters"), "{signals}");
    let volumes = told(x.conv3d(&w([2, 3, 3, 3]), None, Conv3dOptions::default()));
    assert!(volumes.contains("[filters, channels ∕ groups, depth, height, width]"), "{volumes}");
    let bias = Tensor::zeros([3], DType::F32, &device);
    assert!(told(x.conv2d(&w([2, 3, 3, 3]), Some(&bias), plain)).contains("2 filters need a bias each"));
    assert!(told(x.batch_norm(&bias, &bias, Some(&w([1, 3, 1, 1])), None, 1e-5)).contains("each channel"));
    let whole = w([2, 3, 3, 3]).cast(DType::I32);
    assert!(matches!(x.cast(DType::I32).conv2d(&whole, None, plain).eval(), Err(Error::DType { .. })));
}

#[test]
fn misfits_of_transposed_convolutions() {
    let device = Device::cpu();
    let x = Tensor::zeros([1, 4, 5, 5], DType::F32, &device);
    let w = |shape: [usize; 4]| Tensor::zeros(shape, DType::F32, &device);
    let plain = ConvTranspose2dOptions::default();
    let told = |filters: [usize; 4], bias: Option<&Tensor>, options| {
        told(x.conv_transpose2d(&w(filters), bias, options))
    };
    assert!(
        told([3, 2, 3, 3], None, plain)
            .contains("conv_transpose2d: 1 groups need as many channels as filters")
    );
    let three = ConvTranspose2dOptions { groups: 3, ..plain };
    assert!(told([4, 2, 3, 3], None, three).contains("a multiple of 3: found 4 and 4"));
    let more = ConvTranspose2dOptions { output_padding: [0, 1], ..plain };
    assert!(
        told([4, 2, 3, 3], None, more)
            .contains("axis 3: output padding 1 must be smaller than the stride (1)")
    );
    let cut = ConvTranspose2dOptions { padding: [4, 0], ..plain };
    assert!(told([4, 2, 3, 3], None, cut).contains("axis 2: nothing is left of 7 pixels with 4 cut off"));
    let bias = Tensor::zeros([4], DType::F32, &device);
    assert!(told([4, 2, 3, 3], Some(&bias), plain).contains("2 filters need a bias each"));
}

#[test]
fn misfits_of_poolings() {
    let device = Device::cpu();
    let x = Tensor::zeros([1, 3, 4, 4], DType::F32, &device);
    assert!(
        told(x.max_pool2d(5)).contains("axis 2: the window reaches over 5 pixels, the padded image has 4")
    );
    let lost = Pool2dOptions { padding: [3, 0], ..Pool2dOptions::from(2) };
    assert!(told(x.max_pool2d(lost)).contains("window 0 lies wholly in the padding"));
    assert!(
        told(x.reshape([3, 16]).avg_pool2d(1)).contains("avg_pool2d: needs images [batch, channels, height")
    );
    assert!(told(x.avg_pool1d(Pool1dOptions::from(2))).contains("needs images [batch, channels, width]"));
    assert!(told(x.max_pool2d_with_indices([60_001, 1]).1).contains("a window may have 60000 elements"));
    assert!(told(x.adaptive_avg_pool2d([0, 1])).contains("axis 2: 0 parts of 4 pixels"));
    assert!(
        told(x.adaptive_max_pool2d([1, 1 << 30]))
            .contains("axis 3: 1073741824 parts of 4 pixels are too many")
    );
    assert!(told(x.reshape([3, 16]).global_avg_pool()).contains("needs images [batch, channels, …]"));
    let error = x.lp_pool2d(-1.0, 2).eval().expect_err("a misfit").to_string();
    assert!(error.contains("lp_pool2d: p = -1 is not above 0") && error.contains("conv.rs:"), "{error}");
    assert!(matches!(x.cast(DType::I32).avg_pool2d(2).eval(), Err(Error::DType { .. })));
}
