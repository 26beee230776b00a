//! A Claude that answers only when a test lets it, over real sockets: for tests that need calls under way.
//!
//! It runs on threads of its own, so that tests without a runtime can use it. [`claude_server`](crate::claude_server) can
//! do more.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than any machine takes for what it is asked; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does.
#[derive(Debug, Default)]
struct State {
    /// The tasks it was asked about, in order.
    asked: Vec<String>,
    /// So many calls are answered at once; the others wait.
    open_for: usize,
    /// With this status instead of an answer.
    refuse_with: Option<u16>,
}

/// The server; its threads end with the test's process.
#[derive(Debug, Clone)]
pub struct Claude {
    state: Arc<(Mutex<State>, Condvar)>,
    url: String,
}

impl Claude {
    /// Answers everything.
    pub fn open() -> Self {
        Self::start(State { open_for: usize::MAX, ..State::default() })
    }

    /// Answers the first so many calls and lets the others wait for [`Self::open_up`].
    pub fn open_for(calls: usize) -> Self {
        Self::start(State { open_for: calls, ..State::default() })
    }

    /// Refuses everything with this status.
    pub fn refusing(status: u16) -> Self {
        Self::start(State { open_for: usize::MAX, refuse_with: Some(status), ..State::default() })
    }

    fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let claude = Self { state: Arc::new((Mutex::new(state), Condvar::new())), url };
        let server = claude.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(connection));
            }
        });
        claude
    }

    /// What ANTHROPIC_BASE_URL must be.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, everything is answered, what waits too.
    pub fn open_up(&self) {
        self.state().open_for = usize::MAX;
        self.state.1.notify_all();
    }

    /// Waits until so many calls have come.
    ///
    /// # Panics
    /// Where they do not come within a minute.
    pub fn wait_for_calls(&self, calls: usize) {
        let waiting = |state: &mut State| state.asked.len() < calls;
        let (state, patience) =
            self.state.1.wait_timeout_while(self.state(), PATIENCE, waiting).expect("no thread panicked");
        assert!(!patience.timed_out(), "only {} of {calls} calls came", state.asked.len());
    }

    /// How often it was asked about each task.
    pub fn calls_for(&self, task: &str) -> usize {
        self.state().asked.iter().filter(|asked| asked.as_str() == task).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("no thread panicked")
    }

    fn serve(&self, connection: TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().expect("a socket can be shared"));
        let mut connection = connection;
        while let Some(body) = request(&mut reader) {
            let task = task(&body.to_string());
            let mut state = self.state();
            state.asked.push(task.clone());
            let number = state.asked.len();
            self.state.1.notify_all();
            let state =
                self.state.1.wait_while(state, |state| state.open_for < number).expect("no thread panicked");
            let refuse_with = state.refuse_with;
            drop(state);
            let sent = match refuse_with {
                Some(status) => connection.write_all(refusal(status).as_bytes()),
                None => connection.write_all(answer(&format!("All about {task}.")).as_bytes()),
            };
            // The process that asked may have been killed meanwhile.
            if sent.is_err() {
                return;
            }
        }
    }
}

/// The body of the next request on a connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// The first `task-…` that a text names.
fn task(text: &str) -> String {
    let Some(at) = text.find("task-") else { return "nothing".to_owned() };
    let number: String = text[at + 5..].chars().take_while(char::is_ascii_digit).collect();
    format!("task-{number}")
}

fn answer(text: &str) -> String {
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-sonnet-5-5", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 20, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let stream: String = events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a constant")))
        .collect();
    response("200 OK", "text/event-stream", &stream)
}

fn refusal(status: u16) -> String {
    let body =
        json!({"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}});
    response(&format!("{status} Refused"), "application/json", &body.to_string())
}

fn response(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
