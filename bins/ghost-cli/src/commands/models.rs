//! `ghost models`: which models there are, and what each is for.

use ghost_core::config::{Config, LlmChoice, SlmChoice};
use ghost_core::inference::Provider;
use ghost_core::taskmaster::capability::Capability;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, table};
use crate::{engine, tiny};

/// What to do with models
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the models that answer here, and the built-in one
    List,
}

/// One model.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    provider: Provider,
    /// Whether it answers with the settings as they are.
    used: bool,
    place: String,
    takes: String,
    capability: Option<Capability>,
}

pub(crate) fn perform(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    let Command::List = command;
    output::many(context.format(), &rows(&context.config)?, people)?;
    if context.config.llm.choice().is_none() {
        output::talk("no LLM: set ANTHROPIC_API_KEY, or OPENAI_API_BASE and LLM_MODEL");
    }
    Ok(Exit::Success)
}

fn rows(config: &Config) -> anyhow::Result<Vec<Row>> {
    let choice = config.slm.choice();
    let mut rows = Vec::new();
    if choice != SlmChoice::Embedded {
        rows.push(local(tiny::capability(), "built in".to_owned(), false));
    }
    if let Some(capability) = engine::capability(config)? {
        let place = match choice {
            SlmChoice::Endpoint { url, .. } => url.to_owned(),
            SlmChoice::File(path) => match engine::fault(path) {
                None => path.display().to_string(),
                Some(fault) => format!("{} (does not load: {fault})", path.display()),
            },
            SlmChoice::Embedded | SlmChoice::None => "built in".to_owned(),
        };
        rows.push(local(capability, place, true));
    }
    if let Some(choice) = config.llm.choice() {
        let (LlmChoice::Claude { base_url, .. } | LlmChoice::OpenAiCompatible { base_url, .. }) = choice;
        rows.push(Row {
            model: engine::model(&choice).to_owned(),
            provider: Provider::Llm,
            used: true,
            place: base_url.to_owned(),
            takes: engine::doubt(&engine::pricing(config)?, engine::model(&choice))
                .map_or_else(|| "everything".to_owned(), |doubt| format!("everything; {doubt}")),
            capability: None,
        });
    }
    Ok(rows)
}

fn local(capability: Capability, place: String, used: bool) -> Row {
    let kinds: Vec<_> = capability.kinds.keys().map(|kind| kind.name()).collect();
    let takes = if capability.general {
        "what looks simple".to_owned()
    } else {
        format!("{}, up to {} bytes", kinds.join(", "), capability.max_input_bytes)
    };
    Row {
        model: capability.model.clone(),
        provider: Provider::Slm,
        used,
        place,
        takes,
        capability: Some(capability),
    }
}

fn people(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let used = if row.used { "yes" } else { "no" };
        [
            row.model.clone(),
            row.provider.name().to_owned(),
            used.to_owned(),
            row.place.clone(),
            row.takes.clone(),
        ]
    });
    table(["MODEL", "AS", "USED", "WHERE", "TAKES"], cells)
}
