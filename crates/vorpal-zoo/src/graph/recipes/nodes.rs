//! Trainings on one graph: fields of papers, sides of a club, who meets whom.

use vorpal_nn::data::{DataLoader, Samples};
use vorpal_nn::loss::{BceWithLogitsLoss, Reduction};
use vorpal_nn::metrics::{Accuracy, Ranking};
use vorpal_nn::plot::Figure;
use vorpal_nn::trainer::{Monitor, Trainer, supervised};
use vorpal_nn::{Adam, AdamOptions, DType, Device, Error, Module, Result, Tensor};

use crate::data::{Citations, Network};
use crate::graph::{Edges, Gae, Gat, GatOptions, Gcn};
use crate::recipe::Run;

/// Steps between two tests: there is one batch, so that an epoch without them would be one step.
const STEPS_PER_EPOCH: usize = 20;
/// The same where they say when to stop, and how many may pass without a smaller loss: ten steps, as Kipf & Welling do it.
const STEPS_PER_LOOK: usize = 5;
const PATIENCE: u64 = 2;

/// A graph, features of its nodes, and which nodes are known and asked for.
struct Nodes {
    network: Network,
    features: Tensor,
    train: Vec<i32>,
    /// Those that say when to stop, if there are any.
    val: Vec<i32>,
    test: Vec<i32>,
}

/// Papers in the file of a user.
fn citations(run: &Run) -> Result<Nodes> {
    let path = run.settings().data.as_ref().ok_or_else(|| {
        let message = "Cora does not ship: give --data PATH, an archive of NumPy as docs/zoo/graph.md tells";
        Error::format("papers", message)
    })?;
    let Citations { network, features, words, train, val, test } = Citations::load(path)?;
    let features = Tensor::from_slice(&features, [network.nodes, words], run.device());
    Ok(Nodes { network, features, train, val, test })
}

/// People of a club, of whom nothing is known but who they are.
fn club(run: &Run) -> Result<Nodes> {
    let network = Network::karate()?;
    let features = Tensor::eye(network.nodes, DType::F32, run.device());
    let (leaders, others): (Vec<i32>, Vec<i32>) =
        (0..network.nodes as i32).partition(|&v| v == 0 || v + 1 == network.nodes as i32);
    Ok(Nodes { network, features, train: leaders, val: Vec::new(), test: others })
}

/// All of `nodes` with their labels, `times` times in an epoch.
fn loader(
    nodes: &[i32],
    network: &Network,
    times: usize,
    device: &Device,
) -> Result<DataLoader<(Tensor, Tensor)>> {
    let labelled = |&v: &i32| network.labels.get(v as usize).map(|&label| (v, label));
    let all: Vec<(i32, i32)> = nodes.iter().filter_map(labelled).collect();
    DataLoader::builder(Samples(all.repeat(times))).batch_size(all.len()).device(device).build()
}

/// Trains `model`, whose logits of all nodes are `forward`, and draws what `embed` makes of the nodes asked for.
fn classify<M: Module + Clone>(
    run: &mut Run,
    nodes: &Nodes,
    model: M,
    forward: impl Fn(&M) -> Tensor,
    embed: impl Fn(&M) -> Tensor,
) -> Result<()> {
    let per_epoch = if nodes.val.is_empty() { STEPS_PER_EPOCH } else { STEPS_PER_LOOK };
    let mut train = loader(&nodes.train, &nodes.network, per_epoch, run.device())?;
    let mut test = loader(&nodes.test, &nodes.network, 1, run.device())?;
    let task = supervised(
        |m: &M, asked: &Tensor| forward(m).index_select(0, asked),
        |out: &Tensor, y: &Tensor| out.cross_entropy(y),
    );
    let decay = AdamOptions { weight_decay: 5e-4, ..AdamOptions::default() };
    let mut trainer =
        Trainer::new(task, model, Adam::with_options(run.rate(), decay)).metric("accuracy", Accuracy::new());
    if nodes.val.is_empty() {
        trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    } else {
        let mut val = loader(&nodes.val, &nodes.network, 1, run.device())?;
        trainer = trainer.monitor(Monitor::smallest("test_loss").patience(PATIENCE));
        trainer = run.fit(trainer, &mut train, Some(&mut val))?;
        if let Some(accuracy) = run.found("test_accuracy") {
            run.result("val_accuracy", accuracy);
        }
        trainer.evaluate(&mut test)?.iter().for_each(|(name, &value)| run.result(name, value));
    }
    if run.stopped() {
        return Ok(());
    }
    trainer.model.train(false);
    let asked = Tensor::from_slice(&nodes.test, [nodes.test.len()], run.device());
    let places = planar(&embed(&trainer.model).index_select(0, &asked))?;
    let labels = &nodes.network.labels;
    let mut figure = Figure::new("nodes by the hidden layer", "first component").height(420.0);
    for class in 0..=labels.iter().copied().max().unwrap_or(0) {
        let own = nodes.test.iter().zip(&places).filter(|(v, _)| labels[**v as usize] == class);
        figure = figure.points(&format!("class {class}"), own.map(|(_, &place)| place));
    }
    run.file("embedding.svg", figure.svg());
    Ok(())
}

/// Rows as points of the plane in which they differ most (Pearson 1901), by subspace iteration.
fn planar(rows: &Tensor) -> Result<Vec<(f64, f64)>> {
    let device = rows.device()?;
    let columns = rows.shape()[1];
    let centred = rows - rows.mean_keepdim(0);
    let covariance = centred.t().matmul(&centred).contiguous();
    let mut axes = Tensor::eye(columns, DType::F32, &device).narrow(1, 0, 2) + 0.1;
    for _ in 0..30 {
        let first = covariance.matmul(&axes.narrow(1, 0, 1)).normalize_l2(0, 1e-12);
        let second = covariance.matmul(&axes.narrow(1, 1, 1));
        let second = (&second - &first * (&first * &second).sum_all()).normalize_l2(0, 1e-12);
        axes = Tensor::concat(&[&first, &second], 1);
    }
    let places = centred.matmul(&axes).to_vec::<f32>()?;
    Ok(places.chunks(2).map(|p| (f64::from(p[0]), f64::from(p[1]))).collect())
}

fn convolve(run: &mut Run, nodes: &Nodes, classes: usize, dropout: f64) -> Result<()> {
    let device = run.device().clone();
    let matrix = Edges::new(&nodes.network, false, &device).normalized();
    vorpal_nn::eval(&matrix)?;
    let x = nodes.features.clone();
    let model = Gcn::new(x.shape()[1], run.size("hidden")?, classes, dropout, &device);
    classify(run, nodes, model, |m| m.forward(&x, &matrix), |m| m.embed(&x, &matrix))
}

fn attend(run: &mut Run, nodes: &Nodes, classes: usize, dropout: f64, v2: bool) -> Result<()> {
    let device = run.device().clone();
    let edges = Edges::new(&nodes.network, true, &device);
    let x = nodes.features.clone();
    let (hidden, heads) = (run.size("hidden")?, run.size("heads")?);
    let model = Gat::new(GatOptions { inputs: x.shape()[1], hidden, heads, classes, dropout, v2 }, &device);
    classify(run, nodes, model, |m| m.forward(&x, &edges), |m| m.embed(&x, &edges))
}

/// Number of classes of the nodes.
fn classes(nodes: &Nodes) -> usize {
    nodes.network.labels.iter().max().map_or(0, |&label| label.max(0) as usize + 1)
}

pub fn gcn(run: &mut Run) -> Result<()> {
    let nodes = citations(run)?;
    convolve(run, &nodes, classes(&nodes), 0.5)
}

pub fn gat(run: &mut Run) -> Result<()> {
    let nodes = citations(run)?;
    attend(run, &nodes, classes(&nodes), 0.6, false)
}

pub fn karate(run: &mut Run) -> Result<()> {
    let nodes = club(run)?;
    convolve(run, &nodes, 2, 0.0)
}

pub fn gatv2(run: &mut Run) -> Result<()> {
    let nodes = club(run)?;
    attend(run, &nodes, 2, 0.0, true)
}

pub fn links(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (mut people, _) = Network::miserables()?;
    let strangers = people.strangers();
    // Every tenth pair of both kinds is kept for the test.
    let part = |pairs: &[(usize, usize)], kept: bool| -> Vec<(usize, usize)> {
        pairs.iter().enumerate().filter(|(k, _)| (k % 10 == 5) == kept).map(|(_, &pair)| pair).collect()
    };
    let (known, asked) = (part(&people.edges, false), part(&people.edges, true));
    let load = |joined: &[(usize, usize)], apart: &[(usize, usize)], times: usize| {
        let list = |pairs: &[(usize, usize)], label: f32| -> Vec<([i32; 2], f32)> {
            pairs.iter().map(|&(a, b)| ([a as i32, b as i32], label)).collect()
        };
        let all = [list(joined, 1.0), list(apart, 0.0)].concat();
        DataLoader::builder(Samples(all.repeat(times))).batch_size(all.len()).device(&device).build()
    };
    let apart = part(&strangers, false);
    let mut train = load(&known, &apart, STEPS_PER_EPOCH)?;
    let mut test = load(&asked, &part(&strangers, true), 1)?;
    let balance = Tensor::from_item(apart.len() as f32 / known.len().max(1) as f32, &device);
    people.edges = known;
    let matrix = Edges::new(&people, false, &device).normalized();
    vorpal_nn::eval(&matrix)?;
    let x = Tensor::eye(people.nodes, DType::F32, &device);
    let loss = BceWithLogitsLoss { pos_weight: Some(balance), weight: None, reduction: Reduction::Mean };
    let task = supervised(
        |m: &Gae, pairs: &Tensor| Gae::scores(&m.forward(&x, &matrix), pairs),
        move |out: &Tensor, y: &Tensor| loss.forward(out, y),
    );
    let model = Gae::new(people.nodes, run.size("hidden")?, run.size("columns")?, &device);
    let trainer = Trainer::new(task, model, Adam::new(run.rate())).metric("auroc", Ranking::auroc());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}
