//! A real `ghost`, in a place of its own, with a Claude that does as it is told.
//!
//! Nothing here sleeps: tests wait for lines that the process prints and for calls that the server hears.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::claude::Claude;

/// A temporary directory with a data directory in it, and no settings but those of the test.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Place {
    /// Without models: no local one, no key.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self { folder, settings: Vec::new() }.with("SLM_PROVIDER", "none")
    }

    /// With one more setting; of two for the same variable the last one counts.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this Claude as the LLM.
    pub(crate) fn with_claude(self, claude: &Claude) -> Self {
        self.with("ANTHROPIC_API_KEY", "test-key").with("ANTHROPIC_BASE_URL", claude.url())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of so many tasks, `task-1` and up; each task's text holds its id.
    pub(crate) fn tasks(&self, number: usize) -> PathBuf {
        let line = |n| json!({"task_id": format!("task-{n}"), "task_type": "llm_inference", "description": format!("Say something about task-{n}.")});
        let lines: String = (1..=number).map(|n| line(n).to_string() + "\n").collect();
        self.write("tasks.jsonl", lines)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("there is room");
        path
    }

    /// The command, ready to run.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghost"));
        command
            .args(words)
            .env_clear()
            .env("GHOST_DATA", self.path("data"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in &self.settings {
            command.env(name, value);
        }
        command
    }

    /// Runs it to its end.
    pub(crate) fn ghost(&self, words: &[&str]) -> Ended {
        Ended::from(self.command(words).output().expect("ghost starts"))
    }

    /// Starts it and listens to what it says on stderr.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        let mut child = self.command(words).spawn().expect("ghost starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        Running { child, stderr, heard: String::new() }
    }

    /// The results that a file holds; each line is whole.
    pub(crate) fn results(&self, name: &str) -> Vec<Value> {
        results(&std::fs::read_to_string(self.path(name)).expect("the results file is there"))
    }
}

/// Files that are no model, or none for us, each with what is said of it.
pub(crate) fn faulty_models(place: &Place) -> Vec<(PathBuf, &'static str)> {
    let tiny = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/ghost-tiny.gguf"))
        .expect("the built-in model");
    // Another word of the same length in the place of the first one.
    let changed = |from: &[u8], to: &[u8]| {
        let at = tiny.windows(from.len()).position(|part| part == from).expect("the model holds it");
        let mut bytes = tiny.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    vec![
        (place.path("missing.gguf"), "cannot read the model"),
        (place.write("page.gguf", "<html>not found</html>"), "is not a GGUF file"),
        (place.write("short.gguf", &tiny[..tiny.len() / 2]), "not within the file bounds"),
        (place.write("unknown.gguf", changed(b"llama", b"qwert")), "unknown model architecture"),
        (
            place.write("mute.gguf", changed(b"tokenizer.chat_template", b"tokenizer.chat_tempLATE")),
            "no chat template",
        ),
    ]
}

/// The results that a text holds.
pub(crate) fn results(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// The ids of results, sorted; a task that stands there twice is there twice.
pub(crate) fn ids(results: &[Value]) -> Vec<String> {
    let id = |result: &Value| result["task_id"].as_str().expect("each result has an id").to_owned();
    let mut ids: Vec<_> = results.iter().map(id).collect();
    ids.sort_by_key(|id| id.trim_start_matches("task-").parse::<u32>().unwrap_or(0));
    ids
}

/// `task-1` to `task-n`.
pub(crate) fn all_ids(number: usize) -> Vec<String> {
    (1..=number).map(|n| format!("task-{n}")).collect()
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("ghost speaks UTF-8");
        let ended =
            Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        ended
    }
}

impl Ended {
    /// Fails the test with all that the process said, unless it ended with this code.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the process said this on stderr.
    #[track_caller]
    pub(crate) fn said(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "`{words}` is missing in:\n{}", self.stderr);
        self
    }
}

/// A process that runs; killed when the test ends.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    heard: String,
}

impl Running {
    /// Waits until it has said a line with these words, and returns that.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("ghost speaks UTF-8");
            assert!(read > 0, "it ended without saying `{words}`:\n{}", self.heard);
            self.heard.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(status.expect("there is a kill").success());
    }

    /// SIGKILL: it has no say in it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it still runs");
        self.child.wait().expect("it has ended");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        std::io::Read::read_to_string(&mut self.stderr, &mut self.heard).expect("ghost speaks UTF-8");
        let mut stdout = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut pipe, &mut stdout).expect("ghost speaks UTF-8");
        }
        let status = self.child.wait().expect("it ends");
        assert!(!self.heard.contains("panicked"), "{}", self.heard);
        Ended { code: status.code(), stdout, stderr: std::mem::take(&mut self.heard) }
    }

    /// Closes the reading end of its stdout, as `head` does.
    pub(crate) fn stop_reading(&mut self) {
        drop(self.child.stdout.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cuts a file off after so many bytes.
pub(crate) fn cut(path: &Path, length: usize) {
    let file = std::fs::File::options().write(true).open(path).expect("it is there");
    file.set_len(length as u64).expect("it can be cut");
}
