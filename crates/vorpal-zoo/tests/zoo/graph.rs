use vorpal_nn::{DType, Device, Module, Tensor};
use vorpal_zoo::data::Network;
use vorpal_zoo::graph::{
    Edges, Gae, Gat, GatOptions, Gcn, GcnConv, Gin, GraphTransformer, GraphTransformerOptions, Mpnn, Union,
};

use crate::harness::{Case, assert_close, check, classes, distance, noisy};

/// Six nodes: a square, a corner of which hangs on a pair.
const HOUSE: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (4, 5)];
/// Where the nodes go in another order.
const TURNED: [usize; 6] = [4, 2, 0, 5, 1, 3];

fn house() -> Network {
    Network::new(6, &HOUSE)
}

fn turned() -> Network {
    Network::new(6, &HOUSE.map(|(a, b)| (TURNED[a], TURNED[b])))
}

/// Rows in the order of [`turned`], and back.
fn turn(x: &Tensor, back: bool) -> Tensor {
    let mut rows = [0i32; 6];
    for (from, &to) in TURNED.iter().enumerate() {
        if back { rows[from] = to as i32 } else { rows[to] = from as i32 }
    }
    x.index_select(0, &Tensor::from_slice(&rows, [6], &x.device().expect("a device")))
}

fn features(device: &Device) -> Tensor {
    noisy(1, &[6, 3], device)
}

#[test]
fn gcn() {
    let forward = |m: &Gcn, device: &Device| {
        m.forward(&features(device), &Edges::new(&house(), false, device).normalized())
    };
    check(Case::new(
        "gcn",
        |device| Gcn::new(3, 8, 2, 0.0, device),
        forward,
        &[6, 2],
        |m, device| {
            let matrix = Edges::new(&house(), false, device).normalized();
            m.forward(&features(device), &matrix).cross_entropy(&classes(2, &[6], 2, device))
        },
    ));
}

#[test]
fn gae() {
    check(Case::new(
        "gae",
        |device| Gae::new(3, 8, 4, device),
        |m, device| m.forward(&features(device), &Edges::new(&house(), false, device).normalized()),
        &[6, 4],
        |m, device| {
            let places = m.forward(&features(device), &Edges::new(&house(), false, device).normalized());
            let pairs = Tensor::from_slice(&[0i32, 1, 0, 5, 1, 4], [3, 2], device);
            (Gae::scores(&places, &pairs) - Tensor::from_slice(&[2.0f32, -2.0, -2.0], [3], device))
                .square()
                .mean_all()
        },
    ));
}

#[test]
fn gae_scores_are_products_of_places_whichever_comes_first() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let model = Gae::new(3, 8, 4, &device);
    let places = model.forward(&features(&device), &Edges::new(&house(), false, &device).normalized());
    let all: Vec<i32> = (0..36).flat_map(|k| [k / 6, k % 6]).collect();
    let scores = Gae::scores(&places, &Tensor::from_slice(&all, [36, 2], &device)).reshape([6, 6]);
    assert_close(&scores, &scores.t(), 0.0, "the other way round");
    assert_close(&scores, &places.matmul(&places.t()), 1e-5, "products");
    assert!(distance(&scores.narrow(0, 0, 1), &scores.narrow(0, 4, 1)) > 1e-3, "nodes are told apart");
}

fn attention(v2: bool) -> Case<Gat> {
    Case::new(
        "gat",
        if v2 {
            |device: &Device| Gat::new(GatOptions { v2: true, ..GAT }, device)
        } else {
            |device: &Device| Gat::new(GAT, device)
        },
        |m, device| m.forward(&features(device), &Edges::new(&house(), true, device)),
        &[6, 2],
        |m, device| {
            let out = m.forward(&features(device), &Edges::new(&house(), true, device));
            out.cross_entropy(&classes(2, &[6], 2, device))
        },
    )
}

const GAT: GatOptions = GatOptions { inputs: 3, hidden: 4, heads: 2, classes: 2, dropout: 0.0, v2: false };

#[test]
fn gat() {
    check(attention(false));
}

#[test]
fn gatv2() {
    check(attention(true));
}

fn union(device: &Device) -> Union {
    Union::new(&[house(), Network::new(3, &[(0, 1), (1, 2)])], 6, 4, device)
}

#[test]
fn gin() {
    check(Case::new(
        "gin",
        |device| Gin::new(2, 8, 3, 2, device),
        |m, device| m.forward(&noisy(1, &[13, 2], device), &union(device)),
        &[2, 3],
        |m, device| {
            let out = m.forward(&noisy(1, &[13, 2], device), &union(device));
            out.cross_entropy(&classes(2, &[2], 3, device))
        },
    ));
}

#[test]
fn mpnn() {
    check(Case::new(
        "mpnn",
        |device| Mpnn::new(3, 2, 4, 1, 2, device),
        |m, device| {
            m.forward(&features(device), &noisy(2, &[12, 2], device), &Edges::new(&house(), false, device))
        },
        &[6, 1],
        |m, device| {
            let edges = Edges::new(&house(), false, device);
            let out = m.forward(&features(device), &noisy(2, &[12, 2], device), &edges);
            out.mse(&noisy(3, &[6, 1], device))
        },
    ));
}

#[test]
fn graph_transformer() {
    check(Case::new(
        "graph_transformer",
        |device| {
            GraphTransformer::new(
                GraphTransformerOptions { inputs: 3, width: 8, heads: 2, layers: 1, outputs: 1 },
                device,
            )
        },
        |m, device| {
            let nodes = Tensor::from_slice(&[3i32, 5], [2], device);
            m.forward(&noisy(1, &[2, 5, 3], device), &nodes)
        },
        &[2, 1],
        |m, device| {
            let nodes = Tensor::from_slice(&[3i32, 5], [2], device);
            m.forward(&noisy(1, &[2, 5, 3], device), &nodes).mse(&noisy(2, &[2, 1], device))
        },
    ));
}

#[test]
fn another_order_of_nodes_gives_the_same_in_that_order() {
    let device = Device::cpu();
    let _keys = device.fork_rng(2);
    let x = features(&device);
    let same = |f: &dyn Fn(&Tensor, &Network) -> Tensor, what: &str| {
        let found = turn(&f(&turn(&x, false), &turned()), true);
        assert_close(&found, &f(&x, &house()), 1e-5, what);
    };
    let edges = |graph: &Network, loops: bool| Edges::new(graph, loops, &device);
    let gcn = Gcn::new(3, 8, 2, 0.0, &device);
    same(&|x, graph| gcn.forward(x, &edges(graph, false).normalized()), "gcn");
    let gae = Gae::new(3, 8, 4, &device);
    same(&|x, graph| gae.forward(x, &edges(graph, false).normalized()), "gae");
    for v2 in [false, true] {
        let gat = Gat::new(GatOptions { v2, ..GAT }, &device);
        same(&|x, graph| gat.forward(x, &edges(graph, true)), "gat");
    }
    // Every edge has the features of its ends, so that they go along.
    let mpnn = Mpnn::new(3, 3, 4, 1, 3, &device);
    same(
        &|x, graph| {
            let edges = edges(graph, false);
            mpnn.forward(x, &(edges.sources(x) * edges.targets(x)), &edges)
        },
        "mpnn",
    );
    // Of whole graphs there is no order at all.
    let gin = Gin::new(3, 8, 2, 2, &device);
    let whole = |x: &Tensor, graph: Network| {
        let padded = Tensor::concat(&[x, &Tensor::ones([1, 3], DType::F32, &device)], 0);
        gin.forward(&padded, &Union::new(&[graph], 6, 1, &device))
    };
    assert_close(&whole(&turn(&x, false), turned()), &whole(&x, house()), 1e-5, "gin");
    let options = GraphTransformerOptions { inputs: 3, width: 8, heads: 2, layers: 1, outputs: 1 };
    let model = GraphTransformer::new(options, &device);
    let all = |x: &Tensor| model.forward(&x.unsqueeze(0), &Tensor::from_slice(&[6i32], [1], &device));
    assert_close(&all(&turn(&x, false)), &all(&x), 1e-5, "graph transformer");
}

#[test]
fn sums_tell_apart_what_means_do_not() {
    // In both graphs every node has the same neighbourhood but for its size.
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let (triangle, all_four) = (
        Network::new(3, &[(0, 1), (1, 2), (0, 2)]),
        Network::new(4, &[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
    );
    let conv = GcnConv::new(1, 4, &device);
    let mean = |graph: &Network| {
        let ones = Tensor::ones([graph.nodes, 1], DType::F32, &device);
        conv.forward(&ones, &Edges::new(graph, false, &device).normalized()).mean(0)
    };
    assert_close(&mean(&triangle), &mean(&all_four), 1e-6, "means of a graph convolution");
    let gin = Gin::new(1, 8, 1, 2, &device);
    let union = Union::new(&[triangle, all_four], 4, 1, &device);
    let answer = gin.forward(&Tensor::ones([9, 1], DType::F32, &device), &union);
    assert!(distance(&answer.narrow(0, 0, 1), &answer.narrow(0, 1, 1)) > 1e-3, "{answer:?}");
}

#[test]
fn what_fills_up_changes_nothing() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let gin = Gin::new(1, 8, 2, 2, &device);
    let graphs = [house(), Network::new(3, &[(0, 1), (1, 2)])];
    let answer = |room: usize, multiple: usize| {
        let union = Union::new(&graphs, room, multiple, &device);
        gin.forward(&Tensor::ones([union.edges.nodes, 1], DType::F32, &device), &union)
    };
    assert_close(&answer(6, 1), &answer(9, 64), 1e-6, "gin");
    // Nodes that are not there are seen by nobody.
    let options = GraphTransformerOptions { inputs: 3, width: 8, heads: 2, layers: 1, outputs: 1 };
    let model = GraphTransformer::new(options, &device);
    let nodes = Tensor::from_slice(&[2i32], [1], &device);
    let x = noisy(1, &[1, 4, 3], &device);
    let other = Tensor::concat(&[&x.narrow(1, 0, 2), &noisy(2, &[1, 2, 3], &device)], 1);
    assert_close(&model.forward(&x, &nodes), &model.forward(&other, &nodes), 1e-6, "graph transformer");
}

#[test]
fn attention_adds_up_to_one_at_every_node() {
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let edges = Edges::new(&house(), true, &device);
    let layer = vorpal_zoo::graph::GatConv::new(3, 4, 2, 0.0, true, &device);
    layer.train(false);
    let (attention, _) = layer.attention(&features(&device), &edges);
    assert_close(&edges.sum(&attention), &Tensor::ones([6, 2], DType::F32, &device), 1e-5, "attention");
}
