//! A hub on this machine: its layout, its redirects to another server that has the bytes, and its faults, over real
//! sockets.
//!
//! Two servers listen: the hub, which knows what a file is, and the store, which has its bytes and must never see a token.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, yield_now};

/// The commit that every revision stands for.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The repository and file that a hub has where a test asks for no other.
pub const MODEL: &str = "owner/repo/small.gguf";

/// Where the hub sends who asks for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// To the store, by its whole address.
    Elsewhere,
    /// To another path of the hub itself, which then has the bytes.
    Relative,
    /// First to the repository's new name at the hub, then to the store.
    Moved,
    /// To this address.
    To(String),
    /// Nowhere: the hub has the bytes.
    Nowhere,
}

/// What the store does wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It breaks the connection after so many bytes.
    Cut(usize),
    /// It ends the answer after so many bytes, as if that were all.
    Short(usize),
    /// It says nothing more after so many bytes.
    Silence(usize),
    /// It sends the file from its beginning whatever was asked for.
    Whole,
    /// It sends the bytes without saying how many.
    Unmeasured,
    /// It answers with this status and these headers.
    Status(u16, Vec<(&'static str, String)>),
}

/// What a server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Whether the store was asked, and not the hub.
    pub store: bool,
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, still encoded.
    pub path: String,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// The `range` header.
    pub range: Option<String>,
    /// The `if-range` header.
    pub if_range: Option<String>,
}

/// What the hub has and says; a test changes it as it likes.
#[derive(Debug)]
pub struct Script {
    /// The bytes of its file.
    pub content: Vec<u8>,
    /// `X-Linked-Size`.
    pub size: Option<String>,
    /// `X-Linked-Etag`.
    pub etag: Option<String>,
    /// Where it redirects to.
    pub redirect: Redirect,
    /// Answers of the hub that come first, one a call.
    pub refusals: VecDeque<(u16, Vec<(&'static str, String)>)>,
    /// Faults of the store that come first, one a call.
    pub faults: VecDeque<Fault>,
    journal: Vec<Call>,
}

/// The hub; gone when it is dropped.
#[derive(Debug)]
pub struct Hub {
    script: Arc<Mutex<Script>>,
    address: String,
    tasks: [JoinHandle<()>; 2],
}

impl Hub {
    /// A hub that has this file, whose SHA-256 in hexadecimal digits is `sha256`.
    ///
    /// # Panics
    /// Where no port is free.
    pub async fn start(content: Vec<u8>, sha256: &str) -> Self {
        let script = Script {
            size: Some(content.len().to_string()),
            etag: Some(format!("\"{sha256}\"")),
            content,
            redirect: Redirect::Elsewhere,
            refusals: VecDeque::new(),
            faults: VecDeque::new(),
            journal: Vec::new(),
        };
        let script = Arc::new(Mutex::new(script));
        let [(hub, address), (store, store_address)] = [listener().await, listener().await];
        let tasks = [(hub, false), (store, true)].map(|(listener, is_store)| {
            let desk = Desk { script: script.clone(), is_store, store: store_address.clone() };
            let app = Router::new().fallback(serve).with_state(desk);
            tokio::spawn(
                async move { axum::serve(listener, app).await.expect("it serves until it is aborted") },
            )
        });
        Self { script, address, tasks }
    }

    /// What HF_ENDPOINT must be.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has and says.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }

    /// Another file, with this SHA-256, in the place of the old one.
    pub fn publish(&self, content: Vec<u8>, sha256: &str) {
        let mut script = self.script();
        script.size = Some(content.len().to_string());
        script.etag = Some(format!("\"{sha256}\""));
        script.content = content;
    }

    /// The calls so far, oldest first.
    pub fn journal(&self) -> Vec<Call> {
        self.script().journal.clone()
    }

    /// The `range` of each call for bytes that reached the store.
    pub fn ranges(&self) -> Vec<Option<String>> {
        self.journal().into_iter().filter(|call| call.store).map(|call| call.range).collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Clone)]
struct Desk {
    script: Arc<Mutex<Script>>,
    is_store: bool,
    store: String,
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, address)
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(State(desk): State<Desk>, request: Request) -> Response {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let call = Call {
        store: desk.is_store,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        authorization: header("authorization"),
        range: header("range"),
        if_range: header("if-range"),
    };
    let mut script = lock(&desk.script);
    script.journal.push(call.clone());
    if desk.is_store || call.path.starts_with("/store/") {
        let fault = script.faults.pop_front();
        return bytes(&script.content, &call, fault);
    }
    if let Some((status, headers)) = script.refusals.pop_front() {
        return answer(status, &headers);
    }
    let mut headers = vec![("x-repo-commit", COMMIT.to_owned())];
    if script.redirect == Redirect::Moved && call.path.starts_with("/owner/repo/") {
        headers.push(("location", call.path.replacen("/owner/repo/", "/owner/renamed/", 1)));
        return answer(307, &headers);
    }
    headers.extend(script.size.clone().map(|size| ("x-linked-size", size)));
    headers.extend(script.etag.clone().map(|etag| ("x-linked-etag", etag)));
    let to = match &script.redirect {
        Redirect::Elsewhere | Redirect::Moved => format!("{}/store/bytes?signature=secret", desk.store),
        Redirect::Relative => "/store/bytes".to_owned(),
        Redirect::To(address) => address.clone(),
        Redirect::Nowhere => {
            let fault = script.faults.pop_front();
            let mut response = bytes(&script.content, &call, fault);
            response.headers_mut().extend(head(&headers));
            return response;
        }
    };
    headers.push(("location", to));
    answer(302, &headers)
}

fn answer(status: u16, headers: &[(&'static str, String)]) -> Response {
    let status = StatusCode::from_u16(status).expect("a status of the script");
    (status, head(headers)).into_response()
}

fn head(headers: &[(&'static str, String)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("a header of the script");
    headers.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
}

/// The file, or the part of it that was asked for.
fn bytes(content: &[u8], call: &Call, fault: Option<Fault>) -> Response {
    let mut mark = 0_u64;
    // Any mark does that differs where the bytes do.
    content.iter().for_each(|byte| mark = mark.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let etag = format!("\"{mark:x}\"");
    let from =
        call.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = call.if_range.as_ref().is_none_or(|asked| *asked == etag);
    let from = from.filter(|_| same && !matches!(fault, Some(Fault::Whole)));
    let mut headers = vec![("etag", etag)];
    let (status, part) = match from {
        Some(from) if from >= content.len() => return answer(416, &headers),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            headers.push(("content-range", range));
            (206, &content[from..])
        }
        None => (200, content),
    };
    let (limit, end) = match fault {
        Some(Fault::Status(status, headers)) => return answer(status, &headers),
        Some(Fault::Cut(limit)) => (limit, End::Cut),
        Some(Fault::Short(limit)) => (limit, End::Short),
        Some(Fault::Silence(limit)) => (limit, End::Silence),
        Some(Fault::Unmeasured) => (part.len(), End::Short),
        Some(Fault::Whole) | None => (part.len(), End::Whole),
    };
    if end != End::Short {
        headers.push(("content-length", part.len().to_string()));
    }
    let sent = Bytes::copy_from_slice(&part[..limit.min(part.len())]);
    // Hyper sends what it has whenever the body makes it wait, so the bytes travel before a cut.
    let body = stream::iter([Some(sent), None]).then(move |piece| async move {
        yield_now().await;
        match (piece, end) {
            (Some(bytes), _) => Ok(bytes),
            (None, End::Cut) => Err(io::Error::other("the script cuts the connection")),
            (None, End::Silence) => std::future::pending().await,
            (None, End::Short | End::Whole) => Ok(Bytes::new()),
        }
    });
    let status = StatusCode::from_u16(status).expect("a constant");
    (status, head(&headers), Body::from_stream(body)).into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Short,
    Cut,
    Silence,
}
