//! The workloads on Meganeura, which runs on Vulkan adapters. Its optimiser is Adam; it has none with decay.

use meganeura::{Graph, Mode, NodeId, SessionConfig, build};
use peer_protocol::{Request, Step};

fn main() {
    let request = Request::of("meganeura");
    if request.device == "cpu" {
        return request.unable("it runs on Vulkan adapters only");
    }
    let step = match request.workload.as_str() {
        "matmul_512" => matmul(512),
        "matmul_1024" => matmul(1024),
        "matmul_2048" => matmul(2048),
        "softmax" => softmax(),
        "layer_norm" => layer_norm(),
        "conv" => conv(),
        "mlp_step" => mlp(),
        "cnn_step" => cnn(),
        "gpt_step" => return request.unable("its attention has no batch"),
        _ => return request.unable("not written for this peer"),
    };
    request.run(step);
}

/// Numbers from -1 to 1 that repeat after a while.
fn noise(n: usize) -> Vec<f32> {
    (0..n).map(|k| ((k * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// A model under construction: inputs and parameters with their first values.
struct Model {
    graph: Graph,
    inputs: Vec<(String, Vec<f32>)>,
    parameters: Vec<(String, Vec<f32>)>,
}

impl Model {
    fn new() -> Model {
        Model { graph: Graph::new(), inputs: Vec::new(), parameters: Vec::new() }
    }

    fn input(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> NodeId {
        self.inputs.push((name.into(), values));
        self.graph.input(name, shape)
    }

    fn parameter(&mut self, name: &str, shape: &[usize], inputs: usize) -> NodeId {
        let bound = 1.0 / (inputs as f32).sqrt();
        let values = noise(shape.iter().product()).iter().map(|v| v * bound).collect();
        self.parameters.push((name.into(), values));
        self.graph.parameter(name, shape)
    }

    fn linear(&mut self, x: NodeId, name: &str, inputs: usize, outputs: usize) -> NodeId {
        let weight = self.parameter(&format!("{name}.weight"), &[inputs, outputs], inputs);
        let bias = self.parameter(&format!("{name}.bias"), &[outputs], inputs);
        let product = self.graph.matmul(x, weight);
        self.graph.bias_add(product, bias)
    }

    /// Convolution of 3 × 3 with padding 1, ReLU, maximum of 2 × 2.
    fn conv_block(&mut self, x: NodeId, name: &str, batch: u32, channels: u32, filters: u32, size: u32) -> NodeId {
        let inputs = (channels * 9) as usize;
        let weight = self.parameter(&format!("{name}.weight"), &[filters as usize * inputs], inputs);
        let bias = self.parameter(&format!("{name}.bias"), &[filters as usize], inputs);
        let x = self.graph.conv2d(x, weight, batch, channels, size, size, filters, 3, 3, 1, 1);
        let x = self.graph.add_per_channel(x, bias, filters, size * size);
        let x = self.graph.relu(x);
        self.graph.max_pool_2d(x, batch, filters, size, size, 2, 2, 2, 0)
    }

    fn run(mut self, output: NodeId, mode: Mode) -> Step {
        self.graph.set_outputs(vec![output]);
        let config = SessionConfig { mode, ..SessionConfig::default() };
        let mut session = build(&self.graph, config).0;
        for (name, values) in &self.parameters {
            session.set_parameter(name, values);
        }
        for (name, values) in &self.inputs {
            session.set_input(name, values);
        }
        let training = mode == Mode::Training;
        if training {
            session.set_adam(1e-3, 0.9, 0.999, 1e-8);
        }
        Box::new(move || {
            session.step();
            session.wait();
            if training {
                let loss = session.read_loss();
                assert!(loss.is_finite(), "the loss is {loss}");
            }
        })
    }

    fn classify(mut self, logits: NodeId, batch: usize, classes: usize) -> Step {
        let mut labels = vec![0.0; batch * classes];
        (0..batch).for_each(|row| labels[row * classes + row % classes] = 1.0);
        let labels = self.input("labels", &[batch, classes], labels);
        let loss = self.graph.cross_entropy_loss(logits, labels);
        self.run(loss, Mode::Training)
    }
}

fn matmul(n: usize) -> Step {
    let mut model = Model::new();
    let a = model.input("a", &[n, n], noise(n * n));
    let b = model.input("b", &[n, n], noise(n * n));
    let out = model.graph.matmul(a, b);
    model.run(out, Mode::Inference)
}

fn softmax() -> Step {
    let mut model = Model::new();
    let x = model.input("x", &[4096, 1024], noise(4096 * 1024));
    let out = model.graph.softmax(x);
    model.run(out, Mode::Inference)
}

fn layer_norm() -> Step {
    let mut model = Model::new();
    let x = model.input("x", &[4096, 1024], noise(4096 * 1024));
    let (weight, bias) = (model.parameter("weight", &[1024], 1), model.parameter("bias", &[1024], 1));
    let out = model.graph.layer_norm(x, weight, bias, 1e-5);
    model.run(out, Mode::Inference)
}

fn conv() -> Step {
    let mut model = Model::new();
    let x = model.input("x", &[16 * 32 * 32 * 32], noise(16 * 32 * 32 * 32));
    let weight = model.parameter("weight", &[64 * 32 * 9], 32 * 9);
    let out = model.graph.conv2d(x, weight, 16, 32, 32, 32, 64, 3, 3, 1, 1);
    model.run(out, Mode::Inference)
}

fn mlp() -> Step {
    let mut model = Model::new();
    let mut x = model.input("x", &[256, 784], noise(256 * 784));
    x = model.linear(x, "first", 784, 512);
    x = model.graph.relu(x);
    x = model.linear(x, "second", 512, 512);
    x = model.graph.relu(x);
    let logits = model.linear(x, "out", 512, 10);
    model.classify(logits, 256, 10)
}

fn cnn() -> Step {
    let mut model = Model::new();
    let mut x = model.input("x", &[64 * 28 * 28], noise(64 * 28 * 28));
    x = model.conv_block(x, "first", 64, 1, 32, 28);
    x = model.conv_block(x, "second", 64, 32, 64, 14);
    x = model.graph.reshape(x, &[64, 64 * 7 * 7]);
    let logits = model.linear(x, "out", 64 * 7 * 7, 10);
    model.classify(logits, 64, 10)
}
