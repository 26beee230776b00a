//! The server of the local model, over real sockets: what it serves is what a model in the process gives, and it refuses
//! in the words that OpenAI's clients understand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ghost_core::config::{self, Sources};
use ghost_core::inference::hybrid::{self, Engine, Job, Outcome, Slm};
use ghost_core::inference::openai_compatible::{self, OpenAiCompatible};
use ghost_core::inference::pricing::Pricing;
use ghost_core::inference::scripted::{Reply, Script, Scripted};
use ghost_core::inference::{
    Backend, Completion, Deltas, Error, Finish, Message, Provider, Request, Role, Sampling, Shape,
};
use ghost_core::retry::Retry;
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::TaskMaster;
use ghost_core::taskmaster::capability::Capability;
use ghost_core::taskmaster::route::{Available, Route, decide};
use ghost_llama::Llama;
use ghost_service::data_dir::DataDir;
use ghost_service::models;
use ghost_tests::python;
use ghost_tests::slm_evaluation::read;
use ghost_worker::engine;
use ghost_worker::serve::{Config, Deps, Handle, Model, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server that runs until the test ends.
struct Running {
    url: String,
    handle: Handle,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    /// One whose model is still to come.
    async fn empty(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.address.port = 0;
        change(&mut config);
        let server = Server::build(config, Deps::default()).await.expect("a free port");
        let (handle, shutdown) = (server.handle(), CancellationToken::new());
        let url = format!("http://{}/v1", server.address());
        Self { url, handle, serving: tokio::spawn(server.run(shutdown.clone())), shutdown }
    }

    async fn serving(backend: Arc<dyn Backend>, capability: Capability) -> Self {
        let running = Self::empty(|_| {}).await;
        running.handle.serves(Model { backend, capability, context_tokens: 1_024 });
        running
    }

    async fn scripted(script: Script) -> Self {
        let backend = Arc::new(Scripted::new(Provider::Slm, "phi", script));
        Self::serving(backend, Capability::general("phi")).await
    }

    /// A client of it as a worker has one.
    fn client(&self, model: &str) -> OpenAiCompatible {
        let config = openai_compatible::Config::new(Provider::Slm, &self.url, model);
        OpenAiCompatible::build(openai_compatible::Config { extended: true, ..config }).expect("an address")
    }

    async fn post(&self, body: Value) -> (u16, reqwest::header::HeaderMap, Value) {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let response =
            client.post(format!("{}/chat/completions", self.url)).body(body.to_string()).send().await;
        let response = response.expect("it answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.json().await.expect("JSON"))
    }

    /// The events of a stream.
    async fn stream(&self, body: Value) -> Vec<Value> {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let sent = client.post(format!("{}/chat/completions", self.url)).body(body.to_string()).send().await;
        let text = sent.expect("it answers").text().await.expect("text");
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        events.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
    }
}

fn tiny(change: impl FnOnce(&mut ghost_llama::Config)) -> Arc<Llama> {
    let mut config = ghost_llama::Config::new(root().join("models/ghost-tiny.gguf"));
    change(&mut config);
    Arc::new(Llama::load(config).expect("the model loads"))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn hello() -> Value {
    json!({"model": "phi", "messages": [{"role": "user", "content": "Hello"}]})
}

fn with(more: Value) -> Value {
    let mut body = hello();
    body.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
    body
}

/// What came of a task, without how long it took.
async fn outcome(engine: &Engine, task: &TaskRequest) -> (Available, Result<Value, String>) {
    let available = engine.available();
    let verdict = TaskMaster::new(Default::default()).classify(task);
    let job = Job {
        request: task.clone(),
        kind: verdict.kind,
        decision: decide(task, &verdict, &available),
        arm: None,
        critique: Vec::new(),
        previous: None,
        timeout: Duration::from_secs(60),
        cancel: CancellationToken::new(),
    };
    if job.decision.route == Route::Llm {
        return (available, Err("goes to the LLM".to_owned()));
    }
    let mut result = match engine.infer(job, None).await {
        Outcome::Answered { answer, attempts } => Ok(json!({"answer": answer, "attempts": attempts})),
        Outcome::Failed { failure, attempts } => Ok(json!({"failure": failure, "attempts": attempts})),
        other => Err(format!("{other:?}")),
    };
    if let Ok(told) = &mut result {
        for attempt in told["attempts"].as_array_mut().into_iter().flatten() {
            attempt["duration_ms"] = 0.into();
        }
    }
    (available, result)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_tasks_come_out_the_same_through_the_server_as_in_the_process() {
    let llama = tiny(|config| config.deterministic = true);
    let slm = Slm { backend: llama.clone(), capability: models::tiny() };
    let inside = Engine::build(hybrid::Config::default(), Some(slm), None, Pricing::builtin());
    let server = Running::serving(llama, models::tiny()).await;

    // As a worker is told of it, and no more.
    let flags = [("SLM_ENDPOINT", server.url.as_str()), ("SLM_MODEL", "ghost-tiny")];
    let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let settings = config::Config::load(Sources { flags, ..Sources::default() }).expect("good settings");
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataDir::open(Some(folder.path())).expect("it can be made");
    let load = tokio::task::spawn_blocking(move || engine::load(&settings, &data));
    let outside = load.await.expect("it ends").expect("it is reached");
    assert!(outside.absent.is_none() && outside.warnings.is_empty(), "{:?}", outside.warnings);

    let tasks: Vec<TaskRequest> = read(&root().join("examples/tasks.jsonl"));
    let (mut answered, mut unsure) = (0, 0);
    for task in &tasks {
        let here = outcome(&inside, task).await;
        assert_eq!(outcome(&outside.engine, task).await, here, "{task:?}");
        match here.1 {
            Ok(told) if told.get("answer").is_some() => answered += 1,
            Ok(_) => unsure += 1,
            Err(_) => {}
        }
    }
    assert!(answered >= 10 && unsure >= 10, "{answered} were answered, {unsure} withheld");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shape_and_way_to_sample_comes_through_as_the_engine_gives_it() {
    let llama = tiny(|config| config.deterministic = true);
    let server = Running::serving(llama.clone(), models::tiny()).await;
    let client = server.client("ghost-tiny");
    let text = "Parse the query string into JSON: page=3&sort=price";
    let turn = |role, text: &str| Message { role, text: text.to_owned() };
    let schema = json!({"type": "object", "properties": {"page": {"type": "integer"}}, "required": ["page"],
                        "additionalProperties": false});
    let warm = Sampling {
        temperature: Some(0.7),
        top_k: Some(20),
        top_p: Some(0.9),
        min_p: Some(0.01),
        repetition_penalty: Some(1.1),
        presence_penalty: Some(0.5),
        frequency_penalty: Some(-0.25),
        seed: Some(u64::MAX),
    };
    let asked = |shape| Request { max_tokens: 40, sampling: Sampling::greedy(), shape, ..Request::new(text) };
    let requests = [
        asked(Shape::Text),
        asked(Shape::Line),
        asked(Shape::Json(schema)),
        asked(Shape::Choice(vec!["red".to_owned(), "green".to_owned()])),
        asked(Shape::Span(text.to_owned())),
        asked(Shape::JsonOfSpans {
            schema: json!({"type": "object", "additionalProperties": {"type": "string"}}),
            source: text.to_owned(),
        }),
        asked(Shape::Grammar("root ::= [a-f]+ \"!\"".to_owned())),
        Request { sampling: warm, ..asked(Shape::Text) },
        Request { stop: vec!["\"".to_owned()], ..asked(Shape::Text) },
        Request {
            system: Some("Be brief.".to_owned()),
            messages: vec![turn(Role::User, "a"), turn(Role::Assistant, "b"), turn(Role::User, text)],
            ..asked(Shape::Text)
        },
    ];
    for request in requests {
        let here = llama.generate(request.clone(), None).await;
        let there = client.generate(request.clone(), None).await;
        let (deltas, mut heard) = mpsc::channel(64);
        let streamed = client.generate(request.clone(), Some(deltas)).await;
        let mut text = String::new();
        while let Some(delta) = heard.recv().await {
            text.push_str(&delta);
        }
        let (here, there, streamed) = match (here, there, streamed) {
            (Ok(here), Ok(there), Ok(streamed)) => (here, there, streamed),
            (Err(here), Err(there), Err(streamed)) => {
                assert_eq!((there.code(), streamed.code()), (here.code(), here.code()), "{request:?}");
                continue;
            }
            all => panic!("{request:?}: {all:?}"),
        };
        let told = |completion: Completion| Completion {
            request_id: None,
            // They are for the log of whoever runs the engine.
            warnings: Vec::new(),
            ..completion
        };
        assert_eq!(text, here.text);
        let here = told(here);
        assert_eq!(
            here.tokens.concat(),
            if here.finish == Finish::Stop { here.text.clone() } else { here.tokens.concat() }
        );
        assert_eq!((told(there), told(streamed)), (here.clone(), here), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_is_refused_in_its_words() {
    let server = Running::serving(tiny(|_| {}), models::tiny()).await;
    let client = server.client("ghost-tiny");
    let error = async |request| client.generate(request, None).await.expect_err("it is refused");
    let long = error(Request::new("long ".repeat(3_000))).await;
    assert!(matches!(long, Error::ContextTooLong { needed: 1_025.., limit: 1_024 }), "{long:?}");
    let grammar = Shape::Grammar("root ::= nowhere".to_owned());
    let unknown = error(Request { shape: grammar, ..Request::new("a") }).await;
    assert!(
        matches!(&unknown, Error::InvalidRequest { message, .. } if message.contains("nowhere")),
        "{unknown:?}"
    );
    let stranger = server.client("phi").generate(Request::new("a"), None).await.expect_err("it is not here");
    assert!(stranger.to_string().contains("there is no model phi here; there is ghost-tiny"), "{stranger}");
}

#[tokio::test]
async fn a_failure_of_the_engine_is_the_same_failure_to_a_worker() {
    let overloaded = |retry_after| Error::Overloaded { provider: "slm".to_owned(), retry_after };
    let wait = Some(Duration::from_millis(70));
    let faulty = Error::Engine("the answer is no JSON".to_owned());
    let script = Script::default()
        .when("busy", overloaded(wait))
        .when("faulty", faulty.clone())
        .when("late", Reply::text("one two").ending(Err(faulty)));
    let server = Running::scripted(script).await;
    let client = server.client("phi");
    let asked = async |text| client.generate(Request::new(text), None).await.expect_err("a failure");
    assert_eq!(asked("busy").await.retry(), Retry::After(Duration::from_millis(70)));
    for text in ["faulty", "late"] {
        let error = asked(text).await;
        assert!(matches!(&error, Error::Engine(message) if message.contains("is no JSON")), "{error:?}");
    }
    // Inside a stream too, where it has begun.
    let (deltas, mut heard) = mpsc::channel(64);
    let error = client.generate(Request::new("late"), Some(deltas)).await.expect_err("a failure");
    assert!(matches!(error, Error::Engine(_)), "{error:?}");
    assert_eq!(heard.recv().await.as_deref(), Some("one "));
}

#[tokio::test]
async fn an_answer_is_told_in_openais_form_whole_and_as_a_stream() {
    let server = Running::scripted(Script::always(Reply::text("four, I think").confident(0.5))).await;
    let (status, headers, whole) = server.post(with(json!({"logprobs": true}))).await;
    assert_eq!((status, &whole["object"], &whole["model"]), (200, &json!("chat.completion"), &json!("phi")));
    assert_eq!(headers["x-request-id"], whole["id"].as_str().expect("an id"));
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["content"], "four, I think");
    assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &Value::Null));
    let logprob = choice["logprobs"]["content"][0]["logprob"].as_f64().expect("a number");
    assert!((logprob.exp() - 0.5).abs() < 1e-6);
    assert_eq!(whole["usage"], json!({"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}));

    let events =
        server.stream(with(json!({"stream": true, "stream_options": {"include_usage": true}}))).await;
    let texts: Vec<_> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(texts, ["", "four, ", "I ", "think"]);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let [.., closing, usage, end] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&closing["choices"][0]["finish_reason"], &closing["usage"]), (&json!("stop"), &Value::Null));
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
    assert_eq!(end, "[DONE]");
    let without = server.stream(with(json!({"stream": true}))).await;
    assert!(without.iter().all(|event| event.get("usage").is_none()), "{without:?}");
}

#[tokio::test]
async fn what_a_stream_cannot_begin_with_has_its_own_status_and_what_breaks_it_off_is_its_last_event() {
    let broken = Error::Engine("out of luck".to_owned());
    let script = Script::steps([
        Reply::error(Error::Overloaded {
            provider: "slm".to_owned(),
            retry_after: Some(Duration::from_secs(2)),
        }),
        Reply::text("one two").ending(Err(broken)),
        Reply::text(""),
    ]);
    let server = Running::scripted(script).await;
    let body = with(json!({"stream": true}));
    let (status, headers, refusal) = server.post(body.clone()).await;
    assert_eq!(
        (status, &headers["retry-after"], &headers["retry-after-ms"]),
        (429, &"2".parse().expect("a header"), &"2000".parse().expect("a header"))
    );
    assert_eq!(
        (&refusal["error"]["type"], &refusal["error"]["code"]),
        (&json!("rate_limit_error"), &json!("overloaded"))
    );
    let events = server.stream(body.clone()).await;
    let [.., error, end] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (&error["error"]["code"], &error["error"]["message"]),
        (&json!("engine_failed"), &json!("out of luck"))
    );
    assert_eq!(end, "[DONE]");
    let silent = server.stream(body).await;
    assert_eq!(silent.len(), 3, "an answer without a text ends well too: {silent:?}");
}

#[tokio::test]
async fn until_its_model_is_there_it_says_that_it_loads() {
    let server = Running::empty(|_| {}).await;
    let (status, headers, refusal) = server.post(hello()).await;
    assert_eq!((status, &headers["retry-after"]), (503, &"1".parse().expect("a header")));
    assert_eq!(
        (&refusal["error"]["code"], &refusal["error"]["param"]),
        (&json!("model_loading"), &Value::Null)
    );
    let early = server.client("phi").capability().await.expect_err("it is not ready");
    assert!(early.to_string().contains("the model is loading"), "{early}");

    let backend = Arc::new(Scripted::new(Provider::Slm, "phi", Script::always("hello")));
    server.handle.serves(Model { backend, capability: Capability::general("phi"), context_tokens: 9 });
    assert_eq!(server.post(hello()).await.0, 200);
    let known = server.client("phi").capability().await.expect("it is ready");
    assert_eq!(known, Some(Capability::general("phi")));
}

#[tokio::test]
async fn refusals_of_the_door_have_openais_form_too() {
    let flags = vec![("GHOST_API_TOKEN".to_owned(), "opensesame".to_owned())];
    let settings = config::Config::load(Sources { flags, ..Sources::default() }).expect("good settings");
    let server = Running::empty(|config| config.address.token = settings.service.api_token).await;
    let error = |answer: &Value| (answer["error"]["type"].clone(), answer["error"]["code"].clone());
    let (status, _, refusal) = server.post(hello()).await;
    assert_eq!((status, error(&refusal)), (401, (json!("authentication_error"), json!("unauthorized"))));
    // A worker is told so, and does not take it for a server of another sort.
    let locked = server.client("phi").capability().await.expect_err("it asks for a token");
    assert!(matches!(locked, Error::Authentication { .. }), "{locked:?}");

    let open = Running::scripted(Script::always("hello")).await;
    let (status, _, refusal) = open.post(with(json!({"user": "u".repeat(2 << 20)}))).await;
    assert_eq!((status, error(&refusal)), (413, (json!("invalid_request_error"), json!("too_large"))));
    let (status, _, refusal) = open.post(with(json!({"model": "gpt"}))).await;
    assert_eq!(
        (status, error(&refusal).1, &refusal["error"]["param"]),
        (404, json!("model_not_found"), &json!("model"))
    );
    let (status, _, refusal) = open.post(with(json!({"temperature": 3}))).await;
    assert_eq!(
        (status, error(&refusal).1, &refusal["error"]["param"]),
        (400, json!("invalid_value"), &json!("temperature"))
    );
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    for (request, status) in [
        (client.post(format!("{}/embeddings", open.url)), 404),
        (client.get(format!("{}/chat/completions", open.url)), 405),
        (client.get(format!("{}/models/gpt", open.url)), 404),
        (client.get(format!("{}/models/phi", open.url)), 200),
    ] {
        let response = request.send().await.expect("it answers");
        assert_eq!(response.status().as_u16(), status);
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(answer["error"]["message"].is_string(), status != 200, "{answer}");
    }
}

/// A model that says a word and then nothing more, until it is withdrawn or let go on.
#[derive(Default)]
struct Stubborn {
    asked: Notify,
    withdrawn: Notify,
    goes_on: Notify,
    holding: AtomicUsize,
}

struct Hold<'a>(&'a Stubborn);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Ordering::SeqCst);
        self.0.withdrawn.notify_one();
    }
}

#[async_trait]
impl Backend for Stubborn {
    fn provider(&self) -> Provider {
        Provider::Slm
    }

    fn model(&self) -> &str {
        "phi"
    }

    async fn generate(&self, _: Request, deltas: Option<Deltas>) -> Result<Completion, Error> {
        self.holding.fetch_add(1, Ordering::SeqCst);
        let _hold = Hold(self);
        if let Some(deltas) = &deltas {
            let _ = deltas.send("well, ".to_owned()).await;
        }
        self.asked.notify_one();
        self.goes_on.notified().await;
        let said = Scripted::new(Provider::Slm, "phi", Script::always("then"));
        said.generate(Request::new("a"), deltas).await
    }
}

#[tokio::test]
async fn whoever_hangs_up_withdraws_the_request() {
    let model = Arc::new(Stubborn::default());
    let server = Running::serving(model.clone(), Capability::general("phi")).await;
    let address = server.url.trim_start_matches("http://").trim_end_matches("/v1");
    for stream in [false, true] {
        let body = with(json!({ "stream": stream })).to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut caller = TcpStream::connect(address).await.expect("it listens");
        caller.write_all(format!("{head}{body}").as_bytes()).await.expect("it is heard");
        model.asked.notified().await;
        if stream {
            let mut heard = Vec::new();
            while !String::from_utf8_lossy(&heard).contains("well, ") {
                assert_ne!(caller.read_buf(&mut heard).await.expect("it speaks"), 0);
            }
        }
        assert_eq!(model.holding.load(Ordering::SeqCst), 1);
        drop(caller);
        model.withdrawn.notified().await;
        assert_eq!(model.holding.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn told_to_end_it_finishes_the_answers_in_the_making_and_takes_no_more() {
    let model = Arc::new(Stubborn::default());
    let Running { url, shutdown, serving, handle } = Running::empty(|_| {}).await;
    handle.serves(Model {
        backend: model.clone(),
        capability: Capability::general("phi"),
        context_tokens: 9,
    });
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let post = client.post(format!("{url}/chat/completions")).body(with(json!({"stream": true})).to_string());
    let asked = tokio::spawn(async move { post.send().await.expect("it answers").text().await });
    model.asked.notified().await;
    shutdown.cancel();
    // It closes: from now on nobody comes in.
    while client.get(format!("{url}/models")).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
    model.goes_on.notify_one();
    let heard = asked.await.expect("it ends").expect("the whole answer");
    assert!(heard.contains("\"then\"") && heard.trim_end().ends_with("[DONE]"), "{heard}");
    serving.await.expect("it ends by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_own_client_is_satisfied() {
    let python = python::environment("openai", &root().join("tests/python/requirements-openai.txt")).await;
    let busy = Error::Overloaded { provider: "slm".to_owned(), retry_after: Some(Duration::from_millis(10)) };
    let script = Script::steps([Reply::error(busy.clone())])
        .when("think", Reply::text("four, I think").confident(0.5))
        .when("busy", busy)
        .when("broken", Error::Engine("out of luck".to_owned()))
        .when("breaks off", Reply::text("one two").ending(Err(Error::Engine("out of luck".to_owned()))));
    let scripted = Running::scripted(script).await;
    let tiny = Running::serving(tiny(|_| {}), models::tiny()).await;
    let output = tokio::process::Command::new(python)
        .arg(root().join("tests/python/openai_client.py"))
        .args([&scripted.url, &tiny.url])
        .kill_on_drop(true)
        .output()
        .await
        .expect("the environment has a Python");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "after\n{said}\n{complained}");
    assert!(said.contains("the last of them"), "{said}");
}
