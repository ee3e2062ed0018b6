//! Windows on values: plans know where they lie to one another, but not where the first of them starts.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, devices};
use vorpal_autodiff::{DType, Tensor, eval};

/// A window of 2 × 3 elements on a `[rows, columns]` matrix, and the numbers of its elements.
fn window(random: &mut Random, x: &Tensor, [rows, columns]: [usize; 2]) -> (Tensor, Vec<usize>) {
    let (row, column) = (random.below(rows - 2), random.below(columns - 6));
    let at = |i: usize, j: usize| (row + i) * columns + column + j;
    match random.below(4) {
        0 => (
            x.narrow(0, row, 2).narrow(1, column, 3),
            (0..2).flat_map(|i| (0..3).map(move |j| at(i, j))).collect(),
        ),
        1 => (
            x.narrow(1, column, 2).permute([1, 0]).narrow(1, row, 3.min(rows - row)).narrow(1, 0, 2),
            (0..2).flat_map(|j| (0..2).map(move |i| at(i, j))).collect(),
        ),
        2 => (
            x.slice_step(1, column as isize..column as isize + 6, 2).narrow(0, row, 2),
            (0..2).flat_map(|i| (0..3).map(move |j| at(i, 2 * j))).collect(),
        ),
        _ => (
            x.reshape([rows * columns]).narrow(0, row * columns + column, 6).reshape([2, 3]),
            (0..6).map(|k| row * columns + column + k).collect(),
        ),
    }
}

#[test]
fn windows_on_one_value_show_its_elements() {
    let mut random = Random::new(5);
    for device in devices() {
        let narrow: &[DType] = if device.is_cpu() { &[DType::I8, DType::F64, DType::I64] } else { &[] };
        for dtype in [&[DType::F32, DType::F16, DType::BF16, DType::I32], narrow].concat() {
            for round in 0..24 {
                let sizes = [3 + random.below(40), 7 + random.below(40)];
                // Whole numbers that every dtype holds.
                let data: Vec<f32> = (0..sizes[0] * sizes[1]).map(|_| random.below(60) as f32).collect();
                let x = Tensor::from_slice(&data, sizes, &device).cast(dtype);
                eval(&x).expect("room");
                let (mut sum, mut expected) = (None, Vec::new());
                for _ in 0..1 + random.below(2) {
                    let (window, places) = window(&mut random, &x, sizes);
                    let window = window.reshape([places.len()]).narrow(0, 0, 4);
                    sum = Some(sum.map_or(window.clone(), |sum: Tensor| sum + window));
                    expected.resize(4, 0.0);
                    expected.iter_mut().zip(places).for_each(|(sum, place)| *sum += data[place]);
                }
                let mut sum = sum.expect("a window");
                if round % 3 == 0 {
                    // The whole is read, too.
                    let least = x.min([0, 1]);
                    sum = sum + &least - least;
                }
                let found = sum.cast(DType::F32).to_vec::<f32>();
                assert_eq!(found, Ok(expected), "{device}, {dtype}, round {round}: {sizes:?}");
            }
        }
    }
}

#[test]
fn an_evaluated_window_is_one_on_the_same_buffer() {
    for device in devices() {
        let data: Vec<f32> = (0..4096).map(|k| k as f32).collect();
        let x = Tensor::from_slice(&data, [64, 64], &device);
        eval(&x).expect("room");
        let window = x.narrow(0, 37, 2).narrow(1, 5, 3);
        eval(&window).expect("it is there already");
        drop(x);
        let expected: Vec<f32> = (0..6).map(|k| ((37 + k / 3) * 64 + 5 + k % 3) as f32).collect();
        assert_eq!(window.to_vec::<f32>(), Ok(expected.clone()), "{device}");
        let again = window.narrow(0, 1, 1) * 2.0;
        assert_eq!(again.to_vec::<f32>(), Ok(expected[3..].iter().map(|x| 2.0 * x).collect()), "{device}");
        // Of nothing, behind the end of what is read.
        let empty = window.narrow(0, 2, 0).sum_all() + window.narrow(0, 1, 1).sum_all();
        assert_eq!(empty.item::<f32>(), Ok(expected[3..].iter().sum()), "{device}");
    }
}
