//! What to blame when a loss is no number.

use vorpal_autodiff::{DType, Result, Tensor, Tensors, first_non_finite};

use crate::Module;

/// Says in words where the first value came from that is not finite: a parameter, the batch, or an op of the graph that
/// `loss` builds, which is run again node by node.
pub(super) fn blame<M: Module, B: Tensors>(
    model: &M,
    batches: &[B],
    loss: impl Fn(&B) -> Tensor,
) -> Result<String> {
    let mut found = None;
    model.walk("", &mut |name, _, tensor| {
        if found.is_none() {
            match is_finite(tensor) {
                Ok(false) => found = Some(Ok(format!("\"{name}\" of the model is not finite"))),
                Ok(true) => {}
                Err(error) => found = Some(Err(error)),
            }
        }
    });
    for (k, batch) in batches.iter().enumerate() {
        let mut number = 0;
        batch.visit(&mut |tensor| {
            if found.is_none() {
                match is_finite(tensor) {
                    Ok(false) => found = Some(Ok(format!("tensor {number} of batch {k} is not finite"))),
                    Ok(true) => {}
                    Err(error) => found = Some(Err(error)),
                }
            }
            number += 1;
        });
        if found.is_none()
            && let Some(bad) = first_non_finite(&loss(batch))?
        {
            found = Some(Ok(format!(
                "the first value that is {} comes from {} {} at {}",
                bad.what, bad.node.op, bad.node.spec, bad.node.at
            )));
        }
    }
    found.unwrap_or_else(|| {
        Ok("all values of the forward pass are finite: look at the backward pass".to_string())
    })
}

fn is_finite(x: &Tensor) -> Result<bool> {
    if !x.dtype().is_float() {
        return Ok(true);
    }
    let bad = x.is_finite().logical_not().cast(DType::I32).sum_all();
    Ok(bad.item::<i32>()? == 0)
}
