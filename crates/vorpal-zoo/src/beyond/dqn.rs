//! Learning by doing.

use vorpal_nn::{DType, Device, Linear, Module, Tensor};

/// A deep Q-network (Mnih et al. 2015): what each action is worth in a state, by two hidden layers of `width` units with
/// ReLU. With 4 numbers of a state, 2 actions and 64 units it has 4,610 parameters. The targets are those of double
/// Q-learning (van Hasselt et al. 2016): the network chooses the next action, a copy that follows it slowly says what it
/// is worth. States `[n, numbers]` to `[n, actions]`.
///
/// `vorpal train dqn` plays [`CartPole`](super::CartPole), which has no data but what the player meets: twenty episodes
/// without chance last 195 of 500 pushes or more in the mean, the bar at which the game counts as solved.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::beyond::Dqn;
/// let device = Device::cpu();
/// let model = Dqn::new(4, 2, 64, &device);
/// assert_eq!(model.forward(&Tensor::zeros([3, 4], DType::F32, &device)).shape(), [3, 2].into());
/// ```
#[derive(Clone, Debug, Module)]
pub struct Dqn {
    first: Linear,
    second: Linear,
    out: Linear,
}

/// What a player has met: one row for each of `n` moments.
#[derive(Clone, Debug)]
pub struct Met {
    /// States `[n, numbers]`.
    pub states: Tensor,
    /// Actions `[n]`, `I32`.
    pub actions: Tensor,
    /// What they brought at once, `[n]`.
    pub rewards: Tensor,
    /// States after them, `[n, numbers]`.
    pub next: Tensor,
    /// 1 where something can still come after, 0 where it was over, `[n]`.
    pub going_on: Tensor,
}

impl Dqn {
    /// Random weights for states of `numbers` numbers.
    pub fn new(numbers: usize, actions: usize, width: usize, device: &Device) -> Dqn {
        Dqn {
            first: Linear::new(numbers, width, device),
            second: Linear::new(width, width, device),
            out: Linear::new(width, actions, device),
        }
    }

    /// What each action is worth, `[n, actions]`, in `states` `[n, numbers]`.
    #[track_caller]
    pub fn forward(&self, states: &Tensor) -> Tensor {
        self.out.forward(&self.second.forward(&self.first.forward(states).relu()).relu())
    }

    /// Huber loss of what the actions that were taken are worth, against what they brought and `discount` times what
    /// `target` says about the action this network would take next.
    #[track_caller]
    pub fn loss(&self, target: &Dqn, met: &Met, discount: f64) -> Tensor {
        let worth = self.forward(&met.states).gather(1, &met.actions.unsqueeze(1)).squeeze(1);
        let best = self.forward(&met.next).argmax(1).cast(DType::I32).unsqueeze(1);
        let after = target.forward(&met.next).gather(1, &best).squeeze(1);
        let goal = (&met.rewards + after * &met.going_on * discount).stop_gradient();
        vorpal_nn::loss::HuberLoss::default().forward(&worth, &goal)
    }

    /// Moves every parameter by `share` of the way to those of `other`.
    pub fn follow(&mut self, other: &Dqn, share: f64) {
        super::follow(self, other, share);
    }
}
