//! Who answers, what it costs, and what is heard of it.

use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::inference::scripted::{Reply, Script, Scripted};
use crate::taskmaster::{TaskMaster, Thresholds};

const SPECIALIST: &str = "model = 'tiny'\ncontext_tokens = 1024\nmax_input_bytes = 800\n\
    [kinds.json_field]\naccuracy = 0.98\ncoverage = 0.9\nmin_confidence = 0.6\n";

fn scripted(provider: Provider, script: Script) -> Arc<Scripted> {
    let model = if provider == Provider::Slm { "tiny" } else { "claude-sonnet-5-5" };
    Arc::new(Scripted::new(provider, model, script))
}

fn specialist(reply: impl Into<Reply>) -> Option<Slm> {
    let capability = Capability::parse(SPECIALIST).expect("a table");
    Some(Slm { backend: scripted(Provider::Slm, Script::always(reply)), capability })
}

fn generalist(script: Script) -> Option<Slm> {
    Some(Slm { backend: scripted(Provider::Slm, script), capability: Capability::general("phi") })
}

fn claude(script: Script) -> Option<Arc<dyn Backend>> {
    Some(scripted(Provider::Llm, script))
}

fn engine(slm: Option<Slm>, llm: Option<Arc<dyn Backend>>) -> Engine {
    Engine::build(Config::default(), slm, llm, Pricing::builtin())
}

fn job(route: Route) -> Job {
    let request = json!({"task_id": "t1", "task_type": "json_field", "description": "the name", "parameters": {"prompt": "{\"name\": \"Ann\"}"}});
    Job {
        request: TaskRequest::parse(request.to_string().as_bytes()).expect("a valid request"),
        kind: Some(Kind::JsonField),
        decision: Decision { route, reason: "a test".to_owned() },
        arm: None,
        critique: Vec::new(),
        previous: None,
        timeout: Duration::from_secs(300),
        cancel: CancellationToken::new(),
    }
}

fn overloaded(retry_after: Option<Duration>) -> Error {
    Error::Overloaded { provider: "claude".to_owned(), retry_after }
}

/// The text, the provider, and the codes of the failed attempts.
fn told(outcome: &Outcome) -> (String, Vec<String>) {
    let codes = |attempts: &[Attempt]| {
        attempts.iter().map(|a| a.failure.as_ref().map_or("ok".to_owned(), |f| f.code.clone())).collect()
    };
    match outcome {
        Outcome::Answered { answer, attempts } => {
            (format!("{} {}", answer.provider.name(), answer.text), codes(attempts))
        }
        Outcome::Postponed { attempts, delay } => (format!("postponed {delay:?}"), codes(attempts)),
        Outcome::Failed { failure, attempts } => (format!("failed {}", failure.code), codes(attempts)),
        Outcome::Cancelled { attempts } => ("cancelled".to_owned(), codes(attempts)),
    }
}

async fn infer(engine: &Engine, job: Job) -> (String, Vec<String>) {
    told(&engine.infer(job, None).await)
}

fn is(text: &str, codes: &[&str]) -> (String, Vec<String>) {
    (text.to_owned(), codes.iter().map(|code| (*code).to_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn a_sure_slm_answers_and_what_it_saved_is_counted() {
    let engine = engine(specialist(Reply::text("Ann").confident(0.9)), claude(Script::always("never asked")));
    let Outcome::Answered { answer, attempts } = engine.infer(job(Route::Slm), None).await else {
        panic!("an answer")
    };
    assert_eq!((answer.text.as_str(), answer.provider), ("Ann", Provider::Slm));
    assert!(answer.confidence.is_some_and(|c| (c - 0.9).abs() < 1e-3));
    // Four words were read and one written; the text would have been at most 6 and 1 tokens of an LLM.
    assert_eq!(answer.llm_cost_micro_usd, 4 * 2 + 10);
    assert_eq!(attempts.iter().map(|a| a.cost_micro_usd).sum::<u64>(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_slm_that_is_not_sure_passes_is_cut_off_or_fails_has_not_answered() {
    for (reply, code) in [
        (Reply::text("Ann").confident(0.5), "slm_unsure"),
        (Reply::text("Ann"), "slm_unsure"),
        (Reply::text("").confident(0.9), "slm_passed"),
        (Reply::text("An").confident(0.9).ending(Ok(Finish::Length)), "cut_off"),
        (Reply::error(Error::Engine("no".to_owned())), "engine_failed"),
    ] {
        let with_llm = engine(specialist(reply.clone()), claude(Script::always("Ann")));
        assert_eq!(infer(&with_llm, job(Route::Slm)).await, is("llm Ann", &[code, "ok"]));
        let alone = engine(specialist(reply.clone()), None);
        assert_eq!(infer(&alone, job(Route::Slm)).await, is("failed llm_unavailable", &[code]));
        let config = Config { fallback: false, ..Config::default() };
        let strict =
            Engine::build(config, specialist(reply), claude(Script::always("Ann")), Pricing::builtin());
        assert_eq!(infer(&strict, job(Route::Slm)).await, is(&format!("failed {code}"), &[code]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_model_that_came_later_answers_from_then_on() {
    let engine = engine(None, claude(Script::always("Ann of the LLM")));
    assert_eq!(engine.available().slm, None);
    assert_eq!(infer(&engine, job(Route::Slm)).await, is("llm Ann of the LLM", &["ok"]));
    engine.learn_of(specialist(Reply::text("Ann").confident(0.9)).expect("one"));
    assert!(engine.available().slm.is_some_and(|slm| slm.model == "tiny"));
    assert_eq!(infer(&engine, job(Route::Slm)).await, is("slm Ann", &["ok"]));
}

#[tokio::test(start_paused = true)]
async fn a_forced_slm_never_falls_back() {
    let engine = engine(specialist(Reply::text("Ann").confident(0.1)), claude(Script::always("Ann")));
    let mut forced = job(Route::Slm);
    forced.request.parameters.force_slm = true;
    assert_eq!(infer(&engine, forced.clone()).await, is("failed slm_unsure", &["slm_unsure"]));
    forced.kind = None;
    assert_eq!(infer(&engine, forced).await, is("failed slm_unable", &[]));
}

#[tokio::test(start_paused = true)]
async fn without_an_llm_the_failure_says_what_to_set_and_how_to_go_on() {
    let Outcome::Failed { failure, attempts } = engine(None, None).infer(job(Route::Llm), None).await else {
        panic!("a failure")
    };
    assert_eq!((failure.code.as_str(), attempts.len()), ("llm_unavailable", 0));
    assert!(failure.message.contains("ANTHROPIC_API_KEY") && failure.message.contains("`ghost retry t1`"));
}

#[tokio::test(start_paused = true)]
async fn llm_only_and_slm_only_swarms_answer() {
    assert_eq!(
        infer(&engine(None, claude(Script::always("Ann"))), job(Route::Slm)).await,
        is("llm Ann", &["ok"])
    );
    let alone = engine(generalist(Script::always("Ann")), None);
    assert_eq!(infer(&alone, job(Route::Slm)).await, is("slm Ann", &["ok"]));
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_asked_again_and_its_wait_is_kept() {
    let second = Duration::from_secs(1);
    let script = Script::steps([Reply::error(overloaded(Some(second))), Reply::text("Ann")]);
    let started = tokio::time::Instant::now();
    assert_eq!(
        infer(&engine(None, claude(script)), job(Route::Llm)).await,
        is("llm Ann", &["overloaded", "ok"])
    );
    assert_eq!(started.elapsed(), second);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_stays_busy_puts_the_task_off() {
    let minute = Duration::from_secs(60);
    let long = engine(None, claude(Script::always(overloaded(Some(minute)))));
    assert_eq!(infer(&long, job(Route::Llm)).await, is("postponed 60s", &["overloaded"]));
    let started = tokio::time::Instant::now();
    let stays = engine(None, claude(Script::always(overloaded(None))));
    assert_eq!(infer(&stays, job(Route::Llm)).await, is("postponed 5s", &["overloaded"; 4]));
    assert!(started.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_keeps_failing_is_left_alone() {
    let broken = Error::Server { provider: "claude".to_owned(), status: 500, message: "no".to_owned() };
    let engine = engine(None, claude(Script::always(broken)));
    assert_eq!(infer(&engine, job(Route::Llm)).await.1.len(), 4);
    assert_eq!(infer(&engine, job(Route::Llm)).await.1.len(), 1, "the fifth failure opens the breaker");
    let (postponed, calls) = infer(&engine, job(Route::Llm)).await;
    assert!(postponed.starts_with("postponed") && calls.is_empty(), "{postponed}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_succeed_is_asked_once() {
    let provider = || "claude".to_owned();
    for (error, code) in [
        (Error::ContextTooLong { needed: 9, limit: 1 }, "context_too_long"),
        (Error::ContentFilter { provider: provider(), message: "no".to_owned() }, "content_filter"),
        (Error::Authentication { provider: provider(), message: "no".to_owned() }, "authentication_failed"),
        (Error::InvalidRequest { provider: provider(), message: "no".to_owned() }, "invalid_request"),
    ] {
        let engine = engine(None, claude(Script::always(error)));
        assert_eq!(infer(&engine, job(Route::Llm)).await, is(&format!("failed {code}"), &[code]));
    }
    let declined = Script::always(Reply::text("").ending(Ok(Finish::Refusal)));
    assert_eq!(
        infer(&engine(None, claude(declined)), job(Route::Llm)).await,
        is("failed content_filter", &["content_filter"])
    );
}

#[tokio::test(start_paused = true)]
async fn a_content_filter_is_never_routed_around() {
    let filtered = Error::ContentFilter { provider: "phi".to_owned(), message: "no".to_owned() };
    let engine = engine(generalist(Script::always(filtered)), claude(Script::always("Ann")));
    assert_eq!(infer(&engine, job(Route::Slm)).await, is("failed content_filter", &["content_filter"]));
}

#[tokio::test(start_paused = true)]
async fn an_llm_that_was_paid_for_nothing_has_not_answered() {
    let thought = Reply::text("").ending(Ok(Finish::Length));
    let engine = engine(None, claude(Script::always(thought)));
    assert_eq!(infer(&engine, job(Route::Llm)).await, is("failed cut_off", &["cut_off"]));
    let engine = self::engine(None, claude(Script::always(Reply::text("  "))));
    assert_eq!(infer(&engine, job(Route::Llm)).await, is("failed empty", &["empty"]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_given_up_when_the_task_has_no_time_left() {
    let engine = engine(None, claude(Script::always(Reply::text("Ann").after(Duration::from_secs(900)))));
    let started = tokio::time::Instant::now();
    assert_eq!(infer(&engine, job(Route::Llm)).await, is("postponed 5s", &["timeout"]));
    assert_eq!(started.elapsed(), Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_ends_at_once() {
    let engine = engine(None, claude(Script::always(Reply::text("Ann").after(Duration::from_secs(60)))));
    let job = job(Route::Llm);
    let cancel = job.cancel.clone();
    let started = tokio::time::Instant::now();
    let (outcome, ()) = tokio::join!(engine.infer(job, None), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    assert_eq!(told(&outcome), is("cancelled", &["cancelled"]));
    assert_eq!(started.elapsed(), Duration::from_secs(1));
}

async fn heard(engine: &Engine, job: Job) -> String {
    let (deltas, mut heard) = mpsc::channel(64);
    engine.infer(job, Some(deltas)).await;
    let mut text = String::new();
    while let Some(part) = heard.recv().await {
        text.push_str(&part);
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_is_dropped_is_never_heard() {
    let unsure =
        engine(specialist(Reply::text("Bob was it").confident(0.2)), claude(Script::always("Ann it is")));
    assert_eq!(heard(&unsure, job(Route::Slm)).await, "Ann it is");
    let sure = engine(specialist(Reply::text("Ann it is").confident(0.9)), None);
    assert_eq!(heard(&sure, job(Route::Slm)).await, "Ann it is");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_broke_off_is_heard_whole_and_once() {
    let broken = Error::Connection { provider: "claude".to_owned(), message: "reset".to_owned() };
    let script = Script::steps([Reply::text("one two ").ending(Err(broken)), Reply::text("one two three")]);
    assert_eq!(heard(&engine(None, claude(script)), job(Route::Llm)).await, "one two three");
}

#[tokio::test(start_paused = true)]
async fn a_revision_carries_the_draft_and_its_critique_to_the_llm() {
    let llm = scripted(Provider::Llm, Script::always("4"));
    let engine = engine(None, Some(llm.clone()));
    let finding = Finding {
        kind: "arithmetic".to_owned(),
        span: None,
        evidence: "“2 + 2 = 5” is wrong".to_owned(),
        suggested_edit: None,
        severity: crate::lifecycle::Severity::Reject,
    };
    let previous = Some("2 + 2 = 5".to_owned());
    engine.infer(Job { previous, critique: vec![finding], ..job(Route::Llm) }, None).await;
    let request = llm.requests().pop().expect("it was asked");
    assert_eq!(request.messages.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn json_is_parsed_where_the_task_asks_for_it() {
    let mut job = job(Route::Llm);
    job.request.parameters.schema = Some(json!({"type": "object"}));
    let fenced = engine(None, claude(Script::always("```json\n{\"a\": 1}\n```")));
    let Outcome::Answered { answer, .. } = fenced.infer(job, None).await else { panic!("an answer") };
    assert_eq!(answer.json, Some(json!({"a": 1})));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_billed_by_the_model_that_answered_and_never_as_free() {
    let usage = Some(Usage { input_tokens: 1_000, output_tokens: 100, ..Usage::default() });
    let cost = async |model: &str, llm_model: &str| {
        let mut job = job(Route::Llm);
        job.request.parameters.model = Some(model.to_owned());
        let config = Config { llm_model: llm_model.to_owned(), ..Config::default() };
        let llm = claude(Script::always(Reply { usage, ..Reply::text("Ann") }));
        let engine = Engine::build(config, None, llm, Pricing::builtin());
        let Outcome::Answered { answer, attempts } = engine.infer(job, None).await else {
            panic!("an answer")
        };
        assert_eq!(attempts[0].model, model);
        (attempts[0].cost_micro_usd, answer.llm_cost_micro_usd)
    };
    assert_eq!(cost("claude-haiku-4-5", "claude-sonnet-5-5").await, (1_500, 3_000));
    assert_eq!(cost("nobody-knows-1", "claude-sonnet-5-5").await, (3_000, 3_000));
    let (bill, yardstick) = cost("nobody-knows-1", "nobody-knows-2").await;
    assert!(bill >= 6_000, "at least as dear as the dearest that we know");
    assert_eq!(yardstick, bill, "nothing is saved against an unknown price");
}

/// An engine whose local model says these things one after the other, and whose drafts are compared.
fn cascade(drafts: [&str; 3]) -> (Engine, Arc<Scripted>) {
    let slm = scripted(Provider::Slm, Script::steps(drafts));
    let check = DraftCheck { taskmaster: TaskMaster::new(Thresholds::default()), samples: 2 };
    let config = Config { drafts: Some(check), ..Config::default() };
    let local = Slm { backend: slm.clone(), capability: Capability::general("phi") };
    (Engine::build(config, Some(local), claude(Script::always("eight")), Pricing::builtin()), slm)
}

fn sum() -> Job {
    let request =
        TaskRequest::new("llm_inference", "Ann has 12 apples and gives away a third. How many are left?");
    Job { request, kind: None, ..job(Route::SlmThenLlm) }
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_others_agree_with_is_given_and_each_sample_is_noted() {
    let (engine, slm) = cascade(["8", "So 8 are left.", "The answer is 8."]);
    assert_eq!(infer(&engine, sum()).await, is("slm 8", &["ok", "ok", "ok"]));
    let seeds: Vec<_> = slm.requests().iter().map(|request| request.sampling.seed).collect();
    assert_eq!(seeds, [None, Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_others_contradict_goes_up() {
    let (engine, _) = cascade(["9", "8", "8"]);
    assert_eq!(infer(&engine, sum()).await, is("llm eight", &["drafts_disagree", "ok", "ok", "ok"]));
}

#[tokio::test(start_paused = true)]
async fn a_draft_is_not_compared_where_that_decides_nothing() {
    let essay = "Dear all,\nthank you for coming.\nYours, Ann";
    let (engine, slm) = cascade([essay, "never", "asked"]);
    assert_eq!(infer(&engine, sum()).await, is(&format!("slm {essay}"), &["ok"]));
    assert_eq!(slm.calls(), 1, "nothing in it can be compared");
    let (engine, slm) = cascade(["9", "8", "8"]);
    assert_eq!(
        infer(&engine, Job { decision: job(Route::Slm).decision, ..sum() }).await,
        is("slm 9", &["ok"])
    );
    assert_eq!(slm.calls(), 1, "the route is the SLM's");
}
