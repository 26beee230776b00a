//! What every broker promises, as a suite that any of them can be put through.
//!
//! [`suite`] asks for everything, exactly; [`suite_over_shards`] for all but one order of all tasks. [`suite_under_faults`] asks for what must hold behind a bad line too, where
//! replies are lost after a call took effect, as [`super::faulty`] does. The cases are sentences, one file to a theme;
//! the helpers below are how they speak. No case waits: a [`Harness`] moves the broker's time.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{AdvanceError, Broker, Claim, Submission, advance, patiently, reap};
use crate::id::{AgentId, BatchId, LeaseToken, TaskId, TaskKey};
use crate::inference::{Finish, Provider, Usage};
use crate::lifecycle::{
    Answer, Attempt, DEFAULT_CAPABILITY, Evaluation, Event, Failure, Judgement, Record, Stage, State, Then,
    Timestamp,
};
use crate::stats::Counters;
use crate::task::TaskRequest;
use crate::taskmaster::route::{Decision, Route};
use crate::taskmaster::{Complexity, Verdict};

mod books;
mod fencing;
mod intake;
mod leases;
mod storm;
mod turns;

/// How many tasks may wait in the broker of a [`Harness`].
pub const BACKLOG: u64 = 100;

const LEASE: Duration = Duration::from_secs(3);
const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// A broker under test, and the world around it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The broker, empty at first, with a limit of [`BACKLOG`].
    fn broker(&self) -> &dyn Broker;

    /// Moves the broker's time on.
    fn pass(&self, time: Duration);

    /// Opens the store anew, as the next process does; false where it keeps nothing.
    async fn restart(&mut self) -> bool;

    /// Remembers what the store holds now; false where the harness cannot.
    async fn save(&mut self) -> bool;

    /// Opens the store as it was saved.
    async fn roll_back(&mut self);
}

/// Runs each case against a harness of its own.
macro_rules! run {
    ($make:expr; $($theme:ident: $($case:ident),+;)+) => {
        $($($theme::$case(&mut $make().await).await;)+)+
    };
}

/// Everything that a broker promises.
pub async fn suite<H: Harness>(make: impl AsyncFn() -> H) {
    suite_over_shards(&make).await;
    run! { make;
        intake: a_full_queue_refuses_what_is_new_and_still_knows_what_is_old, a_list_is_the_newest_first;
        turns: higher_classes_go_first_and_the_lowest_still_moves, tenants_of_a_class_take_turns,
            a_tenants_tasks_go_in_the_order_they_came, a_worker_is_given_only_what_it_can_do;
        leases: dead_letters_are_listed_apart_from_other_failures, all_leases_end_with_a_dead_owner;
        books: the_longest_wait_is_known, a_purge_takes_settled_records_only, an_acknowledged_task_survives_a_restart;
    }
}

/// What a broker promises where its tasks lie in several shards, each with an order and a limit of its own.
pub async fn suite_over_shards<H: Harness>(make: impl AsyncFn() -> H) {
    suite_under_faults(&make).await;
    run! { make;
        turns: nobody_is_given_more_than_the_limit, a_postponed_task_waits_for_its_moment,
            answers_go_to_evaluators_and_to_nobody_else, what_is_past_its_deadline_is_not_handed_out;
        leases: deliveries_are_bounded, good_order_is_no_delivery;
        books: settled_records_come_in_the_order_of_their_settlement, news_arrives,
            a_claim_that_begins_tells_of_both_steps;
        fencing: of_two_that_write_at_once_one_wins;
    }
}

/// What a broker promises even where every reply may be lost after its call took effect.
pub async fn suite_under_faults<H: Harness>(make: impl AsyncFn() -> H) {
    run! { make;
        intake: a_task_submitted_twice_is_one_task, another_payload_under_the_same_id_is_a_conflict,
            one_call_may_name_an_id_twice, batches_do_not_share_ids;
        leases: an_ended_lease_gives_the_task_to_another, a_renewed_lease_stays,
            a_task_that_waits_too_long_expires, a_timeout_runs_from_the_first_claim,
            a_waiting_task_is_cancelled_at_once, a_running_task_is_cancelled_under_its_worker,
            only_a_failed_task_is_retried_and_each_retry_is_a_generation;
        fencing: a_zombie_of_the_same_worker_is_refused, a_zombie_is_refused_after_its_successor_finished,
            a_zombie_is_refused_by_a_store_that_was_rolled_back, a_repeated_commit_is_done_once,
            a_late_repeat_is_known_after_others_have_written, a_stale_record_is_loaded_again,
            an_unknown_task_is_gone;
        books: every_accepted_task_is_completed_failed_or_cancelled, agents_are_forgotten_when_they_fall_silent,
            the_last_word_on_an_answer_counts, a_document_is_written_over_the_version_before_it,
            an_experiment_counts_each_task_of_an_arm_once;
        storm: nothing_is_lost_and_nothing_settled_twice;
    }
}

/// A call, repeated for as long as it takes.
async fn surely<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, super::Error>>,
{
    patiently(call).await.expect("the store answers one of several calls")
}

/// A task as it is submitted, with these fields instead of the usual ones.
async fn task(harness: &impl Harness, batch: Option<BatchId>, fields: Value) -> Record {
    let mut request = json!({"task_type": "llm_inference", "description": "add two and two"});
    let merged = request.as_object_mut().zip(fields.as_object());
    let (request_fields, fields) = merged.expect("fields are an object");
    request_fields.extend(fields.clone());
    let request =
        TaskRequest::parse(request.to_string().as_bytes()).expect("a case submits what makes sense");
    let now = surely(|| harness.broker().now()).await;
    record(batch, request, now)
}

/// This request, classified as simple.
pub(crate) fn record(batch: Option<BatchId>, request: TaskRequest, now: Timestamp) -> Record {
    let id = request.task_id.clone().unwrap_or_else(TaskId::generate);
    let verdict = Verdict {
        complexity: Complexity::Simple,
        score: 0.25,
        confidence: 0.5,
        kind: None,
        reasons: vec!["short".to_owned()],
    };
    let decision = Decision { route: Route::Slm, reason: "simple".to_owned() };
    Record::new(TaskKey { batch, id }, request, verdict, decision, now)
}

async fn submit(harness: &impl Harness, records: Vec<Record>) -> Vec<Submission> {
    surely(|| harness.broker().submit(records.clone())).await
}

/// Submits tasks with these fields, all of which are new.
async fn given(harness: &impl Harness, tasks: impl IntoIterator<Item = Value>) -> Vec<TaskKey> {
    let mut records = Vec::new();
    for fields in tasks {
        records.push(task(harness, None, fields).await);
    }
    let keys = records.iter().map(|record| record.key.clone()).collect();
    submit(harness, records).await;
    keys
}

fn holder(name: &str) -> AgentId {
    name.parse().expect("a case names its agents in ASCII")
}

fn wants(name: &str, stage: Stage, limit: usize) -> Claim {
    Claim {
        stage,
        holder: holder(name),
        capabilities: vec![DEFAULT_CAPABILITY.to_owned()],
        limit,
        lease: LEASE,
        begins: false,
    }
}

/// The ids that one claim is given, in order.
async fn claimed(harness: &impl Harness, claim: &Claim) -> Vec<String> {
    let records = harness.broker().claim(claim).await.expect("claims of the exact suite succeed");
    records.into_iter().map(|record| record.key.id.into()).collect()
}

/// The one task that waits at this stage, claimed. Where a claim's reply is lost, the lease must end first.
async fn claim_one(harness: &impl Harness, name: &str, stage: Stage) -> Record {
    for _ in 0..100 {
        if let Ok(mut records) = harness.broker().claim(&wants(name, stage, 1)).await
            && let Some(record) = records.pop()
        {
            return record;
        }
        harness.pass(LEASE);
        reaped(harness).await;
    }
    panic!("nothing was there to claim");
}

fn token(record: &Record) -> LeaseToken {
    record.lease().expect("the record is leased").token
}

async fn get(harness: &impl Harness, key: &TaskKey) -> Record {
    surely(|| harness.broker().get(key)).await.expect("the task is known")
}

async fn send(harness: &impl Harness, record: &Record, event: Event) -> Result<Record, AdvanceError> {
    advance(harness.broker(), record.clone(), event).await
}

async fn done(harness: &impl Harness, record: &Record, event: Event) -> Record {
    send(harness, record, event).await.expect("the event fits the record")
}

async fn reaped(harness: &impl Harness) {
    // Under faults the next reaper takes up what this one could not.
    let _ = reap(harness.broker(), MAX_WAIT).await;
}

async fn counters(harness: &impl Harness) -> Counters {
    surely(|| harness.broker().counters()).await
}

pub(crate) fn answer(text: &str) -> Answer {
    Answer {
        text: text.to_owned(),
        json: None,
        tool_calls: Vec::new(),
        provider: Provider::Slm,
        model: "ghost-tiny".to_owned(),
        finish: Finish::Stop,
        confidence: None,
        llm_cost_micro_usd: 40,
    }
}

pub(crate) fn attempt() -> Attempt {
    Attempt {
        provider: Provider::Slm,
        model: "ghost-tiny".to_owned(),
        duration_ms: 7,
        usage: Usage { input_tokens: 20, output_tokens: 2, ..Usage::default() },
        cost_micro_usd: 3,
        failure: None,
    }
}

fn answered(record: &Record, text: &str, then: Then) -> Event {
    Event::Answer { token: token(record), answer: answer(text), attempts: vec![attempt()], then }
}

fn failed(record: &Record) -> Event {
    let failure = Failure::new("llm_unavailable", "no LLM is configured; set ANTHROPIC_API_KEY");
    Event::Fail { token: token(record), failure, attempts: vec![attempt()] }
}

fn judgement(is_valid: bool) -> Judgement {
    Judgement { is_valid, confidence: 0.75, evaluation: Evaluation::Full, findings: Vec::new() }
}

fn text(record: &Record) -> &str {
    match &record.state {
        State::Completed(answer) => &answer.text,
        other => panic!("not completed: {other:?}"),
    }
}

fn failure_code(record: &Record) -> &str {
    match &record.state {
        State::Failed(failure) => &failure.code,
        other => panic!("not failed: {other:?}"),
    }
}
