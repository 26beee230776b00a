//! `ghost bench queue`: how fast tasks go through the swarm where nothing is computed, beside what Redis itself does.
//!
//! Tasks take the way of production: the orchestrator's handle classifies and submits them, a [worker](ghost_worker)
//! claims, starts, answers and settles them, each under its lease. Only the ghost does nothing. Redis is a process of its
//! own on this machine, one for each way of keeping its append-only file. Afterwards every record is read back.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use ghost_core::broker::testing::RedisServer;
use ghost_service::shutdown;
use serde::Serialize;

use self::child::Child;
use self::swarm::Swarm;
use super::machine::{self, Machine};
use super::rows::{Better, Kind, Rounds, Row, people, percentile};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, talk};

pub(super) mod child;
mod ghost;
mod raw;
mod swarm;

/// Measure how fast tasks go through a swarm over Redis, with a ghost that does nothing
///
///   ghost bench queue                              every row, three rounds
///   ghost bench queue --only drain --fsync none --rounds 5
///   ghost bench queue --output json >queue.json
///
/// Starts a redis-server of its own for each way of keeping the append-only file (--fsync). The references of the same
/// round are redis-benchmark's XADD, pipelined by 16, and a script that reads, acknowledges and deletes 64 entries. A
/// ratio above 1 is better than the reference.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Tasks of each measurement of throughput
    #[arg(long, value_name = "N", default_value = "20000", value_parser = clap::value_parser!(u32).range(64..=10_000_000))]
    tasks: u32,
    /// How often everything is measured; the median counts
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// How Redis keeps its append-only file, for the rows of throughput
    #[arg(long, value_enum, value_delimiter = ',', value_name = "POLICY,…", default_values = ["none", "everysec", "always"])]
    fsync: Vec<Fsync>,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
}

/// How Redis keeps what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fsync {
    /// In memory alone
    None,
    /// On the disk, at the latest a second later
    Everysec,
    /// On the disk before it answers, as docker-compose.yml has it
    Always,
}

impl Fsync {
    fn name(self) -> &'static str {
        match self {
            Fsync::None => "none",
            Fsync::Everysec => "everysec",
            Fsync::Always => "always",
        }
    }

    fn settings(self) -> [&'static str; 2] {
        match self {
            Fsync::None => ["--appendonly", "no"],
            Fsync::Everysec => ["--appendfsync", "everysec"],
            Fsync::Always => ["--appendfsync", "always"],
        }
    }
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Tasks a second accepted
    Enqueue,
    /// Tasks a second settled by one worker
    Drain,
    /// From the submit to the ghost, where nothing waits
    Dispatch,
    /// From the SIGKILL of a worker to its task's next start
    Recovery,
    /// Commands a second that an idle worker sends
    Idle,
    /// What an idle worker takes
    Memory,
}

const ENQUEUE: Kind = Kind { unit: "tasks/s", better: Better::More, against: Some("redis-benchmark XADD") };
const DRAIN: Kind = Kind { unit: "tasks/s", better: Better::More, against: Some("raw read, ack, delete") };
const MILLISECONDS: Kind = Kind { unit: "ms", better: Better::Less, against: None };
const COMMANDS: Kind = Kind { unit: "commands/s", better: Better::Less, against: None };
const BYTES: Kind = Kind { unit: "bytes", better: Better::Less, against: None };
/// Tasks whose dispatch is timed, one after the other.
const DISPATCHED: usize = 200;
/// How long an idle worker is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    machine: Machine,
    ghost: &'static str,
    redis: String,
    rounds: u8,
    tasks: u32,
    /// The lease of a task, in milliseconds, which bounds the recovery; the idle worker has that of production.
    lease_ms: u128,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let Some(redis) = machine::redis() else {
        return Err(misuse("redis-server is not there: `scripts/install-tools --tests` installs it"));
    };
    let signals = shutdown::signals();
    let mut measured = Rounds::default();
    match signals.drain.run_until_cancelled(measure(&args, &mut measured)).await {
        Some(done) => done?,
        None => return Ok(Exit::Interrupted),
    }
    let report = Report {
        rows: measured.rows(),
        machine: Machine::here(),
        ghost: env!("CARGO_PKG_VERSION"),
        redis,
        rounds: args.rounds,
        tasks: args.tasks,
        lease_ms: swarm::LEASE.as_millis(),
    };
    output::one(context.format(), &report, shown)?;
    Ok(Exit::Success)
}

async fn measure(args: &Args, measured: &mut Rounds) -> anyhow::Result<()> {
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    for round in 1..=args.rounds {
        if wants(Part::Enqueue) || wants(Part::Drain) {
            for &fsync in &args.fsync {
                throughput(args, fsync, round, measured).await?;
            }
        }
        let server = RedisServer::with(&Fsync::None.settings());
        if wants(Part::Dispatch) {
            dispatch(&server, round, measured).await?;
        }
        if wants(Part::Idle) || wants(Part::Memory) {
            idle(&server, measured, &wants).await?;
        }
        if wants(Part::Recovery) {
            recovery(&server, round, measured).await?;
        }
    }
    Ok(())
}

/// Accepts and settles many tasks, right after Redis alone did the least that a queue can do.
async fn throughput(args: &Args, fsync: Fsync, round: u8, measured: &mut Rounds) -> anyhow::Result<()> {
    let server = RedisServer::with(&fsync.settings());
    let tasks = args.tasks as usize;
    let raw = raw::measure(&server, tasks);
    let swarm = Swarm::over(&server.url()).await?;
    let begin = Instant::now();
    swarm.submit(tasks).await?;
    let enqueue = tasks as f64 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    swarm.work_until_settled(tasks).await?;
    let drain = tasks as f64 / begin.elapsed().as_secs_f64();
    swarm.every_record_is_there(tasks).await?;
    let name = fsync.name();
    talk(format!("round {round}, fsync {name}: {enqueue:.0} tasks/s accepted, {drain:.0} settled"));
    measured.note(&format!("enqueue/{name}"), ENQUEUE, enqueue, raw.map(|raw| raw.added));
    measured.note(&format!("drain/{name}"), DRAIN, drain, raw.map(|raw| raw.drained));
    Ok(())
}

/// One task after the other, none waiting behind another.
async fn dispatch(server: &RedisServer, round: u8, measured: &mut Rounds) -> anyhow::Result<()> {
    let swarm = Swarm::over(&server.url()).await?;
    let times = swarm.dispatch(DISPATCHED).await?;
    let at = |percent| percentile(&times, percent).unwrap_or(f64::NAN);
    talk(format!(
        "round {round}: a task is with its ghost after {:.2} ms (p50), {:.2} ms (p99)",
        at(50),
        at(99)
    ));
    measured.note("dispatch/p50", MILLISECONDS, at(50), None);
    measured.note("dispatch/p99", MILLISECONDS, at(99), None);
    Ok(())
}

/// A worker in a process of its own, with nothing to do.
async fn idle(
    server: &RedisServer,
    measured: &mut Rounds,
    wants: &impl Fn(Part) -> bool,
) -> anyhow::Result<()> {
    let mut child = Child::start(&server.url(), ghost_worker::Config::default().lease).await?;
    if wants(Part::Memory)
        && let Some(memory) = child.memory()
    {
        measured.note("memory/worker", BYTES, memory.resident as f64, None);
    }
    if wants(Part::Idle) {
        let before = raw::commands(server)?;
        tokio::time::sleep(WATCHED).await;
        // Without what the question itself takes.
        let sent = raw::commands(server)?.saturating_sub(before + raw::QUESTION);
        measured.note("idle/commands", COMMANDS, sent as f64 / WATCHED.as_secs_f64(), None);
    }
    child.kill().await
}

/// A worker in a process of its own begins a task and is killed.
async fn recovery(server: &RedisServer, round: u8, measured: &mut Rounds) -> anyhow::Result<()> {
    let swarm = Swarm::over(&server.url()).await?;
    let mut child = Child::start(&server.url(), swarm::LEASE).await?;
    let time = swarm.recovery(&mut child).await?;
    talk(format!("round {round}: {time:.0} ms after a worker was killed its task begins elsewhere"));
    measured.note("recovery/sigkill", MILLISECONDS, time, None);
    Ok(())
}

fn shown(report: &Report) -> String {
    format!(
        "{}\n{} tasks, leases of {} ms, {} rounds; ghost {}, {}\n{}, {} cores, {}\n",
        people(&report.rows),
        report.tasks,
        report.lease_ms,
        report.rounds,
        report.ghost,
        report.redis,
        report.machine.cpu.as_deref().unwrap_or("unknown"),
        report.machine.cores,
        report.machine.system,
    )
}
