//! What Prometheus reads, in one table: the name of each number, what it means, and how it is read.
//!
//! Most numbers are the swarm's: they are read from the broker when somebody asks, so every program tells the same, and
//! a program that was started a minute ago knows what happened all year. Sum them over nothing: take the maximum.
//! `docs/deployment.md` has the table for people, and a test compares the two.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ghost_core::broker::{Broker, Error};
use ghost_core::inference::Provider;
use ghost_core::messages::AgentInfo;
use ghost_core::stats::{self, Counters, Statistics};
use ghost_core::task::Status;
use ghost_core::taskmaster::route::Route;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use Value::Number;
use times::Times;

mod times;

/// Of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A number that a program has for itself. That of a counter is told with `_total` behind its name.
pub(crate) struct Own {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: MetricType,
    pub(crate) read: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// What the broker knows of the swarm.
pub(crate) struct Swarm {
    counters: Counters,
    statistics: Statistics,
    tally: Vec<(Status, u64)>,
    /// How long the task that waits longest has done so.
    oldest: Duration,
    agents: Vec<AgentInfo>,
}

impl Swarm {
    pub(crate) async fn read(broker: &dyn Broker) -> Result<Self, Error> {
        let counters = broker.counters().await?;
        let oldest = match broker.oldest().await? {
            Some(queued_at) => broker.now().await?.since(queued_at),
            None => Duration::ZERO,
        };
        Ok(Self {
            oldest,
            statistics: Statistics::from(&counters),
            counters,
            tally: broker.tally(None).await?,
            agents: broker.agents().await?,
        })
    }

    fn count(&self, name: &str) -> f64 {
        self.counters.get(name).copied().unwrap_or(0) as f64
    }

    fn standing(&self, status: Status) -> f64 {
        self.tally.iter().find(|(of, _)| *of == status).map_or(0, |(_, n)| *n) as f64
    }
}

/// The store of a program, as it is just now.
pub(crate) enum Store {
    /// It needs none.
    None,
    /// It cannot be reached.
    Away,
    /// It is there.
    Here(Box<Swarm>),
}

/// A value, and the label that tells it from its siblings.
type Sample = (Option<(&'static str, &'static str)>, Value);

/// What is told under one name and label.
#[derive(Debug, Clone)]
enum Value {
    Number(f64),
    Times(Times),
}

/// One name in the table. That of a counter is told with `_total` behind it.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: fn(&Swarm) -> Vec<Sample>,
}

pub(crate) const COUNTER: MetricType = MetricType::Counter;
pub(crate) const GAUGE: MetricType = MetricType::Gauge;
const HISTOGRAM: MetricType = MetricType::Histogram;

static TABLE: &[Family] = &[
    Family {
        name: "ghost_tasks_submitted",
        help: "Tasks that were accepted",
        kind: COUNTER,
        read: |swarm| one(swarm.statistics.tasks.submitted as f64),
    },
    Family {
        name: "ghost_tasks_completed",
        help: "Tasks that were settled, by what became of them",
        kind: COUNTER,
        read: |swarm| {
            let tasks = &swarm.statistics.tasks;
            let settled =
                [("completed", tasks.completed), ("failed", tasks.failed), ("cancelled", tasks.cancelled)];
            settled.map(|(status, n)| (Some(("status", status)), Number(n as f64))).to_vec()
        },
    },
    Family {
        name: "ghost_tasks_retried",
        help: "Failed tasks that were taken up again",
        kind: COUNTER,
        read: |swarm| one(swarm.statistics.tasks.retried as f64),
    },
    Family {
        name: "ghost_redeliveries",
        help: "Tasks that were handed out again, since their holder vanished",
        kind: COUNTER,
        read: |swarm| one(swarm.statistics.tasks.redelivered as f64),
    },
    Family {
        name: "ghost_dead_letters",
        help: "Tasks that failed since every holder vanished with them",
        kind: COUNTER,
        read: |swarm| one(swarm.count("tasks.dead_letters")),
    },
    Family {
        name: "ghost_queue_backlog",
        help: "Tasks that wait for a worker",
        kind: GAUGE,
        read: |swarm| one(swarm.standing(Status::Pending)),
    },
    Family {
        name: "ghost_queue_oldest_age_seconds",
        help: "How long the task has waited that waits longest, for a worker or an evaluator",
        kind: GAUGE,
        read: |swarm| one(swarm.oldest.as_secs_f64()),
    },
    Family {
        name: "ghost_task_dispatch_seconds",
        help: "From the acceptance of a task to its first claim, for settled tasks that were never retried",
        kind: HISTOGRAM,
        read: |swarm| vec![(None, times(swarm, stats::DISPATCH))],
    },
    Family {
        name: "ghost_task_run_seconds",
        help: "From the first claim of a task to its settlement",
        kind: HISTOGRAM,
        read: |swarm| vec![(None, times(swarm, stats::RUN))],
    },
    Family {
        name: "ghost_tasks_running",
        help: "Tasks that a worker or an evaluator has, or that wait for their judgement",
        kind: GAUGE,
        read: |swarm| one(swarm.standing(Status::Assigned) + swarm.standing(Status::InProgress)),
    },
    Family {
        name: "ghost_tasks_failed",
        help: "Failed tasks that are kept and can be retried",
        kind: GAUGE,
        read: |swarm| one(swarm.standing(Status::Failed)),
    },
    Family {
        name: "ghost_route_decisions",
        help: "Settled tasks, by the route that was decided for them",
        kind: COUNTER,
        read: |swarm| {
            let routes = [Route::Slm, Route::SlmThenLlm, Route::Llm];
            let read = |route: Route| Number(swarm.count(&format!("routes.{}", route.name())));
            routes.map(|route| (Some(("target", route.name())), read(route))).to_vec()
        },
    },
    Family {
        name: "ghost_escalations",
        help: "Tasks that the evaluator sent up to the LLM",
        kind: COUNTER,
        read: |swarm| one(swarm.count("evaluations.escalated")),
    },
    Family {
        name: "ghost_evaluations",
        help: "Judgements of answers",
        kind: COUNTER,
        read: |swarm| {
            ["valid", "invalid"]
                .map(|verdict| {
                    (Some(("verdict", verdict)), Number(swarm.count(&format!("evaluations.{verdict}"))))
                })
                .to_vec()
        },
    },
    Family {
        name: "ghost_ratings",
        help: "Answers that users rated",
        kind: COUNTER,
        read: |swarm| one(swarm.statistics.feedback.ratings as f64),
    },
    Family {
        name: "ghost_rating_mean",
        help: "The mean of all ratings, 0 to 1",
        kind: GAUGE,
        read: |swarm| swarm.statistics.feedback.mean.map(one).unwrap_or_default(),
    },
    Family {
        name: "ghost_model_calls",
        help: "Calls of models",
        kind: COUNTER,
        read: |swarm| by_provider(|provider| Number(swarm.count(&format!("{provider}.calls")))),
    },
    Family {
        name: "ghost_model_failures",
        help: "Calls of models that brought no answer",
        kind: COUNTER,
        read: |swarm| by_provider(|provider| Number(swarm.count(&format!("{provider}.failures")))),
    },
    Family {
        name: "ghost_model_call_seconds",
        help: "How long calls of models took",
        kind: HISTOGRAM,
        read: |swarm| by_provider(|provider| times(swarm, provider)),
    },
    Family {
        name: "ghost_cost_usd",
        help: "What calls of models cost",
        kind: COUNTER,
        read: |swarm| {
            by_provider(|provider| Number(swarm.count(&format!("{provider}.cost_micro_usd")) / 1e6))
        },
    },
    Family {
        name: "ghost_cost_saved_usd",
        help: "What answers saved against asking the LLM at once; a late bill takes from it",
        kind: GAUGE,
        read: |swarm| one(swarm.statistics.saved_micro_usd as f64 / 1e6),
    },
    Family {
        name: "ghost_agents",
        help: "Agents that are alive",
        kind: GAUGE,
        read: |swarm| by_role(swarm, |_| 1),
    },
    Family {
        name: "ghost_agent_load",
        help: "Tasks that agents have",
        kind: GAUGE,
        read: |swarm| by_role(swarm, |agent| agent.current_load),
    },
    Family {
        name: "ghost_agent_capacity",
        help: "Tasks that agents could have at once",
        kind: GAUGE,
        read: |swarm| by_role(swarm, |agent| agent.max_load),
    },
];

fn one(value: f64) -> Vec<Sample> {
    vec![(None, Number(value))]
}

fn times(swarm: &Swarm, of: &str) -> Value {
    Value::Times(Times::read(&swarm.counters, of))
}

fn by_provider(read: impl Fn(&str) -> Value) -> Vec<Sample> {
    [Provider::Slm, Provider::Llm]
        .map(Provider::name)
        .map(|provider| (Some(("provider", provider)), read(provider)))
        .to_vec()
}

fn by_role(swarm: &Swarm, of: fn(&AgentInfo) -> u32) -> Vec<Sample> {
    use ghost_core::messages::Role::{Evaluator, Optimizer, Orchestrator, Router, Worker};
    [
        (Orchestrator, "orchestrator"),
        (Worker, "worker"),
        (Router, "router"),
        (Evaluator, "evaluator"),
        (Optimizer, "optimizer"),
    ]
    .map(|(role, name)| {
        let agents = swarm.agents.iter().filter(|agent| agent.role == role);
        (Some(("role", name)), Number(agents.map(of).map(f64::from).sum()))
    })
    .to_vec()
}

/// The numbers in Prometheus's text format. Those of the swarm are left out where the broker is away.
pub(crate) fn text(program: &'static str, store: &Store, own: &[Own]) -> String {
    let mut families = vec![Told {
        name: "ghost_build_info",
        help: "The program that tells this, and its version",
        kind: GAUGE,
        samples: vec![(vec![("program", program), ("version", env!("CARGO_PKG_VERSION"))], Number(1.0))],
    }];
    if !matches!(store, Store::None) {
        let up = one(f64::from(matches!(store, Store::Here(_))));
        families.push(Told::of("ghost_broker_up", "Whether the broker can be reached", GAUGE, up));
    }
    for Own { name, help, kind, read } in own {
        families.push(Told::of(name, help, *kind, one(read() as f64)));
    }
    if let Store::Here(swarm) = store {
        let told = |family: &Family| Told::of(family.name, family.help, family.kind, (family.read)(swarm));
        families.extend(TABLE.iter().map(told));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(Arc::new(families))));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes all");
    text
}

/// One name with its values.
#[derive(Debug)]
struct Told {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Vec<(&'static str, &'static str)>, Value)>,
}

impl Told {
    fn of(name: &'static str, help: &'static str, kind: MetricType, samples: Vec<Sample>) -> Self {
        let samples =
            samples.into_iter().map(|(label, value)| (label.into_iter().collect(), value)).collect();
        Self { name, help, kind, samples }
    }
}

#[derive(Debug)]
struct Page(Arc<Vec<Told>>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for Told { name, help, kind, samples } in self.0.iter() {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, value) in samples {
                let mut sample = metric.encode_family(labels)?;
                match (value, kind) {
                    (Number(n), MetricType::Counter) => {
                        sample.encode_counter(n, None::<&Exemplar<NoLabelSet, f64>>)?;
                    }
                    (Number(n), _) => sample.encode_gauge(n)?,
                    (Value::Times(Times { buckets, sum, count }), _) => {
                        sample.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swarm(counters: &[(&str, i64)], tally: &[(Status, u64)]) -> Swarm {
        let counters: Counters = counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let statistics = Statistics::from(&counters);
        let (tally, oldest) = (tally.to_vec(), Duration::from_millis(1_500));
        Swarm { counters, statistics, tally, oldest, agents: Vec::new() }
    }

    #[test]
    fn what_the_broker_counted_is_told_in_base_units() {
        let swarm = swarm(
            &[
                ("tasks.submitted", 7),
                ("tasks.failed", 2),
                ("llm.cost_micro_usd", 1_500_000),
                ("routes.slm", 3),
                ("tasks.latency_ms.20", 2),
                ("tasks.latency_ms.40", 3),
                ("llm.latency_ms.90000000", 1),
            ],
            &[(Status::Pending, 4), (Status::Failed, 2)],
        );
        let own = |name, kind, value| Own { name, help: "Some", kind, read: Box::new(move || value) };
        let own = [own("ghost_a2a_connections", GAUGE, 5), own("ghost_slm_requests", COUNTER, 6)];
        let text = text("ghost-test", &Store::Here(Box::new(swarm)), &own);
        for line in [
            "# TYPE ghost_tasks_submitted_total counter",
            "ghost_tasks_submitted_total 7.0",
            "ghost_tasks_completed_total{status=\"failed\"} 2.0",
            "ghost_cost_usd_total{provider=\"llm\"} 1.5",
            "ghost_route_decisions_total{target=\"slm\"} 3.0",
            "ghost_queue_backlog 4.0",
            "ghost_tasks_failed 2.0",
            "ghost_queue_oldest_age_seconds 1.5",
            "# TYPE ghost_task_run_seconds histogram",
            "ghost_task_run_seconds_bucket{le=\"0.01\"} 0",
            "ghost_task_run_seconds_bucket{le=\"0.025\"} 2",
            "ghost_task_run_seconds_bucket{le=\"0.05\"} 5",
            "ghost_task_run_seconds_bucket{le=\"+Inf\"} 5",
            "ghost_task_run_seconds_sum 0.16",
            "ghost_task_run_seconds_count 5",
            "ghost_task_dispatch_seconds_count 0",
            "ghost_model_call_seconds_bucket{provider=\"llm\",le=\"1800\"} 0",
            "ghost_model_call_seconds_bucket{provider=\"llm\",le=\"+Inf\"} 1",
            "ghost_a2a_connections 5.0",
            "ghost_slm_requests_total 6.0",
            "ghost_broker_up 1.0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn a_broker_that_is_away_is_told_of_and_nothing_is_made_up() {
        let text = text("ghost-test", &Store::Away, &[]);
        assert!(text.contains("ghost_broker_up 0.0") && !text.contains("ghost_tasks"), "{text}");
    }

    #[test]
    fn a_program_without_a_broker_does_not_speak_of_one() {
        assert!(!text("ghost-test", &Store::None, &[]).contains("ghost_broker_up"));
    }

    #[test]
    fn the_page_for_people_has_every_name() {
        let page = include_str!("../../../docs/deployment.md");
        for Family { name, kind, .. } in TABLE {
            let told = if matches!(kind, MetricType::Counter) {
                format!("`{name}_total")
            } else {
                format!("`{name}")
            };
            assert!(page.contains(&told), "docs/deployment.md does not have {told}");
        }
    }
}
