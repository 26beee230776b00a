//! Who judges an answer where no evaluator is alive: whoever has it, by the formal checks, and marked so.
//!
//! A worker and a hub each hold a [`StandIn`]. It says what follows an answer ([`StandIn::then`]), and looks after
//! answers that wait for an evaluator who will not come ([`StandIn::run`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::{Broker, Claim, MAX_BATCH, advance};
use crate::checks::{self, Help};
use crate::id::AgentId;
use crate::inference::Provider;
use crate::lifecycle::{Answer, Evaluation, Record, Stage, Then};
use crate::roster::{self, Roster};

/// Stands in for an evaluator.
#[derive(Clone)]
pub struct StandIn {
    config: Config,
    broker: Arc<dyn Broker>,
    started: Instant,
    roster: Arc<Roster>,
}

/// How it behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// In whose name it judges.
    pub agent_id: AgentId,
    /// How long after the start an evaluator is still expected to come.
    pub grace: Duration,
    /// How long an answer stays its own while it judges.
    pub lease: Duration,
    /// Who could do better than a rejected answer.
    pub help: Help,
}

impl StandIn {
    /// One that starts now.
    pub fn new(config: Config, broker: Arc<dyn Broker>) -> Self {
        let roster = Arc::new(Roster::new(broker.clone()));
        Self { config, broker, started: Instant::now(), roster }
    }

    /// What follows an answer: the SLM's are always judged, the LLM's where its form is given or the task asks for it.
    pub async fn then(&self, record: &Record, answer: &Answer) -> Then {
        let parameters = &record.request.parameters;
        let due = answer.provider == Provider::Slm
            || parameters.schema.is_some()
            || parameters.categories.is_some()
            || parameters.evaluate == Some(true);
        if !due {
            Then::Settle
        } else if self.evaluator_expected().await {
            Then::Evaluate
        } else {
            let judgement = checks::judge(record, answer, Evaluation::FormalOnly);
            let next = checks::follow(record, answer, &judgement, self.config.help);
            Then::Judged(judgement, next)
        }
    }

    /// Judges what waits for an evaluator while none is alive, until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        // The first look comes when an evaluator had time to announce itself.
        let mut pause = self.config.grace;
        while shutdown.run_until_cancelled(sleep(pause)).await.is_some() {
            pause = (self.config.grace / 4).max(roster::FRESH);
            while !self.evaluator_expected().await && self.judge_some().await > 0 {}
        }
    }

    /// Whether somebody else judges answers, or may soon.
    async fn evaluator_expected(&self) -> bool {
        if self.started.elapsed() < self.config.grace {
            return true;
        }
        // Who cannot be reached cannot be told either; the answer waits for whoever is there.
        self.roster.has_evaluator().await.unwrap_or(true)
    }

    async fn judge_some(&self) -> usize {
        let claim = Claim {
            stage: Stage::Evaluate,
            holder: self.config.agent_id.clone(),
            capabilities: Vec::new(),
            limit: MAX_BATCH,
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
        for record in records {
            let Some(event) = checks::verdict_on(&record, Evaluation::FormalOnly, self.config.help) else {
                continue;
            };
            let key = record.key.clone();
            match advance(&*self.broker, record, event).await {
                Ok(_) => {
                    info!(task.id = %key, "task {key} was judged by its form, as no evaluator is alive");
                }
                Err(error) => warn!(task.id = %key, error = %error, "task {key} was not judged: {error}"),
            }
        }
        claimed
    }
}
