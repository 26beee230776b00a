//! What a run survives: SIGKILL, a torn results file, Ctrl-C, and a second process.

use crate::claude::Claude;
use crate::support::{Place, all_ids, cut, ids};

/// Ten tasks, five of them answered, the others asked for; then the process is killed.
fn killed_in_the_middle() -> (Place, Claude) {
    let claude = Claude::open_for(5);
    let place = Place::new().with_claude(&claude);
    place.tasks(10);
    let mut running = place.start(&["run", "tasks.jsonl", "-o", "results.jsonl"]);
    running.wait_for("5/10 settled");
    claude.wait_for_calls(10);
    running.kill();
    claude.open_up();
    (place, claude)
}

fn completed_once(place: &Place, answered_before: &[String], claude: &Claude) {
    let results = place.results("results.jsonl");
    assert_eq!(ids(&results), all_ids(10), "nothing is lost and nothing stands there twice");
    assert!(results.iter().all(|result| result["status"] == "completed"));
    for task in all_ids(10) {
        let calls = claude.calls_for(&task);
        if answered_before.contains(&task) {
            assert_eq!(calls, 1, "{task} was answered and must not be asked again");
        } else {
            assert_eq!(calls, 2, "{task} was asked when the process died, and once more");
        }
    }
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let (place, claude) = killed_in_the_middle();
    let before = ids(&place.results("results.jsonl"));
    assert_eq!(before.len(), 5);
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0).said("10 tasks settled");
    completed_once(&place, &before, &claude);
}

#[test]
fn a_task_that_was_settled_but_not_written_down_is_written_and_not_asked_again() {
    let (place, claude) = killed_in_the_middle();
    let path = place.path("results.jsonl");
    let before = ids(&place.results("results.jsonl"));
    let text = std::fs::read_to_string(&path).expect("it is there");
    // As after a kill between the commit of a task and its line: two lines are missing, a third is torn.
    let third = text.match_indices('\n').nth(2).expect("five lines").0;
    cut(&path, third - 7);
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0);
    completed_once(&place, &before, &claude);
}

#[test]
fn a_results_file_that_is_gone_is_written_anew() {
    let (place, claude) = killed_in_the_middle();
    let before = ids(&place.results("results.jsonl"));
    std::fs::remove_file(place.path("results.jsonl")).expect("it is there");
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0);
    completed_once(&place, &before, &claude);
    // And once more: there is nothing left to do, and nothing is done.
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0);
    completed_once(&place, &before, &claude);
}

#[test]
fn an_unfinished_run_is_not_paid_for_twice_by_accident() {
    let (place, claude) = killed_in_the_middle();
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(2).said("--resume goes on with it");
    place
        .ghost(&["run", "tasks.jsonl", "-o", "results.jsonl", "--fresh"])
        .with_code(0)
        .said("withdrew 5 tasks");
    assert_eq!(ids(&place.results("results.jsonl")), all_ids(10));
    assert_eq!(claude.calls_for("task-1"), 2);
}

#[test]
fn a_run_that_is_given_up_may_be_cleaned_up_and_begun_again() {
    let (place, _claude) = killed_in_the_middle();
    let refused =
        place.ghost(&["gc", "--keep", "0"]).with_code(1).said("is unfinished: finish it with --resume");
    let run =
        refused.stderr.split("--batch ").nth(1).expect("the run is named").trim_end_matches(['`', '\n']);
    place.ghost(&["cancel", "--batch", run]).with_code(0).said("withdrew 5 tasks");
    place.ghost(&["gc", "--keep", "0"]).with_code(0).said("removed 10 settled tasks");
    place.ghost(&["run", "tasks.jsonl", "-o", "results.jsonl"]).with_code(0);
    assert_eq!(ids(&place.results("results.jsonl")), all_ids(10));
}

#[test]
fn what_another_run_overwrote_is_not_taken_for_ones_own() {
    let (place, _claude) = killed_in_the_middle();
    std::fs::copy(place.path("tasks.jsonl"), place.path("other.jsonl")).expect("there is room");
    place.ghost(&["run", "other.jsonl", "-o", "results.jsonl"]).with_code(0);
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(2).said("now holds the results of run");
    place.ghost(&["run", "tasks.jsonl", "--resume", "-o", "again.jsonl"]).with_code(0);
    assert_eq!(ids(&place.results("again.jsonl")), all_ids(10));
}

#[test]
fn a_changed_file_is_not_resumed() {
    let (place, _claude) = killed_in_the_middle();
    place.tasks(11);
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(2).said("has changed since its run");
}

#[test]
fn ctrl_c_finishes_what_runs_and_keeps_the_rest() {
    let claude = Claude::open_for(0);
    let place = Place::new().with_claude(&claude).with("MAX_THREAD_WORKERS", "2");
    place.tasks(6);
    let mut running = place.start(&["run", "tasks.jsonl", "-o", "results.jsonl"]);
    claude.wait_for_calls(2);
    running.interrupt();
    running.wait_for("finishing what runs");
    claude.open_up();
    running.end().with_code(130).said("`ghost run tasks.jsonl --resume` goes on");
    assert_eq!(place.results("results.jsonl").len(), 2, "what ran was finished and written down");
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0);
    assert_eq!(ids(&place.results("results.jsonl")), all_ids(6));
    for task in all_ids(6) {
        assert_eq!(claude.calls_for(&task), 1, "{task}");
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let claude = Claude::open_for(0);
    let place = Place::new().with_claude(&claude);
    place.tasks(2);
    let mut running = place.start(&["run", "tasks.jsonl", "-o", "results.jsonl"]);
    claude.wait_for_calls(2);
    running.interrupt();
    running.wait_for("finishing what runs");
    running.interrupt();
    running.end().with_code(130).said("left at once");
    claude.open_up();
    place.ghost(&["run", "tasks.jsonl", "--resume"]).with_code(0);
    assert_eq!(ids(&place.results("results.jsonl")), all_ids(2));
}

#[test]
fn one_process_executes_and_others_are_told_or_queue() {
    let claude = Claude::open_for(0);
    let place = Place::new().with_claude(&claude);
    place.tasks(1);
    let running = place.start(&["run", "tasks.jsonl", "-o", "results.jsonl"]);
    claude.wait_for_calls(1);
    place.write("other.jsonl", "");
    place.ghost(&["run", "other.jsonl"]).with_code(1).said("is in use by process").said("--data DIR");
    let queued = place.ghost(&["submit", "--id", "task-7", "Say something about task-7."]).with_code(0);
    assert_eq!(queued.stdout, "task-7\n");
    let mut waiting = place.start(&["submit", "--wait", "Say something about task-8."]);
    waiting.wait_for("waiting for it");
    claude.open_up();
    running.end().with_code(0);
    let answered = waiting.end().with_code(0);
    assert_eq!(answered.stdout, "All about task-8.\n");
}
