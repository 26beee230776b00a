//! Claims answers, judges them, and settles the task or sends it back or up.
//!
//! What it judges by stands in [`ghost_core::checks`]; this is the loop around it.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::{Broker, Claim, MAX_BATCH, News, advance};
use ghost_core::checks::{self, Help};
use ghost_core::id::AgentId;
use ghost_core::lifecycle::{Evaluation, Event, Record, Stage};
use ghost_core::messages::{AgentInfo, AgentStatus, Role};
use ghost_core::roster::{Models, Roster};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

mod program;

pub use program::{config, main};

/// How an evaluator behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name. Default: a fresh one.
    pub agent_id: AgentId,
    /// How many answers it judges at once, at most [`MAX_BATCH`]. Default: 16.
    pub max_load: usize,
    /// How long an answer stays its own; no renewal, as judging takes milliseconds. Default: 30 s.
    pub lease: Duration,
    /// How often it looks for answers that nobody woke it for. Default: 1 s.
    pub poll: Duration,
    /// How long it counts as alive after its last word; workers judge for themselves after that. Default: 10 s.
    pub presence: Duration,
    /// Whether a task that the SLM did not do well may go to the LLM (ENABLE_SLM_FALLBACK). Default: yes.
    pub fallback: bool,
    /// Whether the SLM can use a critique: a general model can, the tiny one cannot. Default: no.
    pub slm_revises: bool,
    /// Whether the models count that live workers announce, and the settings only where none does. Default: no.
    pub ask_workers: bool,
}

impl Default for Config {
    fn default() -> Self {
        let Help { fallback, slm_revises, .. } = Help::default();
        Self {
            agent_id: AgentId::generate("evaluator"),
            max_load: 16,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            presence: Duration::from_secs(10),
            fallback,
            slm_revises,
            ask_workers: false,
        }
    }
}

/// What an evaluator works with.
#[derive(Clone)]
pub struct Deps {
    /// Where the answers are.
    pub broker: Arc<dyn Broker>,
    /// Whether an LLM is configured.
    pub llm_available: bool,
}

/// An evaluator, ready to run.
pub struct Evaluator {
    config: Config,
    broker: Arc<dyn Broker>,
    help: Help,
    roster: Roster,
}

impl Evaluator {
    /// An evaluator over these.
    pub fn build(config: Config, deps: Deps) -> Self {
        let help = Help {
            llm_available: deps.llm_available,
            fallback: config.fallback,
            slm_revises: config.slm_revises,
        };
        Self { config, help, roster: Roster::new(deps.broker.clone()), broker: deps.broker }
    }

    /// Judges until `shutdown`, then finishes what it has claimed and returns. Dropping this is a crash: what it held
    /// comes back once the leases have ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let id = self.config.agent_id.clone();
        let mut presence = JoinSet::new();
        presence.spawn(announce(self.broker.clone(), self.config.clone()));
        info!(agent.id = %id, "evaluator {id} judges up to {} answers at once", self.config.max_load);
        self.judge_until(&shutdown).await;
        presence.shutdown().await;
        // Where this is not heard, the announcement ends by itself.
        let _ = self.broker.withdraw(&id).await;
        info!(agent.id = %id, "evaluator {id} has ended");
    }

    async fn judge_until(&self, shutdown: &CancellationToken) {
        let mut news = None;
        loop {
            if news.is_none() {
                news = self.broker.subscribe().await.ok();
            }
            if shutdown.is_cancelled() {
                return;
            }
            if self.judge_some().await > 0 {
                continue;
            }
            let work = async {
                match &mut news {
                    Some(news) => {
                        news.wait(self.config.poll, |news| matches!(news, News::Work(Stage::Evaluate))).await;
                    }
                    None => sleep(self.config.poll).await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = work => {}
            }
        }
    }

    /// Who could do better than an answer that is rejected.
    async fn help(&self) -> Help {
        let models = if self.config.ask_workers { self.roster.models().await } else { None };
        models.map_or(self.help, |Models { slm, llm }| Help {
            llm_available: llm,
            slm_revises: slm.is_some_and(|slm| slm.general),
            ..self.help
        })
    }

    /// Judges as many answers as there are and fit; says how many it claimed.
    async fn judge_some(&self) -> usize {
        let claim = Claim {
            stage: Stage::Evaluate,
            holder: self.config.agent_id.clone(),
            capabilities: Vec::new(),
            limit: self.config.max_load.clamp(1, MAX_BATCH),
            lease: self.config.lease,
            begins: true,
        };
        let records = match self.broker.claim(&claim).await {
            Ok(records) => records,
            Err(error) => {
                warn!(error = %error, "no answers could be claimed: {error}");
                return 0;
            }
        };
        let claimed = records.len();
        if claimed == 0 {
            return 0;
        }
        let help = self.help().await;
        let mut judging = JoinSet::new();
        for record in records {
            judging.spawn(judge(self.broker.clone(), record, help));
        }
        while let Some(judged) = judging.join_next().await {
            if let Err(error) = judged {
                // Its lease ends by itself, and the answer comes back; one that does this each time is given up.
                error!(error = %error, "judging an answer panicked: {error}");
            }
        }
        claimed
    }
}

async fn judge(broker: Arc<dyn Broker>, record: Record, help: Help) {
    let Some(event) = checks::verdict_on(&record, Evaluation::Full, help) else { return };
    let key = record.key.clone();
    if let Event::Judge { judgement, next, .. } = &event {
        let findings: Vec<_> = judgement.findings.iter().map(|finding| finding.kind.as_str()).collect();
        debug!(task.id = %key, confidence = judgement.confidence, findings = findings.join(","), "the answer of task {key} was judged: {next:?}");
    }
    if let Err(error) = advance(&*broker, record, event).await {
        info!(task.id = %key, error = %error, "the judgement of task {key} was not taken: {error}");
    }
}

/// Says that the evaluator is alive, three times as often as it has to, until it is aborted.
async fn announce(broker: Arc<dyn Broker>, config: Config) {
    let agent = AgentInfo {
        agent_id: config.agent_id,
        role: Role::Evaluator,
        status: AgentStatus::Idle,
        capabilities: Vec::new(),
        current_load: 0,
        max_load: u32::try_from(config.max_load).unwrap_or(u32::MAX),
        metadata: Default::default(),
    };
    loop {
        if let Err(error) = broker.announce(&agent, config.presence).await {
            debug!(error = %error, "the announcement was not heard: {error}");
        }
        sleep(config.presence / 3).await;
    }
}
