//! What every model is held to.

use vorpal_nn::{
    Adam, DType, Device, Module, Optimizer, Role, Tensor, eval, from_safetensors, to_safetensors,
    value_and_grad,
};

/// Numbers from -1 to 1 that are the same everywhere: `n` of them, of series `series`.
pub fn noise(series: u32, n: usize) -> Vec<f32> {
    let low = |x: u64| x & 0xffff_ffff;
    let number = |i: u32| {
        let mut x = low((u64::from(i) + u64::from(series) * 1_000_003) * 2_654_435_761);
        x ^= x >> 15;
        x = low(x * 2_246_822_519);
        x ^= x >> 13;
        (x as f64 / f64::from(1u32 << 31) - 1.0) as f32
    };
    (0..n as u32).map(number).collect()
}

/// A tensor of [`noise`].
pub fn noisy(series: u32, shape: &[usize], device: &Device) -> Tensor {
    Tensor::from_slice(&noise(series, shape.iter().product()), shape, device)
}

/// Whole numbers from 0 to `below`, the same everywhere.
pub fn classes(series: u32, shape: &[usize], below: usize, device: &Device) -> Tensor {
    let numbers = noise(series, shape.iter().product());
    let whole = |v: &f32| (((v + 1.0) / 2.0 * below as f32) as i32).min(below as i32 - 1);
    Tensor::from_slice(&numbers.iter().map(whole).collect::<Vec<i32>>(), shape, device)
}

/// Values of a tensor of any float.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.cast(DType::F32).to_vec::<f32>().expect("values")
}

/// Holds `found` to `expected`, element by element, by the largest of `expected`.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let size = expected.iter().fold(1e-3f32, |size, v| size.max(v.abs()));
    for (k, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= tolerance * size, "{what}: element {k} is {a}, should be {b} (of {size})");
    }
}

/// The largest difference of two tensors.
pub fn distance(a: &Tensor, b: &Tensor) -> f32 {
    values(a).iter().zip(values(b)).fold(0.0, |far, (a, b)| far.max((a - b).abs()))
}

/// A parameter or buffer of a model.
pub fn tensor<M: Module>(model: &M, name: &str) -> Tensor {
    let mut found = None;
    model.walk("", &mut |n, _, tensor| {
        if n == name {
            found = Some(tensor.clone());
        }
    });
    found.ok_or_else(|| format!("the model has no {name}")).expect("a parameter or buffer")
}

/// Puts another in its place.
pub fn set<M: Module>(model: &mut M, name: &str, value: &Tensor) {
    assert_eq!(tensor(model, name).shape(), value.shape(), "{name}");
    model.walk_mut("", &mut |n, _, tensor| {
        if n == name {
            *tensor = value.clone();
        }
    });
}

/// Puts zeros in its place.
pub fn silence<M: Module>(model: &mut M, name: &str) {
    let nothing = tensor(model, name) * 0.0;
    set(model, name, &nothing);
}

/// Losses of steps of Adam, each of which is taken before the step.
pub fn losses<M: Module>(model: &mut M, steps: usize, rate: f64, loss: impl Fn(&M) -> Tensor) -> Vec<f32> {
    let mut optimizer = Adam::new(rate);
    let mut step = || {
        let (loss, grads) = value_and_grad(model, &loss).expect("a graph");
        optimizer.step(model, grads).expect("a graph");
        eval(&(&loss, &*model, &optimizer)).expect("a step");
        loss.item::<f32>().expect("a number")
    };
    (0..steps).map(|_| step()).collect()
}

/// What a model is held to. Inputs are made by the functions, from [`noise`], on the device they are given.
pub struct Case<M> {
    pub name: &'static str,
    /// A model with random weights.
    pub make: fn(&Device) -> M,
    /// Its answer to a small batch.
    pub forward: fn(&M, &Device) -> Tensor,
    /// Shape of the answer.
    pub shape: &'static [usize],
    /// Loss of a small batch.
    pub loss: fn(&M, &Device) -> Tensor,
    /// Steps of Adam on that batch, at this step size, after which the loss is at most `falls_to` of the first one.
    pub steps: usize,
    pub rate: f64,
    pub falls_to: f32,
    /// Parameters that get no gradient; beside them stands why there is nothing wrong with that.
    pub unused: &'static [&'static str],
    /// Of the adapter's answer, relative to the largest element.
    pub tolerance: f32,
}

impl<M> Case<M> {
    /// A case with 10 steps of 0.01 after which the loss is at most 0.9 of what it was.
    pub fn new(
        name: &'static str,
        make: fn(&Device) -> M,
        forward: fn(&M, &Device) -> Tensor,
        shape: &'static [usize],
        loss: fn(&M, &Device) -> Tensor,
    ) -> Case<M> {
        Case {
            name,
            make,
            forward,
            shape,
            loss,
            steps: 10,
            rate: 0.01,
            falls_to: 0.9,
            unused: &[],
            tolerance: 1e-4,
        }
    }
}

/// A gradient that is less than this of the largest one is what rounding leaves of none.
const NOTHING: f32 = 5e-7;

/// Holds every parameter to have a finite gradient that is not zero, and those that are unused to have none.
fn has_gradients<M: Module>(name: &str, grads: &M, unused: &[&str]) {
    let mut sizes = Vec::new();
    grads.walk("", &mut |parameter, role, grad| {
        if role == Role::Parameter {
            let grad = values(grad);
            assert!(grad.iter().all(|g| g.is_finite()), "{name}: the gradient of {parameter} is not finite");
            sizes.push((parameter.to_string(), grad.iter().fold(0.0f32, |size, g| size.max(g.abs()))));
        }
    });
    let largest = sizes.iter().fold(0.0f32, |largest, (_, size)| largest.max(*size));
    let without = sizes.iter().filter(|(_, size)| *size <= NOTHING * largest).map(|(name, _)| name.as_str());
    let (mut without, mut unused) = (without.collect::<Vec<_>>(), unused.to_vec());
    without.sort_unstable();
    unused.sort_unstable();
    assert_eq!(without, unused, "{name}: parameters without a gradient");
}

/// Forward shape, a gradient for every parameter, a loss that falls, files, and the same answer from an adapter.
pub fn check<M: Module>(case: Case<M>) {
    let name = case.name;
    let device = Device::cpu();
    let _keys = device.fork_rng(1);
    let mut model = (case.make)(&device);
    eval(&model).expect(name);

    let (_, grads) = value_and_grad(&model, |m| (case.loss)(m, &device)).expect(name);
    has_gradients(name, &grads, case.unused);

    let losses = losses(&mut model, case.steps, case.rate, |m| (case.loss)(m, &device));
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last <= case.falls_to * first, "{name}: the loss does not fall: {losses:?}");

    model.train(false);
    let answer = (case.forward)(&model, &device);
    assert_eq!(answer.shape().dims(), case.shape, "{name}");
    assert!(values(&answer).iter().all(|v| v.is_finite()), "{name}: {answer:?}");

    let file = to_safetensors(&model).expect(name);
    let again = |device: &Device| {
        let _keys = device.fork_rng(2);
        let mut other = (case.make)(device);
        from_safetensors(&mut other, &file, name).expect(name);
        other.train(false);
        (case.forward)(&other, device)
    };
    assert_eq!(values(&again(&device)), values(&answer), "{name}: another model with the same weights");
    match Device::software() {
        Ok(adapter) => assert_close(&again(&adapter), &answer, case.tolerance, name),
        Err(error) => println!("skipped: no software adapter ({error})"),
    }
}
