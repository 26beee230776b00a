//! `ghost models verify`: reads every pulled model again and compares it with the lock file.

use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::hub::{FOLDER, LOCK_FILE, Pin, Pins, Reference, hash_of};
use crate::output::{self, table, talk};
use crate::progress::Progress;

/// Read pulled models again and compare them with models.lock; exit code 1 where one is not what it was
///
///   ghost models verify
///   ghost models verify phi-3-mini
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only these, by the names that they were pulled with, or by their files' names
    names: Vec<String>,
}

/// How it is with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is what it was.
    Right,
    /// It is something else.
    Damaged,
    /// Its file is not there.
    Missing,
}

#[derive(Debug, Serialize)]
struct Row {
    model: String,
    state: State,
    /// What is wrong.
    finding: Option<String>,
    path: String,
}

pub(crate) async fn perform(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let models = context.data()?.folder(FOLDER).context("the folder of models cannot be made")?;
    let pins = Pins::read(&models)?;
    for name in &args.names {
        if pins.named(name).next().is_none() {
            return Err(misuse(format!("{name} was not pulled; `ghost models list` shows what was")));
        }
    }
    let chosen = |reference: &Reference| {
        args.names.is_empty() || args.names.iter().any(|name| reference.answers_to(name))
    };
    let mut rows = Vec::new();
    for (reference, pin) in pins.iter().filter(|(reference, _)| chosen(reference)) {
        rows.push(look(&models, reference, pin).await?);
    }
    output::many(context.format(), &rows, people)?;
    let wrong = rows.iter().filter(|row| row.state != State::Right).count();
    if wrong > 0 {
        talk(format!("{wrong} of {} not right; `ghost models pull NAME` puts it right", rows.len()));
        return Ok(Exit::Failed);
    }
    if rows.is_empty() {
        talk(format!("no model was pulled: there is nothing in {LOCK_FILE}"));
    }
    Ok(Exit::Success)
}

async fn look(models: &Path, reference: &Reference, pin: &Pin) -> anyhow::Result<Row> {
    let path = models.join(reference.path());
    let (state, finding) = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (State::Missing, Some("there is no such file".to_owned()))
        }
        Err(error) => (State::Damaged, Some(error.to_string())),
        Ok(file) if file.len() != pin.size => {
            (State::Damaged, Some(format!("it has {} bytes, not {}", file.len(), pin.size)))
        }
        Ok(_) => {
            let mut progress = Progress::of_bytes(pin.size);
            let hash = hash_of(&path, &mut |at| progress.show_bytes(at, pin.size, "checked")).await;
            progress.finish();
            match hash {
                Ok(hash) if hash == pin.sha256 => (State::Right, None),
                Ok(hash) => (State::Damaged, Some(format!("its sha256 is {hash}, not {}", pin.sha256))),
                Err(error) => (State::Damaged, Some(error.to_string())),
            }
        }
    };
    // A model that is not right is not chosen by its name until it is.
    let verified = (state == State::Right).then(Timestamp::now);
    Pins::update(models, |pins| pins.note(reference, pin, verified))?;
    Ok(Row { model: reference.to_string(), state, finding, path: path.display().to_string() })
}

fn people(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let state = match row.state {
            State::Right => "right",
            State::Damaged => "damaged",
            State::Missing => "missing",
        };
        [row.model.clone(), state.to_owned(), row.finding.clone().unwrap_or_default(), row.path.clone()]
    });
    if rows.is_empty() { String::new() } else { table(["MODEL", "STATE", "FINDING", "WHERE"], cells) }
}
