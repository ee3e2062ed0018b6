//! Models whose codes are entries of a table.

use vorpal_nn::{Device, Tensor, grad};
use vorpal_zoo::generative::{VectorQuantizer, VqVae, VqVaeOptions};

use super::ink;
use crate::harness::{Case, assert_close, check, noisy, values};

const SIZES: VqVaeOptions = VqVaeOptions { width: 6, entries: 5, latent: 3 };

#[test]
fn vq_vae() {
    check(Case::new(
        "vq_vae",
        |device| VqVae::new(SIZES, device),
        |m, device| m.forward(&ink(1, &[3, 1, 8, 12], device)),
        &[3, 1, 8, 12],
        |m, device| m.losses(&ink(1, &[3, 1, 8, 12], device)).mean_all(),
    ));
}

#[test]
fn rows_become_their_nearest_entries_and_derivatives_go_straight_through() {
    let device = Device::cpu();
    let quantizer = VectorQuantizer { codebook: noisy(1, &[7, 3], &device) };
    let (rows, weights) = (noisy(2, &[20, 3], &device), noisy(3, &[20, 3], &device));
    let (table, each) = (values(&quantizer.codebook), values(&rows));
    let square = |row: &[f32], entry: &[f32]| -> f64 {
        row.iter().zip(entry).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let nearest = |row: &[f32]| {
        let apart = |k: usize| square(row, &table[3 * k..3 * k + 3]);
        (0..7).min_by(|&a, &b| apart(a).total_cmp(&apart(b))).expect("entries")
    };
    let expected: Vec<usize> = each.chunks(3).map(nearest).collect();
    let found = quantizer.codes(&rows).to_vec::<i32>().expect("codes");
    assert_eq!(found.iter().map(|&code| code as usize).collect::<Vec<_>>(), expected);
    let out: Vec<f32> = expected.iter().flat_map(|k| table[3 * k..3 * k + 3].to_vec()).collect();
    let out = Tensor::from_slice(&out, [20, 3], &device);
    assert_close(&quantizer.forward(&rows), &out, 1e-6, "entries");

    // What comes in takes the whole derivative; the table none of it.
    let through = grad(&rows, |rows| (quantizer.forward(rows) * &weights).sum_all()).expect("gradients");
    assert_close(&through, &weights, 1e-6, "straight through");
    let none = grad(&quantizer, |q| (q.forward(&rows) * &weights).sum_all()).expect("gradients");
    assert!(values(&none.codebook).iter().all(|&g| g == 0.0));

    // Costs: of a row a quarter of the mean square, of the entries the mean square.
    let apart = &rows - &out;
    let costs = quantizer.losses(&rows);
    assert_close(&costs, &(apart.square().mean([-1]) * 1.25), 1e-6, "costs");
    let by_rows = grad(&rows, |rows| quantizer.losses(rows).sum_all()).expect("gradients");
    assert_close(&by_rows, &(&apart * (0.25 * 2.0 / 3.0)), 1e-5, "what rows pay");
    let by_table = grad(&quantizer, |q| q.losses(&rows).sum_all()).expect("gradients").codebook;
    let places = Tensor::from_slice(&found, [20], &device).one_hot(7, rows.dtype());
    assert_close(&by_table, &(places.t().matmul(&apart) * (-2.0 / 3.0)), 1e-5, "what entries pay");
}

#[test]
fn codes_are_all_that_an_image_is_made_of() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let mut model = VqVae::new(SIZES, &device);
    let images = ink(4, &[3, 1, 8, 12], &device);
    assert!(model.begin_with(&images.narrow(0, 0, 1).narrow(2, 0, 4).narrow(3, 0, 4)).is_err(), "one vector");
    model.begin_with(&images).expect("entries");
    // Entries are vectors of these images: some are met exactly.
    let costs = values(&model.quantizer.losses(&model.quantizer.codebook));
    assert!(costs.iter().all(|&cost| cost < 1e-10), "{costs:?}");
    let codes = model.codes(&images);
    assert_eq!(codes.shape().dims(), [3, 6]);
    assert_close(&model.decode_codes(&codes, [2, 3]), &model.forward(&images), 1e-5, "by its codes alone");
    // A code changes the image around its patch, up to ten pixels to the right, and nothing beyond.
    let out = |codes: [i32; 8]| model.decode_codes(&Tensor::from_slice(&codes, [1, 8], &device), [2, 4]);
    let change = values(&(out([0; 8]) - out([1, 0, 0, 0, 0, 0, 0, 0])).abs().max([0, 1, 2]));
    assert!(change[0] > 0.0 && change[11..].iter().all(|&c| c == 0.0), "{change:?}");
}
