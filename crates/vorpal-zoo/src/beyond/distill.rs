//! Learning from another model.

use vorpal_nn::loss::KlDivLoss;
use vorpal_nn::{Device, Linear, Module, Tensor};

/// A student (Hinton et al. 2015): two hidden layers of `width` units with ReLU, that learns digits not from their names
/// but from what a teacher thinks of each: all its ten probabilities, softened by a temperature, say more than one name.
/// Images `[n, 1, 28, 28]` to `[n, 10]`; with 100 units it has 89,610 parameters.
///
/// `vorpal train distill` repeats the experiment of the paper: the teacher is a convolutional network that has seen all
/// digits, the student never sees a 3. It names at least 60 % of the threes of the test all the same; from names alone it
/// would name none.
///
/// ```
/// use vorpal_nn::{DType, Device, Tensor};
/// use vorpal_zoo::beyond::Student;
/// let device = Device::cpu();
/// let student = Student::new(100, &device);
/// let (images, teacher) =
///     (Tensor::rand([4, 1, 28, 28], DType::F32, &device), Tensor::randn([4, 10], DType::F32, &device));
/// let loss = Student::loss(&student.forward(&images), &teacher, 4.0);
/// assert!(loss.item::<f32>()? > 0.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Student {
    first: Linear,
    second: Linear,
    out: Linear,
}

impl Student {
    /// Random weights.
    pub fn new(width: usize, device: &Device) -> Student {
        Student {
            first: Linear::new(28 * 28, width, device),
            second: Linear::new(width, width, device),
            out: Linear::new(width, 10, device),
        }
    }

    /// Logits `[n, 10]` of images `[n, 1, 28, 28]`.
    #[track_caller]
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let x = self.first.forward(&images.flatten(1, -1)).relu();
        self.out.forward(&self.second.forward(&x).relu())
    }

    /// How far the probabilities of `logits` are from those of `teacher`, both softened by `temperature`: the
    /// Kullback–Leibler divergence, times the square of the temperature, so that gradients keep their size.
    #[track_caller]
    pub fn loss(logits: &Tensor, teacher: &Tensor, temperature: f64) -> Tensor {
        let soft = |x: &Tensor| x * (1.0 / temperature);
        let loss = KlDivLoss { reduction: vorpal_nn::loss::Reduction::BatchMean, ..KlDivLoss::default() };
        loss.forward(&soft(logits).log_softmax(-1), &soft(teacher).softmax(-1)) * (temperature * temperature)
    }
}
