//! What does a treatment do, when the sick are treated more often? Comparing those who were treated with the others says it harms;
//! two heads over the same layers say what it does to each.
//!
//! `VORPAL_DEVICE` chooses the device: `cpu`, `software`, `gpu:0`, or a part of an adapter's name.

use vorpal::prelude::*;

#[derive(Module)]
struct TwoOutcomes {
    hidden: Linear,
    out: Linear,
}

impl TwoOutcomes {
    /// Expected outcomes `[batch, 2]` without and with the treatment.
    fn forward(&self, x: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(x).tanh())
    }
}

fn main() -> Result<()> {
    let device = Device::best()?;
    device.seed(7);
    // How sick someone is, who is treated, and how well they are afterwards: the treatment adds 1, and 2 to the very sick.
    let x = Tensor::randn([2000, 1], DType::F32, &device);
    let sick = x.squeeze(1);
    let odds = (&sick * 2.0).sigmoid();
    let treated = Tensor::rand([2000], DType::F32, &device).lt(&odds).cast(DType::F32);
    let effect = sick.gt(1.0).cast(DType::F32) + 1.0;
    let outcome = &sick * -2.0 + &treated * &effect + Tensor::randn([2000], DType::F32, &device) * 0.3;
    eval(&(&x, &treated, &outcome, &effect))?;

    let mean = |of: &Tensor| (&outcome * of).sum_all() / of.sum_all();
    let naive = (mean(&treated) - mean(&(1.0 - &treated))).item::<f32>()?;

    let mut model = TwoOutcomes { hidden: Linear::new(1, 16, &device), out: Linear::new(16, 2, &device) };
    let mut optimizer = Adam::new(1e-2);
    eval(&model)?;
    for _ in 0..600 {
        let (loss, grads) = value_and_grad(&model, |m| {
            let both = m.forward(&x);
            let (without, with) = (both.narrow(1, 0, 1).squeeze(1), both.narrow(1, 1, 1).squeeze(1));
            (&without + &treated * (with - &without)).mse(&outcome)
        })?;
        optimizer.step(&mut model, grads)?;
        eval(&(&loss, &model, &optimizer))?;
    }
    let both = model.forward(&x);
    let found = (both.narrow(1, 1, 1) - both.narrow(1, 0, 1)).mean_all().item::<f32>()?;
    println!("mean effect: {:.2}", effect.mean_all().item::<f32>()?);
    println!("treated less the others: {naive:.2}");
    println!("two heads: {found:.2}");
    Ok(())
}
