//! Submitting: what is new, what is known, and what there is no room for.

use serde_json::json;

use super::*;
use crate::broker::{Error, Query};
use crate::task::Status;

pub(super) async fn a_task_submitted_twice_is_one_task(harness: &mut impl Harness) {
    let record = task(harness, None, json!({"task_id": "a"})).await;
    submit(harness, vec![record.clone()]).await;
    let worker = claim_one(harness, "w", Stage::Infer).await;
    let again = submit(harness, vec![record.clone()]).await;
    assert_eq!(again, [Submission::Known(get(harness, &worker.key).await)], "it comes back as it stands now");
    assert_eq!(counters(harness).await["tasks.submitted"], 1);
}

pub(super) async fn another_payload_under_the_same_id_is_a_conflict(harness: &mut impl Harness) {
    let first = task(harness, None, json!({"task_id": "a"})).await;
    let other = task(harness, None, json!({"task_id": "a", "priority": 9})).await;
    submit(harness, vec![first.clone()]).await;
    assert_eq!(submit(harness, vec![other]).await, [Submission::Conflict(first.key.clone())]);
    assert_eq!(get(harness, &first.key).await, first);
}

pub(super) async fn one_call_may_name_an_id_twice(harness: &mut impl Harness) {
    let first = task(harness, None, json!({"task_id": "a"})).await;
    let other = task(harness, None, json!({"task_id": "a", "priority": 9})).await;
    let third = task(harness, None, json!({"task_id": "b"})).await;
    let seen = submit(harness, vec![first.clone(), first.clone(), other, third.clone()]).await;
    // Where the first reply was lost, the second call finds them known.
    assert!(matches!(&seen[0], Submission::New(r) | Submission::Known(r) if *r == first));
    assert_eq!(seen[1..3], [Submission::Known(first.clone()), Submission::Conflict(first.key)]);
    assert!(matches!(&seen[3], Submission::New(r) | Submission::Known(r) if *r == third));
}

pub(super) async fn batches_do_not_share_ids(harness: &mut impl Harness) {
    let (one, two) = (BatchId::generate(), BatchId::generate());
    let records = [
        task(harness, Some(one), json!({"task_id": "a"})).await,
        task(harness, Some(two), json!({"task_id": "a", "priority": 9})).await,
        task(harness, None, json!({"task_id": "a", "priority": 2})).await,
    ];
    submit(harness, records.to_vec()).await;
    for record in records {
        assert_eq!(get(harness, &record.key).await, record);
    }
    let query = Query { id: Some(holder("a").as_str().parse().expect("an id")), ..Query::default() };
    assert_eq!(surely(|| harness.broker().list(&query)).await.len(), 3);
    assert_eq!(surely(|| harness.broker().tally(Some(one))).await, [(Status::Pending, 1)]);
    assert_eq!(surely(|| harness.broker().tally(None)).await, [(Status::Pending, 3)]);
}

pub(super) async fn a_full_queue_refuses_what_is_new_and_still_knows_what_is_old(harness: &mut impl Harness) {
    given(harness, (1..BACKLOG).map(|n| json!({"task_id": format!("{n}")}))).await;
    let last = task(harness, None, json!({"task_id": "last"})).await;
    let surplus = task(harness, None, json!({"task_id": "surplus"})).await;
    let both = harness.broker().submit(vec![last.clone(), surplus.clone()]).await;
    match both {
        Err(Error::Full { backlog, retry_after }) => {
            assert_eq!(backlog, BACKLOG - 1, "a call is taken whole or not at all");
            assert!(!retry_after.is_zero());
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(submit(harness, vec![last.clone()]).await, [Submission::New(last.clone())]);
    assert_eq!(
        submit(harness, vec![last.clone()]).await,
        [Submission::Known(last)],
        "known tasks take no room"
    );
    assert!(harness.broker().submit(vec![surplus.clone()]).await.is_err());
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 1)).await.len(), 1);
    assert_eq!(
        submit(harness, vec![surplus.clone()]).await,
        [Submission::New(surplus)],
        "a claim makes room"
    );
}

pub(super) async fn a_list_is_the_newest_first(harness: &mut impl Harness) {
    given(harness, ["a", "b", "c"].map(|id| json!({"task_id": id}))).await;
    let claimed = claim_one(harness, "w", Stage::Infer).await;
    assert_eq!(claimed.key.id.as_str(), "a");
    let ids = async |query: Query| -> Vec<String> {
        let records = surely(|| harness.broker().list(&query)).await;
        records.into_iter().map(|record| record.key.id.into()).collect()
    };
    assert_eq!(ids(Query::default()).await, ["c", "b", "a"]);
    assert_eq!(ids(Query { limit: 1, offset: 1, ..Query::default() }).await, ["b"]);
    assert_eq!(ids(Query { status: Some(Status::Assigned), ..Query::default() }).await, ["a"]);
    assert_eq!(ids(Query { batch: Some(BatchId::generate()), ..Query::default() }).await, [""; 0]);
}
