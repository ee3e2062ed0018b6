//! Metrics of classification.

use vorpal_autodiff::{At, DType, Result, Tensor};

use super::{Metric, Totals, misfit};

/// Class numbers (`I32`) that an output stands for, in the shape of `target`: floats with one axis more are scores of
/// classes, the largest counts; floats of the same shape are scores of class 1, integers are class numbers.
fn predictions(op: &'static str, output: &Tensor, target: &Tensor, threshold: f64, at: At) -> Result<Tensor> {
    let (have, want) = (output.shape(), target.shape());
    let float = output.dtype().is_float();
    if float && have.rank() == want.rank() + 1 && have.dims()[..want.rank()] == *want.dims() {
        return Ok(output.argmax(-1).cast(DType::I32));
    }
    if have != want {
        let message = "scores must be [..., classes] or [...], targets [...]";
        return Err(misfit(op, message, output, target, at));
    }
    Ok(if float { output.gt(threshold) } else { output.clone() }.cast(DType::I32))
}

/// Share of examples whose class is the likeliest one, or among the `k` likeliest.
///
/// Outputs are scores `[…, classes]`, or `[…]` for two classes (class 1 above a threshold), or class numbers; targets
/// are class numbers `[…]`.
///
/// ```
/// use vorpal_nn::metrics::{Accuracy, Metric};
/// use vorpal_nn::{Device, Tensor};
/// let scores = Tensor::from_slice(&[0.5f32, 0.3, 0.2, 0.1, 0.6, 0.3], [2, 3], &Device::cpu());
/// let target = Tensor::from_slice(&[0i32, 2], [2], &Device::cpu());
/// let (mut first, mut either) = (Accuracy::new(), Accuracy::top_k(2));
/// first.update(&scores, &target);
/// either.update(&scores, &target);
/// assert_eq!((first.compute()?, either.compute()?), (0.5, 1.0));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Accuracy {
    k: usize,
    threshold: f64,
    ignore: Option<i32>,
    totals: Totals,
}

impl Accuracy {
    /// The likeliest class counts.
    pub fn new() -> Accuracy {
        Accuracy::top_k(1)
    }

    /// The `k` likeliest classes count.
    pub fn top_k(k: usize) -> Accuracy {
        Accuracy { k, threshold: 0.5, ignore: None, totals: Totals::default() }
    }

    /// Score above which two classes without an axis of their own are class 1; 0.5 at first, 0 for logits.
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> Accuracy {
        self.threshold = threshold;
        self
    }

    /// Targets that do not count, padding for example.
    #[must_use]
    pub fn ignore_index(mut self, class: i32) -> Accuracy {
        self.ignore = Some(class);
        self
    }

    fn hits(&self, output: &Tensor, target: &Tensor, at: At) -> Result<Tensor> {
        if self.k == 1 {
            return Ok(predictions("accuracy", output, target, self.threshold, at)?.eq(target));
        }
        let (have, rank) = (output.shape(), target.rank());
        if have.rank() != rank + 1 || have.dims()[..rank] != *target.shape().dims() {
            let message = "the likeliest k need scores [..., classes] and targets [...]";
            return Err(misfit("accuracy", message, output, target, at));
        }
        let best = output.topk(self.k.min(have.dims()[rank]), -1, true).1.cast(DType::I32);
        Ok(best.eq(target.unsqueeze(-1)).any(-1))
    }
}

impl Default for Accuracy {
    fn default() -> Accuracy {
        Accuracy::new()
    }
}

impl Metric for Accuracy {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        let target = target.cast(DType::I32);
        let hits = match self.hits(output, &target, At::caller()) {
            Ok(hits) => hits,
            Err(error) => return self.totals.fail(error),
        };
        let count = |x: Tensor| x.cast(DType::I32).sum_all();
        match self.ignore {
            None => self.totals.add(vec![count(hits)], target.shape().numel() as f64),
            Some(class) => {
                let counts = target.ne(class);
                self.totals.add(vec![count(hits.logical_and(&counts)), count(counts)], 0.0);
            }
        }
    }

    fn compute(&self) -> Result<f64> {
        let sums = self.totals.read()?;
        Ok(match &sums[..] {
            [] => f64::NAN,
            [hits] => hits[0] / self.totals.weight,
            [hits, count, ..] => hits[0] / count[0],
        })
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }
}

/// How often each class was taken for each. Its number is the share that was right.
///
/// Outputs and targets are those of [`Accuracy`]; a class number out of range is an error when the counts are read.
///
/// ```
/// use vorpal_nn::metrics::{ConfusionMatrix, Metric};
/// use vorpal_nn::{Device, Tensor};
/// let classes = |list: &[i32]| Tensor::from_slice(list, [list.len()], &Device::cpu());
/// let mut matrix = ConfusionMatrix::new(2);
/// matrix.update(&classes(&[0, 1, 1, 1]), &classes(&[0, 0, 1, 1]));
/// assert_eq!(matrix.counts()?, [[1, 1], [0, 2]]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    classes: usize,
    threshold: f64,
    ignore: Option<i32>,
    totals: Totals,
}

impl ConfusionMatrix {
    /// For classes 0 … `classes` − 1.
    pub fn new(classes: usize) -> ConfusionMatrix {
        ConfusionMatrix { classes, threshold: 0.5, ignore: None, totals: Totals::default() }
    }

    /// As [`Accuracy::threshold`].
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> ConfusionMatrix {
        self.threshold = threshold;
        self
    }

    /// As [`Accuracy::ignore_index`].
    #[must_use]
    pub fn ignore_index(mut self, class: i32) -> ConfusionMatrix {
        self.ignore = Some(class);
        self
    }

    /// Row: the wanted class, column: what it was taken for. All zeros before the first batch.
    ///
    /// # Errors
    /// As [`Metric::compute`].
    pub fn counts(&self) -> Result<Vec<Vec<u64>>> {
        let sums = self.totals.read()?;
        let Some(counts) = sums.first() else { return Ok(vec![vec![0; self.classes]; self.classes]) };
        Ok(counts.chunks(self.classes.max(1)).map(|row| row.iter().map(|&n| n as u64).collect()).collect())
    }
}

impl Metric for ConfusionMatrix {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        let at = At::caller();
        let target = target.cast(DType::I32);
        let found = match predictions("confusion_matrix", output, &target, self.threshold, at) {
            Ok(found) => found,
            Err(error) => return self.totals.fail(error),
        };
        let all = self.classes * self.classes;
        let pairs = target.mul(self.classes as i32) + found;
        let counts = match self.ignore {
            None => pairs.bincount(all),
            Some(class) => {
                let counts = target.ne(class);
                counts.select(&pairs, all as i32).bincount(all + 1).narrow(0, 0, all)
            }
        };
        self.totals.add(vec![counts], target.shape().numel() as f64);
    }

    fn compute(&self) -> Result<f64> {
        let counts = self.counts()?;
        let right: u64 = counts.iter().enumerate().map(|(k, row)| row[k]).sum();
        Ok(right as f64 / counts.iter().flatten().sum::<u64>() as f64)
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.totals
    }

    fn confusion(&self) -> Result<Option<Vec<Vec<u64>>>> {
        self.counts().map(Some)
    }
}

/// How the numbers of classes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// Their mean. Classes that are neither wanted nor found are left out.
    Macro,
    /// Their mean weighted by how often each class is wanted.
    Weighted,
    /// From the counts of all classes together.
    Micro,
    /// That of one class: the positive one, for example.
    Class(usize),
}

/// What is made of the counts of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Score {
    Precision,
    Recall,
    F(f64),
    Iou,
    Specificity,
}

/// Precision, recall, F-score, intersection over union and specificity, from one [`ConfusionMatrix`]. The mean of all
/// classes ([`Average::Macro`]) unless told otherwise; 0 where a share has nothing to be of.
///
/// For segmentation, outputs are scores `[…, classes]` or class numbers of every pixel.
///
/// ```
/// use vorpal_nn::metrics::{Average, ClassScore, Metric};
/// use vorpal_nn::{Device, Tensor};
/// let classes = |list: &[i32]| Tensor::from_slice(list, [list.len()], &Device::cpu());
/// let mut recall = ClassScore::recall(2).average(Average::Class(1));
/// recall.update(&classes(&[0, 1, 0, 1]), &classes(&[0, 0, 1, 1]));
/// assert_eq!(recall.compute()?, 0.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassScore {
    score: Score,
    average: Average,
    matrix: ConfusionMatrix,
}

impl ClassScore {
    fn new(score: Score, classes: usize) -> ClassScore {
        ClassScore { score, average: Average::Macro, matrix: ConfusionMatrix::new(classes) }
    }

    /// Of what was taken for a class, the share that is of it.
    pub fn precision(classes: usize) -> ClassScore {
        ClassScore::new(Score::Precision, classes)
    }

    /// Of a class, the share that was found; the sensitivity.
    pub fn recall(classes: usize) -> ClassScore {
        ClassScore::new(Score::Recall, classes)
    }

    /// The harmonic mean of precision and recall, which is the Dice coefficient.
    pub fn f1(classes: usize) -> ClassScore {
        ClassScore::new(Score::F(1.0), classes)
    }

    /// As [`f1`](ClassScore::f1), with recall `beta` times as important as precision.
    pub fn f_beta(beta: f64, classes: usize) -> ClassScore {
        ClassScore::new(Score::F(beta), classes)
    }

    /// Dice coefficient: twice the intersection over the sum of both sizes.
    pub fn dice(classes: usize) -> ClassScore {
        ClassScore::f1(classes)
    }

    /// Intersection over union, the Jaccard index.
    pub fn iou(classes: usize) -> ClassScore {
        ClassScore::new(Score::Iou, classes)
    }

    /// Of what is not of a class, the share that was not taken for it.
    pub fn specificity(classes: usize) -> ClassScore {
        ClassScore::new(Score::Specificity, classes)
    }

    /// How the classes become one number.
    #[must_use]
    pub fn average(mut self, average: Average) -> ClassScore {
        self.average = average;
        self
    }

    /// As [`Accuracy::threshold`].
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> ClassScore {
        self.matrix.threshold = threshold;
        self
    }

    /// As [`Accuracy::ignore_index`].
    #[must_use]
    pub fn ignore_index(mut self, class: i32) -> ClassScore {
        self.matrix.ignore = Some(class);
        self
    }

    /// The number of every class.
    ///
    /// # Errors
    /// As [`Metric::compute`].
    pub fn by_class(&self) -> Result<Vec<f64>> {
        Ok(outcomes(&self.matrix.counts()?).iter().map(|o| o.score(self.score)).collect())
    }
}

/// True positives, false positives, false negatives and true negatives of a class.
#[derive(Clone, Copy, Default)]
struct Outcomes {
    tp: f64,
    fp: f64,
    fn_: f64,
    tn: f64,
}

impl Outcomes {
    fn score(self, score: Score) -> f64 {
        let Outcomes { tp, fp, fn_, tn } = self;
        let (part, of) = match score {
            Score::Precision => (tp, tp + fp),
            Score::Recall => (tp, tp + fn_),
            Score::F(beta) => {
                let b = beta * beta;
                ((1.0 + b) * tp, (1.0 + b) * tp + b * fn_ + fp)
            }
            Score::Iou => (tp, tp + fp + fn_),
            Score::Specificity => (tn, tn + fp),
        };
        if of == 0.0 { 0.0 } else { part / of }
    }
}

fn outcomes(counts: &[Vec<u64>]) -> Vec<Outcomes> {
    let all: f64 = counts.iter().flatten().map(|&n| n as f64).sum();
    (0..counts.len())
        .map(|k| {
            let tp = counts[k][k] as f64;
            let fn_ = counts[k].iter().map(|&n| n as f64).sum::<f64>() - tp;
            let fp = counts.iter().map(|row| row[k] as f64).sum::<f64>() - tp;
            Outcomes { tp, fp, fn_, tn: all - tp - fp - fn_ }
        })
        .collect()
}

impl Metric for ClassScore {
    #[track_caller]
    fn update(&mut self, output: &Tensor, target: &Tensor) {
        self.matrix.update(output, target);
    }

    fn compute(&self) -> Result<f64> {
        let all = outcomes(&self.matrix.counts()?);
        let mean = |weight: &dyn Fn(&Outcomes) -> f64| {
            let sum: f64 = all.iter().map(|o| weight(o) * o.score(self.score)).sum();
            sum / all.iter().map(weight).sum::<f64>()
        };
        Ok(match self.average {
            Average::Macro => mean(&|o| f64::from(u8::from(o.tp + o.fp + o.fn_ > 0.0))),
            Average::Weighted => mean(&|o| o.tp + o.fn_),
            Average::Micro => {
                let add = |a: Outcomes, b: &Outcomes| Outcomes {
                    tp: a.tp + b.tp,
                    fp: a.fp + b.fp,
                    fn_: a.fn_ + b.fn_,
                    tn: a.tn + b.tn,
                };
                all.iter().fold(Outcomes::default(), add).score(self.score)
            }
            Average::Class(class) => all.get(class).map_or(f64::NAN, |o| o.score(self.score)),
        })
    }

    fn totals(&self) -> &Totals {
        &self.matrix.totals
    }

    fn totals_mut(&mut self) -> &mut Totals {
        &mut self.matrix.totals
    }

    fn confusion(&self) -> Result<Option<Vec<Vec<u64>>>> {
        self.matrix.confusion()
    }
}
