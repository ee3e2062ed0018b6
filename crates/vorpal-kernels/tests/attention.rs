//! Attention against plain f64 loops, natively and on the adapter.

#![allow(clippy::expect_used)]

mod common;

use common::{Random, adapter, bytes_of, check_shader, floats, run_native, run_on};
use vorpal_kernels::{Attention, AttentionPass, AttentionShape, Kernel};
use vorpal_tensor::{DType, Layout, Shape};

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

    fn filled(values: Vec<f64>, shape: [usize; 4]) -> Window {
        Window {
            values: values.iter().map(|&v| v as f32).collect(),
            layout: Layout::contiguous(Shape::from(shape)),
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
}

fn reference(s: &AttentionShape, causal: bool, scale: f64, x: [&[f64]; 4], given_sums: &[f64]) -> Reference {
    let (t, n, d) = (s.queries, s.keys, s.columns);
    let [q, k, v, o] = x;
    let mut out = Reference {
        forward: Vec::new(),
        sums: Vec::new(),
        excess: Vec::new(),
        to_q: vec![0.0; s.pairs() * t * d],
        to_kv: vec![0.0; 2 * s.pairs() * n * d],
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    for (row, given_sum) in given_sums.iter().enumerate() {
        let (pair, i) = (row / t, row % t);
        let line =
            |x: &[f64], rows: usize, r: usize| x[(pair * rows + r) * d..(pair * rows + r + 1) * d].to_vec();
        let seen = if causal { (i + 1 + n).saturating_sub(t).min(n) } else { n };
        let query = line(q, t, i);
        let scores: Vec<f64> = (0..seen).map(|j| scale * dot(&query, &line(k, n, j))).collect();
        let sum: f64 = scores.iter().map(|s| s.exp()).sum();
        let log_sum = if seen == 0 { -1e30 } else { sum.ln() };
        let p: Vec<f64> = scores.iter().map(|s| (s - log_sum).exp()).collect();
        let mut result = vec![0.0; d];
        for (j, p) in p.iter().enumerate() {
            result.iter_mut().zip(line(v, n, j)).for_each(|(r, v)| *r += p * v);
        }
        let given = line(o, t, i);
        let excess = given_sum - dot(&result, &given);
        for (j, p) in p.iter().enumerate() {
            let change = p * (dot(&given, &line(v, n, j)) + excess) * scale;
            let key = line(k, n, j);
            for c in 0..d {
                out.to_q[row * d + c] += change * key[c];
                out.to_kv[(pair * n + j) * d + c] += change * query[c];
                out.to_kv[((s.pairs() + pair) * n + j) * d + c] += p * given[c];
            }
        }
        out.forward.extend(result);
        out.forward.push(log_sum);
        out.sums.push(log_sum);
        out.excess.push(excess);
    }
    out
}

fn compare(kernel: &Attention, inputs: &[&Window], expected: &[f64], tolerance: f64) {
    check_shader(&kernel.shader().expect("a shader"));
    let mut buffers: Vec<Vec<u8>> = inputs.iter().map(|w| bytes_of(&w.values)).collect();
    buffers.push(vec![0xff; 4 * expected.len()]);
    let mut native = buffers.clone();
    run_native(kernel, &mut native, &[]).expect("it runs natively");
    let mut found = vec![("native", native.pop().expect("a result"))];
    if let Some(device) = adapter() {
        run_on(&device, kernel, &mut buffers, &[], None).expect("it runs on the adapter");
        found.push(("adapter", buffers.pop().expect("a result")));
    }
    for (place, found) in found {
        common::assert_close(
            &floats(&found),
            expected,
            tolerance,
            &format!("{place}, {}", kernel.describe()),
        );
    }
}

/// All passes of one attention.
fn check(random: &mut Random, shape: AttentionShape, causal: bool, tolerance: f64) {
    let AttentionShape { batch, heads, queries, keys, columns } = shape;
    let scale = 1.5 / (columns as f64).sqrt();
    let q = Window::random(random, [batch, heads, queries, columns]);
    let k = Window::random(random, [batch, heads, keys, columns]);
    let v = Window::random(random, [batch, heads, keys, columns]);
    let o = Window::random(random, [batch, heads, queries, columns]);
    let given: Vec<f64> = random.units(batch * heads * queries).iter().map(|&x| f64::from(x)).collect();
    let dense = [q.dense(), k.dense(), v.dense(), o.dense()];
    let expected = reference(&shape, causal, scale, [&dense[0], &dense[1], &dense[2], &dense[3]], &given);
    let one = [batch, heads, queries, 1];
    let (sums, excess) = (Window::filled(expected.sums, one), Window::filled(expected.excess, one));
    let run = |pass, windows: &[&Window], expected: &[f64]| {
        let layouts: Vec<Layout> = windows.iter().map(|w| w.layout.clone()).collect();
        let kernel = Attention::new(shape, pass, causal, scale, DType::F32, &layouts).expect("a kernel");
        assert_eq!(Attention::result(&shape, pass).numel(), expected.len());
        compare(&kernel, windows, expected, tolerance);
    };
    run(AttentionPass::Forward, &[&q, &k, &v], &expected.forward);
    let all = [&q, &k, &v, &o, &sums, &excess];
    run(AttentionPass::BackwardQ, &all, &expected.to_q);
    run(AttentionPass::BackwardKv, &all, &expected.to_kv);
}

#[test]
fn random_attentions() {
    let mut random = Random(71);
    for round in 0..14 {
        let shape = AttentionShape {
            batch: 1 + random.below(2),
            heads: 1 + random.below(3),
            queries: 1 + random.below(90),
            keys: 1 + random.below(150),
            columns: [1, 3, 4, 7, 16, 33, 64][random.below(7)],
        };
        check(&mut random, shape, round % 2 == 0, 2e-5);
    }
}

#[test]
fn empty_single_and_wide_attentions() {
    let mut random = Random(72);
    let one = AttentionShape { batch: 1, heads: 1, queries: 1, keys: 1, columns: 1 };
    for shape in [
        one,
        AttentionShape { batch: 0, ..one },
        AttentionShape { queries: 0, keys: 3, ..one },
        AttentionShape { columns: 256, queries: 20, keys: 19, ..one },
        // Some queries see no key at all.
        AttentionShape { queries: 70, keys: 3, columns: 5, ..one },
        AttentionShape { queries: 3, keys: 0, columns: 5, ..one },
    ] {
        check(&mut random, shape, true, 2e-5);
        check(&mut random, shape, false, 2e-5);
    }
    let shape = AttentionShape { columns: 257, ..one };
    let layout = Layout::contiguous(Shape::from([1, 1, 1, 257]));
    let windows = [layout.clone(), layout.clone(), layout];
    assert!(Attention::new(shape, AttentionPass::Forward, false, 1.0, DType::F32, &windows).is_none());
}

#[test]
fn a_long_attention() {
    let shape = AttentionShape { batch: 1, heads: 1, queries: 2048, keys: 2048, columns: 16 };
    check(&mut Random(73), shape, true, 5e-5);
}
