//! Tells how a program is: /healthz (it lives), /readyz (it can work), /metrics (numbers for Prometheus).
//!
//! /healthz never touches the broker, so that an orchestrator of containers does not kill what only waits for Redis.
//! /readyz does, and also says what the program itself still waits for, as for its model. [`ask`] is the other side.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ghost_core::broker::Broker;
use ghost_core::id::{TaskId, TaskKey};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::door::Door;
use crate::metrics::{self, COUNTER, GAUGE, Own, Store, Swarm};

#[cfg(test)]
mod tests;

/// How long the broker may take before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a program is; cheap to clone.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    program: &'static str,
    /// Empty until it is known; none where the program needs none.
    broker: OnceLock<Option<Arc<dyn Broker>>>,
    /// Set once the program is told to end: nobody should send it more.
    draining: CancellationToken,
    /// What it waits for, by name.
    waits: Mutex<BTreeMap<&'static str, usize>>,
    own: Mutex<Vec<Own>>,
}

/// Something that a program waits for before it can work, for as long as this lives.
pub struct Wait {
    health: Health,
    what: &'static str,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waits = lock(&self.health.inner.waits);
        if let Some(n) = waits.get_mut(self.what) {
            *n -= 1;
        }
        waits.retain(|_, n| *n > 0);
    }
}

impl Health {
    /// How this program is; it is not ready once `draining` is cancelled.
    pub fn new(program: &'static str, draining: CancellationToken) -> Self {
        let inner = Inner {
            program,
            broker: OnceLock::new(),
            draining,
            waits: Mutex::default(),
            own: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// This is its broker. Until it is known the program is not ready.
    pub fn uses(&self, broker: Arc<dyn Broker>) {
        // A program has one broker for as long as it lives.
        let _ = self.inner.broker.set(Some(broker));
    }

    /// It works without a broker.
    pub fn needs_no_broker(&self) {
        let _ = self.inner.broker.set(None);
    }

    /// It waits for something, until what this returns is dropped.
    pub fn waits_for(&self, what: &'static str) -> Wait {
        *lock(&self.inner.waits).entry(what).or_default() += 1;
        Wait { health: self.clone(), what }
    }

    /// It has a number of its own to tell.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        lock(&self.inner.own).push(Own { name, help, kind: GAUGE, read: Box::new(read) });
    }

    /// It has a number of its own to tell that only goes up; its name is told with `_total` behind it.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        lock(&self.inner.own).push(Own { name, help, kind: COUNTER, read: Box::new(read) });
    }

    /// Why it cannot work now; nothing where it can.
    pub async fn obstacles(&self) -> Vec<String> {
        let mut why: Vec<String> =
            lock(&self.inner.waits).keys().map(|what| format!("it waits for {what}")).collect();
        if self.inner.draining.is_cancelled() {
            why.push("it was told to end".to_owned());
        }
        let reached = match self.inner.broker.get() {
            None => Err("it waits for the broker".to_owned()),
            Some(None) => Ok(()),
            // Any read will do: it goes to the store, and no such task is there.
            Some(Some(broker)) => match timeout(PATIENCE, broker.get(&nobody())).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("the broker does not answer within {PATIENCE:?}")),
            },
        };
        why.extend(reached.err());
        why
    }

    /// What Prometheus reads.
    pub async fn metrics(&self) -> String {
        let store = match self.inner.broker.get() {
            None => Store::Away,
            Some(None) => Store::None,
            Some(Some(broker)) => match timeout(PATIENCE, Swarm::read(&**broker)).await {
                Ok(Ok(swarm)) => Store::Here(Box::new(swarm)),
                _ => Store::Away,
            },
        };
        metrics::text(self.inner.program, &store, &lock(&self.inner.own))
    }

    /// What everybody may ask, since it says no more than yes or no.
    pub fn open_routes(&self) -> Router {
        Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(self.clone())
    }

    /// Answers whoever asks at this door, until `shutdown`.
    pub async fn serve(self, door: Door, shutdown: CancellationToken) {
        let (open, guarded) =
            (self.open_routes(), Router::new().route("/metrics", get(scrape)).with_state(self));
        door.serve(guarded, open, shutdown).await;
    }
}

async fn healthz() -> &'static str {
    "alive\n"
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    let why = health.obstacles().await;
    if why.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", why.join("; ")))
    }
}

async fn scrape(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], health.metrics().await)
}

/// Asks a program on this machine whether it is ready; its words where it is.
///
/// # Errors
/// Its words where it is not, and why it could not be asked.
pub async fn ask(host: &str, port: u16) -> anyhow::Result<String> {
    let address = match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() && ip.is_ipv4() => IpAddr::from(Ipv4Addr::LOCALHOST).to_string(),
        Ok(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST).to_string(),
        _ => host.to_owned(),
    };
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    let url = format!("http://{address}:{port}/readyz");
    let unreachable =
        || format!("nobody answers at {url}; does the program run there? (HEALTH_HOST, HEALTH_PORT)");
    let client = reqwest::Client::builder().no_proxy().timeout(2 * PATIENCE).build()?;
    let response = client.get(&url).send().await.with_context(unreachable)?;
    let ready = response.status().is_success();
    let words = response.text().await.with_context(unreachable)?.trim_end().to_owned();
    if ready { Ok(words) } else { Err(anyhow::anyhow!(words)) }
}

fn nobody() -> TaskKey {
    TaskKey::lone("readyz".parse::<TaskId>().expect("it is printable"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
