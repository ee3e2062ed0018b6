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

#[test]
fn what_is_made_of_few_elements_does_not_stay_in_the_buffer_of_many() {
    for device in devices() {
        for start in [0, 512] {
            let large = Tensor::from_slice(&vec![2.0f32; 1 << 22], [1 << 22], &device);
            eval(&large).expect("room");
            // Nobody else holds what the few are of.
            let few = large.narrow(0, start, 64) * 3.0;
            drop(large);
            let before = device.stats().bytes_in_use;
            eval(&few).expect("it runs");
            let left = before.saturating_sub(device.stats().bytes_in_use);
            assert!(left > 8 << 20, "{device}, from {start}: {left} bytes came back");
            assert_eq!(few.to_vec::<f32>(), Ok(vec![6.0; 64]), "{device}");
        }
    }
}

#[test]
fn what_is_joined_where_it_is_made_is_what_is_copied() {
    let mut random = Random::new(9);
    for device in devices() {
        for dtype in [DType::F32, DType::F16, DType::I32] {
            for (rows, columns) in [(1, 64), (3, 65), (7, 128), (40, 132), (33, 125)] {
                let data: Vec<f32> = (0..rows * columns).map(|_| random.below(60) as f32).collect();
                let x = Tensor::from_slice(&data, [rows, columns], &device).cast(dtype);
                eval(&x).expect("room");
                let y = &x + 1.0;
                // Made together and only joined, made together and asked for, and there before.
                let parts = [&y * 2.0, &x + 3.0, &y - 2.0, x.clone()];
                let joined = Tensor::concat(&[&parts[0], &parts[1], &parts[3], &parts[2]], 1);
                eval(&(&joined, &parts[1])).expect("it runs");
                let f: [fn(f32) -> f32; 4] = [|x| 2.0 * (x + 1.0), |x| x + 3.0, |x| x, |x| x - 1.0];
                let of = |k: usize| {
                    let (row, column) = (k / (4 * columns), k % (4 * columns));
                    f[column / columns](data[row * columns + column % columns])
                };
                let expected: Vec<f32> = (0..4 * rows * columns).map(of).collect();
                let place = format!("{device}, {dtype}, {rows} × {columns}");
                assert_eq!(joined.cast(DType::F32).to_vec::<f32>(), Ok(expected), "{place}");
                let expected: Vec<f32> = data.iter().map(|x| x + 3.0).collect();
                assert_eq!(parts[1].cast(DType::F32).to_vec::<f32>(), Ok(expected), "{place}");
            }
        }
    }
}
