//! Groups of parameters that are trained in another way than the rest.

use std::fmt;
use std::sync::Arc;

use vorpal_autodiff::Tensor;

type Predicate = Arc<dyn Fn(&str, &Tensor) -> bool + Send + Sync>;

/// Parameters with a step size or a weight decay of their own, or frozen.
///
/// ```
/// use vorpal_nn::{Adam, ParameterGroup};
///
/// let optimizer = Adam::adamw(1e-3)
///     .group(ParameterGroup::prefix("backbone.layer1.").frozen())
///     .group(ParameterGroup::prefix("backbone.").rate_factor(0.1))
///     // Biases and the weights of norms.
///     .group(ParameterGroup::vectors().weight_decay(0.0));
/// assert_eq!(optimizer.groups().len(), 3);
/// ```
#[derive(Clone)]
pub struct ParameterGroup {
    predicate: Predicate,
    factor: f64,
    decay: Option<f64>,
    frozen: bool,
}

impl ParameterGroup {
    /// Parameters that a function of their name and value takes.
    pub fn of(predicate: impl Fn(&str, &Tensor) -> bool + Send + Sync + 'static) -> ParameterGroup {
        ParameterGroup { predicate: Arc::new(predicate), factor: 1.0, decay: None, frozen: false }
    }

    /// Parameters that a function of their name takes.
    pub fn named(predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> ParameterGroup {
        ParameterGroup::of(move |name, _| predicate(name))
    }

    /// Parameters whose names begin so: `"encoder."` takes all of the field `encoder`.
    pub fn prefix(prefix: impl Into<String>) -> ParameterGroup {
        let prefix = prefix.into();
        ParameterGroup::named(move |name| name.starts_with(&prefix))
    }

    /// Parameters of at most one axis: biases, and the weights of norms.
    pub fn vectors() -> ParameterGroup {
        ParameterGroup::of(|_, parameter| parameter.rank() <= 1)
    }

    /// Multiplies the step size.
    #[must_use]
    pub fn rate_factor(mut self, factor: f64) -> ParameterGroup {
        self.factor = factor;
        self
    }

    /// Another weight decay than that of the optimiser.
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> ParameterGroup {
        self.decay = Some(decay);
        self
    }

    /// Not trained: parameters stay what they are, and nothing is kept or computed for them.
    #[must_use]
    pub fn frozen(mut self) -> ParameterGroup {
        self.frozen = true;
        self
    }

    pub(super) fn takes(&self, name: &str, parameter: &Tensor) -> bool {
        (self.predicate)(name, parameter)
    }

    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    pub(super) fn decay(&self) -> Option<f64> {
        self.decay
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }
}

impl fmt::Debug for ParameterGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterGroup")
            .field("factor", &self.factor)
            .field("decay", &self.decay)
            .field("frozen", &self.frozen)
            .finish_non_exhaustive()
    }
}
