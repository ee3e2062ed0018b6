//! Short films classified.

use vorpal_nn::{BatchNorm3d, Conv3d, Device, Linear, Module, Tensor};

/// A network of convolutions over time and space (C3D, Tran et al. 2015, in small): three convolutions of 3 × 3 × 3 with
/// `width`, 2 · `width` and 4 · `width` filters, each with batch normalisation and ReLU, the first two followed by maxima of
/// 2 × 2 pixels, which leave time alone; the mean over time and space; one fully connected layer. Films
/// `[batch, channels, time, height, width]` to `[batch, classes]`; for one channel, width 8 and eight classes there are
/// 17,872 parameters.
///
/// `vorpal train conv3d` tells in which of eight directions a digit moves, which no single picture shows: it is to be right
/// about 99 % of the films.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::conv::Conv3dNet;
/// let device = Device::cpu();
/// let net = Conv3dNet::new(1, 4, 8, &device);
/// assert_eq!(net.forward(&Tensor::zeros([2, 1, 3, 8, 8], DType::F32, &device)).shape(), [2, 8].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv3dNet {
    convs: Vec<Conv3d>,
    norms: Vec<BatchNorm3d>,
    fc: Linear,
}

impl Conv3dNet {
    /// Random weights.
    pub fn new(channels: usize, width: usize, classes: usize, device: &Device) -> Conv3dNet {
        let sizes = [channels, width, 2 * width, 4 * width];
        let conv =
            |pair: &[usize]| Conv3d::new(pair[0], pair[1], [3; 3], device).padding([1; 3]).without_bias();
        Conv3dNet {
            convs: sizes.windows(2).map(conv).collect(),
            norms: sizes[1..].iter().map(|&filters| BatchNorm3d::new(filters, device)).collect(),
            fc: Linear::new(4 * width, classes, device),
        }
    }

    /// Logits `[batch, classes]` of films `[batch, channels, time, height, width]`.
    #[track_caller]
    pub fn forward(&self, films: &Tensor) -> Tensor {
        let mut x = films.clone();
        for (k, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            if k > 0 {
                x = x.max_pool3d([1, 2, 2]);
            }
            x = norm.forward(&conv.forward(&x)).relu();
        }
        self.fc.forward(&x.mean([2, 3, 4]))
    }
}
