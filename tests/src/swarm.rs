//! A whole swarm in one process: the services that the product runs, over a store in memory.

use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::faulty::{Faults, Faulty};
use ghost_core::broker::{Broker, Submission};
use ghost_core::id::TaskKey;
use ghost_core::inference::hybrid::{self, Engine, Slm};
use ghost_core::inference::pricing::Pricing;
use ghost_core::inference::scripted::{Script, Scripted};
use ghost_core::inference::{Backend, Provider};
use ghost_core::lifecycle::{Record, State};
use ghost_core::stats::{Counters, Statistics};
use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::capability::Capability;
use ghost_core::taskmaster::{TaskMaster, Thresholds};
use ghost_evaluator::Evaluator;
use ghost_orchestrator::{Handle, Orchestrator};
use ghost_worker::{Pulse, Worker};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Line;

/// A specialist as the tiny SLM is one: two kinds, and a threshold.
const SPECIALIST: &str = "model = 'tiny'\ncontext_tokens = 1024\nmax_input_bytes = 800\n\
    [kinds.json_field]\naccuracy = 0.98\ncoverage = 0.9\nmin_confidence = 0.6\n\
    [kinds.classify]\naccuracy = 0.98\ncoverage = 0.9\nmin_confidence = 0.6\n";

/// The name of the LLM in tests.
pub const LLM: &str = "claude-sonnet-5-5";

/// What a test's swarm consists of.
pub struct Plan {
    line: Line,
    faults: Option<Faults>,
    slm: Option<(Arc<dyn Backend>, Capability)>,
    llm: Option<Arc<dyn Backend>>,
    workers: usize,
    max_load: usize,
    evaluators: usize,
}

impl Plan {
    /// With a specialist that follows this script.
    pub fn slm(self, script: Script) -> Self {
        let capability = Capability::parse(SPECIALIST).expect("a table");
        Self { slm: Some((Arc::new(Scripted::new(Provider::Slm, "tiny", script)), capability)), ..self }
    }

    /// With a general local model that follows this script.
    pub fn general_slm(self, script: Script) -> Self {
        let capability = Capability::general("phi");
        Self { slm: Some((Arc::new(Scripted::new(Provider::Slm, "phi", script)), capability)), ..self }
    }

    /// With an LLM that follows this script.
    pub fn llm(self, script: Script) -> Self {
        self.llm_backend(Arc::new(Scripted::new(Provider::Llm, LLM, script)))
    }

    /// With this LLM.
    pub fn llm_backend(self, llm: Arc<dyn Backend>) -> Self {
        Self { llm: Some(llm), ..self }
    }

    /// With so many workers instead of one.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// With workers that take so many tasks at once instead of four.
    pub fn max_load(self, max_load: usize) -> Self {
        Self { max_load, ..self }
    }

    /// With so many evaluators instead of one.
    pub fn evaluators(self, evaluators: usize) -> Self {
        Self { evaluators, ..self }
    }

    /// With every agent behind a bad line.
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// Starts it.
    pub async fn start(self) -> TestSwarm {
        let slm = self.slm.clone().map(|(backend, capability)| Slm { backend, capability });
        let engine = Engine::build(hybrid::Config::default(), slm, self.llm.clone(), Pricing::builtin());
        let deps = ghost_orchestrator::Deps {
            broker: self.broker(&Arc::new(self.line.clone())),
            taskmaster: Arc::new(taskmaster()),
            available: engine.available(),
        };
        let orchestrator = Orchestrator::build(ghost_orchestrator::Config::default(), deps);
        let mut swarm = TestSwarm {
            handle: orchestrator.handle(),
            engine: Arc::new(engine),
            workers: Vec::new(),
            others: Vec::new(),
            shutdown: CancellationToken::new(),
            plan: self,
        };
        swarm.others.push(tokio::spawn(orchestrator.run(swarm.shutdown.clone())));
        for _ in 0..swarm.plan.evaluators {
            swarm.add_evaluator();
        }
        for _ in 0..swarm.plan.workers {
            swarm.add_worker();
        }
        swarm
    }

    fn broker(&self, line: &Arc<Line>) -> Arc<dyn Broker> {
        match self.faults {
            Some(faults) => Arc::new(Faulty::new(Line::clone(line), faults)),
            None => line.clone(),
        }
    }
}

/// A swarm that runs.
pub struct TestSwarm {
    /// The way in.
    pub handle: Handle,
    /// The workers, in the order of their start.
    pub workers: Vec<RunningWorker>,
    plan: Plan,
    engine: Arc<Engine>,
    others: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
}

/// A worker that runs, and its line.
pub struct RunningWorker {
    /// Its line to the store.
    pub line: Arc<Line>,
    running: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl RunningWorker {
    /// Kills it where it stands.
    pub async fn crash(&mut self) {
        self.running.abort();
        // It was aborted: there is nothing to learn from it.
        let _ = (&mut self.running).await;
    }

    /// Tells it to end and waits until it has.
    pub async fn drain(&mut self) {
        self.shutdown.cancel();
        (&mut self.running).await.expect("a worker that does not panic");
    }
}

impl TestSwarm {
    /// A plan for a swarm over a new store: one worker, one evaluator, no models.
    pub fn in_memory() -> Plan {
        Self::over(Line::to_new_store())
    }

    /// The same over this store.
    pub fn over(line: Line) -> Plan {
        Plan { line, faults: None, slm: None, llm: None, workers: 1, max_load: 4, evaluators: 1 }
    }

    /// A sound line to the store.
    pub fn line(&self) -> Line {
        self.plan.line.clone()
    }

    /// One more worker.
    pub fn add_worker(&mut self) {
        let line = Arc::new(self.plan.line.clone());
        let config = ghost_worker::Config {
            pulse: Pulse::SameRuntime,
            max_load: self.plan.max_load,
            ..ghost_worker::Config::default()
        };
        let deps = ghost_worker::Deps { broker: self.plan.broker(&line), engine: self.engine.clone() };
        let shutdown = self.shutdown.child_token();
        let worker = Worker::build(config, deps).run(shutdown.clone());
        let running = tokio::spawn(async { worker.await.expect("models need no preparation") });
        self.workers.push(RunningWorker { line, running, shutdown });
    }

    /// One more evaluator.
    pub fn add_evaluator(&mut self) {
        let deps = ghost_evaluator::Deps {
            broker: self.plan.broker(&Arc::new(self.plan.line.clone())),
            llm_available: self.plan.llm.is_some(),
        };
        let config = ghost_evaluator::Config {
            slm_revises: self.plan.slm.as_ref().is_some_and(|(_, capability)| capability.general),
            ..ghost_evaluator::Config::default()
        };
        self.others.push(tokio::spawn(Evaluator::build(config, deps).run(self.shutdown.clone())));
    }

    /// Submits one task.
    pub async fn submit(&self, task: Value) -> TaskKey {
        match self.submit_all(vec![task]).await.pop() {
            Some(Submission::New(record) | Submission::Known(record)) => record.key,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Submits tasks together.
    pub async fn submit_all(&self, tasks: Vec<Value>) -> Vec<Submission> {
        let parse = |task: Value| TaskRequest::parse(task.to_string().as_bytes()).expect("a valid task");
        self.handle.submit(None, tasks.into_iter().map(parse).collect()).await.expect("a store that accepts")
    }

    /// The task as it stands.
    pub async fn look(&self, key: &TaskKey) -> Record {
        self.plan.line.get(key).await.expect("a store that answers").expect("a task")
    }

    /// The task once it is settled.
    pub async fn settled(&self, key: &TaskKey) -> Record {
        self.handle.wait(key).await.expect("a task that is settled")
    }

    /// The task once this is true of it. It looks again after every moment in which something may have happened.
    pub async fn when(&self, key: &TaskKey, is_so: impl Fn(&Record) -> bool) -> Record {
        loop {
            let record = self.look(key).await;
            if is_so(&record) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The task once a worker has begun with it.
    pub async fn begun(&self, key: &TaskKey) -> Record {
        self.when(key, |record| matches!(record.state, State::InProgress(_))).await
    }

    /// The counters.
    pub async fn counters(&self) -> Counters {
        self.plan.line.counters().await.expect("a store that answers")
    }

    /// What the counters mean.
    pub async fn statistics(&self) -> Statistics {
        Statistics::from(&self.counters().await)
    }

    /// Ends every service in good order and leaves the store.
    pub async fn stop(self) -> Line {
        self.shutdown.cancel();
        for worker in self.workers {
            // A crashed one was aborted.
            let _ = worker.running.await;
        }
        for service in self.others {
            service.await.expect("a service that does not panic");
        }
        self.plan.line
    }
}

/// A task that the specialist can do.
pub fn simple() -> Value {
    json!({
        "task_type": "json_field", "description": "Return the value of the field \"name\".",
        "parameters": {"prompt": "{\"name\": \"Ann\", \"age\": 3}"},
    })
}

/// A task that takes the LLM.
pub fn complex() -> Value {
    json!({"task_type": "llm_inference", "description": "Compare the causes of two wars in an essay.", "parameters": {"force_llm": true}})
}

/// The TaskMaster that ships.
pub fn taskmaster() -> TaskMaster {
    TaskMaster::new(Thresholds::default())
}
