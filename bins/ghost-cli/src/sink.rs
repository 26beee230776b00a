//! Where results go: to a file, or to stdout in the form that was asked for.

use ghost_core::task::TaskResult;

use crate::output::{self, Format, short, table};
use crate::results::ResultsFile;

/// Where the results go.
pub(crate) enum Sink {
    /// To a file, as JSONL.
    File(ResultsFile),
    /// To stdout as they come.
    Lines,
    /// To stdout at the end.
    Whole(Format, Vec<TaskResult>),
}

impl Sink {
    /// To stdout, in this form; JSONL where nobody asked for another.
    pub(crate) fn stdout(format: Option<Format>) -> Self {
        match format {
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
            Sink::Lines => Ok(()),
            Sink::Whole(format, results) => output::many(*format, results, people),
        }
    }
}

fn people(results: &[TaskResult]) -> String {
    let text = |result: &TaskResult| {
        let answer = result.result.as_ref().and_then(|r| r.get("text")).and_then(|text| text.as_str());
        short(answer.or(result.error.as_deref()).unwrap_or_default(), 60)
    };
    let cells = |result: &TaskResult| {
        let model = result.metadata.get("model").and_then(|model| model.as_str()).unwrap_or_default();
        [result.task_id.to_string(), result.status.to_string(), model.to_owned(), text(result)]
    };
    table(["TASK", "STATUS", "MODEL", "ANSWER OR ERROR"], results.iter().map(cells))
}
