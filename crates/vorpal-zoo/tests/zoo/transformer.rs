use vorpal_nn::{Device, Tensor};
use vorpal_zoo::{Gpt, GptOptions};

use crate::harness::{Case, assert_close, check, classes, distance};

const GPT: GptOptions = GptOptions { vocabulary: 17, context: 8, width: 16, heads: 2, layers: 2 };

#[test]
fn gpt() {
    check(Case::new(
        "gpt",
        |device| Gpt::new(GPT, device),
        |m, device| m.forward(&classes(1, &[2, 8], 17, device)),
        &[2, 8, 17],
        |m, device| m.loss(&classes(1, &[2, 8], 17, device), &classes(2, &[2, 8], 17, device)),
    ));
}

#[test]
fn gpt_does_not_see_what_comes() {
    let device = Device::cpu();
    let model = Gpt::new(GPT, &device);
    let answer = |last: i32| model.forward(&Tensor::from_slice(&[1, 2, 3, 4, last], [1, 5], &device));
    let (one, other) = (answer(5), answer(16));
    assert_close(&one.narrow(1, 0, 4), &other.narrow(1, 0, 4), 0.0, "the first four");
    assert!(distance(&one, &other) > 1e-4, "the fifth is seen by itself");
}
