//! Element types: conversions, promotion, what `docs/dtypes.md` says of them.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::devices;
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::{DType, Device, Element, Tensor, grad, plan};

/// Numbers that conversions treat differently.
const NUMBERS: [f64; 20] = [
    0.0, 1.0, -1.0, 1.5, -1.5, 100.7, 127.0, 128.0, 200.0, -128.0, -129.0, 255.0, 256.0, 70_000.0, -70_000.0,
    2e9, 3e9, -3e9, 5e18, -5e18,
];

macro_rules! casts {
    ($device:ident, [$($from:ty),*] to $targets:tt) => {$(casts!(@from $device, $from, $targets);)*};
    (@from $device:ident, $from:ty, [$($to:ty),*]) => {$({
        if $device.supports(<$from>::DTYPE) && $device.supports(<$to>::DTYPE) {
            let values: Vec<$from> = NUMBERS.iter().map(|&v| v as $from).collect();
            let x = Tensor::from_slice(&values, [values.len()], &$device);
            let found = x.cast(<$to>::DTYPE).to_vec::<$to>().expect("values");
            let expected: Vec<$to> = values.iter().map(|&v| v as $to).collect();
            assert_eq!(found, expected, "{} to {} on {}", <$from>::DTYPE, <$to>::DTYPE, $device);
        }
    })*};
}

#[test]
fn conversions_between_all_pairs_are_those_of_rust() {
    for device in devices() {
        casts!(device, [f64, f32, i64, i32, u32, i8, u8] to [f64, f32, i64, i32, u32, i8, u8]);
        // 16-bit floats: rounded from f32, exact in f32.
        let values: Vec<f32> = NUMBERS.iter().map(|&v| v as f32).collect();
        let x = Tensor::from_slice(&values, [values.len()], &device);
        let f16: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
        let bf16: Vec<half::bf16> = values.iter().map(|&v| half::bf16::from_f32(v)).collect();
        assert_eq!(x.cast(DType::F16).to_vec::<half::f16>().expect("values"), f16, "{device}");
        assert_eq!(x.cast(DType::BF16).to_vec::<half::bf16>().expect("values"), bf16, "{device}");
        for dtype in
            DType::ALL.into_iter().filter(|&d| device.supports(d) && !d.is_float() && d != DType::Bool)
        {
            let wide: Vec<f32> = f16.iter().map(|v| v.to_f32()).collect();
            let direct = Tensor::from_slice(&wide, [wide.len()], &device).cast(dtype);
            let same = x.cast(DType::F16).cast(dtype).eq(&direct);
            assert!(same.to_vec::<bool>().expect("values").iter().all(|&v| v), "f16 to {dtype} on {device}");
        }
        // Truth values, both ways.
        for dtype in DType::ALL.into_iter().filter(|&d| device.supports(d)) {
            let truths = [true, false, true];
            let x = Tensor::from_slice(&truths, [3], &device);
            let there = x.cast(dtype);
            let ones = there.cast(DType::F32).to_vec::<f32>().expect("values");
            assert_eq!(ones, [1.0, 0.0, 1.0], "bool to {dtype} on {device}");
            assert_eq!(
                there.cast(DType::Bool).to_vec::<bool>().expect("values"),
                truths,
                "{dtype} on {device}"
            );
        }
        let nan = Tensor::from_slice(&[f32::NAN], [1], &device).cast(DType::I32);
        assert_eq!(nan.to_vec::<i32>(), Ok(vec![0]), "{device}");
    }
}

#[test]
fn long_and_short_integers_compute_in_their_own_type() {
    let cpu = Device::cpu();
    let big = Tensor::from_slice(&[i64::MAX, 1 << 60, -3], [3], &cpu);
    assert_eq!((&big + &big).to_vec::<i64>(), Ok(vec![-2, 1 << 61, -6]));
    assert_eq!(big.max(0).to_vec::<i64>(), Ok(vec![i64::MAX]));
    assert_eq!(big.min(0).to_vec::<i64>(), Ok(vec![-3]));
    assert_eq!(big.argmax(0).to_vec::<i32>(), Ok(vec![0]));
    let bytes = Tensor::from_slice(&[200u8, 100, 7], [3], &cpu);
    assert_eq!((&bytes + &bytes).to_vec::<u8>(), Ok(vec![144, 200, 14]));
    assert_eq!(bytes.sum(0).to_vec::<u32>(), Ok(vec![307]), "bytes are added up in 32 bits");
    assert_eq!(bytes.flip(0).slice(0, 1..).to_vec::<u8>(), Ok(vec![100, 200]));
    let list = Tensor::from_slice(&[2i32, 0], [2], &cpu);
    assert_eq!(bytes.index_select(0, &list).to_vec::<u8>(), Ok(vec![7, 200]));
    assert_eq!(big.index_select(0, &list).to_vec::<i64>(), Ok(vec![-3, i64::MAX]));
    let short = Tensor::from_slice(&[-128i8, 127, 5], [3], &cpu);
    assert_eq!((-&short).to_vec::<i8>(), Ok(vec![-128, -127, -5]));
    assert_eq!(short.sum(0).item::<i32>(), Ok(4));
    assert_eq!(format!("{short}").lines().next(), Some("[-128,  127,    5]"));
    assert_eq!(Tensor::concat(&[&short, &short], 0).to_vec::<i8>(), Ok(vec![-128, 127, 5, -128, 127, 5]));
    assert_eq!(short.pad(0, 1, 1, -7.0).to_vec::<i8>(), Ok(vec![-7, -128, 127, 5, -7]));
    let folded = Tensor::full([1], 9e15, DType::I64, &cpu) + Tensor::full([1], 9e18, DType::I64, &cpu);
    assert_eq!(folded.to_vec::<i64>(), Ok(vec![9_000_000_000_000_000 + 9_000_000_000_000_000_000]));
}

#[test]
fn integers_of_any_length_are_numbers_of_elements() {
    let cpu = Device::cpu();
    let x = Tensor::from_slice(&[1.0f32, 2.0, 4.0], [3], &cpu);
    let logits = Tensor::from_slice(&[0.0f32, 1.0, 2.0, 0.0, 1.0, 2.0], [2, 3], &cpu);
    for dtype in [DType::I64, DType::I32, DType::U32, DType::I8, DType::U8] {
        let list = Tensor::from_slice(&[2i32, 0], [2], &cpu).cast(dtype);
        assert_eq!(x.index_select(0, &list).to_vec::<f32>(), Ok(vec![4.0, 1.0]), "{dtype}");
        assert_eq!(x.gather(0, &list).to_vec::<f32>(), Ok(vec![4.0, 1.0]), "{dtype}");
        assert_eq!(
            x.index_add(0, &list, &list.cast(DType::F32)).to_vec::<f32>(),
            Ok(vec![1.0, 2.0, 6.0]),
            "{dtype}"
        );
        let found = logits.cross_entropy(&list).item::<f32>().expect("a loss");
        let plain = logits.cross_entropy(&list.cast(DType::I32)).item::<f32>().expect("a loss");
        assert_eq!(found, plain, "{dtype}");
        let mask = list.sequence_mask(2).to_vec::<bool>();
        assert_eq!(mask, Ok(vec![true, true, false, false]), "{dtype}");
    }
    let far = Tensor::from_slice(&[1i64 << 32], [1], &cpu);
    let error = x.index_select(0, &far).to_vec::<f32>().expect_err("out of range").to_string();
    assert!(error.contains("index_select") && error.contains("dtypes.rs:"), "{error}");
}

#[test]
fn what_an_adapter_does_not_hold_is_an_error() {
    let Ok(device) = Device::software() else { return };
    for dtype in [DType::F64, DType::I64, DType::I8, DType::U8] {
        let error = Tensor::zeros([3], dtype, &device).eval().expect_err("not held").to_string();
        assert!(error.contains(&format!("does not hold {dtype}")) && error.contains("dtypes.rs:"), "{error}");
        let error =
            Tensor::zeros([3], DType::F32, &device).cast(dtype).eval().expect_err("not held").to_string();
        assert!(error.contains("cast") && error.contains("dtypes.rs:"), "{error}");
    }
}

/// The table of `docs/dtypes.md`: rows and columns by name.
fn documented(a: DType, b: DType) -> String {
    let text = include_str!("../../../docs/dtypes.md");
    let cells = |line: &str| line.split('|').map(|c| c.trim().replace('`', "")).collect::<Vec<_>>();
    let mut lines = text.lines().skip_while(|l| !l.starts_with("| beside |")).map(cells);
    let head = lines.next().expect("the table");
    let column = head.iter().position(|c| *c == b.name()).expect("a column");
    lines.find(|row| row.get(1).is_some_and(|c| *c == a.name())).expect("a row")[column].clone()
}

#[test]
fn promotion_is_as_documented_and_ops_follow_it() {
    for device in devices() {
        let held = || DType::ALL.into_iter().filter(|&d| device.supports(d));
        for (a, b) in held().flat_map(|a| held().map(move |b| (a, b))) {
            assert_eq!(a.promote(b).name(), documented(a, b), "{a} and {b}");
            let both = match a.promote(b) {
                DType::I64 if !device.supports(DType::I64) => DType::I32,
                both => both,
            };
            let one = |dtype: DType| Tensor::from_slice(&[1i32, 0], [2], &device).cast(dtype);
            let (x, y) = (one(a), one(b));
            let number = |t: &Tensor| t.cast(DType::F32).to_vec::<f32>().expect("values");
            if both != DType::Bool {
                let sum = &x + &y;
                assert_eq!((sum.dtype(), number(&sum)), (both, vec![2.0, 0.0]), "{a} + {b} on {device}");
                assert_eq!(x.maximum(&y).dtype(), both);
            }
            assert_eq!(x.eq(&y).to_vec::<bool>(), Ok(vec![true, true]), "{a} = {b} on {device}");
            let condition = Tensor::from_slice(&[true, false], [2], &device);
            let chosen = condition.select(&x, &y);
            assert_eq!((chosen.dtype(), number(&chosen)), (both, vec![1.0, 0.0]), "{a} or {b} on {device}");
            let joined = Tensor::concat(&[&x, &y], 0);
            assert_eq!(
                (joined.dtype(), number(&joined)),
                (both, vec![1.0, 0.0, 1.0, 0.0]),
                "{a}, {b} on {device}"
            );
            let product = x.reshape([1, 2]).matmul(&y.reshape([2, 1]));
            match product.check() {
                Ok(()) => assert_eq!((product.dtype(), number(&product)), (both, vec![1.0]), "{a} · {b}"),
                Err(error) => assert!(!both.is_float() && error.to_string().contains("floats"), "{error}"),
            }
        }
    }
}

#[test]
fn numbers_give_way_to_tensors() {
    for device in devices() {
        let whole = Tensor::from_slice(&[1i32, 2, -3], [3], &device);
        assert_eq!((&whole * 2).to_vec::<i32>(), Ok(vec![2, 4, -6]));
        assert_eq!((1 - &whole).to_vec::<i32>(), Ok(vec![0, -1, 4]));
        assert_eq!((&whole * 0.5).to_vec::<f32>(), Ok(vec![0.5, 1.0, -1.5]));
        assert_eq!(whole.lt(1.5).to_vec::<bool>(), Ok(vec![true, false, true]));
        assert_eq!(whole.clamp(0, 1).to_vec::<i32>(), Ok(vec![1, 1, 0]));
        let natural = Tensor::from_slice(&[1u32], [1], &device);
        assert_eq!((&natural + -1).to_vec::<u32>(), Ok(vec![0]), "numbers wrap around");
        let half = Tensor::from_slice(&[half::f16::from_f32(0.5)], [1], &device);
        assert_eq!((&half * 2.0).dtype(), DType::F16);
        assert_eq!((&half + 1).to_vec::<half::f16>(), Ok(vec![half::f16::from_f32(1.5)]));
        let truth = Tensor::from_slice(&[true, false], [2], &device);
        assert_eq!((&truth + 1).to_vec::<i32>(), Ok(vec![2, 1]));
        assert_eq!((&truth * 0.5).to_vec::<f32>(), Ok(vec![0.5, 0.0]));
        assert_eq!(truth.select(1, 2).to_vec::<i32>(), Ok(vec![1, 2]));
        assert_eq!(truth.select(1, 2.5).to_vec::<f32>(), Ok(vec![1.0, 2.5]));
    }
}

#[test]
fn cotangents_come_back_in_the_dtype_of_the_operand() {
    for device in devices() {
        let x = Tensor::from_slice(&[1.0f32, 2.0], [2], &device);
        let h = x.cast(DType::F16);
        let both = (x.clone(), h.clone());
        let (gx, gh) = grad(&both, |(x, h)| (x * h).sum_all()).expect("derivatives");
        assert_eq!((gx.dtype(), gh.dtype()), (DType::F32, DType::F16));
        assert_eq!(gh.cast(DType::F32).to_vec::<f32>(), Ok(vec![1.0, 2.0]));
        let whole = Tensor::from_slice(&[3i32, 4], [2], &device);
        let g = grad(&x, |x| (x * &whole).sum_all()).expect("derivatives");
        assert_eq!(g.to_vec::<f32>(), Ok(vec![3.0, 4.0]));
        let g = grad(&h, |h| h.reshape([1, 2]).matmul(&x.reshape([2, 1])).sum_all()).expect("derivatives");
        assert_eq!(g.dtype(), DType::F16);
    }
}

/// Rows of 16-bit floats on adapters, in one launch where they are whole fours, and what is stored beside them.
#[test]
fn rows_of_halves() {
    for dtype in [DType::F16, DType::BF16] {
        // A place of rounding may differ by one where sums are made in another order.
        let step = if dtype == DType::F16 { 2e-3 } else { 1.6e-2 };
        for (rows, columns, launches) in [(5, 36, 2), (70, 8, 2), (3, 33, 9), (1, 4, 2), (0, 8, 9)] {
            let values: Vec<f32> =
                (0..rows * columns).map(|k| ((k * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
            let run = |device: &Device| {
                let x = Tensor::from_slice(&values, [rows, columns], device).cast(dtype);
                let weight: Vec<f32> = (0..columns).map(|k| 0.5 + k as f32 / 64.0).collect();
                let weight = Tensor::from_slice(&weight, [columns], device).cast(dtype);
                let normal = x.layer_norm(Some(&weight), Some(&weight), 1e-5);
                // A row value over whole rows, and one beside them in f32.
                let most = x.cast(DType::F32).max_keepdim(-1);
                let spread = (&x * most.cast(dtype).broadcast_to([rows, columns])).softmax(-1);
                // Products that no one stores, summed over rows side by side.
                let slope = (&x * &(&x + 1.0)).cast(DType::F32).sum(0);
                // The step of a parameter whose derivative is a sum in 16 bits.
                let moved = Tensor::zeros([columns], DType::F32, device)
                    - (&x * &(&x + 1.0)).sum(0).cast(DType::F32) * 0.1;
                (normal, spread, most, slope, moved)
            };
            for device in devices() {
                let ((normal, spread, most, slope, moved), expected) = (run(&device), run(&Device::cpu()));
                let launches_of = |y: &Tensor| plan(y, Target::SOFTWARE).expect("a plan").launches.len();
                // Of them one makes halves of what is given.
                assert!(launches_of(&slope) <= 2, "{dtype} {rows}×{columns}");
                assert!(launches_of(&moved) <= 2, "{dtype} {rows}×{columns}");
                for (found, expected) in [
                    (normal.clone(), expected.0),
                    (spread, expected.1),
                    (most, expected.2),
                    (slope, expected.3),
                    (moved, expected.4),
                ] {
                    let wanted = expected.cast(DType::F32).to_vec::<f32>().expect("values");
                    let found = found.cast(DType::F32).to_vec::<f32>().expect("values");
                    assert_eq!(found.len(), wanted.len());
                    for (x, y) in found.iter().zip(&wanted) {
                        assert!(
                            (x - y).abs() <= step * y.abs().max(1.0),
                            "{dtype} {rows}×{columns}: {x}, not {y}"
                        );
                    }
                }
                // Of them one makes halves of the weight.
                let found = launches_of(&normal);
                assert!(found <= launches, "{dtype} {rows}×{columns}: {found} launches");
            }
        }
    }
}
