//! The attention layer against its definition.

#![allow(clippy::expect_used)]

use vorpal_nn::{DType, Device, Linear, MultiHeadAttention, Tensor};

/// softmax(QKᵀ ∕ √d) V with all scores in memory, head by head.
fn written_out(layer: &MultiHeadAttention, x: &Tensor, memory: &Tensor) -> Tensor {
    let width = x.shape()[2];
    let size = width / layer.heads;
    let project = |x: &Tensor, k: usize| {
        let weight = layer.in_proj_weight.narrow(0, k * width, width);
        Linear { weight, bias: Some(layer.in_proj_bias.narrow(0, k * width, width)) }.forward(x)
    };
    let (q, k, v) = (project(x, 0), project(memory, 1), project(memory, 2));
    let heads: Vec<Tensor> = (0..layer.heads)
        .map(|h| {
            let of = |x: &Tensor| x.narrow(2, h * size, size);
            let mut p = (of(&q).matmul(&of(&k).t()) * (1.0 / (size as f64).sqrt())).exp();
            if layer.causal {
                p = p.tril(0);
            }
            (&p / p.sum_keepdim(-1)).matmul(&of(&v))
        })
        .collect();
    layer.out_proj.forward(&Tensor::concat(&heads.iter().collect::<Vec<_>>(), 2))
}

#[test]
fn heads_attend_as_defined() {
    let mut devices = vec![Device::cpu()];
    devices.extend(Device::software().inspect_err(|e| println!("skipped: no software adapter ({e})")));
    for device in devices {
        let _keys = device.fork_rng(9);
        let x = Tensor::randn([2, 7, 12], DType::F32, &device);
        let memory = Tensor::randn([2, 5, 12], DType::F32, &device);
        let layer = MultiHeadAttention::new(12, 3, &device);
        let near = |found: Tensor, expected: Tensor| {
            let worst = (found - expected).abs().max([0, 1, 2]).item::<f32>().expect("a number");
            assert!(worst < 2e-6, "{worst} on {device:?}");
        };
        near(layer.cross(&x, &memory), written_out(&layer, &x, &memory));
        near(layer.forward(&x), written_out(&layer, &x, &x));
        let layer = layer.causal();
        near(layer.forward(&x), written_out(&layer, &x, &x));
        let error = MultiHeadAttention { heads: 5, ..layer }.forward(&x).check().expect_err("5 in 12");
        assert!(error.to_string().contains("5 heads"), "{error}");
    }
}

#[test]
fn heads_may_share_keys() {
    let device = Device::cpu();
    let _keys = device.fork_rng(10);
    let x = Tensor::randn([2, 6, 12], DType::F32, &device);
    let layer = MultiHeadAttention::grouped(12, 6, 2, &device);
    assert_eq!(layer.in_proj_weight.shape(), [20, 12].into());
    // The same with a copy of the keys and values for every head.
    let repeated = |from: usize, x: &Tensor| {
        let rows: Vec<Tensor> = (0..6).map(|h| x.narrow(0, from + h / 3 * 2, 2)).collect();
        Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0)
    };
    let all = |x: &Tensor| Tensor::concat(&[&x.narrow(0, 0, 12), &repeated(12, x), &repeated(16, x)], 0);
    let whole = MultiHeadAttention {
        in_proj_weight: all(&layer.in_proj_weight),
        in_proj_bias: all(&layer.in_proj_bias),
        ..layer.clone()
    };
    for (a, b) in [(layer.forward(&x), whole.forward(&x)), (layer.cross(&x, &x), whole.cross(&x, &x))] {
        let worst = (a - b).abs().max([0, 1, 2]).item::<f32>().expect("a number");
        assert!(worst < 2e-6, "{worst}");
    }
}
