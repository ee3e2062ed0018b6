//! The workloads on candle, on the processor.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Embedding, LSTM, LSTMConfig, Linear, Module, Optimizer, ParamsAdamW, RNN,
    VarBuilder, VarMap, conv2d, embedding, linear, linear_no_bias, loss::cross_entropy, lstm, ops,
};
use peer_protocol::{Request, Step};

fn main() {
    let request = Request::of("candle");
    if request.device != "cpu" {
        return request.unable("its other devices need CUDA or Metal");
    }
    match workload(&request.workload) {
        Ok(Some(step)) => request.run(step),
        Ok(None) => request.unable("not written for this peer"),
        Err(error) => request.unable(&error.to_string()),
    }
}

const CPU: Device = Device::Cpu;

fn randn(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1.0, shape, &CPU)
}

fn op<const N: usize>(shapes: [&[usize]; N], f: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) -> Result<Option<Step>> {
    let operands = shapes.iter().map(|shape| randn(shape)).collect::<Result<Vec<_>>>()?;
    f(&operands)?;
    Ok(Some(Box::new(move || drop(f(&operands).expect("an op")))))
}

fn chain(x: &Tensor) -> Result<Tensor> {
    let first = (ops::sigmoid(x)? * ((x * 1.5)? + 0.5)?.tanh()?)?;
    let second = ((x * x)?.neg()?.exp()? * 0.1)?;
    ((first + second)? - (x * 0.05)?)?.relu()
}

/// Attention of rows that see the past only, written out: there is no op with a derivative.
fn causal(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
    let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
    ops::softmax(&scores.broadcast_add(mask)?, D::Minus1)?.matmul(v)
}

/// 0 where a row may see a column, −∞ elsewhere.
fn mask(length: usize) -> Result<Tensor> {
    let rows = (0..length).flat_map(|i| (0..length).map(move |j| if j <= i { 0.0 } else { f32::NEG_INFINITY }));
    Tensor::from_vec(rows.collect(), (length, length), &CPU)
}

fn attend(shape: [usize; 4]) -> Result<Option<Step>> {
    let mask = mask(shape[2])?;
    op([&shape, &shape, &shape], move |t| causal(&t[0], &t[1], &t[2], &mask))
}

fn targets(count: usize, classes: usize) -> Result<Tensor> {
    Tensor::from_iter((0..count).map(|k| (k % classes) as u32), &CPU)
}

/// A step of AdamW.
fn training(map: &VarMap, loss: impl Fn() -> Result<Tensor> + 'static) -> Result<Option<Step>> {
    let params = ParamsAdamW { lr: 1e-3, weight_decay: 0.01, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(map.all_vars(), params)?;
    let mut step = move || -> Result<f32> {
        let value = loss()?;
        optimizer.backward_step(&value)?;
        value.to_scalar::<f32>()
    };
    step()?;
    Ok(Some(Box::new(move || drop(step().expect("a step")))))
}

fn variables() -> (VarMap, VarBuilder<'static>) {
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &CPU);
    (map, builder)
}

fn mlp() -> Result<Option<Step>> {
    let (map, vb) = variables();
    let layers = [linear(784, 512, vb.pp("0"))?, linear(512, 512, vb.pp("1"))?, linear(512, 10, vb.pp("2"))?];
    let (x, classes) = (randn(&[256, 784])?, targets(256, 10)?);
    training(&map, move || {
        let x = layers[1].forward(&layers[0].forward(&x)?.relu()?)?.relu()?;
        cross_entropy(&layers[2].forward(&x)?, &classes)
    })
}

fn cnn() -> Result<Option<Step>> {
    let (map, vb) = variables();
    let padded = Conv2dConfig { padding: 1, ..Default::default() };
    let convs: [Conv2d; 2] = [conv2d(1, 32, 3, padded, vb.pp("0"))?, conv2d(32, 64, 3, padded, vb.pp("1"))?];
    let out = linear(64 * 7 * 7, 10, vb.pp("2"))?;
    let (x, classes) = (randn(&[64, 1, 28, 28])?, targets(64, 10)?);
    training(&map, move || {
        let x = convs[0].forward(&x)?.relu()?.max_pool2d(2)?;
        let x = convs[1].forward(&x)?.relu()?.max_pool2d(2)?;
        cross_entropy(&out.forward(&x.flatten_from(1)?)?, &classes)
    })
}

const WIDTH: usize = 128;
const HEADS: usize = 4;

/// Layer normalisation; the faster op of candle has no derivative.
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(vb: VarBuilder) -> Result<Norm> {
        let weight = vb.get_with_hints(WIDTH, "weight", candle_nn::Init::Const(1.0))?;
        Ok(Norm { weight, bias: vb.get_with_hints(WIDTH, "bias", candle_nn::Init::Const(0.0))? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

struct Block {
    ln_1: Norm,
    qkv: Linear,
    proj: Linear,
    ln_2: Norm,
    fc: Linear,
    out: Linear,
}

impl Block {
    fn new(vb: VarBuilder) -> Result<Block> {
        Ok(Block {
            ln_1: Norm::new(vb.pp("ln_1"))?,
            qkv: linear(WIDTH, 3 * WIDTH, vb.pp("qkv"))?,
            proj: linear(WIDTH, WIDTH, vb.pp("proj"))?,
            ln_2: Norm::new(vb.pp("ln_2"))?,
            fc: linear(WIDTH, 4 * WIDTH, vb.pp("fc"))?,
            out: linear(4 * WIDTH, WIDTH, vb.pp("out"))?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, length, _) = x.dims3()?;
        let all = self.qkv.forward(&self.ln_1.forward(x)?)?;
        let part = |k: usize| {
            let part = all.narrow(2, k * WIDTH, WIDTH)?.reshape((batch, length, HEADS, WIDTH / HEADS))?;
            part.transpose(1, 2)?.contiguous()
        };
        let heads = causal(&part(0)?, &part(1)?, &part(2)?, mask)?.transpose(1, 2)?;
        let x = (x + self.proj.forward(&heads.reshape((batch, length, WIDTH))?)?)?;
        let inner = self.fc.forward(&self.ln_2.forward(&x)?)?.gelu()?;
        &x + self.out.forward(&inner)?
    }
}

fn gpt() -> Result<Option<Step>> {
    let (batch, length, vocabulary) = (8, 128, 256);
    let (map, vb) = variables();
    let wte: Embedding = embedding(vocabulary, WIDTH, vb.pp("wte"))?;
    let wpe: Embedding = embedding(length, WIDTH, vb.pp("wpe"))?;
    let blocks = (0..4).map(|k| Block::new(vb.pp(format!("h.{k}")))).collect::<Result<Vec<_>>>()?;
    let (ln_f, head) = (Norm::new(vb.pp("ln_f"))?, linear_no_bias(WIDTH, vocabulary, vb.pp("head"))?);
    let (mask, classes) = (mask(length)?, targets(batch * length, vocabulary)?);
    let tokens = classes.reshape((batch, length))?;
    training(&map, move || {
        let mut x = wte.forward(&tokens)?.broadcast_add(wpe.embeddings())?;
        for block in &blocks {
            x = block.forward(&x, &mask)?;
        }
        let logits = head.forward(&ln_f.forward(&x)?)?;
        cross_entropy(&logits.reshape((batch * length, vocabulary))?, &classes)
    })
}

fn recurrent() -> Result<Option<Step>> {
    let (batch, steps, width) = (32, 64, 256);
    let (map, vb) = variables();
    let layer = |k: usize| lstm(width, width, LSTMConfig::default(), vb.pp(k));
    let layers: [LSTM; 2] = [layer(0)?, layer(1)?];
    let out = linear(width, 10, vb.pp("out"))?;
    // Its layers take the batch first.
    let (x, classes) = (randn(&[batch, steps, width])?, targets(batch, 10)?);
    training(&map, move || {
        let x = layers[0].states_to_tensor(&layers[0].seq(&x)?)?;
        let states = layers[1].seq(&x)?;
        cross_entropy(&out.forward(states[steps - 1].h())?, &classes)
    })
}

fn workload(name: &str) -> Result<Option<Step>> {
    let rows: &[usize] = &[4096, 1024];
    let matmul = |a: &[usize], b: &[usize]| op([a, b], |t| t[0].matmul(&t[1]));
    match name {
        "matmul_512" => matmul(&[512, 512], &[512, 512]),
        "matmul_1024" => matmul(&[1024, 1024], &[1024, 1024]),
        "matmul_2048" => matmul(&[2048, 2048], &[2048, 2048]),
        "matmul_batched_16x256" => matmul(&[16, 256, 256], &[16, 256, 256]),
        "gemv_4096" => matmul(&[1, 4096], &[4096, 4096]),
        "matmul_4096x64x4096" => matmul(&[4096, 64], &[64, 4096]),
        "chain_4m" => op([&[1 << 22]], |t| chain(&t[0])),
        "softmax" => op([rows], |t| ops::softmax_last_dim(&t[0])),
        "layer_norm" => op([rows, &[1024], &[1024]], |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5)),
        "sum" => op([rows], |t| t[0].sum_all()),
        "sum_rows" => op([rows], |t| t[0].sum(1)),
        "conv" => op([&[16, 32, 32, 32], &[64, 32, 3, 3]], |t| t[0].conv2d(&t[1], 1, 1, 1, 1)),
        "attention_512" => attend([2, 8, 512, 64]),
        "attention_4096" => attend([1, 8, 4096, 64]),
        "mlp_step" => mlp(),
        "cnn_step" => cnn(),
        "gpt_step" => gpt(),
        "lstm_step" => recurrent(),
        // The derivative of maximum pooling with overlapping windows is missing.
        _ => Ok(None),
    }
}
