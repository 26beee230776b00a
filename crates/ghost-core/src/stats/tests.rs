//! Counters go in, their meaning comes out.

use serde_json::json;

use super::*;
use crate::id::TaskKey;
use crate::inference::{Finish, Usage};
use crate::lifecycle::{Answer, Failure, Spent, Timestamp};
use crate::task::TaskRequest;
use crate::taskmaster::route::{Decision, Route};
use crate::taskmaster::{Complexity, Verdict};

fn counted(counts: impl IntoIterator<Item = Count>) -> Statistics {
    let mut counters = Counters::new();
    for (name, n) in counts.into_iter().flat_map(|Count(counts)| counts) {
        *counters.entry(name).or_default() += n;
    }
    Statistics::from(&counters)
}

fn attempt(provider: Provider, duration_ms: u64, cost_micro_usd: u64) -> Attempt {
    let usage = Usage { input_tokens: 10, output_tokens: 3, cache_read_tokens: 5, ..Usage::default() };
    Attempt { provider, model: "m".to_owned(), duration_ms, usage, cost_micro_usd, failure: None }
}

/// A record that is settled after a second, having cost this much.
fn settled_record(state: State, cost_micro_usd: u64) -> Record {
    let request = json!({"task_type": "llm_inference", "description": "add two and two"});
    let request = TaskRequest::parse(request.to_string().as_bytes()).expect("a request");
    let key = TaskKey::lone("a".parse().expect("an id"));
    let verdict =
        Verdict { complexity: Complexity::Simple, score: 0.25, confidence: 0.5, kind: None, reasons: vec![] };
    let decision = Decision { route: Route::Slm, reason: "simple".to_owned() };
    Record {
        state,
        first_claimed_at: Some(Timestamp(1_000)),
        settled_at: Some(Timestamp(2_000)),
        spent: Spent { cost_micro_usd, ..Spent::default() },
        ..Record::new(key, request, verdict, decision, Timestamp(0))
    }
}

fn answered(provider: Provider, llm_cost_micro_usd: u64) -> State {
    State::Completed(Answer {
        text: "4".to_owned(),
        json: None,
        tool_calls: Vec::new(),
        provider,
        model: "m".to_owned(),
        finish: Finish::Stop,
        confidence: None,
        llm_cost_micro_usd,
    })
}

#[test]
fn counters_read_back_as_what_happened() {
    let failed =
        Attempt { failure: Some(Failure::new("overloaded", "busy")), ..attempt(Provider::Llm, 20, 0) };
    let failure = State::Failed(Failure::new("timeout", "too slow"));
    let statistics = counted([
        submitted(),
        submitted(),
        submitted(),
        called(&attempt(Provider::Slm, 10, 0)),
        settled(&settled_record(answered(Provider::Slm, 90), 0)),
        called(&failed),
        called(&attempt(Provider::Llm, 30, 60)),
        settled(&settled_record(answered(Provider::Llm, 60), 60)),
        settled(&settled_record(failure, 0)),
        retried(),
        redelivered(),
    ]);
    let tasks = Tasks { submitted: 3, completed: 2, failed: 1, cancelled: 0, retried: 1, redelivered: 1 };
    assert_eq!(statistics.tasks, tasks);
    let llm = statistics.llm;
    assert_eq!((llm.calls, llm.failures, llm.answers), (2, 1, 1));
    assert_eq!((llm.input_tokens, llm.output_tokens), (30, 6), "what was read from a cache was read too");
    assert_eq!(statistics.slm_share, Some(0.5));
    assert_eq!((statistics.cost_micro_usd, statistics.saved_micro_usd), (60, 90));
    assert_eq!(statistics.cost_per_task_micro_usd, Some(20.0));
}

#[test]
fn before_anything_happened_there_are_no_shares_and_no_percentiles() {
    let statistics = counted([]);
    assert_eq!((statistics.slm_share, statistics.cost_per_task_micro_usd), (None, None));
    assert_eq!(statistics.latency_ms, Latency { p50: None, p95: None, p99: None });
}

#[test]
fn a_task_is_dispatched_once_and_a_retry_does_not_tell_how_long_that_took() {
    let record = settled_record(answered(Provider::Slm, 90), 0);
    let retried = Record { generation: 1, first_claimed_at: Some(Timestamp(1_900)), ..record.clone() };
    let statistics = counted([settled(&record), settled(&retried)]);
    let p99 = statistics.dispatch_ms.p99.expect("one was dispatched");
    assert!(p99.abs_diff(1_000) <= 10, "{p99}");
    assert!(statistics.latency_ms.p50.expect("both ran") <= 101);
}

#[test]
fn percentiles_are_within_two_percent() {
    let statistics = counted((1..=1000).map(|ms| called(&attempt(Provider::Slm, ms, 0))));
    let latency = statistics.slm.latency_ms;
    for (measured, exact) in [(latency.p50, 500), (latency.p95, 950), (latency.p99, 990)] {
        let measured = measured.expect("there were calls");
        assert!(measured.abs_diff(exact) * 50 <= exact, "{measured} for {exact}");
    }
}

#[test]
fn times_beyond_the_histogram_count_at_its_ends() {
    let statistics = counted([0, u64::MAX].map(|ms| called(&attempt(Provider::Llm, ms, 0))));
    let latency = statistics.llm.latency_ms;
    assert_eq!(latency.p50, Some(1));
    assert!(latency.p99.expect("there were calls") >= 86_400_000 * 99 / 100);
}

#[test]
fn an_answer_that_cost_more_than_the_llm_at_once_saved_less_than_nothing() {
    let saved = |state, cost| counted([settled(&settled_record(state, cost))]).saved_micro_usd;
    assert_eq!(saved(answered(Provider::Slm, 90), 0), 90);
    assert_eq!(saved(answered(Provider::Llm, 90), 100), -10, "the SLM's tries came on top");
    assert_eq!(saved(State::Cancelled, 50), 0, "there is no answer to compare with");
    let late = counted([settled(&settled_record(answered(Provider::Slm, 90), 0)), spent_late(95)]);
    assert_eq!(late.saved_micro_usd, -5);
}

#[test]
fn a_rating_that_changes_is_still_one_rating() {
    let rating = |rating| Feedback::of(crate::feedback::Rating::new(rating).expect("a rating"));
    assert_eq!(counted([]).feedback, Ratings::default());
    let first = rated(None, &rating(1.0));
    let changed = rated(Some(&rating(1.0)), &rating(0.5));
    let of_another = rated(None, &rating(0.0));
    assert_eq!(counted([first, changed, of_another]).feedback, Ratings { ratings: 2, mean: Some(0.25) });
}
