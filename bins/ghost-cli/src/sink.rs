//! Where results go: to a file, or to stdout in the form that was asked for.

use std::io::{self, IsTerminal as _};

use ghost_core::task::TaskResult;
use serde_json::Value;

use crate::output::{self, Format, short, table};
use crate::results::ResultsFile;

/// Where the results go.
pub(crate) enum Sink {
    /// To a file, as JSONL.
    File(ResultsFile),
    /// To stdout as they come, as JSONL.
    Lines,
    /// To a terminal as they come, in few words.
    People,
    /// To stdout at the end.
    Whole(Format, Vec<TaskResult>),
}

impl Sink {
    /// To stdout, in this form. Where nobody asked for one, people at a terminal get a line each, and programs JSONL.
    pub(crate) fn stdout(format: Option<Format>) -> Self {
        match format {
            None if io::stdout().is_terminal() => Sink::People,
            None | Some(Format::Jsonl) => Sink::Lines,
            Some(format) => Sink::Whole(format, Vec::new()),
        }
    }

    /// Adds results, each with the generation in which its task was settled.
    pub(crate) fn append(&mut self, results: Vec<(u32, TaskResult)>) -> anyhow::Result<()> {
        match self {
            Sink::File(file) => file.append(&results),
            Sink::Lines => results
                .iter()
                .try_for_each(|(_, result)| output::one(Format::Jsonl, result, |_| String::new())),
            Sink::People => results.iter().try_for_each(|(_, result)| {
                let [task, status, model, text] = cells(result);
                let by = if model.is_empty() { status } else { model };
                output::data(&format!("{task}  {by}  {text}"))
            }),
            Sink::Whole(_, kept) => {
                kept.extend(results.into_iter().map(|(_, result)| result));
                Ok(())
            }
        }
    }

    /// Puts everything where it stays.
    pub(crate) fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Sink::File(file) => file.sync(),
            Sink::Lines | Sink::People => Ok(()),
            Sink::Whole(format, results) => output::many(*format, results, people),
        }
    }
}

fn people(results: &[TaskResult]) -> String {
    table(["TASK", "STATUS", "MODEL", "ANSWER OR ERROR"], results.iter().map(cells))
}

fn cells(result: &TaskResult) -> [String; 4] {
    let answer = result.result.as_ref().and_then(|result| result.get("text")).and_then(Value::as_str);
    let model = result.metadata.get("model").and_then(Value::as_str);
    [
        result.task_id.to_string(),
        result.status.to_string(),
        model.unwrap_or_default().to_owned(),
        short(answer.or(result.error.as_deref()).unwrap_or_default(), 60),
    ]
}
