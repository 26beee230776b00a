//! The hub: where ghosts in any language join the swarm over WebSocket.
//!
//! They register and say that they are alive ([`registry`]), find each other ([`directory`]), and get work ([`work`]);
//! [`rpc`] says who may ask what. Everything that matters lies in the broker: several hubs are doors to the same
//! swarm, and one that dies loses nothing. The wire is [`ghost_a2a`]'s, and told in `docs/protocol.md`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use ghost_a2a::session::{self, Session};
use ghost_a2a::upgrade;
use ghost_core::broker::{self, Broker};
use ghost_core::checks::Help;
use ghost_core::config::{self as settings, Secret};
use ghost_core::id::AgentId;
use ghost_core::stand_in::{self, StandIn};
use ghost_core::token::Token;
use ghost_service::door;
use ghost_service::health::Health;
use ghost_service::models;
use ghost_service::program::{self, Program, Start};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use directory::{Directory, FRESH};
use rpc::Conversation;
use work::Work;

mod cli;
mod directory;
mod registry;
mod rpc;
mod work;

/// How a hub behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name. Default: a fresh one.
    pub agent_id: AgentId,
    /// Where it listens (A2A_HOST). Default: 127.0.0.1.
    pub host: String,
    /// At which port (A2A_PORT); 0 takes a free one. Default: 8765.
    pub port: u16,
    /// What callers must know (GHOST_API_TOKEN). Default: nothing, and only callers on this machine.
    pub token: Option<Secret>,
    /// Whether it opens beyond this machine without a token (GHOST_ALLOW_ANONYMOUS). Default: no.
    pub allow_anonymous: bool,
    /// How each connection behaves.
    pub session: session::Config,
    /// How many connections it has at once. Default: 20,000.
    pub max_sessions: usize,
    /// How long a caller may stay that has not said who it is. Default: 10 s.
    pub hello: Duration,
    /// How often a claim looks for work that nobody woke it for. Default: 1 s.
    pub poll: Duration,
    /// How long after its start it still expects an evaluator to come. Default: 10 s.
    pub evaluator_grace: Duration,
    /// How long a judgement of its own may take, where there is no evaluator. Default: 30 s.
    pub lease: Duration,
    /// Who could do better than an answer that was rejected.
    pub help: Help,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent_id: AgentId::generate("hub"),
            host: "127.0.0.1".to_owned(),
            port: 8765,
            token: None,
            allow_anonymous: false,
            session: session::Config::default(),
            max_sessions: 20_000,
            hello: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            evaluator_grace: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            help: Help::default(),
        }
    }
}

/// What a hub works with.
#[derive(Clone)]
pub struct Deps {
    /// Where agents and tasks are.
    pub broker: Arc<dyn Broker>,
}

/// A hub that listens, ready to run.
pub struct Hub {
    inner: Arc<Inner>,
    listener: TcpListener,
    address: SocketAddr,
}

/// The way to a hub for callers that do not come over TCP; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

/// Why there is no hub.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or open to strangers without a token.
    #[error(transparent)]
    Door(#[from] door::Error),
    /// The store does not answer.
    #[error("the store does not answer")]
    Broker(#[from] broker::Error),
}

/// What all conversations of a hub share.
struct Inner {
    config: Config,
    broker: Arc<dyn Broker>,
    token: Option<Token>,
    directory: Directory,
    work: Work,
    /// Each conversation holds it once.
    present: Arc<()>,
}

impl Hub {
    /// A hub over these, that listens from now on.
    ///
    /// # Errors
    /// [`Error`] where the address is taken, open to strangers, or the store does not answer.
    pub async fn build(config: Config, deps: Deps) -> Result<Self, Error> {
        let place = door::Address {
            host: config.host.clone(),
            port: config.port,
            settings: ["A2A_HOST", "A2A_PORT"],
            token: config.token.clone(),
            allow_anonymous: config.allow_anonymous,
        };
        let (listener, address) = place.bind().await?;
        let Handle { inner } = Handle::new(config, deps).await?;
        Ok(Self { inner, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to it.
    pub fn handle(&self) -> Handle {
        Handle { inner: self.inner.clone() }
    }

    /// Lets `health` tell how many connections there are.
    pub fn tell(&self, health: &Health) {
        let handle = self.handle();
        health.gauge("ghost_a2a_connections", "Connections of ghosts to this hub", move || {
            handle.connections()
        });
    }

    /// Lets callers in until `shutdown`; then those who are there have five seconds to get their answers.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { inner, listener, address } = self;
        info!(agent.id = %inner.config.agent_id, "the hub listens on ws://{address}");
        let mut tasks = JoinSet::new();
        let background = shutdown.clone();
        let handle = Handle { inner: inner.clone() };
        tasks.spawn(async move { handle.look_after(background).await });
        let room = Arc::new(Semaphore::new(inner.config.max_sessions));
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
            while tasks.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let handle = Handle { inner: inner.clone() };
                    let shutdown = shutdown.clone();
                    tasks.spawn(async move {
                        handle.receive(stream, shutdown).await;
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
        let grace = inner.config.session.grace + Duration::from_secs(2);
        if timeout(grace, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            warn!("{} connections were cut off", tasks.len());
        }
        info!(agent.id = %inner.config.agent_id, "the hub has ended");
    }
}

impl Handle {
    /// A hub that listens nowhere.
    ///
    /// # Errors
    /// [`Error::Broker`] where the store does not answer.
    pub async fn new(config: Config, deps: Deps) -> Result<Self, Error> {
        let Deps { broker } = deps;
        let now = broker::patiently(|| broker.now()).await?;
        let judge = stand_in::Config {
            agent_id: config.agent_id.clone(),
            grace: config.evaluator_grace,
            lease: config.lease,
            help: config.help,
        };
        let inner = Inner {
            token: config.token.as_ref().map(|token| Token::new(token.reveal())),
            directory: Directory::new(broker.clone(), now.0),
            work: Work {
                broker: broker.clone(),
                stand_in: StandIn::new(judge, broker.clone()),
                poll: config.poll,
            },
            present: Arc::new(()),
            broker,
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How many callers are here.
    pub fn connections(&self) -> u64 {
        (Arc::strong_count(&self.inner.present) - 1) as u64
    }

    /// Has the conversation with one caller, until it or `shutdown` ends it.
    pub async fn attend<S>(&self, stream: S, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let inner = &self.inner;
        let _present = inner.present.clone();
        let (socket, known) = match upgrade::accept(stream, inner.token.as_ref()).await {
            Ok(accepted) => accepted,
            Err(error) => return debug!(error = %error, "a caller did not come in: {error}"),
        };
        let conversation = Arc::new(Conversation::new(inner.clone(), known));
        let session = Session::new(socket, conversation.clone(), inner.config.session);
        let peer = session.peer();
        let look = async {
            let stranger = async {
                if timeout(inner.config.hello, conversation.admitted.cancelled()).await.is_ok() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = stranger => {}
            }
            peer.close();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = session.run() => debug!("a conversation ended: {ended}"),
            () = look => {}
        }
    }

    /// Keeps what is known of the agents up to date, and judges where no evaluator is alive, until `shutdown`.
    pub async fn look_after(&self, shutdown: CancellationToken) {
        let read = async {
            loop {
                sleep(FRESH).await;
                // Who only asks has the agents read by asking.
                if !self.inner.directory.is_watched() {
                    continue;
                }
                if let Err(error) = self.inner.directory.refresh().await {
                    debug!(error = %error, "the agents could not be read: {error}");
                }
            }
        };
        tokio::select! {
            () = read => {}
            () = self.inner.work.stand_in.run(shutdown) => {}
        }
    }

    async fn receive(&self, stream: TcpStream, shutdown: CancellationToken) {
        // Frames are small, and each is waited for.
        if let Err(error) = stream.set_nodelay(true) {
            return debug!(error = %error, "a caller was gone at once: {error}");
        }
        self.attend(stream, shutdown).await;
    }
}

const PROGRAM: Program = Program { name: "ghost-a2a-hub", role: "hub", health_port: 8084 };

/// Runs a hub until it is told to end.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    program::main(PROGRAM, &cli.flags, cli.settings(), cli.command, serve)
}

async fn serve(start: Start) -> anyhow::Result<()> {
    let Start { settings, agent_id, broker, health, shutdown } = start;
    let hub = Hub::build(config(&settings, agent_id, models::help(&settings)?), Deps { broker }).await?;
    // Whoever started it with port 0 learns here where it is.
    program::say(&format!("ws://{}", hub.address()))?;
    hub.tell(&health);
    hub.run(shutdown.drain).await;
    Ok(())
}

/// How a hub of a swarm of several programs behaves.
pub fn config(settings: &settings::Config, agent_id: AgentId, help: Help) -> Config {
    Config {
        agent_id,
        host: settings.a2a.host.clone(),
        port: settings.a2a.port,
        token: settings.service.api_token.clone(),
        allow_anonymous: settings.service.allow_anonymous,
        lease: settings.broker.lease,
        help,
        ..Config::default()
    }
}
