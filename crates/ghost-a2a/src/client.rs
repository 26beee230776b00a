//! A connection that is made again whenever it goes.
//!
//! [`Client::run`] dials, has the session run, and dials again after a wait of 50 ms to 5 s that is all chance, so that
//! a hub that comes back is not met by all its peers at the same moment. Whoever holds a [`Handle`] waits for the
//! current session; a call that was cut off is not repeated here, since only its caller knows whether it may be.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::retry::Backoff;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::SUBPROTOCOL;
use crate::session::{self, Handler, Peer, Session, websocket_config};
use crate::upgrade::HANDSHAKE;

/// The waits between tries.
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(50), Duration::from_secs(5));
/// A connection that held for so long was a good one, and the waits begin anew.
const STEADY: Duration = Duration::from_secs(10);

/// Whom to call, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The hub, as in `ws://127.0.0.1:8765`.
    pub url: String,
    /// What it asks for, if it does.
    pub token: Option<String>,
    /// How each session behaves.
    pub session: session::Config,
}

/// Why there is no connection, and will not be by trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0} is no address of a hub; one looks like ws://127.0.0.1:8765")]
    Address(String),
    /// The hub does not let us in.
    #[error("the hub refused us with status {status}: {words}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        words: String,
    },
}

/// Keeps up a connection.
pub struct Client {
    config: Config,
    address: Uri,
    handler: Arc<dyn Handler>,
    current: watch::Sender<Option<Peer>>,
}

/// The way to the current session; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    current: watch::Receiver<Option<Peer>>,
}

impl Handle {
    /// The peer of the current session; waits for one where there is none. None once the client has ended.
    pub async fn peer(&mut self) -> Option<Peer> {
        let current =
            self.current.wait_for(|peer| peer.as_ref().is_some_and(|peer| !peer.gone().is_cancelled()));
        current.await.ok()?.clone()
    }
}

impl Client {
    /// A client that lets `handler` answer what the hub asks.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn build(config: Config, handler: Arc<dyn Handler>) -> Result<Self, Error> {
        let no_address = || Error::Address(config.url.clone());
        let address: Uri = config.url.parse().map_err(|_| no_address())?;
        if address.scheme_str() != Some("ws") || address.host().is_none() {
            return Err(no_address());
        }
        Ok(Self { config, address, handler, current: watch::channel(None).0 })
    }

    /// The way to its sessions.
    pub fn handle(&self) -> Handle {
        Handle { current: self.current.subscribe() }
    }

    /// Keeps the connection up until `shutdown`.
    ///
    /// # Errors
    /// [`Error::Refused`] where the hub will not have us: another try would end the same.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut chance = fastrand::Rng::new();
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let trouble = match shutdown.run_until_cancelled(self.dial()).await {
                None => return Ok(()),
                Some(Ok(session)) => {
                    let ended = self.keep(session, &shutdown).await;
                    if shutdown.is_cancelled() {
                        return Ok(());
                    }
                    ended
                }
                Some(Err(Trouble::Never(error))) => return Err(error),
                Some(Err(Trouble::Again(words))) => words,
            };
            if began.elapsed() >= STEADY {
                failures = 0;
            }
            failures += 1;
            let wait = BACKOFF.all_by_chance(failures, &mut chance);
            warn!(
                error = trouble,
                wait_ms = wait.as_millis(),
                "no connection to {}: {trouble}",
                self.config.url
            );
            if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn keep(&self, session: Session<TcpStream>, shutdown: &CancellationToken) -> String {
        info!("connected to {}", self.config.url);
        let peer = session.peer();
        self.current.send_replace(Some(peer.clone()));
        let close = async {
            shutdown.cancelled().await;
            peer.close();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = session.run() => ended.to_string(),
            () = close => unreachable!("it waits for ever"),
        };
        self.current.send_replace(None);
        ended
    }

    async fn dial(&self) -> Result<Session<TcpStream>, Trouble> {
        let connect = timeout(HANDSHAKE, self.open()).await;
        connect.unwrap_or_else(|_| Err(Trouble::Again(format!("nobody answered within {HANDSHAKE:?}"))))
    }

    async fn open(&self) -> Result<Session<TcpStream>, Trouble> {
        let again = |error: &dyn std::fmt::Display| Trouble::Again(error.to_string());
        let host = self.address.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.address.port_u16().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await.map_err(|error| again(&error))?;
        // Frames are small, and each is waited for.
        stream.set_nodelay(true).map_err(|error| again(&error))?;
        let mut request = ClientRequestBuilder::new(self.address.clone()).with_sub_protocol(SUBPROTOCOL);
        if let Some(token) = &self.config.token {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        let request = request.into_client_request().map_err(|error| again(&error))?;
        let opened = client_async_with_config(request, stream, Some(websocket_config())).await;
        let (socket, _) = opened.map_err(|error| match error {
            WsError::Http(response) if response.status().is_client_error() => {
                let words = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                let words = words.chars().take(200).collect::<String>().trim().to_owned();
                Trouble::Never(Error::Refused { status: response.status().as_u16(), words })
            }
            error => again(&error),
        })?;
        Ok(Session::new(socket, self.handler.clone(), self.config.session))
    }
}

enum Trouble {
    Again(String),
    Never(Error),
}

#[cfg(test)]
mod tests {
    use ghost_core::token::Token;
    use serde_json::{Map, Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::RpcError;
    use crate::session::{Mute, Reply};
    use crate::upgrade;

    /// Answers `again` by closing the connection in good order, and anything else with its own name.
    struct Server;

    #[async_trait::async_trait]
    impl Handler for Server {
        async fn call(&self, peer: &Peer, method: &str, _: Map<String, Value>) -> Result<Reply, RpcError> {
            if method == "again" {
                peer.close();
            }
            Ok(Reply::Value(json!(method)))
        }
    }

    /// A server on a port of its own, which asks for a token.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("ws://{}", listener.local_addr().expect("it listens"));
        tokio::spawn(async move {
            let token = Token::new("s3cret");
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok((socket, _)) = upgrade::accept(stream, Some(&token)).await {
                    Session::new(socket, Arc::new(Server), session::Config::default()).run().await;
                }
            }
        });
        url
    }

    fn client(url: String, token: &str) -> Client {
        let config = Config { url, token: Some(token.to_owned()), session: session::Config::default() };
        Client::build(config, Arc::new(Mute)).expect("an address")
    }

    #[tokio::test]
    async fn a_connection_that_went_is_made_again() {
        let client = client(server().await, "s3cret");
        let (mut handle, shutdown) = (client.handle(), CancellationToken::new());
        let running = tokio::spawn(client.run(shutdown.clone()));
        for _ in 0..3 {
            let peer = handle.peer().await.expect("a connection");
            assert_eq!(peer.call("hello", Map::new()).await, Ok(json!("hello")));
            assert_eq!(peer.call("again", Map::new()).await, Ok(json!("again")));
            peer.gone().cancelled().await;
        }
        shutdown.cancel();
        assert_eq!(running.await.expect("no panic"), Ok(()));
        assert!(handle.peer().await.is_none(), "it has ended");
    }

    #[tokio::test]
    async fn who_is_not_let_in_does_not_try_again() {
        let client = client(server().await, "wrong");
        let refused = client.run(CancellationToken::new()).await.expect_err("the token is wrong");
        let Error::Refused { status, words } = refused else { panic!("{refused}") };
        assert_eq!((status, words.contains("GHOST_API_TOKEN")), (401, true));
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for url in ["", "127.0.0.1:8765", "http://127.0.0.1:8765", "ws://"] {
            let config = Config { url: url.to_owned(), token: None, session: session::Config::default() };
            assert!(matches!(Client::build(config, Arc::new(Mute)), Err(Error::Address(_))), "{url}");
        }
    }
}
