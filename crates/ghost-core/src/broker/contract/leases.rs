//! Holding: leases that end, bounds that hold, and senders who change their minds.

use serde_json::json;

use super::*;
use crate::broker::Query;
use crate::lifecycle::{DELIVERIES_EXHAUSTED, MAX_DELIVERIES, Refusal};
use crate::task::Status;

const LOST: Result<Record, AdvanceError> = Err(AdvanceError::Refused(Refusal::LeaseLost));

pub(super) async fn an_ended_lease_gives_the_task_to_another(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let first = claim_one(harness, "one", Stage::Infer).await;
    harness.pass(LEASE);
    reaped(harness).await;
    let second = claim_one(harness, "two", Stage::Infer).await;
    assert_eq!(second.key, first.key);
    assert_eq!(second.lease().expect("it is leased").holder, holder("two"));
    assert!(counters(harness).await["tasks.redelivered"] >= 1);
}

pub(super) async fn a_renewed_lease_stays(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let mut record = claim_one(harness, "w", Stage::Infer).await;
    let held = token(&record);
    for _ in 0..10 {
        harness.pass(LEASE / 2);
        record = done(harness, &record, Event::Renew(held, LEASE)).await;
        reaped(harness).await;
    }
    let settled = done(harness, &record, answered(&record, "4", Then::Settle)).await;
    assert_eq!(text(&settled), "4");
}

pub(super) async fn deliveries_are_bounded(harness: &mut impl Harness) {
    let keys = given(harness, [json!({})]).await;
    for _ in 0..MAX_DELIVERIES {
        assert_eq!(claimed(harness, &wants("w", Stage::Infer, 1)).await.len(), 1);
        harness.pass(LEASE);
        reaped(harness).await;
    }
    assert_eq!(failure_code(&get(harness, &keys[0]).await), DELIVERIES_EXHAUSTED);
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 1)).await.len(), 0);
    assert_eq!(counters(harness).await["tasks.failed"], 1);
}

pub(super) async fn dead_letters_are_listed_apart_from_other_failures(harness: &mut impl Harness) {
    given(harness, ["poison", "venom"].map(|id| json!({"task_id": id}))).await;
    for _ in 0..MAX_DELIVERIES {
        assert_eq!(claimed(harness, &wants("w", Stage::Infer, 2)).await.len(), 2);
        harness.pass(LEASE);
        reaped(harness).await;
    }
    given(harness, [json!({"task_id": "rejected"})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &record, failed(&record)).await;
    let letters = async |query: Query| {
        let query = Query { failure: Some(DELIVERIES_EXHAUSTED.to_owned()), ..query };
        let listed = surely(|| harness.broker().list(&query)).await;
        listed.into_iter().map(|record| record.key.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(letters(Query::default()).await, ["venom", "poison"]);
    assert_eq!(letters(Query { limit: 1, offset: 1, ..Query::default() }).await, ["poison"]);
    let named = |id: &str| Query { id: Some(id.parse().expect("an id")), ..Query::default() };
    assert_eq!(letters(named("poison")).await, ["poison"]);
    assert_eq!(letters(named("rejected")).await, [""; 0]);
    assert_eq!(letters(Query { status: Some(Status::Pending), ..Query::default() }).await, [""; 0]);
}

pub(super) async fn good_order_is_no_delivery(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    for _ in 0..2 * MAX_DELIVERIES {
        let record = claim_one(harness, "w", Stage::Infer).await;
        done(harness, &record, Event::Release(token(&record))).await;
    }
    let record = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &record, answered(&record, "4", Then::Evaluate)).await;
    for _ in 0..2 * MAX_DELIVERIES {
        let record = claim_one(harness, "e", Stage::Evaluate).await;
        assert_eq!(record.deliveries, 1);
        done(harness, &record, Event::Release(token(&record))).await;
    }
}

pub(super) async fn all_leases_end_with_a_dead_owner(harness: &mut impl Harness) {
    given(harness, ["a", "b", "c", "d"].map(|id| json!({"task_id": id}))).await;
    let records = harness.broker().claim(&wants("dead", Stage::Infer, 3)).await.expect("claims succeed");
    done(harness, &records[0], answered(&records[0], "4", Then::Evaluate)).await;
    assert_eq!(claimed(harness, &wants("dead", Stage::Evaluate, 1)).await, ["a"]);
    harness.pass(Duration::from_millis(1));
    assert_eq!(harness.broker().release_all().await, Ok(3));
    assert_eq!(claimed(harness, &wants("next", Stage::Infer, 9)).await, ["d", "b", "c"]);
    assert_eq!(claimed(harness, &wants("next", Stage::Evaluate, 9)).await, ["a"]);
    let zombie = &records[1];
    assert_eq!(send(harness, zombie, answered(zombie, "4", Then::Settle)).await, LOST);
    assert_eq!(
        counters(harness).await["tasks.redelivered"],
        3,
        "a task that kills its process is bounded too"
    );
}

pub(super) async fn a_task_that_waits_too_long_expires(harness: &mut impl Harness) {
    let keys = given(harness, [json!({"parameters": {"capability": "painting"}})]).await;
    harness.pass(MAX_WAIT - Duration::from_secs(1));
    reaped(harness).await;
    assert_eq!(get(harness, &keys[0]).await.status(), Status::Pending);
    harness.pass(Duration::from_secs(1));
    reaped(harness).await;
    let record = get(harness, &keys[0]).await;
    assert_eq!(failure_code(&record), "expired");
    assert!(record.result().error.expect("it failed").contains("painting"), "it names what nobody offered");
}

pub(super) async fn a_timeout_runs_from_the_first_claim(harness: &mut impl Harness) {
    let keys = given(harness, [json!({"timeout": 600})]).await;
    harness.pass(Duration::from_secs(3600));
    let record = claim_one(harness, "w", Stage::Infer).await;
    let (held, first) = (token(&record), record.first_claimed_at.expect("it is claimed"));
    done(harness, &record, Event::Renew(held, Duration::from_secs(3600))).await;
    let so_far = surely(|| harness.broker().now()).await.since(first);
    harness.pass(Duration::from_secs(600) - so_far);
    reaped(harness).await;
    let record = get(harness, &keys[0]).await;
    assert_eq!(failure_code(&record), "timeout", "though its lease still runs");
    assert_eq!(send(harness, &record, Event::Renew(held, LEASE)).await, LOST);
}

pub(super) async fn a_waiting_task_is_cancelled_at_once(harness: &mut impl Harness) {
    let keys = given(harness, [json!({})]).await;
    let record = get(harness, &keys[0]).await;
    let record = done(harness, &record, Event::Cancel).await;
    assert_eq!(record.status(), Status::Cancelled);
    let again = send(harness, &record, Event::Cancel).await;
    assert_eq!(again, Err(AdvanceError::Refused(Refusal::Settled(Status::Cancelled))));
    let claim = wants("w", Stage::Infer, 1);
    assert_eq!(surely(|| harness.broker().claim(&claim)).await, []);
}

pub(super) async fn a_running_task_is_cancelled_under_its_worker(harness: &mut impl Harness) {
    given(harness, [json!({})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    let running = done(harness, &record, Event::Start(token(&record))).await;
    done(harness, &record, Event::Cancel).await;
    assert_eq!(send(harness, &running, answered(&running, "4", Then::Settle)).await, LOST);
    let charged = done(harness, &running, Event::Charge(vec![attempt()])).await;
    assert_eq!((charged.status(), charged.spent.calls), (Status::Cancelled, 1), "what was paid is counted");
    assert_eq!(counters(harness).await["slm.calls"], 1);
}

pub(super) async fn only_a_failed_task_is_retried_and_each_retry_is_a_generation(harness: &mut impl Harness) {
    let keys = given(harness, [json!({})]).await;
    let record = get(harness, &keys[0]).await;
    let retry = Event::Retry(record.verdict.clone(), record.decision.clone());
    let refused = |status| Err(AdvanceError::Refused(Refusal::NotFailed(status)));
    assert_eq!(send(harness, &record, retry.clone()).await, refused(Status::Pending));
    let record = claim_one(harness, "w", Stage::Infer).await;
    let record = done(harness, &record, failed(&record)).await;
    let record = done(harness, &record, retry.clone()).await;
    assert_eq!((record.status(), record.generation), (Status::Pending, 1));
    let record = claim_one(harness, "w", Stage::Infer).await;
    let record = done(harness, &record, answered(&record, "4", Then::Settle)).await;
    assert_eq!(record.spent.calls, 2, "what the first generation paid stays counted");
    assert_eq!(send(harness, &record, retry).await, refused(Status::Completed));
    let counters = counters(harness).await;
    assert_eq!((counters["tasks.failed"], counters["tasks.retried"], counters["tasks.completed"]), (1, 1, 1));
}
