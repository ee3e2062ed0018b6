//! Steps that were called off, counted on the device.

use vorpal_autodiff::{DType, Device, Result, Tensor, Tensors};

/// How many steps of an epoch were called off, and what the first of them was since the last look: numbers on the
/// device, which are part of the step's plan and are read when the loss is.
pub(super) struct Skipped {
    device: Device,
    count: Tensor,
    /// The first step, from 1; 0 for none.
    step: Tensor,
    loss: Tensor,
    norm: Tensor,
    has_norm: bool,
}

impl Skipped {
    /// So many, and none to tell of.
    pub fn new(count: u64, device: &Device) -> Skipped {
        let number = |value: f32| Tensor::from_slice(&[value], [], device);
        let (step, loss, norm) = (number(0.0), number(0.0), number(0.0));
        Skipped { device: device.clone(), count: number(count as f32), step, loss, norm, has_norm: false }
    }

    /// Notes a step.
    pub fn note(&mut self, sound: &Tensor, step: u64, loss: &Tensor, norm: Option<&Tensor>) {
        let bad = sound.logical_not();
        let first = bad.logical_and(self.step.eq(self.step.full_like(0.0)));
        self.loss = first.select(loss, &self.loss);
        if let Some(norm) = norm {
            self.norm = first.select(norm, &self.norm);
            self.has_norm = true;
        }
        self.step = &self.step + first.cast(DType::F32) * step as f64;
        self.count = &self.count + bad.cast(DType::F32);
    }

    /// How many there were. Reads.
    pub fn count(&self) -> Result<u64> {
        Ok(self.count.item::<f32>()? as u64)
    }

    /// The first one: step, loss, and norm of the gradient if it is known. Reads.
    pub fn first(&self) -> Result<(u64, f32, Option<f32>)> {
        let norm = if self.has_norm { Some(self.norm.item::<f32>()?) } else { None };
        Ok((self.step.item::<f32>()? as u64, self.loss.item()?, norm))
    }

    /// Goes on counting from `count`, with no first one.
    pub fn forget(&mut self, count: u64) {
        *self = Skipped::new(count, &self.device);
    }
}

impl Tensors for Skipped {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        [&self.count, &self.step, &self.loss, &self.norm].into_iter().for_each(f);
    }
}
