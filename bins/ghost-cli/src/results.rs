//! The results file: a projection of the store, one `TaskResult` a line, in the order of settlement.
//!
//! The store is the truth and is written first; this file may lag behind it, end in half a line, or be lost, and
//! `--resume` brings it up to date: a torn last line goes, what is missing is added, nothing stands there twice, and
//! what a later generation of a task overtook is replaced.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ghost_core::id::TaskId;
use ghost_core::task::TaskResult;
use serde::Deserialize;

/// How much of the file a power cut may take. Each sync costs a few milliseconds, and the store has it all anyway.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The file, open at its end.
#[derive(Debug)]
pub(crate) struct ResultsFile {
    path: PathBuf,
    file: File,
    synced: Instant,
    /// The generation in which each task that stands in the file was settled.
    written: HashMap<TaskId, u32>,
}

/// What is read back of a line.
#[derive(Deserialize)]
struct Written {
    task_id: TaskId,
    #[serde(default)]
    metadata: WrittenMetadata,
}

#[derive(Default, Deserialize)]
struct WrittenMetadata {
    #[serde(default)]
    generation: u32,
}

impl ResultsFile {
    /// An empty file in the place of whatever was there.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let refused = || format!("the results file {} cannot be made; name another with -o", path.display());
        let file = File::create(path).with_context(refused)?;
        Ok(Self { path: path.to_owned(), file, synced: Instant::now(), written: HashMap::new() })
    }

    /// Continues a file, or begins it where it is gone. `current` knows in which generation each settled task of the
    /// batch was settled; lines of an earlier one are removed, for the later result to be added.
    pub(crate) fn resume(path: &Path, current: &HashMap<TaskId, u32>) -> anyhow::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| unwritable(path))?;
        let Lines { whole_bytes, written, overtaken } =
            read(&file, current).with_context(|| format!("{} cannot be continued", path.display()))?;
        if overtaken {
            file = without_overtaken(path, &file, whole_bytes, current)
                .with_context(|| format!("{} cannot be rewritten", path.display()))?;
        } else {
            file.set_len(whole_bytes).with_context(|| unwritable(path))?;
        }
        file.seek(SeekFrom::End(0)).with_context(|| unwritable(path))?;
        Ok(Self { path: path.to_owned(), file, synced: Instant::now(), written })
    }

    /// Adds the results that do not stand there yet.
    pub(crate) fn append(&mut self, results: &[(u32, TaskResult)]) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for (generation, result) in results {
            if self.written.get(&result.task_id).is_none_or(|written| written < generation) {
                serde_json::to_writer(&mut lines, result).expect("a result is always JSON");
                lines.push(b'\n');
                self.written.insert(result.task_id.clone(), *generation);
            }
        }
        self.file.write_all(&lines).with_context(|| unwritable(&self.path))?;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Puts it on the disk for good.
    pub(crate) fn sync(&mut self) -> anyhow::Result<()> {
        self.synced = Instant::now();
        match self.file.sync_data() {
            // A pipe or /dev/stdout has no disk behind it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other.with_context(|| unwritable(&self.path)),
        }
    }
}

fn unwritable(path: &Path) -> String {
    format!(
        "the results file {} cannot be written; nothing is lost: once it can, `ghost run … --resume` completes it",
        path.display()
    )
}

struct Lines {
    /// Where the last whole line ends.
    whole_bytes: u64,
    written: HashMap<TaskId, u32>,
    overtaken: bool,
}

fn read(file: &File, current: &HashMap<TaskId, u32>) -> anyhow::Result<Lines> {
    let mut lines = Lines { whole_bytes: 0, written: HashMap::new(), overtaken: false };
    for_each_whole_line(file, |number, line| {
        let Ok(Written { task_id, metadata: WrittenMetadata { generation } }) = serde_json::from_slice(line)
        else {
            anyhow::bail!("line {number} is not a result; is this the right file? Name another one with -o")
        };
        lines.whole_bytes += line.len() as u64;
        if is_overtaken(&task_id, generation, current) || lines.written.contains_key(&task_id) {
            lines.overtaken = true;
        } else {
            lines.written.insert(task_id, generation);
        }
        Ok(())
    })?;
    Ok(lines)
}

fn is_overtaken(task: &TaskId, generation: u32, current: &HashMap<TaskId, u32>) -> bool {
    current.get(task).is_some_and(|current| *current > generation)
}

/// The lines that end; what stands behind the last line end is torn.
fn for_each_whole_line(
    file: &File,
    mut each: impl FnMut(usize, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = BufReader::new(file);
    reader.rewind()?;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        each(number, &line)?;
    }
    Ok(())
}

/// A copy of the file takes its place in one move, so that a crash leaves the old one or the new one.
fn without_overtaken(
    path: &Path,
    file: &File,
    whole_bytes: u64,
    current: &HashMap<TaskId, u32>,
) -> anyhow::Result<File> {
    let part = ghost_service::data_dir::part_of(path);
    let copy = File::options().read(true).write(true).create(true).truncate(true).open(&part)?;
    let mut writer = BufWriter::new(&copy);
    let mut kept = HashMap::new();
    let mut read_bytes = 0;
    for_each_whole_line(file, |_, line| {
        read_bytes += line.len() as u64;
        let Written { task_id, metadata } = serde_json::from_slice(line)?;
        if !is_overtaken(&task_id, metadata.generation, current)
            && kept.insert(task_id, metadata.generation).is_none()
        {
            writer.write_all(line)?;
        }
        Ok(())
    })?;
    anyhow::ensure!(read_bytes == whole_bytes, "somebody else writes to it");
    writer.flush()?;
    drop(writer);
    copy.sync_all()?;
    fs::rename(&part, path)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use ghost_core::task::Status;
    use serde_json::{Map, json};

    use super::*;

    fn result(id: &str, generation: u32) -> (u32, TaskResult) {
        let metadata = Map::from_iter([("generation".to_owned(), json!(generation))]);
        let result = TaskResult {
            task_id: id.parse().expect("a good id"),
            status: Status::Completed,
            result: None,
            error: None,
            execution_time: 0.0,
            metadata,
        };
        (generation, result)
    }

    fn ids(path: &Path) -> Vec<(String, u32)> {
        let text = fs::read_to_string(path).expect("the file is there");
        assert!(text.is_empty() || text.ends_with('\n'), "no line is torn");
        let parse = |line| {
            let written: Written = serde_json::from_str(line).expect("each line is a result");
            (written.task_id.to_string(), written.metadata.generation)
        };
        text.lines().map(parse).collect()
    }

    fn expected(ids: &[(&str, u32)]) -> Vec<(String, u32)> {
        ids.iter().map(|(id, generation)| ((*id).to_owned(), *generation)).collect()
    }

    struct Scene {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    /// A file with the results `a` and `b`.
    fn scene() -> Scene {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("results.jsonl");
        let mut file = ResultsFile::create(&path).expect("it can be made");
        file.append(&[result("a", 0), result("b", 0)]).expect("there is room");
        file.sync().expect("there is a disk");
        Scene { _folder: folder, path }
    }

    #[test]
    fn a_task_is_never_written_twice() {
        let Scene { path, .. } = &scene();
        let mut file = ResultsFile::resume(path, &HashMap::new()).expect("it can be continued");
        file.append(&[result("b", 0), result("c", 0), result("c", 0)]).expect("there is room");
        assert_eq!(ids(path), expected(&[("a", 0), ("b", 0), ("c", 0)]));
    }

    #[test]
    fn a_last_line_that_was_torn_anywhere_is_written_again() {
        let whole = fs::read(&scene().path).expect("the file is there");
        let first = whole.iter().position(|&byte| byte == b'\n').expect("a line end") + 1;
        for length in first..whole.len() {
            let Scene { path, .. } = &scene();
            fs::write(path, &whole[..length]).expect("there is room");
            let mut file = ResultsFile::resume(path, &HashMap::new()).expect("it can be continued");
            file.append(&[result("a", 0), result("b", 0)]).expect("there is room");
            assert_eq!(fs::read(path).expect("the file is there"), whole, "torn after {length} bytes");
        }
    }

    #[test]
    fn zeros_that_a_power_cut_left_at_the_end_are_dropped() {
        let Scene { path, .. } = &scene();
        let whole = fs::read(path).expect("the file is there");
        fs::write(path, [&whole[..], &[0; 4096]].concat()).expect("there is room");
        ResultsFile::resume(path, &HashMap::new()).expect("it can be continued");
        assert_eq!(fs::read(path).expect("the file is there"), whole);
    }

    #[test]
    fn a_result_of_a_later_generation_replaces_the_earlier_one() {
        let Scene { path, .. } = &scene();
        let current = HashMap::from([("a".parse().expect("a good id"), 1)]);
        let mut file = ResultsFile::resume(path, &current).expect("it can be continued");
        file.append(&[result("b", 0), result("a", 1)]).expect("there is room");
        assert_eq!(ids(path), expected(&[("b", 0), ("a", 1)]));
    }

    #[test]
    fn a_file_that_is_gone_is_begun_anew() {
        let Scene { path, .. } = &scene();
        fs::remove_file(path).expect("it was there");
        let mut file = ResultsFile::resume(path, &HashMap::new()).expect("it can be begun");
        file.append(&[result("a", 0)]).expect("there is room");
        assert_eq!(ids(path), expected(&[("a", 0)]));
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let Scene { path, .. } = &scene();
        let diary = "dear diary\nnothing happened\n";
        fs::write(path, diary).expect("there is room");
        let error = ResultsFile::resume(path, &HashMap::new()).expect_err("these are no results");
        assert!(format!("{error:#}").contains("line 1 is not a result"), "{error:#}");
        assert_eq!(fs::read_to_string(path).expect("the file is there"), diary);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_that_says_how_to_go_on() {
        let mut file = ResultsFile::create(Path::new("/dev/full")).expect("the device is there");
        let error = file.append(&[result("a", 0)]).expect_err("the device is always full");
        let words = format!("{error:#}");
        assert!(words.contains("--resume") && words.contains("No space left"), "{words}");
    }
}
