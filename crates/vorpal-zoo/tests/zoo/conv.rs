use vorpal_zoo::MnistCnn;

use crate::harness::{Case, check, classes, noisy};

#[test]
fn mnist_cnn() {
    check(Case {
        // What a bias adds in front of a normalisation is taken away again: its gradient is what rounding leaves.
        unused: &["conv1.bias", "conv2.bias"],
        ..Case::new(
            "mnist_cnn",
            MnistCnn::new,
            |m, device| m.forward(&noisy(1, &[4, 1, 28, 28], device)),
            &[4, 10],
            |m, device| {
                let images = noisy(1, &[4, 1, 28, 28], device);
                m.forward(&images).cross_entropy(&classes(2, &[4], 10, device))
            },
        )
    });
}
