//! Optimisers that look at a weight as a matrix.

use vorpal_autodiff::{Shape, Tensor};

use super::adam::AdamW;
use super::{Optim, Slot, Step, UpdateRule, decayed, penalised, running};

/// A weight as a matrix: its first axis by all others.
fn as_matrix(x: &Tensor) -> Tensor {
    x.flatten(1, -1)
}

/// Sizes of a weight as a matrix, if it has two axes.
fn matrix_sizes(shape: &Shape) -> Option<[usize; 2]> {
    (shape.rank() >= 2 && shape.numel() > 0).then(|| [shape[0], shape.numel() / shape[0]])
}

/// How [`Muon`] fits the step size to the shape of a matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MuonRate {
    /// Times √max(1, rows ∕ columns) (Jordan et al. 2024).
    #[default]
    Original,
    /// Times 0.2 √max(rows, columns), so that steps are as long as those of AdamW (Liu et al. 2025).
    MatchRmsAdamw,
}

/// Options of [`Muon`].
#[derive(Clone, Debug)]
pub struct MuonOptions {
    /// Share of the running mean of gradients that is kept.
    pub momentum: f64,
    /// Whether the momentum looks ahead.
    pub nesterov: bool,
    /// Share of the parameters that is taken away.
    pub weight_decay: f64,
    /// Coefficients of the iteration that makes a matrix orthogonal.
    pub ns_coefficients: [f64; 3],
    /// How often it is iterated.
    pub ns_steps: usize,
    /// The least norm gradients are divided by.
    pub eps: f64,
    /// How the step size is fitted to the shape.
    pub adjust_rate: MuonRate,
    /// Which weights of two or more axes are taken as matrices, by name. Embeddings and the last layer are better left
    /// out.
    pub matrices: fn(&str) -> bool,
    /// Betas of the AdamW that trains all others.
    pub adam_betas: (f64, f64),
    /// What that adds to its roots.
    pub adam_eps: f64,
    /// Its step size, as a share of the step size of matrices.
    pub adam_rate_factor: f64,
}

impl Default for MuonOptions {
    fn default() -> MuonOptions {
        MuonOptions {
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.1,
            ns_coefficients: [3.4445, -4.775, 2.0315],
            ns_steps: 5,
            eps: 1e-7,
            adjust_rate: MuonRate::Original,
            matrices: |_| true,
            adam_betas: (0.9, 0.999),
            adam_eps: 1e-8,
            adam_rate_factor: 1.0,
        }
    }
}

/// Momentum made orthogonal by a Newton-Schulz iteration (Jordan et al. 2024), PyTorch's `Muon`, with AdamW for
/// everything that is no matrix. Filters of convolutions are matrices of filters by all else.
///
/// ```
/// use vorpal_nn::{Muon, MuonOptions, Optimizer};
/// let options = MuonOptions {
///     matrices: |name| !name.starts_with("embedding") && !name.starts_with("head"),
///     adam_rate_factor: 0.015,
///     ..MuonOptions::default()
/// };
/// assert_eq!(Muon::with_options(0.02, options).learning_rate(), 0.02);
/// ```
pub type Muon = Optim<MuonOptions>;

impl MuonOptions {
    fn sizes(&self, step: &Step<'_>, parameter: &Tensor) -> Option<[usize; 2]> {
        matrix_sizes(&parameter.shape()).filter(|_| (self.matrices)(step.name))
    }

    /// A matrix with the same singular vectors and singular values near 1.
    fn orthogonal(&self, x: &Tensor, [rows, columns]: [usize; 2]) -> Tensor {
        let [a, b, c] = self.ns_coefficients;
        // The smaller of the two Gram matrices.
        let wide = if rows > columns { x.t() } else { x.clone() };
        let norm = wide.square().sum_all().sqrt().clamp_min(self.eps);
        let mut x = wide / norm;
        for _ in 0..self.ns_steps {
            let gram = x.matmul(&x.t());
            let polynomial = &gram * b + gram.matmul(&gram) * c;
            x = &x * a + polynomial.matmul(&x);
        }
        if rows > columns { x.t() } else { x }
    }
}

impl UpdateRule for MuonOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, step: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        match self.sizes(step, parameter) {
            Some(_) => vec![Slot::like("momentum_buffer", parameter)],
            None => AdamW::slots(parameter),
        }
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let (Some(sizes), [mean]) = (self.sizes(step, parameter), &mut *state) else {
            let rest = AdamW { betas: self.adam_betas, eps: self.adam_eps };
            let step = Step { rate: step.rate * self.adam_rate_factor, ..*step };
            return rest.update(&step, parameter, grad, state);
        };
        *mean = running(mean, grad, self.momentum);
        let ahead = if self.nesterov { running(mean, grad, self.momentum) } else { mean.clone() };
        let direction = self.orthogonal(&as_matrix(&ahead), sizes).reshape(parameter.shape());
        let [rows, columns] = sizes.map(|n| n as f64);
        let fit = match self.adjust_rate {
            MuonRate::Original => (rows / columns).max(1.0).sqrt(),
            MuonRate::MatchRmsAdamw => 0.2 * rows.max(columns).sqrt(),
        };
        decayed(parameter, step) - direction * (step.rate * fit)
    }
}

/// Options of [`Shampoo`].
#[derive(Clone, Debug)]
pub struct ShampooOptions {
    /// Share of the previous step that is kept; 0 for none.
    pub momentum: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
    /// Added to the diagonals of the preconditioners.
    pub eps: f64,
    /// Every how many steps their roots are computed.
    pub update_every: u64,
    /// Axes longer than this have no preconditioner.
    pub longest_axis: usize,
}

impl Default for ShampooOptions {
    fn default() -> ShampooOptions {
        ShampooOptions { momentum: 0.0, weight_decay: 0.0, eps: 1e-4, update_every: 1, longest_axis: 1024 }
    }
}

/// Gradients of matrices between the inverse fourth roots of the sums of G Gᵀ and Gᵀ G (Gupta, Koren, Singer 2018).
/// The roots are found by a coupled Newton iteration, which needs matrix products alone (Anil et al. 2020). Vectors go
/// as with [`Adagrad`](crate::Adagrad); a matrix with one axis too long has one preconditioner, with the inverse square
/// root.
///
/// ```
/// use vorpal_nn::{Optimizer, Shampoo, ShampooOptions};
/// let options = ShampooOptions { update_every: 10, momentum: 0.9, ..ShampooOptions::default() };
/// assert_eq!(Shampoo::with_options(0.1, options).learning_rate(), 0.1);
/// ```
pub type Shampoo = Optim<ShampooOptions>;

/// Enough for condition numbers of 10¹¹: small eigenvalues grow by (1 + 1 ∕ p)ᵖ > 2.2 in every iteration.
const ROOT_ITERATIONS: usize = 36;

/// The inverse root of order `p` (2 or 4) of a positive definite matrix.
fn inverse_root(matrix: &Tensor, p: usize) -> Tensor {
    let (n, order) = (matrix.shape()[0], p as f64);
    let Ok(device) = matrix.device() else { return matrix.clone() };
    let one = Tensor::eye(n, matrix.dtype(), &device);
    let scale = matrix.square().sum_all().sqrt();
    let scale = scale.full_like(0.5 * (1.0 + order)) / scale;
    let root = if p == 2 { scale.sqrt() } else { scale.sqrt().sqrt() };
    // `rest` goes to 1 as `inverse` goes to the root: inverseᵖ · matrix = rest at all times.
    let (mut rest, mut inverse) = (matrix * scale, &one * root);
    for _ in 0..ROOT_ITERATIONS {
        let factor = &one * (1.0 + 1.0 / order) - &rest * (1.0 / order);
        let square = factor.matmul(&factor);
        let power = if p == 2 { square } else { square.matmul(&square) };
        (rest, inverse) = (power.matmul(&rest), inverse.matmul(&factor));
    }
    inverse
}

impl ShampooOptions {
    /// Which of the two axes of a matrix have preconditioners.
    fn axes(&self, sizes: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
        let longest = self.longest_axis;
        sizes.into_iter().enumerate().filter(move |&(_, size)| size <= longest)
    }

    /// A gradient (a matrix) with its preconditioners. `state` holds a sum and a root for each.
    fn precondition(
        &self,
        step: &Step<'_>,
        grad: &Tensor,
        sizes: [usize; 2],
        state: &mut [Tensor],
    ) -> Tensor {
        let axes: Vec<_> = self.axes(sizes).collect();
        let mut out = grad.clone();
        for (&(axis, size), pair) in axes.iter().zip(state.chunks_exact_mut(2)) {
            let [sum, root] = pair else { continue };
            let gram = if axis == 0 { grad.matmul(&grad.t()) } else { grad.t().matmul(grad) };
            *sum = &*sum + gram;
            if (step.number - 1).is_multiple_of(self.update_every.max(1)) {
                let ridge = sum.device().map(|device| Tensor::eye(size, sum.dtype(), &device) * self.eps);
                *root = inverse_root(&(&*sum + Tensor::from(ridge)), 2 * axes.len());
            }
            out = if axis == 0 { root.matmul(&out) } else { out.matmul(root) };
        }
        out
    }
}

impl UpdateRule for ShampooOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        const NAMES: [[&str; 2]; 2] = [["precond_0", "inv_precond_0"], ["precond_1", "inv_precond_1"]];
        let mut slots = match matrix_sizes(&parameter.shape()) {
            None => vec![Slot::like("sum", parameter)],
            Some(sizes) => {
                let pair =
                    |(axis, n): (usize, usize)| NAMES[axis].map(|name| Slot::shaped(name, [n, n], parameter));
                self.axes(sizes).flat_map(pair).collect()
            }
        };
        if self.momentum != 0.0 {
            slots.push(Slot::like("momentum_buffer", parameter));
        }
        slots
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let grad = penalised(grad, parameter, step.weight_decay);
        let (state, velocity) = match (self.momentum != 0.0, state) {
            (true, [rest @ .., velocity]) => (rest, Some(velocity)),
            (_, all) => (all, None),
        };
        let mut direction = match (matrix_sizes(&parameter.shape()), state) {
            (Some(sizes), state) => {
                self.precondition(step, &as_matrix(&grad), sizes, state).reshape(parameter.shape())
            }
            (None, [sum]) => {
                *sum = &*sum + grad.square();
                grad / (&*sum + self.eps).sqrt()
            }
            _ => grad,
        };
        if let Some(velocity) = velocity {
            *velocity = &*velocity * self.momentum + direction;
            direction = velocity.clone();
        }
        parameter - direction * step.rate
    }
}
