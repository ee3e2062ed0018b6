//! Plans for cards, carried out by what is there.

use crate::compile::ir::Target;
use crate::exec::eval_as;
use crate::{DType, Device, Tensor, grad, plan, vmap};

fn counted(shape: &[usize], device: &Device) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|k| ((k * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
    Tensor::from_slice(&values, shape, device)
}

/// The plan of a card gives what the processor's own gives, on the processor and on a software adapter. The launches.
fn check<const N: usize>(
    what: &str,
    shapes: [&[usize]; N],
    f: impl Fn(&[Tensor; N]) -> Tensor,
) -> Vec<String> {
    let run = |device: &Device| f(&shapes.map(|shape| counted(shape, device)));
    let expected = run(&Device::cpu()).to_vec::<f32>().expect("values");
    let most = expected.iter().fold(1.0f32, |most, x| most.max(x.abs()));
    let mut names = Vec::new();
    for device in [Ok(Device::cpu()), Device::software()].into_iter().flatten() {
        let found = run(&device);
        let plans = eval_as(&found, Target::CARD).expect("a plan of a card");
        names = plans[0].launches.iter().map(|l| l.kernel.describe()).collect();
        for (k, (x, y)) in found.to_vec::<f32>().expect("values").iter().zip(&expected).enumerate() {
            let close = (x - y).abs() <= 1e-5 * most;
            assert!(close, "{what} on {device}: element {k} is {x}, should be {y}: {names:?}");
        }
    }
    names
}

#[test]
fn sums_of_few_tiles_are_cut() {
    // Shapes of the operands, products in the first launch, and launches with what follows.
    let cases: [(&[usize], &[usize], usize, usize); 8] = [
        (&[32, 1024], &[1024, 256], 16, 2),
        (&[256, 784], &[784, 512], 7, 2),
        (&[256, 512], &[512, 10], 8, 2),
        // Pieces of a batch; a sum without even pieces.
        (&[3, 40, 512], &[3, 512, 48], 24, 2),
        (&[5, 509], &[509, 6], 7, 3),
        // Not worth it; enough tiles; longer than a launch takes.
        (&[64, 128], &[128, 64], 1, 1),
        (&[2048, 512], &[512, 1024], 1, 1),
        (&[33, 20_000], &[20_000, 2], 250, 2),
    ];
    for (a, b, products, launches) in cases {
        let found = check("a product", [a, b], |[a, b]| a.matmul(b).relu() + 0.5);
        let first = format!(" {products}×[");
        assert!(found.len() == launches && found[0].contains(&first), "{a:?} {b:?}: {found:?}");
    }
}

#[test]
fn large_products_are_cut_in_few() {
    // Almost enough tiles for half of the card; a sum that is longer than a launch takes; enough of everything.
    for ([m, k, n], first) in [
        ([768, 8192, 768], " 4×[768×2048·2048×768]"),
        ([2048, 50_304, 768], " 4×[2048×12576·12576×768]"),
        ([768, 8192, 3072], " 1×[768×8192·8192×3072]"),
    ] {
        let [a, b] = [[m, k], [k, n]].map(|s| Tensor::rand(s, DType::F32, &Device::cpu()));
        let found = plan(&a.matmul(&b), Target::CARD).expect("a plan").to_string();
        assert!(found.contains(first), "{found}");
    }
    // Halves go by larger tiles, whole eights at a time.
    for ([m, k, n], first) in [
        ([768, 8192, 768], "matmul_cooperative 4×[768×2048·2048×768]"),
        // 192 tiles are two rounds for 132 multiprocessors, twice as many of half the length three.
        ([768, 50_304, 8192], "matmul_cooperative 2×[768×25152·25152×8192]"),
        ([8192, 768, 768], "matmul_cooperative 1×[8192×768·768×768]"),
        ([64, 2056, 64], "matmul_cooperative 1×[64×2056·2056×64]"),
    ] {
        let [a, b] = [[m, k], [k, n]].map(|s| Tensor::zeros(s, DType::F16, &Device::cpu()).contiguous());
        let found = plan(&a.matmul(&b), Target::MATRICES).expect("a plan").to_string();
        assert!(found.contains(first), "{found}");
    }
}

#[test]
fn batches_that_take_both_axes_are_not_cut() {
    let f = |[a, b]: &[Tensor; 2]| a.permute([1, 0, 2, 3]).matmul(&b.permute([1, 0, 2, 3]));
    let found = check("two axes", [&[2, 3, 8, 512], &[2, 3, 512, 8]], f);
    assert!(found.len() == 1 && found[0].contains(" 6×[8×512·512×8]"), "{found:?}");
}

#[test]
fn one_row_or_column_is_a_reduction() {
    for (a, b) in [([1, 300], [300, 200]), ([200, 300], [300, 1]), ([1, 300], [300, 1])] {
        let found = check("by a vector", [&a, &b], |[a, b]| a.matmul(b).tanh());
        assert!(found.len() == 1 && found[0].starts_with("row"), "{found:?}");
        let found = check("turned", [&[a[1], a[0]], &[b[1], b[0]]], |[a, b]| a.t().matmul(&b.t()));
        assert!(found.len() == 1 && found[0].starts_with("row"), "{found:?}");
    }
    let batch = check("a batch", [&[4, 1, 64], &[4, 64, 9]], |[a, b]| a.matmul(b));
    assert!(batch.len() == 1 && batch[0].starts_with("row"), "{batch:?}");
    // A matrix that all rows of a batch share is no matrix for each.
    let shared = check("shared", [&[4, 1, 64], &[1, 64, 9]], |[a, b]| a.matmul(b));
    assert!(shared[0].starts_with("matmul"), "{shared:?}");
}

#[test]
fn derivatives_and_batches_of_cut_sums() {
    let shapes: [&[usize]; 2] = [&[40, 512], &[512, 24]];
    check("a derivative", shapes, |[a, b]| {
        grad(a, |a| a.matmul(b).tanh().square().sum_all()).expect("a derivative")
    });
    check("a batch", shapes, |[a, b]| vmap(a, 0, |row: &Tensor| row.matmul(b).relu()).expect("a batch"));
    let [a, b] = shapes.map(|shape| counted(shape, &Device::cpu()));
    let halves = a.cast(DType::F16).matmul(&b.cast(DType::F16));
    assert!(plan(&halves, Target::CARD).is_ok());
    // Elsewhere nothing is cut.
    for target in [Target::NATIVE, Target::SOFTWARE] {
        assert_eq!(plan(&a.matmul(&b), target).expect("a plan").launches.len(), 1);
    }
}

#[test]
fn reductions_stay_one_launch_where_lanes_suffice() {
    // A weight that goes on from the sum over what leads, as in an optimiser's update.
    let update = |[x, w]: &[Tensor; 2]| w * 0.9 - x.square().sum([0, 1]) * 0.01;
    let found = check("an update", [&[8, 128, 64], &[64]], update);
    assert_eq!(found.len(), 1, "{found:?}");
    let found = check("rows", [&[130, 20_004]], |[x]| x.log_softmax(-1));
    assert_eq!(found.len(), 1, "{found:?}");
    let found = check("channels", [&[4, 8, 16, 16]], |[x]| {
        let axes = [0, 2, 3];
        (x - x.mean_keepdim(axes)) / (x.var_keepdim(axes, 0) + 1e-5).sqrt()
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn long_axes_are_cut_without_a_rest() {
    // What is summed is never stored: 16 pieces of 3,144.
    let found = check("few long rows", [&[3, 50_304]], |[x]| x.square().sum(-1));
    assert_eq!(found.len(), 2, "{found:?}");
    let found = check("a prime", [&[2, 20_011]], |[x]| x.sum(-1));
    assert_eq!(found.len(), 2, "{found:?}");
}
