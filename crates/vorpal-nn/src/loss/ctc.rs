//! Losses of sequences whose alignment is not known.

use vorpal_autodiff::{At, DType, Result, Tensor, scan};

use super::{Reduction, failed, misfit};

/// The logarithm of what cannot be. Finite, so that derivatives are no NaN.
const NEVER: f64 = -1e30;

/// Minus the log-probability of a sequence of labels over all its alignments (Graves et al. 2006), PyTorch's `CTCLoss`.
/// The forward algorithm in logarithms, a step of the graph for each step of time; derivatives come from it.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::CtcLoss};
/// let device = Device::cpu();
/// // Two steps of time, one example, a blank and a label of the same probability: "a" is aa, -a or a-.
/// let log_probs = Tensor::from_slice(&[0.5f32.ln(); 4], [2, 1, 2], &device);
/// let number = |n: i32, shape: &[usize]| Tensor::from_slice(&[n], shape, &device);
/// let loss = CtcLoss::default().forward(&log_probs, &number(1, &[1, 1]), &number(2, &[1]), &number(1, &[1]));
/// assert!((loss.item::<f32>()? + 0.75f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CtcLoss {
    /// The class that stands for no label.
    pub blank: usize,
    /// Whether sequences that are too long for their input cost nothing rather than ∞.
    pub zero_infinity: bool,
    /// How losses are reduced. The mean is that of losses divided by the lengths of their targets.
    pub reduction: Reduction,
}

impl CtcLoss {
    /// The loss of log-probabilities `[time, batch, classes]` and labels `[batch, longest]` (integers, padded with
    /// anything), with the lengths of both `[batch]` (integers).
    #[track_caller]
    pub fn forward(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: &Tensor,
        target_lengths: &Tensor,
    ) -> Tensor {
        let at = At::caller();
        let operands = [log_probs, targets, input_lengths, target_lengths];
        if let Some(error) = failed(&operands) {
            return error;
        }
        let fits = match (&*log_probs.shape(), &*targets.shape()) {
            (&[time, batch, classes], &[found, _]) => {
                let list = |x: &Tensor| *x.shape() == [batch] && x.dtype().is_integer();
                let whole = targets.dtype().is_integer();
                time > 0
                    && found == batch
                    && self.blank < classes
                    && whole
                    && list(input_lengths)
                    && list(target_lengths)
            }
            _ => false,
        };
        if !fits {
            let message = "asked for log-probabilities [time, batch, classes], labels [batch, longest] and two lists \
                           of lengths [batch], integers, with the blank among the classes";
            return misfit("ctc_loss", message, &operands, at);
        }
        let wide = if log_probs.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let losses = self.losses(&log_probs.cast(wide), targets, input_lengths, target_lengths);
        let losses = Tensor::from(losses);
        let reduced = if self.reduction == Reduction::Mean {
            let lengths = target_lengths.cast(wide).clamp_min(1.0);
            Reduction::Mean.apply(&(losses / lengths))
        } else {
            self.reduction.apply(&losses)
        };
        reduced.cast(log_probs.dtype())
    }

    /// The loss of every example.
    fn losses(
        &self,
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: &Tensor,
        target_lengths: &Tensor,
    ) -> Result<Tensor> {
        let [time, batch, _] = log_probs.dims::<3>()?;
        let [_, longest] = targets.dims::<2>()?;
        let (states, device) = (2 * longest + 1, log_probs.device()?);
        let never = |shape: [usize; 2]| Tensor::full(shape, NEVER, log_probs.dtype(), &device);
        let blank = |n: usize| Tensor::full([batch, n], self.blank as f64, DType::I32, &device);
        let labels = target_lengths.sequence_mask(longest).select(targets.cast(DType::I32), blank(longest));
        // Labels with blanks around: places 0, 2, … are blanks.
        let between = |even: &Tensor, odd: &Tensor, last: &Tensor| {
            let pairs = Tensor::stack(&[even, odd], -1).reshape([batch, 2 * longest]);
            Tensor::concat(&[&pairs, last], -1)
        };
        let extended = between(&blank(longest), &labels, &blank(1));
        // A blank may be left out between two different labels.
        let before = labels.pad(-1, 1, 0, -1.0).narrow(-1, 0, longest);
        let (free, barred) =
            (Tensor::zeros([batch, longest], log_probs.dtype(), &device), never([batch, longest]));
        let skip = between(&barred, &labels.ne(&before).select(&free, &barred), &never([batch, 1]));

        let index = extended.unsqueeze(0).broadcast_to([time, batch, states]);
        let heard = log_probs.clamp_min(NEVER).gather(2, &index);
        let place = Tensor::iota([batch, states], 1, DType::I32, &device);
        let first = place.lt(2i32).select(heard.narrow(0, 0, 1).squeeze(0), never([batch, states]));
        let lasts = input_lengths.sequence_mask(time).t().unsqueeze(-1);
        let later = |x: &Tensor| x.narrow(0, 1, time - 1);
        let (alpha, ()) = scan(&first, &(later(&heard), later(&lasts)), |alpha, (heard, lasts)| {
            let moved = |by: usize| alpha.pad(-1, by, 0, NEVER).narrow(-1, 0, states);
            let reached = alpha.logaddexp(moved(1)).logaddexp(moved(2) + &skip) + heard;
            (lasts.select(&reached, alpha), ())
        })?;
        // The last label or the blank behind it.
        let end = (target_lengths.cast(DType::I32) * 2i32).unsqueeze(-1);
        let ends = place
            .le(&end)
            .select(place.ge(end - 1i32).select(&alpha, never([batch, states])), never([batch, states]));
        let loss = -ends.logsumexp(-1);
        let impossible = loss.gt(loss.full_like(-0.1 * NEVER));
        let instead = if self.zero_infinity { 0.0 } else { f64::INFINITY };
        Ok(impossible.select(loss.full_like(instead), &loss))
    }
}
