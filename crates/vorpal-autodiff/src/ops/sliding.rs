//! Windows that move over the axes of images: what convolution and pooling share.

use vorpal_tensor::Shape;

/// How a window moves along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Elements of the window.
    pub window: usize,
    /// Pixels between two places.
    pub stride: usize,
    /// Pixels outside, in front and behind.
    pub padding: [usize; 2],
    /// Distance of the elements.
    pub dilation: usize,
    /// Whether the last place may reach over the padding, if it starts in the image or in the padding before it.
    pub ceil: bool,
}

impl Step {
    /// Kernels count places in 32 bits and tell what lies in front of an image by the highest.
    const PIXELS_MAX: usize = 1 << 30;

    fn check(&self, size: usize) -> Result<usize, String> {
        let Step { window, stride, padding: [front, back], dilation, .. } = *self;
        if size == 0 || window == 0 || stride == 0 || dilation == 0 {
            return Err(format!(
                "pixels ({size}), window ({window}), stride ({stride}) and dilation ({dilation}) must be at least 1"
            ));
        }
        let reach = dilation.saturating_mul(window - 1).saturating_add(1);
        if [reach, size, stride, dilation, front, back].iter().any(|&n| n >= Step::PIXELS_MAX) {
            return Err(format!(
                "pixels ({size}), padding ({front}, {back}), stride ({stride}) and what the window reaches over ({reach}) \
                 must be less than 2³⁰"
            ));
        }
        Ok(reach)
    }

    /// How many places the window has on an axis of `size` pixels.
    pub fn places(&self, size: usize) -> Result<usize, String> {
        let reach = self.check(size)?;
        let [front, back] = self.padding;
        let padded = front + back + size;
        let Some(room) = padded.checked_sub(reach) else {
            return Err(format!("the window reaches over {reach} pixels, the padded image has {padded}"));
        };
        let more = usize::from(self.ceil && room % self.stride > 0);
        let last = room / self.stride + more;
        // A place that starts behind the image sees nothing of it.
        Ok(if more == 1 && last * self.stride >= size + front { last } else { last + 1 })
    }

    /// Pixels from the first to the last that `places` of the window reach over.
    pub fn reach_of(&self, places: usize) -> Result<usize, String> {
        let reach = self.check(places)?;
        let all = (places - 1).saturating_mul(self.stride).saturating_add(reach);
        if all >= Step::PIXELS_MAX {
            return Err(format!("a result of {all} pixels is too large"));
        }
        Ok(all)
    }
}

/// A list for `N` axes as one for three: of the missing ones in front each is `rest`.
pub(super) fn lift<const N: usize>(list: [usize; N], rest: usize) -> [usize; 3] {
    let mut out = [rest; 3];
    out[3 - N..].copy_from_slice(&list);
    out
}

/// Sizes of the axes of images behind batch and channels. The rank must be `N + 2`.
pub(super) fn extent<const N: usize>(shape: &Shape) -> [usize; N] {
    std::array::from_fn(|k| shape[k + 2])
}

/// The axes of images, as errors name them.
pub(super) fn image_axes(axes: usize) -> &'static str {
    match axes {
        1 => "[batch, channels, width]",
        2 => "[batch, channels, height, width]",
        _ => "[batch, channels, depth, height, width]",
    }
}
