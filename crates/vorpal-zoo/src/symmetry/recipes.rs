//! Trainings of this family.

use vorpal_nn::data::{DataLoader, Dataset, Digits};
use vorpal_nn::metrics::Accuracy;
use vorpal_nn::schedule::CosineAnnealing;
use vorpal_nn::trainer::{Every, Task, Trainer, supervised};
use vorpal_nn::{Adam, BatchNorm2d, Conv2d, Device, Linear, Module, Result, Tensor, plot};

use super::group_conv::halved;
use super::{Egnn, EgnnOptions, P4mCnn, PointNet, PointNetOptions};
use crate::data::{Particles, PointDigits, TurnedDigits};
use crate::recipe::{Goal, Length, Recipe, Run};

pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "p4m",
        family: "symmetry",
        about: "a convolutional network over turns and mirrorings",
        data: "the MNIST digits that ship with the program, each turned by an angle of its own",
        length: Length::Epochs(8),
        batch: 64,
        rate: 6e-3,
        sizes: &[("width", 6)],
        goal: Goal::AtLeast("test_accuracy", 0.94),
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

/// Digits in some form to learn from, and for the test.
type Loaders = [DataLoader<(Tensor, Tensor)>; 2];

fn digits<D: Dataset<Item = (vorpal_nn::data::Array, i32)>>(
    run: &Run,
    form: impl Fn(Digits, u64) -> D,
) -> Result<Loaders> {
    let (train, test) = match &run.settings().data {
        Some(folder) => Digits::load(folder)?,
        None => Digits::embedded()?,
    };
    // Other dice for the test than for any of the digits that are learned.
    let train = DataLoader::builder(form(train, 1).cached()).batch_size(run.batch()).drop_last(true);
    let train = train.shuffle(run.seed()).device(run.device()).build()?;
    let test = DataLoader::builder(form(test, 2).cached()).batch_size(TEST_BATCH);
    Ok([train, test.device(run.device()).build()?])
}

/// What trains a model that names digits.
fn namer<M: Module + 'static>(
    model: M,
    forward: fn(&M, &Tensor) -> Tensor,
    rate: f64,
    steps: u64,
) -> Trainer<impl Task<Model = M, Batch = (Tensor, Tensor)>, Adam> {
    let task = supervised(forward, |out: &Tensor, y: &Tensor| out.cross_entropy(y));
    Trainer::new(task, model, Adam::adamw(rate))
        .schedule(CosineAnnealing::new(rate, steps), Every::Step)
        .metric("accuracy", Accuracy::new())
}

/// The network without turns, with about as many parameters as [`P4mCnn`]: √8 times as many filters.
#[derive(Clone, Debug, Module)]
struct PlainCnn {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm2d>,
    out: Linear,
}

impl PlainCnn {
    fn new(filters: &[usize], classes: usize, device: &Device) -> PlainCnn {
        let filters: Vec<usize> =
            filters.iter().map(|&f| (f as f64 * 8f64.sqrt()).round() as usize).collect();
        let conv = |k: usize| match k.checked_sub(1) {
            None => Conv2d::new(1, filters[k], [5, 5], device).padding([2, 2]),
            Some(before) => Conv2d::new(filters[before], filters[k], [3, 3], device).padding([1, 1]),
        };
        PlainCnn {
            convs: (0..filters.len()).map(conv).collect(),
            norms: filters.iter().map(|&filters| BatchNorm2d::new(filters, device)).collect(),
            out: Linear::new(filters.last().copied().unwrap_or(0), classes, device),
        }
    }

    fn forward(&self, images: &Tensor) -> Tensor {
        let mut x = images.clone();
        for (k, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            x = norm.forward(&conv.forward(&x)).relu();
            if k + 1 < self.convs.len() {
                x = halved(&x);
            }
        }
        self.out.forward(&x.mean([2, 3]))
    }
}

fn p4m(run: &mut Run) -> Result<()> {
    let (device, rate, width) = (run.device().clone(), run.rate(), run.size("width")?);
    let filters = [width, width * 3 / 2, width * 2, width * 4];
    let [mut train, mut test] = digits(run, TurnedDigits::new)?;
    let steps = run.steps(train.len());
    let model = P4mCnn::new(&filters, 10, &device);
    run.fit(namer(model, P4mCnn::forward, rate, steps), &mut train, Some(&mut test))?;
    if run.stopped() {
        return Ok(());
    }
    let plain = namer(PlainCnn::new(&filters, 10, &device), PlainCnn::forward, rate, steps).steps(steps);
    let (_, found) = run.fit_aside(plain, &mut train, Some(&mut test))?;
    if let Some(&accuracy) = found.get("test_accuracy") {
        run.result("plain_test_accuracy", accuracy);
    }
    if let Some(batch) = (&mut test).into_iter().next() {
        run.file("digits.png", plot::image_grid(&batch?.0.narrow(0, 0, 40), 10, 2)?);
    }
    Ok(())
}

fn point_net(run: &mut Run) -> Result<()> {
    let options =
        PointNetOptions { dims: 2, classes: 10, width: 128, feature_transform: false, dropout: 0.3 };
    let [mut train, mut test] = digits(run, |digits, seed| PointDigits::new(digits, POINTS, seed))?;
    let model = PointNet::new(options, run.device());
    let trainer = namer(model, PointNet::forward, run.rate(), run.steps(train.len()));
    run.fit(trainer, &mut train, Some(&mut test))?;
    Ok(())
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
