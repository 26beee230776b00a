//! Which models the swarm has, as its live workers say, and whether an evaluator is alive.
//!
//! Who decides a route or judges an answer may run without any model, on another machine and with other settings than
//! the workers. So workers announce what they loaded ([`Models`], in the metadata of their announcement), and a
//! [`Roster`] reads that, at most twice a second. Where no worker says anything, as before the first one came, its
//! owner's own settings count.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::broker::{Broker, Error};
use crate::lifecycle::DEFAULT_CAPABILITY;
use crate::messages::{AgentInfo, Role};
use crate::taskmaster::capability::Capability;
use crate::taskmaster::route::Available;

/// How old may be what is known of the agents: to ask for every task would cost more than settling it.
pub(crate) const FRESH: Duration = Duration::from_millis(500);
/// Where an announcement has it.
const KEY: &str = "models";

/// The models that one worker has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Models {
    /// What its local model can do, if it has one.
    pub slm: Option<Capability>,
    /// Whether it can ask an LLM.
    pub llm: bool,
}

impl From<Available> for Models {
    fn from(available: Available) -> Self {
        Self { slm: available.slm, llm: available.llm }
    }
}

impl Models {
    /// Those that an announcement tells of.
    pub fn of(agent: &AgentInfo) -> Option<Self> {
        agent.metadata.get(KEY).and_then(|models| Self::deserialize(models).ok())
    }

    /// Tells of them in an announcement.
    pub fn put(&self, agent: &mut AgentInfo) {
        agent.metadata.insert(KEY.to_owned(), json!(self));
    }

    /// What workers have together. Any of them may get a task, so where their local models differ the most able one
    /// counts: a worker that lacks it hands the task up.
    fn together(workers: impl Iterator<Item = Self>) -> Option<Self> {
        workers.reduce(|one, other| {
            let able = |slm: &Capability| (slm.general, slm.kinds.len(), slm.model.clone());
            Self {
                slm: [one.slm, other.slm].into_iter().flatten().max_by_key(able),
                llm: one.llm || other.llm,
            }
        })
    }
}

/// What is known of the agents.
pub struct Roster {
    broker: Arc<dyn Broker>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    read: Option<Instant>,
    models: Option<Models>,
    evaluator: bool,
}

impl Roster {
    /// A roster of the agents that this broker knows.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, known: Mutex::default() }
    }

    /// Who could answer: the models of the live workers, else `settings`.
    pub async fn available(&self, settings: &Available) -> Available {
        match self.models().await {
            Some(Models { slm, llm }) => Available { slm, llm, hybrid: settings.hybrid },
            None => settings.clone(),
        }
    }

    /// The models of the live workers; none where no worker tells of any.
    pub async fn models(&self) -> Option<Models> {
        // Where the store is away, what was last known is the best guess.
        let _ = self.look().await;
        self.known().models.clone()
    }

    /// Whether an evaluator is alive.
    ///
    /// # Errors
    /// [`Error`] where that is not known, since the store is away.
    pub async fn has_evaluator(&self) -> Result<bool, Error> {
        self.look().await?;
        Ok(self.known().evaluator)
    }

    /// Reads who is alive, unless that was done a moment ago.
    async fn look(&self) -> Result<(), Error> {
        if self.known().read.is_some_and(|read| read.elapsed() < FRESH) {
            return Ok(());
        }
        let agents = self.broker.agents().await?;
        let workers =
            agents.iter().filter(|agent| agent.capabilities.iter().any(|c| c == DEFAULT_CAPABILITY));
        *self.known() = Known {
            models: Models::together(workers.filter_map(Models::of)),
            evaluator: agents.iter().any(|agent| agent.role == Role::Evaluator),
            read: Some(Instant::now()),
        };
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::sqlite::{Options, SqliteBroker};
    use crate::id::AgentId;
    use crate::messages::{AgentStatus, Role};

    fn worker(name: &str, capability: &str, models: Option<Models>) -> AgentInfo {
        let mut agent = AgentInfo {
            agent_id: name.parse::<AgentId>().expect("an id"),
            role: Role::Worker,
            status: AgentStatus::Idle,
            capabilities: vec![capability.to_owned()],
            current_load: 0,
            max_load: 1,
            metadata: Default::default(),
        };
        if let Some(models) = models {
            models.put(&mut agent);
        }
        agent
    }

    #[tokio::test(start_paused = true)]
    async fn live_workers_say_who_could_answer_and_settings_where_none_does() {
        let broker: Arc<dyn Broker> = Arc::new(SqliteBroker::in_memory(Options::default()).expect("memory"));
        let roster = Roster::new(broker.clone());
        let settings = Available { slm: None, llm: true, hybrid: false };
        assert_eq!(roster.available(&settings).await, settings);

        let (lease, slm) = (Duration::from_secs(60), Some(Capability::general("phi")));
        let announce = |agent| {
            let broker = broker.clone();
            async move { broker.announce(&agent, lease).await.expect("it is heard") }
        };
        // Neither a ghost of another trade nor one that says nothing of models counts.
        announce(worker("shouter", "shout", Some(Models { slm: None, llm: true }))).await;
        announce(worker("silent", DEFAULT_CAPABILITY, None)).await;
        announce(worker("one", DEFAULT_CAPABILITY, Some(Models { slm: slm.clone(), llm: false }))).await;
        assert_eq!(roster.available(&settings).await, settings, "what is known is a second old at most");
        tokio::time::advance(FRESH).await;
        let known = Available { slm: slm.clone(), llm: false, hybrid: false };
        assert_eq!(roster.available(&settings).await, known);

        announce(worker("two", DEFAULT_CAPABILITY, Some(Models { slm: None, llm: true }))).await;
        tokio::time::advance(FRESH).await;
        assert_eq!(roster.available(&settings).await, Available { llm: true, ..known });
    }
}
