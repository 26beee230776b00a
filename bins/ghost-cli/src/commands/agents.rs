//! `ghost agents`: who is alive.

use ghost_core::messages::{AgentInfo, AgentStatus, Role};

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, short, table, talk};

pub(crate) async fn perform(context: &Context) -> anyhow::Result<Exit> {
    let agents = context.access()?.agents().await?;
    output::many(context.format(), &agents, people)?;
    if agents.is_empty() {
        talk("nobody is alive here: `ghost up` starts a swarm");
    }
    Ok(Exit::Success)
}

fn people(agents: &[AgentInfo]) -> String {
    if agents.is_empty() {
        return String::new();
    }
    let rows = agents.iter().map(|agent| {
        let load = match agent.max_load {
            0 => "-".to_owned(),
            most => format!("{}/{most}", agent.current_load),
        };
        let capabilities = short(&agent.capabilities.join(", "), 48);
        [
            agent.agent_id.to_string(),
            role(agent.role).to_owned(),
            status(agent.status).to_owned(),
            load,
            capabilities,
        ]
    });
    table(["AGENT", "ROLE", "STATUS", "LOAD", "CAPABILITIES"], rows)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Orchestrator => "orchestrator",
        Role::Worker => "worker",
        Role::Router => "router",
        Role::Evaluator => "evaluator",
        Role::Optimizer => "optimizer",
    }
}

fn status(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Initializing => "initializing",
        AgentStatus::Idle => "idle",
        AgentStatus::Busy => "busy",
        AgentStatus::Error => "error",
        AgentStatus::Offline => "offline",
    }
}
