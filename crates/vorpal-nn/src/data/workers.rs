//! The threads of a loader.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use vorpal_autodiff::{Error, Result};

use super::batches::BatchSampler;
use super::loader::{Make, Order, Position};

/// The numbers of a batch, and which one it is since the threads began.
type Job = (u64, Vec<usize>);

/// Threads that make batches ahead, begun when the first one is asked for.
pub(super) struct Workers<B> {
    count: usize,
    ahead: usize,
    running: Option<Running<B>>,
}

struct Running<B> {
    jobs: Option<Sender<Job>>,
    made: Receiver<(u64, Result<B>)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Batches that came before their turn.
    early: BTreeMap<u64, Result<B>>,
    /// The next batch to hand to a thread, and how many have been.
    next: Position,
    begun: u64,
    /// How many have been handed out.
    given: u64,
}

impl<B: Send + 'static> Workers<B> {
    pub fn new(count: usize, ahead: usize) -> Workers<B> {
        Workers { count, ahead: ahead.max(1), running: None }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Ends the threads; the next batch asked for begins new ones.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// The batch of `position`, which follows the one taken last.
    pub fn take(
        &mut self,
        sampler: &dyn BatchSampler,
        order: &mut Order,
        make: &Make<B>,
        position: Position,
    ) -> Result<B> {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::begin(self.count, make, position)?),
        };
        while running.begun < running.given + self.ahead as u64 {
            running.hand_out(sampler, order)?;
        }
        let batch = running.wait();
        running.given += 1;
        // The place that came free is filled before the caller turns to the batch.
        running.hand_out(sampler, order)?;
        batch
    }
}

impl<B: Send + 'static> Running<B> {
    fn begin(count: usize, make: &Make<B>, next: Position) -> Result<Running<B>> {
        let (jobs, queue) = channel::<Job>();
        let (done, made) = channel();
        let (queue, stop) = (Arc::new(Mutex::new(queue)), Arc::new(AtomicBool::new(false)));
        let mut running = Running {
            jobs: Some(jobs),
            made,
            stop: stop.clone(),
            threads: Vec::with_capacity(count),
            early: BTreeMap::new(),
            next,
            begun: 0,
            given: 0,
        };
        for k in 0..count {
            let (queue, stop, done, make) = (queue.clone(), stop.clone(), done.clone(), make.clone());
            let work = move || {
                while !stop.load(Ordering::Relaxed) {
                    // One thread waits in the queue, the others for the lock: whoever is free takes the next job.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((ticket, numbers)) = job else { return };
                    if done.send((ticket, make(&numbers, &stop))).is_err() {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().name(format!("vorpal-data-{k}")).spawn(work);
            running.threads.push(thread.map_err(|e| Error::io("a thread of the data loader", &e))?);
        }
        Ok(running)
    }

    fn hand_out(&mut self, sampler: &dyn BatchSampler, order: &mut Order) -> Result<()> {
        if self.next.batch >= sampler.per_epoch() {
            self.next = Position { epoch: self.next.epoch + 1, batch: 0 };
        }
        let numbers = order.batch(sampler, self.next)?;
        if let Some(jobs) = &self.jobs {
            jobs.send((self.begun, numbers)).map_err(|_| gone())?;
        }
        self.next.batch += 1;
        self.begun += 1;
        Ok(())
    }

    /// The next batch in order.
    fn wait(&mut self) -> Result<B> {
        loop {
            if let Some(batch) = self.early.remove(&self.given) {
                return batch;
            }
            let (ticket, batch) = self.made.recv().map_err(|_| gone())?;
            self.early.insert(ticket, batch);
        }
    }
}

impl<B> Drop for Running<B> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Panics are caught in the threads; there is nobody to tell of another.
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::internal("data loader", "its threads are gone")
}
