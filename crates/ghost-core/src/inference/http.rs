//! What the remote backends share beneath their wire formats: one call over HTTP with its patience, from the request
//! to the folded answer.
//!
//! A backend brings its request and a [`Fold`] that understands its events. [`mod@failure`] says what a bad status means.

mod failure;

use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

pub(super) use failure::{Complaint, Meaning, failure, numbers};

use super::sse::{self, Event};
use super::{Completion, Deltas, Error, Request};

/// Once the model has said why it stopped, only the usage and the end marker are missing: how long they may take.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection waits for its next request.
const IDLE: Duration = Duration::from_secs(4);
/// More of an error's body is not read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// More of a list of models is not read.
const MAX_LIST_BYTES: usize = 4 << 20;
/// More of an answer that comes in one piece is not read.
const MAX_BODY_BYTES: usize = 64 << 20;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// For the connection.
    pub(super) connect: Duration,
    /// From the request to the first token.
    pub(super) first_token: Duration,
    /// From one token to the next.
    pub(super) next_token: Duration,
}

/// A provider behind HTTP.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    provider: String,
    patience: Patience,
}

/// Understands a provider's answer, event by event; pure.
pub(super) trait Fold: Default + Send {
    /// Takes in an event of a stream. One that makes no sense is skipped.
    ///
    /// # Errors
    /// What the provider says went wrong.
    fn event(&mut self, event: &Event) -> Result<Progress, Complaint>;

    /// Takes in an answer that came in one piece.
    ///
    /// # Errors
    /// What the provider says went wrong, or that this is no answer.
    fn whole(&mut self, body: Value) -> Result<(), Complaint>;

    /// Whether the model has said why it stopped: whatever breaks off after that costs no text.
    fn has_stopped(&self) -> bool;

    /// The answer, once it [has stopped](Self::has_stopped).
    fn complete(self, asked: &Request, request_id: Option<String>) -> Completion;

    /// What a body with a bad status complains of.
    fn complaint(status: u16, body: &str) -> Complaint;
}

/// What an event brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing that shows that the model is at work.
    Nothing,
    /// The model is at work.
    Alive,
    /// Text of the answer.
    Text(String),
    /// The end marker.
    End,
}

impl Http {
    /// A client of the provider at `base`.
    pub(super) fn new(provider: String, base: &Url, patience: Patience) -> Result<Self, Error> {
        let mut client = Client::builder()
            .tcp_nodelay(true)
            .connect_timeout(patience.connect)
            // Many servers close what is idle for five seconds; a request that meets that moment would fail.
            .pool_idle_timeout(IDLE)
            // A server nearby, such as llama-server, may end a connection after an answer without saying so. A new one
            // costs nothing there.
            .pool_max_idle_per_host(if base.scheme() == "https" { usize::MAX } else { 0 })
            // A redirect could carry the key to another host.
            .redirect(Policy::none())
            .user_agent(concat!("ghost-swarm/", env!("CARGO_PKG_VERSION")));
        if base.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| {
            Error::Unavailable(format!("no HTTP client for {provider}: {}", words(&error)))
        })?;
        Ok(Self { client, provider, patience })
    }

    /// Who is asked, in words.
    pub(super) fn provider(&self) -> &str {
        &self.provider
    }

    /// A POST of this JSON.
    pub(super) fn post(&self, url: &Url, body: &Value) -> RequestBuilder {
        self.client.post(url.clone()).json(body)
    }

    /// What stands there, read once and within `patience`: its status, its headers and its body.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
        patience: Duration,
    ) -> Result<(u16, HeaderMap, Vec<u8>), Error> {
        let look = async {
            let response = self.client.get(url.clone()).headers(headers).send().await;
            let response = response.map_err(|error| self.broken(words(&error)))?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok((status, headers, read(response, MAX_LIST_BYTES).await))
        };
        timeout(patience, look).await.unwrap_or_else(|_| Err(self.silent(patience)))
    }

    /// Sends a call and folds what comes back, within the request's patience and only until its caller withdraws.
    pub(super) async fn call<F: Fold>(
        &self,
        call: RequestBuilder,
        streaming: bool,
        request: &Request,
        deltas: Option<Deltas>,
    ) -> Result<Completion, Error> {
        let answer = timeout(request.timeout, self.answer::<F>(call, streaming, request, deltas));
        match request.cancel.run_until_cancelled(answer).await {
            None => Err(Error::Cancelled),
            Some(Err(_)) => Err(self.silent(request.timeout)),
            Some(Ok(result)) => result,
        }
    }

    async fn answer<F: Fold>(
        &self,
        call: RequestBuilder,
        streaming: bool,
        request: &Request,
        deltas: Option<Deltas>,
    ) -> Result<Completion, Error> {
        // An answer in one piece has no first token: only the request's own timeout bounds it.
        let patience = if streaming { self.patience.first_token } else { request.timeout };
        let first_token = Instant::now() + patience;
        let response = timeout_at(first_token, call.send())
            .await
            .map_err(|_| self.silent(patience))?
            .map_err(|error| self.broken(words(&error)))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let request_id =
            ["request-id", "x-request-id"].iter().find_map(|name| headers.get(*name)?.to_str().ok());
        if !response.status().is_success() {
            // The status has arrived and says enough, should the body not.
            let body = timeout_at(first_token, read(response, MAX_ERROR_BYTES)).await;
            let body = body.unwrap_or_default();
            let complaint = F::complaint(status, &String::from_utf8_lossy(&body));
            return Err(failure(&self.provider, status, &headers, request_id, complaint));
        }
        let complain = |complaint: Complaint| {
            failure(&self.provider, complaint.status.unwrap_or(status), &headers, request_id, complaint)
        };
        let mut fold = F::default();
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        // A proxy may forget to say that a stream is one, or answer in one piece though it was asked for a stream.
        let streamed = kind.starts_with("text/event-stream") || (streaming && !kind.contains("json"));
        let (along, mut afterwards) = if streamed { (deltas, None) } else { (None, deltas) };
        if streamed {
            let bytes = Box::pin(response.bytes_stream()).map(|chunk| chunk.map_err(|error| words(&error)));
            self.follow(&mut fold, sse::events(bytes), first_token, along).await.map_err(
                |end| match end {
                    End::Error(error) => error,
                    End::Complaint(complaint) => complain(complaint),
                },
            )?;
        } else {
            let body = read(response, MAX_BODY_BYTES).await;
            let body = serde_json::from_slice(&body)
                .map_err(|error| self.broken(format!("an answer that is no JSON: {error}")))?;
            fold.whole(body).map_err(complain)?;
        }
        if !fold.has_stopped() {
            return Err(self.broken("the answer broke off".to_owned()));
        }
        let completion = fold.complete(request, request_id.map(str::to_owned));
        if !completion.text.is_empty() {
            deliver(&mut afterwards, completion.text.clone()).await;
        }
        Ok(completion)
    }

    /// Folds a stream to its end.
    async fn follow<F: Fold>(
        &self,
        fold: &mut F,
        mut events: impl Stream<Item = Result<Event, String>> + Unpin,
        first_token: Instant,
        mut deltas: Option<Deltas>,
    ) -> Result<(), End> {
        let (mut deadline, mut patience) = (first_token, self.patience.first_token);
        loop {
            let event = match timeout_at(deadline, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(None) => return Ok(()),
                Err(_) | Ok(Some(Err(_))) if fold.has_stopped() => return Ok(()),
                Err(_) => return Err(End::Error(self.silent(patience))),
                Ok(Some(Err(message))) => return Err(End::Error(self.broken(message))),
            };
            match fold.event(&event) {
                Ok(Progress::Nothing) => continue,
                Ok(Progress::Alive) => {}
                Ok(Progress::Text(text)) => deliver(&mut deltas, text).await,
                Ok(Progress::End) => {
                    // The end of the body, where it is here already, lets the connection serve the next call.
                    let _ = events.next().now_or_never();
                    return Ok(());
                }
                Err(_) if fold.has_stopped() => return Ok(()),
                Err(complaint) => return Err(End::Complaint(complaint)),
            }
            patience = if fold.has_stopped() { GRACE } else { self.patience.next_token };
            deadline = Instant::now() + patience;
        }
    }

    fn silent(&self, waited: Duration) -> Error {
        Error::Timeout { provider: self.provider.clone(), waited }
    }

    fn broken(&self, message: String) -> Error {
        Error::Connection { provider: self.provider.clone(), message }
    }
}

/// Why a stream cannot be followed to its end.
enum End {
    Error(Error),
    Complaint(Complaint),
}

/// Hands text on; once nobody listens any more, to nobody.
async fn deliver(deltas: &mut Option<Deltas>, text: String) {
    if let Some(listener) = deltas
        && listener.send(text).await.is_err()
    {
        *deltas = None;
    }
}

/// What can be read of a body, at most so many bytes of it.
async fn read(response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = Box::pin(response.bytes_stream());
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
        if body.len() == most {
            break;
        }
    }
    body
}

/// An error and its causes in one line, without the address, which may hold a password.
fn words(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut last = if error.is_connect() { "cannot connect".to_owned() } else { "broken off".to_owned() };
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    last
}
