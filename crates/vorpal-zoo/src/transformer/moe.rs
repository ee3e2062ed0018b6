//! A language model of experts.

use vorpal_nn::{DType, Device, KvCache, MixtureOfExperts, Module, Tensor};

use super::llama::{Mlp, Trunk};
use super::{LanguageModel, LlamaOptions};

/// A [`Llama`](super::Llama) whose blocks have several networks, of which every token goes through the few that a gate
/// picks for it (Shazeer et al. 2017, Fedus et al. 2021), as in Mixtral (Jiang et al. 2024): more parameters at the cost
/// of few.
///
/// Tokens are `[batch, length]`, logits `[batch, length, vocabulary]`. While it trains, every expert has room for one and a
/// half times its share of a batch (Fedus et al. 2021), and tokens beyond miss it. Outside of training
/// ([`Module::train`]) there is room for all, as in Mixtral: logits depend neither on tokens that come later nor on other
/// texts of the batch, and kept keys and values give what all tokens at once give.
///
/// `vorpal train moe` teaches it the bytes of Vorpal's own text, two of eight experts a token (303,424 parameters), to a loss
/// of at most 1.7 nats a byte, and beside it a [`Llama`](super::Llama) whose one network is as wide as the two experts
/// together, which does the same work for a token.
///
/// ```
/// use vorpal_nn::{Device, Module, Tensor};
/// use vorpal_zoo::transformer::{LlamaOptions, Moe};
/// let device = Device::cpu();
/// let options = LlamaOptions { vocabulary: 11, width: 12, hidden: 16, heads: 2, kv_heads: 1, layers: 1, ..Default::default() };
/// let model = Moe::new(options, 4, 2, &device);
/// let tokens = Tensor::from_slice(&[1i32, 2, 3, 4, 5, 6], [2, 3], &device);
/// model.train(false);
/// let (logits, balance) = model.forward(&tokens);
/// assert_eq!(logits.shape(), [2, 3, 11].into());
/// // 1 where all experts are used alike.
/// assert!(balance.item::<f32>()? > 0.9);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Moe {
    model: Trunk<MixtureOfExperts<Mlp>>,
    #[module(skip)]
    options: LlamaOptions,
    top_k: usize,
}

/// Room of an expert while training, by its even share of the choices.
const CAPACITY: f64 = 1.5;

impl Moe {
    /// Random weights; every block has `experts` of the hidden width of the options, of which a token goes through
    /// `top_k`. The head is the table of the tokens.
    pub fn new(options: LlamaOptions, experts: usize, top_k: usize, device: &Device) -> Moe {
        let LlamaOptions { width, hidden, .. } = options;
        let network = || {
            MixtureOfExperts::new(width, experts, top_k, device, || Mlp::new(width, hidden, device))
                .capacity_factor(CAPACITY)
        };
        Moe { model: Trunk::new(&options, device, network), options, top_k }
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`, and the mean
    /// load-balancing loss of the blocks, a small multiple of which belongs to the loss of a training.
    #[track_caller]
    pub fn forward(&self, tokens: &Tensor) -> (Tensor, Tensor) {
        let mut balances = Vec::new();
        let logits = self.run(tokens, &mut [], &mut balances);
        let mean = Tensor::stack(&balances.iter().collect::<Vec<_>>(), 0).mean_all();
        (logits, mean)
    }

    /// Share of the choices of `tokens`, `[batch, length]`, that each expert of each block gets: `[layers, experts]`.
    #[track_caller]
    pub fn shares(&self, tokens: &Tensor) -> Tensor {
        let mut shares = Vec::new();
        self.model.forward(tokens, &mut [], |experts, x| {
            let (_, chosen) = experts.gate.forward(x).topk(self.top_k, -1, true);
            let chosen = chosen.one_hot(experts.experts.len(), DType::F32);
            shares.push(chosen.mean([0, 1, 2]));
            experts.forward(x).0
        });
        Tensor::stack(&shares.iter().collect::<Vec<_>>(), 0)
    }

    #[track_caller]
    fn run(&self, tokens: &Tensor, caches: &mut [KvCache], balances: &mut Vec<Tensor>) -> Tensor {
        let x = self.model.forward(tokens, caches, |experts, x| {
            let (out, balance) = experts.forward(x);
            balances.push(balance);
            out
        });
        x.matmul(&self.model.embed_tokens.weight.t())
    }
}

impl LanguageModel for Moe {
    fn context(&self) -> usize {
        self.options.context
    }

    fn layers(&self) -> usize {
        self.options.layers
    }

    #[track_caller]
    fn forward_cached(&self, tokens: &Tensor, caches: &mut [KvCache]) -> Tensor {
        self.run(tokens, caches, &mut Vec::new())
    }
}
