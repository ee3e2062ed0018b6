//! NOTEARS: a graph without cycles as a smooth problem.

use vorpal_nn::{DType, Device, Module, Tensor};

/// NOTEARS (Zheng, Aragam, Ravikumar & Xing 2018): the weights of a linear model in which every variable depends on some of the
/// others, and a smooth function of them that is zero where the dependences have no cycle: tr exp(W ∘ W) − d counts closed walks.
/// An augmented Lagrangian drives it to zero while squared errors and the sum of sizes of weights get small; weights that are left
/// above a threshold are the graph.
///
/// Examples `[n, variables]`, weights `[variables, variables]`. Trained by `vorpal train notears` (100 parameters) on a thousand
/// examples of a random graph of ten variables and fifteen edges, to a structural Hamming distance (edges that are missing, too
/// many or turned round) of at most 2.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::causal::Notears;
/// let device = Device::cpu();
/// let chain = Notears { weight: Tensor::from_slice(&[0.0f32, 2.0, 0.0, 0.0], [2, 2], &device) };
/// let circle = Notears { weight: Tensor::from_slice(&[0.0f32, 2.0, 0.5, 0.0], [2, 2], &device) };
/// assert!(chain.cycles().item::<f32>()? < 1e-6 && circle.cycles().item::<f32>()? > 1.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Notears {
    /// `[from, to]`: how much a variable adds to another. The diagonal is not looked at.
    pub weight: Tensor,
}

impl Notears {
    /// A graph of so many variables without edges.
    pub fn new(variables: usize, device: &Device) -> Notears {
        Notears { weight: Tensor::zeros([variables, variables], DType::F32, device) }
    }

    /// The weights between different variables, `[from, to]`.
    #[track_caller]
    pub fn graph(&self) -> Tensor {
        match (self.weight.shape().dims(), self.weight.device()) {
            (&[n, _], Ok(device)) => &self.weight * (1.0 - Tensor::eye(n, self.weight.dtype(), &device)),
            _ => self.weight.clone(),
        }
    }

    /// tr exp(W ∘ W) − d: zero for a graph without cycles.
    #[track_caller]
    pub fn cycles(&self) -> Tensor {
        let variables = self.weight.shape().dims().first().copied().unwrap_or(0);
        self.graph().square().matrix_exp().trace() - variables as f64
    }

    /// Half the squared error of examples `[n, variables]` (with mean 0) from the others, for one example, and `sparsity` times the
    /// sum of the sizes of weights.
    #[track_caller]
    pub fn score(&self, x: &Tensor, sparsity: f64) -> Tensor {
        let graph = self.graph();
        (x - x.matmul(&graph)).square().sum(-1).mean_all() * 0.5 + graph.abs().sum_all() * sparsity
    }

    /// The augmented Lagrangian: [`score`](Notears::score) + `alpha` h + `rho` ∕ 2 · h², where h is [`cycles`](Notears::cycles).
    #[track_caller]
    pub fn lagrangian(&self, x: &Tensor, sparsity: f64, alpha: &Tensor, rho: &Tensor) -> Tensor {
        let h = self.cycles();
        self.score(x, sparsity) + alpha * &h + rho * 0.5 * h.square()
    }
}
