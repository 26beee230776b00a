//! The swarm that is broken: Redis, the proxy before it, and every program of it as a process, all of this run alone.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use ghost_core::broker::testing::RedisServer;
use tokio::sync::MutexGuard;
use tokio::time::sleep;

use super::AppendFsync;
use super::model::Model;
use super::plan::Fault;
use super::process::{Process, free_port};
use super::proxy::Proxy;

const WORKERS: usize = 3;
const EVALUATORS: usize = 2;
const ORCHESTRATORS: usize = 2;
/// Tasks that a worker has at once.
const AT_ONCE: usize = 64;
/// The longest that Redis is away, in milliseconds.
const AWAY: u64 = 500;
/// A model is asked by this name, as SLM and as LLM.
const NAME: &str = "chaos";

/// The swarm; all of it ends with this.
pub(super) struct Swarm {
    redis: Arc<Mutex<RedisServer>>,
    proxy: Proxy,
    workers: Vec<tokio::sync::Mutex<Process>>,
    evaluators: Vec<tokio::sync::Mutex<Process>>,
    orchestrators: Vec<tokio::sync::Mutex<Process>>,
    /// Where tasks are taken in.
    pub(super) doors: Vec<String>,
    http: reqwest::Client,
    lease: Duration,
}

impl Swarm {
    /// Starts everything and waits until it is ready.
    pub(super) async fn start(
        fsync: AppendFsync,
        lease: Duration,
        model: &Model,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let redis =
            tokio::task::spawn_blocking(move || RedisServer::with(&["--appendfsync", fsync.name()])).await?;
        let proxy = Proxy::start(redis.port()).await?;
        let models = format!("http://{}/v1", model.address);
        let common: Vec<(&str, String)> = vec![
            ("REDIS_URL", format!("redis://{}", proxy.address)),
            ("GHOST_DATA", folder.to_str().context("a path that is not UTF-8")?.to_owned()),
            ("LEASE_SECONDS", lease.as_secs().to_string()),
            ("MAX_WORKERS", AT_ONCE.to_string()),
            ("SLM_ENDPOINT", models.clone()),
            ("SLM_MODEL", NAME.to_owned()),
            ("OPENAI_API_BASE", models),
            ("LLM_MODEL", NAME.to_owned()),
            ("LOG_LEVEL", std::env::var("LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned())),
        ];
        let start = |role: &str, number: usize, more: &[(&'static str, String)]| {
            let settings = [common.as_slice(), more].concat();
            Process::start(&format!("ghost-{role}"), format!("{role}-{number}"), folder, &settings)
                .map(tokio::sync::Mutex::new)
        };
        let ports = (0..ORCHESTRATORS).map(|_| free_port()).collect::<Result<Vec<_>, _>>()?;
        let doors = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let orchestrator = |(number, port): (usize, &u16)| {
            start("orchestrator", number, &[("ORCHESTRATOR_PORT", port.to_string())])
        };
        let several =
            |role, count| (0..count).map(|number| start(role, number, &[])).collect::<Result<Vec<_>, _>>();
        let swarm = Self {
            orchestrators: ports.iter().enumerate().map(orchestrator).collect::<Result<_, _>>()?,
            workers: several("worker", WORKERS)?,
            evaluators: several("evaluator", EVALUATORS)?,
            redis: Arc::new(Mutex::new(redis)),
            proxy,
            doors,
            http,
            lease,
        };
        for process in swarm.orchestrators.iter().chain(&swarm.workers).chain(&swarm.evaluators) {
            process.lock().await.ready(&swarm.http).await?;
        }
        Ok(swarm)
    }

    /// Does this to the swarm, and returns once what was broken runs again.
    pub(super) async fn suffer(&self, fault: Fault, chance: &mut fastrand::Rng) -> anyhow::Result<()> {
        match fault {
            Fault::KillWorker => self.kill(&self.workers, chance).await,
            Fault::KillEvaluator => self.kill(&self.evaluators, chance).await,
            Fault::KillOrchestrator => self.kill(&self.orchestrators, chance).await,
            Fault::KillRedis => self.kill_redis(Duration::from_millis(chance.u64(0..AWAY))).await,
            Fault::StopWorker => {
                let mut worker = one(&self.workers, chance).await;
                worker.stop_for(self.longer_than_a_lease()).await?;
                worker.ready(&self.http).await
            }
            Fault::CutLines => {
                match chance.u8(0..3) {
                    0 => self.proxy.cut(chance, 1.0),
                    1 => self.proxy.cut(chance, 0.5),
                    _ => self.proxy.silence(chance, 0.25, self.longer_than_a_lease()).await,
                }
                Ok(())
            }
        }
    }

    fn longer_than_a_lease(&self) -> Duration {
        self.lease.mul_f64(1.5)
    }

    async fn kill(
        &self,
        some: &[tokio::sync::Mutex<Process>],
        chance: &mut fastrand::Rng,
    ) -> anyhow::Result<()> {
        let mut process = one(some, chance).await;
        process.kill_and_start().await?;
        process.ready(&self.http).await
    }

    async fn kill_redis(&self, away: Duration) -> anyhow::Result<()> {
        self.with_redis(RedisServer::kill).await?;
        sleep(away).await;
        self.with_redis(RedisServer::restart).await
    }

    async fn with_redis(&self, act: fn(&mut RedisServer)) -> anyhow::Result<()> {
        let redis = self.redis.clone();
        let act = move || act(&mut redis.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(act).await.context("Redis did not come back")
    }
}

/// One that nobody else has hold of just now, where there is any.
async fn one<'a>(
    some: &'a [tokio::sync::Mutex<Process>],
    chance: &mut fastrand::Rng,
) -> MutexGuard<'a, Process> {
    let first = chance.usize(0..some.len());
    let free = (0..some.len()).find_map(|n| some[(first + n) % some.len()].try_lock().ok());
    match free {
        Some(process) => process,
        None => some[first].lock().await,
    }
}
