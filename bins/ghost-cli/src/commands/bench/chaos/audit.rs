//! What came of a run: the journals of the clients and of the model beside what the swarm says in the end.
//!
//! Pure. The journals are the truth here, and the swarm is what is doubted.

use std::collections::HashMap;

use ghost_core::lifecycle::{DELIVERIES_EXHAUSTED, Record, State};
use ghost_core::stats::Statistics;
use serde::Serialize;

use super::AppendFsync;
use super::client::{Entry, Settled};
use super::load;

/// What was seen from outside.
pub(super) struct Seen<'a> {
    /// By the clients, of each task by its number.
    pub(super) journal: &'a [Entry],
    /// By the model: how often it was asked about each task.
    pub(super) calls: &'a [u32],
    /// What the swarm has in the end.
    pub(super) records: &'a [Record],
    /// What it counted.
    pub(super) statistics: &'a Statistics,
    /// What Redis promised.
    pub(super) fsync: AppendFsync,
    /// Whether anything was broken on the way.
    pub(super) disturbed: bool,
}

/// What it comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Audit {
    /// Tasks that a door accepted.
    pub(super) accepted: u64,
    /// Of these: answered.
    pub(super) completed: u64,
    /// Of these: failed, dead letters among them.
    pub(super) failed: u64,
    /// Of these: withdrawn.
    pub(super) cancelled: u64,
    /// Tasks that were given up since too many of their holders vanished.
    pub(super) dead_letters: u64,
    /// Leases that ended without a word of their holder.
    pub(super) redelivered: u64,
    /// Calls that the model saw.
    pub(super) calls: u64,
    /// Those beyond the first of each task.
    pub(super) repeated_calls: u64,
    /// Submits beyond the first of each task.
    pub(super) repeated_submits: u64,
    /// How often accepted tasks or their ends were gone when Redis came back; only where it promised no better.
    pub(super) forgotten: u64,
    /// Broken promises.
    pub(super) broken: Vec<String>,
}

impl Audit {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let records: HashMap<String, &Record> =
            seen.records.iter().map(|record| (record.key.to_string(), record)).collect();
        let mut audit = Audit::default();
        for (number, entry) in seen.journal.iter().enumerate() {
            let calls = seen.calls[number];
            audit.calls += u64::from(calls);
            audit.repeated_calls += u64::from(calls.saturating_sub(1));
            audit.repeated_submits += u64::from(entry.repeated);
            audit.forgotten += u64::from(entry.forgotten);
            audit.broken.extend(entry.oddities.iter().cloned());
            audit.task(number, entry, calls, records.get(&load::id(number)).copied(), seen.fsync);
        }
        let strangers = seen.records.len() as u64 - records.len() as u64
            + records
                .keys()
                .filter(|id| load::number(id).is_none_or(|number| number >= seen.journal.len()))
                .count() as u64;
        audit.hold(strangers == 0, || format!("the swarm has {strangers} tasks that nobody submitted"));
        let (accepted, ended) = (audit.accepted, audit.completed + audit.failed + audit.cancelled);
        audit.hold(accepted == ended, || {
            format!("{accepted} tasks were accepted, and {ended} completed, failed or cancelled")
        });
        audit.books(seen.statistics);
        let redelivered = audit.redelivered;
        audit.hold(seen.disturbed || redelivered == 0, || {
            format!("{redelivered} leases ended though nothing was broken")
        });
        audit
    }

    fn task(
        &mut self,
        number: usize,
        entry: &Entry,
        calls: u32,
        record: Option<&Record>,
        fsync: AppendFsync,
    ) {
        let id = load::id(number);
        if !entry.accepted {
            return self.broken.push(format!("{id} was never accepted"));
        }
        self.accepted += 1;
        self.hold(fsync == AppendFsync::Everysec || entry.forgotten == 0, || {
            format!("{id} was accepted and then unknown")
        });
        let Some(record) = record else { return self.broken.push(format!("{id} is lost")) };
        let Some(end) = Settled::of(record) else {
            return self.broken.push(format!(
                "{id} is stuck: {} after {} deliveries",
                record.status(),
                record.deliveries
            ));
        };
        match &end.state {
            State::Completed(_) => self.completed += 1,
            State::Failed(failure) => {
                self.failed += 1;
                self.dead_letters += u64::from(failure.code == DELIVERIES_EXHAUSTED);
            }
            _ => self.cancelled += 1,
        }
        match &entry.settled {
            None => {
                self.broken.push(format!("{id} is {}, and its client never heard of it", record.status()))
            }
            Some(first) if *first != end => {
                self.broken.push(format!("{id} was settled twice: first as {first:?}, then as {end:?}"));
            }
            Some(_) => {}
        }
        self.broken.extend(load::objection(number, &end.state));
        self.hold(calls > 0 || !matches!(end.state, State::Completed(_)), || {
            format!("{id} was answered without a model")
        });
    }

    /// What the swarm counted is what is there: whatever is settled twice is counted twice.
    fn books(&mut self, statistics: &Statistics) {
        let tasks = &statistics.tasks;
        self.redelivered = u64::try_from(tasks.redelivered).unwrap_or_default();
        let counted = [tasks.submitted, tasks.completed, tasks.failed, tasks.cancelled];
        let there = [self.accepted, self.completed, self.failed, self.cancelled];
        self.hold(counted.iter().zip(there).all(|(&counted, there)| u64::try_from(counted) == Ok(there)), || {
            format!("the swarm counted {counted:?} tasks as submitted, completed, failed, cancelled, and has {there:?}")
        });
    }

    fn hold(&mut self, kept: bool, words: impl FnOnce() -> String) {
        if !kept {
            self.broken.push(words());
        }
    }

    /// Adds what came of another round.
    pub(super) fn add(&mut self, other: Audit) {
        let Audit {
            accepted,
            completed,
            failed,
            cancelled,
            dead_letters,
            redelivered,
            calls,
            repeated_calls,
            repeated_submits,
            forgotten,
            broken,
        } = other;
        self.accepted += accepted;
        self.completed += completed;
        self.failed += failed;
        self.cancelled += cancelled;
        self.dead_letters += dead_letters;
        self.redelivered += redelivered;
        self.calls += calls;
        self.repeated_calls += repeated_calls;
        self.repeated_submits += repeated_submits;
        self.forgotten += forgotten;
        self.broken.extend(broken);
    }
}

#[cfg(test)]
mod tests {
    use ghost_core::id::TaskKey;
    use ghost_core::inference::{Finish, Provider};
    use ghost_core::lifecycle::{Answer, Timestamp};
    use ghost_core::stats::Counters;
    use ghost_core::task::TaskRequest;
    use ghost_core::taskmaster::route::{Available, decide};
    use ghost_core::taskmaster::{TaskMaster, Thresholds};

    use super::*;

    /// Two tasks and what everybody says of them.
    struct Run {
        journal: Vec<Entry>,
        calls: Vec<u32>,
        records: Vec<Record>,
        counters: Counters,
        fsync: AppendFsync,
    }

    impl Run {
        fn without_a_flaw() -> Self {
            let records: Vec<Record> = (0..2).map(completed).collect();
            let seen = |record| Entry { accepted: true, settled: Settled::of(record), ..Entry::default() };
            let counters = ["tasks.submitted", "tasks.completed"].map(|name| (name.to_owned(), 2));
            Self {
                journal: records.iter().map(seen).collect(),
                calls: vec![1; 2],
                records,
                counters: counters.into(),
                fsync: AppendFsync::Always,
            }
        }

        fn with(change: impl FnOnce(&mut Self)) -> Audit {
            let mut run = Self::without_a_flaw();
            change(&mut run);
            Audit::of(&Seen {
                journal: &run.journal,
                calls: &run.calls,
                records: &run.records,
                statistics: &Statistics::from(&run.counters),
                fsync: run.fsync,
                disturbed: true,
            })
        }
    }

    fn completed(number: usize) -> Record {
        let request = load::request(number).to_string();
        let request = TaskRequest::parse(request.as_bytes()).expect("a task");
        let verdict = TaskMaster::new(Thresholds::default()).classify(&request);
        let decision = decide(&request, &verdict, &Available { slm: None, llm: true, hybrid: true });
        let key = TaskKey::lone(load::id(number).parse().expect("an id"));
        let answer = Answer {
            text: load::answer(number),
            json: None,
            tool_calls: Vec::new(),
            provider: Provider::Slm,
            model: "chaos".to_owned(),
            finish: Finish::Stop,
            confidence: None,
            llm_cost_micro_usd: 0,
        };
        let state = State::Completed(answer);
        let settled_at = Some(Timestamp(2));
        Record { state, settled_at, ..Record::new(key, request, verdict, decision, Timestamp(1)) }
    }

    #[test]
    fn nothing_is_broken_where_everybody_says_the_same() {
        let audit = Run::with(|run| run.calls[1] = 3);
        assert!(audit.broken.is_empty(), "{:?}", audit.broken);
        assert_eq!((audit.accepted, audit.completed, audit.calls, audit.repeated_calls), (2, 2, 4, 2));
    }

    #[test]
    fn every_promise_that_is_broken_is_named() {
        type Change = fn(&mut Run);
        let flaws: [(Change, &str); 9] = [
            (|run| run.journal[1].accepted = false, "chaos-1 was never accepted"),
            (|run| run.journal[1].forgotten = 1, "chaos-1 was accepted and then unknown"),
            (|run| run.journal[1].oddities.push("a door said what".to_owned()), "a door said what"),
            (|run| drop(run.records.pop()), "chaos-1 is lost"),
            (|run| run.records[1].state = State::Pending(Timestamp(1)), "chaos-1 is stuck"),
            (|run| run.records[1].settled_at = Some(Timestamp(3)), "chaos-1 was settled twice"),
            (
                |run| run.records[1] = Record { state: completed(0).state, ..completed(1) },
                "chaos-1 was answered with",
            ),
            (|run| run.calls[1] = 0, "chaos-1 was answered without a model"),
            (
                |run| run.counters.extend([("tasks.completed".to_owned(), 3)]),
                "the swarm counted [2, 3, 0, 0]",
            ),
        ];
        for (change, words) in flaws {
            let broken = Run::with(change).broken;
            assert!(broken.iter().any(|said| said.starts_with(words)), "`{words}` is not in {broken:?}");
        }
        let strangers = Run::with(|run| run.records.push(completed(2))).broken;
        assert_eq!(strangers, ["the swarm has 1 tasks that nobody submitted"]);
    }

    #[test]
    fn where_redis_may_forget_that_is_counted_and_breaks_nothing() {
        let audit = Run::with(|run| {
            run.fsync = AppendFsync::Everysec;
            run.journal[1].forgotten = 1;
        });
        assert_eq!((audit.forgotten, audit.broken), (1, Vec::new()));
    }
}
