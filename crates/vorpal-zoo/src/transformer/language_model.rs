//! What models of language have in common.

use vorpal_nn::{KvCache, Tensor};

/// A causal model of tokens that can keep the keys and values of what it has seen.
pub trait LanguageModel {
    /// Tokens it sees at once, at most.
    fn context(&self) -> usize;

    /// Blocks, each with a cache of its own.
    fn layers(&self) -> usize;

    /// Logits `[batch, rows, vocabulary]` of the token after each of `tokens`, `[batch, rows]`, which follow those in the
    /// caches, which take them in.
    fn forward_cached(&self, tokens: &Tensor, caches: &mut [KvCache]) -> Tensor;

    /// An empty cache for every block, with room for the whole context.
    fn caches(&self) -> Vec<KvCache> {
        vec![KvCache::new(self.context()); self.layers()]
    }
}
