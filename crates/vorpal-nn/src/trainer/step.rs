//! One step: gradients, update, and what is done where a number is not finite.

use std::cell::RefCell;
use std::time::Instant;

use vorpal_autodiff::{Error, Result, Tensor, eval, value_and_grad};
use vorpal_tensor::RngState;

use super::event::Event;
use super::fit::Sitting;
use super::{Every, Task, Trainer, watch};
use crate::data::{DataLoader, Position};
use crate::{GradAccumulator, Module, Optimizer, Role, clip_grad_norm};

/// What a step gave.
struct Taken {
    loss: Tensor,
    norm: Option<Tensor>,
    examples: usize,
}

/// A scale of losses below which no gradient is to be saved any more: some forty steps in a row were called off.
const SCALE_MIN: f32 = 1.0 / (1 << 24) as f32;

impl<K: Task, O: Optimizer> Trainer<K, O> {
    /// The batches of the next step.
    pub(super) fn batches(
        &self,
        train: &mut DataLoader<K::Batch>,
        step: u64,
        per_epoch: u64,
    ) -> Result<Vec<K::Batch>> {
        let (epoch, k) = (step / per_epoch, step % per_epoch);
        let first = k as usize * self.accumulate;
        let count = self.accumulate.min(train.len() - first);
        let wanted = Position { epoch, batch: first };
        if train.position() != wanted && train.position().batch == train.len() {
            // The end of an epoch: what is made ahead for the next one is not thrown away.
            drop(train.epoch().next());
        }
        train.seek(wanted)?;
        let change = |batch| match &self.prepare {
            Some(prepare) => prepare(batch),
            None => batch,
        };
        train.epoch().take(count).map(|batch| batch.map(change)).collect()
    }

    /// Output and loss of a batch, as graphs.
    pub(super) fn answer(&self, model: &K::Model, batch: &K::Batch) -> (Tensor, Tensor) {
        let output = match self.precision {
            None => self.task.forward(model, batch),
            Some(p) => p.widen(&self.task.forward(&p.cast(model), &p.cast(batch))),
        };
        let loss = self.task.loss(&output, batch);
        (output, loss)
    }

    /// Loss and gradients of one batch, or the means of several; scaled, if losses are.
    fn gradients(&mut self, batches: &[K::Batch]) -> Result<(Tensor, K::Model)> {
        let mut sum = GradAccumulator::new(batches.len() as u64);
        let mut total: Option<Tensor> = None;
        for batch in batches {
            let seen = RefCell::new(None);
            let (loss, grads) = value_and_grad(&self.model, |m| {
                let (output, loss) = self.answer(m, batch);
                seen.replace(self.measured.is_some().then_some(output));
                self.scaler.as_ref().map_or_else(|| loss.clone(), |scaler| scaler.scale(&loss))
            })?;
            if let (Some(measured), Some(output)) = (&mut self.measured, seen.into_inner()) {
                measured.update(&output.stop_gradient(), &self.task.target(batch));
            }
            let loss = total.map_or(loss.clone(), |total| total + loss);
            if let Some(grads) = sum.add(grads) {
                let share = 1.0 / batches.len() as f64;
                return Ok((if batches.len() > 1 { loss * share } else { loss }, grads));
            }
            // What this batch needs in memory is free again before the next one.
            eval(&(&loss, &sum, &self.model, &self.measured))?;
            total = Some(loss);
        }
        Err(Error::internal("trainer", "a step without a batch"))
    }

    /// Takes the next step, and tells of it if its loss is read.
    pub(super) fn one_step(
        &mut self,
        batches: &[K::Batch],
        rng: RngState,
        sitting: &mut Sitting,
    ) -> Result<()> {
        let (start, step) = (Instant::now(), self.progress.step);
        let rate = match &self.schedule {
            None => self.optimizer.learning_rate(),
            Some((schedule, Every::Step)) => schedule.rate(step),
            Some((schedule, Every::Epoch)) => schedule.rate(step / sitting.per_epoch),
        };
        self.optimizer.set_learning_rate(rate);
        let total = sitting.total.clone();
        let taken = self.update(batches, sitting)?;
        let read = (step + 1).is_multiple_of(self.log_every);
        let loss = if read { taken.loss.item::<f32>()? } else { 0.0 };
        let grad_norm = match taken.norm.filter(|_| read) {
            Some(norm) => Some(norm.item::<f32>()?),
            None => None,
        };
        let sound = loss.is_finite() && grad_norm.is_none_or(f32::is_finite);
        // Where a step before this one was called off, that is the one to tell of.
        if !sound && self.scaler.is_none() && sitting.skipped.count()? == sitting.known + 1 {
            sitting.total = total;
            return self.give_up(batches, rng, (loss, grad_norm), sitting);
        }
        self.progress.step += 1;
        self.progress.seconds = sitting.before + sitting.began.elapsed().as_secs_f64();
        if !read || (!sound && self.scaler.is_none()) {
            return Ok(());
        }
        let event = Event::Step {
            step: self.progress.step,
            epoch: step / sitting.per_epoch + 1,
            loss,
            rate,
            grad_norm,
            seconds: self.progress.seconds,
            examples_per_second: taken.examples as f64 / start.elapsed().as_secs_f64().max(1e-9),
        };
        self.tell(&event, sitting)
    }

    /// One plan: gradients, update, sum of losses. Nothing changes where the loss is not finite.
    fn update(&mut self, batches: &[K::Batch], sitting: &mut Sitting) -> Result<Taken> {
        let mut before = Vec::new();
        self.model.walk("", &mut |_, role, tensor| {
            if role == Role::Buffer {
                before.push(tensor.clone());
            }
        });
        let (mut loss, mut grads) = self.gradients(batches)?;
        let (mut norm, mut finite) = (None, None);
        if let Some(scaler) = &self.scaler {
            loss = scaler.unscale_loss(&loss);
            let unscaled = scaler.unscale(&grads);
            (grads, finite) = (unscaled.grads, Some(unscaled.finite));
        }
        if let Some(max) = self.clip {
            (grads, norm) = clip_grad_norm(&grads, max);
        }
        let mut sound = loss.is_finite();
        for other in norm.as_ref().map(Tensor::is_finite).into_iter().chain(finite) {
            sound = sound.logical_and(&other);
        }
        match &mut self.scaler {
            None => self.optimizer.step_if(&mut self.model, grads, Some(&sound))?,
            Some(scaler) => scaler.step(&mut self.optimizer, &mut self.model, grads, &sound)?,
        }
        let mut before = before.into_iter();
        self.model.walk_mut("", &mut |_, role, tensor| {
            if let Some(old) = (role == Role::Buffer).then(|| before.next()).flatten() {
                *tensor = sound.select(&*tensor, old);
            }
        });
        if let Some(average) = &mut self.average {
            average.update_if(&self.model, Some(&sound))?;
        }
        sitting.total = sound.select(&sitting.total + &loss, &sitting.total);
        sitting.skipped.note(&sound, self.progress.step + 1, &loss, norm.as_ref());
        drop(sound);
        let numbers = (&loss, &norm, &sitting.total, &sitting.skipped, &self.measured);
        eval(&(numbers, &self.model, &self.optimizer, &self.average, &self.scaler))?;
        let examples = batches.iter().map(examples).sum();
        Ok(Taken { loss, norm, examples })
    }

    /// The end of a training whose last step was called off when it was read: all is as it was before that step.
    fn give_up(
        &mut self,
        batches: &[K::Batch],
        rng: RngState,
        (loss, norm): (f32, Option<f32>),
        sitting: &mut Sitting,
    ) -> Result<()> {
        let mut state = self.optimizer.state().clone();
        state.steps = state.steps.saturating_sub(1);
        self.optimizer.set_state(state);
        if let Some(average) = &mut self.average {
            average.set_updates(average.updates().saturating_sub(1));
        }
        sitting.skipped.forget(sitting.known);
        sitting.device.set_rng_state(rng);
        self.save(sitting, false)?;
        let blame = watch::blame(&self.model, batches, |batch| self.answer(&self.model, batch).1)?;
        Err(not_finite(loss, norm, self.progress.step + 1, blame))
    }

    /// Looks for steps that were called off since the last look. Without a scaler the training ends with the first of
    /// them, whose batches are made again to find out where it went wrong; the steps behind it have been taken and are
    /// saved.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if there was one, and what looking gives.
    pub(super) fn look_back(
        &mut self,
        train: &mut DataLoader<K::Batch>,
        sitting: &mut Sitting,
    ) -> Result<()> {
        let (count, window) = (sitting.skipped.count()?, std::mem::take(&mut sitting.window));
        let new = count - std::mem::replace(&mut sitting.known, count);
        if new == 0 {
            return Ok(());
        }
        let (first, loss, norm) = sitting.skipped.first()?;
        sitting.skipped.forget(count);
        let lost = self.scaler.as_ref().map(|s| s.get_scale()).transpose()?;
        if lost.is_some_and(|scale| scale >= SCALE_MIN) {
            return Ok(());
        }
        self.save(sitting, false)?;
        let (now, made) = (self.progress.step, window.len() as u64);
        let rng = sitting.device.rng_state();
        if let Some(then) = window.get((first + made).saturating_sub(now + 1) as usize) {
            sitting.device.set_rng_state(*then);
        }
        let batches = self.batches(train, first - 1, sitting.per_epoch)?;
        let blame = watch::blame(&self.model, &batches, |batch| self.answer(&self.model, batch).1);
        sitting.device.set_rng_state(rng);
        let why = if lost.is_some() { "; no scale is small enough for its gradients" } else { "" };
        let blame = format!(
            "{}{why}; of the {made} steps up to step {now}, {new} called off; what the others gave is saved",
            blame?
        );
        Err(not_finite(loss, norm, first, blame))
    }
}

fn not_finite(loss: f32, norm: Option<f32>, step: u64, blame: String) -> Error {
    let (what, value) = match norm {
        _ if !loss.is_finite() => ("the loss", loss),
        Some(norm) if !norm.is_finite() => ("the norm of the gradient", norm),
        _ => ("the gradient", f32::NAN),
    };
    Error::NonFinite { what, value: f64::from(value), step, blame }
}

/// Examples of a batch: the size of the first axis of its first tensor.
pub(super) fn examples<B: vorpal_autodiff::Tensors>(batch: &B) -> usize {
    let mut count = None;
    batch.visit(&mut |x| {
        count.get_or_insert_with(|| x.shape().dims().first().copied().unwrap_or(1));
    });
    count.unwrap_or(0)
}
