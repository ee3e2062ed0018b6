//! Trainings of this family.

use vorpal_nn::data::{DataLoader, Dataset, Digits};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::schedule::{CosineAnnealing, Exponential};
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{Adam, Module, Result, Tensor, plot};

use super::{Egnn, EgnnOptions, P4mCnn, PointNet, PointNetOptions};
use crate::data::{Particles, PointDigits, TurnedDigits};
use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "p4m",
        family: "symmetry",
        about: "a convolutional network over turns and mirrorings",
        data: "the MNIST digits that ship with the program, each turned by an angle of its own",
        length: Length::Epochs(5),
        batch: 64,
        rate: 4e-3,
        sizes: &[],
        goal: Goal::AtLeast("test_accuracy", 0.75),
        body: p4m,
    },
    Recipe {
        name: "egnn",
        family: "symmetry",
        about: "an E(n)-equivariant graph network that forecasts where particles go",
        data: "2,000 systems of five charged particles, made up by Coulomb's law",
        length: Length::Epochs(100),
        batch: 50,
        rate: 2e-3,
        sizes: &[],
        goal: Goal::AtMost("relative", 0.1),
        body: egnn,
    },
    Recipe {
        name: "point_net",
        family: "symmetry",
        about: "PointNet: digits as clouds of points",
        data: "the MNIST digits that ship with the program, 64 points each",
        length: Length::Epochs(4),
        batch: 64,
        rate: 2e-3,
        sizes: &[],
        goal: Goal::AtLeast("test_accuracy", 0.9),
        body: point_net,
    },
];

/// Points of a digit.
const POINTS: usize = 64;
/// Digits looked at together in a test.
const TEST_BATCH: usize = 250;

/// Trains a model that names digits in some form.
fn fit_digits<M: Module + 'static, D: Dataset<Item = (vorpal_nn::data::Array, i32)>>(
    run: &mut Run,
    model: M,
    forward: fn(&M, &Tensor) -> Tensor,
    form: impl Fn(Digits, u64) -> D,
) -> Result<()> {
    let (train, test) = match &run.settings().data {
        Some(folder) => Digits::load(folder)?,
        None => Digits::embedded()?,
    };
    let (device, rate) = (run.device().clone(), run.rate());
    // Other dice for the test than for any of the digits that are learned.
    let train = DataLoader::builder(form(train, 1).cached()).batch_size(run.batch()).drop_last(true);
    let mut train = train.shuffle(run.seed()).device(&device).build()?;
    let test = DataLoader::builder(form(test, 2).cached()).batch_size(TEST_BATCH);
    let mut test = test.device(&device).build()?;
    let task = supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    let trainer = Trainer::new(task, model, Adam::adamw(rate))
        .schedule(Exponential::new(rate, 0.6), Every::Epoch)
        .metric("accuracy", Accuracy::new());
    run.fit(trainer, &mut train, Some(&mut test))?;
    if let Some(batch) = (&mut test).into_iter().next() {
        let (digits, _) = batch?;
        if digits.rank() == 4 {
            run.file("digits.png", plot::image_grid(&digits.narrow(0, 0, 40), 10, 2)?);
        }
    }
    Ok(())
}

fn p4m(run: &mut Run) -> Result<()> {
    let device = run.device().clone();
    fit_digits(run, P4mCnn::new(&[6, 8, 12], 10, &device), P4mCnn::forward, TurnedDigits::new)
}

fn point_net(run: &mut Run) -> Result<()> {
    let options =
        PointNetOptions { dims: 2, classes: 10, width: 128, feature_transform: false, dropout: 0.3 };
    let model = PointNet::new(options, run.device());
    fit_digits(run, model, PointNet::forward, |digits, seed| PointDigits::new(digits, POINTS, seed))
}

/// Particles of a system, and how many systems there are to learn from and to test on.
const PARTICLES: usize = 5;
const SYSTEMS: [usize; 2] = [2000, 500];

/// Charges `[batch, n]`, places, velocities and later places `[batch, n, 3]`.
type Systems = (Tensor, Tensor, Tensor, Tensor);

/// Learns where particles go.
struct Motion;

impl Task for Motion {
    type Model = Egnn;
    type Batch = Systems;

    fn forward(&self, model: &Egnn, (charges, places, speeds, _): &Systems) -> Tensor {
        let features = speeds.square().sum_keepdim(-1).sqrt();
        let pairs = (charges.unsqueeze(2) * charges.unsqueeze(1)).unsqueeze(-1);
        model.forward(&features, places, Some(speeds), Some(&pairs)).1
    }

    fn loss(&self, output: &Tensor, (_, _, _, later): &Systems) -> Tensor {
        output.mse(later)
    }

    fn target(&self, (_, _, _, later): &Systems) -> Tensor {
        later.clone()
    }
}

fn egnn(run: &mut Run) -> Result<()> {
    let (device, rate) = (run.device().clone(), run.rate());
    let [train, test] = SYSTEMS;
    let train = DataLoader::builder(Particles::new(train, PARTICLES, 1)).batch_size(run.batch());
    let mut train = train.drop_last(true).shuffle(run.seed()).device(&device).build()?;
    let test_set = DataLoader::builder(Particles::new(test, PARTICLES, 2)).batch_size(test);
    let mut test = test_set.device(&device).build()?;
    let options = EgnnOptions { features: 1, pairs: 1, hidden: 32, layers: 3 };
    let trainer = Trainer::new(Motion, Egnn::new(options, &device), Adam::new(rate))
        .schedule(CosineAnnealing::new(rate, run.steps(train.len())), Every::Step);
    run.fit(trainer, &mut train, Some(&mut test))?;
    for batch in &mut test {
        let (_, places, speeds, later) = batch?;
        let straight = (places + speeds * Particles::TIME).mse(&later).item::<f32>()?;
        run.result("straight_line", f64::from(straight));
        if let Some(loss) = run.found("test_loss") {
            run.result("relative", loss / f64::from(straight));
        }
    }
    Ok(())
}
