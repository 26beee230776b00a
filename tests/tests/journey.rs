//! The way of a task, from submit to count, and what can befall it on the way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ghost_core::broker::faulty::Faults;
use ghost_core::broker::{Broker, News, Submission};
use ghost_core::inference::scripted::{Reply, Script, Scripted};
use ghost_core::inference::{Backend, Completion, Deltas, Error, Provider, Request};
use ghost_core::lifecycle::{Evaluation, Record, State};
use ghost_core::task::Status;
use ghost_core::taskmaster::route::Route;
use ghost_tests::swarm::{LLM, complex, simple};
use ghost_tests::{Line, TestSwarm};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

fn text(record: &Record) -> String {
    match &record.state {
        State::Completed(answer) => format!("{}: {}", answer.provider.name(), answer.text),
        State::Failed(failure) => format!("failed: {}", failure.code),
        other => format!("{other:?}"),
    }
}

fn sure(text: &str) -> Script {
    Script::always(Reply::text(text).confident(0.95))
}

fn with(mut task: Value, parameters: Value) -> Value {
    for (name, value) in parameters.as_object().expect("parameters") {
        task["parameters"][name] = value.clone();
    }
    task
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_task_is_submitted_classified_dispatched_inferred_evaluated_settled_and_counted() {
    let swarm = TestSwarm::in_memory().slm(sure("Ann")).llm(Script::always("never asked")).start().await;
    let mut news = swarm.line().subscribe().await.expect("a store that answers");
    let task = swarm.submit(simple()).await;
    let record = swarm.settled(&task).await;

    assert_eq!(text(&record), "slm: Ann");
    assert_eq!((record.decision.route, record.deliveries), (Route::Slm, 1));
    assert_eq!(
        record.judgements.iter().map(|j| (j.is_valid, j.evaluation)).collect::<Vec<_>>(),
        [(true, Evaluation::Full)]
    );
    assert_eq!(record.attempts.len(), 1);
    let mut statuses = Vec::new();
    while statuses.last() != Some(&Status::Completed) {
        if let Some(News::Changed(key, status)) = news.next().await
            && key == task
        {
            statuses.push(status);
        }
    }
    assert_eq!(statuses, [Status::Pending, Status::Assigned, Status::InProgress, Status::Completed]);
    let statistics = swarm.statistics().await;
    assert_eq!((statistics.tasks.submitted, statistics.tasks.completed), (1, 1));
    assert_eq!((statistics.slm_share, statistics.cost_micro_usd), (Some(1.0), 0));
    assert!(statistics.saved_micro_usd > 0);
    swarm.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_slm_that_stumbles_is_followed_by_the_llm() {
    let unsure = Script::always(Reply::text("Bob").confident(0.2));
    let swarm = TestSwarm::in_memory().slm(unsure).llm(Script::always("Ann")).start().await;
    let record = swarm.settled(&swarm.submit(simple()).await).await;
    assert_eq!(text(&record), "llm: Ann");
    let codes: Vec<_> = record.attempts.iter().map(|a| a.failure.as_ref().map(|f| f.code.as_str())).collect();
    assert_eq!(codes, [Some("slm_unsure"), None]);
    assert!(record.judgements.is_empty(), "the LLM's answer is judged only where that is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_needs_an_llm_waits_as_failed_until_there_is_one() {
    let swarm = TestSwarm::in_memory().slm(sure("Ann")).start().await;
    let essay = swarm.submit(complex()).await;
    assert_eq!(text(&swarm.settled(&essay).await), "failed: llm_unavailable");
    let store = swarm.stop().await;

    let swarm = TestSwarm::over(store).slm(sure("Ann")).llm(Script::always("An essay.")).start().await;
    swarm.handle.retry(&essay).await.expect("a failed task can be retried");
    let record = swarm.settled(&essay).await;
    assert_eq!((text(&record).as_str(), record.generation), ("llm: An essay.", 1));
    let statistics = swarm.statistics().await;
    assert_eq!((statistics.tasks.failed, statistics.tasks.completed), (1, 1));
}

/// Waits until this model is asked: a task begins with its claim, before that.
async fn asked(llm: &Scripted) {
    while llm.calls() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_worker_gives_its_task_back() {
    let slow_once = Script::steps([Reply::text("late").after(seconds(200))]).otherwise("An essay.");
    let llm = Arc::new(Scripted::new(Provider::Llm, LLM, slow_once));
    let mut swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    let task = swarm.submit(complex()).await;
    asked(&llm).await;
    swarm.workers[0].crash().await;
    swarm.add_worker();
    let record = swarm.settled(&task).await;
    assert_eq!((text(&record).as_str(), record.deliveries), ("llm: An essay.", 2));
    assert_eq!(swarm.statistics().await.tasks.redelivered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_outlives_many_leases() {
    let slow = Script::always(Reply::text("An essay.").after(seconds(250)));
    let swarm = TestSwarm::in_memory().llm(slow).start().await;
    let record = swarm.settled(&swarm.submit(complex()).await).await;
    assert_eq!((text(&record).as_str(), record.deliveries), ("llm: An essay.", 1));
}

#[tokio::test(start_paused = true)]
async fn the_same_task_twice_is_one_task_and_another_with_its_id_is_refused() {
    let llm = Arc::new(Scripted::new(Provider::Llm, LLM, Script::always("An essay.")));
    let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    let mut task = complex();
    task["task_id"] = json!("order 4711");
    let first = swarm.submit(task.clone()).await;
    swarm.settled(&first).await;
    assert_eq!(swarm.submit(task.clone()).await, first);
    task["description"] = json!("Something else");
    assert!(matches!(swarm.submit_all(vec![task]).await[..], [Submission::Conflict(_)]));
    assert_eq!(llm.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_cancelled_while_it_runs_makes_room_at_once() {
    let script = Script::steps([Reply::text("late").after(seconds(200))]).otherwise("An essay.");
    let llm = Arc::new(Scripted::new(Provider::Llm, LLM, script));
    let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).max_load(1).start().await;
    let first = swarm.submit(complex()).await;
    asked(&llm).await;
    let second = swarm.submit(complex()).await;
    let before = Instant::now();
    swarm.handle.cancel(&first).await.expect("it runs");
    assert_eq!(text(&swarm.settled(&second).await), "llm: An essay.");
    assert!(before.elapsed() < seconds(5), "{:?}", before.elapsed());
    let record = swarm.when(&first, |record| record.spent.calls == 1).await;
    assert_eq!(record.status(), Status::Cancelled, "what it cost is counted, and it stays cancelled");
}

/// A model that takes its worker's attempt down with it.
struct Poisonous;

#[async_trait]
impl Backend for Poisonous {
    fn provider(&self) -> Provider {
        Provider::Llm
    }

    fn model(&self) -> &str {
        "poisonous"
    }

    async fn generate(&self, _: Request, _: Option<Deltas>) -> Result<Completion, Error> {
        panic!("poison");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_kills_every_holder_is_given_up() {
    let swarm = TestSwarm::in_memory().llm_backend(Arc::new(Poisonous)).start().await;
    let mut task = complex();
    task["timeout"] = json!(3600);
    let record = swarm.settled(&swarm.submit(task).await).await;
    assert_eq!((text(&record).as_str(), record.deliveries), ("failed: deliveries_exhausted", 5));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fails_its_checks_goes_up() {
    let swarm = TestSwarm::in_memory().slm(sure("Bob")).llm(Script::always("Ann")).start().await;
    let record = swarm.settled(&swarm.submit(simple()).await).await;
    assert_eq!((text(&record).as_str(), record.decision.route), ("llm: Ann", Route::Llm));
    assert_eq!(record.judgements[0].findings[0].kind, "shape");
    assert_eq!(swarm.counters().await["evaluations.escalated"], 1);
}

#[tokio::test(start_paused = true)]
async fn without_an_llm_an_answer_that_fails_its_checks_says_what_is_missing() {
    let swarm = TestSwarm::in_memory().slm(sure("Bob")).start().await;
    let record = swarm.settled(&swarm.submit(simple()).await).await;
    assert_eq!(text(&record), "failed: llm_unavailable");
    let forced = swarm.submit(with(simple(), json!({"force_slm": true}))).await;
    assert_eq!(text(&swarm.settled(&forced).await), "failed: rejected");
}

#[tokio::test(start_paused = true)]
async fn a_critique_leads_to_a_better_answer() {
    let llm = Arc::new(Scripted::new(Provider::Llm, LLM, Script::steps(["2 + 2 = 5", "2 + 2 = 4"])));
    let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    let record = swarm.settled(&swarm.submit(with(complex(), json!({"evaluate": true}))).await).await;
    assert_eq!((text(&record).as_str(), record.revisions), ("llm: 2 + 2 = 4", 1));
    let asked = llm.requests().pop().expect("it was asked");
    assert_eq!(asked.messages[1].text, "2 + 2 = 5");
    assert!(asked.messages[2].text.contains("the result is 4"));
}

#[tokio::test(start_paused = true)]
async fn revisions_are_bounded_and_end_sooner_without_a_gain() {
    for (script, calls) in [
        (Script::steps(["2 + 2 = 5", "2 + 2 = 6", "2 + 2 = 7", "2 + 2 = 4"]), 3),
        (Script::always("2 + 2 = 5"), 2),
        (Script::always("I can't help with that."), 1),
    ] {
        let llm = Arc::new(Scripted::new(Provider::Llm, LLM, script));
        let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
        let record = swarm.settled(&swarm.submit(with(complex(), json!({"evaluate": true}))).await).await;
        assert_eq!((text(&record).as_str(), llm.calls()), ("failed: rejected", calls));
    }
}

#[tokio::test(start_paused = true)]
async fn a_swarm_may_have_one_model_only() {
    let swarm = TestSwarm::in_memory().llm(Script::always("Ann")).start().await;
    assert_eq!(text(&swarm.settled(&swarm.submit(simple()).await).await), "llm: Ann");
    let swarm = TestSwarm::in_memory().general_slm(sure("Ann")).start().await;
    assert_eq!(text(&swarm.settled(&swarm.submit(simple()).await).await), "slm: Ann");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_cut_off_cannot_settle_its_successors_task_and_its_bill_is_counted() {
    let usage = Reply::text("An essay.");
    let script = Script::steps([usage.clone().after(seconds(70)), usage.clone()]);
    let llm = Arc::new(Scripted::new(Provider::Llm, LLM, script));
    let mut swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    let task = swarm.submit(complex()).await;
    asked(&llm).await;
    swarm.workers[0].line.cut(true);
    swarm.add_worker();
    let record = swarm.settled(&task).await;
    assert_eq!((text(&record).as_str(), record.deliveries, record.spent.calls), ("llm: An essay.", 2, 1));
    swarm.workers[0].line.cut(false);
    let record = swarm.when(&task, |record| record.spent.calls == 2).await;
    assert_eq!((text(&record).as_str(), swarm.statistics().await.tasks.completed), ("llm: An essay.", 1));
}

/// A model that never comes to an end, and notes when it was called and when that was given up.
struct Endless(Arc<watch::Sender<Vec<Instant>>>);

/// Notes the time now and when it is dropped.
struct Note(Arc<watch::Sender<Vec<Instant>>>);

impl Note {
    fn of(times: &Arc<watch::Sender<Vec<Instant>>>) -> Self {
        times.send_modify(|times| times.push(Instant::now()));
        Self(times.clone())
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        self.0.send_modify(|times| times.push(Instant::now()));
    }
}

#[async_trait]
impl Backend for Endless {
    fn provider(&self) -> Provider {
        Provider::Llm
    }

    fn model(&self) -> &str {
        "endless"
    }

    async fn generate(&self, _: Request, _: Option<Deltas>) -> Result<Completion, Error> {
        let _note = Note::of(&self.0);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_store_says_nothing_any_more_stops_when_its_lease_ends() {
    let (times, mut told) = watch::channel(Vec::new());
    let swarm = TestSwarm::in_memory().llm_backend(Arc::new(Endless(Arc::new(times)))).start().await;
    swarm.submit(complex()).await;
    told.wait_for(|times| times.len() == 1).await.expect("the model lives");
    swarm.workers[0].line.silence(true);
    let times = told.wait_for(|times| times.len() == 2).await.expect("the model lives").clone();
    let took = times[1] - times[0];
    assert!(took <= seconds(30), "under a lease of 30 s it went on for {took:?}");
}

/// A worker with a lease of 30 s from the tenth second on, whose answer takes minutes and whose line fails meanwhile.
async fn held_through(fail: impl AsyncFn(&Line)) {
    let slow = Script::always(Reply::text("An essay.").after(seconds(250)));
    let llm = Arc::new(Scripted::new(Provider::Llm, LLM, slow));
    let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    // Leases are renewed 10, 20, 30 … s after the start.
    tokio::time::sleep(seconds(5)).await;
    let task = swarm.submit(complex()).await;
    swarm.begun(&task).await;
    tokio::time::sleep(seconds(7)).await;
    fail(&swarm.workers[0].line).await;
    let record = swarm.settled(&task).await;
    assert_eq!((text(&record).as_str(), record.deliveries, llm.calls()), ("llm: An essay.", 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlives_a_store_that_is_away_until_just_before_its_end() {
    held_through(async |line| {
        line.cut(true);
        tokio::time::sleep(seconds(27)).await;
        line.cut(false);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_reply_never_comes_is_tried_again_in_time() {
    held_through(async |line| {
        line.silence(true);
        tokio::time::sleep(seconds(10)).await;
        line.silence(false);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_while_the_store_is_briefly_away() {
    let llm = Arc::new(Scripted::new(
        Provider::Llm,
        LLM,
        Script::always(Reply::text("An essay.").after(seconds(5))),
    ));
    let swarm = TestSwarm::in_memory().llm_backend(llm.clone()).start().await;
    let task = swarm.submit(complex()).await;
    swarm.begun(&task).await;
    swarm.workers[0].line.cut(true);
    tokio::time::sleep(seconds(15)).await;
    swarm.workers[0].line.cut(false);
    let record = swarm.settled(&task).await;
    assert_eq!((text(&record).as_str(), record.deliveries, llm.calls()), ("llm: An essay.", 1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_an_evaluator_the_worker_judges_and_says_so() {
    let swarm = TestSwarm::in_memory().slm(sure("Ann")).evaluators(0).start().await;
    // The first answer waits for an evaluator that may still come, the second one does not.
    for _ in 0..2 {
        let record = swarm.settled(&swarm.submit(simple()).await).await;
        assert_eq!(text(&record), "slm: Ann");
        assert_eq!(record.judgements[0].evaluation, Evaluation::FormalOnly);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_told_to_end_finishes_what_it_can_and_hands_the_rest_back() {
    let script =
        Script::steps([Reply::text("soon").after(seconds(5)), Reply::text("late").after(seconds(100))])
            .otherwise("An essay.");
    let mut swarm = TestSwarm::in_memory().llm(script).start().await;
    let (soon, late) = (swarm.submit(complex()).await, swarm.submit(complex()).await);
    swarm.begun(&late).await;
    let before = Instant::now();
    swarm.workers[0].drain().await;
    assert!(before.elapsed() <= seconds(21), "{:?}", before.elapsed());
    let (soon, handed_back) = (swarm.look(&soon).await, swarm.look(&late).await);
    let mut statuses = [soon.status(), handed_back.status()];
    statuses.sort_by_key(|status| status.name());
    assert_eq!(statuses, [Status::Completed, Status::Pending]);
    swarm.add_worker();
    for task in [&soon.key, &late] {
        let record = swarm.settled(task).await;
        assert_eq!(record.deliveries, 1, "handed back in good order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_busy_for_a_while_delays_a_task_and_loses_nothing() {
    let busy =
        || Reply::error(Error::Overloaded { provider: "claude".to_owned(), retry_after: Some(seconds(20)) });
    let swarm =
        TestSwarm::in_memory().llm(Script::steps([busy(), busy()]).otherwise("An essay.")).start().await;
    let before = Instant::now();
    let record = swarm.settled(&swarm.submit(complex()).await).await;
    assert_eq!((text(&record).as_str(), record.deliveries, record.attempts.len()), ("llm: An essay.", 1, 3));
    assert!(before.elapsed() >= seconds(40));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_heard_as_it_appears() {
    let swarm = TestSwarm::in_memory().llm(Script::always("one two three")).start().await;
    let mut news = swarm.line().subscribe().await.expect("a store that answers");
    let task = swarm.submit(complex()).await;
    let mut heard = String::new();
    loop {
        match news.next().await {
            Some(News::Delta(key, part)) if key == task => heard.push_str(&part),
            Some(News::Changed(key, Status::Completed)) if key == task => break,
            _ => {}
        }
    }
    assert_eq!(heard, "one two three");
}

#[tokio::test(start_paused = true)]
async fn behind_a_bad_line_every_task_is_settled_once_and_every_call_is_billed_once() {
    for seed in 1..=3 {
        let llm = Arc::new(Scripted::new(Provider::Llm, LLM, Script::always("An essay.")));
        let swarm = TestSwarm::in_memory()
            .llm_backend(llm.clone())
            .workers(2)
            // A claim whose reply is lost is a lost delivery, and five of them are one too many: rarer here, so that a
            // task meets five in a row less than once in ten thousand runs.
            .faults(Faults { lost_replies: 0.03, repeated_calls: 0.03, ..Faults::one_in_ten(seed) })
            .start()
            .await;
        let line = swarm.line();
        let mut tasks = Vec::new();
        for number in 0..30 {
            let mut task = complex();
            task["task_id"] = json!(format!("task {number}"));
            task["timeout"] = json!(3600);
            let request =
                ghost_core::task::TaskRequest::parse(task.to_string().as_bytes()).expect("a valid task");
            let submitted = loop {
                if let Ok(submitted) = swarm.handle.submit(None, vec![request.clone()]).await {
                    break submitted;
                }
            };
            if let [Submission::New(record) | Submission::Known(record)] = &submitted[..] {
                tasks.push(record.key.clone());
            }
        }
        let mut calls = 0;
        for task in &tasks {
            let record = swarm.when(task, |record| record.status().is_settled()).await;
            assert_eq!(text(&record), "llm: An essay.");
            calls += record.spent.calls;
        }
        assert_eq!(tasks.len(), 30);
        swarm.stop().await;
        let counters = line.counters().await.expect("a store that answers");
        assert_eq!((counters["tasks.submitted"], counters["tasks.completed"]), (30, 30));
        assert_eq!(calls, llm.calls());
    }
}
