//! Claiming: who is given what, and in which order.

use serde_json::json;

use super::*;
use crate::broker::MAX_BATCH;

pub(super) async fn higher_classes_go_first_and_the_lowest_still_moves(harness: &mut impl Harness) {
    given(harness, (0..4).map(|n| json!({"task_id": format!("low {n}"), "priority": 1}))).await;
    given(harness, (0..30).map(|n| json!({"task_id": format!("normal {n}"), "priority": 5}))).await;
    given(harness, (0..30).map(|n| json!({"task_id": format!("high {n}"), "priority": 10}))).await;
    let mut order = Vec::new();
    for _ in 0..16 {
        order.extend(claimed(harness, &wants("w", Stage::Infer, 1)).await);
    }
    let low: Vec<_> = order.iter().filter(|id| id.starts_with("low")).collect();
    assert_eq!(low, ["low 0", "low 1"], "two of sixteen, in their order: {order:?}");
    assert!(order.iter().all(|id| !id.starts_with("normal")), "not while there are higher ones: {order:?}");
    assert!(order[0].starts_with("high"));
    let rest = claimed(harness, &wants("w", Stage::Infer, 64)).await;
    assert_eq!(rest.len(), 48, "in the end all are handed out");
}

pub(super) async fn tenants_of_a_class_take_turns(harness: &mut impl Harness) {
    let of =
        |tenant: &str, n: usize| json!({"task_id": format!("{tenant} {n}"), "context": {"tenant": tenant}});
    given(harness, (0..20).map(|n| of("noisy", n))).await;
    given(harness, (0..2).map(|n| of("calm", n))).await;
    given(harness, (0..2).map(|n| of("quiet", n))).await;
    let order = claimed(harness, &wants("w", Stage::Infer, 8)).await;
    let turns: Vec<_> = order.iter().map(|id| id.split(' ').next().expect("a name")).collect();
    assert_eq!(turns, ["calm", "noisy", "quiet", "calm", "noisy", "quiet", "noisy", "noisy"]);
}

pub(super) async fn a_tenants_tasks_go_in_the_order_they_came(harness: &mut impl Harness) {
    let ids = ["d", "a", "c", "b"];
    for id in ids {
        given(harness, [json!({"task_id": id})]).await;
    }
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 10)).await, ids);
}

pub(super) async fn a_worker_is_given_only_what_it_can_do(harness: &mut impl Harness) {
    given(
        harness,
        [
            json!({"task_id": "paint", "parameters": {"capability": "painting"}}),
            json!({"task_id": "sing", "parameters": {"capability": "singing"}}),
            json!({"task_id": "infer"}),
        ],
    )
    .await;
    let able = |capabilities: &[&str]| Claim {
        capabilities: capabilities.iter().map(|&c| c.to_owned()).collect(),
        ..wants("w", Stage::Infer, 10)
    };
    assert_eq!(claimed(harness, &able(&[])).await, [""; 0]);
    assert_eq!(claimed(harness, &able(&["dancing"])).await, [""; 0]);
    assert_eq!(claimed(harness, &able(&["singing", "painting"])).await, ["paint", "sing"]);
    assert_eq!(claimed(harness, &able(&[DEFAULT_CAPABILITY])).await, ["infer"]);
}

pub(super) async fn nobody_is_given_more_than_the_limit(harness: &mut impl Harness) {
    given(harness, (0..90).map(|n| json!({"task_id": format!("{n}")}))).await;
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 0)).await.len(), 0);
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 3)).await.len(), 3);
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 1000)).await.len(), MAX_BATCH);
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 64)).await.len(), 23);
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 64)).await.len(), 0);
}

pub(super) async fn a_postponed_task_waits_for_its_moment(harness: &mut impl Harness) {
    given(harness, [json!({"task_id": "later"})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    let postponed =
        Event::Postpone { token: token(&record), attempts: vec![], delay: Duration::from_secs(2) };
    done(harness, &record, postponed).await;
    given(harness, [json!({"task_id": "now"})]).await;
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 10)).await, ["now"]);
    harness.pass(Duration::from_secs(2));
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 10)).await, ["later"]);
}

pub(super) async fn answers_go_to_evaluators_and_to_nobody_else(harness: &mut impl Harness) {
    given(harness, [json!({"task_id": "a", "parameters": {"capability": "painting"}})]).await;
    let painter = Claim { capabilities: vec!["painting".to_owned()], ..wants("w", Stage::Infer, 1) };
    let record = harness.broker().claim(&painter).await.expect("claims succeed").remove(0);
    assert_eq!(claimed(harness, &wants("e", Stage::Evaluate, 1)).await, [""; 0]);
    done(harness, &record, answered(&record, "4", Then::Evaluate)).await;
    assert_eq!(claimed(harness, &painter).await, [""; 0]);
    let evaluator = Claim { capabilities: vec![], ..wants("e", Stage::Evaluate, 1) };
    assert_eq!(claimed(harness, &evaluator).await, ["a"]);
}

pub(super) async fn what_is_past_its_deadline_is_not_handed_out(harness: &mut impl Harness) {
    given(harness, [json!({"task_id": "late", "timeout": 10})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &record, Event::Release(token(&record))).await;
    given(harness, [json!({"task_id": "fresh"})]).await;
    harness.pass(Duration::from_secs(10));
    assert_eq!(claimed(harness, &wants("w", Stage::Infer, 10)).await, ["fresh"]);
}
