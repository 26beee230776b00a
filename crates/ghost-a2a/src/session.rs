//! One connection between two peers. Both may call, both may answer; which of them dialled makes no difference.
//!
//! ```text
//! socket ─▶ read ─▶ at most 256 calls at once ─▶ handler ─▶ outbox (1 MiB) ─▶ write ─▶ socket
//! ```
//! Every stage is bounded. A call beyond the limit is refused with backpressure; where even the refusal finds no room
//! the session stops reading, so that the peer's own socket fills up. A peer that says nothing for 25 s, not even to a
//! ping, is dead.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::error::{BACKPRESSURE, DEADLINE, GAP, INTERNAL, RpcError};
use crate::frame::{Frame, Id, MAX_FRAME_BYTES, Malformed, Position, Request, Response};

/// How a session behaves.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Calls of one side that may be under way at once. Default: 256.
    pub in_flight: usize,
    /// Bytes that may wait to be written. Default: 1 MiB.
    pub outbox: usize,
    /// How often the peer is asked for a sign of life. Default: 10 s.
    pub ping: Duration,
    /// How long it may be silent. Default: 25 s.
    pub dead: Duration,
    /// How long handlers may go on once the connection is gone. Default: 5 s.
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            in_flight: 256,
            outbox: 1 << 20,
            ping: Duration::from_secs(10),
            dead: Duration::from_secs(25),
            grace: Duration::from_secs(5),
        }
    }
}

/// Answers what the peer asks.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one call. Where the connection goes it has five seconds left; who waits long looks at [`Peer::ending`].
    async fn call(&self, peer: &Peer, method: &str, params: Map<String, Value>) -> Result<Reply, RpcError>;
}

/// Answers nothing, as who only asks does.
#[derive(Debug, Clone, Copy)]
pub struct Mute;

#[async_trait]
impl Handler for Mute {
    async fn call(&self, _: &Peer, method: &str, _: Map<String, Value>) -> Result<Reply, RpcError> {
        Err(RpcError::unknown_method(method))
    }
}

/// What a handler answers.
pub enum Reply {
    /// One value.
    Value(Value),
    /// One after another, until the stream ends, fails, or the peer has heard enough.
    Stream(BoxStream<'static, Result<Part, RpcError>>),
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it says.
    pub value: Value,
    /// Where it stands.
    pub position: Position,
}

/// The other side of a connection; cheap to clone. It works while the session runs.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inner>,
}

/// A connection, ready to run.
pub struct Session<S> {
    socket: WebSocketStream<S>,
    handler: Arc<dyn Handler>,
    peer: Peer,
    outbox: mpsc::UnboundedReceiver<Outgoing>,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The peer answered with an error.
    #[error(transparent)]
    Refused(#[from] RpcError),
    /// The connection went; whether the call took effect is unknown.
    #[error("the connection went before the answer came")]
    Gone,
    /// The call would not fit into a frame; it was not sent.
    #[error("the call has {0} bytes, and a frame at most {MAX_FRAME_BYTES}")]
    TooLarge(usize),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The peer took its leave.
    #[error("the peer left")]
    Left,
    /// We took ours.
    #[error("we closed the connection")]
    Closed,
    /// The peer said nothing for too long.
    #[error("the peer was silent for {0:?}")]
    Silent(Duration),
    /// The peer sent more than a frame may have.
    #[error("the peer sent a frame of {0} bytes; a frame has at most {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    /// The peer sent binary data.
    #[error("the peer sent a binary frame; frames are text")]
    Binary,
    /// The peer sent what is no WebSocket.
    #[error("the peer broke the protocol: {0}")]
    Misbehaved(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

struct Inner {
    config: Config,
    outbox: mpsc::UnboundedSender<Outgoing>,
    /// Bytes that are still free in the outbox.
    room: Arc<Semaphore>,
    /// Calls of ours that may still be begun.
    calls: Arc<Semaphore>,
    next_id: AtomicI64,
    /// Our calls that wait for their answer.
    waiting: Mutex<HashMap<Id, Waiter>>,
    close: CancellationToken,
    gone: CancellationToken,
}

struct Outgoing {
    message: Message,
    /// Its room in the outbox, given back once it is written.
    _room: Option<OwnedSemaphorePermit>,
}

enum Waiter {
    Answer(oneshot::Sender<Result<Value, RpcError>>),
    Stream(mpsc::Sender<Result<Part, RpcError>>),
}

/// Parts of a stream that may wait for their listener.
const PARTS: usize = 256;
/// What a frame costs beside its text, so that tiny ones are bounded too.
const OVERHEAD: usize = 128;
/// Frames that are written before the socket is flushed.
const BATCH: usize = 64;
/// When a peer may come again that asked for too much.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the last words to a peer may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How the WebSocket itself is set up: the limits of frames, and small buffers, so that idle peers cost little.
pub fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .read_buffer_size(4 << 10)
        .write_buffer_size(4 << 10)
        .max_write_buffer_size(4 * MAX_FRAME_BYTES)
}

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// A session over a connection that is open.
    pub fn new(socket: WebSocketStream<S>, handler: Arc<dyn Handler>, config: Config) -> Self {
        // Bounded by the bytes that `room` gives out, and so by their number.
        let (sender, outbox) = mpsc::unbounded_channel();
        let inner = Inner {
            config,
            outbox: sender,
            room: Arc::new(Semaphore::new(config.outbox)),
            calls: Arc::new(Semaphore::new(config.in_flight)),
            next_id: AtomicI64::new(1),
            waiting: Mutex::default(),
            close: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        Self { socket, handler, peer: Peer { inner: Arc::new(inner) }, outbox }
    }

    /// The other side.
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// Carries calls and answers to and fro until the connection ends.
    pub async fn run(self) -> Ended {
        let Self { socket, handler, peer, outbox } = self;
        // Whoever drops this has hung up too.
        let _gone = peer.inner.gone.clone().drop_guard();
        let (mut sink, mut stream) = socket.split();
        let heard = Mutex::new(Instant::now());
        let mut calls = Calls::new(&peer, handler);
        let ended = {
            let mut writing = std::pin::pin!(write(&mut sink, outbox));
            let ended = tokio::select! {
                ended = read(&mut stream, &mut calls, &heard) => ended,
                ended = &mut writing => ended,
                ended = pulse(&peer, &heard) => ended,
                () = peer.inner.close.cancelled() => Ended::Closed,
            };
            peer.inner.close.cancel();
            if ended == Ended::Closed {
                // What was begun is finished, and its answers still go out.
                let finish = timeout(peer.inner.config.grace, async {
                    calls.ended().await;
                    peer.inner.written().await;
                });
                tokio::select! {
                    _ = &mut writing => {}
                    _ = finish => {}
                }
            }
            ended
        };
        peer.inner.gone.cancel();
        peer.inner.waiting().clear();
        // The peer may be gone already; it was told as far as it listens.
        let _ = timeout(FAREWELL, sink.send(Message::Close(Some(farewell(&ended))))).await;
        if timeout(peer.inner.config.grace, calls.ended()).await.is_err() {
            debug!("calls of a peer that is gone were cut off");
        }
        ended
    }
}

impl Peer {
    /// Asks the peer, and waits for its answer. With 256 calls under way it waits for one of them to end first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, method: &str, params: Map<String, Value>) -> Result<Value, CallError> {
        let _permit = self.permit().await?;
        let (answer, answered) = oneshot::channel();
        // A caller that gives up leaves no place behind.
        let place = self.inner.wait(Waiter::Answer(answer));
        self.inner.send_call(&place.id, method, params).await?;
        answered.await.map_err(|_| CallError::Gone)?.map_err(CallError::Refused)
    }

    /// Asks the peer for a stream. Whoever listens too slowly is cut off with a gap.
    ///
    /// # Errors
    /// [`CallError`]; an error of the peer comes as a part of the stream.
    pub async fn listen(&self, method: &str, params: Map<String, Value>) -> Result<Listening, CallError> {
        let permit = self.permit().await?;
        let (sender, parts) = mpsc::channel(PARTS);
        let place = self.inner.wait(Waiter::Stream(sender));
        self.inner.send_call(&place.id, method, params).await?;
        Ok(Listening { parts, place, _permit: permit })
    }

    /// Ends the session in good order: what is under way has five seconds to end and be answered.
    pub fn close(&self) {
        self.inner.close.cancel();
    }

    /// Cancelled once the session is about to end, however it does. Handlers that wait for something look at it.
    pub fn ending(&self) -> &CancellationToken {
        &self.inner.close
    }

    /// Cancelled once the connection is gone.
    pub fn gone(&self) -> &CancellationToken {
        &self.inner.gone
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, CallError> {
        let permit = self.inner.calls.clone().acquire_owned();
        let permit = self.gone().run_until_cancelled(permit).await;
        Ok(permit.ok_or(CallError::Gone)?.expect("nobody closes this semaphore"))
    }
}

/// A stream of the peer's.
pub struct Listening {
    parts: mpsc::Receiver<Result<Part, RpcError>>,
    place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Listening {
    /// The next part; none where the stream or the connection has ended.
    pub async fn next(&mut self) -> Option<Result<Part, RpcError>> {
        self.parts.recv().await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.place.inner.waiting().contains_key(&self.place.id) {
            self.place.inner.send_at_once(&Frame::CancelStream(self.place.id.clone()));
        }
    }
}

/// Where an answer is waited for; given up with its owner.
struct Place {
    inner: Arc<Inner>,
    id: Id,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.waiting().remove(&self.id);
    }
}

impl Inner {
    fn wait(self: &Arc<Self>, waiter: Waiter) -> Place {
        let id = Id::Number(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.waiting().insert(id.clone(), waiter);
        Place { inner: self.clone(), id }
    }

    async fn send_call(&self, id: &Id, method: &str, params: Map<String, Value>) -> Result<(), CallError> {
        let request = Request { id: Some(id.clone()), method: method.to_owned(), params, deadline: None };
        let text = Frame::Request(request).to_json();
        if text.len() > MAX_FRAME_BYTES {
            return Err(CallError::TooLarge(text.len()));
        }
        self.send(text).await
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Id, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame into the outbox once there is room.
    async fn send(&self, text: String) -> Result<(), CallError> {
        let cost = u32::try_from((text.len() + OVERHEAD).min(self.config.outbox)).unwrap_or(u32::MAX);
        let room = self.gone.run_until_cancelled(self.room.clone().acquire_many_owned(cost)).await;
        let room = room.ok_or(CallError::Gone)?.expect("nobody closes this semaphore");
        let outgoing = Outgoing { message: Message::text(text), _room: Some(room) };
        self.outbox.send(outgoing).map_err(|_| CallError::Gone)
    }

    /// Waits until everything in the outbox is written.
    async fn written(&self) {
        let all = u32::try_from(self.config.outbox).unwrap_or(u32::MAX);
        // Nobody closes this semaphore, and whoever waits here sends nothing more.
        let _ = self.room.acquire_many(all).await;
    }

    /// Puts a small frame into the outbox if there is room; the peer can do without it.
    fn send_at_once(&self, frame: &Frame) {
        let text = frame.to_json();
        let cost = u32::try_from(text.len() + OVERHEAD).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.clone().try_acquire_many_owned(cost) {
            // A closed outbox means that the peer is gone.
            let _ = self.outbox.send(Outgoing { message: Message::text(text), _room: Some(room) });
        }
    }

    async fn respond(&self, id: Option<Id>, outcome: Result<Value, RpcError>) {
        self.send_response(Response { id, outcome, position: None, stream_end: false }).await;
    }

    async fn send_response(&self, response: Response) {
        let mut text = Frame::Response(response.clone()).to_json();
        if text.len() > MAX_FRAME_BYTES {
            let words = format!("the answer has {} bytes, and a frame at most {MAX_FRAME_BYTES}", text.len());
            let outcome = Err(RpcError::new(INTERNAL, words));
            text = Frame::Response(Response { outcome, ..response }).to_json();
        }
        // A peer that is gone hears nothing.
        let _ = self.send(text).await;
    }

    /// Hands an answer to whoever waits for it.
    fn answered(&self, response: Response) {
        let Response { id, outcome, position, stream_end } = response;
        let Some(id) = id else {
            return debug!(error = ?outcome.err(), "the peer complains of a frame that belongs to no call");
        };
        let mut waiting = self.waiting();
        match waiting.get(&id) {
            Some(Waiter::Stream(parts)) => {
                let last = stream_end || outcome.is_err();
                let part = match (outcome, position) {
                    (Ok(value), Some(position)) => Some(Ok(Part { value, position })),
                    (Err(error), _) => Some(Err(error)),
                    (Ok(_), None) => None,
                };
                // The last place is kept for the word that some are missing.
                let full = part.is_some() && !last && parts.capacity() <= 1;
                let part = if full { Some(Err(gap())) } else { part };
                if let Some(part) = part {
                    // A listener that left cancels its stream itself.
                    let _ = parts.try_send(part);
                }
                if last || full {
                    waiting.remove(&id);
                }
                drop(waiting);
                if full {
                    self.send_at_once(&Frame::CancelStream(id));
                }
            }
            Some(Waiter::Answer(_)) => {
                if let Some(Waiter::Answer(answer)) = waiting.remove(&id) {
                    // Its caller may have given up.
                    let _ = answer.send(outcome);
                }
            }
            // Nobody listens any more, and the peer did not hear of it.
            None if position.is_some() => {
                drop(waiting);
                self.send_at_once(&Frame::CancelStream(id));
            }
            // Its caller gave up, or the peer answers what nobody asked.
            None => {}
        }
    }
}

/// That parts of a stream are missing.
pub fn gap() -> RpcError {
    RpcError::new(GAP, "some parts of the stream were missed, as they were not read in time; begin it anew")
}

/// The peer's calls that are under way.
struct Calls {
    peer: Peer,
    handler: Arc<dyn Handler>,
    room: Arc<Semaphore>,
    running: JoinSet<()>,
    /// Ends the streams that answer calls.
    streams: Arc<Streams>,
}

type Streams = Mutex<HashMap<Id, CancellationToken>>;

impl Calls {
    fn new(peer: &Peer, handler: Arc<dyn Handler>) -> Self {
        let room = Arc::new(Semaphore::new(peer.inner.config.in_flight));
        Self { peer: peer.clone(), handler, room, running: JoinSet::new(), streams: Arc::default() }
    }

    async fn take(&mut self, text: &str) {
        match Frame::parse(text) {
            Ok(Frame::Request(request)) => self.begin(request).await,
            Ok(Frame::Response(response)) => self.peer.inner.answered(response),
            Ok(Frame::CancelStream(id)) => {
                if let Some(stream) = streams(&self.streams).remove(&id) {
                    stream.cancel();
                }
            }
            Err(malformed) => {
                let Malformed { id, error, answer } = *malformed;
                if answer {
                    self.peer.inner.respond(id, Err(error)).await;
                } else {
                    debug!(error = %error, "the peer sent a broken answer: {error}");
                }
            }
        }
    }

    async fn begin(&mut self, request: Request) {
        while self.running.try_join_next().is_some() {}
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let words = format!(
                "{} calls are under way on this connection; wait for one of them to end",
                self.peer.inner.config.in_flight
            );
            let error = RpcError::new(BACKPRESSURE, words).retry_after(PATIENCE);
            return self.peer.inner.respond(request.id, Err(error)).await;
        };
        let (peer, handler, table) = (self.peer.clone(), self.handler.clone(), self.streams.clone());
        let cancel = CancellationToken::new();
        if let Some(id) = &request.id {
            streams(&table).insert(id.clone(), cancel.clone());
        }
        self.running.spawn(async move {
            let id = request.id.clone();
            answer(&peer, &*handler, request, &cancel).await;
            if let Some(id) = id {
                streams(&table).remove(&id);
            }
            drop(permit);
        });
    }

    /// Waits for what is under way.
    async fn ended(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

fn streams(table: &Streams) -> MutexGuard<'_, HashMap<Id, CancellationToken>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has one call answered.
async fn answer(peer: &Peer, handler: &dyn Handler, request: Request, cancel: &CancellationToken) {
    let Request { id, method, params, deadline } = request;
    let work = AssertUnwindSafe(handler.call(peer, &method, params)).catch_unwind();
    let answered = match deadline {
        Some(deadline) => timeout(deadline, work).await.unwrap_or_else(|_| {
            Ok(Err(RpcError::new(DEADLINE, format!("`{method}` was not done within {deadline:?}"))))
        }),
        None => work.await,
    };
    let reply = answered.unwrap_or_else(|_| {
        error!(method, "answering `{method}` panicked");
        Err(RpcError::new(INTERNAL, "the call met a bug here; its log says more"))
    });
    let Some(id) = id else { return };
    match reply {
        Ok(Reply::Value(value)) => peer.inner.respond(Some(id), Ok(value)).await,
        Err(error) => peer.inner.respond(Some(id), Err(error)).await,
        Ok(Reply::Stream(mut parts)) => {
            let last = loop {
                let part = tokio::select! {
                    biased;
                    () = cancel.cancelled() => break Ok(Value::Null),
                    () = peer.ending().cancelled() => break Ok(Value::Null),
                    part = parts.next() => part,
                };
                match part {
                    Some(Ok(Part { value, position })) => {
                        let position = Some(position);
                        let part = Response {
                            id: Some(id.clone()),
                            outcome: Ok(value),
                            position,
                            stream_end: false,
                        };
                        peer.inner.send_response(part).await;
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(Value::Null),
                }
            };
            let end = Response { id: Some(id), outcome: last, position: None, stream_end: true };
            peer.inner.send_response(end).await;
        }
    }
}

async fn read<S>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    calls: &mut Calls,
    heard: &Mutex<Instant>,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = match stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return broken(error),
            None => return Ended::Left,
        };
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match message {
            Message::Text(text) => calls.take(&text).await,
            Message::Binary(_) => return Ended::Binary,
            Message::Close(_) => return Ended::Left,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

async fn write<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    mut outbox: mpsc::UnboundedReceiver<Outgoing>,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut batch = Vec::new();
    while outbox.recv_many(&mut batch, BATCH).await > 0 {
        // The room is free again only once the bytes have left us.
        let mut written = Vec::with_capacity(batch.len());
        for Outgoing { message, _room: room } in batch.drain(..) {
            if let Err(error) = sink.feed(message).await {
                return broken(error);
            }
            written.push(room);
        }
        if let Err(error) = sink.flush().await {
            return broken(error);
        }
    }
    Ended::Closed
}

/// Pings, and returns once the peer counts as dead.
async fn pulse(peer: &Peer, heard: &Mutex<Instant>) -> Ended {
    let Config { ping, dead, .. } = peer.inner.config;
    let beat = async {
        loop {
            sleep(ping).await;
            // A ping costs no room: there is one at most in ten seconds, and a full outbox is no reason to be silent.
            let ping = Outgoing { message: Message::Ping(Bytes::new()), _room: None };
            if peer.inner.outbox.send(ping).is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let silence = async {
        loop {
            let last = *heard.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= dead {
                return Ended::Silent(dead);
            }
            sleep_until(last + dead).await;
        }
    };
    tokio::select! {
        () = beat => Ended::Closed,
        ended = silence => ended,
    }
}

fn broken(error: WsError) -> Ended {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => Ended::Left,
        WsError::Capacity(CapacityError::MessageTooLong { size, .. }) => Ended::TooLarge(size),
        WsError::Capacity(_) | WsError::Protocol(_) | WsError::Utf8(_) | WsError::AttackAttempt => {
            Ended::Misbehaved(error.to_string())
        }
        error => Ended::Broken(error.to_string()),
    }
}

/// What the peer is told at the end; a close frame holds at most 123 bytes of words.
fn farewell(ended: &Ended) -> CloseFrame {
    let (code, mut words) = match ended {
        Ended::Left | Ended::Broken(_) => (CloseCode::Normal, String::new()),
        Ended::Closed => (CloseCode::Away, "going away; connect again".to_owned()),
        Ended::Silent(_) => (CloseCode::Policy, ended.to_string()),
        Ended::TooLarge(_) => (CloseCode::Size, ended.to_string()),
        Ended::Binary => (CloseCode::Unsupported, ended.to_string()),
        Ended::Misbehaved(words) => (CloseCode::Protocol, words.clone()),
    };
    let end = (0..=words.len().min(123)).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    words.truncate(end);
    CloseFrame { code, reason: words.into() }
}

#[cfg(test)]
mod tests;
