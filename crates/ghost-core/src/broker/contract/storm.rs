//! Everything at once: workers that crash, answer late and answer twice, evaluators, reapers, and senders who cancel
//! and retry, in an order that a seed decides.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::*;
use crate::lifecycle::Next;
use crate::stats::Statistics;

const TASKS: usize = 40;
const STEPS: usize = 3_000;

pub(super) async fn nothing_is_lost_and_nothing_settled_twice(harness: &mut impl Harness) {
    let mut chance = fastrand::Rng::with_seed(0x0067_686f_7374);
    let batch = BatchId::generate();
    let mut records = Vec::new();
    for n in 0..TASKS {
        let tenant = format!("tenant {}", n % 3);
        let fields = json!({"priority": 1 + n % 10, "timeout": 90, "context": {"tenant": tenant}});
        records.push(task(harness, Some(batch), fields).await);
    }
    let keys: Vec<TaskKey> = records.iter().map(|record| record.key.clone()).collect();
    submit(harness, records).await;

    // What workers and evaluators believe they hold: some of it was lost to others long ago.
    let mut held: Vec<Record> = Vec::new();
    let mut settled = HashMap::new();
    for step in 0..STEPS {
        let sent = match chance.u32(0..12) {
            0..=2 => {
                let stage = if chance.bool() { Stage::Infer } else { Stage::Evaluate };
                let claim = wants(["one", "two", "three"][chance.usize(0..3)], stage, chance.usize(0..4));
                held.extend(harness.broker().claim(&claim).await.unwrap_or_default());
                continue;
            }
            3 => {
                harness.pass(LEASE.mul_f64(chance.f64()));
                reaped(harness).await;
                continue;
            }
            4 => {
                let record = get(harness, &keys[chance.usize(0..TASKS)]).await;
                let retry = Event::Retry(record.verdict.clone(), record.decision.clone());
                // Only the first half of the storm opens what was closed.
                let event = if step < STEPS / 2 && chance.bool() { retry } else { Event::Cancel };
                (chance.u32(0..8) == 0).then_some((record, event))
            }
            _ if held.is_empty() => None,
            _ => {
                let record = held[chance.usize(0..held.len())].clone();
                let event = next_event(&record, &mut chance);
                Some((record, event))
            }
        };
        let Some((record, event)) = sent else { continue };
        match send(harness, &record, event).await {
            Ok(after) if after.status().is_settled() => {
                // A repeat of the very same settlement hears that it is done.
                let first = settled.entry((after.key.clone(), after.generation)).or_insert(after.version);
                assert_eq!(*first, after.version, "{} was settled twice in a generation", after.key);
            }
            Ok(after) if after.lease().is_some() && chance.u32(0..4) > 0 => {
                held.retain(|other| other.lease() != record.lease());
                held.push(after);
            }
            // A zombie stays among the holders one time in three, and tries again.
            _ if chance.u32(0..3) > 0 => held.retain(|other| other.lease() != record.lease()),
            _ => {}
        }
        if step > STEPS / 2 && step % 50 == 0 && unsettled(harness).await == 0 {
            break;
        }
    }
    assert_eq!(unsettled(harness).await, 0, "every task comes to its end");
    the_books_agree(harness, batch).await;
}

fn next_event(record: &Record, chance: &mut fastrand::Rng) -> Event {
    let held = token(record);
    let judged = judgement(chance.bool());
    let next = [Next::Accept, Next::Revise, Next::Escalate, Next::GiveUp][chance.usize(0..4)];
    match (&record.state, chance.u32(0..8)) {
        (_, 0) => Event::Renew(held, LEASE),
        (_, 1) => Event::Release(held),
        (_, 2) => failed(record),
        (State::Evaluating(..), _) => Event::Judge { token: held, judgement: judged, next },
        (State::Assigned(_), 3) => Event::Start(held),
        (_, 4) => Event::Postpone { token: held, attempts: vec![attempt()], delay: LEASE },
        (_, 5) => answered(record, "4", Then::Judged(judged, next)),
        (_, 6) => answered(record, "4", Then::Settle),
        _ => answered(record, "4", Then::Evaluate),
    }
}

async fn unsettled(harness: &impl Harness) -> u64 {
    let tally = surely(|| harness.broker().tally(None)).await;
    tally.into_iter().filter(|(status, _)| !status.is_settled()).map(|(_, n)| n).sum()
}

async fn the_books_agree(harness: &impl Harness, batch: BatchId) {
    let settled = surely(|| harness.broker().settled(batch, 0, 2 * TASKS)).await;
    let records: Vec<&Record> = settled.iter().map(|(_, record)| record).collect();
    let different: HashSet<_> = records.iter().map(|record| &record.key).collect();
    assert_eq!((records.len(), different.len()), (TASKS, TASKS), "each settled task comes once");

    let statistics = Statistics::from(&counters(harness).await);
    let tasks = statistics.tasks;
    assert_eq!(tasks.submitted, TASKS as i64);
    assert_eq!(tasks.submitted + tasks.retried, tasks.completed + tasks.failed + tasks.cancelled);
    let generations: i64 = records.iter().map(|record| i64::from(record.generation)).sum();
    assert_eq!(tasks.retried, generations);
    let calls: u64 = records.iter().map(|record| record.spent.calls).sum();
    assert_eq!(statistics.slm.calls, calls as i64, "every call is charged to its task and counted once");
    let saved: i64 = records
        .iter()
        .filter_map(|record| match &record.state {
            State::Completed(answer) => Some(crate::lifecycle::saved_micro_usd(answer, record.spent)),
            _ => None,
        })
        .sum();
    assert_eq!(statistics.saved_micro_usd, saved);
}
