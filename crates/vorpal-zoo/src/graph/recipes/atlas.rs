//! Trainings on many small graphs.

use vorpal_nn::data::{DataLoader, Samples};
use vorpal_nn::metrics::{Mean, Regression};
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Task, Trainer};
use vorpal_nn::{Adam, Device, Module, Result, Tensor, Tree};

use crate::data::{Network, below};
use crate::graph::{Gin, GraphTransformer, GraphTransformerOptions, Mpnn, Union};
use crate::recipe::Run;

/// Nodes of the largest graph.
const NODES: usize = 7;
/// Batches have a multiple of so many edges.
const EDGES: usize = 256;
/// Steps of the random walks that nodes are told about.
const WALK: usize = 6;
/// Times each graph is used with lengths of its own.
const DRAWS: usize = 8;

/// A model that answers graphs of some form `I`.
struct Graphs<M, I> {
    forward: fn(&M, &I) -> Tensor,
    loss: fn(&Tensor, &Tensor) -> Tensor,
}

impl<M: Module, I: Tree + Send + 'static> Task for Graphs<M, I> {
    type Model = M;
    type Batch = (I, Tensor);

    fn forward(&self, model: &M, (graphs, _): &(I, Tensor)) -> Tensor {
        (self.forward)(model, graphs)
    }

    fn loss(&self, output: &Tensor, (_, target): &(I, Tensor)) -> Tensor {
        (self.loss)(output, target)
    }

    fn target(&self, (_, target): &(I, Tensor)) -> Tensor {
        target.clone()
    }
}

/// All but every fifth, and every fifth.
fn parts<T: Clone>(all: Vec<T>) -> (Vec<T>, Vec<T>) {
    let (test, train): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(k, _)| k % 5 == 0);
    let plain = |list: Vec<(usize, T)>| list.into_iter().map(|(_, item)| item).collect();
    (plain(train), plain(test))
}

/// Loaders of samples that `collate` makes batches of.
fn loaders<T: Clone + Send + Sync + 'static, B: Send + 'static>(
    run: &Run,
    (train, test): (Vec<T>, Vec<T>),
    collate: impl Fn(Vec<T>, &Device) -> Result<B> + Send + Sync + Clone + 'static,
) -> Result<(DataLoader<B>, DataLoader<B>)> {
    let all = test.len();
    let train = DataLoader::builder(Samples(train)).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(run.device()).collate(collate.clone()).build()?;
    let test = DataLoader::builder(Samples(test)).batch_size(all).device(run.device());
    Ok((train, test.collate(collate).build()?))
}

pub fn gin(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (mut train, mut test) = loaders(run, parts(Network::atlas()?), |graphs: Vec<Network>, device| {
        let union = Union::new(&graphs, NODES, EDGES, device);
        let trees: Vec<f32> = graphs.iter().map(|g| g.spanning_trees().ln() as f32).collect();
        let ones = Tensor::ones([union.edges.nodes, 1], vorpal_nn::DType::F32, device);
        Ok(((ones, union), Tensor::from_slice(&trees, [trees.len()], device)))
    })?;
    let model = Gin::new(1, run.size("hidden")?, 1, run.size("layers")?, &device);
    let task = Graphs::<Gin, (Tensor, Union)> {
        forward: |m, (x, union)| m.forward(x, union).squeeze(1),
        loss: |out, y| out.mse(y),
    };
    let steps = run.steps(train.len());
    let trainer = Trainer::new(task, model, Adam::adamw(run.rate()))
        .schedule(CosineAnnealing::new(run.rate(), steps), Every::Step)
        .clip_grad_norm(1.0)
        .metric("r2", Regression::r2());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

/// A graph, the length of every edge (0, 1 or 2 and one more) and the node from which ways are measured.
type Ways = (Network, Vec<u32>, usize);

/// Graphs with lengths and a node drawn by a generator of their own, `draws` times each.
fn ways(graphs: &[Network], draws: usize, seed: u64) -> Vec<Ways> {
    let mut stream = seed;
    let mut all = Vec::new();
    for graph in graphs.iter().flat_map(|graph| std::iter::repeat_n(graph, draws)) {
        let lengths = graph.edges.iter().map(|_| 1 + below(&mut stream, 3) as u32).collect();
        let from = below(&mut stream, NODES);
        all.push((graph.clone(), lengths, from));
    }
    all
}

/// Features of nodes (whether it is the one, and 1) and of edges (one of three lengths), the graphs as one, and how far away
/// each node is, `[graphs, 7]`.
fn ways_batch(batch: Vec<Ways>, device: &Device) -> Result<((Vec<Tensor>, Union), Tensor)> {
    let graphs: Vec<Network> = batch.iter().map(|(graph, ..)| graph.clone()).collect();
    let union = Union::new(&graphs, NODES, EDGES, device);
    let mut nodes = vec![[0.0f32, 1.0]; union.edges.nodes];
    let (mut lengths, mut far) = (Vec::new(), Vec::new());
    for (k, (graph, own, from)) in batch.iter().enumerate() {
        nodes[k * NODES + from][0] = 1.0;
        lengths.extend(own.iter().map(|length| [1, 2, 3].map(|l| f32::from(u8::from(l == *length)))));
        far.extend(graph.distances(own, *from).iter().map(|&d| d as f32));
    }
    // What fills up is of no kind, and batches have few shapes.
    lengths.resize(union.pairs.shape().numel() / 2 + 1, [0.0; 3]);
    let kinds = Tensor::from_slice(lengths.as_flattened(), [lengths.len(), 3], device);
    let nodes = Tensor::from_slice(nodes.as_flattened(), [nodes.len(), 2], device);
    let far = Tensor::from_slice(&far, [graphs.len(), NODES], device);
    Ok(((vec![nodes, kinds.index_select(0, &union.pairs)], union), far))
}

pub fn mpnn(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (train, test) = parts(Network::atlas()?.into_iter().filter(|g| g.nodes == NODES).collect());
    let samples = (ways(&train, DRAWS, 1), ways(&test, 1, 2));
    let (mut train, mut test) = loaders(run, samples, ways_batch)?;
    let model = Mpnn::new(2, 3, run.size("hidden")?, 1, run.size("rounds")?, &device);
    let task = Graphs::<Mpnn, (Vec<Tensor>, Union)> {
        forward: |m, (features, union)| {
            let out = m.forward(&features[0], &features[1], &union.edges);
            out.narrow(0, 0, union.graphs * NODES).reshape([union.graphs, NODES])
        },
        loss: |out, y| out.mse(y),
    };
    let steps = run.steps(train.len());
    let trainer = Trainer::new(task, model, Adam::adamw(run.rate()))
        .schedule(CosineAnnealing::new(run.rate(), steps), Every::Step)
        .clip_grad_norm(1.0)
        .metric("r2", Regression::r2());
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
}

/// Degrees and random walks of nodes, `[graphs, 7, …]`, how many nodes there are, and how many triangles.
fn triangles_batch(graphs: Vec<Network>, device: &Device) -> Result<((Tensor, Tensor), Tensor)> {
    let mut features = vec![[0.0f32; WALK + 1]; graphs.len() * NODES];
    for (k, graph) in graphs.iter().enumerate() {
        let walks = graph.returns(WALK);
        for (v, degree) in graph.degrees().iter().enumerate() {
            features[k * NODES + v][0] = *degree as f32;
            features[k * NODES + v][1..].copy_from_slice(&walks[v * WALK..(v + 1) * WALK]);
        }
    }
    let list = |f: fn(&Network) -> usize| graphs.iter().map(|g| f(g) as i32).collect::<Vec<i32>>();
    let nodes = Tensor::from_slice(&list(|g| g.nodes), [graphs.len()], device);
    let x = Tensor::from_slice(features.as_flattened(), [graphs.len(), NODES, WALK + 1], device);
    let counts = Tensor::from_slice(&list(Network::triangles), [graphs.len()], device);
    Ok(((x, nodes), counts.cast(vorpal_nn::DType::F32)))
}

pub fn transformer(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    let (mut train, mut test) = loaders(run, parts(Network::atlas()?), triangles_batch)?;
    let (width, heads, layers) = (run.size("width")?, run.size("heads")?, run.size("layers")?);
    let options = GraphTransformerOptions { inputs: WALK + 1, width, heads, layers, outputs: 1 };
    let task = Graphs::<GraphTransformer, (Tensor, Tensor)> {
        forward: |m, (x, nodes)| m.forward(x, nodes).squeeze(1),
        loss: |out, y| (out - y).abs().mean_all(),
    };
    let steps = run.steps(train.len());
    let trainer = Trainer::new(task, GraphTransformer::new(options, &device), Adam::adamw(run.rate()))
        .schedule(CosineAnnealing::new(run.rate(), steps), Every::Step)
        .clip_grad_norm(1.0)
        .metric("mae", Regression::mae());
    let trainer = run.fit(trainer, &mut train, Some(&mut test))?;
    trainer.model.train(false);
    let mut exact = Mean::default();
    for batch in &mut test {
        let ((x, nodes), counts) = batch?;
        let right = trainer.model.forward(&x, &nodes).squeeze(1).round().eq(&counts);
        exact.add(&right.cast(vorpal_nn::DType::F32).mean_all(), counts.shape().numel());
    }
    run.result("test_exact", exact.compute()?);
    Ok(())
}
