//! `ghost run` as its users meet it: what it reads, where its results go, how it ends.

use crate::claude::Claude;
use crate::support::{Ended, Place, all_ids, faulty_models, ids, results};
use serde_json::{Value, json};

#[test]
fn a_dry_run_answers_every_task_and_keeps_nothing() {
    let place = Place::new();
    place.tasks(3);
    let ended = place
        .ghost(&["run", "tasks.jsonl", "--dry-run"])
        .with_code(0)
        .said("3 tasks settled")
        .said("dry run");
    assert_eq!(ids(&results(&ended.stdout)), all_ids(3));
    assert!(!place.path("data").exists(), "a dry run needs no data directory");
}

#[test]
fn bad_lines_are_named_and_the_rest_still_runs() {
    let place = Place::new();
    let good = json!({"task_id": "task-1", "task_type": "x", "description": "Say something."}).to_string();
    let lines =
        [good.as_str(), "{\"task_type\":", &good, r#"{"task_type":"x","description":"y","priority":11}"#];
    let mut bytes = lines.join("\n").into_bytes();
    bytes.extend(b"\n\xff\xfe\n");
    place.write("tasks.jsonl", bytes);
    let ended = place
        .ghost(&["run", "tasks.jsonl", "--dry-run"])
        .with_code(1)
        .said("tasks.jsonl:2: EOF while parsing a value (column 13)")
        .said("tasks.jsonl:3: task_id `task-1` was used on line 1 already")
        .said("tasks.jsonl:4: priority must be 1 to 10, not 11")
        .said("tasks.jsonl:5: ")
        .said("rejected 4 lines");
    assert_eq!(ids(&results(&ended.stdout)), all_ids(1));
}

#[test]
fn without_an_llm_what_needs_one_waits_and_that_is_no_failure() {
    let place = Place::new();
    place.tasks(2);
    place
        .ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"])
        .with_code(0)
        .said("needing Claude 2")
        .said("set ANTHROPIC_API_KEY");
    let results = place.results("results.jsonl");
    assert_eq!(ids(&results), all_ids(2));
    assert!(results.iter().all(|result| result["metadata"]["error_code"] == "llm_unavailable"));
}

#[test]
fn a_server_of_the_local_model_that_is_not_there_is_told_and_what_needs_it_waits() {
    let place = Place::new()
        .with("SLM_PROVIDER", "llama_cpp")
        .with("SLM_ENDPOINT", "http://127.0.0.1:9/v1")
        .with("SLM_MODEL", "ghost-tiny");
    place.tasks(2);
    place
        .ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"])
        .with_code(0)
        .said("the server at http://127.0.0.1:9/v1 (SLM_ENDPOINT)")
        .said("needing Claude 2");
}

#[test]
fn once_there_is_a_key_retry_answers_and_resume_brings_the_results_up_to_date() {
    let place = Place::new();
    place.tasks(2);
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
    place.ghost(&["retry", "--all"]).with_code(1).said("there is still none");
    let claude = Claude::open();
    let place = place.with_claude(&claude);
    let retried = place.ghost(&["retry", "--all", "--output", "jsonl"]).with_code(0);
    assert_eq!(ids(&results(&retried.stdout)), all_ids(2));
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0).said("answered by the LLM 2");
    let results = place.results("results.jsonl");
    assert_eq!(ids(&results), all_ids(2), "the failures are replaced, not kept beside");
    assert!(results.iter().all(|result| result["status"] == "completed"), "{results:?}");
    assert_eq!(claude.calls_for("task-1"), 1, "nothing is answered twice");
}

#[test]
fn claude_answers_and_the_summary_says_what_it_cost() {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude);
    place.tasks(3);
    let ended = place
        .ghost(&["run", "tasks.jsonl", "--output", "json"])
        .with_code(0)
        .said("answered by the LLM 3")
        .said("against everything on claude-sonnet-5-5");
    let results: Vec<Value> = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!(ids(&results), all_ids(3));
    assert!(
        results.iter().all(|result| result["metadata"]["cost_micro_usd"].as_u64() > Some(0)),
        "{results:?}"
    );
}

#[test]
fn tasks_come_from_a_pipe_too() {
    let place = Place::new();
    let tasks = place.tasks(2);
    let ended = place
        .command(&["run", "-", "--dry-run"])
        .stdin(std::fs::File::open(tasks).expect("it was written"))
        .output()
        .expect("ghost starts");
    let ended = Ended::from(ended).with_code(0);
    assert_eq!(ids(&results(&ended.stdout)), all_ids(2));
}

#[test]
fn a_wrong_key_is_told_as_one() {
    let claude = Claude::refusing(401);
    let place = Place::new().with_claude(&claude);
    place.tasks(1);
    let ended = place.ghost(&["run", "tasks.jsonl"]).with_code(3).said("authentication_failed 1");
    assert!(ended.stdout.contains("does not accept the key"), "{}", ended.stdout);
    place.ghost(&["submit", "Say something about task-2."]).with_code(3).said("does not accept the key");
}

#[test]
fn a_model_that_does_not_load_is_a_warning_and_the_llm_takes_everything() {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude).with("SLM_PROVIDER", "llama_cpp");
    place.tasks(1);
    for (path, fault) in faulty_models(&place) {
        let set = format!("SLM_MODEL_PATH={}", path.display());
        place
            .ghost(&["run", "tasks.jsonl", "--set", &set])
            .with_code(0)
            .said("warning: the local model does not load, so the LLM takes everything")
            .said(fault)
            .said("name another with SLM_MODEL_PATH")
            .said("answered by the LLM 1");
    }
}

#[test]
fn layers_for_a_gpu_that_is_not_there_are_a_warning() {
    let place = Place::new().with("SLM_PROVIDER", "llama_cpp").with("SLM_GPU_LAYERS", "7");
    place.tasks(1);
    place.ghost(&["run", "tasks.jsonl"]).said("warning: SLM_GPU_LAYERS=7 does nothing");
    assert!(place.ghost(&["doctor"]).with_code(0).stdout.contains("look GPU"));
}

#[test]
fn a_full_disk_loses_nothing_and_says_how_to_go_on() {
    let claude = Claude::open();
    let place = Place::new().with_claude(&claude);
    place.tasks(2);
    place
        .ghost(&["run", "tasks.jsonl", "-o", "/dev/full"])
        .with_code(1)
        .said("/dev/full cannot be written; nothing is lost")
        .said("--resume");
    place.ghost(&["run", "tasks.jsonl", "--resume", "-o", "results.jsonl"]).with_code(0);
    assert_eq!(ids(&place.results("results.jsonl")), all_ids(2));
    assert_eq!([1, 2].map(|n| claude.calls_for(&format!("task-{n}"))), [1, 1]);
}

#[test]
fn a_run_that_could_not_begin_leaves_nothing_to_resume() {
    let place = Place::new();
    place.tasks(1);
    place.ghost(&["run", "tasks.jsonl", "-o", "nowhere/results.jsonl"]).with_code(1).said("cannot be made");
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
}

#[test]
fn who_stops_reading_ends_the_run_quietly() {
    let claude = Claude::open_for(0);
    let place = Place::new().with_claude(&claude);
    place.tasks(2);
    let mut running = place.start(&["run", "tasks.jsonl"]);
    claude.wait_for_calls(1);
    running.stop_reading();
    claude.open_up();
    let ended = running.end().with_code(0);
    assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
}

#[test]
fn the_tasks_are_never_overwritten_by_their_results() {
    let place = Place::new();
    place.tasks(1);
    place.ghost(&["run", "tasks.jsonl", "-o", "./tasks.jsonl"]).with_code(2).said("name another file");
    assert_eq!(place.results("tasks.jsonl").len(), 1);
}

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new();
    place.ghost(&["run", "none.jsonl"]).with_code(2).said("name a file of tasks");
    place.ghost(&["run"]).with_code(2);
    place.ghost(&["run", "tasks.jsonl", "--resume", "--dry-run"]).with_code(2);
    place.tasks(1);
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(2).said("no run of tasks.jsonl to resume");
    place.ghost(&["run", "tasks.jsonl", "--set", "LLM_MODLE=x"]).with_code(2).said("did you mean LLM_MODEL?");
    place.ghost(&["explain", "nobody"]).with_code(1).said("there is no task `nobody`");
}
