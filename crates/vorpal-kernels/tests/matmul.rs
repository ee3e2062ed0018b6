//! Matrix products against a plain f64 evaluation, natively and on the adapter, in every variant.

#![allow(clippy::expect_used)]

mod common;

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
