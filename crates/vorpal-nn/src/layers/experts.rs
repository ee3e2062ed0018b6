//! Mixtures of experts.

use vorpal_autodiff::{At, DType, Device, Tensor};

use super::{Layer, wrong};
use crate::{Linear, Module, Training};

/// Layers of which every row is handled by few (Shazeer et al. 2017): a gate gives each row its `top_k` experts, whose
/// results are added up by their probabilities.
///
/// Every expert has room for the same number of rows (Fedus et al. 2021). With a capacity factor that is
/// factor · top_k · rows ∕ experts while training, and rows an expert has no room for miss its share: first choices come
/// before second ones, and earlier rows before later ones. Without, and always outside of training, there is room for all:
/// no row misses anything, and what a row gets does not depend on the rows beside it, but every expert computes as many rows
/// as there are.
///
/// ```
/// use vorpal_nn::{DType, Device, Linear, MixtureOfExperts, Module, Tensor};
/// let device = Device::cpu();
/// let layer = MixtureOfExperts::new(8, 4, 2, &device, || Linear::new(8, 8, &device)).capacity_factor(1.25);
/// let x = Tensor::randn([3, 5, 8], DType::F32, &device);
/// let (y, balance) = layer.forward(&x);
/// assert_eq!(y.shape(), x.shape());
/// // Add a small multiple of this to the loss: it is 1 where all experts are used alike, else it is more.
/// assert!(balance.item::<f32>()? > 0.9);
/// // A row by itself gets what it gets among others.
/// layer.train(false);
/// let (all, one) = (layer.forward(&x).0, layer.forward(&x.narrow(1, 4, 1)).0);
/// assert!((all.narrow(1, 4, 1) - one).abs().max([0, 1, 2]).item::<f32>()? < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct MixtureOfExperts<E: Layer> {
    /// Scores of the experts for a row.
    pub gate: Linear,
    /// The experts, all of one width.
    pub experts: Vec<E>,
    top_k: usize,
    capacity_factor: Option<f64>,
    /// Whether the probabilities of the chosen experts are made to add up to 1.
    normalize: bool,
    training: Training,
}

/// Where rows go.
struct Routes {
    /// Row of each place of each expert, one behind the last where there is none: `[experts · capacity]`.
    row_of_place: Tensor,
    /// Place of each choice, one behind the last for those without room: `[top_k · rows]`, first choices in front.
    place_of_choice: Tensor,
    /// Its weight, `[top_k · rows]`.
    weight: Tensor,
    /// The load-balancing loss.
    balance: Tensor,
}

impl<E: Layer> MixtureOfExperts<E> {
    /// For rows of `width`, so many experts made by `make`, and `top_k` of them for a row. As in Mixtral the probabilities
    /// of the chosen ones add up to 1, unless there is one, whose probability is kept, so that the gate learns.
    pub fn new(
        width: usize,
        experts: usize,
        top_k: usize,
        device: &Device,
        make: impl FnMut() -> E,
    ) -> MixtureOfExperts<E> {
        MixtureOfExperts {
            gate: Linear::without_bias(width, experts, device),
            experts: std::iter::repeat_with(make).take(experts).collect(),
            top_k,
            capacity_factor: None,
            normalize: top_k > 1,
            training: Training::default(),
        }
    }

    /// The same with room, while training, for `factor` times the rows of an expert that all use alike.
    #[must_use]
    pub fn capacity_factor(self, factor: f64) -> MixtureOfExperts<E> {
        MixtureOfExperts { capacity_factor: Some(factor), ..self }
    }

    /// What the experts make of rows, `[…, width]`, and the load-balancing loss: experts · Σ (share of the choices ·
    /// mean probability), the sum over the experts. No derivative goes through the choices themselves.
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> (Tensor, Tensor) {
        let at = At::caller();
        let (count, shape) = (self.experts.len(), x.shape());
        if self.top_k == 0 || self.top_k > count {
            let message = format!("{} of {count} experts for a row", self.top_k);
            let wrong = wrong::argument("mixture_of_experts", message, at);
            return (wrong.clone(), wrong);
        }
        if shape.rank() == 0 || shape.numel() == 0 {
            let wrong = wrong::shape("mixture_of_experts", "needs rows […, width]", &[x], at);
            return (wrong.clone(), wrong);
        }
        let width = shape[shape.rank() - 1];
        let n = shape.numel() / width;
        let rows = x.reshape([n, width]);
        let capacity = self.capacity(n);
        let routes = match self.routes(&rows, n, capacity) {
            Ok(routes) => routes,
            Err(wrong) => return (wrong.clone(), wrong),
        };
        let nothing = rows.narrow(0, 0, 1).full_like(0.0);
        let given = Tensor::concat(&[&rows, &nothing], 0).index_select(0, &routes.row_of_place);
        let place = |(k, expert): (usize, &E)| expert.forward(&given.narrow(0, k * capacity, capacity));
        let mut results: Vec<Tensor> = self.experts.iter().enumerate().map(place).collect();
        let outputs = results[0].shape().last().copied().unwrap_or(0);
        // What a choice without room gets.
        results.push(results[0].narrow(0, 0, 1).full_like(0.0));
        let results = Tensor::concat(&results.iter().collect::<Vec<_>>(), 0);
        let taken = results.index_select(0, &routes.place_of_choice) * routes.weight.unsqueeze(-1);
        let out = taken.reshape([self.top_k, n, outputs]).sum(0);
        (out.reshape(shape.with_axis(shape.rank() - 1, outputs)), routes.balance)
    }

    /// Rows that an expert has room for, of `n`.
    fn capacity(&self, n: usize) -> usize {
        match self.capacity_factor {
            Some(factor) if self.training.is_on() => {
                let alike = factor * (self.top_k * n) as f64 / self.experts.len() as f64;
                (alike.ceil() as usize).clamp(1, n)
            }
            _ => n,
        }
    }

    /// Where `n` rows go.
    fn routes(&self, rows: &Tensor, n: usize, capacity: usize) -> Result<Routes, Tensor> {
        let count = self.experts.len();
        let probabilities = self.gate.forward(rows).softmax(-1);
        let Ok(device) = probabilities.device() else { return Err(probabilities) };
        let (mut weight, expert) = probabilities.topk(self.top_k, -1, true);
        if self.normalize {
            weight = &weight / weight.sum_keepdim(-1);
        }
        let choices = self.top_k * n;
        let in_order = |x: &Tensor| x.t().reshape([choices]);
        let (weight, expert) = (in_order(&weight), in_order(&expert));
        let chosen = expert.one_hot(count, DType::I32);
        // How many choices of the same expert came before.
        let before = (chosen.cumsum(0) * &chosen).sum(-1) - 1;
        let none = before.full_like((count * capacity) as f64);
        let room = before.lt(before.full_like(capacity as f64));
        let place_of_choice = room.select(expert.cast(DType::I32) * capacity as i32 + &before, &none);
        let row = Tensor::iota([self.top_k, n], 1, DType::I32, &device).reshape([choices]);
        let empty = Tensor::full([count * capacity + 1], n as f64, DType::I32, &device);
        let row_of_place = empty.scatter(0, &place_of_choice, &row).narrow(0, 0, count * capacity);
        let share = chosen.cast(probabilities.dtype()).mean(0);
        let balance = (share * probabilities.mean(0)).sum_all() * count as f64;
        Ok(Routes { row_of_place, place_of_choice, weight, balance })
    }
}
