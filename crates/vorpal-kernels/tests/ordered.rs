//! Scans, sorting, searching, segments: native bodies against plain loops, the software adapter against native bodies,
//! shaders for every target.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Random, adapter, assert_close, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{
    Arg, Checked, Count, Kernel, Promise, Ranked, ReduceKind, Scan, ScanPass, ScanRule, SearchSorted,
    Segment, SegmentPass, Sort, SortPass,
};
use vorpal_tensor::{At, DType, Device};

fn words(values: &[i32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

fn whole(bytes: &[u8]) -> Vec<i32> {
    bytemuck::pod_collect_to_vec(bytes)
}

/// What a kernel writes, natively or on an adapter; unused arguments may be short.
fn result(kernel: &dyn Kernel, inputs: &[Vec<u8>], device: Option<&Device>) -> Vec<u8> {
    let args: Vec<Arg> = kernel.args();
    let mut buffers = inputs.to_vec();
    let out = args.last().expect("a result");
    buffers.push(vec![0xAB; out.dtype.bytes(out.len)]);
    for (buffer, arg) in buffers.iter_mut().zip(&args) {
        assert!(buffer.len() >= arg.dtype.bytes(arg.len), "{}: {} bytes", kernel.describe(), buffer.len());
        if buffer.is_empty() {
            buffer.resize(4, 0);
        }
    }
    match device {
        None => run_native(kernel, &mut buffers, &[]),
        Some(device) => run_on(device, kernel, &mut buffers, &[], Some(("test", At::caller(), 1))),
    }
    .unwrap_or_else(|e| panic!("{}: {e}", kernel.describe()));
    buffers.pop().expect("a result")
}

/// The result of a scan over as many launches as its length asks for.
fn scan(kernel: &Scan, x: &[u8], y: &[u8], start: &[u8], native: bool, device: Option<&Device>) -> Vec<u8> {
    let block = Scan::block_for(kernel.rule, kernel.shape, native);
    let kernel = Scan { block, ..kernel.clone() };
    check_shader(&kernel.shader().expect("a shader"));
    let inputs = |carries: Vec<u8>| vec![x.to_vec(), y.to_vec(), start.to_vec(), carries];
    if kernel.blocks() <= 1 {
        return result(&Scan { pass: ScanPass::Whole, ..kernel }, &inputs(Vec::new()), device);
    }
    let first = Scan { pass: ScanPass::Totals, init: false, ..kernel.clone() };
    check_shader(&first.shader().expect("a shader"));
    let totals = result(&first, &inputs(Vec::new()), device);
    let [outer, len, inner] = kernel.shape;
    let count = outer * kernel.blocks() * inner;
    let mut upper = Scan { shape: [outer, kernel.blocks(), inner], reverse: false, ..kernel.clone() };
    let carries = match kernel.rule {
        ScanRule::ArgMax | ScanRule::ArgMin => {
            upper.positions = Some(kernel.positions.unwrap_or(len));
            scan(&upper, x, &totals, start, native, device)
        }
        ScanRule::Linear => {
            upper.offsets = [0, count, kernel.offsets[2]];
            scan(&upper, &totals, &totals, start, native, device)
        }
        _ => {
            upper.offsets = [0, 0, 0];
            scan(&upper, &totals, &totals, start, native, device)
        }
    };
    let last = Scan { pass: ScanPass::Carried, ..kernel };
    check_shader(&last.shader().expect("a shader"));
    result(&last, &inputs(carries), device)
}

fn reference(kernel: &Scan, x: &[f32], y: &[f32], start: &[f32]) -> Vec<f64> {
    let [outer, len, inner] = kernel.shape;
    let mut out = vec![0.0; outer * len * inner];
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let mut state: Option<f64> = kernel.init.then(|| f64::from(start[o * inner + i]));
        let mut best = 0;
        for p in 0..len {
            let q = if kernel.reverse { len - 1 - p } else { p };
            let at = (o * len + q) * inner + i;
            let v = f64::from(x[at]);
            let next = match (kernel.rule, state) {
                (ScanRule::Linear, h) => v * h.unwrap_or(0.0) + f64::from(y[at]),
                (_, None) => v,
                (ScanRule::Sum, Some(s)) => s + v,
                (ScanRule::Product, Some(s)) => s * v,
                (ScanRule::LogSumExp, Some(s)) => s.max(v) + (-(s - v).abs()).exp().ln_1p(),
                (ScanRule::ArgMax, Some(s)) => {
                    if v >= s {
                        v
                    } else {
                        s
                    }
                }
                (ScanRule::ArgMin, Some(s)) => {
                    if v <= s {
                        v
                    } else {
                        s
                    }
                }
            };
            if v == next {
                best = q;
            }
            state = Some(next);
            let position = matches!(kernel.rule, ScanRule::ArgMax | ScanRule::ArgMin);
            out[at] = if position { best as f64 } else { next };
        }
    }
    out
}

#[test]
fn scans_are_those_of_plain_loops() {
    let device = adapter();
    let mut random = Random(3);
    let rules = [
        ScanRule::Sum,
        ScanRule::Product,
        ScanRule::LogSumExp,
        ScanRule::ArgMax,
        ScanRule::ArgMin,
        ScanRule::Linear,
    ];
    let shapes = [
        [1, 1, 1],
        [3, 2, 5],
        [2, 700, 3],
        [1, 5000, 1],
        [2, 300, 40],
        [1, 300_000, 1],
        [5, 33_000, 1],
        [1, 290, 270],
        [1, 600, 120],
        [40, 257, 1],
    ];
    for rule in rules {
        for (k, &shape) in shapes.iter().enumerate() {
            let count: usize = shape.iter().product();
            let positions = matches!(rule, ScanRule::ArgMax | ScanRule::ArgMin);
            let mut x = random.units(count);
            if positions {
                // Equals are common.
                x.iter_mut().for_each(|v| *v = (*v * 500.0).round());
            } else if matches!(rule, ScanRule::Product) {
                x.iter_mut().for_each(|v| *v = 1.0 + *v * 1e-3);
            }
            let (y, start) = (random.units(count), random.units(shape[0] * shape[2]));
            let kernel = Scan {
                rule,
                shape,
                reverse: k % 2 == 1 && !positions,
                dtype: DType::F32,
                positions: None,
                init: rule == ScanRule::Linear && !k.is_multiple_of(3),
                offsets: [0; 3],
                pass: ScanPass::Whole,
                block: 1,
            };
            let expected = reference(&kernel, &x, &y, &start);
            for (device, native) in [(None, true), (None, false), (device.as_ref(), false)] {
                if device.is_none() && !native && count > 100_000 {
                    continue;
                }
                let out = scan(&kernel, &bytes_of(&x), &bytes_of(&y), &bytes_of(&start), native, device);
                let out: Vec<f32> =
                    if positions { whole(&out).iter().map(|&v| v as f32).collect() } else { floats(&out) };
                // Rounding is relative to the largest prefix on the way.
                let most = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
                let out: Vec<f32> = out.iter().map(|v| v / most as f32).collect();
                let expected: Vec<f64> = expected.iter().map(|v| v / most).collect();
                // Products of factors near 1 all round down: a sixteenth of the worst case.
                let tolerance = match rule {
                    ScanRule::ArgMax | ScanRule::ArgMin => 1e-7,
                    ScanRule::Product => (shape[1] as f64 * 2f64.powi(-28)).max(1e-5),
                    _ => 1e-5,
                };
                assert_close(&out, &expected, tolerance, &kernel.describe());
            }
        }
    }
}

#[test]
fn whole_numbers_are_summed_exactly() {
    let device = adapter();
    let x: Vec<i32> = (0..9000).map(|k| (k * 7919) % 101 - 50).collect();
    let mut sum = 0;
    let expected: Vec<i32> = x
        .iter()
        .map(|v| {
            sum += v;
            sum
        })
        .collect();
    let kernel = Scan {
        rule: ScanRule::Sum,
        shape: [1, 9000, 1],
        reverse: false,
        dtype: DType::I32,
        positions: None,
        init: false,
        offsets: [0; 3],
        pass: ScanPass::Whole,
        block: 1,
    };
    for (device, native) in [(None, true), (device.as_ref(), false)] {
        let out = scan(&kernel, &words(&x), &[], &[], native, device);
        assert_eq!(whole(&out), expected);
    }
}

#[test]
fn numbers_are_sorted_stably() {
    let device = adapter();
    let mut random = Random(5);
    for (rows, len) in [(1, 1), (3, 2), (40, 100), (2, 2048), (3, 5000), (1, 40_000)] {
        for descending in [false, true] {
            // Equals are common, and some are NaN, or zeros of both signs.
            let x: Vec<f32> = (0..rows * len)
                .map(|_| match random.below(40) {
                    0 => f32::NAN,
                    1 => -0.0,
                    2 => f32::NEG_INFINITY,
                    k => (k as f32 - 20.0) * if random.below(4) == 0 { 0.5 } else { 1.0 },
                })
                .collect();
            let rank =
                |v: f32| if v.is_nan() { f64::INFINITY } else { f64::from(v).clamp(-1e30, 1e30) + 0.0 };
            let mut expected = Vec::new();
            for row in x.chunks(len) {
                let mut numbers: Vec<i32> = (0..len as i32).collect();
                numbers.sort_by(|&a, &b| {
                    let order = rank(row[a as usize]).total_cmp(&rank(row[b as usize]));
                    if descending { order.reverse() } else { order }
                });
                expected.extend(numbers);
            }
            let kernel = Sort { rows, len, dtype: DType::F32, descending, offset: 0, pass: SortPass::Whole };
            for (device, native) in [(None, true), (None, false), (device.as_ref(), false)] {
                let mut now = bytes_of(&x);
                for pass in kernel.passes(native) {
                    let step = Sort { pass, ..kernel.clone() };
                    if !native {
                        check_shader(&step.shader().expect("a shader"));
                    }
                    now = result(&step, &[now], device);
                }
                assert_eq!(whole(&now), expected, "{} {descending}", kernel.describe());
            }
        }
    }
}

/// Elements of a dtype in an order in which equals are common, and f64 that are ordered as they are.
fn elements(random: &mut Random, dtype: DType, n: usize, rising: bool) -> (Vec<u8>, Vec<f64>) {
    let mut ranks: Vec<f64> = (0..n).map(|_| random.below(n.div_ceil(3).max(40)) as f64 - 20.0).collect();
    if rising {
        ranks.sort_by(f64::total_cmp);
    }
    let float = matches!(dtype, DType::F32 | DType::F64);
    if float {
        for rank in &mut ranks {
            match random.below(60) {
                0 => *rank = f64::NAN,
                1 => *rank = -0.0,
                2 => *rank = f64::NEG_INFINITY,
                3 => *rank = f64::INFINITY,
                _ => {}
            }
        }
    } else if dtype == DType::U32 {
        ranks.iter_mut().for_each(|rank| *rank += 20.0);
    }
    let bytes = ranks.iter().flat_map(|&v| match dtype {
        DType::F32 => (v as f32).to_le_bytes().to_vec(),
        DType::F64 => v.to_le_bytes().to_vec(),
        DType::I64 => (v as i64).to_le_bytes().to_vec(),
        DType::I32 => (v as i32).to_le_bytes().to_vec(),
        _ => (v as u32).to_le_bytes().to_vec(),
    });
    let bytes = bytes.collect();
    // NaN of both signs is largest.
    (bytes, ranks.iter().map(|&v| if v.is_nan() { f64::MAX } else { v + 0.0 }).collect())
}

#[test]
fn places_in_order_are_those_of_sorted_rows() {
    let mut random = Random(9);
    let sizes = [(0, 3), (1, 1), (70, 10), (3, 33), (2, 64), (20, 65), (9, 1000), (2, 5000), (1, 100_000)];
    let dtypes = [DType::F32, DType::F64, DType::I32, DType::I64, DType::U32];
    for (rows, len) in sizes {
        for (k, dtype) in dtypes.into_iter().enumerate() {
            let (bytes, ranks) = elements(&mut random, dtype, rows * len + k, len == 5000 && k % 2 == 0);
            let rank = |v: f64| if v == f64::MAX { (1, 0.0) } else { (0, v) };
            for descending in [false, true] {
                let mut orders: Vec<Vec<i32>> = Vec::new();
                for row in ranks[k..].chunks(len) {
                    let mut numbers: Vec<i32> = (0..len as i32).collect();
                    numbers.sort_by(|&a, &b| {
                        let (a, b) = (rank(row[a as usize]), rank(row[b as usize]));
                        let order = a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
                        if descending { order.reverse() } else { order }
                    });
                    orders.push(numbers);
                }
                let (middle, last) = ((len - 1) / 2, len - 1);
                for (first, step, count) in [
                    (0, 1, 0),
                    (0, 1, 1),
                    (0, 1, len.min(8)),
                    (0, 1, len / 7),
                    (0, 1, len),
                    (last, 1, 1),
                    (middle, 1, 1),
                    (len / 9, 1, len / 10),
                    (middle, (last - middle).max(1), 1 + usize::from(middle < last)),
                    (0, 3, len.div_ceil(3)),
                ] {
                    let kernel = Ranked { rows, len, dtype, descending, offset: k, first, step, count };
                    let expected: Vec<i32> = orders
                        .iter()
                        .flat_map(|order| order[first..].iter().step_by(step).take(count).copied())
                        .collect();
                    let found = whole(&result(&kernel, std::slice::from_ref(&bytes), None));
                    assert!(found[..expected.len()] == expected, "{} {descending}", kernel.describe());
                }
            }
        }
    }
}

#[test]
fn numbers_are_counted() {
    let mut random = Random(10);
    for (rows, len, size) in [
        (1, 0, 4),
        (1, 1, 1),
        (3, 50, 7),
        (1, 300_000, 1000),
        (1, 400_001, 3),
        (2, 0, 0),
        (1, 100_000, 90_000),
    ] {
        let x: Vec<i32> = (0..rows * len + 2).map(|_| random.below(size.max(1)) as i32).collect();
        let mut expected = vec![0; rows * size];
        for (k, &number) in x[2..].iter().enumerate() {
            expected[k / len * size + number as usize] += 1;
        }
        let kernel = Count { rows, len, size, dtype: DType::I32, offset: 2 };
        let found = whole(&result(&kernel, &[words(&x)], None));
        assert!(found[..expected.len()] == expected, "{}", kernel.describe());
        for wrong in [size as i32, -1] {
            let mut x = x.clone();
            let Some(last) = x[2..].last_mut() else { continue };
            *last = wrong;
            let mut buffers = [words(&x), vec![0; 4 * (rows * size).max(1)]];
            assert!(run_native(&kernel, &mut buffers, &[]).is_err(), "{}: {wrong}", kernel.describe());
        }
    }
}

#[test]
fn values_find_their_places() {
    let device = adapter();
    let mut random = Random(6);
    for (rows, len, count, shared) in [
        (1, 0, 3, true),
        (2, 9, 4, false),
        (3, 100, 50, true),
        (5, 1, 70, false),
        (1, 3000, 2, true),
        (40, 37, 1000, false),
    ] {
        let lists = if shared { 1 } else { rows };
        let mut sorted: Vec<i32> = (0..lists * len).map(|_| random.below(40) as i32 - 20).collect();
        sorted.chunks_mut(len.max(1)).for_each(<[i32]>::sort_unstable);
        let x: Vec<i32> = (0..rows * count).map(|_| random.below(44) as i32 - 22).collect();
        for right in [false, true] {
            let expected: Vec<i32> = (0..rows * count)
                .map(|k| {
                    let start = if shared { 0 } else { k / count * len };
                    let before = |&v: &i32| if right { v <= x[k] } else { v < x[k] };
                    sorted[start..start + len].iter().filter(|v| before(v)).count() as i32
                })
                .collect();
            let kernel = SearchSorted { rows, len, count, shared, right, dtype: DType::I32, offsets: [0, 0] };
            check_shader(&kernel.shader().expect("a shader"));
            for device in [None, device.as_ref()] {
                assert_eq!(whole(&result(&kernel, &[words(&sorted), words(&x)], device)), expected);
            }
        }
    }
}

#[test]
fn segments_are_combined_as_in_plain_loops() {
    let device = adapter();
    let mut random = Random(7);
    for (shape, segments, len) in [
        ([1, 1, 1], 1, 1),
        ([2, 9, 3], 4, 9),
        ([1, 50, 7], 60, 200),
        ([1, 3000, 2], 30, 9000),
        ([1, 0, 2], 3, 0),
    ] {
        let [outer, axis, inner] = shape;
        // Some segments are empty, some hold most.
        let mut cuts: Vec<i32> = (1..segments).map(|_| random.below(len + 1) as i32).collect();
        cuts.sort_unstable();
        let offsets: Vec<i32> = std::iter::once(0).chain(cuts).chain([len as i32]).collect();
        let x = random.units(outer * axis * inner);
        let order: Vec<i32> = (0..len).map(|_| random.below(axis) as i32).collect();
        let weights = random.units(len);
        for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min] {
            let weighted = kind == ReduceKind::Sum && len > 1;
            let mut expected = Vec::new();
            for (o, s, i) in
                (0..outer).flat_map(|o| (0..segments).flat_map(move |s| (0..inner).map(move |i| (o, s, i))))
            {
                let elements = (offsets[s] as usize..offsets[s + 1] as usize).map(|k| {
                    let v = f64::from(x[(o * axis + order[k] as usize) * inner + i]);
                    if weighted { v * f64::from(weights[k]) } else { v }
                });
                expected.push(match kind {
                    ReduceKind::Sum => elements.sum(),
                    ReduceKind::Max => elements.fold(f64::NEG_INFINITY, f64::max),
                    ReduceKind::Min => elements.fold(f64::INFINITY, f64::min),
                });
            }
            let kernel = Segment {
                kind,
                shape,
                segments,
                len,
                ordered: true,
                weighted,
                dtype: DType::F32,
                starts: [0; 4],
                pass: SegmentPass::Whole,
            };
            let rest = [words(&offsets), words(&order), bytes_of(&weights)];
            for device in [None, device.as_ref()] {
                let mut x = bytes_of(&x);
                let mut last = kernel.clone();
                if kernel.in_pieces() {
                    let pieces = Segment { pass: SegmentPass::Pieces, ..kernel.clone() };
                    check_shader(&pieces.shader().expect("a shader"));
                    x = result(&pieces, &[&[x][..], &rest[..]].concat(), device);
                    last.pass = SegmentPass::Join;
                }
                check_shader(&last.shader().expect("a shader"));
                let out = result(&last, &[&[x][..], &rest[..]].concat(), device);
                assert_close(&floats(&out), &expected, 2e-5, &last.describe());
            }
        }
    }
}

#[test]
fn numbers_out_of_range_or_order_are_reported() {
    use Promise::{Below, Sorted};
    for (x, promise, fine) in [
        (vec![0, 2, 1], Below(3), true),
        (vec![0, 3, 1], Below(3), false),
        (vec![0, -1, 1], Below(3), false),
        (vec![0, 2, 1], Sorted(3), false),
        (vec![1, 2, 0, 1], Sorted(2), true),
        (vec![], Sorted(0), true),
    ] {
        let kernel = Checked { count: x.len(), promise, dtype: DType::I32, offset: 0 };
        check_shader(&kernel.shader().expect("a shader"));
        let mut buffers = vec![words(&x), words(&vec![0; x.len()])];
        assert_eq!(run_native(&kernel, &mut buffers, &[]).is_ok(), fine, "{x:?}");
    }
}
