//! A network that solves a differential equation.

use vorpal_nn::{Device, Linear, Module, Tensor, grad};

/// A physics-informed network (Raissi et al. 2019): u(x, t) as a network of three layers with tanh, trained only by how
/// far it misses Burgers' equation u_t + u u_x = ν u_xx inside, and its values at the edges. The derivatives are exact:
/// derivatives of the network by its inputs, derived once more by its parameters. Places `[n, 2]` to `[n, 1]`; with 32 units
/// it has 1,185 parameters.
///
/// `vorpal train pinn` solves it for ν = 0.05 on x from -1 to 1 and t from 0 to 1, where the wave
/// u = 1 ∕ (1 + exp((x - t∕2) ∕ 2ν)) is the solution; it is tested against that, which the training never sees inside: the
/// relative error is at most 1 %.
///
/// ```
/// use vorpal_nn::{Device, Tensor};
/// use vorpal_zoo::beyond::Pinn;
/// let device = Device::cpu();
/// let model = Pinn::new(16, 0.05, &device);
/// let places = Tensor::from_slice(&[0.5f32, 0.0, -0.5, 1.0], [2, 2], &device);
/// assert_eq!(model.forward(&places).shape(), [2, 1].into());
/// assert_eq!(model.residual(&places).shape(), [2, 1].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Pinn {
    first: Linear,
    second: Linear,
    out: Linear,
    viscosity: f64,
}

impl Pinn {
    /// Random weights, `width` units in both hidden layers; `viscosity` is ν.
    pub fn new(width: usize, viscosity: f64, device: &Device) -> Pinn {
        Pinn {
            first: Linear::new(2, width, device),
            second: Linear::new(width, width, device),
            out: Linear::new(width, 1, device),
            viscosity,
        }
    }

    /// u `[n, 1]` at `places` `[n, 2]`: x and t.
    #[track_caller]
    pub fn forward(&self, places: &Tensor) -> Tensor {
        let inner = self.second.forward(&self.first.forward(places).tanh()).tanh();
        self.out.forward(&inner)
    }

    /// u_t + u u_x - ν u_xx `[n, 1]` at `places` `[n, 2]`. Places do not see one another, so that the derivative of a sum
    /// over all holds the derivative of each.
    #[track_caller]
    pub fn residual(&self, places: &Tensor) -> Tensor {
        let first = |places: &Tensor| Tensor::from(grad(places, |places| self.forward(places).sum_all()));
        let slope = first(places);
        let (u_x, u_t) = (slope.narrow(1, 0, 1), slope.narrow(1, 1, 1));
        let second = Tensor::from(grad(places, |places| first(places).narrow(1, 0, 1).sum_all()));
        u_t + self.forward(places) * u_x - second.narrow(1, 0, 1) * self.viscosity
    }

    /// The wave that solves the equation, `[n, 1]` at `places` `[n, 2]`.
    pub fn wave(&self, places: &Tensor) -> Tensor {
        let (x, t) = (places.narrow(1, 0, 1), places.narrow(1, 1, 1));
        ((t * 0.5 - x) * (0.5 / self.viscosity)).sigmoid()
    }

    /// Mean square of what is missed: of the equation at `places` `[n, 2]`, and of the wave at the three edges t = 0,
    /// x = -1, x = 1 next to them.
    #[track_caller]
    pub fn loss(&self, places: &Tensor) -> Tensor {
        let (x, t) = (places.narrow(1, 0, 1), places.narrow(1, 1, 1));
        let edges = [
            Tensor::concat(&[&x, &t.full_like(0.0)], 1),
            Tensor::concat(&[&x.full_like(-1.0), &t], 1),
            Tensor::concat(&[&x.full_like(1.0), &t], 1),
        ];
        let edges = Tensor::concat(&[&edges[0], &edges[1], &edges[2]], 0);
        self.residual(places).square().mean_all() + self.forward(&edges).mse(&self.wave(&edges))
    }
}
