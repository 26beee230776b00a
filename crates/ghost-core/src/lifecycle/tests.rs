//! What no history of events may break, and the walks that every task takes.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::experiment::{Assignment, told};
use crate::feedback::{Feedback, Rating};
use crate::id::TaskKey;
use crate::inference::{Finish, Provider, Usage};
use crate::stats::Counters;
use crate::task::TaskRequest;
use crate::taskmaster::Complexity;

const LEASE: Duration = Duration::from_secs(3);
const MAX_WAIT: Duration = Duration::from_secs(86_400);
const START: Timestamp = Timestamp(1_000_000);

fn verdict() -> Verdict {
    Verdict { complexity: Complexity::Simple, score: 0.25, confidence: 0.5, kind: None, reasons: vec![] }
}

fn decision() -> Decision {
    Decision { route: Route::Slm, reason: "simple".to_owned() }
}

fn pending() -> Record {
    let request = json!({"task_id": "a", "task_type": "llm_inference", "description": "add", "timeout": 60});
    let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a request");
    let arm = json!({"name": "bold", "weight": 1});
    let arm = serde_json::from_value(arm).expect("an arm");
    let assignment = Some(Assignment { experiment: "e@1".to_owned(), arm });
    let key = TaskKey::lone("a".parse().expect("an id"));
    Record { assignment, ..Record::new(key, request, verdict(), decision(), START) }
}

fn answer() -> Answer {
    Answer {
        text: "4".to_owned(),
        json: None,
        tool_calls: Vec::new(),
        provider: Provider::Slm,
        model: "ghost-tiny".to_owned(),
        finish: Finish::Stop,
        confidence: None,
        llm_cost_micro_usd: 40,
    }
}

fn attempt() -> Attempt {
    let usage = Usage { input_tokens: 20, output_tokens: 2, ..Usage::default() };
    Attempt {
        provider: Provider::Slm,
        model: "ghost-tiny".to_owned(),
        duration_ms: 7,
        usage,
        cost_micro_usd: 3,
        failure: None,
    }
}

fn judgement(is_valid: bool) -> Judgement {
    Judgement { is_valid, confidence: 0.5, evaluation: Evaluation::Full, findings: vec![] }
}

fn failure() -> Failure {
    Failure::new("llm_unavailable", "no LLM is configured")
}

fn claim() -> (LeaseToken, Event) {
    claim_that(false)
}

fn claim_that(begins: bool) -> (LeaseToken, Event) {
    let token = LeaseToken::generate();
    (token, Event::Claim { holder: "w".parse().expect("an id"), token, lease: LEASE, begins })
}

fn answered(token: LeaseToken, then: Then) -> Event {
    Event::Answer { token, answer: answer(), attempts: vec![attempt()], then }
}

/// Steps that must succeed.
fn walk(record: Record, events: impl IntoIterator<Item = Event>) -> Record {
    events.into_iter().fold(record, |record, event| step(&record, event, START).expect("it fits").0)
}

/// What may happen to a task. Holders name tokens by how many claims ago they were given: 0 is the current one.
#[derive(Debug, Clone)]
enum Act {
    Claim(bool),
    By(usize, Deed),
    Expire,
    GiveUp,
    Charge,
    Cancel,
    Retry,
    Rate(bool),
    Pass(u64),
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Start,
    Renew,
    Release,
    Answer,
    Submit,
    Judged(bool, Next),
    Postpone,
    Fail,
    Judge(bool, Next),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let next = || prop::sample::select(vec![Next::Accept, Next::Revise, Next::Escalate, Next::GiveUp]);
    let deed = prop_oneof![
        3 => Just(Deed::Start),
        1 => Just(Deed::Renew),
        2 => Just(Deed::Release),
        1 => Just(Deed::Answer),
        4 => Just(Deed::Submit),
        2 => (any::<bool>(), next()).prop_map(|(valid, next)| Deed::Judged(valid, next)),
        1 => Just(Deed::Postpone),
        1 => Just(Deed::Fail),
        5 => (any::<bool>(), next()).prop_map(|(valid, next)| Deed::Judge(valid, next)),
    ];
    let age = prop_oneof![4 => Just(0_usize), 1 => 1_usize..4];
    let act = prop_oneof![
        8 => any::<bool>().prop_map(Act::Claim),
        12 => (age, deed).prop_map(|(age, deed)| Act::By(age, deed)),
        3 => Just(Act::Expire),
        1 => Just(Act::GiveUp),
        1 => Just(Act::Charge),
        1 => prop::bool::weighted(0.3).prop_map(|cancel| if cancel { Act::Cancel } else { Act::Charge }),
        2 => Just(Act::Retry),
        2 => any::<bool>().prop_map(Act::Rate),
        3 => (0_u64..5_000).prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 1..150)
}

/// A task with everything that its proofs remember.
struct History {
    record: Record,
    now: Timestamp,
    tokens: Vec<LeaseToken>,
    counters: Counters,
    settlements: HashMap<u32, u32>,
}

impl History {
    fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        let (token, event) = match act {
            Act::Pass(ms) => {
                self.now = self.now.plus(Duration::from_millis(ms));
                return Ok(());
            }
            Act::Claim(begins) => {
                let (token, event) = claim_that(begins);
                self.tokens.push(token);
                (None, event)
            }
            Act::By(age, deed) => {
                let Some(&token) = self.tokens.iter().rev().nth(age) else { return Ok(()) };
                (Some(token), by(token, deed))
            }
            Act::Expire => (None, Event::Expire),
            Act::GiveUp => (None, Event::GiveUp { max_wait: MAX_WAIT }),
            Act::Charge => (None, Event::Charge(vec![attempt()])),
            Act::Cancel => (None, Event::Cancel),
            Act::Retry => (None, Event::Retry(verdict(), decision())),
            Act::Rate(good) => {
                (None, Event::Rate(Feedback::of(if good { Rating::GOOD } else { Rating::BAD })))
            }
        };
        let before = self.record.clone();
        match step(&before, event.clone(), self.now) {
            Ok((after, effects)) => {
                self.effects(&after, &effects)?;
                let current = before.lease().map(|lease| lease.token);
                prop_assert!(token.is_none() || token == current, "only the current lease acts: {event:?}");
                changes(&before, &after, &event)?;
                self.record = after;
            }
            Err(refusal) => {
                let held = before.lease().is_some_and(|lease| Some(lease.token) == token);
                prop_assert!(token.is_none() || held || refusal == Refusal::LeaseLost, "{refusal}");
            }
        }
        holds(&self.record)
    }

    /// Counts what the effects say, and checks that they say of the change what is so.
    fn effects(&mut self, after: &Record, effects: &[Effect]) -> Result<(), TestCaseError> {
        let before = &self.record;
        let mut counted = Counters::new();
        let (mut published, mut woken) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Publish(status) => published.push(*status),
                Effect::Wake(stage) => woken.push(*stage),
                Effect::Count(Count(counts)) => {
                    for (name, n) in counts {
                        *counted.entry(name.clone()).or_default() += n;
                    }
                }
            }
        }
        let settles = after.status().is_settled() && !before.status().is_settled();
        if settles {
            *self.settlements.entry(after.generation).or_default() += 1;
        }
        let settled: i64 = ["completed", "failed", "cancelled"]
            .map(|status| counted.get(&format!("tasks.{status}")).copied().unwrap_or(0))
            .iter()
            .sum();
        prop_assert_eq!(settled, i64::from(settles), "a settlement is counted when it happens");
        let changed = (after.status() != before.status()).then(|| after.status());
        let begun = matches!(before.state, State::Pending(_)) && changed == Some(Status::InProgress);
        let told: Vec<_> = begun.then_some(Status::Assigned).into_iter().chain(changed).collect();
        prop_assert_eq!(published, told, "a new status is news");
        let queued = match (before.place(), after.place()) {
            (Place::Queue { .. }, Place::Queue { .. }) => None,
            (_, Place::Queue { stage, .. }) => Some(stage),
            _ => None,
        };
        prop_assert_eq!(woken, Vec::from_iter(queued), "who waits for work is woken when there is some");
        for (name, n) in counted {
            *self.counters.entry(name).or_default() += n;
        }
        Ok(())
    }
}

fn by(token: LeaseToken, deed: Deed) -> Event {
    match deed {
        Deed::Start => Event::Start(token),
        Deed::Renew => Event::Renew(token, LEASE),
        Deed::Release => Event::Release(token),
        Deed::Answer => answered(token, Then::Settle),
        Deed::Submit => answered(token, Then::Evaluate),
        Deed::Judged(valid, next) => answered(token, Then::Judged(judgement(valid), next)),
        Deed::Postpone => Event::Postpone { token, attempts: vec![attempt()], delay: LEASE },
        Deed::Fail => Event::Fail { token, failure: failure(), attempts: vec![attempt()] },
        Deed::Judge(valid, next) => Event::Judge { token, judgement: judgement(valid), next },
    }
}

/// What every change respects.
fn changes(before: &Record, after: &Record, event: &Event) -> Result<(), TestCaseError> {
    prop_assert_eq!(after.version, before.version + 1);
    prop_assert!(after.spent.calls >= before.spent.calls);
    prop_assert!(after.spent.cost_micro_usd >= before.spent.cost_micro_usd);
    prop_assert_eq!(
        (&after.key, &after.request, &after.fingerprint, after.submitted_at),
        (&before.key, &before.request, &before.fingerprint, before.submitted_at)
    );
    let retried = matches!(event, Event::Retry(..));
    prop_assert_eq!(after.generation, before.generation + u32::from(retried));
    if before.status().is_settled() && !retried {
        prop_assert_eq!(&after.state, &before.state, "settled is final within a generation");
        prop_assert_eq!(after.settled_at, before.settled_at);
    }
    if retried {
        prop_assert_eq!(before.status(), Status::Failed, "cancelled stays cancelled, completed completed");
    }
    Ok(())
}

/// What every record is.
fn holds(record: &Record) -> Result<(), TestCaseError> {
    let settled = record.status().is_settled();
    prop_assert_eq!(record.place() == Place::Settled, settled, "it is settled, or somebody will find it");
    prop_assert_eq!(record.settled_at.is_some(), settled);
    prop_assert_eq!(matches!(record.place(), Place::Leased { .. }), record.lease().is_some());
    prop_assert!(record.deliveries <= MAX_DELIVERIES);
    prop_assert!(record.revisions <= MAX_REVISIONS);
    prop_assert!(record.attempts.len() <= MAX_ATTEMPTS_KEPT);
    // Each answer is judged once: the first, one for each revision, and one after the escalation.
    prop_assert!(record.judgements.len() <= 2 + MAX_REVISIONS as usize);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn no_history_loses_a_task_or_settles_it_twice(acts in acts()) {
        let mut history = History {
            record: pending(),
            now: START,
            tokens: Vec::new(),
            counters: Counters::new(),
            settlements: HashMap::new(),
        };
        for act in acts {
            history.act(act)?;
        }
        prop_assert!(history.settlements.values().all(|&times| times == 1));
        let record = &history.record;
        prop_assert_eq!(history.counters.get("slm.calls").copied().unwrap_or(0), record.spent.calls as i64);
        if let State::Completed(answer) = &record.state {
            prop_assert_eq!(history.counters["saved_micro_usd"], saved_micro_usd(answer, record.spent));
        }
        let of_the_arm = history.counters.iter().filter(|(_, n)| **n != 0).filter_map(|(name, n)| {
            Some((name.strip_prefix("experiments.e@1.bold.")?.to_owned(), *n))
        });
        let of_the_task = told(record).into_iter().filter(|(_, n)| *n != 0);
        let (counted, told): (Counters, Counters) = (of_the_arm.collect(), of_the_task.collect());
        prop_assert_eq!(counted, told, "its arm counts what the task tells in the end, and nothing twice");
    }

    #[test]
    fn every_task_comes_to_its_end_without_its_holders(acts in acts()) {
        let mut history = History {
            record: pending(),
            now: START,
            tokens: Vec::new(),
            counters: Counters::new(),
            settlements: HashMap::new(),
        };
        for act in acts {
            history.act(act)?;
        }
        // Nobody works any more; only time passes, and somebody looks for what is overdue.
        let later = history.now.plus(2 * MAX_WAIT);
        let ended = step(&history.record, Event::GiveUp { max_wait: MAX_WAIT }, later);
        prop_assert_eq!(ended.is_err(), history.record.status().is_settled());
        if let Place::Leased { until } = history.record.place() {
            let freed = step(&history.record, Event::Expire, until);
            prop_assert!(freed.is_ok());
        }
    }
}

#[test]
fn a_task_walks_from_pending_to_completed() {
    let (worker, claim_task) = claim();
    let record = walk(pending(), [claim_task]);
    assert_eq!((record.status(), record.deliveries), (Status::Assigned, 1));
    let record = walk(record, [Event::Start(worker)]);
    assert_eq!(record.status(), Status::InProgress);
    let record = walk(record, [answered(worker, Then::Evaluate)]);
    assert!(matches!(record.state, State::Answered(_)));
    assert_eq!((record.status(), record.lease()), (Status::InProgress, None));
    let (evaluator, claim_answer) = claim();
    let record = walk(record, [claim_answer]);
    assert!(matches!(record.state, State::Evaluating(..)));
    let judge = Event::Judge { token: evaluator, judgement: judgement(true), next: Next::Accept };
    let record = walk(record, [judge]);
    assert_eq!(record.state, State::Completed(answer()));
    assert_eq!((record.version, record.spent.calls, record.judgements.len()), (5, 1, 1));
}

#[test]
fn a_task_that_needs_no_judgement_is_settled_by_its_worker() {
    let (token, claim) = claim();
    let record = walk(pending(), [claim, Event::Start(token), answered(token, Then::Settle)]);
    assert_eq!(record.status(), Status::Completed);
}

#[test]
fn who_begins_with_the_claim_need_not_say_so_again() {
    let (token, claim) = claim_that(true);
    let record = walk(pending(), [claim]);
    assert_eq!((record.status(), record.deliveries), (Status::InProgress, 1));
    assert_eq!(step(&record, Event::Start(token), START), Err(Refusal::OutOfOrder(Status::InProgress)));
    let record = walk(record, [answered(token, Then::Settle)]);
    assert_eq!((record.status(), record.version), (Status::Completed, 2));
}

#[test]
fn answers_are_sent_back_twice_then_up_and_then_given_up() {
    let mut record = pending();
    for (next, route) in [
        (Next::Revise, Route::Slm),
        (Next::Revise, Route::Slm),
        (Next::Escalate, Route::Llm),
        (Next::GiveUp, Route::Llm),
    ] {
        let (worker, claim_task) = claim();
        let (evaluator, claim_answer) = claim();
        let judge = Event::Judge { token: evaluator, judgement: judgement(false), next };
        record = walk(record, [claim_task, answered(worker, Then::Evaluate), claim_answer]);
        if next != Next::Revise {
            let again = Event::Judge { token: evaluator, judgement: judgement(false), next: Next::Revise };
            assert_eq!(step(&record, again, START), Err(Refusal::Exhausted));
        }
        if next == Next::GiveUp {
            let up = Event::Judge { token: evaluator, judgement: judgement(false), next: Next::Escalate };
            assert_eq!(step(&record, up, START), Err(Refusal::Exhausted));
        }
        record = walk(record, [judge]);
        assert_eq!(record.decision.route, route);
    }
    assert!(matches!(&record.state, State::Failed(failure) if failure.code == "rejected"));
    assert_eq!(record.judgements.len(), 4);
}

#[test]
fn holders_that_did_their_part_are_no_lost_deliveries() {
    let mut record = pending();
    for next in [Next::Revise, Next::Revise, Next::Escalate] {
        let (worker, claim_task) = claim();
        let (evaluator, claim_answer) = claim();
        let judge = Event::Judge { token: evaluator, judgement: judgement(false), next };
        record = walk(record, [claim_task, answered(worker, Then::Evaluate), claim_answer, judge]);
        assert_eq!(record.deliveries, 0);
    }
    let mut now = START;
    for _ in 1..MAX_DELIVERIES {
        record = step(&record, claim().1, now).expect("it waits").0;
        now = now.plus(LEASE);
        record = step(&record, Event::Expire, now).expect("the lease is over").0;
    }
    assert!(!record.status().is_settled(), "four holders vanished, and there is a fifth to try");
}

#[test]
fn a_lease_ends_when_its_time_is_over_and_not_before() {
    let (token, claim) = claim();
    let record = walk(pending(), [claim]);
    let nearly = Timestamp(START.plus(LEASE).0 - 1);
    assert_eq!(step(&record, Event::Expire, nearly), Err(Refusal::NotOverdue));
    let renewed = step(&record, Event::Renew(token, LEASE), nearly).expect("it is held").0;
    assert_eq!(step(&renewed, Event::Expire, START.plus(LEASE)), Err(Refusal::NotOverdue));
    let freed = step(&record, Event::Expire, START.plus(LEASE)).expect("its time is over").0;
    assert_eq!(freed.status(), Status::Pending);
}

#[test]
fn an_evaluator_that_vanishes_leaves_the_answer_to_the_next_one() {
    let (worker, claim_task) = claim();
    let (_, claim_answer) = claim();
    let record = walk(pending(), [claim_task, answered(worker, Then::Evaluate), claim_answer]);
    let freed = step(&record, Event::Expire, START.plus(LEASE)).expect("its time is over").0;
    assert_eq!(freed.state, State::Answered(answer()), "nothing is paid for twice");
}

#[test]
fn an_answer_that_nobody_judges_fails_naming_who_is_missing() {
    let (worker, claim_task) = claim();
    let record = walk(pending(), [claim_task, answered(worker, Then::Evaluate)]);
    let give_up = Event::GiveUp { max_wait: Duration::from_secs(30) };
    let failed = step(&record, give_up, START.plus(Duration::from_secs(30))).expect("it waited").0;
    let State::Failed(failure) = &failed.state else { panic!("not failed: {failed:?}") };
    assert_eq!(failure.code, "expired");
    assert!(failure.message.contains("evaluator"), "{}", failure.message);
}

#[test]
fn an_event_out_of_order_is_refused_by_name() {
    let (worker, claim_task) = claim();
    let assigned = walk(pending(), [claim_task]);
    let judge = Event::Judge { token: worker, judgement: judgement(true), next: Next::Accept };
    assert_eq!(step(&assigned, judge, START), Err(Refusal::OutOfOrder(Status::Assigned)));
    let (_, second) = claim();
    assert_eq!(step(&assigned, second, START), Err(Refusal::NotClaimable));
    let postponed =
        walk(assigned, [Event::Postpone { token: worker, attempts: vec![], delay: Duration::from_secs(5) }]);
    let (_, early) = claim();
    assert_eq!(step(&postponed, early, START), Err(Refusal::NotClaimable), "its time has not come");
}
