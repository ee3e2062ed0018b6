//! Convolutions and pooling against plain f64 loops, natively and on the adapter.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, adapter, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{
    Abilities, CONV_TERMS_MAX, Conv, ConvPass, ConvShape, Kernel, Pool, PoolPass, PoolShape, Variant,
};
use vorpal_tensor::DType;

/// Calls `f(image, filter, output)` with the places of every product of a convolution.
fn products(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let under = |axis: usize, o: usize, k: usize| {
        (o * s.stride[axis] + k * s.dilation[axis])
            .checked_sub(s.padding[axis])
            .filter(|&i| i < s.input[axis])
    };
    let (plane, window) = (s.input.iter().product::<usize>(), s.window.iter().product::<usize>());
    for (n, g, o, c) in (0..s.batch).flat_map(|n| {
        (0..s.groups)
            .flat_map(move |g| (0..s.filters).flat_map(move |o| (0..s.channels).map(move |c| (n, g, o, c))))
    }) {
        let (image, filter) = ((n * s.groups + g) * s.channels + c, (g * s.filters + o) * s.channels + c);
        let result = (n * s.groups + g) * s.filters + o;
        for (o, out) in places(s.output).enumerate() {
            for (k, element) in places(s.window).enumerate() {
                let at: Option<Vec<usize>> =
                    (0..3).map(|axis| under(axis, out[axis], element[axis])).collect();
                if let Some(at) = at {
                    let pixel = (at[0] * s.input[1] + at[1]) * s.input[2] + at[2];
                    f(
                        image * plane + pixel,
                        filter * window + k,
                        result * s.output.iter().product::<usize>() + o,
                    );
                }
            }
        }
    }
}

/// Coordinates in a box, in order.
fn places([depth, height, width]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..depth).flat_map(move |z| (0..height).flat_map(move |y| (0..width).map(move |x| [z, y, x])))
}

/// Runs a kernel natively and on the adapter and gives the f32 results.
fn results(kernel: &dyn Kernel, inputs: &[Vec<u8>], len: usize) -> Vec<(&'static str, Vec<u8>)> {
    check_shader(&kernel.shader().expect("a shader"));
    let mut buffers = inputs.to_vec();
    buffers.push(vec![0xff; 4 * len]);
    let mut native = buffers.clone();
    run_native(kernel, &mut native, &[]).expect("it runs natively");
    let mut out = vec![("native", native.pop().expect("a result"))];
    if let Some(device) = adapter() {
        run_on(&device, kernel, &mut buffers, &[], None).expect("it runs on the adapter");
        out.push(("adapter", buffers.pop().expect("a result")));
    }
    out
}

/// Compares sums; `expected` holds each sum and the sum of the sizes of its terms.
fn compare(kernel: &dyn Kernel, inputs: &[Vec<u8>], expected: &[(f64, f64)], shares: usize) {
    for (place, found) in results(kernel, inputs, shares * expected.len()) {
        let found = floats(&found);
        for (k, &(sum, size)) in expected.iter().enumerate() {
            let all: f64 = (0..shares).map(|s| f64::from(found[s * expected.len() + k])).sum();
            let close = (all - sum).abs() <= 4e-6 * size + 1e-6;
            assert!(close, "{place}, {}: element {k} is {all}, should be {sum}", kernel.describe());
        }
    }
}

fn add(sums: &mut [(f64, f64)], at: usize, a: f32, b: f32) {
    let term = f64::from(a) * f64::from(b);
    sums[at].0 += term;
    sums[at].1 += term.abs();
}

/// The product in every variant, for the adapter's abilities or for less, each with the number of its shares.
/// `cut` where the pass has none of its own.
fn every_way(random: &mut Random, conv: &Conv, cut: bool) -> Vec<(Conv, usize)> {
    let own = adapter().map(|device| Abilities::of(device.info())).unwrap_or_default();
    let abilities = Abilities { words64: own.words64 && random.below(2) == 0, ..own };
    let conv = conv.clone().with_abilities(abilities);
    let way = |variant| match variant {
        Variant::Tiled if cut => {
            let shares = 1 + random.below(4);
            (conv.clone().in_shares(shares), shares)
        }
        _ => (conv.clone().with_variant(variant), 1),
    };
    conv.variants().into_iter().map(way).collect()
}

/// The product in every variant against its sums.
fn check_ways(random: &mut Random, conv: &Conv, inputs: &[Vec<u8>], expected: &[(f64, f64)]) {
    for (kernel, shares) in every_way(random, conv, true) {
        compare(&kernel, inputs, expected, shares);
    }
}

/// All three products of a convolution, with operands at odd offsets, at some that fours can begin at, or further on than a
/// binding can.
fn check(random: &mut Random, shape: &ConvShape) {
    let offsets = [[3, 5, 2], [0, 4, 8], [64, 131, 200]][random.below(3)];
    check_at(random, shape, offsets);
}

fn check_at(random: &mut Random, shape: &ConvShape, [of_x, of_w, of_dy]: [usize; 3]) {
    let (x, w) = (random.units(shape.input_len() + of_x), random.units(shape.filters_len() + of_w));
    let dy = random.units(shape.output_len() + of_dy);
    let mut y = vec![(0.0, 0.0); shape.output_len()];
    let (mut dx, mut dw) = (vec![(0.0, 0.0); shape.input_len()], vec![(0.0, 0.0); shape.filters_len()]);
    products(shape, |i, f, o| {
        add(&mut y, o, x[of_x + i], w[of_w + f]);
        add(&mut dx, i, dy[of_dy + o], w[of_w + f]);
        add(&mut dw, f, x[of_x + i], dy[of_dy + o]);
    });
    let conv = |pass, offsets| Conv::new(*shape, pass, DType::F32, offsets);
    check_ways(random, &conv(ConvPass::Forward, [of_x, of_w]), &[bytes_of(&x), bytes_of(&w)], &y);
    check_ways(random, &conv(ConvPass::BackwardData, [of_dy, of_w]), &[bytes_of(&dy), bytes_of(&w)], &dx);
    for splits in [1, Conv::splits(shape, 1 << 10)] {
        for (kernel, _) in every_way(random, &conv(ConvPass::BackwardWeight { splits }, [of_x, of_dy]), false)
        {
            compare(&kernel, &[bytes_of(&x), bytes_of(&dy)], &dw, splits);
        }
    }
}

fn out_size(input: usize, window: usize, stride: usize, padding: usize, dilation: usize) -> Option<usize> {
    Some((input + 2 * padding).checked_sub(dilation * (window - 1) + 1)? / stride + 1)
}

/// A random convolution that fits, over two axes or three.
fn any_shape(random: &mut Random) -> ConvShape {
    loop {
        let flat = random.below(2) == 0;
        let mut three = |from: usize, many: usize, alone: usize| {
            let depth = from + random.below(many.min(4));
            [if flat { alone } else { depth }, from + random.below(many), from + random.below(many)]
        };
        let (input, window, stride) = (three(1, 12, 1), three(1, 4, 1), three(1, 3, 1));
        let (padding, dilation, more) = (three(0, 3, 0), three(1, 2, 1), three(1, 3, 1));
        let sizes = [0, 1, 2].map(|k| out_size(input[k], window[k], stride[k], padding[k], dilation[k]));
        let [Some(depth), Some(height), Some(width)] = sizes else { continue };
        let (channels, filters) = ([1, 3, 9][random.below(3)], [1, 4, 11][random.below(3)]);
        // As many places as fit, or fewer.
        let output = [depth, height, (width - random.below(2)).max(1)];
        let (batch, groups) = (more[1], more[2]);
        return ConvShape {
            batch,
            groups,
            channels,
            filters,
            input,
            window,
            output,
            stride,
            padding,
            dilation,
        };
    }
}

#[test]
fn random_convolutions() {
    let mut random = Random(41);
    for _ in 0..40 {
        let shape = any_shape(&mut random);
        check(&mut random, &shape);
    }
}

#[test]
fn empty_single_and_wide_convolutions() {
    let mut random = Random(42);
    let one = ConvShape {
        batch: 1,
        groups: 1,
        channels: 1,
        filters: 1,
        input: [1; 3],
        window: [1; 3],
        output: [1; 3],
        stride: [1; 3],
        padding: [0; 3],
        dilation: [1; 3],
    };
    let empty = ConvShape { batch: 0, ..one };
    let wide =
        ConvShape { channels: 20, filters: 17, input: [1, 19, 33], output: [1, 19, 33], batch: 5, ..one };
    let padded = ConvShape { window: [1, 3, 3], padding: [0, 1, 1], ..wide };
    // A filter for each channel.
    let depthwise = ConvShape { groups: 20, channels: 1, filters: 1, batch: 2, ..padded };
    let strided = ConvShape { output: [1, 10, 17], stride: [1, 2, 2], filters: 2, ..depthwise };
    let unseen = ConvShape { channels: 0, ..one };
    // Fours of terms, of channels and of pixels.
    let even = ConvShape { channels: 16, filters: 36, input: [1, 8, 12], output: [1, 8, 12], ..padded };
    let pointwise = ConvShape { window: [1; 3], padding: [0; 3], ..even };
    // Several tiles of filters and channels, cut at the end, and of pixels that small images share.
    let crowded =
        ConvShape { channels: 70, filters: 67, input: [1, 3, 3], output: [1, 3, 3], batch: 9, ..padded };
    let spread = ConvShape {
        groups: 2,
        output: [1, 2, 2],
        stride: [1, 2, 1],
        dilation: [1, 1, 2],
        batch: 3,
        ..crowded
    };
    for shape in [one, empty, wide, padded, depthwise, strided, unseen, even, pointwise, crowded, spread] {
        check_at(&mut random, &shape, [3, 5, 2]);
        check_at(&mut random, &shape, [0, 4, 8]);
    }
}

/// Planes that are odd, wide, or smaller than the window; steps, gaps and zeros of every kind. For each of some batches, groups,
/// channels and filters, if there are fewer results than told.
fn all_windows(sizes: &[[usize; 4]], results: usize) -> Vec<ConvShape> {
    let mut shapes = Vec::new();
    for (input, window, stride, padding, dilation) in [
        ([1, 13, 37], [1, 3, 3], [1, 1, 1], [0, 1, 1], [1, 1, 1]),
        ([1, 56, 56], [1, 7, 7], [1, 1, 1], [0, 3, 3], [1, 1, 1]),
        ([1, 2, 3], [1, 7, 5], [1, 1, 1], [0, 3, 3], [1, 1, 1]),
        ([1, 15, 33], [1, 3, 3], [1, 2, 2], [0, 1, 1], [1, 1, 1]),
        ([1, 14, 50], [1, 5, 4], [1, 3, 2], [0, 2, 5], [1, 1, 1]),
        ([1, 12, 21], [1, 3, 3], [1, 1, 1], [0, 2, 2], [1, 2, 2]),
        ([1, 17, 18], [1, 3, 4], [1, 2, 3], [0, 4, 3], [1, 3, 2]),
        ([1, 9, 16], [1, 3, 3], [1, 1, 1], [0, 5, 4], [1, 1, 1]),
        ([1, 5, 5], [1, 9, 11], [1, 1, 1], [0, 4, 5], [1, 1, 1]),
        ([1, 7, 7], [1, 7, 7], [1, 1, 1], [0, 0, 0], [1, 1, 1]),
        ([1, 6, 9], [1, 3, 3], [1, 1, 1], [0, 40, 40], [1, 40, 40]),
        ([1, 4, 4], [1, 2, 2], [1, 5, 5], [0, 1, 1], [1, 1, 1]),
        ([1, 1, 100], [1, 1, 4], [1, 1, 1], [0, 0, 3], [1, 1, 1]),
        ([1, 1, 71], [1, 1, 5], [1, 1, 2], [0, 0, 2], [1, 1, 3]),
        ([1, 1, 5000], [1, 1, 3], [1, 1, 1], [0, 0, 1], [1, 1, 1]),
        ([1, 150, 90], [1, 3, 3], [1, 1, 1], [0, 1, 1], [1, 1, 1]),
        ([3, 5, 18], [3, 3, 3], [1, 1, 1], [1, 1, 1], [1, 1, 1]),
        ([5, 6, 7], [2, 3, 2], [2, 2, 3], [1, 2, 1], [2, 1, 1]),
    ] {
        let output = [0, 1, 2].map(|k| out_size(input[k], window[k], stride[k], padding[k], dilation[k]));
        let [Some(depth), Some(height), Some(width)] = output else { continue };
        let output = [depth, height, width];
        for &[batch, groups, channels, filters] in sizes {
            let shape = ConvShape {
                batch,
                groups,
                channels,
                filters,
                input,
                window,
                output,
                stride,
                padding,
                dilation,
            };
            if shape.output_len() < results {
                shapes.push(shape);
            }
        }
    }
    shapes
}

/// All three products natively, in both of the types there are.
fn check_native(random: &mut Random, shape: &ConvShape) {
    let (x, w) = (random.units(shape.input_len()), random.units(shape.filters_len()));
    let dy = random.units(shape.output_len());
    let mut y = vec![(0.0, 0.0); shape.output_len()];
    let (mut dx, mut dw) = (vec![(0.0, 0.0); x.len()], vec![(0.0, 0.0); w.len()]);
    products(shape, |i, f, o| {
        add(&mut y, o, x[i], w[f]);
        add(&mut dx, i, dy[o], w[f]);
        add(&mut dw, f, x[i], dy[o]);
    });
    let doubles = |x: &[f32]| x.iter().flat_map(|&x| f64::from(x).to_ne_bytes()).collect::<Vec<u8>>();
    for (pass, a, b, expected) in [
        (ConvPass::Forward, &x, &w, y),
        (ConvPass::BackwardData, &dy, &w, dx),
        (ConvPass::BackwardWeight { splits: 1 }, &x, &dy, dw),
    ] {
        for (dtype, tolerance) in [(DType::F32, 4e-6), (DType::F64, 1e-14)] {
            let kernel = Conv::new(*shape, pass, dtype, [0, 0]);
            let bytes = |x: &[f32]| if dtype == DType::F64 { doubles(x) } else { bytes_of(x) };
            let mut buffers = vec![bytes(a), bytes(b), vec![0xff; dtype.bytes(expected.len())]];
            run_native(&kernel, &mut buffers, &[]).expect("it runs natively");
            let found: Vec<f64> = match dtype {
                DType::F64 => bytemuck::pod_collect_to_vec(&buffers[2]),
                _ => floats(&buffers[2]).into_iter().map(f64::from).collect(),
            };
            assert_eq!(found.len(), expected.len());
            for (k, (&found, &(sum, size))) in found.iter().zip(&expected).enumerate() {
                let close = (found - sum).abs() <= tolerance * (size + 0.25);
                assert!(close, "{dtype} {pass:?} {shape:?}: element {k} is {found}, should be {sum}");
            }
        }
    }
}

#[test]
fn groups_of_few_channels() {
    let mut random = Random(47);
    let sizes = [[1, 1, 1, 1], [2, 9, 1, 1], [3, 2, 1, 2], [2, 3, 2, 1], [1, 2, 2, 2]];
    for shape in all_windows(&sizes, 20_000) {
        check_native(&mut random, &shape);
    }
}

#[test]
fn groups_of_many_channels() {
    let mut random = Random(48);
    for shape in all_windows(&[[1, 1, 22, 5], [3, 1, 9, 16], [2, 2, 8, 33], [5, 1, 33, 1]], 40_000) {
        check_native(&mut random, &shape);
    }
}

#[test]
fn long_sums_in_parts() {
    let mut random = Random(43);
    let shape = ConvShape {
        batch: 1,
        groups: 2,
        channels: 3,
        filters: 2,
        input: [1, 9, 8],
        window: [1, 5, 4],
        output: [1, 5, 5],
        stride: [1; 3],
        padding: [0; 3],
        dilation: [1; 3],
    };
    let (x, w) = (random.units(shape.input_len()), random.units(shape.filters_len()));
    let dy = random.units(shape.output_len());
    for (first, count) in [(0, 13), (13, 40), (25, 3), (4, 36)] {
        let (mut y, mut dx) = (vec![(0.0, 0.0); shape.output_len()], vec![(0.0, 0.0); shape.input_len()]);
        let window: usize = shape.window.iter().product();
        products(&shape, |i, f, o| {
            let (filter, column) = (f / (3 * window) % 2, f % (3 * window));
            if (first..first + count).contains(&column) {
                add(&mut y, o, x[i], w[f]);
            }
            if (first..first + count).contains(&(filter * window + column % window)) {
                add(&mut dx, i, dy[o], w[f]);
            }
        });
        let conv = |pass| Conv::new(shape, pass, DType::F32, [0, 0]).with_terms(first, count);
        check_ways(&mut random, &conv(ConvPass::Forward), &[bytes_of(&x), bytes_of(&w)], &y);
        // Terms of the derivative: 2 filters of 20 elements.
        if first + count <= 40 {
            check_ways(&mut random, &conv(ConvPass::BackwardData), &[bytes_of(&dy), bytes_of(&w)], &dx);
        }
    }
    // Few tiles and many terms, many of both, few of both.
    let deep =
        ConvShape { channels: 512, filters: 512, batch: 8, input: [1, 2, 2], output: [1, 2, 2], ..shape };
    assert_eq!(Conv::shares(&deep, ConvPass::Forward), 17);
    let broad = ConvShape { input: [1, 224, 224], output: [1, 224, 224], batch: 64, ..deep };
    assert_eq!(Conv::shares(&broad, ConvPass::BackwardData), 1);
    assert_eq!(Conv::shares(&shape, ConvPass::Forward), 1);
    assert_eq!(
        Conv::shares(&broad, ConvPass::BackwardWeight { splits: 1 }),
        (64 * 224 * 224) / CONV_TERMS_MAX
    );
    assert!(Conv::splits(&ConvShape { batch: 1 << 20, ..shape }, 1) >= (25 << 20) / CONV_TERMS_MAX);
}

/// All passes of a pooling of planes with values of which some are equal and one is NaN, against what `each` calls
/// with every window and pixel in it.
fn check_pooling(random: &mut Random, shape: &PoolShape, each: impl Fn(&mut dyn FnMut(usize, usize))) {
    let (input, output) = (shape.input_len(), shape.output_len());
    let mut x = random.units(1 + input);
    if random.below(3) == 0 {
        x.iter_mut().for_each(|v| *v = v.round());
        x[1 + random.below(input)] = f32::NAN;
    }
    let dy = random.units(2 + output);
    let mut places = vec![u32::MAX; output];
    let (mut sums, mut spread) = (vec![(0.0, 0.0); output], vec![(0.0, 0.0); input]);
    let (plane, finite) = (shape.input.iter().product::<usize>(), random.units(1 + input));
    each(&mut |o, i| {
        add(&mut sums, o, finite[1 + i], 1.0);
        add(&mut spread, i, dy[2 + o], 1.0);
        let (best, v) = (x.get(1 + i / plane * plane + places[o] as usize), x[1 + i]);
        if places[o] == u32::MAX || best.is_some_and(|b| !b.is_nan() && (v > *b || v.is_nan())) {
            places[o] = (i % plane) as u32;
        }
    });
    let pool = |pass, offsets| Pool::new(*shape, pass, DType::F32, offsets);
    compare(&pool(PoolPass::Sum, [1, 0]), &[bytes_of(&finite)], &sums, 1);
    compare(&pool(PoolPass::SumBackward, [2, 0]), &[bytes_of(&dy)], &spread, 1);
    for (where_, found) in results(&pool(PoolPass::MaxPlace, [1, 0]), &[bytes_of(&x)], output) {
        let found: Vec<u32> = bytemuck::pod_collect_to_vec(&found);
        assert_eq!(found, places, "{where_} {shape:?}");
    }
    let mut back = vec![(0.0, 0.0); input];
    let outputs = shape.output.iter().product::<usize>();
    for (o, &place) in places.iter().enumerate().filter(|(_, p)| **p != u32::MAX) {
        add(&mut back, o / outputs * plane + place as usize, dy[2 + o], 1.0);
    }
    let buffers = [bytes_of(&dy), bytemuck::cast_slice(&places).to_vec()];
    compare(&pool(PoolPass::MaxBackward, [2, 0]), &buffers, &back, 1);
}

#[test]
fn random_poolings() {
    let mut random = Random(44);
    for _ in 0..30 {
        let conv = any_shape(&mut random);
        let shape = PoolShape {
            planes: conv.batch * conv.groups,
            input: conv.input,
            window: conv.window,
            output: conv.output,
            stride: conv.stride,
            padding: conv.padding,
            dilation: conv.dilation,
            adaptive: false,
        };
        let plain = ConvShape { channels: 1, filters: 1, ..conv };
        check_pooling(&mut random, &shape, |f| products(&plain, |i, _, o| f(o, i)));
    }
}

/// Lines of more windows than a vector holds, with and without gaps between the pixels under one element, and planes of
/// which there are several.
#[test]
fn poolings_of_long_lines() {
    let mut random = Random(46);
    for (input, [window, stride, padding, dilation]) in [
        ([1, 6, 70], [2, 2, 0, 1]),
        ([1, 5, 67], [2, 2, 0, 1]),
        ([1, 7, 64], [3, 2, 1, 1]),
        ([1, 6, 41], [4, 2, 2, 1]),
        ([3, 4, 40], [2, 1, 0, 2]),
        ([1, 5, 50], [3, 1, 1, 1]),
        ([1, 4, 99], [3, 3, 0, 1]),
        ([1, 9, 101], [3, 5, 1, 2]),
        ([1, 4, 32], [2, 2, 0, 1]),
    ] {
        let of_axis = |axis: usize, v: usize, plain: usize| if input[axis] == 1 { plain } else { v };
        let all = |v, plain| [0, 1, 2].map(|axis| of_axis(axis, v, plain));
        let (window, stride) = (all(window, 1), all(stride, 1));
        let (padding, dilation) = (all(padding, 0), all(dilation, 1));
        let output = [0, 1, 2].map(|axis| {
            (input[axis] + 2 * padding[axis] - (window[axis] - 1) * dilation[axis] - 1) / stride[axis] + 1
        });
        let plain = ConvShape {
            batch: 40,
            groups: 1,
            channels: 1,
            filters: 1,
            input,
            window,
            output,
            stride,
            padding,
            dilation,
        };
        let shape =
            PoolShape { planes: 40, input, window, output, stride, padding, dilation, adaptive: false };
        check_pooling(&mut random, &shape, |f| products(&plain, |i, _, o| f(o, i)));
    }
}

#[test]
fn windows_that_share_out_all_pixels() {
    let mut random = Random(45);
    for _ in 0..20 {
        let mut three = |many: usize| [0; 3].map(|_| 1 + random.below(many));
        let (input, output) = (three(6), three(8));
        let shape = PoolShape::adaptive(2, input, output);
        let part = |axis: usize, o: usize| {
            o * input[axis] / output[axis]..((o + 1) * input[axis]).div_ceil(output[axis])
        };
        check_pooling(&mut random, &shape, |f| {
            for (o, out) in (0..2).flat_map(|_| places(output)).enumerate() {
                let plane = o / output.iter().product::<usize>() * input[0];
                for z in part(0, out[0]) {
                    for y in part(1, out[1]) {
                        part(2, out[2]).for_each(|x| f(o, ((plane + z) * input[1] + y) * input[2] + x));
                    }
                }
            }
        });
        let largest = |axis: usize| (0..output[axis]).map(|o| part(axis, o).len()).max().unwrap_or(0);
        assert!((0..3).all(|axis| largest(axis) <= shape.window[axis]), "{shape:?}");
    }
}
