//! What each `ghost run` was started with, so that `--resume` knows which batch continues which file.
//!
//! One small file a run, `runs/<batch>.json`, written before its first task is submitted. The store knows the tasks;
//! this knows the file that they came from, its hash, and where their results go.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ghost_core::id::BatchId;
use serde::{Deserialize, Serialize};

use ghost_service::data_dir::{DataDir, write_whole};

/// One `ghost run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The batch of its tasks.
    pub batch: BatchId,
    /// The task file, absolute; none for what came from a pipe, which only its hash can find again.
    pub input: Option<PathBuf>,
    /// The SHA-256 of the task file, in hexadecimal.
    pub sha256: String,
    /// Where the results go, absolute; none for stdout.
    pub results: Option<PathBuf>,
    /// Whether every task of it was settled and written once.
    pub finished: bool,
}

impl Run {
    /// Stores it.
    pub(crate) fn save(&self, data: &DataDir) -> anyhow::Result<()> {
        let folder = data.folder("runs").context("the folder of runs cannot be made")?;
        let json = serde_json::to_vec_pretty(self).expect("paths and numbers are JSON");
        write_whole(&folder.join(format!("{}.json", self.batch)), &json).context("the run cannot be noted")
    }

    /// The latest run of the same input: the same path, or the same bytes from a pipe.
    pub(crate) fn latest(data: &DataDir, input: Option<&Path>, sha256: &str) -> anyhow::Result<Option<Self>> {
        let same = |run: &Run| match input {
            Some(path) => run.input.as_deref() == Some(path),
            None => run.input.is_none() && run.sha256 == sha256,
        };
        Ok(all(data)?.into_iter().filter(same).max_by_key(|run| run.batch))
    }

    /// Forgets the runs for which `keep` says no; says how many.
    pub(crate) fn forget(data: &DataDir, keep: impl Fn(&Run) -> bool) -> anyhow::Result<usize> {
        let surplus: Vec<_> = all(data)?.into_iter().filter(|run| !keep(run)).collect();
        let folder = data.folder("runs")?;
        for run in &surplus {
            fs::remove_file(folder.join(format!("{}.json", run.batch)))?;
        }
        Ok(surplus.len())
    }
}

/// Every run that is known. A file that cannot be read is told, not skipped: a run could be paid for twice.
pub(crate) fn all(data: &DataDir) -> anyhow::Result<Vec<Run>> {
    let folder = data.folder("runs").context("the folder of runs cannot be read")?;
    let mut runs = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let run = fs::read(&path)
                .map_err(anyhow::Error::from)
                .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
                .with_context(|| format!("{} is damaged; remove it to forget that run", path.display()))?;
            runs.push(run);
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: Option<&str>, sha256: &str) -> Run {
        Run {
            batch: BatchId::generate(),
            input: input.map(PathBuf::from),
            sha256: sha256.to_owned(),
            results: None,
            finished: false,
        }
    }

    #[test]
    fn the_latest_run_of_a_file_is_found_by_its_path_and_that_of_a_pipe_by_its_bytes() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(Some(folder.path())).expect("it can be made");
        let runs = [run(Some("/a"), "1"), run(Some("/a"), "2"), run(Some("/b"), "1"), run(None, "3")];
        for run in &runs {
            run.save(&data).expect("there is room");
        }
        let latest = |input: Option<&str>, sha256| {
            Run::latest(&data, input.map(Path::new), sha256).expect("the runs are readable")
        };
        assert_eq!(latest(Some("/a"), "1").as_ref(), Some(&runs[1]), "the path decides");
        assert_eq!(latest(None, "3").as_ref(), Some(&runs[3]));
        assert_eq!(latest(None, "1"), None);
        assert_eq!(latest(Some("/c"), "1"), None);
    }

    #[test]
    fn a_damaged_note_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(Some(folder.path())).expect("it can be made");
        fs::write(data.folder("runs").expect("made").join("x.json"), "{").expect("there is room");
        let error = all(&data).expect_err("half a file is damaged");
        assert!(error.to_string().ends_with("remove it to forget that run"), "{error}");
    }
}
