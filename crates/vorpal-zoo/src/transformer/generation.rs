//! How language models go on with a text.

use vorpal_nn::{DType, Device, Error, KvCache, Result, Tensor, eval};

use super::LanguageModel;

/// How the next token is picked from logits.
///
/// ```
/// use vorpal_zoo::transformer::Sampling;
/// let logits = [0.1, 2.0, 1.9, -3.0];
/// assert_eq!(Sampling::greedy().pick(&logits, 0), 1);
/// let two = Sampling { top_k: Some(2), ..Sampling::default() };
/// assert!((0..20).all(|k| [1, 2].contains(&two.pick(&logits, k))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it: below 1 for likelier tokens; 0 for the likeliest.
    pub temperature: f64,
    /// Only so many of the likeliest (Fan et al. 2018).
    pub top_k: Option<usize>,
    /// Only the likeliest that have this probability together (Holtzman et al. 2020).
    pub top_p: Option<f64>,
    /// Of the dice.
    pub seed: u64,
}

impl Default for Sampling {
    /// All tokens, by their probabilities.
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// The likeliest token, always.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// The token of throw number `throw`, by the logits of all; 0 of none.
    pub fn pick(&self, logits: &[f32], throw: u32) -> u32 {
        let [low, high] = [self.seed as u32, (self.seed >> 32) as u32];
        let word = vorpal_autodiff::philox_word(throw, [low, high], [0, 0]);
        self.pick_by(logits, f64::from(word) / 4_294_967_296.0)
    }

    /// `dice` in 0..1 falls on each token with its probability.
    fn pick_by(&self, logits: &[f32], dice: f64) -> u32 {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let Some(&first) = order.first() else { return 0 };
        if self.temperature <= 0.0 {
            return first as u32;
        }
        order.truncate(self.top_k.unwrap_or(order.len()).max(1));
        let weight = |token: usize| (f64::from(logits[token] - logits[first]) / self.temperature).exp();
        let mut weights: Vec<f64> = order.iter().map(|&token| weight(token)).collect();
        if let Some(top_p) = self.top_p {
            let mut left = top_p * weights.iter().sum::<f64>();
            let enough = weights.iter().position(|w| {
                left -= w;
                left <= 0.0
            });
            weights.truncate(enough.map_or(weights.len(), |last| last + 1));
        }
        let mut rest = dice * weights.iter().sum::<f64>();
        for (&token, weight) in order.iter().zip(&weights) {
            rest -= weight;
            if rest < 0.0 {
                return token as u32;
            }
        }
        first as u32
    }
}

/// Takes rows of tokens in and gives the logits behind the last of each, `[rows, vocabulary]`.
fn take_in<M: LanguageModel>(
    model: &M,
    tokens: &[Vec<u32>],
    caches: &mut [KvCache],
    device: &Device,
) -> Result<Vec<Vec<f32>>> {
    let (rows, length) = (tokens.len(), tokens.first().map_or(0, Vec::len));
    if length == 0 {
        return Err(Error::argument("generate", "there is no token to go on from"));
    }
    let tokens = Tensor::from_slice(&tokens.concat(), [rows, length], device);
    let logits = model.forward_cached(&tokens, caches).narrow(1, length - 1, 1).squeeze(1);
    eval(&(&logits, &*caches))?;
    let vocabulary = logits.shape().last().copied().unwrap_or(1).max(1);
    Ok(logits.cast(DType::F32).to_vec::<f32>()?.chunks(vocabulary).map(<[f32]>::to_vec).collect())
}

/// `prompt` and `count` tokens that a model goes on with. Keys and values are kept: each step computes one row.
///
/// # Errors
/// [`Error::Argument`] for an empty prompt or more tokens than the model's context; what evaluation gives, for a token
/// out of the vocabulary for example.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::GptOptions;
/// use vorpal_zoo::transformer::{Gpt2, Sampling, generate};
/// let device = Device::cpu();
/// let model = Gpt2::new(GptOptions { vocabulary: 11, context: 8, width: 16, heads: 2, layers: 1 }, &device);
/// let tokens = generate(&model, &[3, 1], 2, &Sampling::greedy(), &device)?;
/// assert_eq!((tokens.len(), &tokens[..2]), (4, &[3, 1][..]));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn generate<M: LanguageModel>(
    model: &M,
    prompt: &[u32],
    count: usize,
    sampling: &Sampling,
    device: &Device,
) -> Result<Vec<u32>> {
    let (mut all, mut next, mut caches) = (prompt.to_vec(), prompt.to_vec(), model.caches());
    for throw in 0..count {
        let logits = take_in(model, &[next], &mut caches, device)?;
        let token = sampling.pick(logits.first().map_or(&[], Vec::as_slice), throw as u32);
        all.push(token);
        next = vec![token];
    }
    Ok(all)
}

/// The likeliest of the continuations by `count` tokens that a beam of `beams` finds, the best first: `prompt` with what
/// follows, and the sum of the log-probabilities of that. A beam as wide as there are continuations finds the likeliest
/// of all.
///
/// # Errors
/// As [`generate`].
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::GptOptions;
/// use vorpal_zoo::transformer::{Gpt2, beam_search};
/// let device = Device::cpu();
/// let model = Gpt2::new(GptOptions { vocabulary: 11, context: 8, width: 16, heads: 2, layers: 1 }, &device);
/// let found = beam_search(&model, &[3, 1], 2, 3, &device)?;
/// assert_eq!(found.len(), 3);
/// assert!(found[0].1 >= found[1].1);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn beam_search<M: LanguageModel>(
    model: &M,
    prompt: &[u32],
    count: usize,
    beams: usize,
    device: &Device,
) -> Result<Vec<(Vec<u32>, f64)>> {
    let mut caches = model.caches();
    let mut found = vec![(prompt.to_vec(), 0.0)];
    let mut next = vec![prompt.to_vec()];
    for _ in 0..count {
        let logits = take_in(model, &next, &mut caches, device)?;
        let mut further = Vec::new();
        for (row, ((_, so_far), logits)) in found.iter().zip(&logits).enumerate() {
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let all: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
            let score = |l: f32| so_far + f64::from(l - largest) - all.ln();
            further.extend(logits.iter().enumerate().map(|(token, &l)| (score(l), row, token as u32)));
        }
        further.sort_by(|a, b| b.0.total_cmp(&a.0));
        further.truncate(beams.max(1));
        let grown = |&(score, row, token): &(f64, usize, u32)| {
            let mut tokens = found[row].0.clone();
            tokens.push(token);
            (tokens, score)
        };
        found = further.iter().map(grown).collect();
        next = further.iter().map(|&(_, _, token)| vec![token]).collect();
        let rows: Vec<i32> = further.iter().map(|&(_, row, _)| row as i32).collect();
        let rows = Tensor::from_slice(&rows, [rows.len()], device);
        caches.iter_mut().for_each(|cache| cache.reorder(&rows));
    }
    Ok(found)
}

/// The likeliest token after each, for models that answer a source: `[batch, count]` tokens row by row, where `logits`
/// answers tokens `[batch, count]` (`start` in front, what is not known yet is `start` as well) with `[batch, count,
/// vocabulary]`. One shape for all steps, so that one plan serves them all.
///
/// # Errors
/// What evaluation gives.
pub(super) fn greedy(
    batch: usize,
    count: usize,
    start: i32,
    device: &Device,
    logits: impl Fn(&Tensor) -> Tensor,
) -> Result<Vec<Vec<i32>>> {
    let mut rows = vec![vec![start; count + 1]; batch];
    for k in 0..count {
        let given: Vec<i32> = rows.iter().flat_map(|row| row[..count].iter().copied()).collect();
        let best = logits(&Tensor::from_slice(&given, [batch, count], device)).argmax(-1);
        let best = best.cast(DType::I32).to_vec::<i32>()?;
        rows.iter_mut().zip(best.chunks(count)).for_each(|(row, best)| row[k + 1] = best[k]);
    }
    Ok(rows.into_iter().map(|row| row[1..].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::Sampling;

    #[test]
    fn the_dice_fall_by_probability() {
        let logits = [0.0, (3.0f32).ln(), f32::NEG_INFINITY];
        let picked = |dice| Sampling::default().pick_by(&logits, dice);
        assert_eq!([picked(0.0), picked(0.74), picked(0.76), picked(0.9999)], [1, 1, 0, 0]);
        assert_eq!(Sampling::greedy().pick_by(&logits, 0.9), 1);
        let cold = Sampling { temperature: 0.01, ..Sampling::default() };
        assert_eq!(cold.pick_by(&logits, 1.0 - 1e-9), 1, "cold dice hardly fall elsewhere");
    }

    #[test]
    fn the_unlikely_are_left_out() {
        let logits: Vec<f32> = [0.5f32, 0.1, 0.3, 0.1].iter().map(|p| p.ln()).collect();
        let last = |sampling: Sampling| sampling.pick_by(&logits, 0.9999);
        assert_eq!(last(Sampling { top_k: Some(1), ..Sampling::default() }), 0);
        assert_eq!(last(Sampling { top_k: Some(2), ..Sampling::default() }), 2);
        assert_eq!(last(Sampling { top_p: Some(0.4), ..Sampling::default() }), 0);
        assert_eq!(last(Sampling { top_p: Some(0.7), ..Sampling::default() }), 2);
        assert_eq!(last(Sampling { top_p: Some(1.0), ..Sampling::default() }), 3);
    }
}
