//! What a trainer shows on a TensorBoard.

use vorpal_autodiff::Result;

use super::{Event, RunDir, Task, Trainer};

/// Pictures of an evaluation that are shown.
const PICTURES: usize = 8;

impl<K: Task, O> Trainer<K, O> {
    /// Notes an event on the board, if there is one.
    pub(super) fn show_on_board(&mut self, event: &Event) -> Result<()> {
        let Some(board) = &mut self.board else { return Ok(()) };
        match event {
            Event::Start { step, .. } => {
                let config = self.run.as_ref().map(|run| RunDir::config(run.path())).transpose()?.flatten();
                if let Some(config) = config {
                    board.text("config", *step, &format!("```json\n{config}\n```"))?;
                    let metrics = self.metrics.iter().map(|(name, _)| format!("test/{name}"));
                    let metrics: Vec<String> = std::iter::once("test/loss".into()).chain(metrics).collect();
                    board.hparams(&config, &metrics)?;
                }
            }
            Event::Step { step, loss, rate, grad_norm, examples_per_second, .. } => {
                board.scalar("train/loss", *step, f64::from(*loss))?;
                board.scalar("train/step size", *step, *rate)?;
                board.scalar("train/examples per second", *step, *examples_per_second)?;
                if let Some(norm) = grad_norm {
                    board.scalar("train/gradient norm", *step, f64::from(*norm))?;
                }
            }
            Event::Epoch { step, train_loss, train, test, .. } => {
                board.scalar("epoch/loss", *step, f64::from(*train_loss))?;
                for (name, value) in train {
                    board.scalar(&name.replacen("train_", "epoch/", 1), *step, *value)?;
                }
                for (name, value) in test {
                    board.scalar(&name.replacen("test_", "test/", 1), *step, *value)?;
                }
                for (k, picture) in self.seen.pictures.iter().take(PICTURES).enumerate() {
                    board.picture(&format!("samples/{k}"), *step, picture)?;
                }
            }
            Event::Checkpoint { .. } => {}
            Event::Stop { step, .. } => {
                if let Some(summary) = &self.seen.summary {
                    board.text("model", *step, &format!("```text\n{summary}\n```"))?;
                }
                board.end_of_session()?;
            }
        }
        Ok(())
    }
}
