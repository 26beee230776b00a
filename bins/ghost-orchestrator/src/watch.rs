//! Notices which workers come and go, by comparing what the broker says of them with what it said before.

use std::collections::BTreeMap;
use std::time::Duration;

use ghost_core::broker::Broker;
use ghost_core::id::AgentId;
use ghost_core::messages::{AgentInfo, Role};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// How often it looks: soon enough for people, rarely enough for the store.
const LOOK: Duration = Duration::from_secs(2);

/// Logs who comes and who goes, until `shutdown`.
pub(crate) async fn workers(broker: &dyn Broker, shutdown: &CancellationToken) {
    let mut known = Known::default();
    loop {
        match broker.agents().await {
            Ok(agents) => {
                for change in known.look(agents) {
                    change.log();
                }
            }
            Err(error) => debug!(error = %error, "the agents could not be read: {error}"),
        }
        if shutdown.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// The workers that were there at the last look.
#[derive(Debug, Default)]
struct Known(BTreeMap<AgentId, AgentInfo>);

/// What happened between two looks.
#[derive(Debug, PartialEq)]
enum Change {
    Came(AgentInfo),
    Went(AgentInfo),
}

impl Known {
    fn look(&mut self, agents: Vec<AgentInfo>) -> Vec<Change> {
        let works = |agent: &AgentInfo| !matches!(agent.role, Role::Orchestrator | Role::Evaluator);
        let now: BTreeMap<AgentId, AgentInfo> =
            agents.into_iter().filter(works).map(|agent| (agent.agent_id.clone(), agent)).collect();
        let came = now.values().filter(|agent| !self.0.contains_key(&agent.agent_id)).cloned();
        let came: Vec<Change> = came.map(Change::Came).collect();
        let before = std::mem::replace(&mut self.0, now);
        let went = before.into_values().filter(|agent| !self.0.contains_key(&agent.agent_id));
        came.into_iter().chain(went.map(Change::Went)).collect()
    }
}

impl Change {
    fn log(&self) {
        match self {
            Change::Came(agent) => {
                let (id, max_load, capabilities) =
                    (&agent.agent_id, agent.max_load, agent.capabilities.join(","));
                info!(event = "worker_registered", agent.id = %id, capabilities, max_load, "{id} is there: it does {capabilities}, up to {max_load} tasks at once");
            }
            Change::Went(agent) => {
                let (id, max_load, capabilities) =
                    (&agent.agent_id, agent.max_load, agent.capabilities.join(","));
                info!(event = "worker_unregistered", agent.id = %id, capabilities, max_load, "{id} is gone");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ghost_core::messages::AgentStatus;

    use super::*;

    fn agent(name: &str, role: Role) -> AgentInfo {
        AgentInfo {
            agent_id: name.parse().expect("an id"),
            role,
            status: AgentStatus::Idle,
            capabilities: vec!["inference".to_owned()],
            current_load: 0,
            max_load: 4,
            metadata: Default::default(),
        }
    }

    #[test]
    fn workers_are_told_of_once_when_they_come_and_once_when_they_go() {
        let (one, two) = (agent("one", Role::Worker), agent("two", Role::Worker));
        let mut known = Known::default();
        let first =
            known.look(vec![one.clone(), agent("judge", Role::Evaluator), agent("o", Role::Orchestrator)]);
        assert_eq!(first, [Change::Came(one.clone())]);
        let busy = AgentInfo { current_load: 1, ..one.clone() };
        assert_eq!(known.look(vec![busy.clone()]), [], "a load is no arrival");
        assert_eq!(known.look(vec![two.clone()]), [Change::Came(two), Change::Went(busy)]);
    }
}
