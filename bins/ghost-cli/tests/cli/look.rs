//! The commands that look at what was done, and `ghost submit`.

use serde_json::Value;

use crate::claude::Claude;
use crate::support::{Place, all_ids, faulty_models, ids, results};

/// Two tasks that Claude has answered.
fn answered() -> (Place, Claude) {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude);
    place.tasks(2);
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
    (place, claude)
}

#[test]
fn a_tasks_life_is_told_in_seven_verbs() {
    let (place, _claude) = answered();
    let story = place.ghost(&["explain", "task-1"]).with_code(0).stdout;
    for verb in ["submitted", "classified", "dispatched", "inferred", "evaluated", "settled", "counted"] {
        assert!(story.lines().any(|line| line.starts_with(verb)), "`{verb}` is missing in:\n{story}");
    }
    assert!(story.contains("All about task-1."), "{story}");
    let json = place.ghost(&["explain", "task-1", "--output", "json"]).with_code(0).stdout;
    let told: Value = serde_json::from_str(&json).expect("one JSON document");
    assert_eq!(told["result"]["result"]["text"], "All about task-1.");
}

#[test]
fn tasks_are_listed_counted_and_removed() {
    let (place, _claude) = answered();
    let listed = place.ghost(&["ps", "--output", "jsonl", "--status", "completed"]).with_code(0);
    assert_eq!(ids(&results(&listed.stdout)), all_ids(2));
    let stats = place.ghost(&["stats", "--output", "json"]).with_code(0);
    let stats: Value = serde_json::from_str(&stats.stdout).expect("one JSON document");
    assert_eq!((&stats["tasks"]["completed"], &stats["llm"]["answers"]), (&2.into(), &2.into()));
    place.ghost(&["cancel", "task-1"]).with_code(1).said("task-1 is completed already");
    place.ghost(&["retry", "task-1"]).with_code(2).said("only a failed task can be retried");
    place.ghost(&["gc"]).with_code(2).said("say what may go");
    place.ghost(&["gc", "--keep", "0"]).with_code(0).said("removed 2 settled tasks");
    assert_eq!(place.ghost(&["ps"]).with_code(0).stdout, "");
}

#[test]
fn what_a_user_says_of_an_answer_stays_with_the_task_and_the_last_word_counts() {
    let (place, _claude) = answered();
    place.ghost(&["feedback", "task-1", "--good"]).with_code(0).said("noted: task-1 was good");
    let bad = ["feedback", "task-1", "--bad", "--comment", "too short", "--correction", "Much more."];
    place.ghost(&bad).with_code(0).said("noted: task-1 was bad");
    let story = place.ghost(&["explain", "task-1"]).with_code(0).stdout;
    assert!(story.contains("rated       bad\n            \"too short\"\n"), "{story}");
    assert!(story.ends_with("right would have been:\n            Much more.\n"), "{story}");
    place.ghost(&["feedback", "task-2", "--rating", "0.5"]).with_code(0);
    let stats = place.ghost(&["stats", "--output", "json"]).with_code(0);
    let stats: Value = serde_json::from_str(&stats.stdout).expect("one JSON document");
    assert_eq!(stats["feedback"], serde_json::json!({"ratings": 2, "mean": 0.25}));
    let stats = place.ghost(&["stats"]).with_code(0).stdout;
    assert!(stats.contains("rated by users: 2 answers, 0.25 of 1"), "{stats}");
    place.ghost(&["feedback", "task-1", "--rating", "2"]).with_code(2).said("0 (bad) to 1 (good)");
    place.ghost(&["feedback", "task-1"]).with_code(2).said("--good");
    place.ghost(&["feedback", "task-9", "--good"]).with_code(1).said("there is no task `task-9`");
}

#[test]
fn the_same_id_in_two_runs_has_to_be_told_apart() {
    let (place, _claude) = answered();
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
    let asked = place.ghost(&["explain", "task-1"]).with_code(2).said("several runs have a task `task-1`");
    let key = asked.stderr.lines().last().expect("the keys are listed").trim();
    let told = place.ghost(&["explain", key]).with_code(0);
    assert!(told.stdout.starts_with("task task-1 of run "), "{}", told.stdout);
}

#[test]
fn an_answer_streams_and_ends_with_its_result() {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude);
    let submit = ["submit", "--id", "task-1", "Say something about task-1.", "--stream"];
    assert_eq!(
        place.ghost(&submit).with_code(0).said("claude-sonnet-5-5 (llm)").stdout,
        "All about task-1.\n"
    );
    assert_eq!(place.ghost(&submit).with_code(0).stdout, "All about task-1.\n");
    assert_eq!(claude.calls_for("task-1"), 1, "the same name is the same task");
    place
        .ghost(&["submit", "--id", "task-1", "Something else."])
        .with_code(2)
        .said("another task has the id task-1");
    let lines =
        place.ghost(&["submit", "Say something about task-2.", "--stream", "--output", "jsonl"]).with_code(0);
    let lines = results(&lines.stdout);
    let heard: String = lines.iter().filter_map(|line| line["delta"].as_str()).collect();
    assert_eq!(heard, "All about task-2.");
    assert_eq!(lines.last().expect("a result")["status"], "completed");
}

#[test]
fn the_doctor_asks_the_server_of_the_local_model() {
    let place = Place::new()
        .with("SLM_PROVIDER", "llama_cpp")
        .with("SLM_ENDPOINT", "http://127.0.0.1:9/v1")
        .with("SLM_MODEL", "ghost-tiny");
    let told = place.ghost(&["doctor"]).with_code(1).stdout;
    assert!(told.contains("http://127.0.0.1:9/v1") && told.contains("ghost-worker serve"), "{told}");
}

#[test]
fn the_doctor_says_what_is_missing_and_where_settings_come_from() {
    let place =
        Place::new().with("LLM_MODEL", "claude-sonnet-4-5-20250929").with("ANTHROPIC_API_KEY", "sk-secret");
    let told = place.ghost(&["doctor"]).with_code(0).stdout;
    assert!(told.contains("claude-sonnet-4-5-20250929 is retired on 2026-11-30"), "{told}");
    assert!(
        told.contains("ANTHROPIC_API_KEY") && !told.contains("sk-secret"),
        "a key is never shown:\n{told}"
    );
}

#[test]
fn a_model_that_does_not_load_is_told_with_the_next_step() {
    let place = Place::new().with("SLM_PROVIDER", "llama_cpp");
    for (path, fault) in faulty_models(&place) {
        let set = format!("SLM_MODEL_PATH={}", path.display());
        let told = place.ghost(&["doctor", "--set", &set]).with_code(1).stdout;
        assert!(told.contains("BAD  local model") && told.contains(fault), "{told}");
        assert!(told.contains("name another with SLM_MODEL_PATH"), "{told}");
        let listed = place.ghost(&["models", "list", "--output", "json", "--set", &set]).with_code(0).stdout;
        assert!(listed.contains("does not load") && listed.contains(fault), "{listed}");
    }
}

#[test]
fn help_and_completions_need_no_settings() {
    let place = Place::new().with("SIMPLE_THRESHOLD", "high");
    place.ghost(&["ps"]).with_code(2).said("SIMPLE_THRESHOLD is \"high\" (environment), but must be");
    assert!(place.ghost(&["completions", "bash"]).with_code(0).stdout.contains("_ghost"));
    assert!(place.ghost(&["run", "--help"]).with_code(0).stdout.contains("Ctrl-C finishes what runs"));
}
