//! A pole on a cart, to be kept upright.

use crate::data::uniform;

/// The environment of Barto, Sutton and Anderson (1983): a pole hinged on a cart, which is pushed to the left or to the
/// right 50 times a second. It is over when the pole leans by more than 12°, when the cart is 2.4 m from the middle, or
/// after 500 pushes; each push until then is worth 1.
///
/// ```
/// use vorpal_zoo::beyond::CartPole;
/// let mut cart = CartPole::new(7);
/// let mut pushes = 1;
/// while !cart.push(pushes % 2 == 0).over {
///     pushes += 1;
/// }
/// assert!((8..500).contains(&pushes), "blind pushing keeps it up for a moment");
/// ```
#[derive(Clone, Debug)]
pub struct CartPole {
    /// Place (m), speed, angle (rad), speed of the angle.
    state: [f64; 4],
    pushes: usize,
    dice: u64,
}

/// What a push led to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pushed {
    /// The state after it.
    pub state: [f32; 4],
    /// Whether the pole has fallen or the cart has left: nothing is worth anything any more.
    pub fallen: bool,
    /// Whether the episode is over: fallen, or 500 pushes.
    pub over: bool,
}

impl CartPole {
    /// Pushes of an episode, at most.
    pub const LONGEST: usize = 500;

    /// An episode about to begin; `seed` decides where those of this environment begin.
    pub fn new(seed: u64) -> CartPole {
        let mut cart = CartPole { state: [0.0; 4], pushes: 0, dice: seed };
        cart.restart();
        cart
    }

    /// Begins another episode: every number of the state evenly from -0.05 to 0.05.
    pub fn restart(&mut self) -> [f32; 4] {
        let dice = &mut self.dice;
        self.state = [(); 4].map(|()| 0.1 * uniform(dice) - 0.05);
        self.pushes = 0;
        self.state()
    }

    /// The state: place (m), speed (m∕s), angle (rad), speed of the angle (rad∕s).
    pub fn state(&self) -> [f32; 4] {
        self.state.map(|v| v as f32)
    }

    /// A push of 10 N for a fiftieth of a second, and what the mechanics make of it (Euler's method).
    pub fn push(&mut self, right: bool) -> Pushed {
        // Masses in kg, half the length of the pole in m, seconds of a push.
        const CART: f64 = 1.0;
        const POLE: f64 = 0.1;
        const HALF: f64 = 0.5;
        const TICK: f64 = 0.02;
        let [place, speed, angle, turn] = self.state;
        let force = if right { 10.0 } else { -10.0 };
        let (sin, cos) = angle.sin_cos();
        let shared = (force + POLE * HALF * turn * turn * sin) / (CART + POLE);
        let turning = (9.8 * sin - cos * shared) / (HALF * (4.0 / 3.0 - POLE * cos * cos / (CART + POLE)));
        let pushing = shared - POLE * HALF * turning * cos / (CART + POLE);
        self.state =
            [place + TICK * speed, speed + TICK * pushing, angle + TICK * turn, turn + TICK * turning];
        self.pushes += 1;
        let fallen = self.state[0].abs() > 2.4 || self.state[2].abs() > 12f64.to_radians();
        Pushed { state: self.state(), fallen, over: fallen || self.pushes >= CartPole::LONGEST }
    }
}
