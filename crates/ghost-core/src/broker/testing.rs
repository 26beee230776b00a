//! A Redis for tests and benches: a server of their own, on a free port, in a folder of its own, that ends with them.
//!
//! It writes every change to the disk before it answers (`appendfsync always`), so that what it acknowledged survives
//! [`RedisServer::kill`]. A shell stands between: it ends the server and removes the folder as soon as the test process
//! is gone, however that ended, so a server may live in a `static`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::MAX_BATCH;

/// Waits for the end of its input, which is the end of the test, or for the word `keep`; then ends the server.
const GUARD: &str = r#"
directory=$1; shift
"$@" >/dev/null 2>&1 </dev/null & server=$!
read -r word || word=remove
kill -9 $server; wait $server 2>/dev/null
[ "$word" = keep ] || rm -rf "$directory"
echo ended
"#;
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);
/// Ports are found free and may be taken a moment later.
const TRIES: usize = 5;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// Reads, acknowledges and deletes 64 entries: the least that a queue on a stream can do for a batch.
const DRAIN: &str =
    "local found = redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 64, 'STREAMS', KEYS[1], '>')
    if not found then return 0 end
    local ids = {}
    for i, entry in ipairs(found[1][2]) do ids[i] = entry[1] end
    redis.call('XACK', KEYS[1], 'g', unpack(ids))
    return redis.call('XDEL', KEYS[1], unpack(ids))";

/// A running `redis-server`.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    directory: PathBuf,
    settings: Vec<String>,
    guard: Option<Child>,
}

impl RedisServer {
    /// Starts one that keeps what it acknowledged.
    ///
    /// # Panics
    /// Where `redis-server` is missing or does not start.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with these settings besides, as in `["--requirepass", "secret"]`.
    ///
    /// # Panics
    /// Where `redis-server` is missing or does not start.
    pub fn with(settings: &[&str]) -> Self {
        let found = Command::new("redis-server").arg("--version").output();
        assert!(
            found.is_ok(),
            "redis-server is missing: run `scripts/install-tools --tests`, or install Debian's package redis-server"
        );
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("ghost-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a folder for the server's data");
        let settings = settings.iter().map(|&word| word.to_owned()).collect();
        let mut server = Self { port: 0, directory, settings, guard: None };
        for _ in 0..TRIES {
            server.port = free_port();
            if server.run() {
                return server;
            }
            server.stop("keep\n");
        }
        panic!("no port stayed free for redis-server");
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `redis-cli` prints of one command.
    ///
    /// # Errors
    /// Where `redis-cli`, which comes with `redis-server`, cannot be started.
    pub fn cli(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.to_string()]).args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What Redis does for nobody, for benches to measure beside: `run` gets the `redis-benchmark` that adds so many
    /// entries to a stream, pipelined by 16, then the one whose script reads, acknowledges and deletes them, 64 at a
    /// time. Nothing where a tool is not there or `run` gives nothing.
    pub fn raw<T>(&self, entries: usize, mut run: impl FnMut(Command) -> Option<T>) -> Option<[T; 2]> {
        let benchmark = |calls: usize, arguments: &[&str]| {
            let mut command = Command::new("redis-benchmark");
            command.args(["-p", &self.port.to_string(), "-q", "-n", &calls.to_string()]).args(arguments);
            command
        };
        let added = run(benchmark(entries, &["-P", "16", "XADD", "raw", "*", "task", "12345678"]))?;
        self.cli(&["XGROUP", "CREATE", "raw", "g", "0"]).ok()?;
        let sha = self.cli(&["SCRIPT", "LOAD", DRAIN]).ok()?;
        let script = ["-c", "4", "EVALSHA", sha.trim(), "1", "raw"];
        let drained = run(benchmark(entries / MAX_BATCH, &script))?;
        self.cli(&["DEL", "raw"]).ok()?;
        Some([added, drained])
    }

    /// Ends it at once, as SIGKILL does; its folder stays.
    pub fn kill(&mut self) {
        self.stop("keep\n");
    }

    /// Starts it again, on the same port and with what it kept.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        self.stop("keep\n");
        assert!(self.run(), "redis-server does not start again on port {}", self.port);
    }

    /// Whether it runs now; false where its port is taken.
    fn run(&mut self) -> bool {
        let log = self.directory.join(format!("log-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "redis-guard"]).arg(&self.directory).arg("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--daemonize", "no"]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        command.arg("--dir").arg(&self.directory).arg("--logfile").arg(&log).args(&self.settings);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        self.guard = Some(command.spawn().expect("a shell"));
        came_up(&log)
    }

    /// Tells the guard, and waits until the server is gone.
    fn stop(&mut self, word: &str) {
        let Some(mut guard) = self.guard.take() else { return };
        if let Some(mut input) = guard.stdin.take() {
            // A guard that is gone has nothing to hear.
            let _ = input.write_all(word.as_bytes());
        }
        if let Some(output) = guard.stdout.take() {
            // The line, or the end of the output: either way the server is gone.
            let _ = BufReader::new(output).read_line(&mut String::new());
        }
        // It has ended or is about to.
        let _ = guard.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop("");
    }
}

/// A port of 127.0.0.1 that is free now; whoever takes it meanwhile makes its server fail.
pub(super) fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
}

/// Waits for a server to say that it is ready; false where its port is taken.
fn came_up(log: &Path) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let said = std::fs::read_to_string(log).unwrap_or_default();
        if said.contains("Ready to accept connections") {
            return true;
        }
        if said.contains("Address already in use") {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    panic!("redis-server did not come up within {PATIENCE:?}; it said: {said}");
}
