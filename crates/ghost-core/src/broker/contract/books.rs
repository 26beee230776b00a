//! Counting, telling, keeping and forgetting.

use serde_json::json;

use super::*;
use crate::broker::{Document, News, revise};
use crate::experiment::{Definition, Report, store};
use crate::feedback::{Feedback, Rating};
use crate::lifecycle::Refusal;
use crate::messages::{AgentInfo, AgentStatus, Role};
use crate::stats::Statistics;
use crate::task::Status;

const HOUR: Duration = Duration::from_secs(3600);

pub(super) async fn every_accepted_task_is_completed_failed_or_cancelled(harness: &mut impl Harness) {
    given(harness, [json!({"task_id": "completed"})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &record, answered(&record, "4", Then::Settle)).await;
    given(harness, [json!({"task_id": "failed"})]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &record, failed(&record)).await;
    let keys = given(harness, [json!({"task_id": "cancelled"})]).await;
    let record = get(harness, &keys[0]).await;
    done(harness, &record, Event::Cancel).await;
    let keys = given(harness, [json!({"task_id": "late", "timeout": 1})]).await;
    let claim = wants("vanishes", Stage::Infer, 1);
    surely(|| harness.broker().claim(&claim)).await;
    assert_eq!(get(harness, &keys[0]).await.status(), Status::Assigned, "whether or not the reply arrived");
    harness.pass(Duration::from_secs(1));
    reaped(harness).await;
    let counters = counters(harness).await;
    let settled = ["tasks.completed", "tasks.failed", "tasks.cancelled"].map(|name| counters[name]);
    assert_eq!((counters["tasks.submitted"], settled), (4, [1, 2, 1]));
    let tally = surely(|| harness.broker().tally(None)).await;
    assert_eq!(tally, [(Status::Completed, 1), (Status::Failed, 2), (Status::Cancelled, 1)]);
}

/// Submits a task, claims it and ends it: the batch's newest settlement.
async fn settle(
    harness: &impl Harness,
    batch: Option<BatchId>,
    id: &str,
    end: fn(&Record) -> Event,
) -> Record {
    let record = task(harness, batch, json!({"task_id": id})).await;
    submit(harness, vec![record]).await;
    let record = claim_one(harness, "w", Stage::Infer).await;
    done(harness, &record, end(&record)).await
}

fn right(record: &Record) -> Event {
    answered(record, "4", Then::Settle)
}

pub(super) async fn settled_records_come_in_the_order_of_their_settlement(harness: &mut impl Harness) {
    let batch = BatchId::generate();
    let other = settle(harness, Some(BatchId::generate()), "c", right).await;
    let c = settle(harness, Some(batch), "c", failed).await;
    let a = settle(harness, Some(batch), "a", right).await;
    let b = settle(harness, Some(batch), "b", right).await;
    let waiting = task(harness, Some(batch), json!({"task_id": "waiting"})).await;
    submit(harness, vec![waiting]).await;
    let after = async |cursor, limit| surely(|| harness.broker().settled(batch, cursor, limit)).await;
    let first = after(0, 2).await;
    assert_eq!(first.iter().map(|(_, record)| record).collect::<Vec<_>>(), [&c, &a]);
    let rest = after(first[1].0, 2).await;
    assert_eq!(rest.iter().map(|(_, record)| record).collect::<Vec<_>>(), [&b]);
    let end = rest[0].0;
    assert_eq!(after(end, 2).await, []);
    done(harness, &a, Event::Charge(vec![attempt()])).await;
    assert_eq!(after(end, 2).await, [], "a late bill is no new settlement");
    let retried = done(harness, &c, Event::Retry(c.verdict.clone(), c.decision.clone())).await;
    assert_eq!(after(0, 9).await.len(), 2);
    let record = done(harness, &retried, Event::Cancel).await;
    assert_eq!(after(end, 2).await[0].1, record, "settled anew, it comes anew");
    assert_eq!(get(harness, &other.key).await, other);
}

pub(super) async fn the_longest_wait_is_known(harness: &mut impl Harness) {
    const SECOND: Duration = Duration::from_secs(1);
    let oldest = async |harness: &dyn Harness| surely(|| harness.broker().oldest()).await;
    let begin = surely(|| harness.broker().now()).await;
    assert_eq!(oldest(harness).await, None, "nothing waits");
    for id in ["first", "second"] {
        given(harness, [json!({"task_id": id})]).await;
        harness.pass(SECOND);
    }
    assert_eq!(oldest(harness).await, Some(begin));
    let first = claim_one(harness, "w", Stage::Infer).await;
    assert_eq!(oldest(harness).await, Some(begin.plus(SECOND)), "what a worker has does not wait");
    let delay = Duration::from_secs(60);
    let first =
        done(harness, &first, Event::Postpone { token: token(&first), attempts: vec![], delay }).await;
    harness.pass(SECOND);
    let second = claim_one(harness, "w", Stage::Infer).await;
    assert_eq!(oldest(harness).await, Some(first.queued_at), "what is postponed waits");
    done(harness, &first, Event::Cancel).await;
    assert_eq!(oldest(harness).await, None);
    let answered = done(harness, &second, answered(&second, "4", Then::Evaluate)).await;
    assert_eq!(oldest(harness).await, Some(answered.queued_at), "an answer waits for its evaluator");
}

pub(super) async fn a_purge_takes_settled_records_only(harness: &mut impl Harness) {
    let old = settle(harness, None, "old", right).await;
    harness.pass(HOUR);
    let mut kept = Vec::new();
    for id in ["1", "2", "3"] {
        kept.push(settle(harness, None, id, right).await);
    }
    given(harness, [json!({"task_id": "waiting"})]).await;
    let broker = harness.broker();
    assert_eq!(broker.purge(None, None).await, Ok(0));
    assert_eq!(broker.purge(Some(HOUR / 2), None).await, Ok(1));
    assert_eq!(broker.get(&old.key).await, Ok(None));
    assert_eq!(broker.purge(None, Some(2)).await, Ok(1), "the surplus, oldest first");
    assert_eq!(broker.get(&kept[0].key).await, Ok(None));
    assert_eq!(broker.purge(None, Some(2)).await, Ok(0));
    assert_eq!(broker.get(&kept[1].key).await, Ok(Some(kept[1].clone())));
    assert_eq!(broker.purge(None, Some(0)).await, Ok(2));
    assert_eq!(broker.tally(None).await, Ok(vec![(Status::Pending, 1)]));
    assert_eq!(counters(harness).await["tasks.completed"], 4, "what was counted stays counted");
    settle(harness, None, "old", right).await;
}

pub(super) async fn the_last_word_on_an_answer_counts(harness: &mut impl Harness) {
    let keys = given(harness, [json!({"task_id": "a"})]).await;
    let waiting = get(harness, &keys[0]).await;
    let early = send(harness, &waiting, Event::Rate(Feedback::of(Rating::GOOD))).await;
    assert_eq!(early, Err(AdvanceError::Refused(Refusal::NoAnswer(Status::Pending))));
    let record = claim_one(harness, "w", Stage::Infer).await;
    let answered = done(harness, &record, right(&record)).await;
    let second = Feedback {
        rating: Rating::new(0.25).expect("a rating"),
        comment: Some("naïve? 🦀\n\"yes\"".to_owned()),
        correction: Some("5".to_owned()),
    };
    done(harness, &answered, Event::Rate(Feedback::of(Rating::GOOD))).await;
    for _ in 0..2 {
        // The record is an old one, as that of somebody who looked before the first word.
        done(harness, &answered, Event::Rate(second.clone())).await;
        let rated = get(harness, &answered.key).await;
        assert_eq!((rated.feedback.as_ref(), &rated.state), (Some(&second), &answered.state));
        let ratings = Statistics::from(&counters(harness).await).feedback;
        assert_eq!(
            (ratings.ratings, ratings.mean),
            (1, Some(0.25)),
            "it is one rating, however often it changes"
        );
    }
}

pub(super) async fn a_document_is_written_over_the_version_before_it(harness: &mut impl Harness) {
    let put = async |version, content: &[u8]| {
        let document = Document { version, content: content.to_vec() };
        surely(|| harness.broker().put_document("a", &document)).await
    };
    let read = async |name: &'static str| surely(|| harness.broker().document(name)).await;
    assert_eq!(read("a").await, None);
    assert!(!put(2, b"first").await, "there is no version before it");
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n 7\n").collect();
    assert!(put(1, &bytes).await);
    assert!(put(1, &bytes).await, "a repeat is done");
    assert!(!put(1, b"other").await, "another one was quicker");
    assert!(put(2, b"").await);
    assert_eq!(read("a").await, Some(Document { version: 2, content: Vec::new() }));
    assert_eq!(read("b").await, None, "documents do not share a name");
    for _ in 0..3 {
        let longer = |content: Option<&[u8]>| {
            let content = [content.unwrap_or_default(), b"x"].concat();
            Ok::<_, crate::broker::Error>((Some(content), ()))
        };
        // Behind a bad line, whether it took effect may be unknown, as with every call.
        let _ = revise(harness.broker(), "c", longer).await;
    }
    let held = read("c").await.expect("one of three arrives");
    assert_eq!(held.content.len() as u64, held.version, "no change is lost and none made twice");
}

pub(super) async fn an_experiment_counts_each_task_of_an_arm_once(harness: &mut impl Harness) {
    let definition = json!({"name": "e", "arms": [{"name": "a"}, {"name": "b", "model": "m"}]});
    let definition = Definition::parse(definition.to_string().as_bytes()).expect("a definition");
    let started = async || loop {
        // Whoever does not hear that it began starts it again.
        if let Ok(started) = store::start(harness.broker(), definition.clone()).await {
            return started.0;
        }
    };
    let experiment = started().await;
    assert_eq!(started().await, experiment, "it is one, however often it is started");
    let report = async || Report::of(&experiment, &counters(harness).await);
    let mut expected = [0; 2];
    for n in 0..12 {
        let mut record = task(harness, None, json!({"task_id": n.to_string()})).await;
        record.assignment = experiment.assign(&record.key, &record.request);
        let arm = record.assignment.as_ref().expect("an arm").arm.name.clone();
        expected[usize::from(arm == "b")] += 1;
        submit(harness, vec![record.clone()]).await;
        let claimed = claim_one(harness, "w", Stage::Infer).await;
        assert_eq!(claimed.assignment, record.assignment);
        let event = if n % 3 == 0 { failed(&claimed) } else { right(&claimed) };
        let settled = done(harness, &claimed, event).await;
        assert_eq!(get(harness, &settled.key).await.assignment, record.assignment);
        if n % 3 > 0 {
            done(harness, &settled, Event::Rate(Feedback::of(Rating::BAD))).await;
            done(harness, &settled, Event::Rate(Feedback::of(Rating::GOOD))).await;
        }
        done(harness, &settled, Event::Charge(vec![attempt()])).await;
    }
    let arms = report().await.arms;
    assert_eq!([arms[0].tasks, arms[1].tasks], expected);
    let sum = |of: fn(&crate::experiment::report::Figures) -> i64| arms.iter().map(of).sum::<i64>();
    assert_eq!((sum(|arm| arm.completed), sum(|arm| arm.failed), sum(|arm| arm.slm_answers)), (8, 4, 8));
    assert_eq!(sum(|arm| arm.cost_micro_usd), 24 * 3, "late bills too");
    let rated: u64 = arms.iter().map(|arm| arm.rating.n).sum();
    let means: Vec<f64> = arms.iter().filter_map(|arm| arm.rating.mean).collect();
    assert_eq!((rated, means.iter().all(|mean| *mean == 1.0)), (8, true), "the last word counts");

    let failed_one = get(harness, &TaskKey::lone("0".parse().expect("an id"))).await;
    let retry = Event::Retry(failed_one.verdict.clone(), failed_one.decision.clone());
    let again = done(harness, &failed_one, retry).await;
    assert_eq!(
        report().await.arms.iter().map(|arm| arm.tasks).sum::<i64>(),
        11,
        "taken up again, it is open"
    );
    done(harness, &again, Event::Cancel).await;
    let arms = report().await.arms;
    assert_eq!(
        arms.iter().map(|arm| (arm.failed, arm.cancelled)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (3, 1)
    );
}

pub(super) async fn agents_are_forgotten_when_they_fall_silent(harness: &mut impl Harness) {
    let agent = |name: &str, status| AgentInfo {
        agent_id: holder(name),
        role: Role::Worker,
        status,
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        current_load: 0,
        max_load: 4,
        metadata: serde_json::Map::new(),
    };
    let announce = async |agent: &AgentInfo| surely(|| harness.broker().announce(agent, LEASE)).await;
    let alive = async || surely(|| harness.broker().agents()).await;
    let (one, two) = (agent("one", AgentStatus::Idle), agent("two", AgentStatus::Idle));
    announce(&one).await;
    announce(&two).await;
    assert_eq!(alive().await, [one.clone(), two]);
    harness.pass(LEASE / 2);
    let busy = agent("one", AgentStatus::Busy);
    announce(&busy).await;
    harness.pass(LEASE / 2);
    assert_eq!(alive().await, [busy]);
    surely(|| harness.broker().withdraw(&one.agent_id)).await;
    assert_eq!(alive().await, []);
}

pub(super) async fn news_arrives(harness: &mut impl Harness) {
    let mut subscription = harness.broker().subscribe().await.expect("one can listen");
    let mut news = async || subscription.next().await.expect("nothing is missed");
    let keys = given(harness, [json!({"task_id": "a"})]).await;
    let changed = |status| News::Changed(keys[0].clone(), status);
    assert_eq!(news().await, changed(Status::Pending));
    assert_eq!(news().await, News::Work(Stage::Infer));
    let record = claim_one(harness, "w", Stage::Infer).await;
    assert_eq!(news().await, changed(Status::Assigned));
    let record = done(harness, &record, Event::Start(token(&record))).await;
    assert_eq!(news().await, changed(Status::InProgress));
    let delta = News::Delta(record.key.clone(), "4".to_owned());
    harness.broker().publish(delta.clone()).await.expect("one can tell");
    assert_eq!(news().await, delta);
    done(harness, &record, answered(&record, "4", Then::Evaluate)).await;
    assert_eq!(news().await, News::Work(Stage::Evaluate));
    let record = claim_one(harness, "e", Stage::Evaluate).await;
    let accept = Event::Judge {
        token: token(&record),
        judgement: judgement(true),
        next: crate::lifecycle::Next::Accept,
    };
    done(harness, &record, accept).await;
    assert_eq!(news().await, changed(Status::Completed));
}

pub(super) async fn a_claim_that_begins_tells_of_both_steps(harness: &mut impl Harness) {
    let mut subscription = harness.broker().subscribe().await.expect("one can listen");
    let keys = given(harness, [json!({"task_id": "a"}), json!({"task_id": "b"})]).await;
    let claim = Claim { begins: true, ..wants("w", Stage::Infer, 2) };
    let records = harness.broker().claim(&claim).await.expect("claims of the exact suite succeed");
    assert_eq!(records.iter().map(Record::status).collect::<Vec<_>>(), [Status::InProgress; 2]);
    assert_eq!(get(harness, &keys[0]).await, records[0], "whoever reads it sees the same");
    let mut steps = Vec::new();
    while steps.len() < 4 {
        match subscription.next().await.expect("nothing is missed") {
            News::Changed(key, status) if status != Status::Pending => steps.push((key, status)),
            _ => {}
        }
    }
    for key in &keys {
        let of_one: Vec<_> =
            steps.iter().filter(|(told, _)| told == key).map(|(_, status)| *status).collect();
        assert_eq!(of_one, [Status::Assigned, Status::InProgress]);
    }
    let (record, answer) = (&records[0], answered(&records[0], "4", Then::Settle));
    assert_eq!(done(harness, record, answer).await.status(), Status::Completed);
}

pub(super) async fn an_acknowledged_task_survives_a_restart(harness: &mut impl Harness) {
    let settled = settle(harness, None, "settled", right).await;
    given(harness, ["held", "waiting"].map(|id| json!({"task_id": id, "description": "naïve? 🦀 \"yes\""})))
        .await;
    let held = claim_one(harness, "w", Stage::Infer).await;
    let before = counters(harness).await;
    if !harness.restart().await {
        return;
    }
    assert_eq!(get(harness, &settled.key).await, settled);
    assert_eq!(get(harness, &held.key).await, held);
    assert_eq!(counters(harness).await, before);
    let record = done(harness, &held, answered(&held, "4", Then::Settle)).await;
    assert_eq!(text(&record), "4", "a lease outlives the store's process");
    assert_eq!(claim_one(harness, "w", Stage::Infer).await.key.id.as_str(), "waiting");
}
