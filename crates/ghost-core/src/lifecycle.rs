//! The life of a task: every state, every event, and the one function that leads from one to the next.
//!
//! [`step`] is pure: no clock, no I/O, no await; the time comes in with the event, from the broker. Only it changes a
//! task's state, which is part of its [`Record`]. Brokers store what it returns ([`crate::broker`]); services decide
//! which event to send.

use std::time::Duration;

pub use self::record::{
    Answer, Attempt, Class, DEFAULT_CAPABILITY, Evaluation, Failure, Finding, Judgement, Lease, Place,
    Record, Severity, Spent, Stage, State, Timestamp, saved_micro_usd,
};
use crate::experiment;
use crate::feedback::Feedback;
use crate::id::{AgentId, LeaseToken};
use crate::stats::{self, Count};
use crate::task::Status;
use crate::taskmaster::Verdict;
use crate::taskmaster::route::{Decision, Route};

mod record;
#[cfg(test)]
mod tests;

/// How often a task is handed out again after its holder vanished, before it is a dead letter.
pub const MAX_DELIVERIES: u32 = 5;
/// The code of the failure of a dead letter.
pub const DELIVERIES_EXHAUSTED: &str = "deliveries_exhausted";
/// How often the evaluator may send an answer back.
pub const MAX_REVISIONS: u32 = 2;
/// How many attempts a record keeps with their details; what all of them cost is always counted.
pub const MAX_ATTEMPTS_KEPT: usize = 64;

/// What happens to a task. Those that carry a token come from the holder of its lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker takes a pending task, or an evaluator an answer.
    Claim {
        /// Who.
        holder: AgentId,
        /// Fresh and random.
        token: LeaseToken,
        /// How long the lease runs.
        lease: Duration,
        /// Whether a worker begins with it at once. An evaluator does in any case.
        begins: bool,
    },
    /// The worker has begun, where its claim did not say so.
    Start(LeaseToken),
    /// The holder is alive.
    Renew(LeaseToken, Duration),
    /// The holder hands the task back in good order; this is no delivery.
    Release(LeaseToken),
    /// The worker has an answer.
    Answer {
        /// Its lease.
        token: LeaseToken,
        /// What the model said.
        answer: Answer,
        /// The calls it took.
        attempts: Vec<Attempt>,
        /// Whether an evaluator is to judge it, or what the worker's own formal checks said, or neither.
        then: Then,
    },
    /// The provider stumbled; somebody is to try again later.
    Postpone {
        /// The worker's lease.
        token: LeaseToken,
        /// The calls it took.
        attempts: Vec<Attempt>,
        /// How long to wait.
        delay: Duration,
    },
    /// The worker gives up.
    Fail {
        /// Its lease.
        token: LeaseToken,
        /// Why.
        failure: Failure,
        /// The calls it took.
        attempts: Vec<Attempt>,
    },
    /// The evaluator has judged.
    Judge {
        /// Its lease.
        token: LeaseToken,
        /// What it says.
        judgement: Judgement,
        /// What follows.
        next: Next,
    },
    /// Somebody found the lease past its end.
    Expire,
    /// Somebody found the task past its timeout, or waiting for longer than this.
    GiveUp {
        /// The longest that a task may wait.
        max_wait: Duration,
    },
    /// A holder that lost its lease reports what it paid.
    Charge(Vec<Attempt>),
    /// The sender withdraws the task.
    Cancel,
    /// Somebody wants a failed task done after all.
    Retry(Verdict, Decision),
    /// Its user says how good the answer was. The last word counts.
    Rate(Feedback),
}

/// What follows a worker's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// It is settled.
    Settle,
    /// An evaluator judges it.
    Evaluate,
    /// The worker judged it by the formal checks, since no evaluator was alive.
    Judged(Judgement, Next),
}

/// What follows a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The answer is accepted.
    Accept,
    /// The same model tries again with the findings.
    Revise,
    /// The LLM is asked.
    Escalate,
    /// There will be no good answer.
    GiveUp,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token is not the record's: another holder has the task, or nobody.
    #[error("the lease is lost: the task was handed on or settled")]
    LeaseLost,
    /// Settled is final.
    #[error("the task is already {0}")]
    Settled(Status),
    /// Only a failed task can be retried.
    #[error("only a failed task can be retried; this one is {0}")]
    NotFailed(Status),
    /// It cannot be claimed: somebody has it, or its time has not come.
    #[error("the task cannot be claimed now")]
    NotClaimable,
    /// Only an answer can be rated.
    #[error("only a completed task has an answer to rate; this one is {0}")]
    NoAnswer(Status),
    /// Nothing is overdue.
    #[error("the task is not overdue")]
    NotOverdue,
    /// The event does not fit the state.
    #[error("a task that is {0} has no use for this event")]
    OutOfOrder(Status),
    /// No revision is left.
    #[error("the task was revised {MAX_REVISIONS} times already")]
    Exhausted,
}

/// What a broker does in the same write, besides storing the record.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell whoever listens.
    Publish(Status),
    /// Wake whoever waits for work at this stage.
    Wake(Stage),
    /// Add to the statistics.
    Count(Count),
}

/// Leads a task from one state to the next.
///
/// # Errors
/// A [`Refusal`] where the event may not change this record; the record is then as it was.
pub fn step(record: &Record, event: Event, now: Timestamp) -> Result<(Record, Vec<Effect>), Refusal> {
    let mut next = Record { version: record.version + 1, ..record.clone() };
    let mut effects = Vec::new();
    match event {
        Event::Claim { holder, token, lease, begins } => {
            let lease = Lease { token, holder, until: now.plus(lease) };
            claim(&mut next, lease, begins, now, &mut effects)?;
        }
        Event::Start(token) => match held(record, token)? {
            (lease, Held::Assigned) => next.state = State::InProgress(lease),
            _ => return Err(Refusal::OutOfOrder(record.status())),
        },
        Event::Renew(token, time) => {
            let (lease, held) = held(record, token)?;
            next.state = held.with(Lease { until: now.plus(time), ..lease });
        }
        Event::Release(token) => {
            let (_, held) = held(record, token)?;
            handed_on(&mut next);
            requeue(&mut next, held, now, &mut effects);
        }
        Event::Answer { token, answer, attempts, then } => {
            let (Held::Assigned | Held::InProgress) = held(record, token)?.1 else {
                return Err(Refusal::OutOfOrder(record.status()));
            };
            charge(&mut next, attempts, &mut effects);
            match then {
                Then::Settle => settle(&mut next, State::Completed(answer), now, &mut effects),
                Then::Evaluate => {
                    handed_on(&mut next);
                    next.queued_at = now;
                    next.state = State::Answered(answer);
                    effects.push(Effect::Wake(Stage::Evaluate));
                }
                Then::Judged(judgement, follows) => {
                    judge(&mut next, answer, judgement, follows, now, &mut effects)?
                }
            }
        }
        Event::Postpone { token, attempts, delay } => {
            let (Held::Assigned | Held::InProgress) = held(record, token)?.1 else {
                return Err(Refusal::OutOfOrder(record.status()));
            };
            charge(&mut next, attempts, &mut effects);
            handed_on(&mut next);
            enqueue(&mut next, now.plus(delay), now, &mut effects);
        }
        Event::Fail { token, failure, attempts } => {
            held(record, token)?;
            charge(&mut next, attempts, &mut effects);
            settle(&mut next, State::Failed(failure), now, &mut effects);
        }
        Event::Judge { token, judgement, next: follows } => {
            let (_, Held::Evaluating(answer)) = held(record, token)? else {
                return Err(Refusal::OutOfOrder(record.status()));
            };
            judge(&mut next, answer, judgement, follows, now, &mut effects)?;
        }
        Event::Expire => {
            let lease = record.lease().filter(|lease| lease.until <= now).ok_or(Refusal::NotOverdue)?.clone();
            let (lease, held) = held(record, lease.token)?;
            if next.deliveries >= MAX_DELIVERIES {
                let failure = Failure::new(
                    DELIVERIES_EXHAUSTED,
                    format!(
                        "{MAX_DELIVERIES} holders vanished with this task, the last one {}; look at their logs, then `ghost retry`",
                        lease.holder
                    ),
                );
                settle(&mut next, State::Failed(failure), now, &mut effects);
            } else {
                effects.push(Effect::Count(stats::redelivered()));
                requeue(&mut next, held, now, &mut effects);
            }
        }
        Event::GiveUp { max_wait } => {
            let failure = overdue(record, max_wait, now).ok_or(Refusal::NotOverdue)?;
            settle(&mut next, State::Failed(failure), now, &mut effects);
        }
        Event::Charge(attempts) => {
            charge(&mut next, attempts, &mut effects);
            if let State::Completed(_) = record.state {
                let late = next.spent.cost_micro_usd - record.spent.cost_micro_usd;
                effects.push(Effect::Count(stats::spent_late(late)));
            }
        }
        Event::Cancel => {
            unsettled(record)?;
            settle(&mut next, State::Cancelled, now, &mut effects);
        }
        Event::Retry(verdict, decision) => {
            if !matches!(record.state, State::Failed(_)) {
                return Err(Refusal::NotFailed(record.status()));
            }
            next.generation += 1;
            next.verdict = verdict;
            next.decision = decision;
            next.first_claimed_at = None;
            next.settled_at = None;
            next.deliveries = 0;
            next.revisions = 0;
            next.judgements.clear();
            next.draft = None;
            effects.push(Effect::Count(stats::retried()));
            enqueue(&mut next, now, now, &mut effects);
        }
        Event::Rate(feedback) => {
            if !matches!(record.state, State::Completed(_)) {
                return Err(Refusal::NoAnswer(record.status()));
            }
            effects.push(Effect::Count(stats::rated(record.feedback.as_ref(), &feedback)));
            next.feedback = Some(feedback);
        }
    }
    effects.extend(experiment::count(record, &next).map(Effect::Count));
    if next.status() != record.status() {
        effects.push(Effect::Publish(next.status()));
    }
    Ok((next, effects))
}

/// What a holder's record was before, with everything but the lease.
enum Held {
    Assigned,
    InProgress,
    Evaluating(Answer),
}

impl Held {
    fn with(self, lease: Lease) -> State {
        match self {
            Held::Assigned => State::Assigned(lease),
            Held::InProgress => State::InProgress(lease),
            Held::Evaluating(answer) => State::Evaluating(lease, answer),
        }
    }
}

fn held(record: &Record, token: LeaseToken) -> Result<(Lease, Held), Refusal> {
    let (lease, held) = match &record.state {
        State::Assigned(lease) => (lease, Held::Assigned),
        State::InProgress(lease) => (lease, Held::InProgress),
        State::Evaluating(lease, answer) => (lease, Held::Evaluating(answer.clone())),
        _ => return Err(Refusal::LeaseLost),
    };
    if lease.token != token {
        return Err(Refusal::LeaseLost);
    }
    Ok((lease.clone(), held))
}

fn unsettled(record: &Record) -> Result<(), Refusal> {
    let status = record.status();
    if status.is_settled() { Err(Refusal::Settled(status)) } else { Ok(()) }
}

fn claim(
    next: &mut Record,
    lease: Lease,
    begins: bool,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    match std::mem::replace(&mut next.state, State::Cancelled) {
        State::Pending(not_before) if not_before <= now => {
            next.state = if begins { State::InProgress(lease) } else { State::Assigned(lease) };
            // Whoever listens hears of both steps, though they are one write.
            effects.extend(begins.then_some(Effect::Publish(Status::Assigned)));
            next.deliveries += 1;
            next.first_claimed_at.get_or_insert(now);
            Ok(())
        }
        State::Answered(answer) => {
            next.state = State::Evaluating(lease, answer);
            next.deliveries += 1;
            Ok(())
        }
        _ => Err(Refusal::NotClaimable),
    }
}

/// The holder did its part, so its claim is no delivery that went astray.
fn handed_on(next: &mut Record) {
    next.deliveries = next.deliveries.saturating_sub(1);
}

fn enqueue(next: &mut Record, not_before: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
    next.queued_at = now;
    next.state = State::Pending(not_before);
    effects.push(Effect::Wake(Stage::Infer));
}

fn requeue(next: &mut Record, held: Held, now: Timestamp, effects: &mut Vec<Effect>) {
    match held {
        Held::Assigned | Held::InProgress => enqueue(next, now, now, effects),
        Held::Evaluating(answer) => {
            next.state = State::Answered(answer);
            effects.push(Effect::Wake(Stage::Evaluate));
        }
    }
}

fn charge(next: &mut Record, attempts: Vec<Attempt>, effects: &mut Vec<Effect>) {
    for attempt in attempts {
        next.spent.calls += 1;
        next.spent.usage += attempt.usage;
        next.spent.cost_micro_usd = next.spent.cost_micro_usd.saturating_add(attempt.cost_micro_usd);
        effects.push(Effect::Count(stats::called(&attempt)));
        next.attempts.push(attempt);
    }
    let surplus = next.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
    next.attempts.drain(..surplus);
}

fn judge(
    next: &mut Record,
    answer: Answer,
    judgement: Judgement,
    follows: Next,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    effects.push(Effect::Count(stats::judged(&judgement)));
    match follows {
        Next::Accept => settle(next, State::Completed(answer), now, effects),
        Next::Revise if next.revisions >= MAX_REVISIONS => return Err(Refusal::Exhausted),
        Next::Revise => {
            next.revisions += 1;
            next.draft = Some(answer);
            handed_on(next);
            enqueue(next, now, now, effects);
        }
        Next::Escalate if next.decision.route == Route::Llm => return Err(Refusal::Exhausted),
        Next::Escalate => {
            next.decision = Decision {
                route: Route::Llm,
                reason: "the evaluator did not accept the SLM's answer".to_owned(),
            };
            next.draft = None;
            effects.push(Effect::Count(stats::escalated()));
            handed_on(next);
            enqueue(next, now, now, effects);
        }
        Next::GiveUp => {
            let why =
                judgement.findings.iter().map(|f| format!("{}: {}", f.kind, f.evidence)).collect::<Vec<_>>();
            let failure =
                Failure::new("rejected", format!("no answer passed the checks ({})", why.join("; ")));
            settle(next, State::Failed(failure), now, effects);
        }
    }
    next.judgements.push(judgement);
    Ok(())
}

fn settle(next: &mut Record, state: State, now: Timestamp, effects: &mut Vec<Effect>) {
    next.settled_at = Some(now);
    next.draft = None;
    next.state = state;
    effects.push(Effect::Count(stats::settled(next)));
}

fn overdue(record: &Record, max_wait: Duration, now: Timestamp) -> Option<Failure> {
    if record.status().is_settled() {
        return None;
    }
    if record.deadline().is_some_and(|deadline| deadline <= now) {
        return Some(Failure::new(
            "timeout",
            format!(
                "not settled within {} s of its first claim; raise `timeout` or look at `ghost explain`",
                record.request.timeout
            ),
        ));
    }
    let Place::Queue { stage, .. } = record.place() else { return None };
    let who_is_missing = match stage {
        Stage::Infer => format!("nobody offered the capability `{}`", record.capability()),
        Stage::Evaluate => "no evaluator came to judge its answer".to_owned(),
    };
    (now.since(record.queued_at) >= max_wait)
        .then(|| Failure::new("expired", format!("waited {} s, and {who_is_missing}", max_wait.as_secs())))
}
