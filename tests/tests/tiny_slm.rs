//! The shipped model does what its card says, and it is the weights that do it.

use std::path::PathBuf;

use ghost_core::task::{Kind, TaskRequest};
use ghost_tests::gguf;
use ghost_tests::slm_evaluation::{Row, Subject, Tally, read};

fn models() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models"))
}

fn table() -> String {
    std::fs::read_to_string(models().join("ghost-tiny.toml")).expect("the capability table")
}

/// A slice of the evaluation that is quick enough for every test run; `make eval-slm` runs all of it.
fn some_of_each_kind(count: usize) -> Vec<Row> {
    let rows: Vec<Row> = read(&models().join("eval/held-out.jsonl"));
    let of =
        |kind: Kind| rows.iter().filter(move |row| row.task.task_type == kind.name()).take(count).cloned();
    Kind::ALL.into_iter().flat_map(of).collect()
}

fn beyond() -> Vec<TaskRequest> {
    read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/beyond.jsonl").as_ref())
}

#[tokio::test]
async fn of_two_hundred_prompts_beyond_the_tiny_slm_at_most_one_in_a_hundred_ends_as_its_answer() {
    let beyond = beyond();
    assert!(beyond.len() >= 200);
    let report = Subject::load(&models().join("ghost-tiny.gguf"), &table()).measure(&[], &beyond).await;
    assert!(report.leaked * 100 <= report.beyond, "{report}\n{:#?}", report.wrong);
}

#[tokio::test]
async fn with_random_weights_the_evaluation_fails() {
    let gguf = std::fs::read(models().join("ghost-tiny.gguf")).expect("the model");
    let folder = tempfile::tempdir().expect("a folder");
    let random = folder.path().join("ghost-tiny.gguf");
    std::fs::write(&random, gguf::with_random_weights(gguf, 7)).expect("the random model");
    // Without thresholds, so that every answer counts and none hides behind its low confidence.
    let shut = table();
    let open = shut
        .lines()
        .map(|line| if line.starts_with("min_confidence") { "min_confidence = 0.0" } else { line });
    let open = open.collect::<Vec<_>>().join("\n");
    let report = Subject::load(&random, &open).measure(&some_of_each_kind(20), &[]).await;
    assert!(!report.reaches_its_goals());
    let right: usize = report.kinds.iter().map(|tally| tally.right).sum();
    let asked: usize = report.kinds.iter().map(|tally| tally.asked).sum();
    assert!(right * 4 < asked, "chance alone got {right} of {asked} right");
}

#[tokio::test]
async fn the_shipped_weights_are_right_where_they_answer_what_they_never_saw() {
    let report =
        Subject::load(&models().join("ghost-tiny.gguf"), &table()).measure(&some_of_each_kind(30), &[]).await;
    let count = |of: fn(&Tally) -> usize| report.kinds.iter().map(of).sum::<usize>();
    let (asked, answered, right) = (count(|t| t.asked), count(|t| t.answered), count(|t| t.right));
    assert!(answered * 5 >= asked * 2 && right * 100 >= answered * 95, "{report}");
}
