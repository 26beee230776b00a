//! llama.cpp's own tools, run with the same flags: llama-batched-bench and llama-server.
//!
//! They are taken from the folder that was named, else from the PATH, else from where `make llama-reference` puts them.
//! A tool that is not there, or fails, leaves the reference empty; nothing of ours takes its place.

use std::ffi::OsStr;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use ghost_core::inference::Provider;
use ghost_core::inference::openai_compatible::{Config, OpenAiCompatible};
use ghost_llama::{Facts, Probe};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::engine::{Pace, Setup};
use super::model::cache;
use crate::exit::misuse;

/// How long a tool may take for one measurement.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often a tool is run that ends well and prints nothing.
const ATTEMPTS: usize = 6;
/// How long the server may take to load.
const LOADING: Duration = Duration::from_secs(180);
/// How often it is asked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the tools are and what they are.
#[derive(Debug, Serialize)]
pub(crate) struct Tools {
    /// llama-batched-bench.
    pub batched_bench: Option<PathBuf>,
    /// llama-server.
    pub server: Option<PathBuf>,
    /// What the tools say they are.
    pub version: Option<String>,
    /// The revision of llama.cpp, where `make llama-reference` built them.
    pub revision: Option<String>,
}

impl Tools {
    /// Looks for them.
    pub(crate) async fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        let folders = match named {
            Some(folder) if folder.is_dir() => vec![folder.to_owned()],
            Some(folder) => return Err(misuse(format!("--llama-bin: {} is no folder", folder.display()))),
            None => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let cached = cache().map(|cache| cache.join("llama-reference").join("bin"));
                std::env::split_paths(&path).chain(cached.ok()).collect()
            }
        };
        let tool = |name: &str| {
            let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
            folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file())
        };
        let (batched_bench, server) = (tool("llama-batched-bench"), tool("llama-server"));
        let any = batched_bench.as_deref().or(server.as_deref());
        let version = match any {
            Some(tool) => version(tool).await,
            None => None,
        };
        let revision =
            any.and_then(|tool| built(&std::fs::read_to_string(tool.with_file_name("BUILT")).ok()?));
        Ok(Self { batched_bench, server, version, revision })
    }
}

/// The flags that both tools get; ours is set up alike.
fn flags(setup: &Setup<'_>, facts: &Facts, sequences: usize) -> Vec<String> {
    let (threads, rows) = (facts.threads.to_string(), facts.step_tokens.to_string());
    let cells = sequences * setup.context.next_multiple_of(256);
    let mut flags = vec!["-m".to_owned(), setup.model.display().to_string()];
    for (flag, value) in [
        ("-c", cells.to_string()),
        ("-b", rows.clone()),
        ("-ub", rows),
        ("-t", threads.clone()),
        ("-tb", threads),
        ("-fa", "auto".to_owned()),
        ("-ctk", "f16".to_owned()),
        ("-ctv", "f16".to_owned()),
        ("-ngl", setup.gpu_layers.to_string()),
    ] {
        flags.extend([flag.to_owned(), value]);
    }
    flags.push("--no-kv-unified".to_owned());
    flags
}

/// The command line that measures this with llama-batched-bench.
pub(crate) fn bench_flags(setup: &Setup<'_>, facts: &Facts, probe: Probe) -> Vec<String> {
    let mut flags = flags(setup, facts, probe.sequences);
    for (flag, value) in [
        ("-npp", probe.prompt_tokens.to_string()),
        ("-ntg", probe.answer_tokens.to_string()),
        ("-npl", probe.sequences.to_string()),
        ("--output-format", "jsonl".to_owned()),
    ] {
        flags.extend([flag.to_owned(), value]);
    }
    flags
}

/// Measures with llama-batched-bench.
pub(crate) async fn bench(tool: &Path, flags: &[String]) -> anyhow::Result<Pace> {
    let mut attempt = 1;
    loop {
        let output = timeout(PATIENCE, quietly(tool).args(flags).stderr(Stdio::piped()).output())
            .await
            .with_context(|| format!("{} takes longer than {PATIENCE:?}", tool.display()))?
            .with_context(|| format!("{} cannot be started", tool.display()))?;
        match pace(&String::from_utf8_lossy(&output.stdout)) {
            Some(pace) if output.status.success() => return Ok(pace),
            // It prints on a thread of its own, and where it ends soon, now and then before that thread has written.
            _ if output.status.success() && attempt < ATTEMPTS => attempt += 1,
            _ => {
                let last = last_words(&String::from_utf8_lossy(&output.stderr));
                anyhow::bail!("{} ends with {} and no figures: {last}", tool.display(), output.status)
            }
        }
    }
}

/// A line of llama-batched-bench's `--output-format jsonl`.
#[derive(Deserialize)]
struct Line {
    speed_pp: f64,
    speed_tg: f64,
}

/// The last figures among what llama-batched-bench printed.
fn pace(printed: &str) -> Option<Pace> {
    let mut lines = printed.lines().filter_map(|line| serde_json::from_str::<Line>(line.trim()).ok());
    lines.next_back().map(|line| Pace { prefill: line.speed_pp, decode: line.speed_tg })
}

/// A llama-server that answers; it ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    /// The command line.
    pub flags: Vec<String>,
    url: String,
    _child: Child,
}

impl Server {
    /// Starts it with so many slots as the setup has sequences, and waits until it can be asked.
    pub(crate) async fn start(tool: &Path, setup: &Setup<'_>, facts: &Facts) -> anyhow::Result<Self> {
        // A port that is free now; whoever takes it meanwhile makes the server fail, and that is said.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut flags = flags(setup, facts, setup.sequences);
        for (flag, value) in [
            ("--parallel", setup.sequences.to_string()),
            ("--host", "127.0.0.1".to_owned()),
            ("--port", port.to_string()),
        ] {
            flags.extend([flag.to_owned(), value]);
        }
        let log = NamedTempFile::new().context("there is no room for the log of llama-server")?;
        let cannot = || format!("{} cannot be started", tool.display());
        let mut child = quietly(tool)
            .args(&flags)
            .stdout(Stdio::null())
            .stderr(log.reopen()?)
            .spawn()
            .with_context(cannot)?;
        let url = format!("http://127.0.0.1:{port}");
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let deadline = Instant::now() + LOADING;
        loop {
            if let Some(status) = child.try_wait()? {
                let mut text = String::new();
                // A log that is no text explains nothing.
                let _ = log.reopen()?.take(1 << 20).read_to_string(&mut text);
                anyhow::bail!("{} ends with {status}: {}", tool.display(), last_words(&text));
            }
            let health = client.get(format!("{url}/health")).send().await;
            if health.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(Self { flags, url, _child: child });
            }
            anyhow::ensure!(Instant::now() < deadline, "{} has not loaded after {LOADING:?}", tool.display());
            sleep(LOOK_EVERY).await;
        }
    }

    /// A client that asks for no more than ours is asked for.
    pub(crate) fn client(&self) -> anyhow::Result<OpenAiCompatible> {
        Ok(OpenAiCompatible::build(Config {
            logprobs: false,
            first_token_timeout: PATIENCE,
            next_token_timeout: PATIENCE,
            ..Config::new(Provider::Slm, &self.url, "reference")
        })?)
    }
}

/// What the tool says it is.
async fn version(tool: &Path) -> Option<String> {
    let mut command = quietly(tool);
    let output = command.arg("--version").stderr(Stdio::piped()).output();
    let output = timeout(Duration::from_secs(20), output).await.ok()?.ok()?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find_map(|line| line.trim().strip_prefix("version:"))?;
    Some(line.trim().to_owned())
}

/// The revision that the file BUILT names.
fn built(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("llama.cpp ")).map(|revision| revision.trim().to_owned())
}

fn quietly(tool: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(tool);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// The last line of a log that says anything.
fn last_words(log: &str) -> String {
    let last = log.lines().rev().find(|line| !line.trim().is_empty());
    crate::output::short(last.unwrap_or("it says nothing"), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As llama-batched-bench prints it.
    const PRINTED: &str = "\n{\"n_kv_max\": 1024, \"n_batch\": 512, \"n_ubatch\": 512, \"flash_attn\": -1, \
        \"is_pp_shared\": 0, \"n_gpu_layers\": 0, \"n_threads\": 2, \"n_threads_batch\": 2, \"pp\": 64, \"tg\": 32, \
        \"pl\": 4, \"n_kv\": 384, \"t_pp\": 4.280602, \"speed_pp\": 59.804672, \"t_tg\": 3.106796, \"speed_tg\": \
        41.200001, \"t\": 7.387398, \"speed\": 51.980400}\n\nllama_perf_context_print: load time = 900.00 ms\n";

    #[test]
    fn figures_are_found_among_what_the_tool_prints() {
        assert_eq!(pace(PRINTED), Some(Pace { prefill: 59.804_672, decode: 41.200_001 }));
        assert_eq!(pace("error: unable to load model\n{\"speed_pp\": 1}\n"), None);
    }

    #[test]
    fn the_revision_stands_in_the_file_beside_the_tools() {
        assert_eq!(built("llama-cpp-python 1, cmake -D\nllama.cpp abc123\n").as_deref(), Some("abc123"));
        assert_eq!(built(""), None);
    }

    #[test]
    fn the_reference_gets_what_the_engine_was_loaded_with() {
        let setup =
            Setup { model: Path::new("m.gguf"), threads: None, gpu_layers: 0, sequences: 32, context: 96 };
        let facts = Facts {
            model: "m".into(),
            parameters: 1,
            context_tokens: 96,
            sequences: 32,
            cells: 32 * 96,
            step_tokens: 512,
            threads: 3,
            weight_bytes: 1,
            kv_bytes: 1,
        };
        let probe = Probe { sequences: 4, prompt_tokens: 64, answer_tokens: 32 };
        assert_eq!(
            bench_flags(&setup, &facts, probe).join(" "),
            "-m m.gguf -c 1024 -b 512 -ub 512 -t 3 -tb 3 -fa auto -ctk f16 -ctv f16 -ngl 0 --no-kv-unified -npp 64 \
             -ntg 32 -npl 4 --output-format jsonl"
        );
    }
}
