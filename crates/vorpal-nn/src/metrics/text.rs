//! Metrics of texts that were generated: words in, numbers out.

use std::collections::HashMap;

/// Longest run of words that [`Bleu`] looks at.
const ORDER: usize = 4;

/// BLEU of a corpus (Papineni et al. 2002), from 0 to 100, with the exponential smoothing of sacreBLEU: where no run of
/// some length is right, half, a quarter, … of one counts.
///
/// Texts are lists of words, so that how they are cut is up to the caller.
///
/// ```
/// use vorpal_nn::metrics::Bleu;
/// let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
/// let mut bleu = Bleu::new();
/// bleu.update(&words("the cat sat on the mat"), &[words("the cat sat on the mat")]);
/// assert!((bleu.compute() - 100.0).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Bleu {
    right: [u64; ORDER],
    all: [u64; ORDER],
    length: u64,
    wanted: u64,
}

impl Bleu {
    /// Without any texts.
    pub fn new() -> Bleu {
        Bleu::default()
    }

    /// Adds a text and those that would have been right.
    pub fn update<W: AsRef<str>>(&mut self, text: &[W], references: &[Vec<W>]) {
        let length = text.len() as u64;
        self.length += length;
        // The length that is nearest, of two the shorter one.
        let nearest = references.iter().map(|r| r.len() as u64).min_by_key(|&r| (r.abs_diff(length), r));
        self.wanted += nearest.unwrap_or(0);
        for n in 1..=ORDER {
            let mut most: HashMap<Vec<&str>, u64> = HashMap::new();
            for reference in references {
                for (run, count) in runs(reference, n) {
                    let known = most.entry(run).or_default();
                    *known = count.max(*known);
                }
            }
            for (run, count) in runs(text, n) {
                self.all[n - 1] += count;
                self.right[n - 1] += count.min(most.get(&run).copied().unwrap_or(0));
            }
        }
    }

    /// The number over all texts; 0 without any.
    pub fn compute(&self) -> f64 {
        if self.length == 0 || self.right == [0; ORDER] {
            return 0.0;
        }
        let (mut log, mut smooth, mut orders) = (0.0, 1.0, 0.0);
        for (&right, &all) in self.right.iter().zip(&self.all) {
            if all == 0 {
                // Shorter texts have no runs of this length.
                return 0.0;
            }
            let share = if right == 0 {
                smooth *= 2.0;
                1.0 / (smooth * all as f64)
            } else {
                right as f64 / all as f64
            };
            (log, orders) = (log + share.ln(), orders + 1.0);
        }
        let short = (1.0 - self.wanted as f64 / self.length as f64).min(0.0);
        100.0 * (short + log / orders).exp()
    }
}

/// Runs of `n` words and how often each comes up.
fn runs<W: AsRef<str>>(text: &[W], n: usize) -> HashMap<Vec<&str>, u64> {
    let mut counts = HashMap::new();
    for run in text.windows(n) {
        *counts.entry(run.iter().map(AsRef::as_ref).collect()).or_default() += 1;
    }
    counts
}

/// ROUGE-L (Lin 2004): the F-measure, from 0 to 1, of the longest common subsequence of a text and the wanted one.
///
/// ```
/// use vorpal_nn::metrics::rouge_l;
/// let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
/// assert_eq!(rouge_l(&words("police kill the gunman"), &words("police killed the gunman")), 0.75);
/// ```
pub fn rouge_l<W: AsRef<str>>(text: &[W], reference: &[W]) -> f64 {
    let mut row = vec![0usize; reference.len() + 1];
    for word in text {
        let mut corner = 0;
        for (k, other) in reference.iter().enumerate() {
            let above = row[k + 1];
            row[k + 1] = if word.as_ref() == other.as_ref() { corner + 1 } else { above.max(row[k]) };
            corner = above;
        }
    }
    let common = row[reference.len()] as f64;
    if common == 0.0 { 0.0 } else { 2.0 * common / (text.len() + reference.len()) as f64 }
}
