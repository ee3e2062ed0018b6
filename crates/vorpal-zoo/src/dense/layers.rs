//! What plain networks share.

use vorpal_nn::Tensor;

/// The answer of layers with ReLU between, to images that are made one row each.
#[track_caller]
pub(crate) fn answer<L>(layers: &[L], images: &Tensor, forward: impl Fn(&L, &Tensor) -> Tensor) -> Tensor {
    let mut x = images.flatten(1, -1);
    for (k, layer) in layers.iter().enumerate() {
        x = forward(layer, &if k > 0 { x.relu() } else { x });
    }
    x
}
