//! `ghost bench chaos`: a swarm of real processes does many tasks while every part of it dies again and again.
//!
//! [`swarm`] starts Redis, the [`proxy`] before it and the programs, each a [`process`]. [`client`]s submit the [`load`] and
//! stay with each task to its end; a [`model`] in this process answers. What breaks when is [`plan`]ned; clients and
//! killers keep step by their [`progress`]. In the end an [`audit`] holds the promises against two journals, the clients'
//! and the model's, neither of which went through a broker.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use futures_util::future::try_join_all;
use ghost_service::shutdown;
use serde::Serialize;

use self::audit::{Audit, Seen};
use self::client::{Clients, Settled};
use self::model::Model;
use self::plan::{Fault, Plan, Tally};
use self::progress::Progress;
use self::swarm::Swarm;
use super::machine::{self, Machine};
use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::{self, count, talk};

mod audit;
mod client;
mod load;
mod model;
mod plan;
mod process;
mod progress;
mod proxy;
mod swarm;

/// How long nothing at all may be settled before what is left counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// Broken promises that are shown; the rest is counted.
const SHOWN: usize = 20;

/// Kill every part of a swarm while it works, and hold its promises against journals that it does not keep
///
///   ghost bench chaos                              10,000 tasks, 10 faults of each sort
///   ghost bench chaos --tasks 100000 --rounds 10   ten swarms, one after the other
///   ghost bench chaos --appendfsync everysec       what is lost where Redis may lose a second
///
/// Starts redis-server behind a proxy, two orchestrators, three workers and two evaluators, as processes; they must lie
/// beside `ghost`. Each sort of fault comes as often: SIGKILL of a worker, an evaluator, an orchestrator, of Redis;
/// SIGSTOP of a worker for longer than a lease; lines to Redis cut or silent. The model is a server of this process.
///
/// Checked are: accepted = completed + failed + cancelled; each settled once; none lost, stuck or mixed up. Exits with 1
/// where a promise is broken.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Tasks of each round
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    tasks: u32,
    /// Faults of each sort in each round
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    kills: u16,
    /// How often all of it is done, each time with a new swarm
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Where the chance of the faults begins; it says when they come, not what they meet
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// How Redis keeps its append-only file
    #[arg(long, value_enum, value_name = "POLICY", default_value = "always")]
    appendfsync: AppendFsync,
    /// The length of leases in seconds; slow answers take one and a half of them
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=60))]
    lease: u16,
    /// Where the programs' logs are kept; without it, only those of a round that broke a promise are.
    /// LOG_LEVEL says how much they tell; `warn` where it is unset
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

/// What Redis promises of what it acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum AppendFsync {
    /// It is on the disk: nothing may be lost
    Always,
    /// It is on the disk a second later: what is forgotten is submitted again and counted
    Everysec,
}

impl AppendFsync {
    fn name(self) -> &'static str {
        match self {
            AppendFsync::Always => "always",
            AppendFsync::Everysec => "everysec",
        }
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether every promise was kept.
    kept: bool,
    #[serde(flatten)]
    audit: Audit,
    /// How many faults there were of each sort.
    faults: BTreeMap<&'static str, usize>,
    appendfsync: AppendFsync,
    rounds: u16,
    seed: u64,
    lease_s: u16,
    seconds: f64,
    machine: Machine,
    ghost: &'static str,
    redis: String,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let Some(redis) = machine::redis() else {
        return Err(misuse("redis-server is not there: `scripts/install-tools --tests` installs it"));
    };
    let signals = shutdown::signals();
    let begin = Instant::now();
    let (mut audit, mut faults) = (Audit::default(), Tally::default());
    for number in 1..=args.rounds {
        if args.rounds > 1 {
            talk(format!("round {number} of {}", args.rounds));
        }
        match signals.drain.run_until_cancelled(round(&args, number)).await {
            None => return Ok(Exit::Interrupted),
            Some(done) => {
                let (of_round, faults_of_round) = done?;
                audit.add(of_round);
                faults.iter_mut().zip(faults_of_round).for_each(|(all, some)| *all += some);
            }
        }
    }
    let kept = audit.broken.is_empty();
    let report = Report {
        kept,
        audit,
        faults: Fault::ALL.into_iter().map(|fault| (fault.name(), faults[fault as usize])).collect(),
        appendfsync: args.appendfsync,
        rounds: args.rounds,
        seed: args.seed,
        lease_s: args.lease,
        seconds: begin.elapsed().as_secs_f64(),
        machine: Machine::here(),
        ghost: env!("CARGO_PKG_VERSION"),
        redis,
    };
    output::one(context.format(), &report, shown)?;
    Ok(if kept { Exit::Success } else { Exit::Failed })
}

/// One swarm, from its start to its audit.
async fn round(args: &Args, number: u16) -> anyhow::Result<(Audit, Tally)> {
    if let Some(logs) = &args.logs {
        let folder = std::path::absolute(logs)?.join(format!("round-{number}"));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("{} cannot be written", folder.display()))?;
        return under_fire(args, number, &folder).await;
    }
    let folder = tempfile::Builder::new().prefix("ghost-chaos-").tempdir()?;
    let done = under_fire(args, number, folder.path()).await;
    if !done.as_ref().is_ok_and(|(audit, _)| audit.broken.is_empty()) {
        talk(format!("the logs of the programs are in {}", folder.keep().display()));
    }
    done
}

async fn under_fire(args: &Args, number: u16, folder: &Path) -> anyhow::Result<(Audit, Tally)> {
    let (tasks, lease) = (args.tasks as usize, Duration::from_secs(args.lease.into()));
    let seed = args.seed.wrapping_add(number.into());
    let model = Model::start(tasks, lease.mul_f64(1.5)).await?;
    let swarm = Swarm::start(args.appendfsync, lease, &model, folder).await?;
    let progress = Arc::new(Progress::new(Plan::new(tasks, args.kills.into(), seed), tasks));
    let clients = Arc::new(Clients::new(swarm.doors.clone(), tasks, progress.clone())?);
    let all_done = async { tokio::try_join!(clients.run(), kill(&swarm, &progress, seed)) };
    tokio::select! {
        done = all_done => drop(done?),
        () = progress.stalled(PATIENCE) => talk(format!("nothing was settled for {PATIENCE:?}")),
    }
    if args.appendfsync == AppendFsync::Everysec {
        make_good(&clients).await?;
    }
    let (records, statistics) = (clients.records().await?, clients.statistics().await?);
    let seen = Seen {
        journal: &clients.journal().clone(),
        calls: &model.calls(),
        records: &records,
        statistics: &statistics,
        fsync: args.appendfsync,
        disturbed: args.kills > 0,
    };
    let mut audit = Audit::of(&seen);
    audit.broken.extend(panics(folder)?);
    Ok((audit, progress.tally()))
}

/// Which programs panicked, as their logs tell: a thread may end so while its program goes on without it.
fn panics(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut panics = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            let lines = log.lines().filter(|line| line.contains("panicked at"));
            panics.extend(lines.map(|line| format!("{}: {line}", path.display())));
        }
    }
    Ok(panics)
}

/// Breaks things as planned: faults of one sort one after the other, the sorts at the same time.
async fn kill(swarm: &Swarm, progress: &Progress, seed: u64) -> anyhow::Result<()> {
    let of_one_sort = |fault: Fault| async move {
        let mut chance = fastrand::Rng::with_seed(seed ^ fault as u64);
        while progress.next_due(fault).await {
            swarm.suffer(fault, &mut chance).await?;
            progress.broken(fault);
        }
        anyhow::Ok(())
    };
    try_join_all(Fault::ALL.map(of_one_sort)).await.map(drop)
}

/// Submits again what Redis forgot after its end was seen.
async fn make_good(clients: &Clients) -> anyhow::Result<()> {
    let records = clients.records().await?;
    let ends: HashMap<String, Option<Settled>> =
        records.iter().map(|record| (record.key.to_string(), Settled::of(record))).collect();
    let tasks = clients.journal().len();
    for number in 0..tasks {
        let end = ends.get(&load::id(number)).cloned().flatten();
        let forgotten = {
            let entry = &mut clients.journal()[number];
            let forgotten = entry.settled.is_some() && entry.settled != end;
            entry.forgotten += u32::from(forgotten);
            forgotten
        };
        if forgotten {
            clients.see_through(number).await;
        }
    }
    Ok(())
}

fn shown(report: &Report) -> String {
    let Report { audit, .. } = report;
    let faults: Vec<String> = report.faults.iter().map(|(name, times)| format!("{times} {name}")).collect();
    let mut text = format!(
        "{} accepted = {} completed + {} failed ({} given up) + {} cancelled\n\
         {} model calls, {} of them repeated; {} redeliveries, {} repeated submits, {} forgotten\n\
         {}\n\
         {:.0} s, {} tasks/s; appendfsync {}, leases of {} s, {}, seed {}\n\
         ghost {}, {}; {}, {} cores, {}\n",
        audit.accepted,
        audit.completed,
        audit.failed,
        audit.dead_letters,
        audit.cancelled,
        audit.calls,
        audit.repeated_calls,
        audit.redelivered,
        audit.repeated_submits,
        audit.forgotten,
        faults.join(", "),
        report.seconds,
        (audit.accepted as f64 / report.seconds).round(),
        report.appendfsync.name(),
        report.lease_s,
        count(report.rounds.into(), "round"),
        report.seed,
        report.ghost,
        report.redis,
        report.machine.cpu.as_deref().unwrap_or("unknown"),
        report.machine.cores,
        report.machine.system,
    );
    match audit.broken.len() {
        0 => text.push_str("every promise was kept\n"),
        broken => text.push_str(&format!("{} broken:\n", count(broken as u64, "promise"))),
    }
    for words in audit.broken.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", output::short(words, 300)));
    }
    text
}
