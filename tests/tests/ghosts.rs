//! Ghosts of one's own inside the swarm: what they get, what they can do, and what becomes of those that misbehave.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use custom_ghost::{Notary, Totals};
use ghost_core::broker::{Broker, News};
use ghost_core::id::AgentId;
use ghost_core::inference::hybrid::{self, Engine};
use ghost_core::inference::pricing::Pricing;
use ghost_core::inference::scripted::{Script, Scripted};
use ghost_core::inference::{Backend, Provider};
use ghost_core::lifecycle::{Answer, Failure, Record, State};
use ghost_core::task::{Status, TaskRequest};
use ghost_tests::swarm::LLM;
use ghost_tests::{Line, TestSwarm};
use ghost_worker::ghost::{Ghost, MAX_DEPTH, Task, Trouble};
use ghost_worker::{Config, Deps, NotReady, Pulse, Worker};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

struct Running {
    worker: JoinHandle<Result<(), NotReady>>,
    shutdown: CancellationToken,
}

impl Running {
    async fn stop(self) -> Result<(), NotReady> {
        self.shutdown.cancel();
        self.worker.await.expect("a worker that does not panic")
    }
}

/// Has a ghost work, over a line of its own; an LLM that follows the script is there for it.
fn host(line: &Line, ghost: Arc<dyn Ghost>, llm: Option<Script>) -> Running {
    let llm = llm.map(|script| Arc::new(Scripted::new(Provider::Llm, LLM, script)) as Arc<dyn Backend>);
    let engine = Engine::build(hybrid::Config::default(), None, llm, Pricing::builtin());
    let config = Config {
        agent_id: AgentId::generate("ghost"),
        pulse: Pulse::SameRuntime,
        drain: Duration::from_secs(2),
        ..Config::default()
    };
    let deps = Deps { broker: Arc::new(line.clone()), engine: Arc::new(engine) };
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(Worker::hosting(config, deps, ghost).run(shutdown.clone()));
    Running { worker, shutdown }
}

fn task(capability: &str, description: &str) -> Value {
    json!({"task_type": "own", "description": description, "parameters": {"capability": capability}})
}

fn text(record: &Record) -> String {
    match &record.state {
        State::Completed(answer) => answer.text.clone(),
        State::Failed(failure) => failure.to_string(),
        other => format!("{other:?}"),
    }
}

type Work = dyn Fn(&Task) -> Result<String, Trouble> + Send + Sync;

/// Does what a test says, and notes when it was made ready and tidied up.
struct Own {
    capability: &'static str,
    work: Box<Work>,
    notes: Arc<Mutex<Vec<&'static str>>>,
}

impl Own {
    fn new(work: impl Fn(&Task) -> Result<String, Trouble> + Send + Sync + 'static) -> Self {
        Self { capability: "own", work: Box::new(work), notes: Arc::default() }
    }

    fn note(&self, note: &'static str) {
        self.notes.lock().expect("not poisoned").push(note);
    }
}

#[async_trait]
impl Ghost for Own {
    fn capabilities(&self) -> Vec<String> {
        vec![self.capability.to_owned()]
    }

    async fn initialize(&self) -> Result<(), Failure> {
        self.note("ready");
        Ok(())
    }

    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        self.note("task");
        (self.work)(task).map(|text| task.answer(text))
    }

    async fn cleanup(&self) {
        self.note("tidy");
    }
}

#[tokio::test(start_paused = true)]
async fn the_ghosts_of_the_example_read_ask_and_send() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let line = swarm.line();
    let totals = host(&line, Arc::new(Totals), Some(Script::always("4.50")));
    let notary = host(&line, Arc::new(Notary::default()), None);
    let mut news = line.subscribe().await.expect("a store that answers");

    let invoice =
        json!({"prompt": "paper 10.00\nink 5.25\npostage: four fifty", "capability": "invoice_total"});
    let invoice = json!({"task_type": "invoice", "description": "Add it up.", "parameters": invoice, "context": {"tenant": "shop"}});
    let key = swarm.submit(invoice).await;
    let record = swarm.settled(&key).await;
    assert_eq!(text(&record), "19.75");
    assert_eq!(
        record.attempts.len(),
        1,
        "the model was asked for one line, and its cost stands with the task"
    );
    assert!(record.spent.cost_micro_usd > 0);

    let notes = line.list(&Default::default()).await.expect("a store that answers");
    let note = notes.iter().find(|record| record.capability() == "notary").expect("the task that was sent");
    assert_eq!(text(note), format!("noted as entry 1 for {key}"));
    assert_eq!(note.tenant().as_str(), "shop");
    let mut said = String::new();
    while !said.ends_with("4.50\n") {
        if let Some(News::Delta(of, text)) = news.next().await
            && of == key
        {
            said.push_str(&text);
        }
    }
    assert!(said.starts_with("paper 10.00 → 10.00\n"), "{said}");
    totals.stop().await.expect("it began");
    notary.stop().await.expect("it began");
}

#[tokio::test(start_paused = true)]
async fn a_ghost_gets_the_tasks_of_its_capability_and_no_others() {
    let swarm = TestSwarm::in_memory().llm(Script::always("from the models")).start().await;
    let own = Own::new(|task| Ok(format!("own: {}", task.request.description)));
    let notes = own.notes.clone();
    let running = host(&swarm.line(), Arc::new(own), None);
    let models = swarm
        .submit(json!({"task_type": "x", "description": "hello", "parameters": {"force_llm": true}}))
        .await;
    let own = swarm.submit(task("own", "hello")).await;
    assert_eq!(text(&swarm.settled(&own).await), "own: hello");
    assert_eq!(text(&swarm.settled(&models).await), "from the models");
    running.stop().await.expect("it began");
    assert_eq!(*notes.lock().expect("not poisoned"), ["ready", "task", "tidy"]);
}

#[tokio::test(start_paused = true)]
async fn a_ghost_that_does_not_get_ready_claims_nothing() {
    struct Unready;
    #[async_trait]
    impl Ghost for Unready {
        fn capabilities(&self) -> Vec<String> {
            vec!["own".to_owned()]
        }
        async fn initialize(&self) -> Result<(), Failure> {
            Err(Failure::new("no_tool", "the tool is missing; install it"))
        }
        async fn process_task(&self, _: &Task) -> Result<Answer, Trouble> {
            unreachable!("it never got ready")
        }
    }
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let key = swarm.submit(task("own", "hello")).await;
    let running = host(&swarm.line(), Arc::new(Unready), None);
    let error = running.worker.await.expect("no panic").expect_err("it says so").to_string();
    assert_eq!(error, "the ghost did not get ready: no_tool: the tool is missing; install it");
    assert_eq!(swarm.look(&key).await.status(), Status::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_ghost_may_fail_a_task_or_put_it_off() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let own = Own::new(move |task| match task.request.description.as_str() {
        "bad" => Err(Failure::new("bad_input", "nothing to be done").into()),
        _ if counted.fetch_add(1, Ordering::SeqCst) == 0 => Err(Trouble::Later(Duration::from_secs(5))),
        _ => Ok("at last".to_owned()),
    });
    let running = host(&swarm.line(), Arc::new(own), None);
    let (bad, later) = (swarm.submit(task("own", "bad")).await, swarm.submit(task("own", "later")).await);
    assert_eq!(text(&swarm.settled(&bad).await), "bad_input: nothing to be done");
    let record = swarm.settled(&later).await;
    assert_eq!((text(&record), record.deliveries), ("at last".to_owned(), 1));
    running.stop().await.expect("it began");
}

#[tokio::test(start_paused = true)]
async fn a_ghost_that_panics_harms_only_its_task_which_ends_as_a_dead_letter() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let own = Own::new(|task| match task.request.description.as_str() {
        "poison" => panic!("on purpose"),
        other => Ok(other.to_owned()),
    });
    let running = host(&swarm.line(), Arc::new(own), None);
    let poison = swarm.submit(task("own", "poison")).await;
    let record = swarm.settled(&swarm.submit(task("own", "fine")).await).await;
    assert_eq!(text(&record), "fine");
    let record = swarm.settled(&poison).await;
    assert!(text(&record).starts_with("deliveries_exhausted: "), "{}", text(&record));
    running.stop().await.expect("it began");
}

/// Waits for ever, and does not listen to anybody.
struct Stubborn;

#[async_trait]
impl Ghost for Stubborn {
    fn capabilities(&self) -> Vec<String> {
        vec!["own".to_owned()]
    }
    async fn process_task(&self, _: &Task) -> Result<Answer, Trouble> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_ghost_that_does_not_listen_loses_a_withdrawn_task_and_gives_it_back_at_the_end() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let running = host(&swarm.line(), Arc::new(Stubborn), None);
    let withdrawn = swarm.submit(task("own", "one")).await;
    swarm.begun(&withdrawn).await;
    swarm.handle.cancel(&withdrawn).await.expect("it is not settled");
    let kept = swarm.submit(task("own", "two")).await;
    swarm.begun(&kept).await;
    // Two seconds to drain, five to listen.
    let began = tokio::time::Instant::now();
    running.stop().await.expect("it began");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let record = swarm.look(&kept).await;
    assert_eq!((record.status(), record.deliveries), (Status::Pending, 0));
}

/// Sends what it gets on to itself, or twice to another.
struct Sender {
    to: &'static str,
    times: usize,
}

#[async_trait]
impl Ghost for Sender {
    fn capabilities(&self) -> Vec<String> {
        vec!["own".to_owned()]
    }
    fn max_load(&self) -> usize {
        32
    }
    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        let mut texts = Vec::new();
        for _ in 0..self.times {
            let sent = task.send_task(self.to, TaskRequest::new("sent", "the same")).await?;
            let text = sent.result.as_ref().and_then(|result| result["text"].as_str());
            texts.push(sent.error.as_deref().or(text).unwrap_or("nothing").to_owned());
        }
        Ok(task.answer(texts.join(" | ")))
    }
}

#[tokio::test(start_paused = true)]
async fn ghosts_that_send_to_each_other_without_end_stop_somewhere() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let running = host(&swarm.line(), Arc::new(Sender { to: "own", times: 1 }), None);
    let key = swarm.submit(task("own", "begin")).await;
    assert!(text(&swarm.settled(&key).await).starts_with("too_deep: "));
    let tasks = swarm.line().list(&Default::default()).await.expect("a store that answers").len();
    assert_eq!(tasks, 1 + usize::try_from(MAX_DEPTH).expect("small"));
    running.stop().await.expect("it began");
}

#[tokio::test(start_paused = true)]
async fn the_same_task_sent_again_is_the_same_task_also_by_the_next_delivery() {
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let line = swarm.line();
    let first = host(&line, Arc::new(Sender { to: "other", times: 2 }), None);
    let key = swarm.submit(task("own", "begin")).await;
    swarm.begun(&key).await;
    sleep(Duration::from_secs(1)).await;
    first.worker.abort();
    // The first ghost crashed while it waited; its lease ends, and the next one sends the same.
    let second = host(&line, Arc::new(Sender { to: "other", times: 2 }), None);
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let other = Own {
        capability: "other",
        ..Own::new(move |_| Ok(format!("done {}", counted.fetch_add(1, Ordering::SeqCst))))
    };
    let other = host(&line, Arc::new(other), None);
    let record = swarm.settled(&key).await;
    let answered = text(&record);
    let (one, two) = answered.split_once(" | ").expect("two results");
    assert_eq!(one, two);
    assert_eq!((asked.load(Ordering::SeqCst), record.deliveries), (1, 2));
    second.stop().await.expect("it began");
    other.stop().await.expect("it began");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_makes_no_sense_fails_its_task_with_words() {
    struct Nonsense;
    #[async_trait]
    impl Ghost for Nonsense {
        fn capabilities(&self) -> Vec<String> {
            vec!["own".to_owned()]
        }
        async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
            task.infer(TaskRequest::new("x", "  ")).await
        }
    }
    let swarm = TestSwarm::in_memory().workers(0).start().await;
    let running = host(&swarm.line(), Arc::new(Nonsense), Some(Script::always("never asked")));
    let record = swarm.settled(&swarm.submit(task("own", "begin")).await).await;
    assert_eq!(text(&record), "invalid_task: description: says nothing; write what to do");
    running.stop().await.expect("it began");
}
