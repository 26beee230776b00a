//! The programs of the swarm as real processes, with no settings but those of the test.
//!
//! They are looked for beside the test's own binary: `cargo nextest run --workspace` builds them there, and so does
//! `cargo build --release --bins`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than any machine takes for what a program is asked; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs; killed when the test ends.
pub struct Program {
    name: String,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    heard: Vec<String>,
}

impl Program {
    /// Starts one. Its health is told at a free port, which [`Self::health`] knows.
    ///
    /// # Panics
    /// Where it was not built.
    pub fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        Self::typed(name, &[], settings)
    }

    /// The same with words behind its name, as in `serve`.
    ///
    /// # Panics
    /// Where it was not built.
    pub fn typed(name: &str, words: &[&str], settings: &[(&str, &str)]) -> Self {
        let path = path(name);
        assert!(
            path.is_file(),
            "{} was not built: run `cargo build --release --bins`, or the tests of the whole workspace",
            path.display()
        );
        let mut child = Command::new(path)
            .args(words)
            .env_clear()
            .envs([("HEALTH_PORT", "0"), ("A2A_PORT", "0"), ("ORCHESTRATOR_PORT", "0")])
            .envs(settings.iter().copied())
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { name: name.to_owned(), child, lines, heard: Vec::new() }
    }

    /// Waits until it has logged a line with these words, and returns that.
    ///
    /// # Panics
    /// Where it ends without, or does not within a minute.
    pub async fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.recv()).await.ok().flatten();
            let Some(line) = line else {
                panic!("{} did not say `{words}`, but:\n{}", self.name, self.heard.join("\n"))
            };
            self.heard.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The port where it tells how it is.
    ///
    /// # Panics
    /// Where it does not say.
    pub async fn health(&mut self) -> u16 {
        let line = self.wait_for("tells how it is at http://127.0.0.1:").await;
        line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Sends it a signal, as in `TERM`.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// SIGKILL: it has no say in it.
    ///
    /// # Panics
    /// Where it has ended.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// Waits for its end, and returns its exit code and what it logged.
    ///
    /// # Panics
    /// Where it does not end within a minute.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("{} does not end", self.name)).expect("it ends");
        while let Some(line) = self.lines.recv().await {
            self.heard.push(line);
        }
        (status.code(), self.heard.join("\n"))
    }
}

/// Where a program of this workspace is.
///
/// # Panics
/// Where the test's own binary is nowhere.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a binary");
    test.ancestors().nth(2).expect("target/release/deps/test").join(name)
}

/// Checks what every program has in common before it serves.
///
/// # Panics
/// Where it does not.
pub fn must_teach_and_refuse(program: &Path) {
    let run = |settings: &[(&str, &str)], words: &[&str]| {
        let output = std::process::Command::new(program)
            .args(words)
            .env_clear()
            .envs(settings.iter().copied())
            .current_dir(std::env::temp_dir())
            .output()
            .expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, help, _) = run(&[], &["--help"]);
    assert_eq!(code, Some(0));
    for part in ["Examples:", "REDIS_URL=redis://127.0.0.1:6379", "HEALTH_PORT", "health", "Exit codes"] {
        assert!(help.contains(part), "`{part}` is missing in:\n{help}");
    }
    let (code, _, said) = run(&[], &["--no-such-flag"]);
    assert!(code == Some(2) && said.contains("--no-such-flag"), "{code:?} {said}");

    for url in ["http://:opensesame@host:6379", "redis://:opensesame@127.0.0.1:6379/nowhere"] {
        let (code, _, said) = run(&[("REDIS_URL", url), ("HEALTH_PORT", "0")], &[]);
        assert!(code == Some(1) && said.contains("REDIS_URL"), "{code:?} {said}");
        assert!(said.contains("redis://") && !said.contains("opensesame"), "{said}");
    }
    // Nobody listens at port 1.
    let (code, _, said) = run(&[("HEALTH_PORT", "1")], &["health"]);
    assert!(code == Some(1) && said.contains("HEALTH_PORT"), "{code:?} {said}");
    let (code, _, said) = run(&[("HEALTH_HOST", "0.0.0.0"), ("HEALTH_PORT", "0"), ("REDIS_HOST", "x")], &[]);
    assert!(code == Some(1) && said.contains("GHOST_API_TOKEN"), "{code:?} {said}");
}
