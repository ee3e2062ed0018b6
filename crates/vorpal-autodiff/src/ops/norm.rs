//! Normalisations of layers beyond `layer_norm`.

use smallvec::SmallVec;
use vorpal_tensor::{At, Error, Shape};

use super::pointwise::ADD;
use super::shape_error;
use crate::Tensor;

impl Tensor {
    /// Elements of the last axis divided by the root of their mean square (Zhang, Sennrich 2019), times `weight` of the
    /// size of that axis. `eps` is added to the mean square.
    #[track_caller]
    pub fn rms_norm(&self, weight: Option<&Tensor>, eps: f64) -> Tensor {
        let wide = self.wide();
        let mean = wide.square().mean_keepdim(-1);
        let out = (&wide * mean.with_constant(&ADD, eps).rsqrt()).cast(self.dtype());
        match weight {
            Some(weight) => out * weight,
            None => out,
        }
    }

    /// `[examples, channels, …]` with every group of neighbouring channels of an example shifted and scaled to mean 0
    /// and variance 1 (Wu, He 2018), times `weight` plus `bias`, both one number a channel. As
    /// `torch.nn.functional.group_norm`.
    ///
    /// Carries [`Error::Shape`] without an axis of channels, [`Error::Argument`] when `groups` does not divide them.
    #[track_caller]
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        let (at, shape) = (At::caller(), self.shape());
        if self.check().is_err() {
            return self.clone();
        }
        if shape.rank() < 2 {
            let message = "needs [examples, channels, …]";
            return Tensor::error(shape_error("group_norm", message, &[self], at));
        }
        let channels = shape[1];
        if groups == 0 || !channels.is_multiple_of(groups) {
            let message = format!("{channels} channels do not fall into {groups} groups");
            return Tensor::error(Error::Argument { op: "group_norm", message, at });
        }
        let inside = channels / groups * shape[2..].iter().product::<usize>();
        let mut out = self.reshape([shape[0], groups, inside]).normalize(eps).reshape(shape.clone());
        let mut per_channel: SmallVec<[usize; 6]> = smallvec::smallvec![1; shape.rank() - 1];
        per_channel[0] = channels;
        let per_channel = Shape::from(&per_channel[..]);
        if let Some(weight) = weight {
            out = out * weight.reshape(per_channel.clone());
        }
        match bias {
            Some(bias) => out + bias.reshape(per_channel),
            None => out,
        }
    }

    /// [`group_norm`](Tensor::group_norm) of every channel by itself (Ulyanov, Vedaldi, Lempitsky 2016).
    #[track_caller]
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Tensor {
        let channels = self.shape().get(1).copied().unwrap_or(1);
        self.group_norm(channels, weight, bias, eps)
    }
}
