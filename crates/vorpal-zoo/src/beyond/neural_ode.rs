//! A differential equation whose right side is a network.

use vorpal_autodiff::{custom_vjp, vjp};
use vorpal_nn::{Device, Linear, Module, Role, Tensor};

/// The right side of a differential equation y′ = f(t, y) with parameters.
pub trait VectorField: Module + Clone + Send + Sync + 'static {
    /// y′ at time `t`, of the shape of `y`.
    fn slope(&self, t: f64, y: &Tensor) -> Tensor;
}

/// The state at the end of `span` when it is `y` at its start: the classic Runge–Kutta method of fourth order, `steps`
/// equal steps. Its derivative goes back through all of them.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::beyond::odeint;
/// let y = Tensor::from_slice(&[1.0f32], [1], &Device::cpu());
/// let e = odeint(|_, y| y.clone(), &y, [0.0, 1.0], 8);
/// assert!((e.item::<f32>()? - 2.71828).abs() < 1e-4);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
pub fn odeint(slope: impl Fn(f64, &Tensor) -> Tensor, y: &Tensor, span: [f64; 2], steps: usize) -> Tensor {
    let state = integrate(|t, y| vec![slope(t, &y[0])], vec![y.clone()], span, steps);
    state.into_iter().next().unwrap_or_else(|| y.clone())
}

/// Fourth-order Runge–Kutta of several tensors together.
fn integrate(
    slope: impl Fn(f64, &[Tensor]) -> Vec<Tensor>,
    mut y: Vec<Tensor>,
    [from, to]: [f64; 2],
    steps: usize,
) -> Vec<Tensor> {
    let h = (to - from) / steps.max(1) as f64;
    let ahead = |y: &[Tensor], k: &[Tensor], by: f64| -> Vec<Tensor> {
        y.iter().zip(k).map(|(y, k)| y + k * by).collect()
    };
    for step in 0..steps.max(1) {
        let t = from + h * step as f64;
        let k1 = slope(t, &y);
        let k2 = slope(t + h / 2.0, &ahead(&y, &k1, h / 2.0));
        let k3 = slope(t + h / 2.0, &ahead(&y, &k2, h / 2.0));
        let k4 = slope(t + h, &ahead(&y, &k3, h));
        let sum = |i: usize| (&k1[i] + 2.0 * (&k2[i] + &k3[i]) + &k4[i]) * (h / 6.0);
        y = y.iter().enumerate().map(|(i, y)| y + sum(i)).collect();
    }
    y
}

/// As [`odeint`], with the derivative by the adjoint method (Pontryagin; Chen et al. 2018): the state is computed
/// backwards from its end, together with the cotangents of state and parameters, each a differential equation of its own.
/// Nothing of the way forward is kept, so that memory does not grow with the number of steps. The derivative is that of
/// the equation, not of the method: it differs from that of [`odeint`] by the error of the steps.
pub fn odeint_adjoint<F: VectorField>(field: &F, y: &Tensor, span: [f64; 2], steps: usize) -> Tensor {
    let mut inputs = vec![y.clone()];
    field.walk("", &mut |_, role, tensor| {
        if role == Role::Parameter {
            inputs.push(tensor.clone());
        }
    });
    let with = {
        let field = field.clone();
        move |parameters: &[Tensor]| {
            let (mut field, mut new) = (field.clone(), parameters.iter());
            field.walk_mut("", &mut |_, role, tensor| {
                if let Some(new) = (role == Role::Parameter).then(|| new.next()).flatten() {
                    *tensor = new.clone();
                }
            });
            field
        }
    };
    let forward = {
        let with = with.clone();
        move |x: &[Tensor]| {
            let field = with(&x[1..]);
            odeint(|t, y| field.slope(t, y), &x[0], span, steps)
        }
    };
    let operands: Vec<&Tensor> = inputs.iter().collect();
    custom_vjp(&operands, forward, move |x, end, grad| {
        let parameters = &x[1..];
        let backwards = |t: f64, state: &[Tensor]| {
            let at = (state[0].clone(), parameters.to_vec());
            let pulled = vjp(&at, |(y, parameters)| with(parameters).slope(t, y))
                .and_then(|(slope, back)| Ok((slope, back(&state[1])?)));
            match pulled {
                Ok((slope, (y, parameters))) => {
                    [slope, -y].into_iter().chain(parameters.into_iter().map(|p| -p)).collect()
                }
                Err(error) => vec![Tensor::error(error); 2 + parameters.len()],
            }
        };
        let zeros = parameters.iter().map(|p| p.full_like(0.0));
        let state = [end.clone(), grad.clone()].into_iter().chain(zeros).collect();
        let state = integrate(backwards, state, [span[1], span[0]], steps);
        state.into_iter().skip(1).map(Some).collect()
    })
}

/// A neural ordinary differential equation (Chen et al. 2018): y′ = W₂ tanh(W₁ y³ + b₁) + b₂ of states of `width`
/// numbers. With 2 numbers and 50 hidden units it has 252 parameters.
///
/// `vorpal train neural_ode` learns the spiral y′ = A y³ of the paper from pieces of one path, and is tested by the whole
/// path of 200 steps from its start: the mean error is at most 0.12 (the path begins at 2).
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::beyond::NeuralOde;
/// let device = Device::cpu();
/// let model = NeuralOde::new(2, 50, &device);
/// let y = Tensor::from_slice(&[2.0f32, 0.0], [1, 2], &device);
/// assert_eq!(model.path(&y, 0.1, 5).shape(), [1, 5, 2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct NeuralOde {
    hidden: Linear,
    out: Linear,
}

impl NeuralOde {
    /// Random weights.
    pub fn new(width: usize, hidden: usize, device: &Device) -> NeuralOde {
        NeuralOde { hidden: Linear::new(width, hidden, device), out: Linear::new(hidden, width, device) }
    }

    /// The states `[batch, count, width]` after 1 to `count` intervals of time, two steps each, from `y`, `[batch, width]`.
    #[track_caller]
    pub fn path(&self, y: &Tensor, interval: f64, count: usize) -> Tensor {
        let (mut y, mut states) = (y.clone(), Vec::new());
        for _ in 0..count.max(1) {
            y = odeint_adjoint(self, &y, [0.0, interval], 2);
            states.push(y.clone());
        }
        Tensor::stack(&states.iter().collect::<Vec<_>>(), 1)
    }
}

impl VectorField for NeuralOde {
    fn slope(&self, _: f64, y: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(&(y * y * y)).tanh())
    }
}
