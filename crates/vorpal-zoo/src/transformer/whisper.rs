//! Whisper: a text that answers a sound.

use vorpal_nn::{
    AttentionOptions, Conv1d, Device, Embedding, LayerNorm, Linear, Module, Result, State, Tensor, init,
    multi_head_attention,
};

use super::parts::{deviation, linear, probabilities, unbiased};

/// Sizes of a [`Whisper`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WhisperOptions {
    /// Different tokens.
    pub vocabulary: usize,
    /// Bands of the spectrogram.
    pub bands: usize,
    /// Windows of the spectrogram that the encoder takes, at most: twice its positions.
    pub windows: usize,
    /// Tokens of an answer, at most.
    pub context: usize,
    /// Numbers that stand for a token.
    pub width: usize,
    /// Heads of each attention; divides the width.
    pub heads: usize,
    /// Blocks of the encoder, and of the decoder.
    pub layers: usize,
}

impl Default for WhisperOptions {
    /// For a second of tones: 0.2 million parameters.
    fn default() -> WhisperOptions {
        WhisperOptions { vocabulary: 11, bands: 40, windows: 50, context: 5, width: 64, heads: 4, layers: 2 }
    }
}

/// Whisper (Radford et al. 2023): two convolutions and blocks read a log-mel spectrogram (see [`Mel`](super::Mel)), blocks
/// that look at what they made of it write a text. Parameters are named and laid out as in
/// `WhisperForConditionalGeneration` of transformers, whose files load as they are; whisper-tiny has a vocabulary of
/// 51865, 80 bands, 3000 windows, a context of 448, a width of 384, 6 heads and 4 layers: 37.8 million parameters.
///
/// Spectrograms are `[batch, bands, windows]`, tokens `[batch, length]`, logits `[batch, length, vocabulary]`.
/// [`Tones`](crate::data::Tones) are sounds whose text is known; `vorpal train whisper` (254,464 parameters) must write 95 %
/// of them without a mistake.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::transformer::{Whisper, WhisperOptions};
/// let device = Device::cpu();
/// let model = Whisper::new(WhisperOptions { width: 8, heads: 2, layers: 1, ..WhisperOptions::default() }, &device);
/// let sound = Tensor::zeros([1, 40, 50], DType::F32, &device);
/// let tokens = Tensor::from_slice(&[10i32, 3], [1, 2], &device);
/// assert_eq!(model.forward(&sound, &tokens).shape(), [1, 2, 11].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Whisper {
    model: Both,
}

#[derive(Clone, Debug, Module)]
struct Both {
    encoder: Encoder,
    decoder: Decoder,
}

#[derive(Clone, Debug, Module)]
struct Encoder {
    conv1: Conv1d,
    conv2: Conv1d,
    embed_positions: Fixed,
    layers: Vec<Block>,
    layer_norm: LayerNorm,
}

#[derive(Clone, Debug, Module)]
struct Decoder {
    embed_tokens: Embedding,
    embed_positions: Embedding,
    layers: Vec<Block>,
    layer_norm: LayerNorm,
}

/// Positions that are not trained.
#[derive(Clone, Debug, Module)]
struct Fixed {
    weight: State,
}

#[derive(Clone, Debug, Module)]
struct Block {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    /// The sound, in the decoder.
    encoder_attn: Option<Attention>,
    encoder_attn_layer_norm: Option<LayerNorm>,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
}

#[derive(Clone, Debug, Module)]
struct Attention {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

/// Sines, then cosines, of the position by waves that grow evenly in logarithm to 10,000: `[positions, width]`.
fn waves(positions: usize, width: usize, device: &Device) -> Tensor {
    let half = width / 2;
    let number = |t: usize, k: usize| {
        let wave = 10_000f64.powf(-((k % half.max(1)) as f64) / (half.max(2) - 1) as f64);
        let angle = t as f64 * wave;
        (if k < half { angle.sin() } else { angle.cos() }) as f32
    };
    let all: Vec<f32> = (0..positions).flat_map(|t| (0..width).map(move |k| number(t, k))).collect();
    Tensor::from_slice(&all, [positions, width], device)
}

impl Attention {
    fn new(width: usize, heads: usize, device: &Device) -> Attention {
        let project = || linear(width, width, deviation(width), device);
        Attention {
            k_proj: unbiased(width, width, deviation(width), device),
            v_proj: project(),
            q_proj: project(),
            out_proj: project(),
            heads,
        }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor, memory: &Tensor, options: AttentionOptions) -> Tensor {
        let (q, k) = (self.q_proj.forward(x), self.k_proj.forward(memory));
        self.out_proj.forward(&multi_head_attention(
            &q,
            &k,
            &self.v_proj.forward(memory),
            self.heads,
            options,
        ))
    }

    /// Where it looks, `[batch, heads, rows, rows of memory]`.
    #[track_caller]
    fn looks(&self, x: &Tensor, memory: &Tensor) -> Tensor {
        let (q, k) = (self.q_proj.forward(x), self.k_proj.forward(memory));
        let columns = q.shape().last().copied().unwrap_or(0) / self.heads.max(1);
        probabilities(&q, &k, self.heads, (columns.max(1) as f64).sqrt().recip(), None)
    }
}

impl Block {
    fn new(options: &WhisperOptions, decodes: bool, device: &Device) -> Block {
        let WhisperOptions { width, heads, .. } = *options;
        Block {
            self_attn: Attention::new(width, heads, device),
            self_attn_layer_norm: LayerNorm::new(width, device),
            encoder_attn: decodes.then(|| Attention::new(width, heads, device)),
            encoder_attn_layer_norm: decodes.then(|| LayerNorm::new(width, device)),
            fc1: linear(width, 4 * width, deviation(width), device),
            fc2: linear(4 * width, width, deviation(width), device),
            final_layer_norm: LayerNorm::new(width, device),
        }
    }

    /// The block, and where it looks at the sound.
    #[track_caller]
    fn forward(&self, x: &Tensor, memory: Option<&Tensor>) -> (Tensor, Option<Tensor>) {
        let inner = self.self_attn_layer_norm.forward(x);
        let own = AttentionOptions { causal: memory.is_some(), ..AttentionOptions::default() };
        let mut x = x + self.self_attn.forward(&inner, &inner, own);
        let mut looks = None;
        if let (Some(memory), Some(cross), Some(norm)) =
            (memory, &self.encoder_attn, &self.encoder_attn_layer_norm)
        {
            let inner = norm.forward(&x);
            looks = Some(cross.looks(&inner, memory));
            x = &x + cross.forward(&inner, memory, AttentionOptions::default());
        }
        let inner = self.fc1.forward(&self.final_layer_norm.forward(&x)).gelu();
        (&x + self.fc2.forward(&inner), looks)
    }
}

impl Whisper {
    /// Random weights, as Whisper starts: normal with deviation 0.02 for a width of 768, more for smaller ones.
    pub fn new(options: WhisperOptions, device: &Device) -> Whisper {
        let WhisperOptions { vocabulary, bands, windows, context, width, layers, .. } = options;
        let blocks = |decodes: bool| (0..layers).map(|_| Block::new(&options, decodes, device)).collect();
        let table =
            |entries: usize| Embedding::from_weight(init::normal([entries, width], deviation(width), device));
        let encoder = Encoder {
            conv1: Conv1d::new(bands, width, [3], device).padding([1]),
            conv2: Conv1d::new(width, width, [3], device).padding([1]).stride([2]),
            embed_positions: Fixed { weight: State::new(waves(windows.div_ceil(2), width, device)) },
            layers: blocks(false),
            layer_norm: LayerNorm::new(width, device),
        };
        let decoder = Decoder {
            embed_tokens: table(vocabulary),
            embed_positions: table(context),
            layers: blocks(true),
            layer_norm: LayerNorm::new(width, device),
        };
        Whisper { model: Both { encoder, decoder } }
    }

    /// What the encoder makes of spectrograms `[batch, bands, windows]`: `[batch, windows ∕ 2, width]`.
    #[track_caller]
    pub fn encode(&self, sounds: &Tensor) -> Tensor {
        let Encoder { conv1, conv2, embed_positions, layers, layer_norm } = &self.model.encoder;
        let x = conv2.forward(&conv1.forward(sounds).gelu()).gelu().transpose(1, 2);
        let rows = x.shape().get(1).copied().unwrap_or(0);
        let x = x + embed_positions.weight.get().narrow(0, 0, rows);
        layer_norm.forward(&layers.iter().fold(x, |x, block| block.forward(&x, None).0))
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, of an answer to encoded sounds, and where
    /// the last block looks at them, `[batch, heads, length, windows ∕ 2]`.
    #[track_caller]
    pub fn decode(&self, tokens: &Tensor, memory: &Tensor) -> (Tensor, Tensor) {
        let Decoder { embed_tokens, embed_positions, layers, layer_norm } = &self.model.decoder;
        let length = tokens.shape().last().copied().unwrap_or(0);
        let mut x = embed_tokens.forward(tokens) + embed_positions.weight.narrow(0, 0, length);
        let mut looks = memory.clone();
        for block in layers {
            let (out, seen) = block.forward(&x, Some(memory));
            (x, looks) = (out, seen.unwrap_or(looks));
        }
        (layer_norm.forward(&x).matmul(&embed_tokens.weight.t()), looks)
    }

    /// Logits `[batch, length, vocabulary]` of the token after each of `tokens`, `[batch, length]`, given spectrograms
    /// `[batch, bands, windows]`.
    #[track_caller]
    pub fn forward(&self, sounds: &Tensor, tokens: &Tensor) -> Tensor {
        self.decode(tokens, &self.encode(sounds)).0
    }

    /// The likeliest `count` tokens one after the other as an answer to each of `sounds`, behind the token `start`.
    ///
    /// # Errors
    /// What evaluation gives.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn answer(&self, sounds: &Tensor, start: i32, count: usize) -> Result<Vec<Vec<i32>>> {
        let (device, batch) = (sounds.device()?, sounds.shape().first().copied().unwrap_or(0));
        let memory = self.encode(sounds);
        vorpal_nn::eval(&memory)?;
        super::generation::greedy(batch, count, start, &device, |tokens| self.decode(tokens, &memory).0)
    }
}
