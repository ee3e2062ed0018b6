//! What the tests of ops share: devices, random tensors, central differences.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

use vorpal_autodiff::{DType, Device, Tensor, grad};

/// The native CPU and, where there is one, the software adapter.
pub fn devices() -> Vec<Device> {
    let mut out = vec![Device::cpu()];
    match Device::software() {
        Ok(device) => out.push(device),
        Err(error) => println!("skipped: no software adapter ({error})"),
    }
    out
}

/// A reproducible stream of numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }
    pub fn word(&mut self) -> u32 {
        // Splitmix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as u32
    }
    pub fn below(&mut self, n: usize) -> usize {
        self.word() as usize % n
    }
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.word()) / f64::from(u32::MAX)
    }
    pub fn values(&mut self, n: usize, low: f64, high: f64) -> Vec<f64> {
        (0..n).map(|_| self.within(low, high)).collect()
    }
    /// An f64 tensor on the native CPU.
    pub fn tensor(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor {
        let n = shape.iter().product();
        Tensor::from_slice(&self.values(n, low, high), shape, &Device::cpu())
    }
}

/// The weighted sum of all elements, so that every one has a derivative of its own.
pub fn weigh(x: &Tensor) -> Tensor {
    let n: usize = x.shape().iter().product();
    // Numbers that f32 holds, for devices without f64.
    let weights: Vec<f32> = (0..n).map(|k| 0.3 + ((k * 7 + 3) % 11) as f32 / 7.0).collect();
    let device = x.device().unwrap_or_else(|e| panic!("{e}"));
    (x * Tensor::from_slice(&weights, x.shape(), &device).cast(x.dtype())).sum_all()
}

fn value(f: &dyn Fn(&Vec<Tensor>) -> Tensor, x: &[Tensor]) -> f64 {
    weigh(&f(&x.to_vec())).item::<f64>().expect("a value")
}

/// Compares derivatives of `f` with central differences at every element of every input.
fn compare(f: &dyn Fn(&Vec<Tensor>) -> Tensor, inputs: &[Tensor], tolerance: f64, what: &str) {
    let inputs_list = inputs.to_vec();
    let grads = grad(&inputs_list, |x| weigh(&f(x))).unwrap_or_else(|e| panic!("{what}: {e}"));
    for (k, (input, gradient)) in inputs.iter().zip(&grads).enumerate() {
        let (x, g) = (input.to_vec::<f64>().expect("values"), gradient.to_vec::<f64>().expect("values"));
        for place in 0..x.len() {
            let step = 1e-5;
            let shifted = |by: f64| {
                let mut moved = x.clone();
                moved[place] += by;
                let mut all = inputs.to_vec();
                all[k] = Tensor::from_slice(&moved, input.shape(), &Device::cpu());
                value(f, &all)
            };
            let numeric = (shifted(step) - shifted(-step)) / (2.0 * step);
            let close = (numeric - g[place]).abs() <= tolerance * (1.0 + numeric.abs());
            assert!(close, "{what}: input {k}, element {place}: {} against {numeric}", g[place]);
        }
    }
}

/// Checks first and second derivatives of `f` at `inputs` (f64, native CPU) against central differences.
pub fn check_derivatives(what: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    check_first_derivative(what, inputs, &f);
    let second = |x: &Vec<Tensor>| {
        let grads = grad(x, |x| weigh(&f(x))).expect("a derivative");
        let weighed: Vec<Tensor> = grads.iter().map(|g| weigh(&g.sin())).collect();
        weighed.into_iter().reduce(|a, b| a + b).expect("an input")
    };
    compare(&second, inputs, 1e-5, &format!("{what}, second derivative"));
}

/// Checks the first derivative of `f` at `inputs` (f64, native CPU) against central differences.
pub fn check_first_derivative(what: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    assert!(inputs.iter().all(|x| x.dtype() == DType::F64), "{what}");
    compare(&|x: &Vec<Tensor>| f(x), inputs, 1e-6, &format!("{what}, first derivative"));
}

/// Fails unless every element is close to its reference.
pub fn assert_close(found: &[f32], reference: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), reference.len(), "{what}");
    for (k, (&f, &r)) in found.iter().zip(reference).enumerate() {
        let same = f64::from(f) == r || (f.is_nan() && r.is_nan());
        let close = (f64::from(f) - r).abs() <= tolerance * (1.0 + r.abs());
        assert!(same || close, "{what}: element {k} is {f}, should be {r}");
    }
}
