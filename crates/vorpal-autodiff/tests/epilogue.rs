//! What follows a matrix product or a convolution in the same kernel.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, devices};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::compile::plan::Place;
use vorpal_autodiff::ops::Conv2dOptions;
use vorpal_autodiff::{DType, Device, Tensor, eval, plan, value_and_grad};

/// Results in every dtype as floats.
fn floats(results: &[Tensor]) -> Vec<Vec<f64>> {
    eval(results).expect("values");
    let wide = |t: &Tensor| t.cast(DType::F32).to_vec::<f32>().expect("values");
    results.iter().map(|t| wide(t).into_iter().map(f64::from).collect()).collect()
}

/// `f` of f32 tensors on every device against f64.
fn check(what: &str, inputs: &[(Vec<f64>, Vec<usize>)], f: impl Fn(&[Tensor]) -> Vec<Tensor>) {
    let place = |device: &Device, dtype| {
        let on = |(values, shape): &(Vec<f64>, Vec<usize>)| {
            Tensor::from_slice(values, &shape[..], &Device::cpu()).cast(dtype).to_device(device)
        };
        inputs.iter().map(on).collect::<Vec<_>>()
    };
    let expected = floats(&f(&place(&Device::cpu(), DType::F64)));
    for device in devices() {
        for (k, (found, expected)) in
            floats(&f(&place(&device, DType::F32))).iter().zip(&expected).enumerate()
        {
            let found: Vec<f32> = found.iter().map(|&x| x as f32).collect();
            assert_close(&found, expected, 2e-5, &format!("{what} on {device:?}, result {k}"));
        }
    }
}

#[test]
fn products_go_on() {
    let mut random = Random::new(91);
    for (m, k, n) in [(1, 1, 1), (5, 7, 9), (70, 33, 66), (130, 64, 65), (3, 0, 4)] {
        let mut of = |shape: &[usize]| (random.values(shape.iter().product(), -1.0, 1.0), shape.to_vec());
        let inputs = [of(&[m, k]), of(&[k, n]), of(&[n]), of(&[m, n]), of(&[m])];
        check(&format!("{m}×{k}×{n}"), &inputs, |x| {
            let before = x[0].matmul(&x[1]) + &x[2];
            let after = before.gelu_tanh();
            let scaled = x[0].matmul(&x[1]) * 0.25 * x[4].unsqueeze(1) + &x[3];
            // A result that is no float, a residual that is an operand, and what a derivative needs besides.
            let sign = x[3].matmul(&x[3].t()).gt(0.125);
            let residual = &x[3] + x[3].matmul(&x[3].t().matmul(&x[3]));
            vec![before, after, scaled, sign, residual, x[0].matmul(&x[1]).t().exp()]
        });
    }
}

#[test]
fn convolutions_go_on() {
    let mut random = Random::new(92);
    for (batch, channels, filters, size) in [(1, 1, 1, 3), (3, 4, 9, 11), (2, 17, 5, 20)] {
        let mut of = |shape: &[usize]| (random.values(shape.iter().product(), -1.0, 1.0), shape.to_vec());
        let inputs = [
            of(&[batch, channels, size, size]),
            of(&[filters, channels, 3, 3]),
            of(&[filters]),
            of(&[batch, filters, size, size]),
        ];
        check(&format!("{batch}×{channels}×{size}²"), &inputs, |x| {
            let options = Conv2dOptions { padding: [1, 1].into(), ..Conv2dOptions::default() };
            let y = x[0].conv2d(&x[1], Some(&x[2]), options);
            vec![(&y + &x[3]).relu(), y.gt(0.0), y.exp().sum([0, 2, 3])]
        });
    }
}

/// A loop over one matrix, there and back, as recurrent layers have it: natively it is laid out once for all steps.
#[test]
fn many_products_share_a_matrix() {
    let mut random = Random::new(94);
    for (rows, width) in [(12, 64), (33, 80)] {
        let steps = |w: &Tensor, h: &Tensor, x: &Tensor| {
            (0..6).fold(h.clone(), |h, k| (h.matmul(&w.t()) + x.narrow(0, k, 1).squeeze(0)).tanh())
        };
        let inputs = [
            (random.values(width * width, -0.3, 0.3), vec![width, width]),
            (random.values(rows * width, -1.0, 1.0), vec![rows, width]),
            (random.values(6 * rows * width, -1.0, 1.0), vec![6, rows, width]),
        ];
        check("a loop", &inputs, |t| {
            let (w, h, x) = (t[0].clone(), t[1].clone(), t[2].clone());
            let (value, grads) =
                value_and_grad(&(w, h), |(w, h)| steps(w, h, &x).square().sum_all()).expect("a graph");
            vec![value, grads.0, grads.1]
        });
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_shared_matrix_is_laid_out_once() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (w, h) = (Tensor::rand([64, 64], DType::F32, &device), Tensor::rand([8, 64], DType::F32, &device));
    eval(&(&w, &h)).expect("values");
    let of = |steps: usize| {
        let result = (0..steps).fold(h.clone(), |h, _| h.matmul(&w.t()).tanh());
        let launches = plan(&result, Target::NATIVE).expect("a plan").launches;
        let by_panels = launches.iter().filter(|l| l.kernel.describe().contains("by panels")).count();
        (launches.len(), by_panels)
    };
    // Without vectors of 256 bits there are no such products.
    let wide = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    assert_eq!(of(5), if wide { (6, 5) } else { (5, 0) });
    assert_eq!(of(3), (3, 0));
}

/// Steps of an optimizer: what is replaced and held by no one else is written over.
#[test]
fn an_update_takes_the_place_of_what_it_replaces() {
    let mut random = Random::new(97);
    let of = |shape: [usize; 2], values: Vec<f64>, dtype: DType, device: &Device| {
        Tensor::from_slice(&values, shape, &Device::cpu()).cast(dtype).to_device(device)
    };
    let (x, y) = (random.values(20 * 33, -1.0, 1.0), random.values(20 * 17, -1.0, 1.0));
    let start = random.values(33 * 17, -1.0, 1.0);
    let trained = |dtype: DType, device: &Device, places: &mut Vec<Place>| {
        let (x, y) = (of([20, 33], x.clone(), dtype, device), of([20, 17], y.clone(), dtype, device));
        let mut state = [1.0, 0.0, 0.0].map(|c| {
            let values = start.iter().map(|v| c * v).collect();
            of([33, 17], values, dtype, device)
        });
        eval(&(&x, &y, &state[..])).expect("values");
        for _ in 0..3 {
            let [w, m, v] = state;
            let g = x.t().matmul(&y) + &w * 0.01;
            let (m, v) = (m * 0.9 + &g * 0.1, v * 0.99 + g.square() * 0.01);
            let w = w - &m * 0.1 / (v.sqrt() + 0.1);
            drop(g);
            state = [w, m, v];
            *places = plan(&state[..], Target::of(device.info()))
                .expect("a plan")
                .outputs
                .iter()
                .map(|o| o.place)
                .collect();
            eval(&state[..]).expect("values");
        }
        floats(&state)
    };
    let mut places = Vec::new();
    let expected = trained(DType::F64, &Device::cpu(), &mut places);
    for device in devices() {
        let found = trained(DType::F32, &device, &mut places);
        for (found, expected) in found.iter().zip(&expected) {
            let found: Vec<f32> = found.iter().map(|&x| x as f32).collect();
            assert_close(&found, expected, 2e-5, &format!("{device:?}"));
        }
        // The products are in the place of one of the results first.
        let given = places.iter().filter(|place| matches!(place, Place::Input(_))).count();
        assert!(given >= 2, "{device:?}: {places:?}");
    }
}
