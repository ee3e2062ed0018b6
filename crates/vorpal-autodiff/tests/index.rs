//! Picking and adding by number, in a process of its own: faults surface wherever is read next.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, assert_close, devices};
use vorpal_autodiff::{DType, Error, Tensor};

#[test]
fn everything_in_turn() {
    // Adapters report faults to whoever reads next: one test, one thread.
    values_match_a_plain_loop();
    long_lists_take_several_launches();
    what_is_added_onto_stays_where_it_is_read_again();
    numbers_out_of_range_are_errors();
    a_class_that_is_none_is_found();
    wrong_segments_are_errors();
}

fn values_match_a_plain_loop() {
    let mut random = Random::new(31);
    for device in devices() {
        for (outer, axis, inner, len) in
            [(1, 1, 1, 1), (3, 5, 7, 4), (2, 100, 1, 300), (1, 3, 130, 9), (2, 4, 3, 0)]
        {
            let narrow = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect::<Vec<_>>();
            let x = narrow(random.values(outer * axis * inner, -1.0, 1.0));
            let source = narrow(random.values(outer * len * inner, -1.0, 1.0));
            let numbers: Vec<i32> = (0..outer * len * inner).map(|_| random.below(axis) as i32).collect();
            let on = |v: &[f32], n: usize| Tensor::from_slice(v, [outer, n, inner], &device);
            let index = Tensor::from_slice(&numbers, [outer, len, inner], &device);
            let (mut picked, mut added) = (Vec::new(), x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
            for (k, &number) in numbers.iter().enumerate() {
                let (o, i) = (k / (len * inner), k % inner);
                let place = (o * axis + number as usize) * inner + i;
                picked.push(f64::from(x[place]));
                added[place] += f64::from(source[k]);
            }
            let found = on(&x, axis).gather(1, &index).to_vec::<f32>().expect("values");
            assert_close(&found, &picked, 0.0, "gather");
            let found =
                on(&x, axis).scatter_add(1, &index, &on(&source, len)).to_vec::<f32>().expect("values");
            assert_close(&found, &added, 1e-5, "scatter_add");
            let words = index.gather(1, &index.full_like(0.0)).to_vec::<i32>().expect("values");
            assert_eq!(words.len(), numbers.len());
        }
        let half = Tensor::from_slice(&[1.5f32, 2.5, 3.5], [3], &device).cast(DType::BF16);
        let second = Tensor::from_slice(&[1u32], [1], &device);
        assert_eq!(half.index_select(0, &second).cast(DType::F32).to_vec::<f32>(), Ok(vec![2.5]));
    }
}

fn long_lists_take_several_launches() {
    for device in devices() {
        let n = 100_000;
        let numbers: Vec<i32> = (0..n).map(|k| k % 3).collect();
        let index = Tensor::from_slice(&numbers, [n as usize], &device);
        let ones = Tensor::ones([n as usize], DType::F32, &device);
        let zeros = Tensor::zeros([3], DType::F32, &device);
        let found = zeros.index_add(0, &index, &ones).to_vec::<f32>();
        assert_eq!(found, Ok(vec![33_334.0, 33_333.0, 33_333.0]), "{device}");
    }
}

fn what_is_added_onto_stays_where_it_is_read_again() {
    for device in devices() {
        let index = Tensor::from_slice(&[2i32, 0, 2], [3], &device);
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &device);
        let twice = &x * 2.0;
        let sum = twice.index_add(0, &index, &x) - &twice;
        assert_eq!(sum.to_vec::<f32>(), Ok(vec![2.0, 0.0, 4.0]), "{device}");
        let once = (&x * 2.0).index_add(0, &index, &x);
        assert_eq!(once.to_vec::<f32>(), Ok(vec![4.0, 4.0, 10.0]), "{device}");
        assert_eq!(x.index_add(0, &index, &x).to_vec::<f32>(), Ok(vec![3.0, 2.0, 7.0]), "{device}");
        assert_eq!(x.to_vec::<f32>(), Ok(vec![1.0, 2.0, 3.0]), "{device}");
    }
}

fn numbers_out_of_range_are_errors() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &device);
        for wrong in [3, -1] {
            let index = Tensor::from_slice(&[0i32, wrong], [2], &device);
            let error = x.index_select(0, &index).to_vec::<f32>().expect_err("there is no such element");
            let told = matches!(
                error,
                Error::Index { op: "index_select", index, size: 3, .. } if index == i64::from(wrong)
            );
            assert!(told, "{device}: {error}");
            assert!(error.to_string().contains("index.rs:"), "{error}");
            assert_eq!(x.to_vec::<f32>(), Ok(vec![1.0, 2.0, 3.0]), "the device goes on");
        }
    }
}

fn a_class_that_is_none_is_found() {
    for (device, wrong) in devices().iter().flat_map(|d| [(d.clone(), 3i32), (d.clone(), -1)]) {
        let logits = Tensor::from_slice(&[0.5f32, 1.0, -1.0, 0.0, 2.0, 0.25], [2, 3], &device);
        let classes = Tensor::from_slice(&[1i32, wrong], [2], &device);
        let error = logits.cross_entropy(&classes).item::<f32>().expect_err("no such class");
        assert!(matches!(error, Error::Index { op: "cross_entropy", size: 3, .. }), "{error}");
        assert!(error.to_string().contains("tests/index.rs"), "{error}");
    }
}

fn wrong_segments_are_errors() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, 2.0, 2.0], [3], &device);
        let list = |ids: &[i32]| Tensor::from_slice(ids, [ids.len()], &device);
        let cases = [
            ([0, 3, 1], false, "segment_sum: index 3 is out of range for an axis of size 3"),
            ([0, -1, 1], false, "segment_sum: index -1 is out of range"),
            (
                [0, 2, 1],
                true,
                "segment_sum: the number at place 2 is smaller than the one before it, but sorted numbers were promised",
            ),
        ];
        for (ids, sorted, told) in cases {
            let sum = x.segment_sum(&list(&ids), 3, sorted).to_vec::<f32>();
            let text = sum.expect_err("a wrong number").to_string();
            assert!(text.contains(told) && text.contains("index.rs:"), "{device}: {text}");
        }
        let text = list(&[0, 5]).bincount(3).to_vec::<i32>().expect_err("out of range").to_string();
        assert!(text.contains("bincount: index 5 is out of range") && text.contains("index.rs:"), "{text}");
        for (wrong, size) in [(-1, 3), (0, 0)] {
            let text = list(&[wrong]).bincount(size).to_vec::<i32>().expect_err("out of range").to_string();
            let told = format!("bincount: index {wrong} is out of range for an axis of size {size}");
            assert!(text.contains(&told), "{device}: {text}");
        }
        let scattered = x.scatter(0, &list(&[0, 4, 1]), &x).to_vec::<f32>();
        let text = scattered.expect_err("out of range").to_string();
        assert!(text.contains("scatter: index 4 is out of range for an axis of size 3"), "{text}");
    }
}
