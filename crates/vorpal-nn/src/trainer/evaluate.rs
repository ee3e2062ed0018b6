//! What a model is worth on data it is not trained on.

use std::collections::BTreeMap;

use vorpal_autodiff::{Error, Result, eval};

use super::step::examples;
use super::{Task, Trainer};
use crate::data::{DataLoader, Position};
use crate::metrics::Mean;
use crate::{Module, Optimizer};

impl<K: Task, O: Optimizer> Trainer<K, O> {
    pub(super) fn evaluate_some(
        &mut self,
        test: Option<&mut DataLoader<K::Batch>>,
    ) -> Result<BTreeMap<String, f64>> {
        test.map_or_else(|| Ok(BTreeMap::new()), |test| self.evaluate(test))
    }

    /// Loss and metrics of all batches of an epoch of `data`, their names behind `test_`, the model evaluated and
    /// not trained, with the [averages](Trainer::average) of its parameters if they are kept.
    ///
    /// # Errors
    /// What the loader, the graph or the device gives.
    pub fn evaluate(&mut self, data: &mut DataLoader<K::Batch>) -> Result<BTreeMap<String, f64>> {
        self.with_averages(|trainer| {
            trainer.model.train(false);
            let numbers = trainer.measure(data);
            trainer.model.train(true);
            numbers
        })
    }

    fn measure(&mut self, data: &mut DataLoader<K::Batch>) -> Result<BTreeMap<String, f64>> {
        let (mut mean, place) = (Mean::default(), data.position());
        self.metrics.reset();
        data.seek(Position { batch: 0, ..place })?;
        for (k, batch) in data.epoch().enumerate() {
            let batch = batch?;
            let (output, loss) = self.answer(&self.model, &batch);
            let target = self.task.target(&batch);
            if k == 0 && (self.run.is_some() || self.board.is_some()) {
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
    pub(super) fn monitored(&mut self, test: &BTreeMap<String, f64>) -> Result<bool> {
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
}
