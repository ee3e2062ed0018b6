//! Attention with all its options against plain f64 loops, natively and on the adapter.

#![allow(clippy::expect_used)]

mod common;

use common::matrices::run_emulated;
use common::{Random, adapter, bytes_of, check_shader, floats, run_native, run_on};
use half::f16;
use vorpal_kernels::{
    Abilities, Attention, AttentionCooperative, AttentionDropout, AttentionPass, AttentionRules,
    AttentionShape, Kernel, philox_word,
};
use vorpal_tensor::{DType, Device, Layout, Shape};

const ONE: AttentionShape =
    AttentionShape { batch: 1, heads: 1, kv_heads: 1, queries: 1, keys: 1, columns: 1, value_columns: 1 };

const PLAIN: AttentionRules = AttentionRules {
    scale: 1.0,
    left: None,
    right: None,
    softcap: None,
    slopes: false,
    lengths: false,
    dropout: None,
};

/// A tensor `[batch, heads, rows, columns]` that lies as `[batch, rows, heads, columns]` behind some other numbers.
struct Window {
    values: Vec<f32>,
    layout: Layout,
}

impl Window {
    fn random(random: &mut Random, [batch, heads, rows, columns]: [usize; 4]) -> Window {
        let mut layout =
            Layout::contiguous(Shape::from([batch, rows, heads, columns])).permute(&[0, 2, 1, 3]);
        layout.offset = 3;
        Window { values: random.units(3 + batch * heads * rows * columns), layout }
    }

    /// Elements in order.
    fn dense(&self) -> Vec<f64> {
        let n = self.layout.shape.numel();
        (0..n).map(|k| f64::from(self.values[self.layout.place(k).expect("inside")])).collect()
    }

    /// Element of scores; axes of size 1 repeat.
    fn at(&self, place: [usize; 4]) -> f32 {
        let dims = self.layout.shape.dims();
        let index = (0..4).fold(0, |sum, k| sum * dims[k] + place[k] % dims[k]);
        self.values[self.layout.place(index).expect("inside")]
    }
}

/// An attention with its operands.
struct Setup {
    shape: AttentionShape,
    rules: AttentionRules,
    /// Queries, keys, values, cotangents of the results.
    windows: [Window; 4],
    to_sums: Vec<f64>,
    bias: Option<Window>,
    mask: Option<Window>,
    slopes: Vec<f32>,
    lengths: [Vec<f32>; 2],
    random_key: [u32; 2],
}

impl Setup {
    fn new(random: &mut Random, shape: AttentionShape, rules: AttentionRules) -> Setup {
        let AttentionShape { batch, heads, kv_heads, queries, keys, columns, value_columns } = shape;
        let windows = [
            [batch, heads, queries, columns],
            [batch, kv_heads, keys, columns],
            [batch, kv_heads, keys, value_columns],
            [batch, heads, queries, value_columns],
        ];
        let to_sums = random.units(shape.pairs() * queries).iter().map(|&x| f64::from(x)).collect();
        let length = |most: usize| move |r: &mut Random| r.below(most + 2) as f32;
        let lengths = [queries, keys].map(|most| (0..batch).map(|_| length(most)(random)).collect());
        Setup {
            shape,
            rules,
            windows: windows.map(|sizes| Window::random(random, sizes)),
            to_sums,
            bias: None,
            mask: None,
            slopes: (0..shape.pairs()).map(|_| 0.1 * random.unit()).collect(),
            lengths,
            random_key: [random.word(), random.word()],
        }
    }

    /// Sizes of something that broadcasts to the scores; the keys stay.
    fn sizes(random: &mut Random, shape: &AttentionShape) -> [usize; 4] {
        let mut own = |all: usize| if random.below(2) == 0 { 1 } else { all };
        [own(shape.batch), own(shape.heads), own(shape.queries), shape.keys]
    }

    fn with_bias(mut self, random: &mut Random) -> Setup {
        let sizes = Setup::sizes(random, &self.shape);
        let mut bias = Window::random(random, sizes);
        for value in bias.values.iter_mut().filter(|_| random.below(20) == 0) {
            *value = f32::NEG_INFINITY;
        }
        self.bias = Some(bias);
        self
    }

    fn with_mask(mut self, random: &mut Random) -> Setup {
        let sizes = Setup::sizes(random, &self.shape);
        let mut mask = Window::random(random, sizes);
        mask.values.iter_mut().for_each(|v| *v = f32::from_bits(u32::from(*v > -0.5)));
        self.mask = Some(mask);
        self
    }

    fn kept(&self, batch: usize, head: usize, query: usize, key: usize) -> f64 {
        let Some(dropout) = self.rules.dropout else { return 1.0 };
        let pair = (batch % dropout.batch * self.shape.heads + head) as u32;
        let own = [0, 1].map(|k| philox_word(2 * pair + k, self.random_key, [0, 0]));
        let draw = query / 2 * self.shape.keys.div_ceil(2) + key / 2;
        let word = philox_word((4 * draw + query % 2 * 2 + key % 2) as u32, own, [0, 0]);
        if f64::from(word) >= dropout.p * 2f64.powi(32) { 1.0 / (1.0 - dropout.p) } else { 0.0 }
    }

    /// The score from a product, and its derivative by the product; `None` where the key is not seen.
    fn score(&self, [b, h, i, j]: [usize; 4], product: f64) -> Option<(f64, f64)> {
        let AttentionShape { queries, keys, heads, .. } = self.shape;
        let rules = &self.rules;
        let own = |k: usize, most: usize| {
            if rules.lengths { (self.lengths[k][b] as usize).min(most) } else { most }
        };
        let (queries, keys) = (own(0, queries), own(1, keys));
        let ahead = j as i64 - (i as i64 + keys as i64 - queries as i64);
        let seen = i < queries
            && j < keys
            && rules.right.is_none_or(|r| ahead <= r as i64)
            && rules.left.is_none_or(|l| -ahead <= l as i64)
            && self.mask.as_ref().is_none_or(|m| m.at([b, h, i, j]).to_bits() != 0);
        let bias = self.bias.as_ref().map_or(0.0, |x| f64::from(x.at([b, h, i, j])));
        if !seen || bias == f64::NEG_INFINITY {
            return None;
        }
        let product = rules.scale * product;
        let (bounded, slope) = match rules.softcap {
            None => (product, 1.0),
            Some(c) => (c * (product / c).tanh(), 1.0 - (product / c).tanh().powi(2)),
        };
        let slope_of_head = if rules.slopes { f64::from(self.slopes[b * heads + h]) } else { 0.0 };
        Some((bounded + bias - slope_of_head * ahead.abs() as f64, slope))
    }

    /// Results of all passes, and the side operands of the backward passes.
    fn reference(&self) -> Reference {
        let s = &self.shape;
        let (t, n, d, e) = (s.queries, s.keys, s.columns, s.value_columns);
        let [q, k, v, o] = [0, 1, 2, 3].map(|w| self.windows[w].dense());
        let mut out = Reference {
            forward: Vec::new(),
            sums: Vec::new(),
            excess: Vec::new(),
            to_q: vec![0.0; s.pairs() * t * d],
            to_kv: vec![0.0; s.batch * s.kv_heads * n * (d + e)],
            to_scores: vec![0.0; s.pairs() * t * n],
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        for row in 0..s.pairs() * t {
            let (pair, i) = (row / t, row % t);
            let (b, h) = (pair / s.heads, pair % s.heads);
            let shared = b * s.kv_heads + h / s.group();
            let query = &q[row * d..(row + 1) * d];
            let given = &o[row * e..(row + 1) * e];
            let key = |j: usize| &k[(shared * n + j) * d..(shared * n + j + 1) * d];
            let value = |j: usize| &v[(shared * n + j) * e..(shared * n + j + 1) * e];
            let scores: Vec<_> = (0..n).map(|j| self.score([b, h, i, j], dot(query, key(j)))).collect();
            let sum: f64 = scores.iter().flatten().map(|(s, _)| s.exp()).sum();
            let log_sum = if sum == 0.0 { -1e30 } else { sum.ln() };
            let p: Vec<f64> = scores.iter().map(|s| s.map_or(0.0, |(s, _)| (s - log_sum).exp())).collect();
            let kept: Vec<f64> = (0..n).map(|j| p[j] * self.kept(b, h, i, j)).collect();
            let mut result = vec![0.0; e];
            for (j, p) in kept.iter().enumerate() {
                result.iter_mut().zip(value(j)).for_each(|(r, v)| *r += p * v);
            }
            let excess = self.to_sums[row] - dot(&result, given);
            for j in 0..n {
                let change = kept[j] * dot(given, value(j)) + p[j] * excess;
                out.to_scores[row * n + j] = change;
                let change = change * self.rules.scale * scores[j].map_or(0.0, |(_, slope)| slope);
                let to_kv = &mut out.to_kv[(shared * n + j) * (d + e)..][..d + e];
                for c in 0..d {
                    out.to_q[row * d + c] += change * key(j)[c];
                    to_kv[c] += change * query[c];
                }
                (0..e).for_each(|c| to_kv[d + c] += kept[j] * given[c]);
            }
            out.forward.extend(result);
            out.forward.push(log_sum);
            out.sums.push(log_sum);
            out.excess.push(excess);
        }
        out
    }

    /// Cotangents of the bias from those of the scores.
    fn to_bias(&self, to_scores: &[f64]) -> Vec<f64> {
        let s = &self.shape;
        let bias = self.bias.as_ref().expect("a bias").layout.shape.clone();
        let sizes = if bias[2] == 1 { [s.batch, s.heads, 1, s.keys] } else { [0, 1, 2, 3].map(|k| bias[k]) };
        let mut out = vec![0.0; sizes.iter().product()];
        for (place, change) in to_scores.iter().enumerate() {
            let (row, j) = (place / s.keys, place % s.keys);
            let (pair, i) = (row / s.queries, row % s.queries);
            let at = [pair / s.heads, pair % s.heads, i, j];
            out[(0..4).fold(0, |sum, k| sum * sizes[k] + at[k] % sizes[k])] += change;
        }
        out
    }

    fn kernel(&self, pass: AttentionPass) -> Attention {
        let used = if pass == AttentionPass::Forward { 3 } else { 4 };
        let layouts: Vec<Layout> = self.windows[..used].iter().map(|w| w.layout.clone()).collect();
        let [bias, mask] = [&self.bias, &self.mask].map(|x| x.as_ref().map(|w| &w.layout));
        Attention::new(self.shape, pass, self.rules, DType::F32, &layouts, bias, mask).expect("a kernel")
    }

    /// Contents of the buffers a pass reads.
    fn buffers(&self, pass: AttentionPass, reference: &Reference) -> Vec<Vec<u8>> {
        let used = if pass == AttentionPass::Forward { 3 } else { 4 };
        let mut out: Vec<Vec<u8>> = self.windows[..used].iter().map(|w| bytes_of(&w.values)).collect();
        let mut side: Vec<f32> = Vec::new();
        if pass != AttentionPass::Forward {
            side.extend(reference.sums.iter().chain(&reference.excess).map(|&x| x as f32));
        }
        if self.rules.slopes {
            side.extend(&self.slopes);
        }
        if self.rules.lengths {
            side.extend(self.lengths.iter().flatten());
        }
        if self.rules.dropout.is_some() {
            side.extend(self.random_key.iter().flat_map(|&w| [w & 0xffff, w >> 16]).map(|half| half as f32));
        }
        if pass != AttentionPass::Forward || !side.is_empty() {
            out.push(bytes_of(&side));
        }
        out.extend(self.bias.iter().chain(&self.mask).map(|w| bytes_of(&w.values)));
        out
    }

    /// All passes, in one or in up to three parts, natively and on a device.
    fn check(&self, in_parts: bool, device: Option<&Device>, tolerance: f64) {
        let reference = self.reference();
        let mut all = vec![
            (AttentionPass::Forward, reference.forward.clone()),
            (AttentionPass::BackwardQ, reference.to_q.clone()),
            (AttentionPass::BackwardKv, reference.to_kv.clone()),
            (AttentionPass::Backward, [&reference.to_q[..], &reference.to_kv].concat()),
        ];
        if self.bias.is_some() {
            all.push((AttentionPass::BackwardBias, self.to_bias(&reference.to_scores)));
        }
        for (pass, expected) in all {
            let kernel = self.kernel(pass);
            assert_eq!(kernel.result().numel(), expected.len());
            let inputs = self.buffers(pass, &reference);
            let what = kernel.describe();
            let few = |trips: &usize| kernel.clone().parts(*trips).len() <= 3;
            // All cotangents at once are made natively, and whole.
            let whole = pass == AttentionPass::Backward;
            let trips = if in_parts && !whole { (4..20).map(|k| 1 << k).find(few) } else { None };
            let parts = kernel.clone().parts(trips.unwrap_or(usize::MAX));
            let native = joined(&parts, &inputs, |part, buffers| {
                run_native(part, buffers, &[]).expect("it runs natively");
            });
            common::assert_close(&native, &expected, tolerance, &format!("native, {what}"));
            let Some(device) = device.filter(|_| !whole) else { continue };
            for abilities in [Abilities::default(), Abilities::of(device.info())] {
                let parts = kernel.clone().with_abilities(abilities).parts(trips.unwrap_or(usize::MAX));
                check_shader(&parts[parts.len() - 1].shader().expect("a shader"));
                let found = joined(&parts, &inputs, |part, buffers| {
                    run_on(device, part, buffers, &[], None).expect("it runs on the adapter");
                });
                common::assert_close(&found, &expected, tolerance, &format!("{abilities:?}, {what}"));
            }
        }
    }
}

/// Results of all passes in f64.
struct Reference {
    forward: Vec<f64>,
    sums: Vec<f64>,
    excess: Vec<f64>,
    to_q: Vec<f64>,
    to_kv: Vec<f64>,
    to_scores: Vec<f64>,
}

/// The result of all parts of a pass.
fn joined(parts: &[Attention], inputs: &[Vec<u8>], run: impl Fn(&Attention, &mut [Vec<u8>])) -> Vec<f32> {
    let mut out: Vec<f32> = Vec::new();
    for (k, part) in parts.iter().enumerate() {
        let continues = k > 0 && part.name() == "attention_forward";
        let mut buffers = inputs.to_vec();
        buffers.extend(continues.then(|| bytes_of(&out)));
        buffers.push(vec![0xff; 4 * part.result().numel()]);
        run(part, &mut buffers);
        let next = floats(&buffers.pop().expect("a result"));
        out = if k == 0 || continues { next } else { out.iter().zip(&next).map(|(a, b)| a + b).collect() };
    }
    out
}

#[test]
fn random_attentions_with_random_options() {
    let (mut random, device) = (Random(71), adapter());
    for round in 0..30 {
        let (group, kv_heads) = (1 + random.below(3), 1 + random.below(2));
        let (columns, value_columns) = ([1, 3, 4, 7, 16, 33, 64][random.below(7)], 1 + random.below(20));
        // Natively blocks of long sequences are larger.
        let [more_queries, more_keys] = if round % 6 == 5 { [511, 511] } else { [0, 0] };
        let shape = AttentionShape {
            batch: 1 + random.below(3),
            heads: group * kv_heads,
            kv_heads,
            queries: 1 + random.below(90) + more_queries,
            keys: 1 + random.below(150) + more_keys,
            columns,
            value_columns: if random.below(2) == 0 { columns } else { value_columns },
        };
        let dropout = AttentionDropout { p: 0.3, batch: 1 + random.below(shape.batch) };
        let mut flip = || random.below(2) == 0;
        // The first is plain.
        let mut option = || round > 0 && flip();
        let mut rules = AttentionRules {
            scale: 1.5 / (columns as f64).sqrt(),
            softcap: option().then_some(0.7),
            slopes: option(),
            lengths: option(),
            dropout: option().then_some(dropout),
            ..PLAIN
        };
        let (left, right, bias, mask) = (option(), option(), option(), option());
        rules.left = left.then(|| random.below(40));
        rules.right = right.then(|| random.below(3) * random.below(20));
        let mut setup = Setup::new(&mut random, shape, rules);
        if bias {
            setup = setup.with_bias(&mut random);
        }
        if mask {
            setup = setup.with_mask(&mut random);
        }
        // Shaders take long to compile.
        setup.check(round % 2 == 0, device.as_ref().filter(|_| round % 3 == 0), 3e-5);
    }
}

#[test]
fn empty_single_and_wide_attentions() {
    let (mut random, device) = (Random(72), adapter());
    for shape in [
        ONE,
        AttentionShape { batch: 0, ..ONE },
        AttentionShape { queries: 0, keys: 3, ..ONE },
        AttentionShape { columns: 256, value_columns: 256, queries: 20, keys: 19, ..ONE },
        // Some queries see no key at all.
        AttentionShape { queries: 70, keys: 3, columns: 5, ..ONE },
        AttentionShape { queries: 3, keys: 0, columns: 5, ..ONE },
        AttentionShape { queries: 300, keys: 270, columns: 32, value_columns: 32, ..ONE },
    ] {
        let causal = AttentionRules { right: Some(0), ..PLAIN };
        Setup::new(&mut random, shape, causal).check(false, device.as_ref(), 2e-5);
        let setup = Setup::new(&mut random, shape, AttentionRules { scale: 0.2, ..PLAIN });
        setup.with_bias(&mut random).check(false, device.as_ref(), 2e-5);
    }
    let layout = |columns: usize| Layout::contiguous(Shape::from([1, 1, 1, columns]));
    let refused = |shape: AttentionShape, columns: usize, bias: Option<&Layout>| {
        let windows = [layout(columns), layout(columns), layout(1)];
        Attention::new(shape, AttentionPass::Forward, PLAIN, DType::F32, &windows, bias, None).is_none()
    };
    assert!(refused(AttentionShape { columns: 257, ..ONE }, 257, None));
    assert!(refused(ONE, 2, None));
    assert!(refused(ONE, 1, Some(&layout(2))));
    assert!(!refused(ONE, 1, Some(&layout(1))));
}

#[test]
fn a_long_attention() {
    let shape = AttentionShape { queries: 2048, keys: 2048, columns: 16, value_columns: 16, ..ONE };
    let rules = AttentionRules { right: Some(0), scale: 0.4, ..PLAIN };
    Setup::new(&mut Random(73), shape, rules).check(false, adapter().as_ref(), 5e-5);
}

/// Whatever the number of threads, the bits are the same.
#[cfg(feature = "parallel")]
#[test]
fn bits_do_not_depend_on_threads() {
    let mut random = Random(74);
    let shape = AttentionShape {
        batch: 2,
        heads: 4,
        kv_heads: 2,
        queries: 200,
        keys: 300,
        columns: 20,
        value_columns: 12,
    };
    let rules = AttentionRules { dropout: Some(AttentionDropout { p: 0.2, batch: 2 }), ..PLAIN };
    let setup = Setup::new(&mut random, shape, rules).with_bias(&mut random);
    let reference = setup.reference();
    let passes = [AttentionPass::BackwardQ, AttentionPass::BackwardKv, AttentionPass::Backward];
    for pass in passes.into_iter().chain([AttentionPass::Forward, AttentionPass::BackwardBias]) {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let parts = setup.kernel(pass).parts(usize::MAX);
                let inputs = setup.buffers(pass, &reference);
                joined(&parts, &inputs, |part, buffers| {
                    run_native(part, buffers, &[]).expect("it runs natively");
                })
            })
        };
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let one = bits(run(1));
        assert_eq!(one, bits(run(3)), "{pass:?}");
        assert_eq!(one, bits(run(1)), "{pass:?}");
    }
}

/// Off by this, relative to 1 and the result: with numbers below 1, probabilities and cotangents of scores that are halves, off
/// by up to 2⁻¹² of themselves, are multiplied by rows and added up; errors of many have different signs. Four times what
/// rounding makes of these cases.
const OF_HALVES: f64 = 1.5e-3;

/// Whether matrices of halves make what floats make: natively and by the shader as one that multiplies matrices of floats
/// without help, both up to roundings of f32; by that shader with its halves rounded; and by the shader itself where a device
/// can.
fn check_halves(random: &mut Random, shape: AttentionShape, rules: AttentionRules, device: Option<&Device>) {
    let mut setup = Setup::new(random, shape, rules);
    for (k, window) in setup.windows.iter_mut().enumerate() {
        window.values.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32());
        // Behind some other numbers, as many as fill eights.
        window.values.splice(..3, vec![9.0; 8 * (k + 1)]);
        window.layout.offset = 8 * (k as isize + 1);
    }
    let reference = setup.reference();
    let passes = [
        (AttentionPass::Forward, &reference.forward),
        (AttentionPass::BackwardQ, &reference.to_q),
        (AttentionPass::BackwardKv, &reference.to_kv),
    ];
    for (pass, expected) in passes {
        let used = if pass == AttentionPass::Forward { 3 } else { 4 };
        let windows: Vec<Layout> = setup.windows[..used].iter().map(|w| w.layout.clone()).collect();
        let kernel = AttentionCooperative::new(shape, pass, rules, &windows).expect("a kernel");
        let what = kernel.describe();
        check_shader(&kernel.shader().expect("a shader"));
        let wide = setup.buffers(pass, &reference);
        let mut halves = wide.clone();
        for (bytes, window) in halves.iter_mut().zip(&setup.windows[..used]) {
            *bytes = window.values.iter().flat_map(|&x| f16::from_f32(x).to_bits().to_le_bytes()).collect();
        }
        let result = vec![0xff; 4 * kernel.result().numel()];
        let run = |inputs: &[Vec<u8>], run: &dyn Fn(&mut [Vec<u8>])| {
            let mut buffers = [inputs, std::slice::from_ref(&result)].concat();
            run(&mut buffers);
            floats(buffers.last().expect("a result"))
        };
        let native = run(&halves, &|buffers| run_native(&kernel, buffers, &[]).expect("it runs natively"));
        common::assert_close(&native, expected, 2e-5, &format!("native, {what}"));
        let Some(device) = device else { continue };
        for (rounds, tolerance) in [(false, 2e-5), (true, OF_HALVES)] {
            let found = run(&wide, &|buffers| {
                run_emulated(device, &kernel, buffers, rounds).expect("it runs emulated");
            });
            common::assert_close(&found, expected, tolerance, &format!("emulated, {rounds}, {what}"));
        }
        if Abilities::of(device.info()).matrices {
            let found =
                run(&halves, &|buffers| run_on(device, &kernel, buffers, &[], None).expect("it runs"));
            common::assert_close(&found, expected, OF_HALVES, &format!("by matrices, {what}"));
        }
    }
}

#[test]
fn matrices_of_halves() {
    let (mut random, device) = (Random(75), adapter());
    let causal = AttentionRules { right: Some(0), scale: 0.5, ..PLAIN };
    let all = AttentionRules { scale: -0.3, ..PLAIN };
    let window = AttentionRules { left: Some(20), right: Some(5), scale: 0.7, ..PLAIN };
    let sizes = |queries: usize, keys: usize, columns: usize| AttentionShape {
        batch: 2,
        heads: 2,
        kv_heads: 2,
        queries,
        keys,
        columns,
        value_columns: columns,
    };
    let device = device.as_ref();
    for (shape, rules) in [
        (sizes(1, 1, 16), causal),
        (AttentionShape { kv_heads: 1, ..sizes(65, 100, 16) }, causal),
        (AttentionShape { heads: 3, kv_heads: 1, batch: 1, ..sizes(40, 130, 48) }, window),
        // The first queries see no key.
        (AttentionShape { batch: 1, ..sizes(150, 70, 64) }, causal),
        (AttentionShape { batch: 1, heads: 1, kv_heads: 1, ..sizes(70, 129, 80) }, all),
        (AttentionShape { batch: 1, heads: 1, kv_heads: 1, ..sizes(100, 65, 128) }, all),
    ] {
        // The shaders of wide rows take a minute to compile where there is no card.
        let fast = |device: &&Device| shape.columns <= 64 || Abilities::of(device.info()).matrices;
        check_halves(&mut random, shape, rules, device.filter(fast));
    }
}

#[test]
fn what_matrices_of_halves_do_not_take() {
    let shape = AttentionShape { columns: 32, value_columns: 32, ..ONE };
    let window = Layout::contiguous(Shape::from([1, 1, 1, 32]));
    let takes = |shape: AttentionShape, rules: AttentionRules, window: &Layout| {
        let windows = [window.clone(), window.clone(), window.clone()];
        AttentionCooperative::new(shape, AttentionPass::Forward, rules, &windows).is_some()
    };
    assert!(takes(shape, PLAIN, &window));
    assert!(!takes(shape, AttentionRules { softcap: Some(2.0), ..PLAIN }, &window));
    assert!(!takes(shape, AttentionRules { lengths: true, ..PLAIN }, &window));
    assert!(!takes(AttentionShape { queries: 0, ..shape }, PLAIN, &window));
    assert!(!takes(shape, PLAIN, &Layout { offset: 4, ..window.clone() }));
    let narrow = Layout::contiguous(Shape::from([1, 1, 1, 24]));
    assert!(!takes(AttentionShape { columns: 24, value_columns: 24, ..ONE }, PLAIN, &narrow));
}
