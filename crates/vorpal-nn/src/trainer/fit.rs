//! The loop.

use std::collections::BTreeMap;
use std::time::Instant;

use vorpal_autodiff::{Device, Error, Result, Tensor, eval, value_and_grad};
use vorpal_tensor::RngState;

use super::event::{Event, Fitted, Flow, Reason};
use super::{Every, Task, Trainer, watch};
use crate::data::{DataLoader, Position};
use crate::metrics::Mean;
use crate::{GradAccumulator, Module, Optimizer, Role, clip_grad_norm};

/// What a step gave.
struct Taken {
    loss: Tensor,
    norm: Option<Tensor>,
    examples: usize,
}

/// A sitting: what [`Trainer::fit`] knows beside the trainer.
struct Sitting {
    device: Device,
    began: Instant,
    /// Seconds of earlier sittings.
    before: f64,
    per_epoch: u64,
    /// Sum of the losses of the present epoch.
    total: Tensor,
    stop: bool,
    /// Step of the last checkpoint.
    saved: Option<u64>,
    fitted: Fitted,
}

impl<K: Task, O: Optimizer> Trainer<K, O> {
    /// Trains until all epochs are made, the monitored number no longer becomes better, or a callback asks to stop;
    /// evaluates on `test` after every epoch and at the end.
    ///
    /// # Errors
    /// What the loaders, the graph, the device or the files give; [`Error::NonFinite`] for a loss that is not finite.
    /// What had been saved before is still there, and the model is as it was before the step.
    pub fn fit(
        &mut self,
        train: &mut DataLoader<K::Batch>,
        mut test: Option<&mut DataLoader<K::Batch>>,
    ) -> Result<Fitted> {
        let device = self.device()?;
        let per_epoch = train.len().div_ceil(self.accumulate) as u64;
        let steps = self.steps.unwrap_or(self.epochs.saturating_mul(per_epoch));
        eval(&self.model)?;
        self.model.train(true);
        let mut sitting = Sitting {
            began: Instant::now(),
            before: self.progress.seconds,
            per_epoch,
            total: Tensor::from_slice(&[f32::from_bits(self.progress.total)], [], &device),
            stop: false,
            saved: None,
            fitted: Fitted {
                steps: self.progress.step,
                seconds: self.progress.seconds,
                reason: Reason::Done,
                epochs: Vec::new(),
                test: BTreeMap::new(),
                best: None,
            },
            device,
        };
        self.tell(&Event::Start { step: self.progress.step, steps }, &mut sitting)?;
        while self.progress.step < steps && !sitting.stop {
            let k = self.progress.step % per_epoch;
            if k == 0 {
                sitting.total = Tensor::from_slice(&[0.0f32], [], &sitting.device);
            }
            let rng = sitting.device.rng_state();
            let batches = self.batches(train, &sitting)?;
            self.one_step(&batches, rng, &mut sitting)?;
            drop(batches);
            sitting.fitted.test = BTreeMap::new();
            if self.progress.step.is_multiple_of(per_epoch) {
                self.end_epoch(test.as_deref_mut(), &mut sitting)?;
            } else if self.save_every.is_some_and(|every| self.progress.step.is_multiple_of(every)) {
                self.save(&mut sitting, false)?;
            }
        }
        self.end(test, sitting)
    }

    /// The batches of the next step.
    fn batches(&self, train: &mut DataLoader<K::Batch>, sitting: &Sitting) -> Result<Vec<K::Batch>> {
        let (epoch, k) = (self.progress.step / sitting.per_epoch, self.progress.step % sitting.per_epoch);
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
    fn answer(&self, model: &K::Model, batch: &K::Batch) -> (Tensor, Tensor) {
        let output = match self.precision {
            None => self.task.forward(model, batch),
            Some(p) => p.widen(&self.task.forward(&p.cast(model), &p.cast(batch))),
        };
        let loss = self.task.loss(&output, batch);
        (output, loss)
    }

    /// Loss and gradients of one batch, or the means of several.
    fn gradients(&self, batches: &[K::Batch]) -> Result<(Tensor, K::Model)> {
        let one = |batch: &K::Batch| value_and_grad(&self.model, |m| self.answer(m, batch).1);
        let mut sum = GradAccumulator::new(batches.len() as u64);
        let mut total: Option<Tensor> = None;
        for batch in batches {
            let (loss, grads) = one(batch)?;
            let loss = total.map_or(loss.clone(), |total| total + loss);
            if let Some(grads) = sum.add(grads) {
                let share = 1.0 / batches.len() as f64;
                return Ok((if batches.len() > 1 { loss * share } else { loss }, grads));
            }
            // What this batch needs in memory is free again before the next one.
            eval(&(&loss, &sum, &self.model))?;
            total = Some(loss);
        }
        Err(Error::internal("trainer", "a step without a batch"))
    }

    fn one_step(&mut self, batches: &[K::Batch], rng: RngState, sitting: &mut Sitting) -> Result<()> {
        let (start, step) = (Instant::now(), self.progress.step);
        let rate = match &self.schedule {
            None => self.optimizer.learning_rate(),
            Some((schedule, Every::Step)) => schedule.rate(step),
            Some((schedule, Every::Epoch)) => schedule.rate(step / sitting.per_epoch),
        };
        self.optimizer.set_learning_rate(rate);
        let total = sitting.total.clone();
        let taken = self.update(batches, &mut sitting.total)?;
        let read = (step + 1).is_multiple_of(self.log_every);
        let loss = if read { taken.loss.item::<f32>()? } else { 0.0 };
        let grad_norm = match taken.norm.filter(|_| read) {
            Some(norm) => Some(norm.item::<f32>()?),
            None => None,
        };
        if !loss.is_finite() || grad_norm.is_some_and(|n| !n.is_finite()) {
            sitting.total = total;
            let mut state = self.optimizer.state().clone();
            state.steps = state.steps.saturating_sub(1);
            self.optimizer.set_state(state);
            sitting.device.set_rng_state(rng);
            self.save(sitting, false)?;
            let value = if loss.is_finite() { grad_norm.unwrap_or(f32::NAN) } else { loss };
            let blame = watch::blame(&self.model, batches, |batch| self.answer(&self.model, batch).1)?;
            let what = if loss.is_finite() { "the norm of the gradient" } else { "the loss" };
            return Err(Error::NonFinite { what, value: f64::from(value), step: step + 1, blame });
        }
        self.progress.step += 1;
        self.progress.seconds = sitting.before + sitting.began.elapsed().as_secs_f64();
        if !read {
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
    fn update(&mut self, batches: &[K::Batch], total: &mut Tensor) -> Result<Taken> {
        let mut before = Vec::new();
        self.model.walk("", &mut |_, role, tensor| {
            if role == Role::Buffer {
                before.push(tensor.clone());
            }
        });
        let (loss, mut grads) = self.gradients(batches)?;
        let mut norm = None;
        if let Some(max) = self.clip {
            (grads, norm) = clip_grad_norm(&grads, max);
        }
        let mut sound = loss.is_finite();
        if let Some(norm) = &norm {
            sound = sound.logical_and(norm.is_finite());
        }
        self.optimizer.step_if(&mut self.model, grads, Some(&sound))?;
        let mut before = before.into_iter();
        self.model.walk_mut("", &mut |_, role, tensor| {
            if let Some(old) = (role == Role::Buffer).then(|| before.next()).flatten() {
                *tensor = sound.select(&*tensor, old);
            }
        });
        *total = sound.select(&*total + &loss, &*total);
        drop(sound);
        eval(&(&loss, &norm, &*total, &self.model, &self.optimizer))?;
        let examples = batches.iter().map(examples).sum();
        Ok(Taken { loss, norm, examples })
    }

    fn end_epoch(&mut self, test: Option<&mut DataLoader<K::Batch>>, sitting: &mut Sitting) -> Result<()> {
        sitting.fitted.test = self.evaluate_some(test)?;
        let train_loss = sitting.total.item::<f32>()? / sitting.per_epoch as f32;
        let better = self.monitored(&sitting.fitted.test)?;
        if let Some((schedule, _)) = &mut self.schedule {
            schedule.observe(sitting.fitted.test.get("test_loss").copied().unwrap_or(f64::from(train_loss)));
            self.progress.schedule = schedule.state().into_iter().map(f64::to_bits).collect();
        }
        let (step, epoch) = (self.progress.step, self.progress.step / sitting.per_epoch);
        let event = Event::Epoch { epoch, step, train_loss, test: sitting.fitted.test.clone() };
        self.tell(&event, sitting)?;
        sitting.fitted.epochs.push(event);
        self.save(sitting, better)?;
        let patience = self.monitor.as_ref().and_then(|m| m.patience);
        if patience.is_some_and(|patience| self.progress.waited >= patience) {
            sitting.stop = true;
            sitting.fitted.reason = Reason::Early;
        }
        Ok(())
    }

    fn end(&mut self, test: Option<&mut DataLoader<K::Batch>>, mut sitting: Sitting) -> Result<Fitted> {
        let step = self.progress.step;
        if sitting.saved != Some(step) {
            self.save(&mut sitting, false)?;
        }
        if sitting.fitted.test.is_empty() && !sitting.stop {
            sitting.fitted.test = self.evaluate_some(test)?;
        }
        let reason = sitting.fitted.reason;
        self.tell(&Event::Stop { step, reason }, &mut sitting)?;
        if let Some(run) = &self.run {
            run.write("report.html", self.report(run, &sitting.fitted, &sitting.device)?.as_bytes())?;
        }
        let mut fitted = sitting.fitted;
        fitted.steps = step;
        fitted.seconds = self.progress.seconds;
        fitted.best = self.progress.best.map(|(bits, step)| (f64::from_bits(bits), step));
        Ok(fitted)
    }

    fn evaluate_some(&mut self, test: Option<&mut DataLoader<K::Batch>>) -> Result<BTreeMap<String, f64>> {
        test.map_or_else(|| Ok(BTreeMap::new()), |test| self.evaluate(test))
    }

    /// Loss and metrics of all batches of an epoch of `data`, their names behind `test_`, the model evaluated and
    /// not trained.
    ///
    /// # Errors
    /// What the loader, the graph or the device gives.
    pub fn evaluate(&mut self, data: &mut DataLoader<K::Batch>) -> Result<BTreeMap<String, f64>> {
        self.model.train(false);
        let numbers = self.measure(data);
        self.model.train(true);
        numbers
    }

    fn measure(&mut self, data: &mut DataLoader<K::Batch>) -> Result<BTreeMap<String, f64>> {
        let (mut mean, place) = (Mean::default(), data.position());
        self.metrics.reset();
        data.seek(Position { batch: 0, ..place })?;
        for (k, batch) in data.epoch().enumerate() {
            let batch = batch?;
            let (output, loss) = self.answer(&self.model, &batch);
            let target = self.task.target(&batch);
            if k == 0 && self.run.is_some() {
                let summary = crate::summary(&self.model, |m| self.answer(m, &batch).0)?;
                self.seen.summary = Some(summary);
                self.seen.look(self.task.pictures(&batch), &output, &target)?;
            }
            mean.add(&loss, examples(&batch));
            self.metrics.update(&output, &target);
            eval(&(&mean, &self.metrics))?;
        }
        let mut numbers = BTreeMap::from([("test_loss".to_string(), mean.compute()?)]);
        for (name, value) in self.metrics.compute()? {
            numbers.insert(format!("test_{name}"), value);
        }
        for (_, metric) in self.metrics.iter() {
            if let Some(matrix) = metric.confusion()? {
                self.seen.confusion = Some(matrix);
            }
        }
        Ok(numbers)
    }

    /// Whether the monitored number is the best so far.
    fn monitored(&mut self, test: &BTreeMap<String, f64>) -> Result<bool> {
        let Some(monitor) = &self.monitor else { return Ok(false) };
        let Some(&value) = test.get(&monitor.name) else {
            let known = test.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let message = format!("there is no \"{}\": the evaluation gives {known}", monitor.name);
            return Err(Error::format("monitor", message));
        };
        let best = self.progress.best.map(|(bits, _)| f64::from_bits(bits));
        let better = !value.is_nan() && best.is_none_or(|best| monitor.is_better(value, best));
        if better {
            self.progress.best = Some((value.to_bits(), self.progress.step));
            self.progress.waited = 0;
        } else {
            self.progress.waited += 1;
        }
        Ok(better)
    }

    fn save(&mut self, sitting: &mut Sitting, best: bool) -> Result<()> {
        let rng = sitting.device.rng_state();
        self.progress.rng = (rng.seed, rng.counter);
        self.progress.total = sitting.total.item::<f32>()?.to_bits();
        let Some(run) = &self.run else { return Ok(()) };
        if best {
            run.keep_best(&self.model)?;
        }
        run.checkpoint(&self.model, &self.optimizer, &self.progress)?;
        sitting.saved = Some(self.progress.step);
        self.tell(&Event::Checkpoint { step: self.progress.step, best }, sitting)
    }

    fn tell(&mut self, event: &Event, sitting: &mut Sitting) -> Result<()> {
        if let (Some(run), Event::Step { .. } | Event::Epoch { .. }) = (&mut self.run, event) {
            run.note(event)?;
        }
        for callback in &mut self.callbacks {
            if callback(event) == Flow::Stop && !matches!(event, Event::Stop { .. }) {
                sitting.stop = true;
                sitting.fitted.reason = Reason::Asked;
            }
        }
        Ok(())
    }
}

/// Examples of a batch: the size of the first axis of its first tensor.
fn examples<B: vorpal_autodiff::Tensors>(batch: &B) -> usize {
    let mut count = None;
    batch.visit(&mut |x| {
        count.get_or_insert_with(|| x.shape().dims().first().copied().unwrap_or(1));
    });
    count.unwrap_or(0)
}
