//! `ghost up`: the swarm in one process.

use crate::claude::Claude;
use crate::support::Place;

const MATERIAL: &str = r#"{"id": 4711, "carrier": "DHL"}"#;

fn at_free_ports() -> Place {
    Place::new().with("HEALTH_PORT", "0").with("A2A_PORT", "0").with("ORCHESTRATOR_PORT", "0")
}

#[test]
fn it_answers_what_others_submit_to_its_data_directory_or_its_door_until_ctrl_c() {
    let place = at_free_ports().with("SLM_PROVIDER", "llama_cpp");
    let mut up = place.start(&["up", "-v"]);
    let listens = up.wait_for("the orchestrator listens on http://");
    let url = listens.trim_end().rsplit(' ').next().expect("an address").to_owned();
    let task = ["submit", "--wait", "--type", "json_field", "--prompt", MATERIAL, "Get the carrier"];
    let answered = place.ghost(&task).with_code(0).said("`ghost up` answers from this data directory");
    assert_eq!(answered.stdout, "DHL\n");
    let through_the_door = place.ghost(&[&task[..], &["--url", &url]].concat()).with_code(0);
    assert_eq!(through_the_door.stdout, "DHL\n");
    place.ghost(&["up"]).with_code(1).said("is in use by process").said("--data DIR");
    up.interrupt();
    let ended = up.end().with_code(0).said("finishing what runs");
    for door in ["api     http://127.0.0.1:", "hub     ws://127.0.0.1:", "health  http://127.0.0.1:"] {
        assert!(ended.stdout.contains(door), "{}", ended.stdout);
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let claude = Claude::open_for(0);
    let place = at_free_ports().with_claude(&claude);
    let mut up = place.start(&["up"]);
    up.wait_for("the swarm is up");
    place.ghost(&["submit", "--id", "task-1", "Say something about task-1."]).with_code(0);
    claude.wait_for_calls(1);
    up.interrupt();
    up.wait_for("finishing what runs");
    up.interrupt();
    up.end().with_code(130).said("left at once");
}
