//! `ghost models`: which models there are, what each is for, and how more of them come here.
//!
//! [`pull`] brings one, [`verify`] reads those that were brought again; what both rest on is [`crate::hub`]. [`mod@bench`]
//! measures one.

pub(crate) mod bench;
pub(crate) mod pull;
pub(crate) mod verify;

use std::path::Path;

use anyhow::Context as _;
use ghost_core::config::{Config, LlmChoice, SlmChoice};
use ghost_core::inference::Provider;
use ghost_core::taskmaster::capability::Capability;
use ghost_service::models;
use ghost_worker::engine;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::hub::{CATALOGUE, FOLDER, Pin, Pins, Reference};
use crate::output::{self, bytes, table};

/// What to do with models
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the models that answer here, those that were pulled, and the catalogue
    List,
    Pull(pull::Args),
    Verify(verify::Args),
    Bench(bench::Args),
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
    /// What was pulled, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pulled: Option<Pulled>,
    /// The name by which `ghost models pull` brings it, where it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_pull: Option<String>,
}

/// Where a model came from.
#[derive(Debug, Serialize)]
struct Pulled {
    repository: String,
    file: String,
    revision: String,
    #[serde(flatten)]
    pin: Pin,
}

pub(crate) async fn perform(context: &Context, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => list(context),
        Command::Pull(args) => pull::perform(context, args).await,
        Command::Verify(args) => verify::perform(context, args).await,
        Command::Bench(args) => bench::perform(context, args),
    }
}

fn list(context: &Context) -> anyhow::Result<Exit> {
    let models = context.data()?.folder(FOLDER).context("the folder of models cannot be made")?;
    let mut rows = rows(&context.config)?;
    add_pulled(&mut rows, &models, &Pins::read(&models)?)?;
    output::many(context.format(), &rows, people)?;
    if context.config.llm.choice().is_none() {
        output::talk("no LLM: set ANTHROPIC_API_KEY, or OPENAI_API_BASE and LLM_MODEL");
    }
    Ok(Exit::Success)
}

fn rows(config: &Config) -> anyhow::Result<Vec<Row>> {
    let choice = config.slm.choice();
    let mut rows = Vec::new();
    if choice != SlmChoice::Embedded {
        rows.push(local(models::tiny(), "built in".to_owned(), false));
    }
    if let Some(capability) = models::capability(config)? {
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
            pulled: None,
            to_pull: None,
        });
    }
    Ok(rows)
}

/// Adds what was pulled, and what of the catalogue was not.
fn add_pulled(rows: &mut Vec<Row>, models: &Path, pins: &Pins) -> anyhow::Result<()> {
    for (reference, pin) in pins.iter() {
        let path = models.join(reference.path());
        if !path.is_file() {
            continue;
        }
        let pulled = Some(Pulled {
            repository: reference.repository().to_owned(),
            file: reference.file().to_owned(),
            revision: reference.revision().to_owned(),
            pin: pin.clone(),
        });
        let place = path.display().to_string();
        match rows.iter_mut().find(|row| row.used && row.place == place) {
            Some(row) => row.pulled = pulled,
            None => rows.push(Row { pulled, ..local(Capability::beside(&path)?, place, false) }),
        }
    }
    for entry in CATALOGUE {
        let reference = Reference::parse(entry.name, None)?;
        let here = |row: &Row| {
            row.pulled.as_ref().is_some_and(|pulled| {
                (pulled.repository.as_str(), pulled.file.as_str()) == (entry.repository, entry.file)
            })
        };
        if !rows.iter().any(here) {
            let place = format!("not here; `ghost models pull {}` brings it", entry.name);
            let row = local(Capability::general(reference.model()), place, false);
            rows.push(Row { capability: None, to_pull: Some(entry.name.to_owned()), ..row });
        }
    }
    Ok(())
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
        pulled: None,
        to_pull: None,
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
    let mut text = table(["MODEL", "AS", "USED", "WHERE", "TAKES"], cells);
    let pulled: Vec<_> = rows.iter().filter_map(|row| row.pulled.as_ref()).collect();
    if !pulled.is_empty() {
        let cells = pulled.into_iter().map(|Pulled { repository, file, revision, pin }| {
            let verified = pin.verified.map_or("never".to_owned(), |time| format!("{time:.0}"));
            [format!("{repository}/{file}"), revision.clone(), bytes(pin.size), verified]
        });
        text.push('\n');
        text.push_str(&table(["PULLED", "REVISION", "SIZE", "VERIFIED"], cells));
    }
    text
}
