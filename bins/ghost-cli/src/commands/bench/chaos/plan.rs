//! When what breaks: each sort of fault is spread over the tasks, so that all of the run is under fire on any machine.
//!
//! Pure. A fault is due once so many tasks are settled, and tasks are let in only so far ahead of the faults that are
//! still due. So neither side can be done before the other.

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of a worker.
    KillWorker,
    /// SIGKILL of an evaluator.
    KillEvaluator,
    /// SIGKILL of an orchestrator.
    KillOrchestrator,
    /// SIGKILL of Redis, and its start with the append-only file.
    KillRedis,
    /// SIGSTOP of a worker for longer than a lease, and SIGCONT.
    StopWorker,
    /// Lines to Redis are cut, or fall silent for longer than a lease and are cut then.
    CutLines,
}

impl Fault {
    /// All of them.
    pub(super) const ALL: [Fault; 6] = [
        Fault::KillWorker,
        Fault::KillEvaluator,
        Fault::KillOrchestrator,
        Fault::KillRedis,
        Fault::StopWorker,
        Fault::CutLines,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::KillWorker => "worker killed",
            Fault::KillEvaluator => "evaluator killed",
            Fault::KillOrchestrator => "orchestrator killed",
            Fault::KillRedis => "redis killed",
            Fault::StopWorker => "worker stopped",
            Fault::CutLines => "lines cut",
        }
    }
}

/// How many faults of each sort there were.
pub(super) type Tally = [usize; Fault::ALL.len()];

/// The plan of a run.
pub(super) struct Plan {
    /// The tasks after which each fault is due, in the order of [`Fault::ALL`].
    due: [Vec<usize>; Fault::ALL.len()],
    /// How far tasks may be ahead of the next fault.
    lead: usize,
}

impl Plan {
    /// `faults` of each sort among so many tasks.
    pub(super) fn new(tasks: usize, faults: usize, seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let step = (tasks / (faults + 1)).max(1);
        let due = Fault::ALL.map(|_| (0..faults).map(|nth| nth * step + chance.usize(0..step)).collect());
        Self { due, lead: step }
    }

    /// After how many settled tasks the n-th fault of a sort is due.
    pub(super) fn due(&self, fault: Fault, nth: usize) -> Option<usize> {
        self.due[fault as usize].get(nth).copied()
    }

    /// The tasks with numbers below this may be let in.
    pub(super) fn open_until(&self, done: &Tally) -> usize {
        let next = Fault::ALL.into_iter().filter_map(|fault| self.due(fault, done[fault as usize]));
        next.min().map_or(usize::MAX, |due| due + self.lead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        assert_eq!(Plan::new(1000, 10, 7).due, Plan::new(1000, 10, 7).due);
        assert_ne!(Plan::new(1000, 10, 7).due, Plan::new(1000, 10, 8).due);
    }

    #[test]
    fn every_fault_falls_while_there_are_tasks_and_enough_are_let_in_for_it() {
        for (tasks, faults) in [(10_000, 10), (100, 10), (1000, 1)] {
            let plan = Plan::new(tasks, faults, 1);
            for fault in Fault::ALL {
                let due: Vec<usize> = (0..).map_while(|nth| plan.due(fault, nth)).collect();
                assert_eq!(due.len(), faults);
                assert!(due.is_sorted() && due.last() < Some(&tasks), "{due:?}");
                for (nth, due) in due.into_iter().enumerate() {
                    let mut done = [faults; Fault::ALL.len()];
                    done[fault as usize] = nth;
                    assert!(plan.open_until(&done) > due);
                }
            }
            assert_eq!(plan.open_until(&[faults; Fault::ALL.len()]), usize::MAX);
        }
    }
}
