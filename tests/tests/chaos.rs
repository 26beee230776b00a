//! The short runs of `ghost bench chaos`, which tells what they do; `make bench-chaos` is the long one.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ghost_tests::programs;
use serde_json::Value;

/// One swarm at a time: each has the machine's cores busy.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs it, and returns its report where every promise was kept.
fn kept(options: &[&str]) -> Value {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(programs::path("ghost"))
        .args(["bench", "chaos", "--output", "json"])
        .args(options)
        .current_dir(std::env::temp_dir())
        .env("LOG_LEVEL", "warn")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("it was built: `cargo build --release --bins`, or the tests of the whole workspace");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(output.status.success() && report["kept"] == true, "{report:#}");
    eprintln!("{report:#}");
    report
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} is no number in {report:#}"))
}

#[test]
fn every_part_of_a_swarm_dies_ten_times_and_each_of_ten_thousand_tasks_is_settled_once() {
    let report = kept(&["--tasks", "10000", "--kills", "10"]);
    assert_eq!(number(&report, "accepted"), 10_000);
    let ended = ["completed", "failed", "cancelled"].map(|name| number(&report, name));
    assert_eq!(ended.iter().sum::<u64>(), 10_000);
    assert!(ended.iter().all(|tasks| *tasks > 0), "every sort of end is among them: {ended:?}");
    assert_eq!(number(&report, "forgotten"), 0);
    let faults = report["faults"].as_object().expect("a table");
    assert!(faults.len() == 6 && faults.values().all(|times| *times == 10), "{faults:?}");
}

#[test]
fn where_nothing_dies_no_model_is_asked_twice_though_answers_outlast_leases() {
    let report = kept(&["--tasks", "500", "--kills", "0"]);
    assert_eq!((number(&report, "redelivered"), number(&report, "repeated_calls")), (0, 0));
}

#[test]
fn what_redis_forgets_under_everysec_is_submitted_again_under_its_id() {
    let report = kept(&["--tasks", "1000", "--kills", "2", "--appendfsync", "everysec"]);
    assert_eq!(number(&report, "accepted"), 1000);
}
