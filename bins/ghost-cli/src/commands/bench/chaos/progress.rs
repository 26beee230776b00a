//! How far a run is: what was settled and what was broken. Clients and killers wait here for each other.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::plan::{Fault, Plan, Tally};
use crate::output::talk;

/// A run, as it goes on.
pub(super) struct Progress {
    plan: Plan,
    tasks: usize,
    settled: watch::Sender<usize>,
    done: watch::Sender<Tally>,
}

impl Progress {
    pub(super) fn new(plan: Plan, tasks: usize) -> Self {
        Self { plan, tasks, settled: watch::Sender::new(0), done: watch::Sender::new(Tally::default()) }
    }

    /// Waits until this task may be let in.
    pub(super) async fn admission(&self, number: usize) {
        let mut done = self.done.subscribe();
        // Its sender is here.
        let _ = done.wait_for(|done| number < self.plan.open_until(done)).await;
    }

    /// A client has seen the end of a task.
    pub(super) fn settled(&self) {
        let mut settled = 0;
        self.settled.send_modify(|count| {
            *count += 1;
            settled = *count;
        });
        if settled.is_multiple_of(self.tasks.div_ceil(10)) || settled == self.tasks {
            let done: Vec<String> =
                Fault::ALL.map(|fault| format!("{} {}", self.done(fault), fault.name())).into();
            talk(format!("{settled} of {} tasks settled; {}", self.tasks, done.join(", ")));
        }
    }

    /// Waits until the next fault of this sort is due; false where there is none.
    pub(super) async fn next_due(&self, fault: Fault) -> bool {
        let Some(due) = self.plan.due(fault, self.done(fault)) else { return false };
        let mut settled = self.settled.subscribe();
        // Its sender is here.
        let _ = settled.wait_for(|settled| *settled >= due).await;
        true
    }

    /// A fault of this sort was done, and what it broke runs again.
    pub(super) fn broken(&self, fault: Fault) {
        self.done.send_modify(|done| done[fault as usize] += 1);
    }

    /// Waits until nothing at all was settled for this long.
    pub(super) async fn stalled(&self, patience: Duration) {
        let mut settled = self.settled.subscribe();
        while timeout(patience, settled.changed()).await.is_ok() {}
    }

    pub(super) fn tally(&self) -> Tally {
        *self.done.borrow()
    }

    fn done(&self, fault: Fault) -> usize {
        self.done.borrow()[fault as usize]
    }
}
