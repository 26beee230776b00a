//! Writing: who may, who may no longer, and what a repeat is worth.

use serde_json::json;

use super::*;
use crate::broker::{Commit, Outcome};
use crate::lifecycle::Refusal;

const LOST: Result<Record, AdvanceError> = Err(AdvanceError::Refused(Refusal::LeaseLost));

async fn commit(harness: &impl Harness, commit: &Commit) -> Outcome {
    surely(|| harness.broker().commit(std::slice::from_ref(commit))).await[0]
}

async fn step(harness: &impl Harness, record: &Record, event: Event) -> Commit {
    let now = surely(|| harness.broker().now()).await;
    Commit::step(record, event, now).expect("the event fits the record")
}

/// A holder of the only task and, after its lease ended, the next one under the same name.
async fn zombie_and_successor(harness: &impl Harness) -> (Record, Record) {
    given(harness, [json!({})]).await;
    let zombie = claim_one(harness, "w", Stage::Infer).await;
    harness.pass(LEASE);
    reaped(harness).await;
    (zombie, claim_one(harness, "w", Stage::Infer).await)
}

pub(super) async fn a_zombie_of_the_same_worker_is_refused(harness: &mut impl Harness) {
    let (zombie, successor) = zombie_and_successor(harness).await;
    let held = token(&zombie);
    for event in [
        Event::Start(held),
        Event::Renew(held, LEASE),
        Event::Release(held),
        Event::Postpone { token: held, attempts: vec![attempt()], delay: LEASE },
        answered(&zombie, "5", Then::Settle),
        answered(&zombie, "5", Then::Evaluate),
        failed(&zombie),
    ] {
        assert_eq!(send(harness, &zombie, event).await, LOST);
        assert_eq!(get(harness, &successor.key).await, successor, "a refused event changes nothing");
    }
    let settled = done(harness, &successor, answered(&successor, "4", Then::Settle)).await;
    assert_eq!(text(&settled), "4");
}

pub(super) async fn a_zombie_is_refused_after_its_successor_finished(harness: &mut impl Harness) {
    let (zombie, successor) = zombie_and_successor(harness).await;
    let settled = done(harness, &successor, answered(&successor, "4", Then::Settle)).await;
    assert_eq!(send(harness, &zombie, answered(&zombie, "5", Then::Settle)).await, LOST);
    assert_eq!(get(harness, &settled.key).await, settled);
    let charged = done(harness, &zombie, Event::Charge(vec![attempt()])).await;
    assert_eq!((text(&charged), charged.spent.calls), ("4", 2), "its cost is counted, its text dropped");
    let counters = counters(harness).await;
    assert_eq!((counters["tasks.completed"], counters["slm.calls"]), (1, 2));
    assert_eq!(counters["saved_micro_usd"], 40 - 2 * 3, "what came late was not saved");
}

pub(super) async fn a_zombie_is_refused_by_a_store_that_was_rolled_back(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    claim_one(harness, "w", Stage::Infer).await;
    if !harness.save().await {
        return;
    }
    harness.pass(LEASE);
    reaped(harness).await;
    let zombie = claim_one(harness, "w", Stage::Infer).await;
    harness.roll_back().await;
    let late = step(harness, &zombie, answered(&zombie, "5", Then::Settle)).await;
    assert_eq!(commit(harness, &late).await, Outcome::Conflict, "the store is older than its lease");
    harness.pass(LEASE);
    reaped(harness).await;
    let successor = claim_one(harness, "w", Stage::Infer).await;
    // On a good line both stand at the same version by now; only their tokens differ.
    assert_eq!(commit(harness, &late).await, Outcome::Conflict);
    assert_eq!(send(harness, &zombie, answered(&zombie, "5", Then::Settle)).await, LOST);
    assert_eq!(get(harness, &successor.key).await, successor);
    let settled = done(harness, &successor, answered(&successor, "4", Then::Settle)).await;
    assert_eq!(text(&settled), "4");
}

pub(super) async fn a_repeated_commit_is_done_once(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    let settle = step(harness, &record, answered(&record, "4", Then::Settle)).await;
    for _ in 0..3 {
        assert_eq!(commit(harness, &settle).await, Outcome::Done);
    }
    assert_eq!(get(harness, &record.key).await, settle.record);
    let counters = counters(harness).await;
    assert_eq!((counters["tasks.completed"], counters["slm.calls"], counters["slm.answers"]), (1, 1, 1));
}

pub(super) async fn a_late_repeat_is_known_after_others_have_written(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    let answer = step(harness, &record, answered(&record, "4", Then::Evaluate)).await;
    assert_eq!(commit(harness, &answer).await, Outcome::Done);
    let claimed = claim_one(harness, "e", Stage::Evaluate).await;
    assert_eq!(commit(harness, &answer).await, Outcome::Done);
    assert_eq!(get(harness, &record.key).await, claimed, "the repeat changes nothing");
    assert_eq!(counters(harness).await["slm.calls"], 1);
}

pub(super) async fn a_stale_record_is_loaded_again(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let stale = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &stale, Event::Start(token(&stale))).await;
    done(harness, &stale, Event::Charge(vec![attempt()])).await;
    let settled = done(harness, &stale, answered(&stale, "4", Then::Settle)).await;
    assert_eq!((settled.version, settled.spent.calls), (stale.version + 3, 2));
}

pub(super) async fn an_unknown_task_is_gone(harness: &mut impl Harness) {
    let unknown = task(harness, None, json!({})).await;
    assert_eq!(surely(|| harness.broker().get(&unknown.key)).await, None);
    assert_eq!(send(harness, &unknown, Event::Cancel).await, Err(AdvanceError::Gone));
}

pub(super) async fn of_two_that_write_at_once_one_wins(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    let cancel = step(harness, &record, Event::Cancel).await;
    let settle = step(harness, &record, answered(&record, "4", Then::Settle)).await;
    let (one, two) = tokio::join!(commit(harness, &cancel), commit(harness, &settle));
    let mut outcomes = [one, two].map(|outcome| outcome == Outcome::Done);
    outcomes.sort();
    assert_eq!(outcomes, [false, true]);
    let counters = counters(harness).await;
    let settled = ["tasks.cancelled", "tasks.completed"].map(|name| counters.get(name).copied().unwrap_or(0));
    assert_eq!(settled.iter().sum::<i64>(), 1);
}
