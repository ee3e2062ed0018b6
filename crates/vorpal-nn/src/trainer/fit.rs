//! The loop.

use std::collections::BTreeMap;
use std::time::Instant;

use vorpal_autodiff::{Device, Result, Tensor, eval};
use vorpal_tensor::RngState;

use super::event::{Event, Fitted, Flow, Reason};
use super::run_dir::{AVERAGED, SCALER};
use super::skipped::Skipped;
use super::{Task, Trainer};
use crate::data::DataLoader;
use crate::metrics::MetricSet;
use crate::{Averaged, Module, Optimizer, to_safetensors};

/// A sitting: what [`Trainer::fit`] knows beside the trainer.
pub(super) struct Sitting {
    pub device: Device,
    pub began: Instant,
    /// Seconds of earlier sittings.
    pub before: f64,
    pub per_epoch: u64,
    /// Sum of the losses of the present epoch.
    pub total: Tensor,
    /// Steps of the present epoch that were called off, and how many of them have been looked at.
    pub skipped: Skipped,
    pub known: u64,
    /// Random numbers as they were before each step since the last look.
    pub window: Vec<RngState>,
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
    /// What the loaders, the graph, the device or the files give; [`Error::NonFinite`](crate::Error::NonFinite) for a loss that is not finite.
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
            skipped: Skipped::new(self.progress.skipped, &device),
            known: self.progress.skipped,
            window: Vec::new(),
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
        // Without a scaler the loss of every step says whether it was called off, if every one is read.
        let looks = self.log_every > 1 || self.scaler.is_some();
        while self.progress.step < steps && !sitting.stop {
            if self.progress.step.is_multiple_of(per_epoch) {
                sitting.total = Tensor::from_slice(&[0.0f32], [], &sitting.device);
                sitting.skipped.forget(0);
                sitting.known = 0;
                self.measured.iter_mut().for_each(MetricSet::reset);
            }
            let rng = sitting.device.rng_state();
            if looks {
                sitting.window.push(rng);
            }
            let batches = self.batches(train, self.progress.step, per_epoch)?;
            self.one_step(&batches, rng, &mut sitting)?;
            drop(batches);
            sitting.fitted.test = BTreeMap::new();
            let step = self.progress.step;
            let ends = step.is_multiple_of(per_epoch);
            let saves = self.save_every.is_some_and(|every| step.is_multiple_of(every));
            if looks
                && (ends || saves || sitting.stop || step == steps || step.is_multiple_of(self.log_every))
            {
                self.look_back(train, &mut sitting)?;
            }
            if ends {
                self.end_epoch(test.as_deref_mut(), &mut sitting)?;
            } else if saves {
                self.save(&mut sitting, false)?;
            }
        }
        self.end(test, sitting)
    }

    fn end_epoch(&mut self, test: Option<&mut DataLoader<K::Batch>>, sitting: &mut Sitting) -> Result<()> {
        sitting.fitted.test = self.evaluate_some(test)?;
        let made = sitting.per_epoch.saturating_sub(sitting.skipped.count()?);
        let train_loss = sitting.total.item::<f32>()? / made as f32;
        let mut train = BTreeMap::new();
        for (name, value) in self.measured.as_ref().map_or_else(|| Ok(Vec::new()), MetricSet::compute)? {
            train.insert(format!("train_{name}"), value);
        }
        let better = self.monitored(&sitting.fitted.test)?;
        if let Some((schedule, _)) = &mut self.schedule {
            schedule.observe(sitting.fitted.test.get("test_loss").copied().unwrap_or(f64::from(train_loss)));
        }
        let (step, epoch) = (self.progress.step, self.progress.step / sitting.per_epoch);
        let event = Event::Epoch { epoch, step, train_loss, train, test: sitting.fitted.test.clone() };
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

    pub(super) fn save(&mut self, sitting: &mut Sitting, best: bool) -> Result<()> {
        let rng = sitting.device.rng_state();
        self.progress.rng = (rng.seed, rng.counter);
        self.progress.total = sitting.total.item::<f32>()?.to_bits();
        self.progress.skipped = sitting.skipped.count()?;
        let schedule = self.schedule.as_ref().map_or_else(Vec::new, |(schedule, _)| schedule.state());
        self.progress.schedule = schedule.into_iter().map(f64::to_bits).collect();
        self.progress.averaged = self.average.as_ref().map_or(0, Averaged::updates);
        if self.run.is_none() {
            return Ok(());
        }
        let averaged = self.with_averages(|trainer| {
            if let (true, Some(run)) = (best, &trainer.run) {
                run.keep_best(&trainer.model)?;
            }
            trainer.average.is_some().then(|| to_safetensors(&trainer.model)).transpose()
        })?;
        let mut others = Vec::new();
        others.extend(averaged.map(|bytes| (AVERAGED, bytes)));
        if let Some(scaler) = &self.scaler {
            others.push((SCALER, to_safetensors(scaler)?));
        }
        if let Some(run) = &self.run {
            run.checkpoint_with(&self.model, &self.optimizer, &self.progress, &others)?;
        }
        sitting.saved = Some(self.progress.step);
        self.tell(&Event::Checkpoint { step: self.progress.step, best }, sitting)
    }

    /// Does something while the model has the averages of its parameters, if they are kept.
    pub(super) fn with_averages<R>(&mut self, f: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        if let Some(average) = &mut self.average {
            average.swap(&mut self.model)?;
        }
        let result = f(self);
        if let Some(average) = &mut self.average {
            average.swap(&mut self.model)?;
        }
        result
    }

    pub(super) fn tell(&mut self, event: &Event, sitting: &mut Sitting) -> Result<()> {
        if let (Some(run), Event::Step { .. } | Event::Epoch { .. }) = (&mut self.run, event) {
            run.note(event)?;
        }
        self.show_on_board(event)?;
        for callback in &mut self.callbacks {
            if callback(event) == Flow::Stop && !matches!(event, Event::Stop { .. }) {
                sitting.stop = true;
                sitting.fitted.reason = Reason::Asked;
            }
        }
        Ok(())
    }
}
