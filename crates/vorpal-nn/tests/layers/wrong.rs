//! What layers say of operands that do not fit.

use vorpal_nn::*;

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::cpu())
}

#[track_caller]
fn says(out: Tensor, words: &[&str]) {
    let error = out.check().expect_err("it does not fit").to_string();
    for word in words {
        assert!(error.contains(word), "{error} does not say {word}");
    }
    assert!(error.contains("wrong.rs"), "{error} does not say where");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn operands_that_do_not_fit_are_told() {
    let d = &Device::cpu();
    says(BatchNorm2d::new(3, d).forward(&ones(&[2, 3])), &["batch_norm2d", "f32[2, 3]"]);
    says(BatchNorm1d::new(3, d).forward(&ones(&[1, 3])), &["more than one value"]);
    says(BatchNorm1d::new(3, d).forward(&ones(&[2, 4])), &["one number for each channel"]);
    says(InstanceNorm2d::new().forward(&ones(&[2, 3, 4])), &["instance_norm"]);
    says(InstanceNorm1d::new().forward(&ones(&[2, 3, 1])), &["more than one pixel"]);
    says(LayerNorm::new([2, 3], d).forward(&ones(&[4, 3, 2])), &["[2, 3]", "f32[4, 3, 2]"]);
    says(RmsNorm::new(3, d).forward(&ones(&[4, 5])), &["rms_norm", "[3]"]);
    says(GroupNorm::new(3, 4, d).forward(&ones(&[1, 4])), &["3 groups"]);
    says(LocalResponseNorm::new(0).forward(&ones(&[1, 4])), &["0 channels"]);
    says(Prelu::new(3, d).forward(&ones(&[2, 4])), &["3 slopes"]);
    says(Rrelu::new(0.5, 0.1).forward(&ones(&[2])), &["0.5", "0.1"]);
    says(Glu::default().forward(&ones(&[2, 3])), &["two halves"]);
    says(SwiGlu { dim: 4 }.forward(&ones(&[2, 2])), &["axis 4"]);
    says(Dropout2d::new(0.5).forward(&ones(&[2, 3])), &["channel_dropout"]);
    says(Dropout::new(1.5).forward(&ones(&[2])), &["1.5"]);
    says(AlphaDropout::new(-0.5).forward(&ones(&[2])), &["-0.5"]);
    says(MaxPool2d::new(3).forward(&ones(&[1, 1, 2, 2])), &["max_pool2d"]);
    says(Unflatten::new(1, [2, 2]).forward(&ones(&[2, 5])), &["axis 1", "[2, 2]"]);
    says(ChannelShuffle { groups: 2 }.forward(&ones(&[2, 5])), &["2 groups"]);
    says(Upsample::scale([2.0]).forward(&ones(&[1, 1, 2, 2])), &["1 factors"]);
    says(ReflectionPad1d::new(3).forward(&ones(&[1, 1, 2])), &["Reflect"]);
    says(ConstantPad3d::zero(1).forward(&ones(&[2])), &["3 axes"]);
    says(Bilinear::new(3, 2, 4, d).forward(&ones(&[2, 3]), &ones(&[2, 3])), &["bilinear", "2]"]);
    says(Linear::new(3, 2, d).forward(&ones(&[2, 4])), &["matmul"]);
    let ids = Tensor::from_slice(&[1i32], [1], d);
    let bags = EmbeddingBag::new(3, 2, BagMode::Mean, d);
    says(bags.forward(&ids), &["[bags, size]"]);
    says(bags.forward_weighted(&ids.unsqueeze(0), &ones(&[1, 1])), &["Mean"]);
}
