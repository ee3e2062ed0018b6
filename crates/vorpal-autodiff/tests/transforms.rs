//! Forward mode, batching, whole Jacobians, and compositions of transforms.

#![allow(clippy::expect_used, clippy::panic)]

mod common;

use common::{Random, devices, weigh};
use vorpal_autodiff::compile::ir::Target;
use vorpal_autodiff::ops::{Conv2dOptions, Pool2dOptions};
use vorpal_autodiff::{
    DType, Device, Error, Result, Tensor, eval, grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, plan,
    value_and_grad, vjp, vmap,
};

/// Values as f64, whatever the float type.
fn numbers(x: &Tensor) -> Vec<f64> {
    match x.dtype() {
        DType::F64 => x.to_vec::<f64>().expect("values"),
        _ => x.cast(DType::F32).to_vec::<f32>().expect("values").into_iter().map(f64::from).collect(),
    }
}

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let tolerance = if found.dtype() == DType::F64 { 1e-10 } else { 1e-4 };
    for (k, (f, e)) in numbers(found).into_iter().zip(numbers(expected)).enumerate() {
        assert!((f - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: element {k} is {f}, should be {e}");
    }
}

/// Random numbers on a device in its widest float.
fn random(seed: u64, shape: &[usize], device: &Device) -> Tensor {
    let values = Random::new(seed).values(shape.iter().product(), -1.0, 1.0);
    if device.supports(DType::F64) {
        return Tensor::from_slice(&values, shape, device);
    }
    Tensor::from_slice(&values.iter().map(|&v| v as f32).collect::<Vec<_>>(), shape, device)
}

/// Elements of a tensor in its own dtype.
fn part(x: &Tensor, k: usize) -> Tensor {
    x.slice(0, k as isize..k as isize + 1).squeeze(0)
}

/// `vmap` along axis 0 of some inputs against a loop.
fn against_loop(what: &str, inputs: &[Tensor], batched: &[bool], f: impl Fn(&[Tensor]) -> Tensor) {
    let axes: Vec<Option<isize>> = batched.iter().map(|&b| b.then_some(0)).collect();
    let found =
        vmap(&inputs.to_vec(), &axes[..], |x: &Vec<Tensor>| f(x)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let size = inputs.iter().zip(batched).find(|(_, b)| **b).expect("a batched input").0.shape()[0];
    let each: Vec<Tensor> = (0..size)
        .map(|k| {
            let own: Vec<Tensor> =
                inputs.iter().zip(batched).map(|(x, &b)| if b { part(x, k) } else { x.clone() }).collect();
            f(&own)
        })
        .collect();
    close(&found, &Tensor::stack(&each.iter().collect::<Vec<_>>(), 0), &format!("{what} {batched:?}"));
}

/// The function and its derivatives with respect to all inputs, for every choice of batched inputs.
fn all_choices(what: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    for choice in 1u32..1 << inputs.len() {
        let batched: Vec<bool> = (0..inputs.len()).map(|k| choice >> k & 1 == 1).collect();
        let own: Vec<Tensor> =
            inputs.iter().zip(&batched).map(|(x, &b)| if b { x.clone() } else { part(x, 0) }).collect();
        against_loop(what, &own, &batched, &f);
        for k in 0..inputs.len() {
            against_loop(&format!("{what}, derivative {k}"), &own, &batched, |x| {
                Tensor::from(grad(&x.to_vec(), |x| weigh(&f(x).square())).map(|g| g[k].clone()))
            });
        }
    }
}

#[test]
fn batches_of_products_convolutions_and_pools() {
    for device in devices() {
        let x = |seed, shape: &[usize]| random(seed, shape, &device);
        all_choices("matmul", &[x(1, &[3, 2, 4]), x(2, &[3, 4, 5])], |x| x[0].matmul(&x[1]));
        all_choices("batched matmul", &[x(1, &[3, 2, 2, 4]), x(2, &[3, 2, 4, 3])], |x| x[0].matmul(&x[1]));
        for groups in [1, 2] {
            let o =
                Conv2dOptions { stride: [2, 1], padding: [1, 0].into(), groups, ..Conv2dOptions::default() };
            let inputs = [x(3, &[3, 2, 2 * groups, 4, 3]), x(4, &[3, 4, 2, 2, 3])];
            all_choices("conv2d", &inputs, |x| x[0].conv2d(&x[1], None, o));
        }
        let o = Pool2dOptions { stride: [2, 1], padding: [1, 1], ..Pool2dOptions::from([3, 2]) };
        all_choices("max_pool2d", &[x(5, &[3, 2, 2, 4, 3])], |x| x[0].max_pool2d(o));
        all_choices("avg_pool2d", &[x(6, &[3, 2, 2, 4, 3])], |x| x[0].avg_pool2d(o));
    }
}

#[test]
fn batches_of_picking_and_adding() {
    for device in devices() {
        let x = random(1, &[3, 4, 5], &device);
        let source = random(2, &[3, 4, 2], &device);
        let numbers: Vec<i32> = (0..24).map(|k| (k * 7 + 3) % 5).collect();
        let each = Tensor::from_slice(&numbers, [3, 4, 2], &device);
        let lists = Tensor::from_slice(&numbers[..6], [3, 2], &device);
        for choice in 1u32..8 {
            let batched: Vec<bool> = (0..3).map(|k| choice >> k & 1 == 1).collect();
            for (name, index) in [("each", &each), ("list", &lists)] {
                let own: Vec<Tensor> = [&x, index, &source]
                    .into_iter()
                    .zip(&batched)
                    .map(|(x, &b)| if b { x.clone() } else { part(x, 0) })
                    .collect();
                let f = |x: &[Tensor]| match name {
                    "each" => (x[0].gather(1, &x[1]).square(), x[0].scatter_add(1, &x[1], &x[2]).square()),
                    _ => (x[0].index_select(1, &x[1]).square(), x[0].index_add(1, &x[1], &x[2]).square()),
                };
                against_loop(&format!("add {name}"), &own, &batched, |x| f(x).1);
                if batched[0] || batched[1] {
                    against_loop(&format!("pick {name}"), &own, &batched, |x| f(x).0);
                }
                against_loop(&format!("derivatives {name}"), &own, &batched, |x| {
                    let at = (x[0].clone(), x[2].clone());
                    let sum = |(a, b): &(Tensor, Tensor)| {
                        let (picked, added) = f(&[a.clone(), x[1].clone(), b.clone()]);
                        weigh(&picked) + weigh(&added)
                    };
                    Tensor::from(grad(&at, sum).map(|(a, b)| weigh(&a) + weigh(&b)))
                });
            }
        }
    }
}

/// A smooth function of a vector with all kinds of second derivatives.
fn wavy(x: &Tensor) -> Tensor {
    let turned = x.flip(0).square();
    ((x * &turned).sin() + x.exp() * x.sum_all().tanh()).sum_all()
}

#[test]
fn compositions() {
    for device in devices() {
        let x = random(1, &[4], &device);
        let t = random(2, &[4], &device);
        let xs = random(3, &[3, 4], &device);
        let g = |x: &Tensor| Tensor::from(grad(x, wavy));
        let whole = hessian(&x, wavy).expect("a Hessian");
        let product = whole.matmul(&t);
        // grad of grad.
        let twice = grad(&x, |x| (g(x) * &t).sum_all()).expect("grad of grad");
        close(&twice, &product, "grad(grad)");
        // jvp of grad, both ways of asking.
        close(&hvp(&x, &t, wavy).expect("hvp"), &product, "hvp");
        let (value, change) = jvp(&x, &t, g).expect("jvp of grad");
        close(&value, &g(&x), "value of jvp(grad)");
        close(&change, &product, "jvp(grad)");
        // grad of jvp.
        let back =
            grad(&x, |x| Tensor::from(jvp(x, &t, wavy).map(|(_, change)| change))).expect("grad of jvp");
        close(&back, &product, "grad(jvp)");
        // jvp of jvp.
        let (_, second) = jvp(&x, &t, |x| Tensor::from(jvp(x, &t, wavy).map(|p| p.1))).expect("jvp of jvp");
        close(&second, &(product * &t).sum_all(), "jvp(jvp)");
        // vmap of grad, of jvp, of a Hessian.
        let rows: Vec<Tensor> = (0..3).map(|k| part(&xs, k)).collect();
        let stacked = |f: &dyn Fn(&Tensor) -> Tensor| {
            let all: Vec<Tensor> = rows.iter().map(f).collect();
            Tensor::stack(&all.iter().collect::<Vec<_>>(), 0)
        };
        close(&vmap(&xs, 0, |x| grad(x, wavy)).expect("vmap of grad"), &stacked(&g), "vmap(grad)");
        let directional = |x: &Tensor| Tensor::from(jvp(x, &t, wavy).map(|p| p.1));
        close(&vmap(&xs, 0, directional).expect("vmap of jvp"), &stacked(&directional), "vmap(jvp)");
        let curved = |x: &Tensor| Tensor::from(hessian(x, wavy));
        close(&vmap(&xs, 0, curved).expect("vmap of hessian"), &stacked(&curved), "vmap(hessian)");
        // grad and jvp of vmap.
        let total = |xs: &Tensor| Tensor::from(vmap(xs, 0, wavy)).sum_all();
        close(&grad(&xs, total).expect("grad of vmap"), &stacked(&g), "grad(vmap)");
        let ts = random(4, &[3, 4], &device);
        let (_, change) = jvp(&xs, &ts, |xs| vmap(xs, 0, wavy)).expect("jvp of vmap");
        close(&change, &(stacked(&g) * &ts).sum(-1), "jvp(vmap)");
    }
}

#[test]
fn batches_inside_batches() {
    for device in devices() {
        let (x, y) = (random(1, &[3, 4], &device), random(2, &[4, 2], &device));
        // A matrix product from inner products.
        let product = vmap(&x, 0, |row| vmap(&y, 1, |column| (row * column).sum_all()));
        close(&product.expect("nested vmap"), &x.matmul(&y), "vmap(vmap)");
        // Gradients inside, examples from two levels.
        let gradients = vmap(&x, 0, |row| vmap(&y, -1, |column| grad(row, |r| (r * column).sin().sum_all())));
        let (rows, columns) = (x.unsqueeze(1), y.t().unsqueeze(0));
        close(&gradients.expect("nested vmap"), &((&rows * &columns).cos() * columns), "vmap(vmap(grad))");
        // A result that depends on the outer example alone, or on none.
        let (outer, none) = vmap(&x, 0, |row| vmap(&y, 1, |_| (row.exp(), y.exp()))).expect("nested vmap");
        close(&outer, &x.exp().unsqueeze(1).broadcast_to([3, 2, 4]), "the outer example alone");
        close(&none, &y.exp().broadcast_to([3, 2, 4, 2]), "no example");
    }
}

#[test]
fn jacobians() {
    for device in devices() {
        let at = (random(1, &[2, 3], &device), random(2, &[3], &device));
        let f = |(a, b): &(Tensor, Tensor)| (a * b).sin().matmul(b) * b.sum_all();
        let (back, ahead) = (jacrev(&at, f).expect("jacrev"), jacfwd(&at, f).expect("jacfwd"));
        assert_eq!(back.0.shape().dims(), &[2, 2, 3]);
        assert_eq!(back.1.shape().dims(), &[2, 3]);
        close(&ahead.0, &back.0, "first block");
        close(&ahead.1, &back.1, "second block");
        // Row by row.
        let row = |k: usize| grad(&at, |x| part(&f(x), k)).expect("a row");
        let rows = [row(0), row(1)];
        close(&back.0, &Tensor::stack(&[&rows[0].0, &rows[1].0], 0), "rows");
        // The Hessian is symmetric and what hvp gives.
        let x = random(3, &[4], &device);
        let h = hessian(&x, wavy).expect("hessian");
        close(&h, &h.t(), "symmetry");
        for k in 0..4 {
            let unit: Vec<f32> = (0..4).map(|i| f32::from(u8::from(i == k))).collect();
            let unit = Tensor::from_slice(&unit, [4], &device).cast(x.dtype());
            close(&hvp(&x, &unit, wavy).expect("hvp"), &part(&h, k), "a column");
        }
        // A function linear in one input and free of the other.
        let (zero, one) = jacfwd(&at, |(_, b)| b * 2.0).expect("jacfwd");
        assert!(numbers(&zero).iter().all(|&v| v == 0.0));
        assert_eq!(numbers(&one), [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0]);
    }
}

#[test]
fn linear_functions_are_kept_open() {
    let x = random(1, &[4], &Device::cpu());
    let (value, push) = linearize(&x, |x| {
        let y = x.sin();
        y.eval().expect("values are there inside");
        (&y * &y, y.sum_all())
    })
    .expect("linearize");
    eval(&value).expect("values");
    for seed in 2..4 {
        let t = random(seed, &[4], &Device::cpu());
        let (a, b) = push(&t).expect("tangents");
        close(&a, &(x.sin() * x.cos() * &t * 2.0), "a square");
        close(&b, &(x.cos() * &t).sum_all(), "a sum");
    }
}

/// Gradients of every example of a small network of two layers.
#[test]
fn gradients_of_every_example_of_an_mlp() {
    for device in devices() {
        let net = (random(1, &[4, 8], &device), random(2, &[8], &device), random(3, &[8, 3], &device));
        let xs = random(4, &[5, 4], &device);
        let classes = Tensor::from_slice(&[0i32, 2, 1, 1, 0], [5], &device);
        let loss = |net: &(Tensor, Tensor, Tensor), x: &Tensor, class: &Tensor| {
            (x.matmul(&net.0) + &net.1).tanh().matmul(&net.2).cross_entropy(class)
        };
        let each =
            vmap(&(xs.clone(), classes.clone()), 0, |(x, class)| grad(&net, |net| loss(net, x, class)))
                .expect("gradients");
        for k in 0..5 {
            let own = grad(&net, |net| loss(net, &part(&xs, k), &part(&classes, k))).expect("a gradient");
            close(&part(&each.0, k), &own.0, "first weights");
            close(&part(&each.1, k), &own.1, "biases");
            close(&part(&each.2, k), &own.2, "second weights");
        }
        let mean = grad(&net, |net| loss(net, &xs, &classes)).expect("a gradient");
        close(&each.0.mean(0), &mean.0, "their mean");
    }
}

/// Lengths of the gradients of every example, for training with noise: 128 gradients of 100 million bytes in all, of which the
/// plan keeps none.
#[test]
fn lengths_of_gradients_do_not_need_the_gradients() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let weights = Tensor::zeros([784, 256], DType::F32, &device);
    let xs = Tensor::rand([128, 784], DType::F32, &device);
    let each = vmap(&xs, 0, |x| grad(&weights, |w| x.matmul(w).tanh().sum_all())).expect("gradients");
    let plan = plan(&each.square().sum([1, 2]).sqrt(), Target::NATIVE).expect("a plan");
    let bytes: usize = plan.slots.iter().sum();
    assert!(bytes < 2_000_000, "{bytes} bytes\n{plan}");
}

#[test]
fn gradients_of_every_example_of_a_convolutional_net() {
    for device in devices() {
        let net = (random(1, &[4, 2, 3, 3], &device), random(2, &[4], &device), random(3, &[16, 3], &device));
        let xs = random(4, &[5, 2, 6, 6], &device);
        let classes = Tensor::from_slice(&[0i32, 2, 1, 1, 0], [5], &device);
        let loss = |net: &(Tensor, Tensor, Tensor), x: &Tensor, class: &Tensor| {
            let hidden = x.unsqueeze(0).conv2d(&net.0, Some(&net.1), Conv2dOptions::default()).tanh();
            hidden.max_pool2d(2).flatten(1, -1).matmul(&net.2).cross_entropy(&class.unsqueeze(0))
        };
        let each = vmap(&(xs.clone(), classes.clone()), 0, |(x, class)| {
            value_and_grad(&net, |net| loss(net, x, class))
        })
        .expect("gradients");
        for k in 0..5 {
            let own = value_and_grad(&net, |net| loss(net, &part(&xs, k), &part(&classes, k)));
            let (value, own) = own.expect("a gradient");
            close(&part(&each.0, k), &value, "loss");
            close(&part(&each.1.0, k), &own.0, "filters");
            close(&part(&each.1.1, k), &own.1, "biases");
            close(&part(&each.1.2, k), &own.2, "weights");
        }
    }
}

#[test]
fn every_example_draws_its_own_numbers() {
    let mut bits: Vec<Vec<u32>> = Vec::new();
    for device in devices() {
        let key = Tensor::from_slice(&[3u32, 9], [2], &device);
        let keys = key.split_key(4);
        let words = keys.to_vec::<u32>().expect("words");
        let uniform = vmap(&keys, 0, |key| Tensor::rand_from_key(key, [2, 3], DType::F32)).expect("vmap");
        let normal = vmap(&keys, 0, |key| Tensor::randn_from_key(key, [5], DType::F32)).expect("vmap");
        let (uniform, normal) =
            (uniform.to_vec::<f32>().expect("values"), normal.to_vec::<f32>().expect("values"));
        for k in 0..4 {
            let own = part(&keys, k);
            let alone = Tensor::rand_from_key(&own, [2, 3], DType::F32).to_vec::<f32>().expect("values");
            assert_eq!(uniform[6 * k..6 * k + 6], alone, "example {k}");
            let alone = Tensor::randn_from_key(&own, [5], DType::F32).to_vec::<f32>().expect("values");
            assert_eq!(normal[5 * k..5 * k + 5], alone, "example {k}");
        }
        let mut sorted = uniform.clone();
        sorted.sort_by(f32::total_cmp);
        sorted.dedup();
        assert_eq!(sorted.len(), uniform.len(), "numbers differ");
        bits.push(words.into_iter().chain(uniform.iter().map(|v| v.to_bits())).collect());
        // Without a key all examples share what is drawn.
        let x = Tensor::zeros([3, 4], DType::F32, &device);
        let same = vmap(&x, 0, |x| x + Tensor::rand([4], DType::F32, &device)).expect("vmap");
        let same = same.to_vec::<f32>().expect("values");
        assert_eq!(same[..4], same[4..8]);
    }
    assert!(bits.windows(2).all(|pair| pair[0] == pair[1]), "the same on every device");
    assert_ne!(bits[0][..2], bits[0][2..4], "keys differ");
}

#[test]
fn empty_batches_and_structures() {
    let device = Device::cpu();
    let x = Tensor::zeros([0, 3, 2], DType::F32, &device);
    let (a, b) = vmap(&x, 0, |x| (x.sum(0), Tensor::ones([4], DType::F32, &device))).expect("vmap");
    assert_eq!((a.shape().dims(), b.shape().dims()), (&[0, 2][..], &[0, 4][..]));
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &device);
    let list = vmap(&x, -1, |x| vec![x.flip(0), x * 2.0]).expect("vmap");
    assert_eq!(list[0].to_vec::<f32>().expect("values"), [4.0, 1.0, 5.0, 2.0, 6.0, 3.0]);
    assert_eq!(list[1].to_vec::<f32>().expect("values"), [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]);
}

/// The text of an error, which names this file.
fn text<T>(outcome: Result<T>) -> String {
    let text = outcome.err().map_or_else(|| "no error".to_string(), |e| e.to_string());
    assert!(text.contains("transforms.rs:"), "{text}");
    text
}

#[test]
fn misuse_is_named() {
    let device = Device::cpu();
    let x = Tensor::ones([2, 3], DType::F32, &device);
    let y = Tensor::ones([4], DType::F32, &device);
    let sum = |x: &Tensor| x.sum_all();
    let found = text(vmap(&x, 2, sum));
    assert!(found.starts_with("vmap: axis 2 of a tensor with 2 axes (operands f32[2, 3])"), "{found}");
    let found = text(vmap(&(x.clone(), y.clone()), 0, |(x, y)| x.sum_all() + y));
    assert!(found.contains("input 0 has 2 examples, input 1 has 4 (operands f32[2, 3], f32[4])"), "{found}");
    let found = text(vmap(&(x.clone(), y.clone()), [None::<i32>, None], |(x, y)| x.sum_all() + y));
    assert!(found.contains("vmap: no input is batched"), "{found}");
    let found = text(vmap(&x, [Some(0), None], sum));
    assert!(found.contains("vmap: 2 axes for 1 tensors"), "{found}");
    let found = text(vmap(&x, 0, |x| -> Result<Tensor> { Ok(x * x.sum_all().item::<f32>()?) }));
    assert!(
        found.contains("vmap: the function asked for a value, which an example does not have"),
        "{found}"
    );
    let found = text(vmap(&x, 0, |x| x.matmul(&y)));
    assert!(found.contains("matmul: inner sizes 3 and 4 differ"), "{found}");
    let found = text(jvp(&x, &y, sum));
    assert!(found.contains("tangent 0 must have shape and dtype of its tensor"), "{found}");
    let found = text(jvp(&vec![x.clone()], &vec![x.clone(), x.clone()], |x| x[0].sum_all()));
    assert!(found.contains("jvp: 2 tangents for 1 tensors"), "{found}");
    let found = text(jacrev(&x, |x| x.cast(DType::I32)));
    assert!(found.contains("jacrev: needs a function of floats, found i32"), "{found}");
    let found = text(jacfwd(&x, |x| x.cast(DType::I32)));
    assert!(found.contains("jacfwd: needs a function of floats, found i32"), "{found}");
    let found = text(hessian(&x, |x| x.sum(0)));
    assert!(found.contains("a derivative needs a function with one float"), "{found}");
    let found = text(Tensor::rand_from_key(&y, [2], DType::F32).eval());
    assert!(found.contains("rand: a key must be u32, found f32 (operands f32[4])"), "{found}");
    let key = Tensor::from_slice(&[1u32, 2, 3], [3], &device);
    let found = text(key.split_key(2).eval());
    assert!(found.contains("split_key: a key must have two words along its last axis, found [3]"), "{found}");
    assert!(matches!(
        Tensor::randn_from_key(&key.slice(0, ..2), [2], DType::I32).check(),
        Err(Error::DType { op: "randn", .. })
    ));
    // A class number out of range in one example is found when the value is read.
    let classes = Tensor::from_slice(&[0i32, 7], [2], &device);
    let loss = vmap(&(x, classes), 0, |(x, class)| x.cross_entropy(class)).expect("vmap");
    let found = text(loss.to_vec::<f32>());
    assert!(found.contains("cross_entropy: index 7 is out of range for an axis of size 3"), "{found}");
    // Values stay available to those who differentiate.
    let (_, back) = vjp(&y, |y| y.sin()).expect("vjp");
    assert!(back(&y).expect("a cotangent").check().is_ok());
}

/// The derivative of a sum over slices, by what each element counts for: all slices, every other one, slices and a stretch across
/// them, slices of two axes.
#[test]
fn slices_give_their_derivatives_back() {
    type Slices = &'static [(isize, usize, usize)];
    const CASES: [Slices; 4] = [
        &[(0, 0, 1), (0, 1, 2), (0, 3, 1), (0, 4, 1), (0, 5, 1), (0, 6, 1), (0, 7, 1), (0, 8, 1), (0, 9, 3)],
        &[(1, 11, 1), (1, 9, 1), (1, 1, 1), (1, 3, 1), (1, 4, 1), (1, 5, 1), (1, 6, 1), (1, 7, 1)],
        &[(0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1), (0, 5, 1), (0, 6, 1), (0, 7, 1), (0, 8, 1), (0, 5, 4)],
        &[
            (1, 0, 1),
            (1, 1, 1),
            (0, 3, 1),
            (1, 3, 1),
            (1, 4, 1),
            (1, 5, 1),
            (1, 6, 1),
            (1, 7, 1),
            (1, 8, 1),
            (0, 1, 2),
        ],
    ];
    for (device, slices) in devices().iter().flat_map(|d| CASES.map(|case| (d.clone(), case))) {
        let x = random(31, &[12, 12], &device);
        let all = |x: &Tensor| {
            let parts = slices.iter().enumerate();
            let one = |(k, &(axis, start, len)): (usize, &(isize, usize, usize))| {
                (x.narrow(axis, start, len).square() * (k as f64 + 1.0)).sum_all()
            };
            parts.map(one).reduce(|sum, part| sum + part).expect("slices")
        };
        let mut counts = vec![0.0f32; 144];
        for (k, &(axis, start, len)) in slices.iter().enumerate() {
            let inside =
                |at: &usize| (start..start + len).contains(&if axis == 0 { at / 12 } else { at % 12 });
            (0..144).filter(inside).for_each(|at| counts[at] += 2.0 * (k as f32 + 1.0));
        }
        let counts = Tensor::from_slice(&counts, [12, 12], &device).cast(x.dtype());
        let what = format!("{slices:?} on {device}");
        close(&grad(&x, all).expect("a derivative"), &(&x * &counts), &what);
        let twice = grad(&x, |x| grad(x, all).map_or_else(Tensor::error, |g| g.square().sum_all()));
        close(&twice.expect("a derivative"), &(&x * counts.square() * 2.0), &format!("again, {what}"));
    }
}
