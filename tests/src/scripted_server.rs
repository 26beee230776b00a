//! A provider of models that follows a script, on a real socket of this machine; it also fails by script.
//!
//! [`claude_server`](crate::claude_server) and [`openai_server`](crate::openai_server) are the dialects; all else is
//! here: what to reply to whom, the faults, and the journal of what was asked.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use ghost_core::inference::Usage;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

/// The one key that the servers accept.
pub const KEY: &str = "sk-scripted";
/// No request is longer.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// What the model says, and what goes wrong meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The answer; a word with the space after it is a token.
    pub text: String,
    /// What the model thinks before it.
    pub thinking: Option<String>,
    /// A tool that it calls after it: a name and the arguments.
    pub tool: Option<(String, Value)>,
    /// Why it stops, in the dialect's own words; where absent as `text` and `tool` suggest.
    pub stop: Option<String>,
    /// The tokens to report; counted in words where absent.
    pub usage: Option<Usage>,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

impl Reply {
    /// Says this, and nothing goes wrong.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), thinking: None, tool: None, stop: None, usage: None, fault: None }
    }

    /// The same, with something going wrong.
    pub fn with(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// The tokens that it reports for a prompt of so many words.
    pub(crate) fn usage(&self, prompt: u64) -> Usage {
        let written =
            self.text.split_whitespace().count() + self.thinking.iter().flat_map(|t| t.split(' ')).count();
        self.usage.unwrap_or(Usage {
            input_tokens: prompt,
            output_tokens: written as u64,
            ..Usage::default()
        })
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Self {
        Self::text("one two three four five six").with(fault)
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// An error instead of an answer.
    Status(Failure),
    /// The connection ends before any header of the response.
    ResetBeforeHeaders,
    /// The request is read, and nothing happens.
    Silence,
    /// The stream begins at once, its first token comes only after this.
    LateFirstToken(Duration),
    /// The connection breaks after so many tokens.
    CutAfter(usize),
    /// Nothing follows on so many tokens, though the connection stays.
    StallAfter(usize),
    /// Nothing follows on the reason why the model stopped, though the connection stays.
    StallBeforeEnd,
    /// An event in the middle is no JSON, and another no UTF-8.
    MalformedChunk,
    /// Whatever marks the end of the stream is missing.
    MissingEnd,
    /// After so many tokens the stream reports an error.
    TroubleAfter(usize, Failure),
}

/// An error as a provider reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status; inside a stream only its kind counts.
    pub status: u16,
    /// Its type in the dialect's words.
    pub kind: String,
    /// For people.
    pub message: String,
    /// Headers beside it.
    pub headers: Vec<(String, String)>,
}

impl Failure {
    /// An error without further headers.
    pub fn new(status: u16, kind: &str, message: &str) -> Self {
        Self { status, kind: kind.to_owned(), message: message.to_owned(), headers: Vec::new() }
    }

    /// The same, with a header beside it.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One call that the server saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The path that was asked for.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body; null where it was no JSON.
    pub body: Value,
}

impl Call {
    /// Whether a stream was asked for.
    pub fn streams(&self) -> bool {
        self.body["stream"] == true
    }

    /// The text of the last turn.
    pub fn prompt(&self) -> String {
        text_of(self.body["messages"].as_array().and_then(|turns| turns.last()).unwrap_or(&Value::Null))
    }

    /// How many words the model has to read.
    pub(crate) fn words(&self) -> u64 {
        let turns = self.body["messages"].as_array().into_iter().flatten();
        turns.map(|turn| text_of(turn).split_whitespace().count() as u64).sum()
    }
}

/// The text of a turn, which is a string or a list of blocks.
fn text_of(turn: &Value) -> String {
    match &turn["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// How a provider's API looks on the wire.
pub trait Dialect: Send + Sync + 'static {
    /// Where it is asked.
    const PATH: &'static str;
    /// What its clients take as their base address, after host and port.
    const BASE: &'static str;

    /// What is wrong with a call: the servers are as strict as the API is known to be.
    fn problem(call: &Call) -> Option<Failure>;
    /// An answer as a stream of events, one string each, the tokens apart from what comes before and after them.
    fn stream(reply: &Reply, call: &Call, id: &str) -> Script;
    /// An answer in one piece.
    fn whole(reply: &Reply, call: &Call, id: &str) -> Value;
    /// An error's body.
    fn error(failure: &Failure, id: &str) -> Value;
    /// An error inside a stream.
    fn trouble(failure: &Failure, id: &str) -> String;
}

/// A stream in its parts.
#[derive(Debug, Default)]
pub struct Script {
    /// Before the first token.
    pub opening: Vec<String>,
    /// The tokens.
    pub tokens: Vec<String>,
    /// After the last token, up to the reason why it stopped.
    pub closing: Vec<String>,
    /// The mark of the end.
    pub end: Vec<String>,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server<D> {
    /// What its clients take as their base address.
    pub url: String,
    stage: Arc<Stage>,
    task: JoinHandle<io::Result<()>>,
    dialect: std::marker::PhantomData<fn() -> D>,
}

#[derive(Debug, Default)]
struct Stage {
    plan: Mutex<Plan>,
    calls: AtomicU64,
}

#[derive(Debug, Default)]
struct Plan {
    next: VecDeque<Reply>,
    rules: Vec<Rule>,
    otherwise: Option<Reply>,
    journal: Vec<Call>,
}

#[derive(Debug)]
struct Rule {
    part: String,
    reply: Reply,
    once: bool,
}

impl<D: Dialect> Server<D> {
    /// Starts on a free port of this machine. It says "Hello from the script." to whatever no rule covers.
    pub async fn start() -> Self {
        let stage = Arc::new(Stage::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of this machine");
        let address = listener.local_addr().expect("a bound socket has an address");
        let router = Router::new().fallback(serve::<D>).with_state(Arc::clone(&stage));
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url: format!("http://{address}{}", D::BASE), stage, task, dialect: std::marker::PhantomData }
    }

    /// Gives this reply to the next call that has none yet.
    pub fn then(&self, reply: impl Into<Reply>) {
        self.plan().next.push_back(reply.into());
    }

    /// Gives this reply to every call whose last turn contains `part`; earlier rules win.
    pub fn when(&self, part: &str, reply: impl Into<Reply>) {
        self.plan().rules.push(Rule { part: part.to_owned(), reply: reply.into(), once: false });
    }

    /// Gives this reply to the first such call.
    pub fn when_first(&self, part: &str, reply: impl Into<Reply>) {
        self.plan().rules.push(Rule { part: part.to_owned(), reply: reply.into(), once: true });
    }

    /// Gives this reply to whatever nothing else covers.
    pub fn otherwise(&self, reply: impl Into<Reply>) {
        self.plan().otherwise = Some(reply.into());
    }

    /// The calls so far, oldest first, those that were turned away too.
    pub fn journal(&self) -> Vec<Call> {
        self.plan().journal.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.stage.plan()
    }
}

impl<D> Drop for Server<D> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stage {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, call: &Call) -> Reply {
        let mut plan = self.plan();
        if let Some(reply) = plan.next.pop_front() {
            return reply;
        }
        let prompt = call.prompt();
        if let Some(at) = plan.rules.iter().position(|rule| prompt.contains(&rule.part)) {
            return if plan.rules[at].once {
                plan.rules.remove(at).reply
            } else {
                plan.rules[at].reply.clone()
            };
        }
        plan.otherwise.clone().unwrap_or_else(|| Reply::text("Hello from the script."))
    }
}

async fn serve<D: Dialect>(State(stage): State<Arc<Stage>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_REQUEST_BYTES).await.unwrap_or_default();
    let headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let call = Call {
        path: parts.uri.path().to_owned(),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    stage.plan().journal.push(call.clone());
    let id = format!("req_{:06}", stage.calls.fetch_add(1, Ordering::Relaxed));
    if call.path != D::PATH || parts.method != "POST" {
        return fail::<D>(&Failure::new(404, "not_found_error", "there is nothing here"), &id);
    }
    if let Some(failure) = D::problem(&call) {
        return fail::<D>(&failure, &id);
    }
    play::<D>(&stage.reply(&call), &call, &id).await
}

/// What goes over the wire, and when.
enum Part {
    Bytes(Vec<u8>),
    Wait(Duration),
    Forever,
    Cut,
}

async fn play<D: Dialect>(reply: &Reply, call: &Call, id: &str) -> Response {
    match &reply.fault {
        Some(Fault::Status(failure)) => return fail::<D>(failure, id),
        // Unwinding ends the task that serves this connection, and with it the connection.
        Some(Fault::ResetBeforeHeaders) => {
            std::panic::resume_unwind(Box::new("the script resets the connection"))
        }
        Some(Fault::Silence) => std::future::pending().await,
        _ => {}
    }
    let (kind, parts) = if call.streams() {
        ("text/event-stream; charset=utf-8", streamed::<D>(reply, call, id))
    } else {
        ("application/json", in_one_piece(D::whole(reply, call, id).to_string().into_bytes(), &reply.fault))
    };
    // Hyper sends what it has whenever the body makes it wait: so every part travels by itself, and before a cut.
    let body = stream::iter(parts).then(async |part| {
        yield_now().await;
        match part {
            Part::Bytes(bytes) => Ok(Bytes::from(bytes)),
            Part::Wait(time) => {
                sleep(time).await;
                Ok(Bytes::new())
            }
            Part::Forever => std::future::pending().await,
            Part::Cut => Err(io::Error::other("the script cuts the connection")),
        }
    });
    let headers =
        [("content-type", kind), ("request-id", id), ("x-request-id", id), ("cache-control", "no-cache")];
    (headers, Body::from_stream(body)).into_response()
}

fn streamed<D: Dialect>(reply: &Reply, call: &Call, id: &str) -> Vec<Part> {
    let script = D::stream(reply, call, id);
    let bytes = |events: Vec<String>| events.into_iter().map(|event| Part::Bytes(event.into_bytes()));
    let mut parts: Vec<Part> = bytes(script.opening).collect();
    let first_token = parts.len();
    parts.extend(bytes(script.tokens));
    let last_token = parts.len();
    parts.extend(bytes(script.closing));
    let after = |tokens: usize| (first_token + tokens).min(last_token);
    match &reply.fault {
        Some(Fault::LateFirstToken(time)) => parts.insert(first_token, Part::Wait(*time)),
        Some(Fault::CutAfter(tokens)) => {
            parts.truncate(after(*tokens));
            parts.push(Part::Cut);
        }
        Some(Fault::StallAfter(tokens)) => {
            parts.truncate(after(*tokens));
            parts.push(Part::Forever);
        }
        Some(Fault::StallBeforeEnd) => parts.push(Part::Forever),
        Some(Fault::TroubleAfter(tokens, failure)) => {
            parts.truncate(after(*tokens));
            parts.push(Part::Bytes(D::trouble(failure, id).into_bytes()));
        }
        Some(Fault::MalformedChunk) => {
            let middle = after((last_token - first_token) / 2);
            parts.insert(
                middle,
                Part::Bytes(b"data: {\"type\": \"content_block_delta\", \"choi\n\n".to_vec()),
            );
            parts.insert(middle, Part::Bytes(b"data: \xff\xfe\n\n: a comment\n\n".to_vec()));
        }
        _ => {}
    }
    if matches!(reply.fault, None | Some(Fault::LateFirstToken(_) | Fault::MalformedChunk)) {
        parts.extend(bytes(script.end));
    }
    parts
}

fn in_one_piece(mut body: Vec<u8>, fault: &Option<Fault>) -> Vec<Part> {
    let half = body.len() / 2;
    match fault {
        Some(Fault::LateFirstToken(time)) => vec![Part::Wait(*time), Part::Bytes(body)],
        Some(Fault::CutAfter(_)) => {
            body.truncate(half);
            vec![Part::Bytes(body), Part::Cut]
        }
        Some(Fault::StallAfter(_)) => {
            body.truncate(half);
            vec![Part::Bytes(body), Part::Forever]
        }
        Some(Fault::MalformedChunk) => {
            body.truncate(half);
            vec![Part::Bytes(body)]
        }
        _ => vec![Part::Bytes(body)],
    }
}

fn fail<D: Dialect>(failure: &Failure, id: &str) -> Response {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| {
        let name: axum::http::HeaderName = name.parse().expect("a header of the script");
        headers.insert(name, value.parse().expect("a header of the script"));
    };
    for (name, value) in [("content-type", "application/json"), ("request-id", id), ("x-request-id", id)] {
        set(name, value);
    }
    for (name, value) in &failure.headers {
        set(name, value);
    }
    let status = StatusCode::from_u16(failure.status).expect("a status of the script");
    (status, headers, D::error(failure, id).to_string()).into_response()
}

/// A server's event as it travels.
pub(crate) fn event(name: Option<&str>, data: &Value) -> String {
    let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    format!("{name}data: {data}\n\n")
}

/// The words of a text, each with the space after it.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}
