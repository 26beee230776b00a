//! One guard for every door of the swarm: where it listens, who may come in, and how much of whatever they bring.
//!
//! [`Address`] is the rule for all of them: a door that strangers can reach needs GHOST_API_TOKEN. [`Door`] keeps an HTTP
//! door on top of that: it asks for the token (where there is none, it keeps out pages in a browser), bounds what
//! callers may hold and how long they may take, and ends in good order. [`Problem`] is how it says no.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use ghost_core::config::Secret;
use ghost_core::token::Token;
use http_body_util::LengthLimitError;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod problem;
#[cfg(test)]
mod tests;

pub use problem::Problem;

/// Where a door is, and who may come in.
#[derive(Debug, Clone)]
pub struct Address {
    /// The address or the name to listen at.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The settings that say so, for messages: those of the host and of the port.
    pub settings: [&'static str; 2],
    /// What callers must know (GHOST_API_TOKEN).
    pub token: Option<Secret>,
    /// Whether it opens to strangers without a token (GHOST_ALLOW_ANONYMOUS).
    pub allow_anonymous: bool,
}

/// How much callers may hold, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes that a request may bring. Default: 4 MiB.
    pub body_bytes: usize,
    /// How many connections there are at once; more wait outside. Default: 2,048.
    pub connections: usize,
    /// How many requests are worked on at once; more are refused. Default: 512.
    pub requests: usize,
    /// How long a caller may take for the head of a request, and stay silent between two. Default: 30 s.
    pub head: Duration,
    /// How long a caller may take for the rest of a request. Default: 30 s.
    pub body: Duration,
    /// How long a caller may leave unread what is sent to it. Default: 30 s.
    pub write: Duration,
    /// How long requests may take to end once the door closes. Default: 5 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            connections: 2_048,
            requests: 512,
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Why a door stays shut.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error(
        "cannot listen on {host}:{port}; is another one running there? Choose another place with {} or {}", .settings[0], .settings[1]
    )]
    Taken {
        /// Where.
        host: String,
        /// At which port.
        port: u16,
        /// The settings that say so.
        settings: [&'static str; 2],
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Strangers could reach it, and it would ask them for nothing.
    #[error(
        "{address} can be reached from other machines, so that GHOST_API_TOKEN is needed there; \
         set it, or {host_setting}=127.0.0.1, or GHOST_ALLOW_ANONYMOUS=1 where the network shuts strangers out"
    )]
    Open {
        /// Where it would be.
        address: SocketAddr,
        /// The setting that says so.
        host_setting: &'static str,
    },
}

impl Address {
    /// Listens there.
    ///
    /// # Errors
    /// [`Error`] where the address is taken, or open to strangers without a token.
    pub async fn bind(&self) -> Result<(TcpListener, SocketAddr), Error> {
        let taken = |source| Error::Taken {
            host: self.host.clone(),
            port: self.port,
            settings: self.settings,
            source,
        };
        let listener = TcpListener::bind((self.host.as_str(), self.port)).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        if !is_loopback(address) && self.token.is_none() && !self.allow_anonymous {
            return Err(Error::Open { address, host_setting: self.settings[0] });
        }
        Ok((listener, address))
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A door for HTTP that listens, and lets nobody in yet.
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    guard: Guard,
}

/// Who stands at the door.
struct Guard {
    token: Option<Token>,
    /// Only callers on this machine can reach it.
    local: bool,
    limits: Limits,
    requests: Semaphore,
    wording: Wording,
}

/// How a refusal is written where callers expect a form of their own.
pub type Wording = fn(&Problem) -> Value;

impl Door {
    /// Listens at an address.
    ///
    /// # Errors
    /// [`Error`] where the address is taken, or open to strangers without a token.
    pub async fn open(at: &Address, limits: Limits) -> Result<Self, Error> {
        let (listener, address) = at.bind().await?;
        let guard = Guard {
            token: at.token.as_ref().map(|token| Token::new(token.reveal())),
            local: is_loopback(address),
            requests: Semaphore::new(limits.requests),
            limits,
            wording: Problem::json,
        };
        Ok(Self { listener, address, guard })
    }

    /// The same door, refusing in these words.
    pub fn wording(self, wording: Wording) -> Self {
        Self { guard: Guard { wording, ..self.guard }, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets callers in to `guarded` who know the token, and everybody to `open`, until `shutdown`; then those who are
    /// there have a while to get their answers.
    pub async fn serve(self, guarded: Router, open: Router, shutdown: CancellationToken) {
        let Self { listener, guard, .. } = self;
        let limits = guard.limits;
        let guard = Arc::new(guard);
        let bounds = middleware::from_fn_with_state(guard.clone(), bounded);
        // The last layer comes first: nothing is read from whom nobody knows.
        let guarded = guarded.layer(bounds.clone()).layer(middleware::from_fn_with_state(guard, known));
        // Whatever is not open is guarded, also what there is not.
        let routes = open.layer(bounds).fallback_service(guarded);
        let room = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let permit = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                permit = room.clone().acquire_owned() => permit.expect("nobody closes this semaphore"),
            };
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let (routes, shutdown) = (routes.clone(), shutdown.clone());
                    connections.spawn(async move {
                        converse(stream, routes, limits, shutdown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(error = %error, "no connection could be accepted: {error}");
                    // As where the process has no file descriptors left: others must close first.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        if timeout(limits.drain, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            info!("{} connections were cut off", connections.len());
        }
    }
}

/// Serves one connection until it or `shutdown` ends it.
async fn converse(stream: TcpStream, routes: Router, limits: Limits, shutdown: CancellationToken) {
    // Events are small, and each is waited for.
    if let Err(error) = stream.set_nodelay(true) {
        return debug!(error = %error, "a caller was gone at once: {error}");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error, "a connection ended: {error}");
    }
}

/// Lets a request pass that comes from whom it may come from.
async fn known(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => guard.refuse(&problem),
    }
}

/// Bounds how many requests are worked on, and hands each on when it is here as a whole.
async fn bounded(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = guard.requests.try_acquire() else {
        let busy =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests at once; try again");
        return guard.refuse(&busy.after(Duration::from_secs(1)));
    };
    match guard.whole(request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => guard.refuse(&problem),
    }
}

impl Guard {
    fn refuse(&self, problem: &Problem) -> Response {
        problem.response(&(self.wording)(problem))
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return self.admit_stranger(headers) };
        let unauthorized = |words| Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", words));
        let given = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        match given {
            None => unauthorized("send GHOST_API_TOKEN as `Authorization: Bearer …`"),
            Some(given) if bearer(given).is_some_and(|given| token.is(given)) => Ok(()),
            Some(_) => unauthorized("this is not the token of this swarm (GHOST_API_TOKEN)"),
        }
    }

    /// Without a token, any page on the web could talk to a door on this machine through the browser of whoever looks
    /// at it: under its own name, which it lets point to here, or across origins.
    fn admit_stranger(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |words| Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", words));
        let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let host = hosts.next();
        if hosts.next().is_some() {
            return forbidden("one Host is enough");
        }
        if self.local && host.is_some_and(|host| !is_local(host)) {
            return forbidden(
                "without GHOST_API_TOKEN this door is only known as localhost, 127.0.0.1 or ::1",
            );
        }
        match headers.get(ORIGIN) {
            Some(origin) if origin.to_str().ok().and_then(authority) != host => {
                forbidden("pages of other origins are let in only where GHOST_API_TOKEN is set")
            }
            _ => Ok(()),
        }
    }

    /// The request with its whole body.
    async fn whole(&self, request: Request) -> Result<Request, Problem> {
        let Limits { body_bytes, body: patience, .. } = self.limits;
        let too_large = || {
            let words = format!("a request brings at most {body_bytes} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", words)
        };
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if announced.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > body_bytes) {
            return Err(too_large());
        }
        let (head, body) = request.into_parts();
        match timeout(patience, to_bytes(body, body_bytes)).await {
            Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
            Ok(Err(error)) if is_length(&error) => Err(too_large()),
            Ok(Err(_)) => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the request broke off or is no HTTP",
            )),
            Err(_) => {
                let words = format!("the request did not arrive within {patience:?}");
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", words))
            }
        }
    }
}

fn is_length(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

/// What `Bearer …` holds.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, given) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}

/// The host and port of an origin.
fn authority(origin: &str) -> Option<&str> {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

/// Whether a Host header names this machine: nobody else can let these names point elsewhere.
fn is_local(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port.strip_prefix(':')),
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let name = name.trim_end_matches('.');
    let named = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    let numbered = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    (named || numbered) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}
