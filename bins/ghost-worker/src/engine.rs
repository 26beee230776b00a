//! Wires the engine from the settings: who is the local model, who is the LLM, what they cost.
//!
//! [`ghost_service::models`] answers what could be done without loading anything. [`load`] loads. A model that does not
//! load leaves the process alive: the LLM does its work, and a warning says why. A server at SLM_ENDPOINT that is not
//! there yet is [`Absent`]: the engine learns of it once it comes.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ghost_core::config::{Config, LlmChoice, SlmChoice};
use ghost_core::executor::{Executor, ExecutorConfig, Place};
use ghost_core::inference::claude::{self, Claude};
use ghost_core::inference::hybrid::{self, DraftCheck, Engine, Slm};
use ghost_core::inference::limited::Limited;
use ghost_core::inference::openai_compatible::{self, OpenAiCompatible};
use ghost_core::inference::pricing::{ModelStatus, Pricing};
use ghost_core::inference::{Backend, Provider};
use ghost_core::taskmaster::TaskMaster;
use ghost_core::taskmaster::capability::Capability;
use ghost_llama::Llama;
use ghost_service::data_dir::DataDir;
use ghost_service::models::capability;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::tiny;

/// How soon a server that is not there yet is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long a server of our own may let us wait for a token: others may be before us in its queue. A connection that
/// breaks is noticed at once.
const PATIENCE: Duration = Duration::from_secs(300);

/// An engine with what it needs around it.
pub struct Loaded {
    /// The engine.
    pub engine: Arc<Engine>,
    /// What its user should know of the models.
    pub warnings: Vec<String>,
    /// The local model that is still to come, where its server is not there yet.
    pub absent: Option<Absent>,
    /// The cores that the local model has for itself, for as long as it runs.
    _place: Option<Place>,
}

impl Loaded {
    /// An engine that needs nothing around it.
    pub fn of(engine: Engine) -> Self {
        Self { engine: Arc::new(engine), warnings: Vec::new(), absent: None, _place: None }
    }

    /// Waits until there is somebody who can answer: where there is no LLM to do its work meanwhile, for the local model's
    /// server.
    pub async fn wait_for_anybody(&mut self) {
        if !self.engine.available().llm
            && let Some(absent) = self.absent.take()
        {
            absent.wait().await;
        }
    }
}

/// A local model whose server is not there yet.
pub struct Absent {
    engine: Arc<Engine>,
    config: openai_compatible::Config,
    executor: Executor,
}

impl Absent {
    /// Looks for it until it is there, and has the engine use it from then on.
    pub async fn wait(self) {
        let mut last = String::new();
        let slm = loop {
            match reach(&self.config, &self.executor).await {
                Ok(slm) => break slm,
                Err(error) => {
                    let words = format!("{error:#}");
                    if words != last {
                        info!("waiting for the local model: {words}");
                        last = words;
                    }
                }
            }
            sleep(LOOK_AGAIN).await;
        };
        info!("the local model {} is there", slm.capability.model);
        self.engine.learn_of(slm);
    }

    /// The same, for as long as anybody needs it.
    pub async fn wait_until(self, shutdown: CancellationToken) {
        // Told to end, nobody does.
        let _ = shutdown.run_until_cancelled(self.wait()).await;
    }
}

/// A model of this process.
pub struct Local {
    /// It.
    pub llama: Arc<Llama>,
    /// What it can do.
    pub capability: Capability,
    /// The cores that it has for itself, for as long as it runs.
    pub place: Place,
}

/// The prices: those that ship, and over them those of GHOST_PRICES.
///
/// # Errors
/// Where GHOST_PRICES cannot be read or makes no sense.
pub fn pricing(config: &Config) -> anyhow::Result<Pricing> {
    let Some(path) = &config.llm.prices else { return Ok(Pricing::builtin()) };
    let unusable = || format!("the prices in {} (GHOST_PRICES) cannot be used", path.display());
    let toml = std::fs::read_to_string(path).with_context(unusable)?;
    Pricing::with_overrides(&toml).with_context(unusable)
}

/// What to say of a model whose price or future is in doubt; none where all is well.
pub fn doubt(pricing: &Pricing, model: &str) -> Option<String> {
    match pricing.status(model) {
        ModelStatus::Priced => None,
        ModelStatus::Unpriced => Some(format!(
            "no price is known for {model}, so its cost cannot be told; add it to a file and name that with GHOST_PRICES"
        )),
        ModelStatus::Retired { on, successor } => {
            let instead = successor.map(|model| format!("; set LLM_MODEL={model}")).unwrap_or_default();
            Some(format!("{model} is retired on {on}{instead}"))
        }
    }
}

/// Loads the models and builds the engine.
///
/// # Errors
/// Where the settings make no sense for a model; one that does not load is only a warning.
pub fn load(config: &Config, data: &DataDir) -> anyhow::Result<Loaded> {
    let pricing = pricing(config)?;
    let executor = executor(config);
    let mut warnings = Vec::new();
    let mut missing = None;
    let (slm, place) = match slm(config, data, &executor) {
        Ok(Some((slm, place))) => (Some(slm), place),
        Ok(None) => (None, None),
        Err(error) => {
            missing = endpoint(config);
            let (what, until) = match missing {
                Some(_) => ("is not there yet", "is"),
                None => ("does not load", "does"),
            };
            let rest = match (config.llm.choice(), &missing) {
                (Some(_), None) => "the LLM takes everything".to_owned(),
                (Some(_), Some(_)) => "the LLM takes everything until then".to_owned(),
                (None, _) => {
                    format!("no task can be answered until it {until}, or until ANTHROPIC_API_KEY is set")
                }
            };
            warnings.push(format!("the local model {what}, so {rest}: {error:#}"));
            (None, None)
        }
    };
    warnings.extend(gpu_doubt(config)?);
    warnings.extend(config.llm.choice().and_then(|choice| doubt(&pricing, model(&choice))));
    let llm = config.llm.choice().map(|choice| llm(&choice, &executor)).transpose()?;
    let engine = Arc::new(Engine::build(hybrid_config(config)?, slm, llm, pricing));
    let absent = missing.map(|config| Absent { engine: engine.clone(), config, executor });
    Ok(Loaded { engine, warnings, absent, _place: place })
}

/// Why a file cannot be the local model, looked at without loading it; none where it seems sound.
pub fn fault(path: &Path) -> Option<String> {
    ghost_llama::examine(path).err().map(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// What to say of layers that should be on a GPU; none where they are, or none are asked for.
///
/// # Errors
/// Where llama.cpp does not start.
pub fn gpu_doubt(config: &Config) -> anyhow::Result<Option<String>> {
    let in_process = matches!(config.slm.choice(), SlmChoice::File(_) | SlmChoice::Embedded);
    let layers = config.slm.gpu_layers;
    if layers == 0 || !in_process || ghost_llama::has_gpu()? {
        return Ok(None);
    }
    Ok(Some(format!(
        "SLM_GPU_LAYERS={layers} does nothing: this build has no GPU support, or no GPU is there; build with \
         --features cuda, vulkan or metal, or leave it unset"
    )))
}

/// The name of the model that a choice asks.
pub fn model<'a>(choice: &LlmChoice<'a>) -> &'a str {
    match choice {
        LlmChoice::Claude { model, .. } | LlmChoice::OpenAiCompatible { model, .. } => model,
    }
}

/// How the engine behaves.
///
/// # Errors
/// Where the thresholds contradict each other.
pub fn hybrid_config(config: &Config) -> anyhow::Result<hybrid::Config> {
    let routing = &config.routing;
    let judge = TaskMaster::new(routing.thresholds()?);
    Ok(hybrid::Config {
        fallback: routing.fallback,
        hybrid: routing.hybrid,
        llm_model: config.llm.model_or_default().to_owned(),
        drafts: (routing.drafts > 0).then_some(DraftCheck { taskmaster: judge, samples: routing.drafts }),
        ..hybrid::Config::default()
    })
}

/// The CPUs of this process.
pub fn executor(config: &Config) -> Executor {
    let default = ExecutorConfig::default();
    Executor::new(ExecutorConfig {
        cpus: config.executor.cpus.unwrap_or(default.cpus),
        io: config.executor.io,
    })
}

fn llm(choice: &LlmChoice<'_>, executor: &Executor) -> anyhow::Result<Arc<dyn Backend>> {
    Ok(match *choice {
        LlmChoice::Claude { api_key, base_url, version, model } => {
            let claude = Claude::build(claude::Config {
                api_key: api_key.reveal().to_owned(),
                base_url: base_url.to_owned(),
                version: version.to_owned(),
                model: model.to_owned(),
                ..claude::Config::default()
            })?;
            Limited::new(claude, executor.clone())
        }
        LlmChoice::OpenAiCompatible { api_key, base_url, model } => {
            let endpoint = OpenAiCompatible::build(openai_compatible::Config {
                api_key: api_key.map(|key| key.reveal().to_owned()),
                ..openai_compatible::Config::new(Provider::Llm, base_url, model)
            })?;
            Limited::new(endpoint, executor.clone())
        }
    })
}

/// How many tasks to have at once (MAX_WORKERS), else as many as are worth having: enough calls over the network, and
/// enough answers for full batches of the model in the process.
pub fn at_once(config: &Config) -> usize {
    let worthwhile = match config.slm.choice() {
        SlmChoice::File(_) | SlmChoice::Embedded => config.executor.io.max(config.slm.parallel),
        SlmChoice::None | SlmChoice::Endpoint { .. } => config.executor.io,
    };
    config.worker.at_once.unwrap_or(worthwhile)
}

/// Loads the local model, where there is to be one, or asks the server that has it what it can do.
///
/// # Errors
/// Why it does not load, or cannot be reached.
pub fn slm(
    config: &Config,
    data: &DataDir,
    executor: &Executor,
) -> anyhow::Result<Option<(Slm, Option<Place>)>> {
    if let Some(endpoint) = endpoint(config) {
        let slm = blocking(reach(&endpoint, executor))??;
        return Ok(Some((slm, None)));
    }
    // Each of the tasks that a worker has at once may ask at the same moment, and for all its samples.
    let callers = at_once(config) * config.routing.drafts.max(1) as usize;
    let loaded = local(config, data, executor, callers)?;
    Ok(loaded.map(|local| (Slm { backend: local.llama, capability: local.capability }, Some(local.place))))
}

/// Loads a model into this process, where one is to be; `callers` of it may ask at the same moment.
///
/// # Errors
/// Why it does not load.
pub fn local(
    config: &Config,
    data: &DataDir,
    executor: &Executor,
    callers: usize,
) -> anyhow::Result<Option<Local>> {
    let (llama, place) = match config.slm.choice() {
        SlmChoice::None | SlmChoice::Endpoint { .. } => return Ok(None),
        SlmChoice::File(path) => llama(config, path, executor, callers).map_err(|error| {
            anyhow!(
                "{error:#}; download it again or name another with SLM_MODEL_PATH, or leave that \
                                      unset for the built-in model"
            )
        })?,
        SlmChoice::Embedded => {
            let path =
                tiny::file(data).context("the built-in model cannot be written to the data directory")?;
            llama(config, &path, executor, callers)?
        }
    };
    Ok(capability(config)?.map(|capability| Local { llama, capability, place }))
}

/// The server that is the local model, where there is one.
fn endpoint(config: &Config) -> Option<openai_compatible::Config> {
    let SlmChoice::Endpoint { url, model } = config.slm.choice() else { return None };
    Some(openai_compatible::Config {
        api_key: config.slm.api_key.as_ref().map(|key| key.reveal().to_owned()),
        ..openai_compatible::Config::new(Provider::Slm, url, model)
    })
}

/// Asks a server what its model can do. One of our own tells, and is asked like a model in the process; any other one
/// counts as a model that takes any prompt.
async fn reach(config: &openai_compatible::Config, executor: &Executor) -> anyhow::Result<Slm> {
    let unreachable = || format!("the server at {} (SLM_ENDPOINT)", config.base_url);
    let client = OpenAiCompatible::build(config.clone())?;
    let (config, capability) = match client.capability().await.with_context(unreachable)? {
        None => (config.clone(), Capability::general(&config.model)),
        Some(capability) => {
            let patient = openai_compatible::Config {
                extended: true,
                first_token_timeout: PATIENCE,
                next_token_timeout: PATIENCE,
                ..config.clone()
            };
            (patient, capability)
        }
    };
    let backend = Limited::new(OpenAiCompatible::build(config)?, executor.clone());
    Ok(Slm { backend, capability })
}

/// The answer to a question over the network, for code that blocks, wherever it runs.
fn blocking<T: Send>(question: impl Future<Output = T> + Send) -> anyhow::Result<T> {
    let asked = || {
        // It must end where it began: a thread that has a runtime already may not drop another.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(question))
    };
    thread::scope(|scope| scope.spawn(asked).join()).map_err(|_| anyhow!("asking for it panicked"))?
}

fn llama(
    config: &Config,
    path: &Path,
    executor: &Executor,
    callers: usize,
) -> anyhow::Result<(Arc<Llama>, Place)> {
    let default = ghost_llama::Config::new(path);
    let place = executor.dedicated("llama", config.slm.threads.unwrap_or(default.threads));
    let threads = match (config.slm.threads, config.executor.cpus) {
        (Some(threads), _) => threads,
        (None, Some(_)) => place.threads,
        (None, None) => default.threads,
    };
    let llama = Llama::load(ghost_llama::Config {
        threads,
        gpu_layers: config.slm.gpu_layers,
        context_tokens: config.slm.context_tokens,
        sequences: config.slm.parallel,
        kv_bytes: config.slm.kv_mib.map(|mebibytes| mebibytes << 20),
        prefix_cache_bytes: config.slm.prefix_cache_mib << 20,
        deterministic: config.slm.deterministic,
        queue: default.queue.max(callers),
        ..default
    })?;
    Ok((Arc::new(llama), place))
}
