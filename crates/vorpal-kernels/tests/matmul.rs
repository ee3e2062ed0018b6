//! Matrix products against a plain f64 evaluation, natively and on the adapter, in every variant.

#![allow(clippy::expect_used)]

mod common;

use common::matrices::run_emulated;
use common::{Random, adapter, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{
    Abilities, Arg, Domain, Epilogue, Inst, Kernel, MATMUL_K_MAX, MatMul, Program, ResultType, ScalarFn,
    Store, Variant, map2,
};
use vorpal_tensor::{DType, Layout, Shape};

/// The product of two windows, and the sum of the sizes of its terms: the scale of rounding errors.
fn reference(a: &Layout, x: &[f32], b: &Layout, y: &[f32]) -> Vec<(f64, f64)> {
    let rank = a.shape.rank();
    let (m, k, n) = (a.shape[rank - 2], a.shape[rank - 1], b.shape[rank - 1]);
    let batch: usize = a.shape[..rank - 2].iter().product();
    let mut out = Vec::new();
    for (t, i, j) in (0..batch).flat_map(|t| (0..m).flat_map(move |i| (0..n).map(move |j| (t, i, j)))) {
        let (mut sum, mut size) = (0.0, 0.0);
        for l in 0..k {
            let p = a.place((t * m + i) * k + l).expect("inside");
            let q = b.place((t * k + l) * n + j).expect("inside");
            let term = f64::from(x[p]) * f64::from(y[q]);
            sum += term;
            size += term.abs();
        }
        out.push((sum, size));
    }
    out
}

fn check(kernel: &dyn Kernel, inputs: &[&[f32]], expected: &[(f64, f64)]) {
    let fresh = || {
        let mut buffers: Vec<Vec<u8>> = inputs.iter().map(|x| bytes_of(x)).collect();
        buffers.insert(2, vec![0xff; 4 * expected.len()]);
        buffers
    };
    let compare = |buffers: &[Vec<u8>], place: &str| {
        for (k, (found, &(sum, size))) in floats(&buffers[2]).iter().zip(expected).enumerate() {
            // Rounding of f32 sums in any order.
            let close = (f64::from(*found) - sum).abs() <= 4e-6 * size + 1e-6;
            assert!(close, "{place}, {}: element {k} is {found}, should be {sum}", kernel.describe());
        }
    };
    let mut buffers = fresh();
    run_native(kernel, &mut buffers, &[]).expect("it runs natively");
    compare(&buffers, "native");
    check_shader(&kernel.shader().expect("a shader"));
    if let Some(device) = adapter() {
        let mut buffers = fresh();
        run_on(&device, kernel, &mut buffers, &[], None).expect("it runs on the adapter");
        compare(&buffers, "adapter");
    }
}

/// The product in every variant, for the adapter's abilities and for less; shaders for larger subgroups are checked.
fn every_way(kernel: &MatMul) -> Vec<MatMul> {
    let own = adapter().map(|device| Abilities::of(device.info())).unwrap_or_default();
    let mut ways = Vec::new();
    for abilities in [own, Abilities { words64: false, ..own }] {
        let kernel = kernel.clone().with_abilities(abilities);
        let new = |v: &Variant| abilities == own || *v == Variant::Broadcast;
        ways.extend(kernel.variants().into_iter().filter(new).map(|v| kernel.clone().with_variant(v)));
    }
    for subgroup in [8, 32] {
        let kernel =
            kernel.clone().with_abilities(Abilities { subgroup: Some(subgroup), ..Abilities::default() });
        check_shader(&kernel.with_variant(Variant::Broadcast).shader().expect("a shader"));
    }
    ways
}

/// A window of the shape on a buffer of its own: plain, transposed, sliced, reversed, or repeated along the
/// batch.
fn window(random: &mut Random, shape: &[usize]) -> (Layout, Vec<f32>) {
    let rank = shape.len();
    let kind = random.below(5);
    let mut stored = shape.to_vec();
    match kind {
        1 => stored.swap(rank - 2, rank - 1),
        2 => stored[rank - 2] += 3,
        3 if rank > 2 => stored[0] = 1,
        _ => {}
    }
    let mut layout = Layout::contiguous(&stored[..]);
    let mut order: Vec<usize> = (0..rank).collect();
    match kind {
        1 => {
            order.swap(rank - 2, rank - 1);
            layout = layout.permute(&order);
        }
        2 => layout = layout.slice(rank - 2, 2, shape[rank - 2], 1),
        3 => layout = layout.broadcast_to(&Shape::from(shape)),
        4 if shape.iter().all(|&d| d > 0) => layout = layout.flip(rank - 1),
        _ => {}
    }
    let data = random.units(stored.iter().product());
    (layout, data)
}

#[test]
fn random_windows_in_every_variant() {
    let mut random = Random(7);
    for round in 0..60 {
        let size = |random: &mut Random| [1, 2, 5, 16, 33, 36, 70][random.below(7)];
        let (m, k, n) = (size(&mut random), size(&mut random), size(&mut random));
        let batch: &[usize] = [&[][..], &[3], &[2, 3], &[1, 2]][round % 4];
        let shape = |x: usize, y: usize| [batch, &[x, y]].concat();
        let ((a, x), (b, y)) = (window(&mut random, &shape(m, k)), window(&mut random, &shape(k, n)));
        let expected = reference(&a, &x, &b, &y);
        let kernel = MatMul::new(&a, &b, DType::F32).expect("it fits");
        for kernel in every_way(&kernel) {
            check(&kernel, &[&x, &y], &expected);
        }
    }
}

#[test]
fn empty_and_long_sums() {
    let mut random = Random(11);
    for (m, k, n) in [(3, 0, 4), (0, 3, 4), (3, 4, 0), (2, MATMUL_K_MAX, 3), (1, 1000, 1)] {
        let (a, b) = (Layout::contiguous([m, k]), Layout::contiguous([k, n]));
        let (x, y) = (random.units(m * k), random.units(k * n));
        let expected = reference(&a, &x, &b, &y);
        let kernel = MatMul::new(&a, &b, DType::F32).expect("it fits");
        for kernel in every_way(&kernel) {
            check(&kernel, &[&x, &y], &expected);
        }
    }
    let (a, b) = (Layout::contiguous([1, MATMUL_K_MAX + 1]), Layout::contiguous([MATMUL_K_MAX + 1, 1]));
    assert!(MatMul::new(&a, &b, DType::F32).is_none(), "too long for one launch");
    assert!(MatMul::new(&Layout::contiguous([2, 3]), &Layout::contiguous([2, 3]), DType::F32).is_none());
}

/// Results of one row or column that are made in pieces, with matrices of either order.
#[test]
fn long_rows_and_columns() {
    let mut random = Random(17);
    for (m, k, n) in [(1, 37, 5001), (1, 8, 2048), (4099, 21, 1), (1, 3, 70)] {
        for turned in [false, true] {
            let lie = |rows: usize, columns: usize| match turned {
                true => Layout::contiguous([columns, rows]).permute(&[1, 0]),
                false => Layout::contiguous([rows, columns]),
            };
            let (a, b) = (lie(m, k), lie(k, n));
            let (x, y) = (random.units(m * k), random.units(k * n));
            let expected = reference(&a, &x, &b, &y);
            let kernel = MatMul::new(&a, &b, DType::F32).expect("it fits");
            check(&kernel, &[&x, &y], &expected);
        }
    }
}

static ADD: ScalarFn = ScalarFn {
    name: "add",
    arity: 2,
    result: ResultType::Last,
    wgsl: "a + b",
    support: "",
    cpu: |x, o| map2(x, o, |a: f32, b: f32| a + b),
    flops: 1,
};

#[test]
fn a_bias_is_added_before_the_result_is_stored() {
    let mut random = Random(13);
    let (m, k, n) = (9, 20, 13);
    let (a, b) = (Layout::contiguous([m, k]), Layout::contiguous([k, n]));
    let (x, y, bias) = (random.units(m * k), random.units(k * n), random.units(n));
    let row = Layout::contiguous([1, n]).broadcast_to(&Shape::from([m, n]));
    let program = Program {
        insts: vec![
            Inst::Acc { dtype: DType::F32 },
            Inst::Load { arg: 3, layout: row, fill: 0.0, domain: Domain::Full },
            Inst::Call { f: &ADD, args: [0, 1].into_iter().collect() },
        ],
        stores: vec![Store { value: 2, arg: 2 }],
    };
    let args = vec![Arg::write(DType::F32, m * n), Arg::read(DType::F32, n)];
    let epilogue = Epilogue { program, args, scalars: vec![] };
    let kernel = MatMul::new(&a, &b, DType::F32).expect("it fits");
    let mut expected = reference(&a, &x, &b, &y);
    for (i, e) in expected.iter_mut().enumerate() {
        e.0 += f64::from(bias[i % n]);
    }
    for kernel in every_way(&kernel) {
        let fused = kernel.with_epilogue(epilogue.clone()).expect("it takes one");
        check(&*fused, &[&x, &y, &bias], &expected);
    }
}

/// Numbers as halves, and as they are then.
fn halved(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let halves: Vec<half::f16> = values.iter().map(|&x| half::f16::from_f32(x)).collect();
    (
        halves.iter().flat_map(|h| h.to_bits().to_le_bytes()).collect(),
        halves.iter().map(|h| h.to_f32()).collect(),
    )
}

/// The epilogue `(acc + bias, acc)`, the first in halves, the second as it is.
fn with_bias_in_halves(m: usize, n: usize) -> Epilogue {
    let row = Layout::contiguous([1, n]).broadcast_to(&Shape::from([m, n]));
    let program = Program {
        insts: vec![
            Inst::Acc { dtype: DType::F32 },
            Inst::Load { arg: 4, layout: row, fill: 0.0, domain: Domain::Full },
            Inst::Call { f: &ADD, args: [0, 1].into_iter().collect() },
            Inst::Cast { x: 2, dtype: DType::F16 },
        ],
        stores: vec![Store { value: 3, arg: 2 }, Store { value: 0, arg: 3 }],
    };
    let results = [Arg::write(DType::F16, m * n), Arg::write(DType::F32, m * n)];
    let args = results.into_iter().chain([Arg::read(DType::F32, n)]).collect();
    Epilogue { program, args, scalars: vec![] }
}

fn check_halves(
    kernel: &dyn Kernel,
    operands: [&[u8]; 2],
    bias: &[f32],
    expected: &[(f64, f64)],
    runs: bool,
) {
    check_shader(&kernel.shader().expect("a shader"));
    let Some(device) = adapter().filter(|_| runs) else { return };
    let [a, b] = operands.map(<[u8]>::to_vec);
    let len = expected.len();
    let mut buffers = vec![a, b, vec![0xff; 2 * len], vec![0xff; 4 * len], bytes_of(bias)];
    run_on(&device, kernel, &mut buffers, &[], None).expect("it runs on the adapter");
    let narrow: Vec<u16> = bytemuck::pod_collect_to_vec(&buffers[2]);
    for (k, (found, &(sum, size))) in floats(&buffers[3]).iter().zip(expected).enumerate() {
        let biased = sum + f64::from(bias[k % bias.len()]);
        let half = half::f16::from_bits(narrow[k]).to_f64();
        let name = kernel.describe();
        assert!(
            (f64::from(*found) - sum).abs() <= 4e-6 * size + 1e-6,
            "{name}: element {k} is {found}, not {sum}"
        );
        let close = (half - biased).abs() <= biased.abs() / 2048.0 + 4e-6 * size + 1e-6;
        assert!(close, "{name}: element {k} is {half}, not {biased}");
    }
}

#[test]
fn four_results_are_finished_and_narrowed_together() {
    let mut random = Random(19);
    // The last one has more than two bands of tiles.
    for (m, k, n) in [(9, 20, 12), (70, 33, 68), (1, 5, 4), (130, 16, 132), (1100, 5, 72)] {
        let (a, b) = (Layout::contiguous([m, k]), Layout::contiguous([k, n]));
        let (x, y, bias) = (random.units(m * k), random.units(k * n), random.units(n));
        let expected = reference(&a, &x, &b, &y);
        let kernel = MatMul::new(&a, &b, DType::F32).expect("it fits");
        for variant in [Variant::Tiled, Variant::Large] {
            let kernel = kernel.clone().with_variant(variant);
            assert!(kernel.stores_16bit());
            let kernel = kernel.with_epilogue(with_bias_in_halves(m, n)).expect("it takes one");
            check_halves(&*kernel, [&bytes_of(&x), &bytes_of(&y)], &bias, &expected, true);
        }
    }
    let odd =
        MatMul::new(&Layout::contiguous([3, 4]), &Layout::contiguous([4, 5]), DType::F32).expect("it fits");
    assert!(!odd.with_variant(Variant::Tiled).stores_16bit(), "its rows are no fours");
}

#[test]
fn halves_are_multiplied_as_matrices() {
    let mut random = Random(23);
    let able = adapter().is_some_and(|device| Abilities::of(device.info()).matrices);
    println!("matrices of halves: {able}");
    for (round, (m, k, n)) in
        [(8, 8, 8), (16, 64, 24), (136, 40, 8), (128, 96, 256), (1, 32, 300), (264, 200, 132), (130, 8, 128)]
            .into_iter()
            .cycle()
            .take(28)
            .enumerate()
    {
        let batch: &[usize] = [&[][..], &[3], &[2, 2]][round % 3];
        let turned = [round / 7 % 2 == 1, round / 14 % 2 == 1];
        let lie = |rows: usize, columns: usize, turned: bool| {
            let (inner, rank) = (if turned { [columns, rows] } else { [rows, columns] }, batch.len() + 2);
            let mut order: Vec<usize> = (0..rank).collect();
            if turned {
                order.swap(rank - 2, rank - 1);
            }
            Layout::contiguous([batch, &inner[..]].concat()).permute(&order)
        };
        let (a, b) = (lie(m, k, turned[0]), lie(k, n, turned[1]));
        let Some(kernel) = MatMul::of_halves(&a, &b) else {
            let along = |size: usize| size.is_multiple_of(8);
            let fits =
                [if turned[0] { along(m) } else { along(k) }, if turned[1] { along(k) } else { along(n) }];
            assert!(fits.contains(&false), "{a:?} {b:?}");
            continue;
        };
        assert_eq!(kernel.variants(), [Variant::Cooperative]);
        let (x, y) = (halved(&random.units(a.shape.numel())), halved(&random.units(b.shape.numel())));
        let expected = reference(&a, &x.1, &b, &y.1);
        let wide = kernel.shader().expect("a shader");
        check_shader(&wide);
        if n % 4 == 0 && batch.is_empty() {
            let bias = random.units(n);
            let kernel = kernel.with_epilogue(with_bias_in_halves(m, n)).expect("it takes one");
            check_halves(&*kernel, [&x.0, &y.0], &bias, &expected, able);
        } else if let Some(device) = adapter().filter(|_| able) {
            let mut buffers = vec![x.0, y.0, vec![0xff; 4 * expected.len()]];
            run_on(&device, &kernel, &mut buffers, &[], None).expect("it runs on the adapter");
            for (k, (found, &(sum, size))) in floats(&buffers[2]).iter().zip(&expected).enumerate() {
                let close = (f64::from(*found) - sum).abs() <= 4e-6 * size + 1e-6;
                assert!(close, "{}: element {k} is {found}, not {sum}", kernel.describe());
            }
        }
    }
}

#[test]
fn halves_are_multiplied_with_matrices_taken_apart() {
    let Some(device) = adapter() else { return };
    let mut random = Random(29);
    // More than a tile, parts of one, and terms that fill no step; each operand along the terms and across them.
    let (m, k, n) = (136, 40, 152);
    for turned in [[false, false], [true, true]] {
        let lie = |rows: usize, columns: usize, turned: bool| match turned {
            true => Layout::contiguous([2, columns, rows]).permute(&[0, 2, 1]),
            false => Layout::contiguous([2, rows, columns]),
        };
        let (a, b) = (lie(m, k, turned[0]), lie(k, n, turned[1]));
        let kernel = MatMul::of_halves(&a, &b).expect("whole eights");
        let (x, y) = (random.units(a.shape.numel()), random.units(b.shape.numel()));
        let expected = reference(&a, &x, &b, &y);
        let mut buffers = vec![bytes_of(&x), bytes_of(&y), vec![0xff; 4 * expected.len()]];
        run_emulated(&device, &kernel, &mut buffers, false).expect("it runs on the adapter");
        for (k, (found, &(sum, size))) in floats(&buffers[2]).iter().zip(&expected).enumerate() {
            let close = (f64::from(*found) - sum).abs() <= 4e-6 * size + 1e-6;
            assert!(close, "{} {turned:?}: element {k} is {found}, not {sum}", kernel.describe());
        }
    }
}
