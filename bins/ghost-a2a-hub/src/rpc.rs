//! What can be asked of a hub, and who may ask it: one [`Conversation`] a connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ghost_a2a::SUBPROTOCOL;
use ghost_a2a::error::{FORBIDDEN, LEASE_LOST, RpcError, UNAUTHENTICATED, UNREACHABLE};
use ghost_a2a::frame::MAX_FRAME_BYTES;
use ghost_a2a::session::{Handler, Peer, Reply};
use ghost_core::broker::patiently;
use ghost_core::id::AgentId;
use ghost_core::messages::{AgentInfo, AgentStatus};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Inner;
use crate::registry::{Discover, Health, Proof, Register, Registration, ended, health, renewed, view};
use crate::work::{ClaimWork, away};

/// One connection's part of the hub.
pub(crate) struct Conversation {
    hub: Arc<Inner>,
    known: AtomicBool,
    /// Cancelled once the caller is known.
    pub(crate) admitted: CancellationToken,
    /// Whom the caller speaks for.
    bound: Mutex<Option<Bound>>,
}

#[derive(Clone)]
struct Bound {
    proof: Proof,
    info: AgentInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hello {
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Renew {
    agent_id: AgentId,
    lease_id: String,
    epoch: u64,
    status: Option<AgentStatus>,
    current_load: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deregister {
    agent_id: AgentId,
    lease_id: String,
    epoch: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfAgent {
    agent_id: AgentId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Check {
    agent_id: Option<AgentId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HealthReport {
    status: Option<AgentStatus>,
    current_load: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[async_trait]
impl Handler for Conversation {
    async fn call(&self, peer: &Peer, method: &str, params: Map<String, Value>) -> Result<Reply, RpcError> {
        if method == "ghost.session.hello" {
            return self.hello(peer, read(params)?).map(Reply::Value);
        }
        if !self.known.load(Ordering::SeqCst) {
            let words =
                "say ghost.session.hello with the token first, or send it as a bearer with the upgrade";
            return Err(RpcError::new(UNAUTHENTICATED, words));
        }
        let work = &self.hub.work;
        let value = match method {
            "ghost.registry.register" => self.register(read(params)?).await?,
            "ghost.registry.renew" => self.renew(read(params)?).await?,
            "ghost.registry.deregister" => self.deregister(read(params)?).await?,
            "ghost.registry.discover" => self.discover(&read(params)?).await?,
            "ghost.registry.resolve" => self.resolve(&read(params)?).await?,
            "ghost.registry.watch" => {
                let Nothing {} = read(params)?;
                self.fresh().await?;
                return Ok(Reply::Stream(self.hub.directory.watch()));
            }
            "ghost.health.check" => self.check(&read(params)?).await?,
            "ghost.health.report" => self.health_report(&read(params)?).await?,
            "ghost.work.claim" => self.claim(peer, &read(params)?).await?,
            "ghost.work.renew" => work.renew(read(params)?).await?,
            "ghost.work.report" => work.report(read(params)?).await?,
            "ghost.work.release" => work.release(read(params)?).await?,
            other => return Err(RpcError::unknown_method(other)),
        };
        Ok(Reply::Value(value))
    }
}

impl Conversation {
    /// A conversation with somebody who is known already, or not yet.
    pub(crate) fn new(hub: Arc<Inner>, known: bool) -> Self {
        let admitted = CancellationToken::new();
        if known {
            admitted.cancel();
        }
        Self { hub, known: AtomicBool::new(known), admitted, bound: Mutex::default() }
    }

    fn hello(&self, peer: &Peer, hello: Hello) -> Result<Value, RpcError> {
        match (&self.hub.token, &hello.token) {
            (Some(token), Some(given)) if token.is(given) => {
                self.known.store(true, Ordering::SeqCst);
                self.admitted.cancel();
            }
            (Some(_), Some(_)) => {
                warn!("somebody said hello with a wrong token and was sent away");
                // One guess a connection.
                peer.close();
                return Err(RpcError::new(
                    UNAUTHENTICATED,
                    "this is not the token of this swarm (GHOST_API_TOKEN)",
                ));
            }
            (Some(_), None) if !self.known.load(Ordering::SeqCst) => {
                return Err(RpcError::new(UNAUTHENTICATED, "this hub asks for a token (GHOST_API_TOKEN)"));
            }
            _ => {}
        }
        let session = self.hub.config.session;
        Ok(json!({
            "protocol": SUBPROTOCOL,
            "hub": self.hub.config.agent_id,
            "limits": {
                "frameBytes": MAX_FRAME_BYTES,
                "inFlight": session.in_flight,
                "outboxBytes": session.outbox,
                "pingMs": u64::try_from(session.ping.as_millis()).unwrap_or(u64::MAX),
                "deadMs": u64::try_from(session.dead.as_millis()).unwrap_or(u64::MAX),
            },
        }))
    }

    async fn register(&self, register: Register) -> Result<Value, RpcError> {
        register.check()?;
        let broker = &self.hub.broker;
        let agent_id = register.agent_id.clone().unwrap_or_else(|| AgentId::generate("ghost"));
        // A registration decides who is who, so it looks at the store itself.
        let agents = patiently(|| broker.agents()).await.map_err(|error| away(&error))?;
        let now = patiently(|| broker.now()).await.map_err(|error| away(&error))?;
        let present = agents.into_iter().find(|info| info.agent_id == agent_id);
        let (info, proof) = register.join(agent_id, present.as_ref(), now)?;
        let lease = self.announce(info.clone()).await?;
        info!(event = "agent_joined", agent.id = %info.agent_id, epoch = proof.epoch, "{} joined and takes up to {} tasks at once", info.agent_id, info.max_load);
        let answer = json!({
            "agentId": proof.agent_id,
            "leaseId": proof.lease_id,
            "epoch": proof.epoch,
            "leaseMs": lease,
            "renewEveryMs": lease / 3,
        });
        self.bind(Bound { proof, info });
        Ok(answer)
    }

    async fn renew(&self, renew: Renew) -> Result<Value, RpcError> {
        let Renew { agent_id, lease_id, epoch, status, current_load } = renew;
        let proof = Proof { agent_id, lease_id, epoch };
        let info = self.spoken_for(&proof).await?;
        let lease = self.say(proof, info, status, current_load).await?;
        Ok(json!({"epoch": epoch, "leaseMs": lease, "renewEveryMs": lease / 3}))
    }

    async fn deregister(&self, deregister: Deregister) -> Result<Value, RpcError> {
        let Deregister { agent_id, lease_id, epoch } = deregister;
        let proof = Proof { agent_id, lease_id, epoch };
        match self.spoken_for(&proof).await {
            Ok(_) => {}
            // It is gone already, as where the first answer was lost.
            Err(error) if error.code == LEASE_LOST => return Ok(json!({})),
            Err(error) => return Err(error),
        }
        let id = &proof.agent_id;
        patiently(|| self.hub.broker.withdraw(id)).await.map_err(|error| away(&error))?;
        self.hub.directory.note_left(id);
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = None;
        info!(event = "agent_left", agent.id = %id, "{id} left");
        Ok(json!({}))
    }

    async fn discover(&self, query: &Discover) -> Result<Value, RpcError> {
        self.fresh().await?;
        let (agents, next) = self.hub.directory.find(query);
        Ok(json!({"agents": agents, "nextPageToken": next}))
    }

    async fn resolve(&self, asked: &OfAgent) -> Result<Value, RpcError> {
        self.fresh().await?;
        let directory = &self.hub.directory;
        let info = directory.get(&asked.agent_id).ok_or_else(|| {
            RpcError::new(UNREACHABLE, format!("no agent {} is alive; discover says who is", asked.agent_id))
        })?;
        Ok(view(&info, directory.now()))
    }

    async fn check(&self, check: &Check) -> Result<Value, RpcError> {
        self.fresh().await?;
        let directory = &self.hub.directory;
        let Some(id) = &check.agent_id else {
            return Ok(
                json!({"health": Health::Up, "hub": self.hub.config.agent_id, "agents": directory.len()}),
            );
        };
        let Some(info) = directory.get(id) else {
            return Ok(json!({"agentId": id, "health": Health::Down}));
        };
        Ok(json!({
            "agentId": id,
            "health": health(&info, directory.now()),
            "status": info.status,
            "currentLoad": info.current_load,
            "maxLoad": info.max_load,
        }))
    }

    async fn health_report(&self, report: &HealthReport) -> Result<Value, RpcError> {
        let Bound { proof, .. } = self.bound()?;
        let info = self.spoken_for(&proof).await?;
        let lease = self.say(proof, info, report.status, report.current_load).await?;
        Ok(json!({"renewEveryMs": lease / 3}))
    }

    async fn claim(&self, peer: &Peer, asked: &ClaimWork) -> Result<Value, RpcError> {
        asked.check()?;
        let Bound { proof, .. } = self.bound()?;
        let info = self.spoken_for(&proof).await?;
        let capabilities = match &asked.capabilities {
            None => info.capabilities,
            Some(some) => match some.iter().find(|some| !info.capabilities.contains(some)) {
                None => some.clone(),
                Some(other) => {
                    let words = format!("{} did not register the capability `{other}`", proof.agent_id);
                    return Err(RpcError::new(FORBIDDEN, words));
                }
            },
        };
        self.hub.work.claim(&proof.agent_id, capabilities, asked, peer.ending()).await
    }

    /// The record of the agent that this proof speaks for.
    async fn spoken_for(&self, proof: &Proof) -> Result<AgentInfo, RpcError> {
        self.fresh().await?;
        let present = self.hub.directory.get(&proof.agent_id);
        match proof.holds(present.as_ref()) {
            Ok(()) => present.ok_or_else(|| ended(&proof.agent_id)),
            // A slower hub may have written the older instance over this one: what was registered here stands.
            Err(error) => match (self.bound(), present.as_ref().and_then(Registration::of)) {
                (Ok(bound), Some(older)) if bound.proof == *proof && older.epoch < proof.epoch => {
                    Ok(bound.info)
                }
                _ => Err(error),
            },
        }
    }

    /// Writes that an agent has just said something, and how it is.
    async fn say(
        &self,
        proof: Proof,
        info: AgentInfo,
        status: Option<AgentStatus>,
        current_load: Option<u32>,
    ) -> Result<u64, RpcError> {
        let now = self.hub.directory.now();
        let mut info = renewed(&info, now);
        info.status = status.unwrap_or(info.status);
        info.current_load = current_load.unwrap_or(info.current_load);
        let lease = self.announce(info.clone()).await?;
        self.bind(Bound { proof, info });
        Ok(lease)
    }

    async fn announce(&self, info: AgentInfo) -> Result<u64, RpcError> {
        let registration = Registration::of(&info).ok_or_else(|| ended(&info.agent_id))?;
        let lease = registration.lease();
        patiently(|| self.hub.broker.announce(&info, lease)).await.map_err(|error| away(&error))?;
        self.hub.directory.note(info, self.hub.directory.now());
        Ok(registration.lease_ms)
    }

    async fn fresh(&self) -> Result<(), RpcError> {
        self.hub.directory.refresh().await.map_err(|error| away(&error))
    }

    fn bind(&self, bound: Bound) {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
    }

    fn bound(&self) -> Result<Bound, RpcError> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone();
        bound.ok_or_else(|| {
            RpcError::new(FORBIDDEN, "register first, or renew a registration, on this connection")
        })
    }
}

/// Parameters as a method takes them; names that it does not know are refused, since they may be meant.
fn read<T: DeserializeOwned>(params: Map<String, Value>) -> Result<T, RpcError> {
    serde_json::from_value(Value::Object(params)).map_err(|error| RpcError::invalid_params(error.to_string()))
}
