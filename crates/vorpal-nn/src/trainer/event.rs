//! What happens in a training.

use std::collections::BTreeMap;

use serde::Serialize;

/// Something that happened. As JSON it is a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Event {
    /// The training begins, or goes on.
    Start {
        /// Steps taken by earlier sittings.
        step: u64,
        /// Steps it will have taken at its end, if nothing stops it.
        steps: u64,
    },
    /// A step whose loss was read.
    Step {
        /// Steps taken.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Mean loss of the examples of the step.
        loss: f32,
        /// Step size.
        rate: f64,
        /// Norm of the gradients before they were clipped, if they are.
        #[serde(skip_serializing_if = "Option::is_none")]
        grad_norm: Option<f32>,
        /// Seconds since the beginning of the training, earlier sittings included.
        seconds: f64,
        /// Examples by the time of this step.
        examples_per_second: f64,
    },
    /// An epoch is over, and the model has been evaluated if there is something to do it with.
    Epoch {
        /// The epoch, from 1.
        epoch: u64,
        /// Steps taken.
        step: u64,
        /// Mean of the losses of the epoch's steps.
        train_loss: f32,
        /// [Metrics of the training](super::Trainer::train_metric), their names behind `train_`.
        #[serde(flatten)]
        train: BTreeMap<String, f64>,
        /// Loss and metrics on what is not trained on, their names behind `test_`.
        #[serde(flatten)]
        test: BTreeMap<String, f64>,
    },
    /// A checkpoint is whole.
    Checkpoint {
        /// Steps taken.
        step: u64,
        /// Whether the model is the best so far.
        best: bool,
    },
    /// The training is over.
    Stop {
        /// Steps taken.
        step: u64,
        /// Why.
        reason: Reason,
    },
}

/// Why a training is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// All epochs or steps have been made.
    Done,
    /// The monitored number has not become better for too long.
    Early,
    /// A callback asked for it.
    Asked,
}

/// What a callback wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Save and stop.
    Stop,
}

/// How a training went.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Steps taken.
    pub steps: u64,
    /// Seconds, earlier sittings included.
    pub seconds: f64,
    /// Why it is over.
    pub reason: Reason,
    /// Mean loss of each epoch of this sitting, and its evaluation, as [`Event::Epoch`].
    pub epochs: Vec<Event>,
    /// Loss and metrics of the last evaluation, their names behind `test_`; empty if the training was asked to stop
    /// since.
    pub test: BTreeMap<String, f64>,
    /// The best number that was monitored, and its step.
    pub best: Option<(f64, u64)>,
}
